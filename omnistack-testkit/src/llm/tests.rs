use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

const POST: &str = "POST /chat?x=1 HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";

async fn send(upstream: &ScriptedUpstream) -> TcpStream {
    let mut stream = TcpStream::connect(upstream.url().trim_start_matches("http://")).await.unwrap();
    stream.write_all(POST.as_bytes()).await.unwrap();
    stream
}

/// Reads exactly this text. The connection stays open.
async fn reads(stream: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_bytes_are_those_of_the_script() {
    let upstream = ScriptedUpstream::start().await;
    upstream
        .respond(Scripted::json(429, "{}").header("retry-after", "1"))
        .respond(Scripted::status(200).chunk("abc").chunk("").chunk("de"))
        .respond(Scripted::status(200))
        .respond(Scripted::status(200).chunk("abc").close());
    let mut stream = send(&upstream).await;
    let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 1\r\n";
    reads(&mut stream, &format!("{head}content-length: 2\r\n\r\n{{}}")).await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in ["3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "0\r\n\r\n"] {
        stream.write_all(POST.as_bytes()).await.unwrap();
        reads(&mut stream, &format!("{head}{body}")).await;
    }
    stream.write_all(POST.as_bytes()).await.unwrap();
    assert_eq!(rest(&mut stream).await, format!("{head}3\r\nabc\r\n"));
    let requests = upstream.requests();
    assert_eq!((requests.len(), requests[3].connection), (4, 0));
    assert_eq!((requests[0].to_string().as_str(), requests[0].text().as_ref()), ("POST /chat?x=1", "{}"));
}

#[tokio::test]
async fn a_gate_holds_what_follows_it() {
    let upstream = ScriptedUpstream::start().await;
    let (before, between) = (Gate::new(), Gate::new());
    upstream.respond(Scripted::status(200).drip("abc", 1, &between).gate_first(&before));
    let mut stream = send(&upstream).await;
    before.reached().await;
    assert_eq!(stream.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    before.open();
    reads(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    between.pass(2);
    reads(&mut stream, "1\r\na\r\n1\r\nb\r\n").await;
    between.reached_times(3).await;
    assert_eq!(stream.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    between.open();
    reads(&mut stream, "1\r\nc\r\n0\r\n\r\n").await;
    upstream.wait_for_finished(1).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.respond(Scripted::hang()).respond(Scripted::status(200).chunk("a").gate(&gate));
    drop(send(&upstream).await);
    upstream.wait_for_abandoned(1).await;
    let stream = send(&upstream).await;
    gate.reached().await;
    drop(stream);
    upstream.wait_for_abandoned(2).await;
    assert_eq!(upstream.abandoned(), 2);
}

#[tokio::test]
async fn the_last_response_answers_from_then_on() {
    let upstream = ScriptedUpstream::start().await;
    let mut stream = send(&upstream).await;
    reads(&mut stream, "HTTP/1.1 501 Not Implemented").await;
    upstream.respond(Scripted::status(202)).respond_with(|request| Scripted::json(200, request.path.as_bytes()));
    for expected in ["HTTP/1.1 202", "HTTP/1.1 200", "HTTP/1.1 200"] {
        reads(&mut send(&upstream).await, expected).await;
    }
}

#[test]
fn a_body_is_cut_and_sent_in_other_pieces() {
    let response = Scripted::event_stream().event("one").event("two");
    assert_eq!(response.to_bytes(), b"data: one\n\ndata: two\n\n");
    assert_eq!(response.clone().cut_after(13).to_bytes(), b"data: one\n\nda");
    assert_eq!(response.clone().rechunk(&[1, 3]).to_bytes(), response.to_bytes());
    assert_eq!(response.rechunk(&[4]).steps.len(), 6);
    let whole = Scripted::json(200, "0123456789").cut_after(4);
    assert_eq!(whole.to_bytes(), b"0123");
    assert!(whole.head().contains("content-length: 10\r\n"));
    let named = Scripted::openai_chat("hi", ScriptedUsage::new(1, 1)).model("other");
    assert!(String::from_utf8(named.to_bytes()).unwrap().contains(r#""model":"other""#));
}

#[test]
fn the_last_event_of_a_stream_ends_the_answer() {
    let usage = ScriptedUsage::new(3, 2);
    for (response, end) in [
        (Scripted::openai_chat_stream(["a", "b"], usage), "data: [DONE]\n\n"),
        (Scripted::openai_chat_tools_stream(&[("1", "f", &["{", "}"]), ("2", "g", &["{}"])], None), "data: [DONE]\n\n"),
        (Scripted::anthropic_stream(["a"], usage), "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
    ] {
        let text = String::from_utf8(response.to_bytes()).unwrap();
        assert!(text.ends_with(end), "{text}");
    }
    let text = String::from_utf8(Scripted::gemini_stream(["a", "b"], usage).to_bytes()).unwrap();
    assert_eq!(text.matches("finishReason").count(), 1);
    let text = String::from_utf8(Scripted::openai_responses_stream(["a", "b"], usage).to_bytes()).unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: response.completed\n") && last.contains(r#""text":"ab""#), "{last}");
}
