use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

fn parse(chunks: &[&[u8]]) -> Vec<SseEvent> {
    let mut parser = SseParser::new(1024);
    let mut events = Vec::new();
    for chunk in chunks {
        events.extend(parser.push(chunk).unwrap());
    }
    parser.end();
    events
}

fn event(event: Option<&str>, data: &str) -> SseEvent {
    SseEvent { event: event.map(str::to_owned), data: data.to_owned() }
}

#[test]
fn events_follow_the_specification() {
    let one = |data: &str| vec![event(None, data)];
    for (bytes, expected) in [
        (&b"data: a\n\n"[..], one("a")),
        (b"data:a\n\n", one("a")),
        (b"data:  a\n\n", one(" a")),
        (b"data: a\r\n\r\n", one("a")),
        (b"data: a\r\r", one("a")),
        (b"data: a\r\n\n", one("a")),
        (b"data: a\n\r\n", one("a")),
        (b"\xEF\xBB\xBFdata: a\n\n", one("a")),
        (b"\xEF\xBB\xBF\ndata: a\n\n", one("a")),
        (b"data: a\ndata: b\n\n", one("a\nb")),
        (b"data\n\n", one("")),
        (b"data:\ndata\n\n", one("\n")),
        (b": comment\ndata: a\n:\n\n", one("a")),
        (b"id: 1\nretry: 2\nother: 3\n data: 4\ndata: a\n\n", one("a")),
        (b"event: x\ndata: a\n\n", vec![event(Some("x"), "a")]),
        (b"event: x\nevent: y\ndata: a\n\ndata: b\n\n", vec![event(Some("y"), "a"), event(None, "b")]),
        (b"event:\ndata: a\n\n", one("a")),
        (b"event: x\n\ndata: a\n\n", one("a")),
        (b"\n\n\ndata: a\n\n\n\n", one("a")),
        (b"data: a\n", vec![]),
        (b"data: a", vec![]),
        (b"", vec![]),
        (b"data: \xEF\xBB\xBFa\n\n", one("\u{FEFF}a")),
        (b"data: a\xFFb\n\n", one("a\u{FFFD}b")),
        (b"data: a\xE4\xBD\ndata: b\n\n", one("a\u{FFFD}\nb")),
    ] {
        assert_eq!(parse(&[bytes]), expected, "{}", bytes.escape_ascii());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(parse(&single), expected, "{} byte by byte", bytes.escape_ascii());
    }
}

#[test]
fn a_character_that_is_split_over_two_packets_stays_intact() {
    let bytes = "data: 你好🌍\n\n".as_bytes();
    for cut in 0..=bytes.len() {
        assert_eq!(parse(&[&bytes[..cut], &bytes[cut..]]), [event(None, "你好🌍")], "cut at {cut}");
    }
}

#[test]
fn a_body_that_is_cut_has_no_last_event() {
    let bytes = b"event: x\r\ndata: a\r\n\r";
    for cut in 0..bytes.len() {
        assert_eq!(parse(&[&bytes[..cut]]), [], "cut at {cut}");
    }
    assert_eq!(parse(&[bytes]), [event(Some("x"), "a")]);
}

#[test]
fn an_event_that_is_too_large_is_an_error() {
    let cases: [&[&[u8]]; 4] = [
        &[b"data: 0123456789abcdef\n\n"],
        &[b"data: 0123", b"456789abcdef"],
        &[b"data: 01234\n", b"data: 01234\n", b"data: 01234\n", b"data: 01234\n"],
        &[b": a comment whose end never arrives"],
    ];
    for chunks in cases {
        let mut parser = SseParser::new(16);
        let result: Result<Vec<_>, _> = chunks.iter().map(|chunk| parser.push(chunk)).collect();
        assert_eq!(result.unwrap_err().kind, LlmErrorKind::Protocol);
    }
    // The limit is for each event, and comments are not kept.
    let mut parser = SseParser::new(16);
    for _ in 0..100 {
        assert_eq!(parser.push(b": comment\ndata: 0123456789\n\n").unwrap(), [event(None, "0123456789")]);
        assert_eq!(parser.push(b": keep-alive\n").unwrap(), []);
    }
}

fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = select(vec![
        "data: ",
        "data:",
        "data",
        "event: ",
        "event:",
        "id: 1",
        "retry: 5",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "a",
        "é",
        "你",
        "🌍",
        "\u{FEFF}",
        "{\"a\":1}",
        "[DONE]",
    ]);
    vec(fragment, 0..40).prop_map(|fragments| fragments.concat().into_bytes())
}

fn split<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(bytes in fragments(), cuts in vec(any::<prop::sample::Index>(), 0..8)) {
        prop_assert_eq!(parse(&split(&bytes, &cuts)), parse(&[&bytes]));
    }

    #[test]
    fn any_bytes_are_parsed(bytes in vec(any::<u8>(), 0..200), cuts in vec(any::<prop::sample::Index>(), 0..8)) {
        prop_assert_eq!(parse(&split(&bytes, &cuts)), parse(&[&bytes]));
    }
}

#[cfg(feature = "providers")]
proptest! {
    #[test]
    fn sse_stream_parses_the_same_events(bytes in fragments(), cuts in vec(any::<prop::sample::Index>(), 0..8)) {
        use std::convert::Infallible;

        use futures_util::{FutureExt as _, StreamExt as _, stream};

        let chunks: Vec<Result<bytes::Bytes, Infallible>> =
            split(&bytes, &cuts).into_iter().map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk))).collect();
        let theirs: Vec<_> = sse_stream::SseByteStream::new(stream::iter(chunks)).collect().now_or_never().unwrap();
        let theirs: Vec<SseEvent> = theirs
            .into_iter()
            .map(Result::unwrap)
            .filter_map(|block| {
                let event = block.event.filter(|event| !event.is_empty());
                Some(SseEvent { event, data: block.data? })
            })
            .collect();
        prop_assert_eq!(parse(&split(&bytes, &cuts)), theirs);
    }
}
