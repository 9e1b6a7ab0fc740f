//! Tests of failed calls and unknown outcomes over real connections.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use omnistack_core::{
    clock::{Clock, MockClock},
    resilience::{
        Breaker, BreakerSettings, CallError, Class, Classify, Fallback, Jitter, Outcome, Repeat, Retry, State, Timeout,
    },
};
use omnistack_testkit::upstream::{ClosedPort, Reply, Upstream};
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
    Status(Class),
}

impl Classify for ChargeError {
    fn class(&self) -> Class {
        match self {
            Self::Connect => Class::failed().retryable(),
            Self::Lost => Class::unknown().retryable(),
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
    let class = Class::of_response(status, &headers.collect::<HeaderMap>(), "2030-01-01T00:00:00Z".parse().unwrap());
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
    let declined = || Reply::status(402);
    let down = || Reply::status(503).header("retry-after", "7");
    let busy = || Reply::status(429).header("retry-after", "7");
    // The first provider's behaviour, the call's retry safety, the result of the charge, the number of requests to
    // each provider, and the seconds it took.
    let cases = [
        ("it charges", Reply::status(201), Repeat::Never, Success, 1, 0, 0),
        ("declined", declined(), Repeat::Never, Success, 1, 1, 0),
        ("busy", busy(), Repeat::Never, Success, 3, 1, 7 + 1 + 7 + 2),
        ("down", down(), Repeat::Never, Unknown, 1, 0, 0),
        ("down, with a key", down(), Repeat::Idempotent, Unknown, 3, 0, 7 + 1 + 7 + 2),
        ("it hangs", Reply::hang(), Repeat::Never, Unknown, 1, 0, 2),
        ("it hangs, with a key", Reply::hang(), Repeat::Idempotent, Unknown, 3, 0, 2 + 1 + 2 + 2 + 2),
        ("it resets", Reply::reset(), Repeat::Never, Unknown, 1, 0, 0),
        ("it resets, with a key", Reply::reset(), Repeat::Idempotent, Unknown, 3, 0, 1 + 2),
        ("it closes", Reply::raw(""), Repeat::Never, Unknown, 1, 0, 0),
        ("it is too slow", Reply::status(201).delay(seconds(3)), Repeat::Never, Unknown, 1, 0, 2),
        ("it is slow", Reply::status(201).delay(seconds(1)), Repeat::Never, Success, 1, 0, 1),
    ];
    for (name, reply, repeat, expected, first_requests, second_requests, took) in cases {
        let (first, second) = (Upstream::start().await, Upstream::start().await);
        first.expect("POST", "/charges").times(first_requests).reply(reply);
        second.expect("POST", "/charges").times(second_requests).reply(Reply::status(201));

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
    let (first, second) = (ClosedPort::reserve(), Upstream::script([Reply::status(201)]).await);
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
    let upstream = Upstream::start().await;
    upstream.expect_any().times(3).reply(Reply::hang());
    upstream.expect_any().times(1).reply(Reply::status(201));

    let call = || breaker.run(timeout.run(charge(upstream.address())));
    for _ in 0..3 {
        assert_eq!(outcome(&call().await), Outcome::Unknown);
    }
    // The abandoned calls have closed their connections.
    upstream.abandoned(3).await;
    for _ in 0..20 {
        assert_eq!(outcome(&call().await), Outcome::Failed);
    }
    assert_eq!((breaker.state(), upstream.requests().len()), (State::Open, 3));
    clock.advance(seconds(30));
    assert_eq!(call().await.unwrap(), 201);
    assert_eq!(breaker.state(), State::Closed);
}

/// The same with real time.
#[tokio::test]
async fn it_works_in_real_time() {
    let upstream = Upstream::script([Reply::reset(), Reply::status(503), Reply::status(201)]).await;
    let breaker = Breaker::new("payments", BreakerSettings::default(), Clock::system());
    let retry = Retry::new(3, seconds(30)).delays(std::time::Duration::from_millis(1), seconds(1)).idempotent();
    let timeout = Timeout::new(seconds(10));
    let charged = retry.run(|| breaker.run(timeout.run(charge(upstream.address())))).await;
    assert_eq!(charged.unwrap(), 201);
}
