//! The list of common passwords.
//!
//! The list is that of zxcvbn, whose licence is stored beside it. It is sorted text, searched without parsing.

/// The passwords in lower case, sorted, one on each line.
const LIST: &str = include_str!("common.txt");

/// Returns whether a password in lower case is one of some 13,500 passwords that attackers try first.
pub(crate) fn contains(password: &str) -> bool {
    let (mut from, mut to) = (0, LIST.len());
    while from < to {
        // Compare with the line around the middle.
        let middle = usize::midpoint(from, to);
        let start = LIST[..middle].rfind('\n').map_or(0, |end| end + 1);
        let end = LIST[middle..].find('\n').map_or(LIST.len(), |end| middle + end);
        match LIST[start..end].cmp(password) {
            std::cmp::Ordering::Equal => return !password.is_empty(),
            std::cmp::Ordering::Less => from = end + 1,
            std::cmp::Ordering::Greater => to = start,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_nothing_else() {
        let entries: Vec<&str> = LIST.lines().collect();
        assert!(entries.is_sorted() && entries.len() > 3000 && LIST.is_ascii());
        for entry in entries {
            assert!(contains(entry), "{entry}");
            assert!(!contains(&format!("{entry}\u{1}")), "{entry}");
        }
        for other in ["", "\n", "0", "zzzzzzzzzzzzz", "correct horse battery staple"] {
            assert!(!contains(other), "{other}");
        }
    }
}
