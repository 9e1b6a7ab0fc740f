//! The `settings!` macro: declares a struct of settings and their documentation.

use super::{Config, ConfigProblem, SettingValue};

/// The declaration of one setting, for the reference and error messages.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name of the environment variable.
    pub name: &'static str,
    /// Expected text, such as `duration, e.g. 30s`.
    pub expected: &'static str,
    /// Description.
    pub doc: &'static str,
    /// Value if the setting is absent.
    pub default: Option<&'static str>,
    /// Value if the setting is absent outside production. In production the setting is required and must have
    /// another value.
    pub development: Option<&'static str>,
    /// Least and greatest value, both included; set for numbers, durations and sizes.
    pub range: Option<(&'static str, &'static str)>,
    /// Whether the value is never shown.
    pub secret: bool,
    /// Whether the setting has neither a default nor a natural empty value.
    pub required: bool,
}

/// A group of settings that one module owns. Implemented by [`settings!`](crate::settings).
pub trait SettingsSection: Sized {
    /// Heading in the reference.
    const TITLE: &'static str;

    /// Returns all settings in the order of their declaration.
    fn settings() -> Vec<Setting>;

    /// Reads all settings.
    ///
    /// # Errors
    /// All problems found in the section.
    fn read(config: &Config) -> Result<Self, Vec<ConfigProblem>>;
}

/// A reader of the settings of one section. It collects their problems.
#[derive(Debug)]
pub struct SettingsReader<'a> {
    config: &'a Config,
    problems: Vec<ConfigProblem>,
}

impl<'a> SettingsReader<'a> {
    /// Creates a reader without problems.
    pub fn new(config: &'a Config) -> Self {
        Self { config, problems: Vec::new() }
    }

    /// Reads the value of a setting. If the setting is missing or invalid, adds a problem and returns `None`.
    pub fn read<T: SettingValue>(&mut self, setting: Setting) -> Option<T> {
        let found = self.config.get(setting.name);
        let production = self.config.environment().is_production();
        let (text, origin) = match (found, setting.default, setting.development) {
            (Some((text, origin)), _, Some(development)) if production && text == development => {
                let message = "holds the development value; set one of your own in production".into();
                self.problems.push(ConfigProblem::of_setting(setting.name.into(), Some(origin), message));
                return None;
            }
            (Some((text, origin)), ..) => (text, Some(origin)),
            (None, Some(default), _) => (default, None),
            (None, None, Some(development)) if !production => (development, None),
            (None, ..) => {
                let absent = T::when_unset().filter(|_| setting.development.is_none());
                if absent.is_none() {
                    let message = format!("must be set ({}). {}", setting.expected, setting.doc.trim());
                    self.problems.push(ConfigProblem::new(setting.name, message));
                }
                return absent;
            }
        };
        T::parse(text)
            .map_err(|wrong| if T::SECRET { format!("is not a {}", setting.expected) } else { wrong })
            .and_then(|value| in_range(value, setting))
            .map_err(|message| self.problems.push(ConfigProblem::of_setting(setting.name.into(), origin, message)))
            .ok()
    }

    /// Returns the section.
    ///
    /// # Errors
    /// All problems found, if there are any.
    pub fn finish<S>(self, section: Option<S>) -> Result<S, Vec<ConfigProblem>> {
        match section {
            Some(section) if self.problems.is_empty() => Ok(section),
            _ => Err(self.problems),
        }
    }
}

/// Returns the value if it is within the range its setting declares, otherwise a message.
fn in_range<T: SettingValue>(value: T, setting: Setting) -> Result<T, String> {
    let Some((least, most)) = setting.range else { return Ok(value) };
    if value.between(&T::parse(least)?, &T::parse(most)?) {
        Ok(value)
    } else {
        Err(format!("must be from {least} to {most}"))
    }
}

/// Declares a struct of settings.
///
/// A field names its environment variable and, unless its type has a natural empty value (`Option`, `Vec`), a
/// `default` or a `development` value. In production the development value is refused. A setting with neither is
/// required. Numbers, durations and sizes must declare their least and greatest value as a `range`; otherwise the
/// section does not compile. The first line of the struct's documentation is the title of the section.
///
/// `feature "redis" of "omnistack";` before the struct names the Cargo feature with which the settings are read, and the
/// crate at which users turn it on. Without the feature the struct has no fields, and reading the section fails if one of
/// its settings is set.
///
/// See [`config`](crate::config) for examples.
#[macro_export]
macro_rules! settings {
    (feature $feature:literal of $package:literal; $($section:tt)*) => {
        #[cfg(feature = $feature)]
        $crate::settings! { $($section)* }
        #[cfg(not(feature = $feature))]
        $crate::settings! { @without $feature of $package; $($section)* }
    };
    (
        @without $feature:literal of $package:literal;
        $(#[doc = $title:literal] $(#[doc = $more:literal])*)?
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field_vis:vis $field:ident : $ty:ty = $key:literal
                    $(, default $default:literal)? $(, development $development:literal)?
                    $(, range $least:literal ..= $most:literal)? ;
            )*
        }
    ) => {
        /// The settings of a feature that is not compiled in.
        #[derive(Clone, Debug)]
        pub(crate) struct $name;

        impl $crate::config::SettingsSection for $name {
            const TITLE: &'static str = concat!($($title)?);

            fn settings() -> Vec<$crate::config::Setting> {
                Vec::new()
            }

            fn read(config: &$crate::config::Config) -> Result<Self, Vec<$crate::config::ConfigProblem>> {
                config.check_unset($feature, $package, &[$($key),*]).map(|()| Self)
            }
        }
    };
    (
        $(#[doc = $title:literal] $(#[doc = $more:literal])*)?
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field_vis:vis $field:ident : $ty:ty = $key:literal
                    $(, default $default:literal)? $(, development $development:literal)?
                    $(, range $least:literal ..= $most:literal)? ;
            )*
        }
    ) => {
        $(#[doc = $title] $(#[doc = $more])*)?
        #[derive(Clone, Debug)]
        $vis struct $name {
            $( $(#[doc = $doc])* #[doc = concat!("\n\nSetting: `", $key, "`.")] $field_vis $field: $ty, )*
        }

        impl $crate::config::SettingsSection for $name {
            const TITLE: &'static str = concat!($($title)?);

            fn settings() -> Vec<$crate::config::Setting> {
                $(
                    const _: () = assert!(
                        !<$ty as $crate::config::SettingValue>::ORDERED || !<[&str]>::is_empty(&[$($least)?]),
                        concat!("`", $key, "` needs its least and most value: add `, range \"1\"..=\"100\"`"),
                    );
                )*
                vec![$({
                    let default: Option<&'static str> = None $(.or(Some($default)))?;
                    let development: Option<&'static str> = None $(.or(Some($development)))?;
                    $crate::config::Setting {
                        name: $key,
                        expected: <$ty as $crate::config::SettingValue>::EXPECTED,
                        doc: concat!($($doc, "\n"),*),
                        default,
                        development,
                        range: None $(.or(Some(($least, $most))))?,
                        secret: <$ty as $crate::config::SettingValue>::SECRET,
                        required: default.is_none() && <$ty as $crate::config::SettingValue>::when_unset().is_none(),
                    }
                }),*]
            }

            fn read(config: &$crate::config::Config) -> Result<Self, Vec<$crate::config::ConfigProblem>> {
                let mut reader = $crate::config::SettingsReader::new(config);
                let mut settings = <Self as $crate::config::SettingsSection>::settings().into_iter();
                $( let $field: Option<$ty> = settings.next().and_then(|setting| reader.read(setting)); )*
                let section = (|| Some(Self { $($field: $field?),* }))();
                reader.finish(section)
            }
        }
    };
}
