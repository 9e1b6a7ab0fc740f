//! Published test vectors.

use aes_gcm::{Aes256Gcm, KeyInit as _};

use super::{Error, HmacKey, Sha256, key_ring::open};

/// FIPS 180-4, examples of NIST.
#[test]
fn sha_256() {
    for (message, expected) in [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ] {
        assert_eq!(Sha256::digest(message).to_string(), expected, "{message}");
        assert_eq!(expected.parse::<Sha256>().unwrap(), Sha256::digest(message));
        assert!(Sha256::digest(message).matches(message) && !Sha256::digest(message).matches("another"));
    }
    assert_eq!(Sha256::digest_parts([b"a".as_slice(), b"", b"bc"]), Sha256::digest("abc"));
    assert!("abc".parse::<Sha256>().is_err() && Sha256::from_bytes(&[0; 31]).is_none());
}

/// RFC 4231, section 4, every case.
#[test]
fn hmac_sha_256() {
    let large_key = vec![0xaa; 131];
    let numbers: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], &str); 7] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&numbers, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        // The RFC lists only the first 128 bits.
        (&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
        (
            &large_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &large_key,
            b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be \
              hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    for (index, (key, message, expected)) in cases.into_iter().enumerate() {
        let key = HmacKey::new(key).unwrap();
        let mac = key.sign(message);
        assert!(mac.to_hex().starts_with(expected), "case {}", index + 1);
        assert!(key.verify_hex(message, &mac.to_hex().to_uppercase()) && key.verify(message, mac.as_bytes()));
        assert!(key.verify_base64(message, &mac.to_base64()) && key.verify_base64(message, &mac.to_base64_url()));
        assert!(!key.verify_hex(message, &mac.to_hex()[..32]), "a shortened one is refused");
        assert!(
            !key.verify_hex(b"another", &mac.to_hex()) && !key.verify_base64(message, "") && !key.verify(message, [])
        );
    }
}

/// "The Galois/Counter Mode of Operation", McGrew and Viega, appendix B: the cases with 256-bit keys and 96-bit
/// nonces, which are also in the suites of NIST and Wycheproof.
#[test]
fn aes_256_gcm() {
    const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    const PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
                         b16aedf5aa0de657ba637b391aafd255";
    const CIPHER: &str = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838\
                          c5f61e6393ba7a0abcc9f662898015ad";
    let zero = "00".repeat(32);
    // Key, nonce, additional authenticated data, plaintext, ciphertext, tag.
    let cases: [[&str; 6]; 4] = [
        [&zero, "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"],
        [
            &zero,
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ],
        [KEY, "cafebabefacedbaddecaf888", "", PLAIN, CIPHER, "b094dac5d93471bdec1a502270e3cc6c"],
        [
            KEY,
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            &PLAIN[..120],
            &CIPHER[..120],
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ],
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let [key, nonce, authenticated, plain, cipher, tag] = case.map(|text| hex::decode(text).unwrap());
        let key = Aes256Gcm::new_from_slice(&key).unwrap();
        let nonce: [u8; 12] = nonce.try_into().unwrap();
        let sealed = [cipher, tag].concat();
        assert_eq!(open(&key, nonce, &authenticated, &sealed).unwrap(), plain, "case {}", index + 13);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key, nonce, &authenticated, &changed), Err(Error::CannotOpen), "case {}", index + 13);
        }
        let elsewhere = [authenticated.as_slice(), b"!"].concat();
        assert_eq!(open(&key, nonce, &elsewhere, &sealed), Err(Error::CannotOpen));
    }
}
