use super::*;

/// All content, and how many bytes were taken to the end.
fn read(framing: Framing, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize, Decoder), BadBody> {
    let mut decoder = Decoder::new(framing);
    let (mut content, mut taken) = (Vec::new(), 0);
    for bytes in bytes.chunks(piece.max(1)) {
        let mut at = 0;
        loop {
            let (count, found) = decoder.next(&bytes[at..])?;
            let is_all = found.is_none();
            match found {
                Some(Piece::Data(range)) => {
                    assert!(range.end == count && !range.is_empty(), "what is taken ends with the content");
                    content.extend_from_slice(&bytes[at..][range]);
                }
                Some(Piece::End) => {
                    taken += count;
                    return Ok((content, taken, decoder));
                }
                None => assert_eq!(at + count, bytes.len()),
            }
            at += count;
            taken += count;
            if is_all {
                break;
            }
        }
    }
    Ok((content, taken, decoder))
}

#[test]
fn content_ends_where_it_was_announced() {
    for piece in [1, 2, 3, 100] {
        let (content, taken, mut decoder) =
            read(Framing::Length(5), b"hello, world", piece).expect("content");
        assert_eq!((&content[..], taken), (&b"hello"[..], 5));
        assert!(decoder.is_done() && decoder.left() == Some(0) && decoder.end_of_input().is_ok());
        let (content, taken, mut decoder) = read(Framing::Length(5), b"hell", piece).expect("content");
        assert_eq!((&content[..], taken, decoder.left()), (&b"hell"[..], 4, Some(1)));
        assert_eq!(decoder.end_of_input(), Err(BadBody::Early));
        let (content, _, mut decoder) = read(Framing::UntilClose, b"hello", piece).expect("content");
        assert_eq!((&content[..], decoder.is_done()), (&b"hello"[..], false));
        assert!(decoder.end_of_input().is_ok() && decoder.is_done());
        for framing in [Framing::None, Framing::Length(0)] {
            let (content, taken, mut decoder) = read(framing, b"next", piece).expect("none");
            assert_eq!((&content[..], taken), (&b""[..], 0));
            assert!(decoder.is_done() && decoder.end_of_input().is_ok());
        }
    }
    assert_eq!(Decoder::new(Framing::None).next(b""), Ok((0, Some(Piece::End))));
    assert_eq!(Decoder::new(Framing::Length(1)).next(b""), Ok((0, None)));
}

#[test]
fn chunks_are_put_together() {
    for (bytes, expected) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n00a\r\n, world!!!\r\n000\r\n\r\n", "hello, world!!!"),
        ("A\r\n0123456789\r\na;b=c;d=\"e\"\r\n0123456789\r\n0;x\r\n\r\n", "01234567890123456789"),
        ("1 \t; a = b \r\nx\r\n0\t;\r\n\r\n", "x"),
        ("3\r\n\r\n0\r\n0\r\n\r\n", "\r\n0"),
        ("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", "x"),
        ("1;\u{e9}\r\nx\r\n0\r\n\r\n", "x"),
    ] {
        for piece in 1..=bytes.len() + 4 {
            let follows = format!("{bytes}GET ");
            let (content, taken, mut decoder) =
                read(Framing::Chunked, follows.as_bytes(), piece).expect(bytes);
            assert_eq!((&content[..], taken), (expected.as_bytes(), bytes.len()), "{bytes} {piece}");
            assert!(decoder.is_done() && decoder.trailers().is_empty() && decoder.end_of_input().is_ok());
        }
        for end in 0..bytes.len() {
            let (_, _, mut decoder) =
                read(Framing::Chunked, &bytes.as_bytes()[..end], 100).expect("a beginning");
            assert!(!decoder.is_done());
            assert_eq!(decoder.end_of_input(), Err(BadBody::Early));
        }
    }
}

#[test]
fn the_biggest_chunk_is_one_of_64_bits() {
    let mut decoder = Decoder::new(Framing::Chunked);
    assert_eq!(decoder.next(b"ffffffffffffffff\r\n"), Ok((18, None)));
    assert_eq!(decoder.next(b"abc"), Ok((3, Some(Piece::Data(0..3)))));
    assert_eq!(decoder.state, State::Chunk(u64::MAX - 3));
}

#[test]
fn what_is_not_right_around_chunks_is_an_error_for_good() {
    for (bytes, expected) in [
        ("\r\n", BadBody::Size),
        (";\r\n", BadBody::Size),
        (" 1\r\n", BadBody::Size),
        ("x\r\n", BadBody::Size),
        ("-1\r\n", BadBody::Size),
        ("+1\r\n", BadBody::Size),
        ("0x1\r\n", BadBody::Size),
        ("1_0\r\n", BadBody::Size),
        ("1g\r\n", BadBody::Size),
        ("1 \r\n", BadBody::Size),
        ("1 1\r\n", BadBody::Size),
        ("10000000000000000\r\n", BadBody::Size),
        ("00000000000000001\r\n", BadBody::Size),
        ("1\n", BadBody::Ending),
        ("1\rx", BadBody::Ending),
        ("1\r\r\n", BadBody::Ending),
        ("1;a\n", BadBody::Ending),
        ("1;a\rb\r\n", BadBody::Ending),
        ("1;\0\r\n", BadBody::Extension),
        ("1;\x7f\r\n", BadBody::Extension),
        ("1\r\nxy\r\n", BadBody::Ending),
        ("1\r\nx\n", BadBody::Ending),
        ("1\r\nx\r0", BadBody::Ending),
        ("1\r\nx0\r\n\r\n", BadBody::Ending),
        ("0\r\n\n", BadBody::Ending),
        ("0\r\n\rx", BadBody::Ending),
        ("0\r\nA: b\n\r\n", BadBody::Ending),
        ("0\r\nA: b\rc\r\n\r\n", BadBody::Ending),
        ("0\r\nA\r\n\r\n", BadBody::Trailers),
        ("0\r\nA : b\r\n\r\n", BadBody::Trailers),
        ("0\r\nA: b\r\n c\r\n\r\n", BadBody::Trailers),
        ("0\r\nA: \0\r\n\r\n", BadBody::Trailers),
        ("0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadBody::Trailers),
    ] {
        for piece in 1..=bytes.len() {
            assert_eq!(
                read(Framing::Chunked, bytes.as_bytes(), piece).err(),
                Some(expected),
                "{bytes:?} {piece}"
            );
        }
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut at = 0;
        while let Ok((count, _)) = decoder.next(&bytes.as_bytes()[at..]) {
            at += count;
        }
        assert_eq!(decoder.next(b"0\r\n\r\n").err(), Some(expected), "{bytes:?}");
        assert_eq!(decoder.end_of_input(), Err(expected));
        assert!(!decoder.is_done() && decoder.trailers().is_empty());
        assert_eq!((expected.of_request().status(), expected.of_response().status()), (400, 502));
    }
}

#[test]
fn extensions_are_dropped_but_not_without_end() {
    let line = |len: usize| format!("1;{}\r\nx\r\n", "a".repeat(len - 1));
    let ends = |text: String| {
        read(Framing::Chunked, format!("{text}0\r\n\r\n").as_bytes(), 1 << 20).map(|read| read.0.len())
    };
    assert_eq!(ends(line(EXTENSION_MAX as usize)), Ok(1));
    assert_eq!(ends(line(EXTENSION_MAX as usize + 1)), Err(BadBody::Extension));
    // Each may have 18 bytes for its one byte.
    assert_eq!(ends(line(18).repeat(100_000)), Ok(100_000));
    let many = EXCESS_MAX as usize;
    assert_eq!(ends(line(19).repeat(many)), Ok(many));
    assert_eq!(ends(line(19).repeat(many + 1)), Err(BadBody::Extension));
}

#[test]
fn trailers_are_kept_but_for_those_that_may_not_come_there() {
    let text = "1\r\nx\r\n0\r\nServer-Timing:  a;dur=1 \r\nContent-Length: 5\r\nX_Y: 1\r\nAuthorization: a\r\ngrpc-status: 0\r\n\r\nrest";
    for piece in 1..text.len() {
        let (content, taken, decoder) = read(Framing::Chunked, text.as_bytes(), piece).expect("content");
        assert_eq!((&content[..], taken), (&b"x"[..], text.len() - 4));
        assert_eq!(decoder.trailers(), b"Server-Timing: a;dur=1\r\ngrpc-status: 0\r\n");
        let mut out = Vec::new();
        last_chunk(decoder.trailers(), &mut out);
        let (_, taken, again) = read(Framing::Chunked, &out, 100).expect("what we write");
        assert_eq!((taken, again.trailers()), (out.len(), decoder.trailers()));
    }
    let of = |len: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(len - 5));
    assert!(read(Framing::Chunked, of(TRAILERS_MAX).as_bytes(), 100).is_ok());
    assert_eq!(read(Framing::Chunked, of(TRAILERS_MAX + 1).as_bytes(), 100).err(), Some(BadBody::Trailers));
    let many = |count| format!("0\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert!(read(Framing::Chunked, many(TRAILER_FIELDS_MAX).as_bytes(), 100).is_ok());
    assert_eq!(
        read(Framing::Chunked, many(TRAILER_FIELDS_MAX + 1).as_bytes(), 100).err(),
        Some(BadBody::Trailers)
    );
}

#[test]
fn chunks_are_written_as_they_are_read() {
    let mut room = [0; 18];
    for (len, head) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0x0010_0000, "100000\r\n")] {
        assert_eq!(chunk_head(len, &mut room), head.as_bytes());
    }
    assert_eq!(chunk_head(usize::MAX, &mut room), b"ffffffffffffffff\r\n");
    let mut out = Vec::new();
    last_chunk(b"", &mut out);
    assert_eq!(out, LAST_CHUNK);
}

#[test]
#[should_panic(expected = "the end of the content")]
fn a_chunk_without_bytes_is_not_written() {
    let _ = chunk_head(0, &mut [0; 18]);
}
