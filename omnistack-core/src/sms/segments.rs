//! How a text travels, and in how many parts, each of which costs.

/// The characters a phone knows in seven bits (3GPP TS 23.038, section 6.2.1).
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§\
                     ¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Those that take two places (section 6.2.1.1).
const EXTENDED: &str = "^{}\\[~]|€\u{c}";

/// How the characters of a message are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmsEncoding {
    /// Seven bits a character, of an alphabet of 137.
    Gsm7,
    /// 16 bits a character, and 32 for those beyond the first 65,536. One such character makes all of a message so.
    Ucs2,
}

/// The parts a message is sent in.
///
/// | | alone | each of several |
/// |---|---|---|
/// | [`Gsm7`](SmsEncoding::Gsm7) | 160 units | 153 |
/// | [`Ucs2`](SmsEncoding::Ucs2) | 70 units | 67 |
///
/// No character is cut in two by the border of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmsSegments {
    /// How the characters are sent.
    pub encoding: SmsEncoding,
    /// Septets, or units of UTF-16.
    pub units: usize,
    /// How many parts.
    pub count: usize,
}

impl SmsSegments {
    /// Of a text.
    ///
    /// ```
    /// use omnistack_core::sms::{SmsEncoding, SmsSegments};
    ///
    /// let plain = SmsSegments::of("The price is 10 €");
    /// assert_eq!((plain.encoding, plain.units, plain.count), (SmsEncoding::Gsm7, 18, 1));
    /// assert_eq!(SmsSegments::of("Наш столик готов").encoding, SmsEncoding::Ucs2);
    /// ```
    pub fn of(text: &str) -> Self {
        let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
        let (encoding, sizes, alone, each) = match septets {
            Some(sizes) => (SmsEncoding::Gsm7, sizes, 160, 153),
            None => (SmsEncoding::Ucs2, text.chars().map(char::len_utf16).collect(), 70, 67),
        };
        let units = sizes.iter().sum();
        if units <= alone {
            return Self { encoding, units, count: 1 };
        }
        let (mut count, mut used) = (1, 0);
        for size in sizes {
            if used + size > each {
                count += 1;
                used = 0;
            }
            used += size;
        }
        Self { encoding, units, count }
    }
}

fn septets(character: char) -> Option<usize> {
    if BASIC.contains(character) {
        return Some(1);
    }
    EXTENDED.contains(character).then_some(2)
}
