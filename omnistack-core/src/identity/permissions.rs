//! Permissions of callers.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A set of permissions of the form `resource:action`, such as `projects:write`. `*` matches every resource or
/// every action; on its own it matches everything.
///
/// Permissions are only granted: what is not allowed is denied. Cheap to clone.
///
/// ```
/// use omnistack_core::identity::Permissions;
///
/// let developer: Permissions = "*:read projects:*".parse()?;
/// assert!(developer.allows("projects:write") && developer.allows("members:read"));
/// assert!(!developer.allows("members:write"));
/// // A caller can only grant permissions they have.
/// assert!(developer.is_superset(&"projects:write".parse()?) && !developer.is_superset(&Permissions::all()));
/// # Ok::<_, omnistack_core::identity::PermissionError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Permissions(Arc<[Cow<'static, str>]>);

/// All permissions the routes of the app require, sorted. The app provides them in its [`Context`](crate::module::Context).
///
/// ```
/// use omnistack_core::{app::App, module::{Module, Registry}, config::Config, identity::PermissionCatalog};
///
/// struct Reports;
///
/// impl Module for Reports {
///     fn name(&self) -> &'static str {
///         "reports"
///     }
///
///     fn register(&self, registry: &mut Registry) {
///         registry.permissions(["reports:read"]);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let known: PermissionCatalog = App::builder(config).with(Reports).build()?.context().get()?;
/// assert!(known.0.iter().any(|one| one == "reports:read"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionCatalog(pub Arc<[String]>);

/// An error for text that is not a permission. Contains the text.
///
/// ```
/// use omnistack_core::{http::{Error, FieldError}, identity::{PermissionError, Permissions}};
///
/// fn read(scopes: &str) -> Result<Permissions, Error> {
///     let wrong = |error: PermissionError| Error::invalid([FieldError::new("scopes", error.to_string())]);
///     scopes.parse().map_err(wrong)
/// }
/// assert!(read("projects:read").is_ok());
/// assert_eq!(read("projects:read Admin").unwrap_err().status(), 422);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a permission; write `resource:action` in lower case, e.g. `projects:write`, `projects:*` or `*:read`"
)]
pub struct PermissionError(pub String);

impl Permissions {
    /// Creates an empty set.
    pub fn none() -> Self {
        Self::default()
    }

    /// Creates a set that allows every permission, including future ones.
    pub fn all() -> Self {
        Self(Arc::new([Cow::Borrowed("*")]))
    }

    /// Creates a set of these permissions.
    ///
    /// # Errors
    /// [`PermissionError`] with the first text that is not a permission.
    pub fn new<T: Into<Cow<'static, str>>>(permissions: impl IntoIterator<Item = T>) -> Result<Self, PermissionError> {
        let checked = |permission: T| {
            let permission = permission.into();
            if is_permission(&permission) { Ok(permission) } else { Err(PermissionError(permission.into_owned())) }
        };
        permissions.into_iter().map(checked).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether the set includes a permission.
    pub fn allows(&self, permission: &str) -> bool {
        let (resource, action) = resource_and_action(permission);
        self.0
            .iter()
            .map(|own| resource_and_action(own))
            .any(|(on, may)| (on == "*" || on == resource) && (may == "*" || may == action))
    }

    /// Returns whether the set includes every permission of the other set.
    pub fn is_superset(&self, others: &Self) -> bool {
        others.0.iter().all(|other| self.allows(other))
    }

    /// Returns the permissions that both sets include. An API key with scopes has the intersection of its scopes
    /// and its owner's permissions.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let narrower = |(one, two): (&Cow<'static, str>, &Cow<'static, str>)| {
            let ((one_on, one_may), (two_on, two_may)) = (resource_and_action(one), resource_and_action(two));
            let meet = |one, two| match (one, two) {
                ("*", other) | (other, "*") => Some(other),
                (one, two) => (one == two).then_some(one),
            };
            Some(match (meet(one_on, two_on)?, meet(one_may, two_may)?) {
                ("*", "*") => Cow::Borrowed("*"),
                (on, may) => Cow::Owned(format!("{on}:{may}")),
            })
        };
        let pairs = self.0.iter().flat_map(|one| other.0.iter().map(move |two| (one, two)));
        let mut both: Vec<_> = pairs.filter_map(narrower).collect();
        both.sort();
        both.dedup();
        Self(both.into())
    }

    /// Returns the permissions as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// Splits a permission into resource and action. `*` is the same as `*:*`.
fn resource_and_action(permission: &str) -> (&str, &str) {
    permission.split_once(':').unwrap_or((permission, permission))
}

fn is_permission(text: &str) -> bool {
    let word = |word: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        word == "*" || ((1..=64).contains(&word.len()) && word.bytes().all(allowed))
    };
    text == "*" || text.split_once(':').is_some_and(|(resource, action)| word(resource) && word(action))
}

/// Parses permissions separated by spaces, like OAuth scopes (RFC 6749, section 3.3).
impl FromStr for Permissions {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        Self::new(text.split_ascii_whitespace().map(str::to_owned))
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.join(" "))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter()).finish()
    }
}

/// Serialized as a list of strings.
impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<String>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Permissions {
        text.parse().unwrap()
    }

    #[test]
    fn what_allows_what() {
        for (own, asked, expected) in [
            ("", "projects:read", false),
            ("*", "projects:read", true),
            ("*:*", "projects:read", true),
            ("projects:read", "projects:read", true),
            ("projects:read", "projects:write", false),
            ("projects:*", "projects:write", true),
            ("projects:*", "project:write", false),
            ("*:read", "projects:read", true),
            ("*:read", "projects:write", false),
            ("*:read members:write", "members:write", true),
            // A pattern is allowed only by a pattern at least as wide.
            ("projects:read", "projects:*", false),
            ("projects:*", "projects:*", true),
            ("*:read", "*", false),
            ("*", "*", true),
        ] {
            assert_eq!(set(own).allows(asked), expected, "{own} allows {asked}");
        }
    }

    #[test]
    fn both_is_what_each_allows() {
        for (one, two, both) in [
            ("*", "projects:read", "projects:read"),
            ("*:read", "projects:*", "projects:read"),
            ("*:read", "*:write", ""),
            ("*", "*", "*"),
            ("*:read projects:*", "projects:write members:read", "members:read projects:write"),
        ] {
            assert_eq!(set(one).intersection(&set(two)), set(both), "{one} and {two}");
            assert_eq!(set(two).intersection(&set(one)), set(both), "{two} and {one}");
        }
    }

    #[test]
    fn what_is_no_permission() {
        for text in ["projects", "Projects:read", "projects:", ":read", "a:b:c", "**:read", "projects:re*d"] {
            assert_eq!(text.parse::<Permissions>(), Err(PermissionError(text.into())));
        }
    }
}
