//! A test of a whole sign-in with an independent identity provider, oidc-provider. `cargo xtask test --peers` runs
//! it: it needs `TEST_PEERS_TOKENS`, a folder of scripts beside their Node packages.

use omnistack_core::http::client::{Client, ClientSettings};

use super::*;
use crate::issuers::peers::Peer;

/// A browser that follows redirects until one leads to the app.
struct Browser {
    client: Client,
    /// The name, path and value of each cookie.
    cookies: Vec<(String, String, String)>,
}

impl Browser {
    fn new() -> Self {
        Self { client: ClientSettings::default().client().unwrap(), cookies: Vec::new() }
    }

    /// Opens a URL. Returns the target of a redirect, or `None` if a page is shown.
    async fn open(&mut self, url: &Url, form: Option<&str>) -> Option<Url> {
        let request = match form {
            Some(form) => self.client.post(url.clone()).body(form.to_owned()),
            None => self.client.get(url.clone()),
        };
        let fit = self.cookies.iter().filter(|(_, path, _)| url.path().starts_with(path.as_str()));
        let cookies: Vec<_> = fit.map(|(name, _, value)| format!("{name}={value}")).collect();
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let path = attributes.split(';').find_map(|part| part.trim().strip_prefix("path=")).unwrap_or("/");
            self.cookies.retain(|(known, at, _)| (known.as_str(), at.as_str()) != (name, path));
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), path.to_owned(), value.to_owned()));
            }
        }
        assert!(answer.status().as_u16() < 400, "{url}: {}", answer.status());
        answer.headers().get("location").map(|to| url.join(to.to_str().unwrap()).unwrap())
    }

    /// Signs in and consents, and returns the URL of the app's callback.
    async fn walk(&mut self, mut url: Url) -> Url {
        for _ in 0..20 {
            let next = match self.open(&url, None).await {
                Some(next) => next,
                // The provider first asks for a sign-in and then for consent.
                None if !self.cookies.iter().any(|(name, ..)| name == "_session") => {
                    self.open(&url, Some("prompt=login&login=ada&password=any")).await.unwrap()
                }
                None => self.open(&url, Some("prompt=consent")).await.unwrap(),
            };
            if next.as_str().starts_with(HOME) {
                return next;
            }
            url = next;
        }
        panic!("it goes on for ever: {url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn oidc_provider() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let mut peer = Peer::node("sign-in.mjs");
        let redirect = callback("acme");
        let start_it =
            json!({ "command": "start", "redirect": redirect, "client": CLIENT, "secret": SECRET, "method": method });
        let issuer = peer.ask(start_it).await["issuer"].as_str().unwrap().to_owned();
        let provider = Provider::oidc("acme", issuer, CLIENT, SECRET);
        let app = start(TestDatabase::sqlite(), Auth::built_in().sign_in_with(provider)).await;
        let mut browser = Browser::new();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let away = start_flow(&app, "acme").await;
            let back = browser.walk(away.url.clone()).await;
            assert!(back.as_str().starts_with(&redirect), "{back}");
            // The provider announces `iss` and sends it.
            assert!(back.query().unwrap().contains("iss="), "{back}");
            let answer = away.back_with(&app, back.query().unwrap(), &away.cookie).await.expect(303);
            let ada = signed_in_user(&app, &answer).await;
            ids.push(ada["id"].clone());
            // The ID token contains the claims of the requested scopes.
            assert_eq!((&ada["email"], &ada["name"]), (&json!("ada@example.com"), &json!("Ada Lovelace")));
        }
        assert_eq!(ids[0], ids[1]);
    }
}
