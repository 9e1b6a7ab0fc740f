//! The encoding of a text message, and the number of its segments, each of which is billed.

/// The characters of the GSM 7-bit default alphabet (3GPP TS 23.038, section 6.2.1).
const GSM7_ALPHABET: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§\
                     ¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The characters of its extension table, which take two septets (section 6.2.1.1).
const GSM7_EXTENSION: &str = "^{}\\[~]|€\u{c}";

/// The encoding of a text message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmsEncoding {
    /// Seven bits a character, from an alphabet of 137 characters.
    Gsm7,
    /// 16 bits a character, and 32 bits for characters beyond the first 65,536. One character that is not in the
    /// 7-bit alphabet makes the whole message use this encoding.
    Ucs2,
}

/// The segments in which a text message is sent.
///
/// | encoding | units in a single segment | units in each of several segments |
/// |---|---|---|
/// | [`Gsm7`](SmsEncoding::Gsm7) | 160 | 153 |
/// | [`Ucs2`](SmsEncoding::Ucs2) | 70 | 67 |
///
/// A character is never split between two segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmsSegments {
    /// The encoding.
    pub encoding: SmsEncoding,
    /// Number of units: septets, or UTF-16 code units.
    pub units: usize,
    /// Number of segments.
    pub count: usize,
}

impl SmsSegments {
    /// Computes the segments of a text.
    ///
    /// ```
    /// use omnistack_messaging::sms::{SmsEncoding, SmsSegments};
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
    if GSM7_ALPHABET.contains(character) {
        return Some(1);
    }
    GSM7_EXTENSION.contains(character).then_some(2)
}
