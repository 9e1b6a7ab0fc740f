//! Changes that an app makes to the routes of modules: routes that it leaves out, or serves at another path.

use std::sync::Arc;

use super::Mount;

/// The method of routes that the OpenAPI document leaves out: any.
pub(crate) const ANY_METHOD: &str = "ANY";

/// The fix of a pattern that can't be read.
pub(crate) const PATTERN_FIX: &str =
    "write it as `/api/v1/app/rooms/{id}`, `DELETE /api/*/app/rooms/{id}` or `/api/*/app/rooms/**`";

const METHODS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];

/// A pattern of routes: a path, with a method before it if only routes of that method are meant. The segment `*`
/// matches one segment, `{name}` a parameter of any name, and `**` at the end the path itself and all paths below it.
#[derive(Clone, Debug)]
pub(crate) struct RoutePattern {
    text: String,
    method: Option<String>,
    segments: Vec<String>,
    /// Whether paths below it match as well.
    below: bool,
}

impl RoutePattern {
    /// Parses a pattern. Fails with what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), path),
            None => (None, text),
        };
        if let Some(method) = method.filter(|method| !METHODS.contains(method)) {
            return Err(format!("`{method}` is not a method such as `GET`"));
        }
        let Some(rest) = path.strip_prefix('/') else {
            return Err(format!("`{path}` is not a path that begins with `/`"));
        };
        let mut segments: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let below = segments.last().is_some_and(|last| last == "**");
        if below {
            segments.pop();
        }
        if segments.iter().any(|segment| segment == "**") {
            return Err(format!("`{path}` has `**` before its end"));
        }
        Ok(Self { text: text.to_owned(), method: method.map(str::to_owned), segments, below })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether a route matches. A route of any method matches each method.
    pub(crate) fn matches(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|own| own == method) && self.matches_path(path)
    }

    /// Returns whether a route serves requests of the pattern.
    pub(crate) fn is_served_by(&self, method: &str, path: &str) -> bool {
        (method == ANY_METHOD || self.method.as_deref().is_none_or(|own| own == method)) && self.matches_path(path)
    }

    fn matches_path(&self, path: &str) -> bool {
        let segments: Vec<_> = segments(path).collect();
        let is_long_enough =
            if self.below { segments.len() >= self.segments.len() } else { segments.len() == self.segments.len() };
        is_long_enough && self.segments.iter().zip(&segments).all(|(own, other)| matches_segment(own, other))
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn matches_segment(pattern: &str, segment: &str) -> bool {
    pattern == "*" || pattern == segment || (is_parameter(pattern) && is_parameter(segment))
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

/// Returns whether a segment stands for the segment of a route, which a move keeps.
fn is_variable(segment: &str) -> bool {
    segment == "*" || is_parameter(segment)
}

/// A move of routes from one path prefix to another. The variable segments of the new prefix stand for the segments that
/// those of the old prefix match, in their order.
#[derive(Clone, Debug)]
pub(crate) struct RouteMove {
    from: RoutePattern,
    to: Vec<String>,
}

impl RouteMove {
    fn parse(from: &str, to: &str) -> Result<Self, String> {
        let from = RoutePattern::parse(from)?;
        let to = RoutePattern::parse(to)?;
        if from.method.is_some() || to.method.is_some() {
            return Err("routes are moved with all methods of their path; leave the method out".into());
        }
        if from.below || to.below {
            return Err("a route is moved with all paths below it; leave `/**` out".into());
        }
        let variables = |pattern: &RoutePattern| pattern.segments.iter().filter(|it| is_variable(it)).count();
        if variables(&from) != variables(&to) {
            return Err("both paths need the same number of `*` and `{parameters}`".into());
        }
        // The root has one empty segment.
        Ok(Self { from, to: to.segments.into_iter().filter(|segment| !segment.is_empty()).collect() })
    }

    /// Returns the new path of a route, or `None` if the move is not about it.
    fn apply(&self, path: &str) -> Option<String> {
        let all: Vec<_> = segments(path).collect();
        let own = &self.from.segments;
        let matches = all.len() >= own.len() && own.iter().zip(&all).all(|(own, other)| matches_segment(own, other));
        if !matches {
            return None;
        }
        let (moved, rest) = all.split_at(own.len());
        let mut kept = own.iter().zip(moved).filter(|(own, _)| is_variable(own)).map(|(_, segment)| *segment);
        let mut new: Vec<&str> = Vec::with_capacity(self.to.len() + rest.len());
        for segment in &self.to {
            new.push(if is_variable(segment) { kept.next().unwrap_or(segment.as_str()) } else { segment.as_str() });
        }
        new.extend(rest);
        Some(format!("/{}", new.join("/")))
    }
}

/// The moves of a module's routes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteMoves(Arc<[RouteMove]>);

impl RouteMoves {
    /// Returns the new path of a route, or `None` if it is not moved. The first move that is about it applies.
    pub(crate) fn apply(&self, path: &str) -> Option<String> {
        self.0.iter().find_map(|rule| rule.apply(path))
    }
}

/// A change of the app, as the builder takes it.
#[derive(Clone, Debug)]
pub(crate) enum RouteChange {
    LeaveOut { module: String, pattern: String },
    Move { module: String, from: String, to: String },
}

#[derive(Debug)]
struct OmissionRule {
    module: String,
    pattern: RoutePattern,
    /// Whether the app, and not the module itself, leaves the routes out.
    by_app: bool,
    used: bool,
}

#[derive(Debug)]
struct MoveRule {
    module: String,
    rule: RouteMove,
    used: bool,
}

/// The changes of all modules' routes, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct RouteChanges {
    left_out: Vec<OmissionRule>,
    moved: Vec<MoveRule>,
    /// Method and path of the routes that are left out.
    gone: Vec<(String, String)>,
    /// Method, path and new path of the routes that are moved.
    elsewhere: Vec<(String, String, String)>,
}

/// The fate of a route that is not served.
pub(crate) enum RouteFate<'a> {
    LeftOut,
    MovedTo(&'a str),
    Unknown,
}

impl RouteChanges {
    /// Adds a change of the app. Fails with what is wrong with it.
    pub(crate) fn add(&mut self, change: RouteChange) -> Result<(), String> {
        match change {
            RouteChange::LeaveOut { module, pattern } => self.leave_out(module, &pattern, true),
            RouteChange::Move { module, from, to } => {
                self.moved.push(MoveRule { module, rule: RouteMove::parse(&from, &to)?, used: false });
                Ok(())
            }
        }
    }

    /// Leaves out routes of a module.
    pub(crate) fn leave_out(&mut self, module: impl Into<String>, pattern: &str, by_app: bool) -> Result<(), String> {
        let pattern = RoutePattern::parse(pattern)?;
        self.left_out.push(OmissionRule { module: module.into(), pattern, by_app, used: false });
        Ok(())
    }

    /// Returns the moves of a module.
    pub(crate) fn moves_of(&self, module: &str) -> RouteMoves {
        let own = self.moved.iter().filter(|moved| moved.module == module).map(|moved| moved.rule.clone());
        RouteMoves(own.collect())
    }

    /// Returns whether a route is left out. `path` is the path that its module declares.
    pub(crate) fn leaves_out(&self, module: &str, method: &str, path: &str) -> bool {
        self.left_out.iter().any(|rule| rule.module == module && rule.pattern.matches(method, path))
    }

    /// Returns whether a route stays, and records which changes were about it.
    pub(crate) fn keeps(&mut self, module: &str, mount: &Mount, method: &str, path: &str) -> bool {
        let declared = mount.declared(path);
        let mut kept = true;
        for rule in self.left_out.iter_mut().filter(|rule| rule.module == module) {
            if rule.pattern.matches(method, &declared) {
                (rule.used, kept) = (true, false);
            }
        }
        // A move is about the routes that are left out as well.
        for moved in self.moved.iter_mut().filter(|moved| moved.module == module) {
            moved.used |= moved.rule.apply(&declared).is_some();
        }
        let served = mount.join(path);
        if !kept {
            self.gone.push((method.to_owned(), declared));
        } else if served != declared {
            self.elsewhere.push((method.to_owned(), declared, served));
        }
        kept
    }

    /// Records that rules were about a route that no module registers, such as the page of the documentation.
    pub(crate) fn record_page(&mut self, module: &str, path: &str) {
        for rule in self.left_out.iter_mut().filter(|rule| rule.module == module) {
            rule.used |= rule.pattern.matches("GET", path);
        }
    }

    /// Returns what became of a route that is not served.
    pub(crate) fn fate(&self, pattern: &RoutePattern) -> RouteFate<'_> {
        if self.gone.iter().any(|(method, path)| pattern.is_served_by(method, path)) {
            return RouteFate::LeftOut;
        }
        let moved = self.elsewhere.iter().find(|(method, path, _)| pattern.is_served_by(method, path));
        moved.map_or(RouteFate::Unknown, |(.., to)| RouteFate::MovedTo(to))
    }

    /// Returns the changes of the app that were about no route: what it said, and of which module.
    pub(crate) fn unused(&self) -> Vec<(String, &str)> {
        let left_out = self.left_out.iter().filter(|rule| rule.by_app && !rule.used);
        let left_out =
            left_out.map(|rule| (format!("the app leaves out `{}`", rule.pattern.as_str()), rule.module.as_str()));
        let moved = self.moved.iter().filter(|moved| !moved.used);
        let moved = moved.map(|moved| (format!("the app moves `{}`", moved.rule.from.as_str()), moved.module.as_str()));
        left_out.chain(moved).collect()
    }

    /// Returns whether the app has fewer routes than its modules declare.
    pub(crate) fn removed_any(&self) -> bool {
        !self.gone.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{RouteMove, RoutePattern};

    #[test]
    fn a_pattern_matches_routes_by_method_and_path() {
        for (pattern, method, path, expected) in [
            ("/api/v1/app/teams", "GET", "/api/v1/app/teams", true),
            ("/api/v1/app/teams", "GET", "/api/v1/app/teams/{id}", false),
            ("/api/v1/app/teams/**", "GET", "/api/v1/app/teams", true),
            ("/api/v1/app/teams/**", "DELETE", "/api/v1/app/teams/{id}/members/{user}", true),
            ("/api/v1/app/teams/**", "GET", "/api/v1/app/teamsters", false),
            ("/api/*/app/teams", "GET", "/api/v2/app/teams", true),
            ("/api/*/teams", "GET", "/api/v2/app/teams", false),
            ("/api/v1/app/teams/{team}", "GET", "/api/v1/app/teams/{id}", true),
            ("/api/v1/app/teams/{team}", "GET", "/api/v1/app/teams/current", false),
            ("/api/v1/app/teams/*", "GET", "/api/v1/app/teams/current", true),
            ("POST /api/v1/app/teams", "POST", "/api/v1/app/teams", true),
            ("POST /api/v1/app/teams", "GET", "/api/v1/app/teams", false),
            ("POST /api/v1/app/teams", "ANY", "/api/v1/app/teams", false),
            ("/docs/**", "GET", "/docs/{*file}", true),
            ("/docs/**", "GET", "/docs/", true),
            ("/", "GET", "/", true),
            ("/**", "GET", "/anything/below", true),
        ] {
            assert_eq!(
                RoutePattern::parse(pattern).unwrap().matches(method, path),
                expected,
                "{pattern}: {method} {path}"
            );
        }
        let any = RoutePattern::parse("POST /login").unwrap();
        assert!(any.is_served_by("ANY", "/login") && !any.is_served_by("GET", "/login"));
        for wrong in ["api/v1", "get /api/v1", "FETCH /api/v1", "/api/**/teams", "POST"] {
            assert!(RoutePattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_move_keeps_what_is_variable() {
        for (from, to, path, expected) in [
            ("/api/v1/app/teams", "/api/v1/app/groups", "/api/v1/app/teams", Some("/api/v1/app/groups")),
            ("/api/v1/app/teams", "/api/v1/app/groups", "/api/v1/app/teams/{id}", Some("/api/v1/app/groups/{id}")),
            ("/api/v1/app/teams", "/api/v1/app/groups", "/api/v1/app/teamsters", None),
            ("/api/*/app/teams", "/api/*/app/groups", "/api/v2/app/teams/{id}", Some("/api/v2/app/groups/{id}")),
            ("/teams/{id}/members", "/people/{team}", "/teams/{id}/members/{user}", Some("/people/{id}/{user}")),
            ("/a/b", "/", "/a/b/c", Some("/c")),
        ] {
            assert_eq!(RouteMove::parse(from, to).unwrap().apply(path).as_deref(), expected, "{from}: {path}");
        }
        for (from, to) in [("/a/*", "/b"), ("/a", "/b/{id}"), ("/a/**", "/b/**"), ("GET /a", "/b"), ("a", "/b")] {
            assert!(RouteMove::parse(from, to).is_err(), "{from} {to}");
        }
    }
}
