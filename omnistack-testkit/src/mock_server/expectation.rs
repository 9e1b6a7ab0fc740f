//! Expected requests: how often they are expected, and the replies to them.

use super::{request::ReceivedRequest, response::MockResponse, script::Script};
use std::{
    fmt,
    ops::{RangeFrom, RangeFull, RangeInclusive, RangeToInclusive},
    panic::Location,
};
use tokio::sync::watch;

/// A builder of an expectation, from [`MockServer::expect`](super::MockServer::expect). A request matches if it meets
/// every condition.
///
/// ```
/// # use omnistack_testkit::mock_server::{MockResponse, MockServer};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let upstream = MockServer::start().await;
/// upstream
///     .expect("POST", "/v1/messages")
///     .query("beta", "true")
///     .header("authorization", "Bearer key")
///     .body_contains(r#""stream":true"#)
///     .matching("no more than 1 KiB", |request| request.body.len() <= 1024)
///     .times(..=3)
///     .reply(MockResponse::status(529));
/// # }
/// ```
#[must_use = "an expectation takes effect when it gets a reply"]
pub struct ExpectationBuilder<'upstream> {
    script: &'upstream watch::Sender<Script>,
    expectation: Expectation,
    /// The text between the description so far and the next condition.
    separator: &'static str,
}

impl<'upstream> ExpectationBuilder<'upstream> {
    pub(super) fn any(script: &'upstream watch::Sender<Script>, declared: &'static Location<'static>) -> Self {
        let answer = Box::new(|_: &ReceivedRequest| MockResponse::status(200));
        let expectation =
            Expectation { what: "any request".into(), declared, conditions: vec![], times: 1.into(), used: 0, answer };
        Self { script, expectation, separator: " with " }
    }

    pub(super) fn request(
        script: &'upstream watch::Sender<Script>,
        declared: &'static Location<'static>,
        method: &str,
        target: &str,
    ) -> Self {
        let mut expect = Self::any(script, declared);
        expect.expectation.what = format!("{method} {target}");
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (target.to_owned(), None),
        };
        let method = method.to_owned();
        expect.expectation.require("method", move |request| request.method.as_str() == method);
        expect.expectation.require("path", move |request| request.path == path);
        if let Some(query) = query {
            expect.expectation.require("query", move |request| request.query.as_ref() == Some(&query));
        }
        expect
    }

    /// Requires a query parameter with this value, decoded as `application/x-www-form-urlencoded`. Other parameters
    /// and values are allowed.
    pub fn query(self, name: &str, value: &str) -> Self {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.matching(&format!("query {name}={value}"), move |request| request.query_values(&name).any(|v| v == value))
    }

    /// Requires a header with exactly this value. The name is case-insensitive. Other headers, and other values of
    /// this header, are allowed.
    pub fn header(self, name: &str, value: &str) -> Self {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.matching(&format!("header {name}: {value}"), move |request| {
            request.headers.get_all(&name).iter().any(|v| v == value.as_str())
        })
    }

    /// Requires a body that contains these bytes.
    pub fn body_contains(self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref().to_vec();
        self.matching(&format!("body containing {}", String::from_utf8_lossy(&part)), move |request| {
            part.is_empty() || request.body.windows(part.len()).any(|window| window == part)
        })
    }

    /// Requires any other condition. `what` names the condition in failure messages.
    pub fn matching(mut self, what: &str, holds: impl Fn(&ReceivedRequest) -> bool + Send + Sync + 'static) -> Self {
        self.expectation.what.extend([std::mem::replace(&mut self.separator, ", "), what]);
        self.expectation.require(what, holds);
        self
    }

    /// Sets how often the request is expected: `2` for exactly twice, `1..` for at least once, `..=3` for at most
    /// three times, `2..=3` for two or three times, or `..` for any number of times. The default is once.
    pub fn times(mut self, times: impl Into<ExpectedCount>) -> Self {
        self.expectation.times = times.into();
        self
    }

    /// Sends `reply` to every matching request. This call adds the expectation to the server.
    pub fn reply(self, reply: MockResponse) {
        self.reply_with(move |_| reply.clone());
    }

    /// Sends the reply that `answer` creates from the request, for example to echo an id. This call adds the
    /// expectation to the server.
    ///
    /// ```
    /// # use omnistack_testkit::mock_server::{MockResponse, MockServer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let upstream = MockServer::start().await;
    /// upstream.expect("POST", "/echo").times(..).reply_with(|request| MockResponse::text(200, &request.body));
    /// # }
    /// ```
    pub fn reply_with(mut self, answer: impl Fn(&ReceivedRequest) -> MockResponse + Send + Sync + 'static) {
        self.expectation.answer = Box::new(answer);
        self.script.send_modify(|script| script.expect(self.expectation));
    }
}

impl fmt::Debug for ExpectationBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expect").field(&self.expectation).finish()
    }
}

/// Number of times that a request is expected, converted from a number or a range by [`ExpectationBuilder::times`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedCount {
    min: usize,
    max: usize,
}

impl From<usize> for ExpectedCount {
    fn from(times: usize) -> Self {
        Self { min: times, max: times }
    }
}

impl From<RangeFull> for ExpectedCount {
    fn from(_: RangeFull) -> Self {
        Self { min: 0, max: usize::MAX }
    }
}

impl From<RangeFrom<usize>> for ExpectedCount {
    fn from(times: RangeFrom<usize>) -> Self {
        Self { min: times.start, max: usize::MAX }
    }
}

impl From<RangeToInclusive<usize>> for ExpectedCount {
    fn from(times: RangeToInclusive<usize>) -> Self {
        Self { min: 0, max: times.end }
    }
}

impl From<RangeInclusive<usize>> for ExpectedCount {
    fn from(times: RangeInclusive<usize>) -> Self {
        Self { min: *times.start(), max: *times.end() }
    }
}

type Condition = Box<dyn Fn(&ReceivedRequest) -> bool + Send + Sync>;
type ReplyFn = Box<dyn Fn(&ReceivedRequest) -> MockResponse + Send + Sync>;

pub(super) struct Expectation {
    what: String,
    declared: &'static Location<'static>,
    conditions: Vec<(String, Condition)>,
    times: ExpectedCount,
    used: usize,
    answer: ReplyFn,
}

impl Expectation {
    fn require(&mut self, what: &str, holds: impl Fn(&ReceivedRequest) -> bool + Send + Sync + 'static) {
        self.conditions.push((what.to_owned(), Box::new(holds)));
    }

    /// Returns the reply and counts the use, or returns `None` if the request doesn't match or the expectation is
    /// used up.
    pub(super) fn reply_to(&mut self, request: &ReceivedRequest) -> Option<MockResponse> {
        let mine = self.used < self.times.max && self.conditions.iter().all(|(_, holds)| holds(request));
        mine.then(|| {
            self.used += 1;
            (self.answer)(request)
        })
    }

    /// Describes why [`answer`](Self::answer) returns `None` for this request.
    pub(super) fn mismatch(&self, request: &ReceivedRequest) -> String {
        let different: Vec<&str> =
            self.conditions.iter().filter(|(_, holds)| !holds(request)).map(|(what, _)| what.as_str()).collect();
        match different.as_slice() {
            [] => format!("{self} is used up, {} of {}", self.used, self.times.max),
            different => format!("{self} differs: {}", different.join(", ")),
        }
    }

    pub(super) fn unmet(&self) -> Option<String> {
        let (least, used) = (self.times.min, self.used);
        let at_least = if self.times.max > least { "at least " } else { "" };
        (used < least).then(|| format!("{self} was expected {at_least}{least}x, and came {used}x"))
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.what, self.declared.file(), self.declared.line())
    }
}

impl fmt::Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}, {} of {:?}", self.used, self.times)
    }
}
