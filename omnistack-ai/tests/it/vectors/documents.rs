//! Documents and their chunks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_ai::{Ai, AiCaller, EmbeddedTexts, TextEmbedder};
use omnistack_core::http::Error;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{VECTOR, WordEmbedder, start, tenant};

const DOCUMENTS: &str = "/api/v1/app/vector/default/documents";

/// Creates the vectors of texts with the word "slow" when the test lets it.
#[derive(Clone, Debug, Default)]
struct GatedEmbedder {
    words: WordEmbedder,
    reached: Arc<Notify>,
    gate: Arc<Notify>,
}

#[async_trait]
impl TextEmbedder for GatedEmbedder {
    async fn embed(&self, caller: AiCaller, model: &str, texts: Vec<String>) -> Result<EmbeddedTexts, Error> {
        if texts.iter().any(|text| text.contains("slow")) {
            self.reached.notify_one();
            self.gate.notified().await;
        }
        self.words.embed(caller, model, texts).await
    }
}

async fn document(client: &TestClient, id: &str) -> Value {
    client.get(format!("{DOCUMENTS}/{id}")).await.expect(200).json()
}

async fn count(client: &TestClient) -> u64 {
    client.get(format!("{VECTOR}/default")).await.expect(200).json()["points"].as_u64().unwrap()
}

/// Returns a text of paragraphs, each of which is a chunk of 100 characters or less.
fn paragraphs(count: usize) -> String {
    let paragraph = |at| format!("Paragraph {at} is about a cat{}\n\n", " and so on".repeat(6));
    (0..count).map(paragraph).collect::<Vec<_>>().concat()
}

on_each_database! {
    async fn a_document_is_divided_stored_and_found(database: TestDatabase) {
        let app = start(database, WordEmbedder::default()).await;
        let client = app.user();
        let text = format!("{}The ship sails.", paragraphs(3));
        let body = json!({ "id": "guide", "text": text, "chunk_size": 100, "overlap": 0, "metadata": { "lang": "en" } });
        let queued = client.post(DOCUMENTS, body).await.expect(202).json();
        assert_eq!((&queued["status"], &queued["chunks"]), (&json!("queued"), &json!(4)));
        app.run_jobs().await;
        let done = document(&client, "guide").await;
        assert_eq!((&done["status"], &done["done_chunks"], &done["error"]), (&json!("done"), &json!(4), &json!(null)));
        assert!(done["tokens"].as_u64().unwrap() > 0 && done["cost"].is_null(), "{done}");

        // The database keeps the text once: as its chunks.
        let mut tx = app.db().app_database().tenant(tenant(&client)).begin_read().await.unwrap();
        let sql = "select content from omni_ai_vector_documents where tenant_id = $1";
        let (content,): (String,) = tx.query(sql).bind(tenant(&client)).fetch_one().await.unwrap();
        assert_eq!(content, "");
        drop(tx);

        let search = json!({ "query": "ship", "limit": 1, "filter": { "document": "guide", "lang": "en" } });
        let found = client.post(format!("{VECTOR}/search"), search).await.expect(200).json();
        assert_eq!(found["matches"][0]["id"], "guide#3");
        assert_eq!(found["matches"][0]["metadata"], json!({ "chunk": 3, "document": "guide", "lang": "en" }));

        let shorter = json!({ "id": "guide", "text": "A dog.", "chunk_size": 100 });
        client.post(DOCUMENTS, shorter).await.expect(202);
        app.run_jobs().await;
        assert_eq!((document(&client, "guide").await["chunks"].clone(), count(&client).await), (json!(1), 1));

        let all = client.get(DOCUMENTS).await.expect(200).json();
        assert_eq!(all["items"][0]["id"], "guide");
        client.delete(format!("{DOCUMENTS}/guide")).await.expect(204);
        client.delete(format!("{DOCUMENTS}/guide")).await.expect_error(404, "NOT_FOUND");
        assert_eq!(count(&client).await, 0);
    }

    async fn a_document_continues_where_it_failed(database: TestDatabase) {
        let embedder = WordEmbedder::default();
        let app = start(database, embedder.clone()).await;
        let client = app.user();
        client.post(DOCUMENTS, json!({ "id": "first", "text": "cat" })).await.expect(202);
        app.run_jobs().await;
        let before = embedder.texts.load(Ordering::SeqCst);

        let body = json!({ "id": "long", "text": paragraphs(100), "chunk_size": 100, "overlap": 0 });
        client.post(DOCUMENTS, body).await.expect(202);
        embedder.fails_after.store(before + 70, Ordering::SeqCst);
        app.run_jobs().await;
        let failed = document(&client, "long").await;
        assert_eq!((&failed["status"], &failed["error"]), (&json!("running"), &json!("EMBEDDING_FAILED")));
        assert_eq!(failed["done_chunks"], 64);
        embedder.fails_after.store(usize::MAX, Ordering::SeqCst);
        app.clock().advance(Duration::from_secs(10));
        app.run_jobs().await;
        let done = document(&client, "long").await;
        assert_eq!((&done["status"], &done["done_chunks"]), (&json!("done"), &json!(100)));
        assert_eq!(embedder.texts.load(Ordering::SeqCst) - before, 100, "no chunk is paid for twice");
        assert_eq!(count(&client).await, 101);
    }

    async fn a_document_that_is_sent_again_replaces_the_one_that_waits(database: TestDatabase) {
        let app = start(database, WordEmbedder::default()).await;
        let client = app.user();
        for text in ["cat", "dog", "ship"] {
            client.post(DOCUMENTS, json!({ "id": "a", "text": text })).await.expect(202);
        }
        app.run_jobs().await;
        let found = client.post(format!("{VECTOR}/search"), json!({ "query": "ship" })).await.expect(200).json();
        assert_eq!((&found["matches"][0]["text"], count(&client).await), (&json!("ship"), 1));
    }

    async fn a_slow_model_does_not_bring_an_earlier_content_back(database: TestDatabase) {
        let embedder = GatedEmbedder::default();
        let ai = Ai::from_env().text_embedder(embedder.clone());
        let app = TestApp::start(database, |app| app.with(ai)).await;
        let client = app.user();
        client.post(VECTOR, json!({ "name": "default", "dimensions": 5 })).await.expect(201);
        client.post(DOCUMENTS, json!({ "id": "a", "text": "slow cat" })).await.expect(202);
        let meanwhile = async {
            embedder.reached.notified().await;
            client.post(DOCUMENTS, json!({ "id": "a", "text": "ship" })).await.expect(202);
            app.run_jobs().await;
            assert_eq!(document(&client, "a").await["status"], "done");
            embedder.gate.notify_one();
        };
        tokio::join!(app.run_jobs(), meanwhile);
        let point = client.get(format!("{VECTOR}/default/points/a%230")).await.expect(200).json();
        assert_eq!((&point["text"], &document(&client, "a").await["status"]), (&json!("ship"), &json!("done")));
    }

    async fn documents_that_are_not_accepted_are_named(database: TestDatabase) {
        let app = start(database, WordEmbedder::default()).await;
        let client = app.user();
        for (body, expected) in [
            (json!({ "id": "a", "text": "  " }), "text"),
            (json!({ "id": "a", "text": "x\u{0}" }), "body"),
            (json!({ "id": "", "text": "x" }), "id"),
            (json!({ "id": "a", "text": "x", "chunk_size": 99 }), "chunk_size"),
            (json!({ "id": "a", "text": "x", "metadata": { "a b": 1 } }), "metadata"),
        ] {
            let refused = client.post(DOCUMENTS, body.clone()).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(refused["error"]["details"]["fields"][0]["field"], expected, "{body}");
        }
        client.post(VECTOR, json!({ "name": "docs", "dimensions": 2 })).await.expect(201);
        client.post(format!("{VECTOR}/missing/documents"), json!({ "id": "a", "text": "x" })).await
            .expect_error(404, "COLLECTION_NOT_FOUND");
    }
}
