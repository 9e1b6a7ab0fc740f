//! Tests of sources, parsing and problem reports.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytesize::ByteSize;
use secrecy::{ExposeSecret, SecretString};

use super::*;

crate::settings! {
    /// Test settings.
    ///
    /// This text is not part of the title.
    struct Sample {
        /// A port.
        port: u16 = "SAMPLE_PORT", default "80", range "1"..="65535";
        /// A duration.
        wait: Duration = "SAMPLE_WAIT", default "1h 30m", range "1s"..="1d";
        /// A size.
        size: ByteSize = "SAMPLE_SIZE", default "2MiB", range "1KiB"..="1GiB";
        /// A list.
        names: Vec<String> = "SAMPLE_NAMES";
        /// A secret.
        secret: SecretString = "SAMPLE_SECRET", development "dev-secret";
        /// No default.
        needed: String = "SAMPLE_NEEDED";
    }
}

crate::settings! {
    @without "telegraph" of "acme";
    /// A feature that is not compiled in.
    pub(crate) struct TelegraphSettings {
        /// An office.
        pub(crate) office: Option<String> = "TELEGRAPH_OFFICE";
        /// A speed, of a type that exists only with the feature.
        pub(crate) speed: MorseSpeed = "TELEGRAPH_SPEED", default "slow", range "slow"..="fast";
    }
}

/// Reads a folder that contains these two files.
fn read(dot_env: &str, toml: &str, environment: &[(&str, &str)]) -> Config {
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("omnistack-config-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(".env"), dot_env).unwrap();
    std::fs::write(folder.join("omnistack.toml"), toml).unwrap();
    let config = Config::read(&folder, environment.iter().map(|(name, text)| ((*name).into(), (*text).into())));
    std::fs::remove_dir_all(&folder).unwrap();
    config
}

#[test]
fn later_sources_win_and_toml_paths_are_names() {
    let dot_env = "SAMPLE_PORT=1\nSAMPLE_NEEDED=env-file\nSAMPLE_SECRET=s\n";
    let toml = "[sample]\nport = 2\nnames = [\"a\", \"b\"]\nwiat = \"3s\"\n";
    let config = read(dot_env, toml, &[("SAMPLE_SIZE", "1KiB")]);

    let sample: Sample = config.read_settings().unwrap();
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
    let problems = config.read_settings::<Sample>().unwrap_err();
    let named: Vec<_> = problems.iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(named, ["SAMPLE_PORT", "SAMPLE_WAIT", "SAMPLE_SIZE", "SAMPLE_NEEDED"]);
    assert!(problems[1].message.contains("30s"), "{}", problems[1]);
}

#[test]
fn production_refuses_development_secrets() {
    let development = Config::from_pairs([("SAMPLE_NEEDED", "x")]).read_settings::<Sample>().unwrap();
    assert_eq!(development.secret.expose_secret(), "dev-secret");
    for secret in [None, Some("dev-secret")] {
        let mut config = Config::from_pairs([("SAMPLE_NEEDED", "x"), ("APP_ENV", "production")]);
        if let Some(secret) = secret {
            config = config.with("SAMPLE_SECRET", secret);
        }
        let problems = config.read_settings::<Sample>().unwrap_err();
        assert_eq!(problems[0].name, "SAMPLE_SECRET");
        assert!(!problems[0].to_string().contains("dev-secret"));
    }
}

#[test]
fn the_title_is_the_first_line() {
    let config = Config::default();
    _ = config.read_settings::<Sample>();
    let reference = reference(&config.sections());
    assert!(reference.starts_with("## Test settings\n\n| setting |"), "{reference}");
}

#[test]
fn a_setting_of_a_feature_that_is_not_compiled_in_is_a_problem_wherever_it_is_set() {
    let of = |name: &str, origin: &str| {
        let what = "is set, but this program is compiled without the feature `telegraph`, which reads it";
        format!(
            "`{name}` (from {origin}): {what}; add the feature `telegraph` to `acme` in Cargo.toml, or remove {name}; if \
             it is meant for another program, start this one with `{name}=`"
        )
    };
    let (office, speed) = ("TELEGRAPH_OFFICE", "TELEGRAPH_SPEED");
    for (dot_env, toml, environment, expected) in [
        ("", "", &[][..], vec![]),
        ("TELEGRAPH_OFFICE=\n", "", &[("TELEGRAPH_SPEED", "")][..], vec![]),
        // Of another program, in files that both read.
        ("TELEGRAPH_OFFICE=Lyon\n", "", &[("TELEGRAPH_OFFICE", "")][..], vec![]),
        ("TELEGRAPH_OFFICE=Lyon\n", "", &[][..], vec![of(office, ".env")]),
        ("", "[telegraph]\nspeed = \"fast\"\n", &[][..], vec![of(speed, "omnistack.toml")]),
        ("", "", &[("TELEGRAPH_OFFICE", "Lyon")][..], vec![of(office, "the environment")]),
        (
            "TELEGRAPH_OFFICE=Lyon\n",
            "[telegraph]\noffice = \"Paris\"\n",
            &[("TELEGRAPH_SPEED", "fast")][..],
            vec![of(office, "omnistack.toml"), of(speed, "the environment")],
        ),
    ] {
        let config = read(dot_env, toml, environment);
        let problems = config.read_settings::<TelegraphSettings>().err().unwrap_or_default();
        let problems: Vec<_> = problems.iter().map(|problem| format!("{problem}; {}", problem.fix)).collect();
        assert_eq!(problems, expected, "{dot_env}{toml}{environment:?}");
        assert_eq!(config.problems(), [], "no other report names it");
        assert!(config.sections().is_empty(), "the app does not read it");
    }
}

#[test]
fn a_broken_file_is_named_by_file_line_and_setting_without_its_text() {
    for (dot_env, toml, expected) in [
        (
            "# app\nDATABASE_URL=postgres://app:S3CRET pass@db/app\n",
            "",
            "`.env`: line 2, `DATABASE_URL`: can't be read",
        ),
        ("PORT=1\r\nexport KEY='S3CRET\r\nA=b\r\n", "", "`.env`: line 2, `KEY`: can't be read"),
        ("KEY=begin\nS3CRETS3CRET=\n S3CRET x\n", "", "`.env`: line 3: can't be read"),
        ("A=b S3CRET\n# A=b S3CRET\n", "", "`.env`: line 1, `A`: can't be read"),
        ("", "[database]\nurl = \"postgres://app:S3CRET@h/d\n", "`omnistack.toml`: line 2, `url`: can't be read"),
        ("", "[smtp]\nurl = S3CRET\n", "`omnistack.toml`: line 2, `url`: can't be read"),
        ("", "url = \"S3CRET\"\nurl = \"S3CRET2\"\n", "`omnistack.toml`: line 2, `url`: can't be read"),
        ("", "[smtp\nS3CRET\n", "`omnistack.toml`: line 1: can't be read"),
    ] {
        let problems = read(dot_env, toml, &[]).problems();
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.starts_with(expected), "{dot_env}{toml}: {text}");
        assert!(!text.contains("S3CRET"), "{text}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let config = read("\u{feff}SAMPLE_NEEDED=x\n", "\u{feff}[sample]\nport = 7\n", &[]);
    assert!(config.read_settings::<Sample>().is_ok_and(|sample| sample.needed == "x" && sample.port == 7));
    assert_eq!(config.problems(), []);
}

#[test]
fn a_value_outside_its_range_is_refused_and_the_reference_names_the_range() {
    for (name, text, expected) in [
        ("SAMPLE_PORT", "0", Some("`SAMPLE_PORT` (from the program): must be from 1 to 65535")),
        ("SAMPLE_PORT", "1", None),
        ("SAMPLE_WAIT", "0s", Some("`SAMPLE_WAIT` (from the program): must be from 1s to 1d")),
        ("SAMPLE_WAIT", "24h", None),
        ("SAMPLE_WAIT", "25h", Some("`SAMPLE_WAIT` (from the program): must be from 1s to 1d")),
        ("SAMPLE_SIZE", "2GiB", Some("`SAMPLE_SIZE` (from the program): must be from 1KiB to 1GiB")),
    ] {
        let problems = Config::from_pairs([("SAMPLE_NEEDED", "x"), (name, text)]).read_settings::<Sample>().err();
        let problem = problems.map(|problems| problems[0].to_string());
        assert_eq!(problem.as_deref(), expected, "{name}={text}");
    }
    let config = Config::default();
    _ = config.read_settings::<Sample>();
    assert!(
        reference(&config.sections())
            .contains("| `SAMPLE_WAIT` | duration, e.g. 30s, 5m, 1h 30m | `1h 30m` | `1s`, `1d` |")
    );
}
