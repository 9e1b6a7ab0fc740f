//! The events of an answer that arrives in pieces.

use std::{borrow::Cow, collections::VecDeque, mem, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use tokio::time::timeout;

use super::{deadlines::CallDeadlines, exchange::timeout_error};
use crate::{
    chat::{ChatEvent, ChatStream},
    error::{LlmError, LlmErrorKind, TimeoutPhase},
    wire::{SseEvent, SseParser, StreamDecoder},
};

/// Maximum size of one event.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Maximum size of the texts, the reasoning and the arguments of an answer.
const MAX_CONTENT_BYTES: usize = 32 * 1024 * 1024;

/// Maximum size of a stream. A provider sends some hundred bytes for each token.
const MAX_STREAM_BYTES: usize = 512 * 1024 * 1024;

/// Maximum number of bytes after the end of an answer that are read so that the connection can be used again.
const MAX_DRAINED_BYTES: usize = 64 * 1024;

/// The time for which the end of a body is awaited after the end of the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of a response. Dropping it ends the request.
pub(super) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, LlmError>> + Send>>;

/// A reader of the events of one answer.
pub(super) struct EventReader {
    provider: Cow<'static, str>,
    request_id: Option<String>,
    deadlines: CallDeadlines,
    /// The limit that applies to the next read.
    phase: TimeoutPhase,
    body: ByteStream,
    parser: SseParser,
    decoder: Box<dyn StreamDecoder>,
    /// Remarks, which follow the first event.
    warnings: Vec<String>,
    pending: VecDeque<ChatEvent>,
    /// The error that ends the stream after the pending events.
    failure: Option<LlmError>,
    is_over: bool,
    stream_bytes: usize,
    content_bytes: usize,
}

impl EventReader {
    /// Creates a reader of a body.
    pub(super) fn new(
        provider: Cow<'static, str>,
        deadlines: CallDeadlines,
        body: ByteStream,
        decoder: Box<dyn StreamDecoder>,
    ) -> Self {
        Self {
            provider,
            request_id: None,
            deadlines,
            phase: TimeoutPhase::FirstByte,
            // The end of the answer and the end of the body may both read on.
            body: body.fuse().boxed(),
            parser: SseParser::new(MAX_EVENT_BYTES),
            decoder,
            warnings: Vec::new(),
            pending: VecDeque::new(),
            failure: None,
            is_over: false,
            stream_bytes: 0,
            content_bytes: 0,
        }
    }

    /// Sets the provider's id of the request, for errors.
    pub(super) fn request_id(mut self, id: Option<String>) -> Self {
        self.request_id = id;
        self
    }

    /// Sets remarks about the request.
    pub(super) fn warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Returns the events.
    pub(super) fn into_stream(self) -> ChatStream {
        stream::unfold(self, |mut reader| async move {
            let event = reader.next().await?;
            Some((event, reader))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<ChatEvent, LlmError>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(Ok(event));
            }
            if let Some(error) = self.failure.take() {
                return Some(Err(error));
            }
            if self.is_over {
                return None;
            }
            match self.deadlines.wait(self.phase, self.body.next()).await {
                Ok(Some(Ok(bytes))) => self.accept(&bytes),
                Ok(Some(Err(error))) => self.fail(error),
                Ok(None) => self.accept_end_of_body(),
                Err(phase) => self.fail(timeout_error(self.provider.clone(), phase)),
            }
        }
    }

    fn accept(&mut self, bytes: &[u8]) {
        self.stream_bytes = self.stream_bytes.saturating_add(bytes.len());
        if self.stream_bytes > MAX_STREAM_BYTES {
            return self
                .fail_with(LlmErrorKind::Protocol, format!("the stream has more than {MAX_STREAM_BYTES} bytes"));
        }
        match self.parser.push(bytes) {
            Ok(events) => {
                // Comments, by which some providers keep the connection open, are no part of the answer.
                if !events.is_empty() {
                    self.phase = TimeoutPhase::Idle;
                }
                for event in &events {
                    self.decode(event);
                    if self.is_over {
                        return;
                    }
                }
            }
            Err(error) => self.fail(error),
        }
    }

    fn decode(&mut self, event: &SseEvent) {
        match self.decoder.push(event) {
            Ok(events) => self.take(events),
            Err(error) => self.fail(error),
        }
    }

    /// Decodes the end of the body. An event that it cuts is no event, and an answer that it cuts is no answer.
    fn accept_end_of_body(&mut self) {
        self.parser.end();
        match self.decoder.end_of_body() {
            Ok(events) => self.take(events),
            Err(error) => self.fail(error),
        }
        if !self.is_over {
            self.interrupt();
        }
    }

    fn take(&mut self, events: Vec<ChatEvent>) {
        for event in events {
            let is_end = matches!(event, ChatEvent::End(_));
            self.content_bytes = self.content_bytes.saturating_add(content_bytes(&event));
            if is_end {
                // Remarks that no event preceded.
                self.pending.extend(mem::take(&mut self.warnings).into_iter().map(ChatEvent::Warning));
            }
            self.pending.push_back(event);
            if is_end {
                return self.finish();
            }
            self.pending.extend(mem::take(&mut self.warnings).into_iter().map(ChatEvent::Warning));
        }
        if self.content_bytes > MAX_CONTENT_BYTES {
            self.fail_with(LlmErrorKind::Protocol, format!("the answer has more than {MAX_CONTENT_BYTES} bytes"));
        }
    }

    fn interrupt(&mut self) {
        self.fail_with(LlmErrorKind::Interrupted, "the answer ended before it was complete".to_owned());
    }

    fn fail_with(&mut self, kind: LlmErrorKind, message: String) {
        self.fail(LlmError::new(kind, self.provider.clone(), message));
    }

    /// Ends the stream with an error, and the request at once.
    fn fail(&mut self, mut error: LlmError) {
        error.request_id = error.request_id.or_else(|| self.request_id.take());
        self.failure = Some(error);
        self.is_over = true;
        self.body = stream::empty().boxed();
    }

    /// Ends the stream after a complete answer. The rest of the body is read, because a connection is used again only
    /// after a whole response.
    fn finish(&mut self) {
        self.is_over = true;
        let mut body = mem::replace(&mut self.body, stream::empty().boxed());
        // Mostly, the end of the body has arrived with the end of the answer.
        if matches!(body.next().now_or_never(), Some(None)) {
            return;
        }
        tokio::spawn(async move {
            let mut room = MAX_DRAINED_BYTES;
            let drain = async {
                while let Some(Ok(bytes)) = body.next().await
                    && bytes.len() <= room
                {
                    room -= bytes.len();
                }
            };
            // A body without an end costs only its connection.
            let _ = timeout(DRAIN_TIMEOUT, drain).await;
        });
    }
}

fn content_bytes(event: &ChatEvent) -> usize {
    match event {
        ChatEvent::Text { delta, .. }
        | ChatEvent::Reasoning { delta, .. }
        | ChatEvent::Refusal { delta, .. }
        | ChatEvent::ToolCallArguments { delta, .. } => delta.len(),
        ChatEvent::ToolCallStart { id, name, .. } => id.len() + name.len(),
        ChatEvent::ToolCallSignature { signature, .. } => signature.len(),
        ChatEvent::ReasoningSignature { signature, redacted, .. } => {
            signature.as_ref().map_or(0, String::len) + redacted.as_ref().map_or(0, String::len)
        }
        ChatEvent::Warning(text) | ChatEvent::ServiceTier(text) => text.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
