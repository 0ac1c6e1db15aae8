//! Responses that are such, in pieces, and bytes that are none.

use super::*;

const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n\
    5;name=value\r\nhello\r\n00a\r\n, world!!!\r\n0\r\nExpires: never\r\n\r\n";
const INTERIM: &[u8] =
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// All that is read of bytes that come in the pieces given.
fn read(pieces: &[&[u8]]) -> Result<(Response, Vec<u8>, usize), FramingError> {
    let (mut response, mut content, mut taken) = (Response::default(), Vec::new(), 0);
    for piece in pieces {
        taken += response.feed(piece, &mut |c| content.extend_from_slice(c))?;
    }
    Ok((response, content, taken))
}

fn head(bytes: &[u8]) -> Head {
    read(&[bytes]).unwrap().0.head().unwrap()
}

fn error(head: &str) -> FramingError {
    let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
    read(&[text.as_bytes()]).err().unwrap_or_else(|| panic!("{head} is taken"))
}

#[test]
fn content_comes_out_wherever_the_bytes_are_split() {
    for (whole, content) in [(LENGTH, &b"hello"[..]), (CHUNKED, b"hello, world!!!"), (INTERIM, b"ok")] {
        for first in 0..=whole.len() {
            for second in first..=whole.len() {
                let pieces = [&whole[..first], &whole[first..second], &whole[second..]];
                let (response, found, taken) = read(&pieces).unwrap();
                assert!(response.is_done(), "{first} {second}");
                assert_eq!((&found[..], taken), (content, whole.len()), "{first} {second}");
            }
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(read(&bytes).unwrap().1, content);
    }
}

#[test]
fn a_response_is_not_done_before_its_last_byte_and_takes_nothing_beyond() {
    for whole in [LENGTH, CHUNKED, INTERIM] {
        for end in 0..whole.len() {
            let (mut response, ..) = read(&[&whole[..end]]).unwrap();
            assert!(!response.is_done(), "{end}");
            assert_eq!(response.end(), Err(FramingError::Early), "{end}");
        }
        let mut more = whole.to_vec();
        more.extend_from_slice(b"HTTP/1.1");
        let (response, _, taken) = read(&[&more]).unwrap();
        assert!(response.is_done() && taken == whole.len());
    }
}

#[test]
fn a_response_without_a_length_ends_with_the_connection() {
    let (mut response, content, _) = read(&[b"HTTP/1.0 200 ok\r\n\r\nhel", b"lo"]).unwrap();
    assert!(!response.is_done() && content == b"hello" && !response.head().unwrap().keep_alive);
    response.end().unwrap();
    assert!(response.is_done());
    response.reset();
    assert!(!response.is_done() && response.head().is_none() && response.end().is_err());
}

#[test]
fn heads_say_whether_the_connection_stays_and_how_content_is_coded() {
    let keeps = |text: &str| head(format!("{text}\r\nContent-Length: 0\r\n\r\n").as_bytes()).keep_alive;
    assert!(keeps("HTTP/1.1 200 OK") && !keeps("HTTP/1.0 200 OK"));
    assert!(keeps("HTTP/1.0 200 OK\r\nConnection: Keep-Alive"));
    assert!(!keeps("HTTP/1.1 200 OK\r\nConnection: te, Close"));
    assert_eq!(head(CHUNKED).coding, Coding::Gzip);
    assert_eq!(head(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").status, 404);
    let twice =
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(head(twice).coding, Coding::Other);
    let (response, ..) = read(&[b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"]).unwrap();
    assert!(response.is_done(), "it has no content whatever it says");
}

#[test]
fn lengths_that_could_be_read_in_two_ways_are_refused() {
    for wrong in ["", "-1", "+1", "0x1", "1, 1", "99999999999999999999", "1 1"] {
        assert_eq!(error(&format!("Content-Length: {wrong}")), FramingError::Length, "{wrong}");
    }
    assert_eq!(error("Content-Length: 1\r\nContent-Length: 2"), FramingError::Length);
    assert_eq!(error("Content-Length: 1\r\nTransfer-Encoding: chunked"), FramingError::TwoLengths);
    for wrong in ["gzip, chunked", "identity", "", "chunked\r\nTransfer-Encoding: chunked"] {
        assert_eq!(error(&format!("Transfer-Encoding: {wrong}")), FramingError::Transfer, "{wrong}");
    }
    let old = read(&[b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]);
    assert_eq!(old.err(), Some(FramingError::Transfer));
    assert_eq!(read(&[b"HTTP/1.1 101 x\r\n\r\n"]).err(), Some(FramingError::Upgrade));
}

#[test]
fn chunks_that_are_none_are_refused() {
    let chunks = |text: &str| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        read(&[head.as_bytes(), text.as_bytes()]).err()
    };
    for wrong in
        ["\r\n", "x\r\n", "5\n", ";a=b\r\n", "-5\r\n", "11112222333344445\r\n", "1\r\nabc", "1\r\na\n"]
    {
        assert!(chunks(wrong).is_some(), "{wrong:?}");
    }
    assert_eq!(chunks("0\r\nno field\r\n\r\n"), Some(FramingError::Trailers));
    assert_eq!(chunks("0\r\n folded: x\r\n\r\n"), Some(FramingError::Trailers));
    assert_eq!(chunks(&"1".repeat(CHUNK_LINE_MAX + 1)), Some(FramingError::TooLong(CHUNK_LINE_MAX)));
    let trailers = format!("0\r\n{}", "a: b\r\n".repeat(HEAD_MAX / 6 + 1));
    assert_eq!(chunks(&trailers), Some(FramingError::TooLong(HEAD_MAX)));
}

#[test]
fn a_head_without_an_end_is_not_kept_for_ever() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(2 * HEAD_MAX));
    assert_eq!(read(&[long.as_bytes()]).err(), Some(FramingError::TooLong(HEAD_MAX)));
    let bytes: Vec<&[u8]> = long.as_bytes().chunks(1000).collect();
    assert_eq!(read(&bytes).err(), Some(FramingError::TooLong(HEAD_MAX)));
}
