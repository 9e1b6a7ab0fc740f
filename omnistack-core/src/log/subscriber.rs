//! The `tracing` layer that writes events as lines.

use std::cell::RefCell;

use tracing::{
    Event, Level, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use super::{
    format::{LineFormat, LogLine},
    writer::LogWriter,
};
use crate::clock::Clock;

/// Writes each event as a line, with the fields of the spans around it.
pub(super) struct LineLayer {
    shape: LineFormat,
    sink: LogWriter,
    clock: Clock,
}

impl LineLayer {
    pub(super) fn new(shape: LineFormat, sink: LogWriter) -> Self {
        Self { shape, sink, clock: Clock::system() }
    }
}

/// The fields of a span, formatted once when the span is created.
struct SpanFields(String);

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut text = String::with_capacity(128);
        attributes.record(&mut LogLine { shape: self.shape, text: &mut text });
        span.extensions_mut().insert(SpanFields(text));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(text)) = span.extensions_mut().get_mut() {
            record.record(&mut LogLine { shape: self.shape, text });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        LINE.with(|line| {
            // A value that logs while it is formatted needs a buffer of its own.
            let mut own = String::new();
            let mut kept = line.try_borrow_mut();
            let text = kept.as_deref_mut().unwrap_or(&mut own);
            text.clear();
            let mut line = LogLine { shape: self.shape, text };
            line.begin(self.clock.now(), metadata.level().as_str(), metadata.target());
            event.record(&mut line);
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(SpanFields(fields)) = span.extensions().get() {
                    line.append(fields);
                }
            }
            line.end();
            self.sink.write(text.as_bytes(), *metadata.level() <= Level::WARN);
        });
    }
}
