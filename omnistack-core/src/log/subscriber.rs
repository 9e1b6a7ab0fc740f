//! The `tracing` layer that writes events as lines.

use std::cell::RefCell;

use opentelemetry::trace::TraceContextExt as _;
use tracing::{
    Event, Level, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use super::{
    format::{Fields, LineFormat, LogLine},
    redact::redact,
    writer::LogWriter,
};
use crate::clock::Clock;

/// A layer that writes each event as a line, with the fields of the spans around it.
pub(super) struct LineLayer {
    format: LineFormat,
    sink: LogWriter,
    clock: Clock,
}

impl LineLayer {
    pub(super) fn new(format: LineFormat, sink: LogWriter) -> Self {
        Self { format, sink, clock: Clock::system() }
    }
}

/// The fields of a span, formatted once when the span is created.
struct SpanFields(Fields);

thread_local! {
    static LINE: RefCell<Fields> = RefCell::default();
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields { text: String::with_capacity(128), places: Vec::with_capacity(8) };
        attributes.record(&mut LogLine { format: self.format, fields: &mut fields, replaces: false });
        span.extensions_mut().insert(SpanFields(fields));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut() {
            record.record(&mut LogLine { format: self.format, fields, replaces: true });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        LINE.with(|line| {
            // A value that logs while it is formatted needs a buffer of its own.
            let mut own = Fields::default();
            let mut kept = line.try_borrow_mut();
            let fields = kept.as_deref_mut().unwrap_or(&mut own);
            fields.clear();
            let mut line = LogLine { format: self.format, fields, replaces: false };
            line.begin(self.clock.now(), metadata.level().as_str(), metadata.target());
            event.record(&mut line);
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(SpanFields(fields)) = span.extensions().get() {
                    line.append(fields);
                }
            }
            opentelemetry::Context::map_current(|context| {
                let span = context.span();
                if span.span_context().is_valid() {
                    line.trace(span.span_context());
                }
            });
            line.end();
            self.sink.write(redact(&line.fields.text).as_bytes(), *metadata.level() <= Level::WARN);
        });
    }
}
