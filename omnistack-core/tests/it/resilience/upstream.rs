//! Tests of failed calls and unknown outcomes over real connections.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use omnistack_core::{
    clock::{Clock, MockClock},
    resilience::{
        Breaker, BreakerSettings, BreakerState, CallError, Classification, Classify, Fallback, Jitter, Outcome, Retry,
        RetrySafety, Timeout,
    },
};
use omnistack_testkit::mock_server::{ClosedPort, MockResponse, MockServer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use super::seconds;

#[derive(Debug)]
enum ChargeError {
    /// The connection failed, so nothing was sent.
    Connect,
    /// The connection was lost after the request was sent.
    Lost,
    /// A response that is not a success.
    Status(Classification),
}

impl Classify for ChargeError {
    fn class(&self) -> Classification {
        match self {
            Self::Connect => Classification::failed().retryable(),
            Self::Lost => Classification::unknown().retryable(),
            Self::Status(class) => *class,
        }
    }
}

type Charged = Result<u16, CallError<ChargeError>>;

/// The client under test, which knows whether the request was sent.
async fn charge(address: SocketAddr) -> Charged {
    let mut stream = TcpStream::connect(address).await.map_err(|_| CallError::Call(ChargeError::Connect))?;
    exchange(&mut stream).await.unwrap_or(Err(CallError::Call(ChargeError::Lost)))
}

async fn exchange(stream: &mut TcpStream) -> io::Result<Charged> {
    stream
        .write_all(b"POST /charges HTTP/1.1\r\nhost: upstream\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, _) = text.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let status = StatusCode::from_u16(status.unwrap()).unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()));
    let class =
        Classification::from_response(status, &headers.collect::<HeaderMap>(), "2030-01-01T00:00:00Z".parse().unwrap());
    Ok(match class.outcome() {
        Outcome::Success => Ok(status.as_u16()),
        _ => Err(CallError::Call(ChargeError::Status(class))),
    })
}

fn outcome(charged: &Charged) -> Outcome {
    charged.as_ref().map_or_else(|error| error.class().outcome(), |_| Outcome::Success)
}

fn retry() -> Retry {
    Retry::new(3, seconds(60)).delays(seconds(1), seconds(5)).jitter(Jitter::none())
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_and_what_is_sent_elsewhere_follows_from_what_happened() {
    use Outcome::{Success, Unknown};
    let declined = || MockResponse::status(402);
    let down = || MockResponse::status(503).header("retry-after", "7");
    let busy = || MockResponse::status(429).header("retry-after", "7");
    // The first provider's behaviour, the call's retry safety, the result of the charge, the number of requests to
    // each provider, and the seconds it took.
    let cases = [
        ("it charges", MockResponse::status(201), RetrySafety::Never, Success, 1, 0, 0),
        ("declined", declined(), RetrySafety::Never, Success, 1, 1, 0),
        ("busy", busy(), RetrySafety::Never, Success, 3, 1, 7 + 1 + 7 + 2),
        ("down", down(), RetrySafety::Never, Unknown, 1, 0, 0),
        ("down, with a key", down(), RetrySafety::Idempotent, Unknown, 3, 0, 7 + 1 + 7 + 2),
        ("it hangs", MockResponse::hang(), RetrySafety::Never, Unknown, 1, 0, 2),
        ("it hangs, with a key", MockResponse::hang(), RetrySafety::Idempotent, Unknown, 3, 0, 2 + 1 + 2 + 2 + 2),
        ("it resets", MockResponse::reset(), RetrySafety::Never, Unknown, 1, 0, 0),
        ("it resets, with a key", MockResponse::reset(), RetrySafety::Idempotent, Unknown, 3, 0, 1 + 2),
        ("it closes", MockResponse::raw(""), RetrySafety::Never, Unknown, 1, 0, 0),
        ("it is too slow", MockResponse::status(201).delay(seconds(3)), RetrySafety::Never, Unknown, 1, 0, 2),
        ("it is slow", MockResponse::status(201).delay(seconds(1)), RetrySafety::Never, Success, 1, 0, 1),
    ];
    for (name, reply, repeat, expected, first_requests, second_requests, took) in cases {
        let (first, second) = (MockServer::start().await, MockServer::start().await);
        first.expect("POST", "/charges").times(first_requests).reply(reply);
        second.expect("POST", "/charges").times(second_requests).reply(MockResponse::status(201));

        let began = Instant::now();
        let timeout = Timeout::new(seconds(2));
        let charged = Fallback::new()
            .run(retry().repeating(repeat).run(|| timeout.run(charge(first.address()))), || charge(second.address()))
            .await;

        assert_eq!(outcome(&charged), expected, "{name}: {charged:?}");
        assert_eq!(began.elapsed().as_secs(), took, "{name}");
        first.verify();
        second.verify();
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_there_has_charged_nothing() {
    let (first, second) = (ClosedPort::reserve(), MockServer::script([MockResponse::status(201)]).await);
    let charged = retry().run(|| charge(first.address())).await;
    assert_eq!(outcome(&charged), Outcome::Failed);
    let charged = Fallback::new().run(async { charged }, || charge(second.address())).await;
    assert_eq!(charged.unwrap(), 201);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_left_alone_until_it_answers() {
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let settings = BreakerSettings { minimum_calls: 3, open_for: seconds(30), ..BreakerSettings::default() };
    let breaker = Breaker::new("payments", settings, clock.clock());
    let timeout = Timeout::new(seconds(2));
    let upstream = MockServer::start().await;
    upstream.expect_any().times(3).reply(MockResponse::hang());
    upstream.expect_any().times(1).reply(MockResponse::status(201));

    let call = || breaker.run(timeout.run(charge(upstream.address())));
    for _ in 0..3 {
        assert_eq!(outcome(&call().await), Outcome::Unknown);
    }
    // The abandoned calls have closed their connections.
    upstream.wait_for_abandoned(3).await;
    for _ in 0..20 {
        assert_eq!(outcome(&call().await), Outcome::Failed);
    }
    assert_eq!((breaker.state(), upstream.requests().len()), (BreakerState::Open, 3));
    clock.advance(seconds(30));
    assert_eq!(call().await.unwrap(), 201);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// The same with real time.
#[tokio::test]
async fn it_works_in_real_time() {
    let upstream =
        MockServer::script([MockResponse::reset(), MockResponse::status(503), MockResponse::status(201)]).await;
    let breaker = Breaker::new("payments", BreakerSettings::default(), Clock::system());
    let retry = Retry::new(3, seconds(30)).delays(std::time::Duration::from_millis(1), seconds(1)).idempotent();
    let timeout = Timeout::new(seconds(10));
    let charged = retry.run(|| breaker.run(timeout.run(charge(upstream.address())))).await;
    assert_eq!(charged.unwrap(), 201);
}
