//! Tests of conflicting and invalid paths.

use super::*;

#[tokio::test]
async fn routes_that_conflict_are_named() {
    let things = |name, api| named(name, Mount::public("/things"), api);
    let parameter = |path: &str| Api::new().hidden(path, get(|| async {}));
    let cases: Vec<(Vec<InlineModule>, &str)> = vec![
        (
            vec![things("a", hello()), things("b", hello())],
            "b: ANY /api/v1/public/things/hello is also mounted by module `a`",
        ),
        (
            vec![
                things("a", Api::new().hidden("/x", get(|| async {}))),
                things("b", Api::new().hidden("/x", post(|| async {}))),
            ],
            "b: ANY /api/v1/public/things/x is also mounted by module `a`",
        ),
        (
            vec![things("a", parameter("/{id}")), things("b", parameter("/{name}"))],
            "b: /api/v1/public/things/{name} can't be mounted: Insertion failed due to conflict with previously registered route: /api/v1/public/things/{id}",
        ),
        (
            vec![things("a", parameter("/{id}")), things("b", parameter("/{*rest}"))],
            "a: /api/v1/public/things/{id} can't be mounted: Insertion failed due to conflict with previously registered route: /api/v1/public/things/{*rest}",
        ),
        (
            vec![named("a", Mount::root("", AccessLevel::Public), parameter("/health"))],
            "core: GET /health is also mounted by module `a`",
        ),
    ];
    for (modules, expected) in cases {
        let error = modules.into_iter().fold(builder(&[]), AppBuilder::with).build().unwrap_err();
        let expected =
            format!("{expected}\n      fix: mount one of them at another path: `Mount::app(\"/another-path\")`");
        assert_eq!(error.0.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}

#[tokio::test]
async fn paths_that_core_serves_or_axum_refuses_are_problems_and_no_panics() {
    const ELSEWHERE: &str = "mount one of them at another path: `Mount::app(\"/another-path\")`";
    const PARAMETERS: &str = "write a parameter as `{name}`, and the rest of a path as `{*name}`";
    for (path, fix) in [
        ("/docs", ELSEWHERE),
        ("/docs/", ELSEWHERE),
        ("/docs/{page}", ELSEWHERE),
        ("/openapi.json", ELSEWHERE),
        ("/openapi/v1.json", ELSEWHERE),
        ("/health", ELSEWHERE),
        ("/:id", PARAMETERS),
        ("/a/*rest", PARAMETERS),
        ("/{", PARAMETERS),
        ("/{}", PARAMETERS),
        ("/{a}{b}", PARAMETERS),
        ("/{*rest}/more", PARAMETERS),
    ] {
        let api = Api::new().hidden(path, get(|| async {}));
        let error = builder(&[]).with(named("a", Mount::root("", AccessLevel::Public), api)).build().unwrap_err();
        assert_eq!(error.0.iter().map(|problem| problem.fix.as_str()).collect::<Vec<_>>(), [fix], "{path}: {error}");
    }
}

#[tokio::test]
async fn slashes_are_added_where_they_were_left_out() {
    for (mount, path, expected) in [
        (Mount::public("things"), "hello", "/api/v1/public/things/hello"),
        (Mount::public("/things/"), "/hello", "/api/v1/public/things/hello"),
        (Mount::public("/things"), "/", "/api/v1/public/things"),
        (Mount::public(""), "hello/", "/api/v1/public/hello/"),
        (Mount::root("v1", AccessLevel::Public), "chat", "/v1/chat"),
        (Mount::root("", AccessLevel::Public), "chat", "/chat"),
        // The app's own page replaces core's index.
        (Mount::root("/", AccessLevel::Public), "/", "/"),
        (Mount::root("", AccessLevel::Public), "", "/"),
    ] {
        let app = builder(&[]).with(named("a", mount, Api::new().hidden(path, get(|| async {})))).build().unwrap();
        let paths: Vec<_> =
            app.routes().iter().filter(|route| route.module == "a").map(|route| route.path.as_str()).collect();
        assert_eq!(paths, [expected]);
    }
}
