//! The settings of the gateway.

use std::time::Duration;

omnistack_core::settings! {
    /// AI gateway.
    pub(crate) struct GatewaySettings {
        /// Number of times that a call is repeated at the last provider of its route, if that may help.
        pub(crate) retries: u32 = "AI_RETRIES", default "1", range "0"..="5";
        /// Longest time for which a call waits for a provider that limits the rate of requests. If it would take
        /// longer, the caller gets 429.
        pub(crate) rate_limit_wait: Duration = "AI_RATE_LIMIT_WAIT", default "1s", range "0s"..="1m";
        /// Number of tokens of output that are reserved in budgets for a call that sets no maximum, or the maximum of
        /// the model if that is smaller.
        pub(crate) reserved_output: u64 = "AI_RESERVED_OUTPUT_TOKENS", default "4096", range "1"..="1000000";
        /// Number of calls that are completed at the same time although their callers have left, to learn their usage.
        /// Further ones are ended, and their usage is estimated.
        pub(crate) max_drains: u32 = "AI_MAX_DRAINS", default "64", range "0"..="10000";
        /// Largest text of a request in bytes, with its schemas.
        pub(crate) max_text_bytes: u64 = "AI_MAX_TEXT_BYTES", default "4194304", range "1024"..="104857600";
        /// Largest size in bytes of all images and files of a request, and of one that is fetched.
        pub(crate) max_media_bytes: u64 = "AI_MAX_MEDIA_BYTES", default "20971520", range "1024"..="104857600";
        /// Largest number of messages in a request, and of texts in a request for embeddings.
        pub(crate) max_messages: u32 = "AI_MAX_MESSAGES", default "2048", range "1"..="100000";
        /// Whether images and files at URLs are fetched for providers that don't fetch them.
        pub(crate) fetch_media: bool = "AI_FETCH_MEDIA", default "true";
        /// Whether e-mail addresses, phone numbers and card numbers are removed from what is sent to models.
        pub(crate) redact_pii: bool = "AI_REDACT_PII", default "false";
        /// The model or route whose embeddings tell whether two messages mean the same. Without it, only equal requests
        /// share an answer.
        pub(crate) cache_embedding_model: Option<String> = "AI_CACHE_EMBEDDING_MODEL";
        /// The least cosine similarity of two messages that mean the same.
        pub(crate) cache_similarity: f64 = "AI_CACHE_SIMILARITY", default "0.95", range "0.5"..="1";
        /// Largest answer that is cached, in bytes.
        pub(crate) cache_max_answer_bytes: u32 = "AI_CACHE_MAX_ANSWER_BYTES", default "262144", range "1024"..="16777216";
        /// Largest number of cached answers of a tenant. The oldest ones beyond it are deleted every hour.
        pub(crate) cache_max_answers: u64 = "AI_CACHE_MAX_ANSWERS", default "10000", range "1"..="10000000";
    }
}
