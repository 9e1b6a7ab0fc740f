//! Values that an app gives to its clients and accepts from them later: sessions, API keys, cursors, links, webhooks.

#![cfg(test)]

use std::net::SocketAddr;

use omnistack::{clock::Clock, webhook::StandardSecret};
use serde_json::{Value, json};

use super::{
    client::{Call, FullResponse, sign_up_with_tokens, text},
    replica::{PUBLIC_URL, WEBHOOK_SECRET},
};

const PROJECTS: &str = "/api/v1/app/projects";
const FILES: &str = "/api/v1/app/files";
const CONTENT: &str = "The content of a file.";

/// Credentials and references of one user, given out by one replica.
pub(super) struct HandedOut {
    tokens: Value,
    api_key: String,
    /// The id of the project on the page behind the cursor.
    behind: Value,
    cursor: String,
    /// The path of a signed URL of a file.
    link: String,
    /// The id and the body of a webhook that was received.
    webhook: (String, String),
    /// The endpoint to which webhooks are sent, with its secret left out.
    endpoint: Value,
    /// A request with an idempotency key, and the project that it has created.
    created: (Call, Value),
}

impl HandedOut {
    /// Registers a user at a replica and lets it give out one of each.
    pub(super) async fn by(address: SocketAddr, name: &str) -> Self {
        let tokens = sign_up_with_tokens(address, &format!("{name}@example.com")).await;
        let access = text(&tokens, "access_token");
        let send = async |call: Call, status| call.token(&access).send(address).await.unwrap().expect(status);

        let key = json!({ "name": "Rollout", "scopes": ["*"] });
        let api_key = text(&send(Call::post("/api/v1/app/api-keys", &key), 201).await.json(), "secret");
        let mut projects = Vec::new();
        for number in 1..=3 {
            let project = json!({ "name": format!("Project {number}") });
            projects.push(send(Call::post(PROJECTS, &project), 201).await.json());
        }
        let page = send(Call::get(format!("{PROJECTS}?limit=2")), 200).await.json();
        let behind = projects.iter().find(|project| {
            let items = page["items"].as_array().unwrap();
            items.iter().all(|item| item["id"] != project["id"])
        });
        let file = send(Call::upload(format!("{FILES}?name=rollout.txt"), "text/plain", CONTENT), 201).await.json();
        let link = Call::post(format!("{FILES}/{}/link", text(&file, "id")), &json!({}));
        let link = text(&send(link, 200).await.json(), "url");
        let endpoint = json!({ "url": "https://receiver.example.com/hook", "events": ["payment.succeeded"] });
        let endpoint = send(Call::post("/api/v1/app/webhooks/endpoints", &endpoint), 201).await.json();
        let create = Call::post(PROJECTS, &json!({ "name": "Once" })).header("idempotency-key", format!("once-{name}"));
        let created = send(create.clone(), 201).await.json();
        let webhook = (format!("msg_{name}"), json!({ "type": "rollout.tested" }).to_string());
        let received = receive(address, &webhook).await;
        assert_eq!(received.json()["status"], "received", "{received}");
        Self {
            api_key,
            behind: behind.unwrap()["id"].clone(),
            cursor: text(&page, "next_cursor"),
            link: link.strip_prefix(PUBLIC_URL).unwrap().to_owned(),
            webhook,
            endpoint: json!({ "id": endpoint["id"], "url": endpoint["url"] }),
            created: (create, created),
            tokens,
        }
    }

    /// Checks that another replica accepts all of it. May be called again.
    pub(super) async fn check_at(&mut self, address: SocketAddr) {
        let access = text(&self.tokens, "access_token");
        let send = async |call: Call, status| call.token(&access).send(address).await.unwrap().expect(status);
        send(Call::get("/api/v1/app/users/me"), 200).await;
        let with_key = Call::get(PROJECTS).header("x-api-key", self.api_key.clone());
        with_key.send(address).await.unwrap().expect(200);
        let page = send(Call::get(format!("{PROJECTS}?limit=2&cursor={}", self.cursor)), 200).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.iter().any(|item| item["id"] == self.behind), "{page}");
        let content = Call::get(self.link.clone()).send(address).await.unwrap().expect(200);
        assert_eq!(content.body(), CONTENT.as_bytes());
        let received = receive(address, &self.webhook).await;
        assert_eq!(received.json()["status"], "duplicate", "{received}");
        let path = format!("/api/v1/app/webhooks/endpoints/{}", text(&self.endpoint, "id"));
        assert_eq!(send(Call::get(path), 200).await.json()["url"], self.endpoint["url"]);
        let (call, created) = &self.created;
        let replayed = send(call.clone(), 201).await;
        assert_eq!((replayed.header("idempotent-replayed"), &replayed.json()), (Some("true"), created));

        let refresh = json!({ "refresh_token": text(&self.tokens, "refresh_token") });
        let refreshed = Call::post("/api/v1/public/auth/refresh", &refresh).send(address).await.unwrap().expect(200);
        self.tokens = refreshed.json();
        let access = text(&self.tokens, "access_token");
        Call::get("/api/v1/app/users/me").token(&access).send(address).await.unwrap().expect(200);
    }
}

/// Sends a signed webhook.
async fn receive(address: SocketAddr, (id, body): &(String, String)) -> FullResponse {
    let now = Clock::system().now().as_seconds();
    let signature = StandardSecret::parse(WEBHOOK_SECRET).unwrap().sign(id, now, body.as_bytes());
    Call::upload("/api/v1/public/webhooks/standard", "application/json", body.clone())
        .header("webhook-id", id.clone())
        .header("webhook-timestamp", now.to_string())
        .header("webhook-signature", signature)
        .send(address)
        .await
        .unwrap()
        .expect(200)
}
