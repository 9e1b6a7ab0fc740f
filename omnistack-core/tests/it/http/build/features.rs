//! Tests of settings that only a feature reads which is not compiled in.

use super::{builder, module, refused};

omnistack_core::settings! {
    @without "telegraph" of "omnistack";
    /// The telegraph.
    pub(crate) struct TelegraphSettings {
        /// The office.
        pub(crate) office: Option<String> = "TELEGRAPH_OFFICE";
        /// The operator's key.
        pub(crate) key: Option<omnistack_core::SecretString> = "TELEGRAPH_KEY";
    }
}

#[tokio::test]
async fn they_are_reported_with_all_other_problems() {
    let telegraph = || module("telegraph", |registry| _ = registry.config::<TelegraphSettings>());
    builder(&[]).with(telegraph()).build().unwrap();
    let settings = [("TELEGRAPH_KEY", "S3CRET"), ("PORT", "eighty")];
    refused(
        builder(&settings).with(telegraph()),
        "
the app can't be built: 2 problems

  - core: `PORT` (from the program): `eighty` is not a number from 0 to 65535
      fix: set PORT in the environment, .env or omnistack.toml
  - telegraph: `TELEGRAPH_KEY` (from the program): is set, but this program is compiled without the feature `telegraph`, which reads it
      fix: add the feature `telegraph` to `omnistack` in Cargo.toml, or remove TELEGRAPH_KEY; if it is meant for another program, start this one with `TELEGRAPH_KEY=`
",
    );
}
