//! The keys of an app.

use omnistack_core::{
    ExposeSecret as _,
    app::{App, BuildError, Module, Registry},
    config::Config,
    crypto::{Context, KeyRing},
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
    let place = Context::row("vault", "secret", 1);
    let sealed: Vec<_> = ["development", "test"]
        .into_iter()
        .map(|environment| build(environment, None).unwrap().ctx().get::<KeyRing>().unwrap().seal("x", &place).unwrap())
        .collect();
    let ring: KeyRing = build("development", None).unwrap().ctx().get().unwrap();
    assert_eq!(ring.primary(), "development");
    for sealed in sealed {
        assert_eq!(ring.open_text(&sealed, &place).unwrap().expose_secret(), "x", "the same on every start");
    }

    let development = "b21uaXN0YWNrIGRldmVsb3BtZW50IGtleTogd2VhayE=";
    let own = KeyRing::new_key("own");
    for (keys, expected) in [
        (None, "`SECRET_KEYS`: must be set"),
        (Some(format!("development:{development}")), "holds the development value"),
        (Some(format!("renamed:{development}")), "holds the development key"),
        (Some(format!("{own},old:{development}")), "holds the development key"),
        (Some(format!("{own},old:AAAA")), "`SECRET_KEYS`: key 2 has 3 bytes; 32 are needed"),
    ] {
        let BuildError(problems) = build("production", keys.as_deref()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].to_string().contains(expected), "{}", problems[0]);
        assert!(!problems[0].to_string().contains(&own[4..]), "no key in a message");
    }
    assert_eq!(build("production", Some(&own)).unwrap().ctx().get::<KeyRing>().unwrap().primary(), "own");
}

#[tokio::test]
async fn an_app_that_seals_nothing_needs_no_keys() {
    let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", "production")]);
    assert!(App::builder(config).build().unwrap().ctx().get::<KeyRing>().is_err());
}
