//! The cache of answers: an equal request of the same tenant gets the stored answer, if its caller asked for that.
//!
//! Answers are found by [a hash](key) of all that can change them, with the tenant in it. With
//! [`CachePolicy::Semantic`](crate::CachePolicy::Semantic) a request that differs only in the words of the user's
//! message also finds an answer to a message that means the same; its tenant, model, instructions and parameters must
//! be equal. Neither requests nor prompts are stored.

mod key;
mod purge;
mod store;
mod stored_answer;

pub(crate) use key::{CacheKey, SemanticKey};
pub(crate) use purge::PurgeAnswers;
pub(crate) use stored_answer::StoredAnswer;

use std::time::Duration;

use omnistack_core::{
    clock::Clock,
    crypto::Sha256,
    db::{self, Db},
    identity::TenantId,
};

use crate::chat::{ChatResponse, StopKind};

/// Longest time for which an answer is stored.
const MAX_TTL: Duration = Duration::from_secs(30 * 86_400);
/// Largest number of stored answers that are compared with a message, the newest first.
const MAX_COMPARED_ANSWERS: i64 = 500;

/// The stored answers of all tenants. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AnswerCache {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    /// Largest answer that is stored, in bytes of JSON.
    pub(crate) max_answer_bytes: usize,
    /// Largest number of answers that a tenant keeps.
    pub(crate) max_answers: u64,
    /// Least cosine similarity of two messages that mean the same.
    pub(crate) similarity: f64,
}

/// The embedding of the user's message, and the scope in which it is compared.
#[derive(Clone, Debug)]
pub(crate) struct MessageEmbedding {
    pub(crate) scope: Sha256,
    /// The direction of the embedding, as a vector of length 1.
    pub(crate) vector: Vec<f32>,
}

impl MessageEmbedding {
    /// Creates an embedding. Returns `None` for a vector without a direction.
    pub(crate) fn new(scope: Sha256, mut vector: Vec<f32>) -> Option<Self> {
        let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if !length.is_normal() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the parts of a vector of length 1 are at most 1")]
        for value in &mut vector {
            *value = (f64::from(*value) / length) as f32;
        }
        Some(Self { scope, vector })
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.vector.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Returns the cosine similarity to a stored vector, or `None` if it has another length.
    fn similarity(&self, stored: &[u8]) -> Option<f64> {
        if stored.len() != self.vector.len() * size_of::<f32>() {
            return None;
        }
        let (stored, _) = stored.as_chunks::<4>();
        Some(stored.iter().zip(&self.vector).map(|(bytes, own)| f64::from(f32::from_le_bytes(*bytes) * own)).sum())
    }
}

impl AnswerCache {
    /// Returns the answer to an equal request.
    pub(crate) async fn find(&self, tenant: TenantId, key: &CacheKey) -> Result<Option<StoredAnswer>, db::Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let found = store::find(&mut tx, tenant, &key.exact, self.clock.now()).await?;
        tx.commit().await?;
        Ok(found.and_then(StoredAnswer::read))
    }

    /// Returns the answer to the message that is most similar, if it is similar enough.
    pub(crate) async fn find_similar(
        &self,
        tenant: TenantId,
        wanted: &MessageEmbedding,
    ) -> Result<Option<StoredAnswer>, db::Error> {
        let now = self.clock.now();
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let candidates = store::candidates(&mut tx, tenant, &wanted.scope, now, MAX_COMPARED_ANSWERS).await?;
        let best = candidates
            .into_iter()
            .filter_map(|(key, embedding)| Some((key, wanted.similarity(&embedding)?)))
            .filter(|(_, similarity)| *similarity >= self.similarity)
            .max_by(|(_, one), (_, other)| one.total_cmp(other));
        let found = match best.and_then(|(key, _)| Sha256::from_bytes(&key)) {
            Some(key) => store::find(&mut tx, tenant, &key, now).await?,
            None => None,
        };
        tx.commit().await?;
        Ok(found.and_then(StoredAnswer::read))
    }

    /// Stores an answer for `ttl`, at most 30 days. An answer that is not complete or too large is not stored.
    pub(crate) async fn store(
        &self,
        tenant: TenantId,
        key: &CacheKey,
        embedding: Option<&MessageEmbedding>,
        answer: (&str, &ChatResponse),
        ttl: Duration,
    ) -> Result<(), db::Error> {
        let (provider, response) = answer;
        if !matches!(response.stop.unified, StopKind::Stop | StopKind::ToolCalls) {
            return Ok(());
        }
        let Some(text) = StoredAnswer::write(response).filter(|text| text.len() <= self.max_answer_bytes) else {
            return Ok(());
        };
        let now = self.clock.now();
        let mut tx = self.db.tenant(tenant).begin().await?;
        let row = store::NewAnswer {
            tenant,
            key: &key.exact,
            embedding: embedding.map(|embedding| (&embedding.scope, embedding.to_bytes())),
            provider,
            model: &response.model,
            answer: text,
            expires_at: now + ttl.min(MAX_TTL),
        };
        store::insert(&mut tx, row, now).await?;
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarity_is_the_cosine() {
        let scope = Sha256::digest("scope");
        let of = |vector: &[f32]| MessageEmbedding::new(scope, vector.to_vec());
        let (one, same, other) = (of(&[3.0, 4.0]).unwrap(), of(&[6.0, 8.0]).unwrap(), of(&[-4.0, 3.0]).unwrap());
        assert!((one.similarity(&same.to_bytes()).unwrap() - 1.0).abs() < 1e-6);
        assert!(one.similarity(&other.to_bytes()).unwrap().abs() < 1e-6);
        assert_eq!(one.similarity(&of(&[1.0]).unwrap().to_bytes()), None);
        for bad in [&[0.0, 0.0][..], &[f32::NAN], &[f32::INFINITY], &[]] {
            assert!(of(bad).is_none(), "{bad:?}");
        }
    }
}
