//! Tests of phone numbers and message segments.

use omnistack_messaging::sms::{InvalidSms, PhoneNumber, PhoneNumberError, SmsEncoding, SmsSegments};

use super::message;

#[test]
fn a_number_is_one_of_the_whole_world() {
    for (text, number) in [
        ("+491701234567", "+491701234567"),
        (" +1 (415) 867-5309 ", "+14158675309"),
        ("+44.20.7946.0018", "+442079460018"),
        ("+2901234", "+2901234"),
        ("+123456789012345", "+123456789012345"),
    ] {
        assert_eq!(text.parse::<PhoneNumber>().unwrap().as_str(), number);
    }
    for (text, error) in [
        ("", PhoneNumberError::NoCountry),
        ("01701234567", PhoneNumberError::NoCountry),
        ("00491701234567", PhoneNumberError::NoCountry),
        ("+0491701234567", PhoneNumberError::NoCountry),
        ("+123456", PhoneNumberError::Length),
        ("+1234567890123456", PhoneNumberError::Length),
        (&"+1".repeat(500_000), PhoneNumberError::Character),
        ("+4917012345a7", PhoneNumberError::Character),
        ("+491701234567\r\nX: y", PhoneNumberError::Character),
        ("+٤٩١٧٠١٢٣٤٥", PhoneNumberError::Character),
        ("+49170+1234567", PhoneNumberError::Character),
    ] {
        assert_eq!(text.parse::<PhoneNumber>(), Err(error), "{text:.40}");
    }
    assert!(!format!("{:?}", message("a")).contains("5005550006"));
}

#[test]
fn parts_are_counted_as_networks_count_them() {
    use SmsEncoding::{Gsm7, Ucs2};
    let a = |count: usize| "a".repeat(count);
    for (text, encoding, units, count) in [
        (a(160), Gsm7, 160, 1),
        (a(161), Gsm7, 161, 2),
        (a(306), Gsm7, 306, 2),
        (a(307), Gsm7, 307, 3),
        ("€".repeat(80), Gsm7, 160, 1),
        // 153 is odd, so a character of two septets does not fit into the last septet of a segment.
        ("€".repeat(153), Gsm7, 306, 3),
        (format!("{}€{}", a(152), a(10)), Gsm7, 164, 2),
        (format!("{}€{}", a(152), a(152)), Gsm7, 306, 3),
        ("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ ¡ÄÖÑÜ§¿äöñüà".into(), Gsm7, 44, 1),
        ("^{}\\[~]|€\u{c}".into(), Gsm7, 20, 1),
        ("ç".into(), Ucs2, 1, 1),
        ("`".into(), Ucs2, 1, 1),
        ("ы".repeat(70), Ucs2, 70, 1),
        ("ы".repeat(71), Ucs2, 71, 2),
        ("🎉".repeat(35), Ucs2, 70, 1),
        // 67 is odd too.
        ("🎉".repeat(67), Ucs2, 134, 3),
        ("🎉".repeat(66), Ucs2, 132, 2),
        (String::new(), Gsm7, 0, 1),
    ] {
        let found = SmsSegments::of(&text);
        assert_eq!((found.encoding, found.units, found.count), (encoding, units, count), "{text}");
    }
}

#[test]
fn a_message_has_so_many_parts_and_no_more() {
    assert_eq!(message(&"a".repeat(612)).check(4), Ok(()));
    assert_eq!(message(&"a".repeat(613)).check(4), Err(InvalidSms::TooLong { count: 5, limit: 4 }));
    assert_eq!(message(&"a".repeat(1531)).check(99), Err(InvalidSms::TooLong { count: 11, limit: 10 }));
}
