//! The names of the built-in meters.

/// Requests to the API, counted by the module of the feature `billing`.
pub const API_REQUESTS: &str = "api_requests";
/// Requests to language models.
pub const AI_REQUESTS: &str = "ai_requests";
/// Tokens of language models.
pub const AI_TOKENS: &str = "ai_tokens";
/// Fixes that a language model has proposed for code.
pub const AI_FIXES: &str = "ai_fixes";
/// Bytes that are stored now; an event is negative when bytes are deleted.
pub const STORAGE_BYTES: &str = "storage_bytes";
/// Files that were uploaded.
pub const FILE_UPLOADS: &str = "file_uploads";
/// Files that were downloaded.
pub const FILE_DOWNLOADS: &str = "file_downloads";
/// Messages that were sent to clients by WebSocket.
pub const WEBSOCKET_MESSAGES: &str = "websocket_messages";
/// Background jobs that have finished.
pub const BACKGROUND_JOBS: &str = "background_jobs";
/// Mails that were sent.
pub const EMAIL_SENT: &str = "email_sent";
/// Runs of an app's own work, such as an analysis.
pub const RUNS: &str = "runs";
