use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;

use super::{format::LineFormat, subscriber::LineLayer, writer::LogWriter};
use crate::trace::{self, TraceContext};

/// The lines that were logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the lines that code logs.
fn logged(format: LineFormat, code: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = LogWriter::start(lines.clone());
    tracing::subscriber::with_default(
        tracing_subscriber::registry().with(LineLayer::new(format, writer.clone())),
        code,
    );
    writer.flush();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn one(format: LineFormat, code: impl FnOnce()) -> String {
    let lines = logged(format, code);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

#[test]
fn the_innermost_field_of_a_name_is_written() {
    let line = one(LineFormat::Json, || {
        let outer = tracing::info_span!("outer", id = "outer", place = "outer", user = tracing::field::Empty);
        let _outer = outer.enter();
        outer.record("user", "ada");
        outer.record("user", "grace");
        let _inner = tracing::info_span!("inner", id = "inner").entered();
        tracing::info!(place = "event", level = "high", "hello");
    });
    let keys = ["\"id\":", "\"place\":", "\"level\":", "\"user\":"];
    for key in keys {
        assert_eq!(line.matches(key).count(), 1, "{key} in {line}");
    }
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["id"], "inner");
    assert_eq!(line["place"], "event");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["field_level"], "high");
    assert_eq!(line["user"], "grace");
    assert_eq!(line["message"], "hello");
}

#[test]
fn secrets_are_not_written() {
    for format in [LineFormat::Text, LineFormat::Json, LineFormat::Ecs] {
        let line = one(format, || {
            tracing::info!(
                password = "hunter2",
                access_token = 7,
                tokens = 12,
                url = "postgres://app:hunter2@db/app",
                "sent Bearer hunter2hunter2"
            );
        });
        assert!(!line.contains("hunter2"), "{line}");
        assert!(line.contains("[redacted]") && line.contains("12"), "{line}");
    }
}

#[tokio::test]
async fn a_line_has_the_ids_of_its_trace() {
    let parent = TraceContext::new("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let lines = Lines::default();
    let writer = LogWriter::start(lines.clone());
    let subscriber = tracing_subscriber::registry().with(LineLayer::new(LineFormat::Json, writer.clone()));
    let guard = tracing::subscriber::set_default(subscriber);
    trace::with_trace(parent, async { tracing::info!("traced") }).await;
    tracing::info!("not traced");
    drop(guard);
    writer.flush();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(lines[0]["span_id"], "00f067aa0ba902b7");
    assert_eq!(lines[1]["trace_id"], Value::Null);
}

#[test]
fn ecs_names_are_those_of_the_schema() {
    let line = one(LineFormat::Ecs, || {
        let _request = tracing::info_span!("request", method = "GET", request_id = "r1", tenant = "t1").entered();
        tracing::info!(target: "omnistack::http", status = 200_u64, micros = 7_u64, rows = 3, "request completed");
    });
    let line: Value = serde_json::from_str(&line).unwrap();
    let expected = [
        ("log.level", "INFO"),
        ("log.logger", "omnistack::http"),
        ("ecs.version", "8.11"),
        ("http.request.method", "GET"),
        ("http.request.id", "r1"),
        ("organization.id", "t1"),
        ("message", "request completed"),
    ];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{name}");
    }
    assert_eq!((&line["http.response.status_code"], &line["event.duration"]), (&200.into(), &7000.into()));
    assert_eq!(line["labels.rows"], 3);
    assert!(line["@timestamp"].is_string());
}
