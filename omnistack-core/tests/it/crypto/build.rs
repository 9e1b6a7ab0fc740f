//! Tests of the key settings of an app.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    ExposeSecret as _,
    app::App,
    config::Config,
    crypto::{KeyRing, SealContext},
    module::{BuildError, Module, Registry},
};

struct Vault;

impl Module for Vault {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn register(&self, registry: &mut Registry) {
        registry.require::<KeyRing>();
    }
}

fn build(environment: &str, keys: Option<&str>) -> Result<App, BuildError> {
    let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", environment)]);
    let config = keys.into_iter().fold(config, |config, keys| config.with("SECRET_KEYS", keys));
    App::builder(config).with(Vault).build()
}

#[tokio::test]
async fn development_has_a_key_that_production_refuses() {
    let place = SealContext::row("vault", "secret", 1);
    let sealed: Vec<_> = ["development", "test"]
        .into_iter()
        .map(|environment| {
            build(environment, None).unwrap().context().get::<KeyRing>().unwrap().seal("x", &place).unwrap()
        })
        .collect();
    let ring: KeyRing = build("development", None).unwrap().context().get().unwrap();
    assert_eq!(ring.primary(), "development");
    for sealed in sealed {
        assert_eq!(ring.open_text(&sealed, &place).unwrap().expose_secret(), "x", "the same on every start");
    }

    let development = "b21uaXN0YWNrIGRldmVsb3BtZW50IGtleTogd2VhayE=";
    let own = KeyRing::new_key("own");
    let of = |bytes: &[u8]| format!("k1:{}", STANDARD.encode(bytes));
    let own_bytes: &[u8] = &[3, 141, 59, 26, 53, 58, 97, 93, 238, 46, 26, 43, 38, 32, 79, 50];
    for (keys, expected) in [
        (None, "`SECRET_KEYS`: must be set"),
        (Some(format!("development:{development}")), "holds the development value"),
        (Some(format!("renamed:{development}")), "the key `renamed` is the development key"),
        (Some(format!("{own},old:{development}")), "the key `old` is the development key"),
        (Some(of(&[0; 32])), "the key `k1` is not random: it repeats"),
        (Some(format!("{own},{}", of(&[0xff; 32]))), "the key `k1` is not random: it repeats"),
        (Some(of(&[7, 211].repeat(16))), "the key `k1` is not random: it repeats"),
        (Some(of(&[own_bytes, own_bytes].concat())), "the key `k1` is not random: it repeats"),
        (Some(of(&(0..32).collect::<Vec<u8>>())), "the key `k1` is not random: its bytes count"),
        (Some(of(&(0..32).map(|n: u8| 250_u8.wrapping_sub(n * 3)).collect::<Vec<u8>>())), "its bytes count"),
        (Some(of(b"correct horse battery staple now")), "the key `k1` is not random: it is a text"),
        (Some(of(b"8f14e45fceea167a5a36dedd4bea2543")), "the key `k1` is not random: it is a text"),
        (Some(format!("{own},old:AAAA")), "`SECRET_KEYS`: key 2 has 3 bytes: it must have 32"),
    ] {
        let BuildError(problems) = build("production", keys.as_deref()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].to_string().contains(expected), "{}", problems[0]);
        assert!(!problems[0].to_string().contains(&own[4..]), "no key in a message");
    }
    // Random keys are never rejected. Outside production, weak keys are accepted too.
    for _ in 0..20 {
        build("production", Some(&KeyRing::new_key("own"))).unwrap();
    }
    build("development", Some(&of(&[0; 32]))).unwrap();
    assert_eq!(build("production", Some(&own)).unwrap().context().get::<KeyRing>().unwrap().primary(), "own");
}

#[tokio::test]
async fn an_app_that_seals_nothing_needs_no_keys() {
    let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", "production")]);
    assert!(App::builder(config).build().unwrap().context().get::<KeyRing>().is_err());
}
