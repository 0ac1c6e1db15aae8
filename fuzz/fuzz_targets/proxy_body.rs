//! Content as it comes behind a head: however it is split, the content, the verdict, the trailers and the end are the same;
//! what is written of it is read again as the same. What is taken for whole is so in the eyes of another reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warpdrive_proxy::http::Framing;
use warpdrive_proxy::http::body::{BadBody, CHUNK_END, Decoder, Piece, chunk_head, last_chunk};

#[derive(Debug, PartialEq)]
struct Read {
    content: Vec<u8>,
    taken: usize,
    done: bool,
    end: Result<(), BadBody>,
    trailers: Vec<u8>,
    /// The same content as we write it, if it is whole.
    written: Option<Vec<u8>>,
}

/// Reads bytes in pieces of the lengths given, over and over.
fn read(framing: Framing, bytes: &[u8], lengths: &[usize]) -> Result<Read, BadBody> {
    let mut decoder = Decoder::new(framing);
    let (mut content, mut taken, mut written) = (Vec::new(), 0, Vec::new());
    let mut lengths = lengths.iter().cycle();
    while taken < bytes.len() && !decoder.is_done() {
        let length = lengths.next().map_or(1, |n| *n).clamp(1, bytes.len() - taken);
        let part = &bytes[taken..taken + length];
        let mut at = 0;
        while at < part.len() {
            let (count, piece) = decoder.next(&part[at..]).inspect_err(|bad| {
                assert_eq!(decoder.clone().next(b"0\r\n\r\n").err(), Some(*bad), "an error is the end");
                assert!(!decoder.is_done() && !bad.to_string().is_empty());
            })?;
            match piece {
                Some(Piece::Data(range)) => {
                    assert!(!range.is_empty() && range.end == count);
                    let data = &part[at..][range];
                    content.extend_from_slice(data);
                    written.extend_from_slice(chunk_head(data.len(), &mut [0; 18]));
                    written.extend_from_slice(data);
                    written.extend_from_slice(CHUNK_END);
                }
                Some(Piece::End) => {
                    assert!(decoder.is_done());
                    at += count;
                    break;
                }
                None => assert_eq!(at + count, part.len(), "what has no content is taken as a whole"),
            }
            at += count;
        }
        taken += at;
    }
    last_chunk(decoder.trailers(), &mut written);
    Ok(Read {
        content,
        taken,
        done: decoder.is_done(),
        end: decoder.end_of_input(),
        trailers: decoder.trailers().to_vec(),
        written: decoder.is_done().then_some(written),
    })
}

/// The line at the beginning and what is behind it, if it ends and has no other CR or LF.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = &bytes[..end];
    (!line.contains(&b'\r') && !line.contains(&b'\n')).then_some((line, &bytes[end + 2..]))
}

/// Whole content in chunks, and where it ends, by RFC 9112, 7.1, read in another way than by the decoder.
fn reference(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut rest) = (Vec::new(), bytes);
    loop {
        let (size_line, behind) = line(rest)?;
        let digits = size_line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let (digits, extension) = size_line.split_at(digits);
        let is_right = extension.iter().all(|b| *b == b'\t' || !b.is_ascii_control());
        if digits.len() > 16
            || !is_right
            || !extension.is_empty() && !extension.trim_ascii_start().starts_with(b";")
        {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        rest = behind;
        if size == 0 {
            break;
        }
        content.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let (trailer, behind) = line(rest)?;
        rest = behind;
        if trailer.is_empty() {
            return Some((content, bytes.len() - rest.len()));
        }
    }
}

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (how, first, second, bytes) = input;
    let framing = match how % 8 {
        0 => Framing::None,
        1 => Framing::Length((how >> 3).into()),
        2 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let mut whole = read(framing, bytes, &[bytes.len()]);
    if let Ok(read) = &whole {
        assert!(read.content.len() <= read.taken && read.taken <= bytes.len());
        assert!(read.done || read.taken == bytes.len());
        assert_eq!(read.end.is_ok(), read.done || framing == Framing::UntilClose);
        match framing {
            Framing::Length(length) => assert_eq!(read.content.len() as u64, length.min(bytes.len() as u64)),
            Framing::None => assert_eq!(read.taken, 0),
            Framing::UntilClose => assert_eq!(read.content, bytes),
            Framing::Chunked if read.done => {
                assert_eq!(reference(bytes).as_ref(), Some(&(read.content.clone(), read.taken)));
            }
            Framing::Chunked => assert_eq!(reference(bytes), None),
        }
    } else if framing == Framing::Chunked && reference(bytes).is_some() {
        // All is where it should be: there is too much of it, or a trailer is malformed.
        assert!(matches!(whole, Err(BadBody::Extension | BadBody::Trailers)), "{whole:?}");
    }
    if let Ok(Read { written: Some(written), content, trailers, .. }) = &whole {
        let again = read(Framing::Chunked, written, &[usize::from(second), usize::from(first)]);
        let again = again.expect("what we write is right");
        assert!(again.done && again.taken == written.len());
        assert_eq!((&again.content, &again.trailers), (content, trailers));
    }
    for lengths in [&[1][..], &[usize::from(first), usize::from(second)]] {
        let mut pieces = read(framing, bytes, lengths);
        for read in [&mut whole, &mut pieces] {
            // Chunks are written as they come.
            read.iter_mut().for_each(|read| read.written = None);
        }
        assert_eq!(whole, pieces, "{lengths:?}");
    }
});
