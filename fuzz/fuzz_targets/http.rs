//! A server's answer as a client reads it: whether it comes as a whole or in pieces, the verdict, the content, the head
//! and the end are the same; nothing is taken beyond the end; errors have messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warpdrive_perf::web::framing::{FramingError, HEAD_MAX, Head, Response};

#[derive(Debug, PartialEq)]
struct Read {
    head: Option<Head>,
    content: Vec<u8>,
    taken: usize,
    done: bool,
}

/// Reads bytes in pieces of the lengths given, over and over, as one response.
fn read(response: &mut Response, bytes: &[u8], lengths: &[usize]) -> Result<Read, FramingError> {
    response.reset();
    assert!(response.is_fresh() && !response.is_done());
    let (mut content, mut taken, mut turn) = (Vec::new(), 0, lengths.iter().cycle());
    while taken < bytes.len() && !response.is_done() {
        let length = turn.next().map_or(1, |n| *n).clamp(1, bytes.len() - taken);
        let piece = &bytes[taken..taken + length];
        let n = response.feed(piece, &mut |part| content.extend_from_slice(part))?;
        assert!(n == piece.len() || response.is_done(), "what is not at its end takes all");
        taken += n;
    }
    let done = response.is_done();
    assert!(!done || response.end().is_ok());
    Ok(Read { head: response.head(), content, taken, done })
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (first, second, bytes) = input;
    let mut response = Response::default();
    let whole = read(&mut response, bytes, &[bytes.len()]);
    for lengths in [&[1][..], &[usize::from(first), usize::from(second)]] {
        let pieces = read(&mut response, bytes, lengths);
        match (&whole, &pieces) {
            (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces, "{lengths:?}"),
            // Which error it is may depend on where the bytes were split: that there is one may not.
            (Err(whole), Err(pieces)) => assert!(!format!("{whole}{pieces}").is_empty()),
            // A head that is too long is known sooner when it comes as a whole.
            _ => panic!("{lengths:?}: {whole:?} as a whole, {pieces:?} in pieces"),
        }
    }
    if let Ok(read) = whole {
        assert!(read.content.len() <= read.taken && read.taken <= bytes.len());
        assert!(read.done || read.head.is_some() || bytes.len() <= HEAD_MAX + 1 || bytes.starts_with(b"HTTP/1.1 1"));
        // What a response is followed by is not part of it.
        if read.done {
            let again = self::read(&mut response, &bytes[..read.taken], &[bytes.len()]);
            assert_eq!(again.as_ref(), Ok(&read));
        }
    }
});
