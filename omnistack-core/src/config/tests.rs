//! Order of sources, forms, and reports.

use std::time::Duration;

use bytesize::ByteSize;
use secrecy::{ExposeSecret, SecretString};

use super::*;

crate::section! {
    /// Test settings.
    ///
    /// What stands below the title is no part of it.
    struct Sample {
        /// A port.
        port: u16 = "SAMPLE_PORT", default "80";
        /// A duration.
        wait: Duration = "SAMPLE_WAIT", default "1h 30m";
        /// A size.
        size: ByteSize = "SAMPLE_SIZE", default "2MiB";
        /// A list.
        names: Vec<String> = "SAMPLE_NAMES";
        /// A secret.
        secret: SecretString = "SAMPLE_SECRET", development "dev-secret";
        /// No default.
        needed: String = "SAMPLE_NEEDED";
    }
}

#[test]
fn later_sources_win_and_toml_paths_are_names() {
    let folder = std::env::temp_dir().join(format!("omnistack-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(".env"), "SAMPLE_PORT=1\nSAMPLE_NEEDED=env-file\nSAMPLE_SECRET=s\n").unwrap();
    std::fs::write(folder.join("omnistack.toml"), "[sample]\nport = 2\nnames = [\"a\", \"b\"]\nwiat = \"3s\"\n")
        .unwrap();
    let config = Config::read(&folder, [("SAMPLE_SIZE".to_owned(), "1KiB".to_owned())]);
    std::fs::remove_dir_all(&folder).unwrap();

    let sample: Sample = config.section().unwrap();
    assert_eq!((sample.port, sample.needed.as_str()), (2, "env-file"));
    assert_eq!(sample.names, ["a", "b"]);
    assert_eq!(sample.size, ByteSize::kib(1));
    assert_eq!(sample.wait, Duration::from_secs(5400));
    let problems = config.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].to_string(),
        "`SAMPLE_WIAT` (from omnistack.toml): is not a setting; did you mean `SAMPLE_WAIT`?"
    );
}

#[test]
fn every_problem_is_reported_at_once_and_names_its_setting() {
    let config = Config::from_pairs([("SAMPLE_PORT", "70000"), ("SAMPLE_WAIT", "30"), ("SAMPLE_SIZE", "big")]);
    let problems = config.section::<Sample>().unwrap_err();
    let named: Vec<_> = problems.iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(named, ["SAMPLE_PORT", "SAMPLE_WAIT", "SAMPLE_SIZE", "SAMPLE_NEEDED"]);
    assert!(problems[1].message.contains("30s"), "{}", problems[1]);
}

#[test]
fn production_refuses_development_secrets() {
    let development = Config::from_pairs([("SAMPLE_NEEDED", "x")]).section::<Sample>().unwrap();
    assert_eq!(development.secret.expose_secret(), "dev-secret");
    for secret in [None, Some("dev-secret")] {
        let mut config = Config::from_pairs([("SAMPLE_NEEDED", "x"), ("APP_ENV", "production")]);
        if let Some(secret) = secret {
            config = config.with("SAMPLE_SECRET", secret);
        }
        let problems = config.section::<Sample>().unwrap_err();
        assert_eq!(problems[0].name, "SAMPLE_SECRET");
        assert!(!problems[0].to_string().contains("dev-secret"));
    }
}

#[test]
fn the_title_is_the_first_line() {
    let config = Config::default();
    _ = config.section::<Sample>();
    let reference = reference(&config.sections());
    assert!(reference.starts_with("## Test settings\n\n| setting |"), "{reference}");
}
