//! Operation ids.

use crate::{http::ApiVersion, module::Mount};

/// Returns the id of an operation in camel case: a verb and a resource, as in `listProjects`.
///
/// `name` is the handler's `operation_id`, or the name of its function. If it is a single word, it is the verb, and
/// the resource comes from the path: `get` at `/projects/{id}` becomes `getProject`. The prefix of the mount is put
/// in front (`adminGetProject`), and `V2` is appended in version 2. A name with a capital letter is no name of a function:
/// it is an id that the handler sets, and stays.
pub(crate) fn operation_id(name: &str, mount: &Mount, path: &str) -> String {
    if name.contains(char::is_uppercase) {
        return name.to_owned();
    }
    let version = mount.version.filter(|version| version.0 > 1);
    let name = version.map_or(name, |version| without_version(name, version));
    let resource = if words(name).count() == 1 { resource(name, &mount.declared(path)) } else { String::new() };
    let all = words(&mount.operation_prefix).chain(words(name)).chain(words(&resource)).collect::<Vec<_>>();
    let version = version.map(|version| format!("V{}", version.0)).unwrap_or_default();
    let words = all.iter().enumerate().map(|(at, word)| if at == 0 { lower_first(word) } else { upper_first(word) });
    words.chain([version]).collect()
}

/// Returns `get_me` for `get_me_v2`: a handler of version 2 beside one of version 1 needs a function name of its own.
fn without_version(name: &str, version: ApiVersion) -> &str {
    name.strip_suffix(&format!("_{version}")).unwrap_or(name)
}

/// Returns the last named part of a path other than the verb. It is singular if a parameter follows it, or if the
/// verb creates an item of a collection.
fn resource(verb: &str, path: &str) -> String {
    let relative = path.strip_prefix("/api/").and_then(|rest| rest.splitn(3, '/').nth(2)).unwrap_or(path);
    let segments: Vec<_> = relative.split('/').filter(|segment| !segment.is_empty()).collect();
    let is_named = |segment: &str| !segment.starts_with('{') && segment != verb;
    let Some(at) = segments.iter().rposition(|segment| is_named(segment)) else { return String::new() };
    let is_of_one = segments.get(at + 1).is_some_and(|next| next.starts_with('{'));
    if is_of_one || ["create", "add"].contains(&verb) { singular(segments[at]) } else { segments[at].into() }
}

/// Returns the singular of an English plural, such as `project` for `projects`, by common endings.
fn singular(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    }
    if ["sses", "shes", "ches", "xes"].iter().any(|ending| word.ends_with(ending)) {
        return word.trim_end_matches("es").to_owned();
    }
    // `status` and `access` are singular.
    word.strip_suffix('s').filter(|stem| !stem.ends_with(['s', 'u'])).unwrap_or(word).to_owned()
}

/// Splits a name in snake case or kebab case into words.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn upper_first(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn lower_first(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_verb_and_a_resource() {
        let app = || Mount::app("/projects");
        for (name, mount, path, expected) in [
            ("list", app(), "/", "listProjects"),
            ("create", app(), "/", "createProject"),
            ("get", app(), "/{id}", "getProject"),
            ("restore", app(), "/{id}/restore", "restoreProject"),
            ("retry", app(), "/retry", "retryProjects"),
            ("list", app(), "/{id}/members", "listMembers"),
            ("remove", app(), "/{id}/members/{user}", "removeMember"),
            ("list_projects", app(), "/", "listProjects"),
            ("list", Mount::admin("/projects"), "/", "adminListProjects"),
            ("list", Mount::public("/projects").operation_prefix("public"), "/", "publicListProjects"),
            ("list", app().v2(), "/", "listProjectsV2"),
            ("list_v2", app().v2(), "/", "listProjectsV2"),
            ("export_account_v2", app().v2(), "/", "exportAccountV2"),
            ("hello", Mount::public("/hello"), "/", "hello"),
            ("get", Mount::app("/users/me"), "/", "getMe"),
            ("get", Mount::app("/api-keys"), "/{id}", "getApiKey"),
            ("get", Mount::root("/v1", crate::identity::AccessLevel::Machine), "/companies/{id}", "getCompany"),
            ("get", app(), "/{id}/addresses/{address}", "getAddress"),
            ("get", app(), "/{id}/status", "getStatus"),
            ("get", app(), "/{id}/boxes/{box}", "getBox"),
            ("getRoom", Mount::admin("/rooms").v2(), "/{id}", "getRoom"),
        ] {
            assert_eq!(operation_id(name, &mount, path), expected, "{name} at {}", mount.join(path));
        }
    }
}
