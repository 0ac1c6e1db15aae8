use super::*;
use crate::http::MAX_FIELDS;
use crate::http::negotiate::Decision;
use crate::http::request::Client;

const CLIENT: Client =
    Client { minor: 1, keep_alive: true, is_head: false, accepts_gzip: true, takes_trailers: false };
const GZIP: Decision = Decision { gzip: true, vary: true };

fn read<R>(bytes: &str, is_head: bool, look: impl FnOnce(&Response<'_, '_>) -> R) -> R {
    let mut room = Room::new();
    match parse(bytes.as_bytes(), is_head, &Limits::default(), &mut room) {
        Ok(Parsed::Whole(response)) => look(&response),
        other => panic!("{bytes:?}: {other:?}"),
    }
}

fn bad(bytes: &str) -> Option<BadResponse> {
    parse(bytes.as_bytes(), false, &Limits::default(), &mut Room::new()).err()
}

fn forwarded(bytes: &str, client: &Client, decision: Decision, change: impl FnOnce(&mut Plan<'_>)) -> String {
    let mut out = Vec::new();
    read(bytes, client.is_head, |response| {
        let mut plan = Plan::new(client, response, decision);
        change(&mut plan);
        forward(response, &plan, &mut out);
    });
    String::from_utf8(out).expect("ASCII")
}

/// What becomes of a 200 with these lines, without its first and last line.
fn passed(lines: &str, decision: Decision) -> String {
    let head = forwarded(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), &CLIENT, decision, |_| ());
    let rest = head
        .strip_prefix("HTTP/1.1 200 OK\r\n")
        .and_then(|rest| rest.strip_suffix("Via: 1.1 warpdrive\r\n\r\n"));
    rest.expect("a head").to_owned()
}

#[test]
fn a_response_is_taken_apart() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; a=b\r\nContent-Length: 5\r\nContent-Encoding: br\r\n\
        Cache-Control: a, No-Transform\r\nUpgrade: h2c\r\n\r\nhello";
    read(text, false, |response| {
        assert_eq!((response.status, response.minor), (200, 1));
        assert_eq!((response.framing, response.content_length), (Framing::Length(5), Some(5)));
        assert_eq!(response.head_len, text.len() - 5);
        assert!(
            response.keep_alive && response.is_encoded && response.no_transform && response.is_event_stream
        );
        assert_eq!(response.content_type, Some(&b"Text/Event-Stream; a=b"[..]));
        assert_eq!(response.upgrade, None, "it is only said that one would be possible");
        assert!(!response.is_interim());
    });
    for end in 0..text.len() - 5 {
        let mut room = Room::new();
        let parsed = parse(&text.as_bytes()[..end], false, &Limits::default(), &mut room);
        assert!(matches!(parsed, Ok(Parsed::Partial)), "{end}: {parsed:?}");
    }
}

#[test]
fn content_is_framed_as_the_rfc_says() {
    let length = Framing::Length(5);
    for (head, framing, of_head) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", length, Framing::None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked, Framing::None),
        ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, Framing::None),
        ("HTTP/1.0 200 OK\r\n\r\n", Framing::UntilClose, Framing::None),
        ("HTTP/1.1 204 No Content\r\n\r\n", Framing::None, Framing::None),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Framing::None, Framing::None),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Framing::None, Framing::None),
        ("HTTP/1.1 100 Continue\r\n\r\n", Framing::None, Framing::None),
        ("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::None, Framing::None),
        ("HTTP/1.1 205 Reset Content\r\nContent-Length: 5\r\n\r\n", length, Framing::None),
    ] {
        read(head, false, |response| assert_eq!(response.framing, framing, "{head}"));
        read(head, true, |response| assert_eq!(response.framing, of_head, "{head}"));
    }
}

#[test]
fn connections_stay_where_it_is_known_what_follows() {
    for (head, stays) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", false),
    ] {
        read(head, false, |response| assert_eq!(response.keep_alive, stays, "{head}"));
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_not_passed_on() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "A: b\n",
        "A: b\r\n c\r\n",
        " A: b\r\n",
        "A: b\0\r\n",
        "A: b\rc\r\n",
        "A\r\n",
        ": b\r\n",
    ] {
        for status in ["200 OK", "204 No Content", "304 Not Modified"] {
            let head = format!("HTTP/1.1 {status}\r\n{lines}\r\n");
            assert!(matches!(bad(&head), Some(BadResponse::Malformed(_))), "{head:?}");
        }
    }
    for head in [
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200 OK\r\n\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 ",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/0.9",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\n",
        "\r\n",
        "<html>",
        "\x15\x03\x03",
    ] {
        assert!(matches!(bad(head), Some(BadResponse::Malformed(_))), "{head:?}");
    }
    assert_eq!(Refusal::from(bad("<html>").expect("none")).status(), 502);
}

#[test]
fn limits_are_kept_to_the_byte() {
    let text = |fields| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(fields));
    let result = |text: &str, limits: &Limits| match parse(text.as_bytes(), false, limits, &mut Room::new()) {
        Ok(parsed) => Ok(matches!(parsed, Parsed::Whole(_))),
        Err(bad) => Err(bad),
    };
    let fits = text(5).len();
    let limits = Limits { head_bytes: fits, fields: 5, ..Limits::default() };
    assert_eq!(result(&text(5), &limits), Ok(true));
    assert_eq!(result(&text(6), &limits), Err(BadResponse::HeadTooLarge));
    let shorter = Limits { head_bytes: fits - 1, ..limits };
    assert_eq!(result(&text(5), &shorter), Err(BadResponse::HeadTooLarge));
    assert_eq!(result(&text(5)[..fits - 2], &shorter), Ok(false));
    let wide = Limits { fields: usize::MAX, ..Limits::default() };
    assert_eq!(result(&text(MAX_FIELDS), &wide), Ok(true));
    assert_eq!(result(&text(MAX_FIELDS + 1), &wide), Err(BadResponse::HeadTooLarge));
}

#[test]
fn hop_by_hop_fields_stay_here() {
    let lines = "A: 1\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nTE: x\r\n\
        Proxy-Connection: x\r\nUpgrade: h2c\r\nB_C:  2 \r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n";
    let expected = "A: 1\r\nB_C:  2 \r\nTrailer: T\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(passed(lines, Decision::default()), expected);
}

#[test]
fn the_first_line_is_ours_with_their_reason() {
    for (line, expected) in [
        ("HTTP/1.1 200 All right", "HTTP/1.1 200 All right"),
        ("HTTP/1.0 404", "HTTP/1.1 404 "),
        ("HTTP/1.1 500 ", "HTTP/1.1 500 "),
        ("HTTP/1.1 200 \u{e9}", "HTTP/1.1 200 \u{e9}"),
    ] {
        let head =
            forwarded(&format!("{line}\r\nContent-Length: 0\r\n\r\n"), &CLIENT, Decision::default(), |_| ());
        assert!(head.starts_with(&format!("{expected}\r\n")), "{head}");
    }
    let head = forwarded("HTTP/1.0 200 OK\r\n\r\n", &CLIENT, Decision::default(), |_| ());
    assert!(head.ends_with("Via: 1.0 warpdrive\r\n\r\n"), "{head}");
}

#[test]
fn content_is_framed_for_the_version_of_the_client() {
    let old = Client { minor: 0, keep_alive: true, ..CLIENT };
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for (lines, client, decision, framing, close) in [
        (length, CLIENT, Decision::default(), Framing::Length(5), false),
        (length, old, Decision::default(), Framing::Length(5), false),
        (length, CLIENT, GZIP, Framing::Chunked, false),
        (length, old, GZIP, Framing::UntilClose, true),
        (chunked, CLIENT, Decision::default(), Framing::Chunked, false),
        (chunked, old, Decision::default(), Framing::UntilClose, true),
        ("", CLIENT, Decision::default(), Framing::Chunked, false),
        ("", old, Decision::default(), Framing::UntilClose, true),
        (length, Client { keep_alive: false, ..CLIENT }, Decision::default(), Framing::Length(5), true),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}Trailer: A\r\n\r\n");
        let plan = read(&text, false, |response| Plan::new(&client, response, decision));
        assert_eq!((plan.framing, plan.close), (framing, close), "{lines} {client:?} {decision:?}");
        let head = forwarded(&text, &client, decision, |_| ());
        let has = |line: &str| head.contains(&format!("\r\n{line}\r\n"));
        assert_eq!(has("Content-Length: 5"), framing == Framing::Length(5), "{head}");
        assert_eq!(has("Transfer-Encoding: chunked"), framing == Framing::Chunked, "{head}");
        assert_eq!(has("Trailer: A"), framing == Framing::Chunked, "{head}");
        assert_eq!(has("Connection: close"), close, "{head}");
        assert_eq!(has("Connection: keep-alive"), !close && client.minor == 0, "{head}");
    }
}

#[test]
fn content_that_is_not_there_keeps_its_length_where_it_has_a_meaning() {
    for (status, is_head, says) in [
        ("200 OK", true, true),
        ("304 Not Modified", false, true),
        ("204 No Content", false, false),
        ("103 x", false, false),
    ] {
        let client = Client { is_head, ..CLIENT };
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
        let head = forwarded(&text, &client, Decision { gzip: false, vary: false }, |_| ());
        assert_eq!(head.contains("Content-Length: 5\r\n"), says, "{head}");
        let text = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let head = forwarded(&text, &client, Decision::default(), |_| ());
        assert!(!head.contains("Transfer-Encoding") && !head.contains("Content-Length"), "{head}");
    }
}

#[test]
fn compressed_content_is_called_so() {
    let lines = "Content-Length: 5000\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\nContent-MD5: x\r\nDigest: x\r\nContent-Digest: x\r\n\
        Repr-Digest: x\r\nContent-Encoding: identity\r\nA: b\r\n";
    let expected = "A: b\r\nContent-Encoding: gzip\r\nETag: W/\"a\"\r\nVary: Accept-Encoding\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(passed(lines, GZIP), expected);
    assert_eq!(passed(lines, Decision::default()), format!("{}Content-Length: 5000\r\n", &lines[22..]));
    for (tag, expected) in [("W/\"a\"", "ETag: W/\"a\"\r\n"), ("w/\"a\"", ""), ("a", "")] {
        let head = passed(&format!("ETag: {tag}\r\n"), GZIP);
        assert_eq!(
            head,
            format!(
                "Content-Encoding: gzip\r\n{expected}Vary: Accept-Encoding\r\nTransfer-Encoding: chunked\r\n"
            )
        );
    }
}

#[test]
fn vary_is_merged() {
    let vary = Decision { gzip: false, vary: true };
    for (lines, expected) in [
        ("", "Vary: Accept-Encoding\r\n"),
        ("Vary: Origin\r\n", "Vary: Origin, Accept-Encoding\r\n"),
        ("Vary: A\r\nVary:\r\nvary: B, C\r\n", "Vary: A, B, C, Accept-Encoding\r\n"),
        ("Vary: *\r\n", "Vary: *\r\n"),
        ("Vary: Origin\r\nVary: accept-encoding\r\n", "Vary: Origin\r\nVary: accept-encoding\r\n"),
        ("Vary: X-Accept-Encoding\r\n", "Vary: X-Accept-Encoding, Accept-Encoding\r\n"),
    ] {
        let head = passed(&format!("{lines}Content-Length: 5\r\n"), vary);
        assert_eq!(head, format!("{expected}Content-Length: 5\r\n"), "{lines}");
        let head = passed(&format!("{lines}Content-Length: 5\r\n"), Decision::default());
        assert_eq!(head, format!("{lines}Content-Length: 5\r\n"), "nothing is added without need");
    }
}

#[test]
fn what_the_server_has_not_said_is_added() {
    let change = |plan: &mut Plan<'_>| (plan.date, plan.request_id) = (b"now", "id-1");
    let ours = "Date: now\r\nX-Request-Id: id-1\r\nVia: 1.1 warpdrive\r\n\r\n";
    let head =
        forwarded("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &CLIENT, Decision::default(), change);
    assert!(head.ends_with(ours), "{head}");
    let theirs = "HTTP/1.1 200 OK\r\nDate: then\r\nX-Request-Id: id-2\r\nContent-Length: 0\r\n\r\n";
    let head = forwarded(theirs, &CLIENT, Decision::default(), change);
    assert!(
        head.contains("Date: then\r\nX-Request-Id: id-2\r\n")
            && !head.contains("now")
            && !head.contains("id-1"),
        "{head}"
    );
    let head = forwarded("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", &CLIENT, Decision::default(), change);
    assert_eq!(head, "HTTP/1.1 103 Early Hints\r\nLink: x\r\nVia: 1.1 warpdrive\r\n\r\n");
}

#[test]
fn a_change_of_protocol_is_passed_on() {
    let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
    read(text, false, |response| {
        assert_eq!((response.upgrade, response.framing), (Some(&b"websocket"[..]), Framing::None));
        assert!(!response.is_interim());
    });
    let head = forwarded(text, &CLIENT, Decision::default(), |_| ());
    let expected = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Via: 1.1 warpdrive\r\n\r\n";
    assert_eq!(head, expected);
    let text =
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: a\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n";
    let head = forwarded(text, &Client { keep_alive: false, ..CLIENT }, Decision::default(), |_| ());
    assert!(head.contains("Upgrade: a\r\nConnection: Upgrade, close\r\n"), "{head}");
}
