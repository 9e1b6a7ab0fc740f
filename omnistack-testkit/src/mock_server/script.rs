//! The state of a mock server: its expectations, the requests it received and the problems it found.

use super::{expectation::Expectation, request::ReceivedRequest, response::MockResponse};
use std::fmt::Write as _;

#[derive(Debug, Default)]
pub(super) struct Script {
    expectations: Vec<Expectation>,
    arrived: Vec<ReceivedRequest>,
    unexpected: Vec<String>,
    malformed: Vec<String>,
    broken_off: Vec<String>,
    abandoned: usize,
}

impl Script {
    pub(super) fn expect(&mut self, expectation: Expectation) {
        self.expectations.push(expectation);
    }

    /// Records a request and returns its reply: that of the first expectation which matches, or 501 with a report.
    pub(super) fn reply_to(&mut self, request: ReceivedRequest) -> MockResponse {
        self.arrived.push(request.clone());
        if let Some(reply) = self.expectations.iter_mut().find_map(|expectation| expectation.reply_to(&request)) {
            return reply;
        }
        let objections = self.expectations.iter().map(|expectation| expectation.mismatch(&request));
        let expected = match list(objections) {
            list if list.is_empty() => "  nothing\n".to_owned(),
            list => list,
        };
        let mut report = format!("unexpected request {request}\nexpected:\n{expected}");
        self.unexpected.push(report.clone());
        report.push_str("received:\n");
        for (name, value) in &request.headers {
            let _ = writeln!(report, "  {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
        let _ = writeln!(report, "\n{}", request.text());
        MockResponse::text(501, report)
    }

    pub(super) fn record_malformed(&mut self, what: String) {
        self.malformed.push(what);
    }

    pub(super) fn record_incomplete(&mut self, what: String) {
        self.broken_off.push(what);
    }

    pub(super) fn record_abandoned(&mut self) {
        self.abandoned += 1;
    }

    pub(super) fn requests(&self) -> Vec<ReceivedRequest> {
        self.arrived.clone()
    }

    pub(super) fn arrived(&self) -> usize {
        self.arrived.len()
    }

    pub(super) fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Returns the problems that fail the test, followed by all requests received, or `None` if there is no problem.
    pub(super) fn problems(&self) -> Option<String> {
        let unmet = self.expectations.iter().filter_map(Expectation::unmet);
        let unexpected = self.unexpected.iter().map(|report| report.trim_end().replace('\n', "\n  "));
        let malformed = self.malformed.iter().map(|what| format!("malformed: {what}"));
        let problems: Vec<String> = unmet.chain(unexpected).chain(malformed).collect();
        (!problems.is_empty())
            .then(|| format!("{} problem(s)\n{}{}", problems.len(), list(problems.iter()), self.arrivals()))
    }

    pub(super) fn arrivals(&self) -> String {
        let broken_off = self.broken_off.iter().map(|what| format!("broke off: {what}"));
        match list(self.arrived.iter().map(ToString::to_string).chain(broken_off)) {
            list if list.is_empty() => "no request received".to_owned(),
            list => format!("requests received:\n{list}"),
        }
    }
}

/// Formats each item as an indented line.
fn list(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    items.fold(String::new(), |list, item| list + "  " + item.as_ref() + "\n")
}
