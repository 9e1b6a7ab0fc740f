//! Reads and writes of the cache of answers. A failure of the cache is a miss: the call is answered by a model.

use std::time::Duration;

use omnistack_core::{crypto::Sha256, identity::TenantId};

use super::{
    call_run::CallPlan, detached::CallerPresence, engine::Engine, estimate, observe::count_cache, policy::CallKind,
};
use crate::{
    cache::{CacheKey, MessageEmbedding, SemanticKey, StoredAnswer},
    call::{CachePolicy, CallOptions},
    chat::{CallTimeouts, ChatRequest, ChatResponse, Message},
    embedding::EmbeddingRequest,
};

/// The label of the usage of embeddings by which messages are compared.
const EMBEDDING_PURPOSE: &str = "semantic_cache";

/// The result of a read of the cache.
#[derive(Default)]
pub(super) struct CacheLookup {
    pub(super) found: Option<StoredAnswer>,
    /// The embedding of the user's message, with which the answer of a model is stored.
    pub(super) embedding: Option<MessageEmbedding>,
}

/// The key and the time to live of an answer that is to be stored.
pub(super) struct AnswerToStore {
    tenant: TenantId,
    key: CacheKey,
    embedding: Option<MessageEmbedding>,
    ttl: Duration,
}

impl CallPlan {
    /// Returns the key and the time to live of the answer, or `None` if it is not cached.
    pub(super) fn answer_to_store(&self, embedding: Option<MessageEmbedding>) -> Option<AnswerToStore> {
        let ttl = match self.options.cache {
            CachePolicy::Off => return None,
            CachePolicy::Exact(ttl) | CachePolicy::Semantic(ttl) => ttl,
        };
        Some(AnswerToStore { tenant: self.caller.tenant, key: self.cache_key.clone()?, embedding, ttl })
    }
}

impl Engine {
    /// Returns the stored answer to an equal request, or to one that means the same.
    pub(super) async fn find_cached(&self, plan: &CallPlan) -> CacheLookup {
        match &plan.cache_key {
            // Most calls have no key, and no memory for what a lookup needs.
            Some(key) => Box::pin(self.look_up(plan, key)).await,
            None => CacheLookup::default(),
        }
    }

    async fn look_up(&self, plan: &CallPlan, key: &CacheKey) -> CacheLookup {
        let tenant = plan.caller.tenant;
        match self.answers.find(tenant, key).await {
            Ok(Some(found)) => {
                count_cache("hit");
                return CacheLookup { found: Some(found), embedding: None };
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(target: "omnistack::ai", %error, "the cache of answers can't be read"),
        }
        let embedding = match &key.semantic {
            Some(semantic) => self.embed_message(plan, semantic).await,
            None => None,
        };
        if let Some(wanted) = &embedding {
            match self.answers.find_similar(tenant, wanted).await {
                Ok(Some(found)) => {
                    count_cache("similar");
                    return CacheLookup { found: Some(found), embedding: None };
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(target: "omnistack::ai", %error, "the cache of answers can't be read"),
            }
        }
        count_cache("miss");
        CacheLookup { found: None, embedding }
    }

    /// Stores an answer.
    pub(super) async fn store_answer(&self, to: Option<AnswerToStore>, provider: &str, response: &ChatResponse) {
        let Some(AnswerToStore { tenant, key, embedding, ttl }) = to else { return };
        let stored = self.answers.store(tenant, &key, embedding.as_ref(), (provider, response), ttl);
        if let Err(error) = Box::pin(stored).await {
            tracing::warn!(target: "omnistack::ai", %error, "an answer could not be added to the cache");
        }
    }

    /// Returns the embedding of the user's message. It is a call of its own, which is counted for the caller.
    async fn embed_message(&self, plan: &CallPlan, semantic: &SemanticKey) -> Option<MessageEmbedding> {
        let model = self.settings.cache_embedding_model.as_deref()?;
        let options = CallOptions {
            timeouts: CallTimeouts { total: plan.deadline.remaining(), ..plan.options.timeouts },
            request_id: plan.options.request_id.clone(),
            purpose: Some(EMBEDDING_PURPOSE),
            ..CallOptions::default()
        };
        let embedded = async {
            // The text has passed the guardrails.
            let mut route = ChatRequest::new(model, []);
            let mut own = self.plan(plan.caller, &mut route, options, CallKind::Embeddings).await?;
            own.estimated_input =
                estimate::input_tokens(&ChatRequest::new(model, [Message::user(semantic.text.as_str())]));
            let run = self.open(own, &route, CallKind::Embeddings, false).await?;
            let request = EmbeddingRequest::new(model, [semantic.text.as_str()]);
            self.embed(run, request, &CallerPresence::default()).await
        };
        match embedded.await {
            Ok(answered) => {
                let vector = answered.embeddings.vectors.into_iter().next()?;
                // Vectors of different models can't be compared.
                let scope = Sha256::digest(format!("{} {}", semantic.scope, answered.embeddings.model));
                MessageEmbedding::new(scope, vector)
            }
            Err(error) => {
                tracing::warn!(target: "omnistack::ai", %error, "a message could not be embedded for the cache");
                None
            }
        }
    }
}
