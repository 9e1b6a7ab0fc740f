//! Layers on a plain axum router.
