//! The settings of vectors.

use bytesize::ByteSize;
#[cfg(feature = "qdrant")]
use secrecy::SecretString;

/// The engine that stores vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VectorEngine {
    /// Qdrant if it is configured, or else the app's database.
    Auto,
    /// The app's database, with pgvector if it has it.
    Database,
    /// The app's database, without pgvector.
    Embedded,
    /// Qdrant.
    Qdrant,
}

impl omnistack_core::config::SettingValue for VectorEngine {
    const EXPECTED: &'static str = "auto, database, embedded or qdrant";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "database" => Ok(Self::Database),
            "embedded" => Ok(Self::Embedded),
            "qdrant" => Ok(Self::Qdrant),
            _ => Err(format!("`{text}` is not {}", Self::EXPECTED)),
        }
    }
}

omnistack_core::settings! {
    /// Vectors.
    pub(crate) struct VectorSettings {
        /// The engine that stores vectors: `database` is the app's database, where searches use pgvector if PostgreSQL
        /// has it; `embedded` is the app's database without pgvector; `qdrant` is Qdrant. With `auto`, it is Qdrant if
        /// `QDRANT_URL` is set, or else the app's database. Points are not moved when it changes.
        pub(crate) engine: VectorEngine = "AI_VECTOR_ENGINE", default "auto";
        /// The memory for collections that are searched in this process.
        pub(crate) cache: ByteSize = "AI_VECTOR_CACHE", default "512MiB", range "1MiB"..="1TiB";
        /// The model or alias that creates the vectors of texts in collections that name none.
        pub(crate) model: String = "AI_VECTOR_MODEL", default "embedding";
        /// The collection that `POST /vector/search` searches. It is created when the first point is stored in it.
        pub(crate) collection: String = "AI_VECTOR_COLLECTION", default "default";
        /// The largest number of collections of a tenant.
        pub(crate) max_collections: u32 = "AI_VECTOR_MAX_COLLECTIONS", default "1000", range "1"..="100000";
    }
}

omnistack_core::settings! {
    feature "qdrant" of "omnistack";
    /// Vectors in Qdrant.
    pub(crate) struct QdrantSettings {
        /// The base URL of Qdrant's REST API, such as `http://localhost:6333`.
        pub(crate) url: Option<String> = "QDRANT_URL";
        /// The API key.
        pub(crate) api_key: Option<SecretString> = "QDRANT_API_KEY";
    }
}
