//! Tests of parsing and formatting email addresses.

use omnistack_core::email::{Address, AddressError};

#[test]
fn what_is_an_address_and_how_it_is_written() {
    let long_local = "a".repeat(64);
    let table = [
        ("ada@example.com", None, "ada@example.com", "ada@example.com"),
        (" ada@example.com ", None, "ada@example.com", "ada@example.com"),
        ("Ada.L+shop@Example.COM", None, "Ada.L+shop@example.com", "Ada.L+shop@example.com"),
        ("o'brien@example.com", None, "o'brien@example.com", "o'brien@example.com"),
        ("root@localhost", None, "root@localhost", "root@localhost"),
        ("<ada@example.com>", None, "ada@example.com", "ada@example.com"),
        ("Ada Lovelace <ada@example.com>", Some("Ada Lovelace"), "ada@example.com", "Ada Lovelace <ada@example.com>"),
        ("Chloë<c@example.com>", Some("Chloë"), "c@example.com", "Chloë <c@example.com>"),
        (
            r#""Lovelace, \"Ada\" \\" <ada@example.com>"#,
            Some(r#"Lovelace, "Ada" \"#),
            "ada@example.com",
            r#""Lovelace, \"Ada\" \\" <ada@example.com>"#,
        ),
        (r#""a@b.c" <ada@example.com>"#, Some("a@b.c"), "ada@example.com", r#""a@b.c" <ada@example.com>"#),
        ("info@bücher.example", None, "info@xn--bcher-kva.example", "info@xn--bcher-kva.example"),
        ("info@例え.jp", None, "info@xn--r8jz45g.jp", "info@xn--r8jz45g.jp"),
    ];
    for (text, name, mailbox, written) in table {
        let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((address.name(), address.mailbox()), (name, mailbox), "{text}");
        assert_eq!(address.to_string(), written);
        assert_eq!(written.parse(), Ok(address.clone()), "{written}: read again");
        let json = serde_json::to_string(&address).unwrap();
        assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
    }
    assert_eq!(Address::new(&format!("{long_local}@example.com")).unwrap().local(), long_local);
}

#[test]
fn what_is_none_says_why() {
    let label = "d".repeat(63);
    let table = [
        ("", AddressError::Syntax),
        ("ada", AddressError::Syntax),
        ("Ada <ada@example.com", AddressError::Local),
        ("Ada ada@example.com>", AddressError::Syntax),
        ("ada@example.com, eve@example.com", AddressError::Local),
        ("a@b.c, D <d@e.f>", AddressError::Syntax),
        ("\"Ada <ada@example.com>", AddressError::Syntax),
        ("\"A\"da\" <ada@example.com>", AddressError::Syntax),
        ("@example.com", AddressError::Local),
        (".ada@example.com", AddressError::Local),
        ("ada.@example.com", AddressError::Local),
        ("a..da@example.com", AddressError::Local),
        ("a da@example.com", AddressError::Local),
        ("\"a da\"@example.com", AddressError::Local),
        ("ädä@example.com", AddressError::Local),
        ("ada\0@example.com", AddressError::Local),
        ("ada@\r\nexample.com", AddressError::Domain),
        ("ada\r\n@example.com", AddressError::Local),
        ("ada@example.com\r\nBcc: eve@example.com", AddressError::Local),
        ("ada@", AddressError::Domain),
        ("ada@example..com", AddressError::Domain),
        ("ada@-example.com", AddressError::Domain),
        ("ada@exam_ple.com", AddressError::Domain),
        ("ada@exam ple.com", AddressError::Domain),
        ("ada@[192.0.2.1]", AddressError::Domain),
        ("A\nB <ada@example.com>", AddressError::Syntax),
        ("\"A\nB\" <ada@example.com>", AddressError::NameControlCharacter),
    ];
    for (text, why) in table {
        assert_eq!(text.parse::<Address>(), Err(why), "{text:?}");
    }
    let long = [
        (format!("{}@example.com", "a".repeat(65)), AddressError::LocalTooLong),
        (format!("ada@{label}d.com"), AddressError::Domain),
        // The length is 64 + 1 + 4 × 64 - 1, which is more than 254, while the domain alone is not too long.
        (format!("{}@{label}.{label}.{label}.com", "a".repeat(64)), AddressError::TooLong),
        (format!("{} <ada@example.com>", "N".repeat(256)), AddressError::NameTooLong),
    ];
    for (text, why) in long {
        assert_eq!(text.parse::<Address>(), Err(why), "{text:?}");
    }
}
