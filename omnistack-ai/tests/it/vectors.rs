//! Tests of vectors.

#![cfg(test)]

mod conformance;
mod documents;
mod engines;
#[cfg(feature = "qdrant")]
mod qdrant;
mod routes;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use omnistack_ai::{Ai, AiCaller, EmbeddedTexts, TextEmbedder};
use omnistack_core::{
    http::{Error, StatusCode},
    identity::TenantId,
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};

pub(super) const VECTOR: &str = "/api/v1/app/vector";

/// Creates vectors with a dimension for each of a few words, and one for all others.
#[derive(Clone, Debug)]
pub(super) struct WordEmbedder {
    /// The number of texts for which vectors were created.
    pub(super) texts: Arc<AtomicUsize>,
    /// The number from which on calls fail.
    pub(super) fails_after: Arc<AtomicUsize>,
}

impl Default for WordEmbedder {
    fn default() -> Self {
        Self { texts: Arc::default(), fails_after: Arc::new(AtomicUsize::new(usize::MAX)) }
    }
}

const WORDS: [&str; 4] = ["cat", "dog", "ship", "tax"];

#[async_trait]
impl TextEmbedder for WordEmbedder {
    async fn embed(&self, _: AiCaller, _: &str, texts: Vec<String>) -> Result<EmbeddedTexts, Error> {
        if self.texts.load(Ordering::SeqCst) + texts.len() > self.fails_after.load(Ordering::SeqCst) {
            return Err(Error::new(StatusCode::BAD_GATEWAY, "EMBEDDING_FAILED", "it fails"));
        }
        self.texts.fetch_add(texts.len(), Ordering::SeqCst);
        let vector = |text: &String| {
            let count = |word: &&str| f32::from(u8::try_from(text.to_lowercase().matches(word).count()).unwrap());
            let mut vector: Vec<f32> = WORDS.iter().map(count).collect();
            vector.push(0.1);
            vector
        };
        let tokens = texts.iter().map(|text| text.len() as u64 / 4).sum();
        Ok(EmbeddedTexts::new(texts.iter().map(vector).collect(), tokens, None))
    }
}

/// Starts an app whose vectors are those of the embedder.
pub(super) async fn start(database: TestDatabase, embedder: WordEmbedder) -> TestApp {
    TestApp::start(database, |app| app.with(Ai::from_env().text_embedder(embedder))).await
}

pub(super) fn tenant(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}
