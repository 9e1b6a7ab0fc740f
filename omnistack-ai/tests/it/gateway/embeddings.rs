//! Tests of embeddings.

#![cfg(test)]

use omnistack_ai::{Ai, ChatRequest, EmbeddingRequest, Message};
use omnistack_testkit::{TestApp, TestDatabase};

use super::{ROUTE, amounts, gateway, ledger, options, refusal, start_plain, tenant, test_llm::TestLlm};

/// A model of embeddings answers in no conversation, so it is found as such.
#[tokio::test]
async fn models_of_embeddings_embed_and_nothing_else() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Ai::from_env())).await;
    for model in ["fake-embedding", "embedding", ""] {
        let request = EmbeddingRequest::new(model, ["one", "two"]);
        let answer = gateway(&app).embed(tenant(), request, options()).await.unwrap();
        assert_eq!(answer.embeddings.vectors.len(), 2, "{model}");
        assert_eq!(answer.call.model, "fake-embedding", "{model}");
        assert!(answer.call.usage.input > 0 && answer.call.cost.is_some_and(|cost| cost.pico() > 0), "{model}");
    }
    assert_eq!(ledger(&app).await, ["succeeded"; 3]);
    let request = EmbeddingRequest::new("fake-small", ["one"]);
    let refused = refusal(gateway(&app).embed(tenant(), request, options()).await.unwrap_err());
    assert_eq!((refused.status().as_u16(), refused.code()), (422, "MODEL_NOT_SUITABLE"));
    let request = ChatRequest::new("fake-embedding", [Message::user("hello")]);
    let refused = refusal(gateway(&app).complete(tenant(), request, options()).await.unwrap_err());
    assert_eq!(refused.code(), "MODEL_NOT_SUITABLE");
    let none = EmbeddingRequest::new("fake-embedding", Vec::<String>::new());
    let refused = refusal(gateway(&app).embed(tenant(), none, options()).await.unwrap_err());
    assert_eq!(refused.code(), "VALIDATION_FAILED");
}

/// The model of conversations of the route is left out.
#[tokio::test]
async fn a_route_embeds_by_a_model_that_can() {
    let app = start_plain(&TestLlm::new("fake", []), &TestLlm::new("second", [])).await;
    let request = EmbeddingRequest::new(ROUTE, ["the weather"]);
    let answer = gateway(&app).embed(tenant(), request, options()).await.unwrap();
    assert_eq!((answer.call.provider.as_str(), answer.call.model.as_str()), ("second", "other"));
    assert_eq!(amounts(&app).await, [(2, 0, None)]);
}
