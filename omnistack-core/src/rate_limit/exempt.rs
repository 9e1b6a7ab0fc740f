//! Routes that a rate limit does not count.

use std::{fmt, sync::Arc};

/// The routes that a rate limit exempts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ExemptRoutes(Arc<matchit::Router<bool>>);

impl ExemptRoutes {
    /// Creates the set from the patterns of the exempt routes. `others` are the patterns of all other routes: where
    /// both match a path, the more specific one applies, as in the app's router. Returns `None` if no route is exempt,
    /// or if patterns conflict.
    pub(crate) fn new<'a>(exempt: &[&str], others: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        if exempt.is_empty() {
            return None;
        }
        let mut routes = matchit::Router::new();
        for pattern in exempt {
            routes.insert(*pattern, true).ok()?;
        }
        // Only these can match the same paths. The others are left out, so that a look-up is short.
        let overlapping: Vec<_> = others.into_iter().filter(|pattern| routes.at(pattern).is_ok()).collect();
        for pattern in overlapping {
            routes.insert(pattern, false).ok()?;
        }
        Some(Self(Arc::new(routes)))
    }

    /// Returns whether the route of a path is exempt.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.0.at(path).is_ok_and(|found| *found.value)
    }
}

impl fmt::Debug for ExemptRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExemptRoutes")
    }
}

#[cfg(test)]
mod tests {
    use super::ExemptRoutes;

    #[test]
    fn the_more_specific_route_applies() {
        let exempt = ["/webhooks/{source}", "/webhooks/{source}/{tenant}", "/hooks/mail"];
        let others = ["/webhooks", "/webhooks/catalogue", "/webhooks/{source}/{tenant}/log", "/hooks/{any}", "/{any}"];
        let routes = ExemptRoutes::new(&exempt, others).unwrap();
        for (path, expected) in [
            ("/webhooks/stripe", true),
            ("/webhooks/catalogue", false),
            ("/webhooks/stripe/1", true),
            ("/webhooks/catalogue/1", true),
            ("/webhooks/stripe/1/log", false),
            ("/webhooks", false),
            ("/hooks/mail", true),
            ("/hooks/other", false),
            ("/", false),
        ] {
            assert_eq!(routes.contains(path), expected, "{path}");
        }
        assert!(ExemptRoutes::new(&[], others).is_none());
    }
}
