//! Recovery codes: 125 random bits each, so that a plain SHA-256 hash of them is safe. A code of fewer than 112 bits
//! would need a password hash (ASVS 5.0.0, 6.5.2), and ten of those would have to be computed for each try.

use omnistack_core::crypto::Sha256;
use secrecy::SecretString;

/// The number of recovery codes of a user.
pub(crate) const CODES_PER_USER: usize = 10;
/// The length of a code in characters, of five bits each.
const CODE_CHARS: usize = 25;
/// The characters of a code, without I, L, O and U, which look like other characters.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Creates a code, in groups of five characters.
pub(crate) fn random() -> SecretString {
    let bytes: [u8; CODE_CHARS] = rand::random();
    let mut text = String::with_capacity(CODE_CHARS + CODE_CHARS / 5);
    for (number, byte) in bytes.into_iter().enumerate() {
        if number > 0 && number % 5 == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    text.into()
}

/// Returns the hash of a code, independent of case, separators and confused characters. Returns `None` if the text is
/// not a code.
pub(crate) fn hash(typed: &str) -> Option<Sha256> {
    let letters = typed.chars().filter(|letter| !letter.is_whitespace() && *letter != '-');
    let read = letters.map(|letter| match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        letter => letter,
    });
    let plain: String = read.take(CODE_CHARS + 1).collect();
    let is_one = plain.len() == CODE_CHARS && plain.bytes().all(|letter| ALPHABET.contains(&letter));
    is_one.then(|| Sha256::digest(plain))
}

#[cfg(test)]
mod tests {
    use omnistack_core::ExposeSecret as _;

    use super::*;

    #[test]
    fn however_it_is_typed() {
        let code = random();
        let code = code.expose_secret();
        assert_eq!((code.len(), code.matches('-').count()), (29, 4));
        assert_ne!(code, random().expose_secret());
        let kept = hash(code).unwrap();
        for typed in [
            code.replace('-', ""),
            code.to_lowercase(),
            format!(" {code}\n"),
            code.replace('-', " "),
            code.replace('0', "o").replace('1', "l"),
            code.replace('0', "O").replace('1', "I"),
        ] {
            assert_eq!(hash(&typed), Some(kept), "{typed}");
        }
        for none in ["", "123456", &code[1..], &format!("{code}0"), &code.replacen(|_: char| true, "U", 1)] {
            assert_eq!(hash(none), None, "{none}");
        }
    }
}
