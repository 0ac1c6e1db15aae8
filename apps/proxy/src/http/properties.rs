//! What holds for all heads and contents: where bytes are split makes no difference, what is written is read again as
//! the same, and nothing panics.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::body::{BadBody, CHUNK_END, Decoder, Framing, Piece, chunk_head, last_chunk};
use super::field::Room;
use super::negotiate::Decision;
use super::request::{self, Client, Peer, Via};
use super::response::{self, Plan};
use super::{Limits, Parsed};

const LIMITS: Limits = Limits { head_bytes: 2000, target_bytes: 200, fields: 20 };
/// Names that may be written anew, merged, dropped or hop by hop.
const OURS: [&str; 14] = [
    "connection",
    "keep-alive",
    "te",
    "upgrade",
    "transfer-encoding",
    "content-length",
    "host",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "expect",
];

/// Names and values of fields that go from end to end, in their order.
type EndToEnd = Vec<(String, Vec<u8>)>;

/// Lines that are right, and some that are not.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        4 => "[A-Za-z][A-Za-z0-9-]{0,12}",
        1 => "[A-Za-z_]{1,5}",
        4 => select(&OURS[..]).prop_map(str::to_owned),
    ];
    let value = prop_oneof![
        3 => "[ -~]{0,20}".prop_map(String::into_bytes),
        1 => vec(0x80_u8.., 1..5),
        2 => select(vec!["chunked", "5", "0", "close", "keep-alive, a", "trailers", "upgrade", "websocket", "100-continue", "a.b:1", "gzip"])
            .prop_map(|value| value.as_bytes().to_vec()),
    ];
    let end = prop_oneof![30 => Just("\r\n"), 1 => select(vec!["\n", "\r", "\r\n ", " \r\n"])];
    let colon = prop_oneof![30 => Just(": "), 1 => select(vec![":", " :", ":\t", ""])];
    (name, colon, value, end).prop_map(|(name, colon, value, end)| {
        [name.as_bytes(), colon.as_bytes(), &value, end.as_bytes()].concat()
    })
}

fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "POST", "HEAD", "OPTIONS", "X-OWN"]);
    let target = prop_oneof![
        4 => "/[a-z/]{0,5}(\\?[a-z=]{0,5})?",
        1 => select(vec!["*", "http://a/b?c", "https://a:1?x", "/#", "a:1"]).prop_map(str::to_owned),
    ];
    let host = prop_oneof![9 => Just("Host: a.b\r\n"), 1 => Just("")];
    let version =
        prop_oneof![9 => Just("HTTP/1.1\r\n"), 2 => Just("HTTP/1.0\r\n"), 1 => Just("HTTP/2.0\r\n")];
    let empty = prop_oneof![9 => Just(""), 1 => Just("\r\n")];
    (empty, method, target, version, host, vec(line(), 0..8)).prop_map(
        |(empty, method, target, version, host, lines)| {
            let start = format!("{empty}{method} {target} {version}{host}");
            [start.as_bytes(), &lines.concat(), b"\r\nrest"].concat()
        },
    )
}

fn response_bytes() -> impl Strategy<Value = Vec<u8>> {
    let status =
        select(vec!["100 Continue", "101 X", "200 OK", "204 x", "206 P", "304 Not Modified", "404", "600 x"]);
    let version = prop_oneof![9 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0")];
    (version, status, vec(line(), 0..8)).prop_map(|(version, status, lines)| {
        [version.as_bytes(), b" ", status.as_bytes(), b"\r\n", &lines.concat(), b"\r\nrest"].concat()
    })
}

/// The fields that neither end nor begin here, but for those that `Connection` names.
fn end_to_end<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])> + Clone) -> EndToEnd {
    let connections = fields.clone().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let named: Vec<String> = connections
        .flat_map(|(_, value)| value.split(|b| *b == b','))
        .map(|option| String::from_utf8_lossy(option.trim_ascii()).to_lowercase())
        .collect();
    let dropped = ["proxy-connection", "x-real-ip"];
    fields
        .map(|(name, value)| (name.to_lowercase(), value.to_vec()))
        .filter(|(name, _)| !OURS.contains(&name.as_str()) && !dropped.contains(&name.as_str()))
        .filter(|(name, _)| !named.contains(name) && !name.starts_with("x-forwarded-"))
        .collect()
}

fn via(peer: &Peer) -> Via<'_> {
    Via { peer, proto: "https", request_id: "ours", host: None, identity: false }
}

proptest! {
    #[test]
    fn a_request_is_the_same_wherever_it_is_split(bytes in request_bytes()) {
        let mut room = Room::new();
        let whole = request::parse(&bytes, &LIMITS, &mut room);
        let len = match &whole {
            Ok(Parsed::Whole(request)) => request.head_len,
            _ => bytes.len(),
        };
        for end in 0..bytes.len() {
            let mut room = Room::new();
            match (&whole, request::parse(&bytes[..end], &LIMITS, &mut room)) {
                (Ok(_), Ok(Parsed::Partial)) => prop_assert!(end < len),
                (Ok(Parsed::Whole(whole)), Ok(Parsed::Whole(part))) => {
                    prop_assert!(end >= len);
                    prop_assert_eq!(format!("{whole:?}"), format!("{part:?}"));
                }
                (Err(_), Ok(Parsed::Partial) | Err(_)) => {}
                (whole, part) => prop_assert!(false, "{whole:?} {end} {part:?}"),
            }
        }
    }

    #[test]
    fn a_response_is_the_same_wherever_it_is_split(bytes in response_bytes(), is_head: bool) {
        let mut room = Room::new();
        let whole = response::parse(&bytes, is_head, &LIMITS, &mut room);
        let len = match &whole {
            Ok(Parsed::Whole(response)) => response.head_len,
            _ => bytes.len(),
        };
        for end in 0..bytes.len() {
            let mut room = Room::new();
            match (&whole, response::parse(&bytes[..end], is_head, &LIMITS, &mut room)) {
                (Ok(_), Ok(Parsed::Partial)) => prop_assert!(end < len),
                (Ok(Parsed::Whole(whole)), Ok(Parsed::Whole(part))) => {
                    prop_assert!(end >= len);
                    prop_assert_eq!(format!("{whole:?}"), format!("{part:?}"));
                }
                (Err(_), Ok(Parsed::Partial) | Err(_)) => {}
                (whole, part) => prop_assert!(false, "{whole:?} {end} {part:?}"),
            }
        }
    }

    #[test]
    fn a_request_keeps_its_fields_and_its_framing(bytes in request_bytes()) {
        let mut room = Room::new();
        let Ok(Parsed::Whole(request)) = request::parse(&bytes, &LIMITS, &mut room) else { return Ok(()) };
        let peer = Peer::new(Ipv4Addr::LOCALHOST.into());
        let mut out = Vec::new();
        request::forward(&request, &via(&peer), &mut out);
        if request.host.is_none() {
            // What comes without a host cannot be read again in HTTP/1.1.
            return Ok(());
        }
        let mut room = Room::new();
        let Ok(Parsed::Whole(again)) = request::parse(&out, &Limits::default(), &mut room) else {
            return Err(TestCaseError::fail(String::from_utf8_lossy(&out).into_owned()));
        };
        prop_assert_eq!(again.head_len, out.len());
        prop_assert_eq!((again.method, again.path, again.query), (request.method, request.path, request.query));
        prop_assert_eq!((again.framing, again.host), (request.framing, request.host));
        prop_assert_eq!((again.upgrade, again.minor, again.keep_alive), (request.upgrade, 1, true));
        let expected: EndToEnd =
            end_to_end(request.fields.iter().collect::<Vec<_>>().into_iter())
                .into_iter().filter(|(name, _)| !name.contains('_')).collect();
        prop_assert_eq!(end_to_end(again.fields.iter().collect::<Vec<_>>().into_iter()), expected);
    }

    #[test]
    fn a_response_keeps_its_fields_and_is_framed_as_planned(
        bytes in response_bytes(),
        is_head: bool,
        minor in 0..=1_u8,
        gzip: bool,
    ) {
        let mut room = Room::new();
        let Ok(Parsed::Whole(response)) = response::parse(&bytes, is_head, &LIMITS, &mut room) else { return Ok(()) };
        let client = Client { minor, keep_alive: true, is_head, accepts_gzip: true, takes_trailers: false };
        let plan = Plan::new(&client, &response, Decision { gzip, vary: false });
        let mut out = Vec::new();
        response::forward(&response, &plan, &mut out);
        let mut room = Room::new();
        let Ok(Parsed::Whole(again)) = response::parse(&out, is_head, &Limits::default(), &mut room) else {
            return Err(TestCaseError::fail(String::from_utf8_lossy(&out).into_owned()));
        };
        prop_assert_eq!(again.head_len, out.len());
        prop_assert_eq!((again.status, again.framing), (response.status, plan.framing));
        if response.status >= 200 {
            prop_assert_eq!(again.keep_alive, !plan.close);
        }
        let of = |response: &super::Response<'_, '_>| -> EndToEnd {
            let all = response.fields.iter().collect::<Vec<_>>().into_iter();
            let ours = |name: &str| matches!(name, "content-encoding" | "host" | "expect" | "forwarded" | "trailer");
            end_to_end(all).into_iter().filter(|(name, _)| !ours(name)).collect()
        };
        prop_assert_eq!(of(&again), of(&response));
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in vec(any::<u8>(), 0..300), is_head: bool) {
        for start in [&b""[..], b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nA: "] {
            let bytes = [start, &bytes].concat();
            let mut room = Room::new();
            let _ = request::parse(&bytes, &LIMITS, &mut room);
            let mut room = Room::new();
            let _ = response::parse(&bytes, is_head, &LIMITS, &mut room);
        }
        let _ = super::negotiate::accepts_gzip(&bytes);
        let _ = super::host::check(&bytes);
        let _ = decode(&bytes, &[7]);
    }

    #[test]
    fn content_in_chunks_comes_back_however_it_is_split(
        pieces in vec(vec(any::<u8>(), 1..50), 0..10),
        lengths in vec(1..40_usize, 1..5),
    ) {
        let mut coded = Vec::new();
        for piece in &pieces {
            coded.extend_from_slice(chunk_head(piece.len(), &mut [0; 18]));
            coded.extend_from_slice(piece);
            coded.extend_from_slice(CHUNK_END);
        }
        last_chunk(b"A: b\r\n", &mut coded);
        let end = coded.len();
        coded.extend_from_slice(b"rest");
        prop_assert_eq!(decode(&coded, &lengths), Ok((pieces.concat(), end, b"A: b\r\n".to_vec())));
    }

    #[test]
    fn chunks_of_any_bytes_are_the_same_however_they_are_split(
        bytes in vec(select(b"01aF;\r\n\r\n\r\n :x".to_vec()), 0..60),
        lengths in vec(1..10_usize, 1..5),
    ) {
        prop_assert_eq!(decode(&bytes, &lengths), decode(&bytes, &[usize::MAX]));
    }
}

/// Content, bytes taken and trailers, of bytes that come in pieces of the lengths given, over and over.
fn decode(bytes: &[u8], lengths: &[usize]) -> Result<(Vec<u8>, usize, Vec<u8>), BadBody> {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut content, mut at, mut lengths) = (Vec::new(), 0, lengths.iter().cycle());
    while at < bytes.len() && !decoder.is_done() {
        let mut left = (*lengths.next().unwrap_or(&1)).min(bytes.len() - at);
        while left > 0 {
            let (count, piece) = decoder.next(&bytes[at..at + left])?;
            match piece {
                Some(Piece::Data(range)) => content.extend_from_slice(&bytes[at..][range]),
                Some(Piece::End) => left = count,
                None => {}
            }
            (at, left) = (at + count, left - count);
        }
    }
    Ok((content, at, decoder.trailers().to_vec()))
}
