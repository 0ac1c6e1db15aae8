//! A site as servers have them.

use std::io;

use crate::backend::{Backend, Exchange, Then};

/// Text of this length, which differs from place to place.
pub fn text(length: usize) -> Vec<u8> {
    let mut text = String::new();
    for line in 0_u64.. {
        if text.len() >= length {
            break;
        }
        text.push_str(&format!("line {line}: the sum of all lines before it is {}\n", line * line / 2));
    }
    text.truncate(length);
    text.into_bytes()
}

/// Bytes of this length that cannot be compressed, the same each time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// A sum that tells bodies apart without keeping them (FNV-1a).
pub fn sum(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// What a sum begins with.
pub const NO_SUM: u64 = 0xcbf2_9ce4_8422_2325;

/// The site.
pub fn site() -> Backend {
    Backend::start(answer)
}

/// Answers as the site does.
pub fn answer(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let target = exchange.asked.target.clone();
    let (path, number) = target.rsplit_once('/').unwrap_or((&target, ""));
    let number: usize = number.parse().unwrap_or(0);
    match path {
        "/text" => exchange.respond("text/plain", &text(number)),
        "/noise" => exchange.respond("application/octet-stream", &noise(number)),
        "/echo" => {
            let body = exchange.whole_body()?;
            exchange.respond("application/octet-stream", &body)
        }
        "/chunks" => chunks(exchange, number),
        "/tagged" => tagged(exchange),
        "/part" => part(exchange),
        "/until-close" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")?;
            exchange.send(text(number))?;
            Ok(Then::Close)
        }
        _ => {
            exchange.whole_body()?;
            exchange.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            Ok(Then::Keep)
        }
    }
}

/// Chunks of different lengths, and a trailer.
fn chunks(exchange: &mut Exchange<'_>, length: usize) -> io::Result<Then> {
    exchange.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
    )?;
    let (all, mut size) = (text(length), 1);
    let mut rest = &all[..];
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        exchange.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())?;
        (rest, size) = (behind, size * 3 + 1);
    }
    exchange.send(format!("0\r\nX-Sum: {:x}\r\n\r\n", sum(NO_SUM, &all)))?;
    Ok(Then::Keep)
}

/// Something with a tag, for those who have it already.
fn tagged(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let common = "ETag: \"one\"\r\nContent-Type: text/plain\r\n";
    // Weak and strong are the same to a GET (RFC 9110, 13.1.2).
    let known = exchange.asked.fields.get("if-none-match").is_some_and(|tag| tag.ends_with("\"one\""));
    if known {
        exchange.send(format!("HTTP/1.1 304 Not Modified\r\n{common}\r\n"))?;
    } else {
        exchange.send(format!("HTTP/1.1 200 OK\r\n{common}Content-Length: 4000\r\n\r\n"))?;
        exchange.send(text(4_000))?;
    }
    Ok(Then::Keep)
}

/// A part of 4,000 bytes of text.
fn part(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    let wanted = exchange.asked.fields.get("range").and_then(|range| range.strip_prefix("bytes="));
    let (from, to) = wanted.and_then(|range| range.split_once('-')).expect("a range");
    let (from, to): (usize, usize) = (from.parse().expect("a number"), to.parse().expect("a number"));
    let part = &text(4_000)[from..=to];
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain\r\nContent-Range: bytes {from}-{to}/4000\r\n\
         Content-Length: {}\r\n\r\n",
        part.len()
    );
    exchange.send([head.as_bytes(), part].concat())?;
    Ok(Then::Keep)
}
