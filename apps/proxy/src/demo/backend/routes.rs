//! Which path answers what.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::json;

use super::reply::{Fields, Reply, TEXT};
use super::{Exchange, PIECE, pages, text, websocket};
use crate::blocking::{Framing, Refused, Request};

/// The most that `/large` gives.
const LARGEST: u64 = 1 << 30;
/// Pieces of `/chunked`, and the bytes of one.
const CHUNKS: u64 = 16;
const CHUNK_BYTES: u64 = 1_000;

/// Why there is no answer.
pub enum Failure {
    /// Another answer says so.
    Refused(Refused),
    /// The client has gone.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Answers.
pub fn answer(exchange: &mut Exchange<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
    let request = &exchange.request;
    let path = request.path();
    if request.method == "OPTIONS" {
        return Ok(reply.whole(204, &[("Allow", "GET, HEAD, POST, OPTIONS")], b"")?);
    }
    let reads = matches!(&*request.method, "GET" | "HEAD");
    let writes = matches!(&*request.method, "POST" | "PUT");
    match path {
        "/json" => return Ok(reply.whole(200, &fields("application/json"), &as_json(exchange))?),
        "/echo" if writes || request.method == "HEAD" => return echo(exchange, reply),
        "/echo" => return Err(Refused(405, "send something by POST").into()),
        _ if !reads => return Err(Refused(405, "this path is read by GET and HEAD").into()),
        _ => {}
    }
    match path {
        "/" => {
            let csp = ("Content-Security-Policy", pages::POLICY);
            let [media, store] = fields("text/html; charset=utf-8");
            Ok(reply.whole(200, &[media, store, csp], pages::front(request).as_bytes())?)
        }
        "/style.css" => Ok(reply.whole(200, &fields("text/css; charset=utf-8"), pages::STYLE.as_bytes())?),
        "/script.js" => {
            Ok(reply.whole(200, &fields("text/javascript; charset=utf-8"), pages::SCRIPT.as_bytes())?)
        }
        "/large" => large(request, reply),
        "/chunked" => Ok(chunked(reply)?),
        "/events" => events(exchange, reply),
        "/delay" => delay(exchange, reply),
        "/websocket" => websocket::answer(exchange, reply),
        _ => match path.strip_prefix("/status/") {
            Some(status) => fixed_status(status, reply),
            None => Err(Refused(404, "there is nothing here; the page at / says what there is").into()),
        },
    }
}

fn fields(media: &str) -> [(&str, &str); 2] {
    [("Content-Type", media), ("Cache-Control", "no-store")]
}

/// A number of the query.
fn number(request: &Request, name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, Refused> {
    let pairs = request.query().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, value)) = pairs.into_iter().find(|(n, _)| *n == name) else { return Ok(default) };
    let number = value.parse().ok().filter(|_| value.bytes().all(|b| b.is_ascii_digit()));
    number.filter(|n| range.contains(n)).ok_or(Refused(400, "a number in the query is none, or out of range"))
}

fn as_json(exchange: &Exchange<'_, '_>) -> Vec<u8> {
    let request = &exchange.request;
    let fields: Vec<_> = request
        .fields
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": String::from_utf8_lossy(value) }))
        .collect();
    let length = match request.framing {
        Framing::Nothing => json!(0),
        Framing::Length(length) => json!(length),
        Framing::Chunks { .. } => json!("chunked"),
    };
    let all = json!({
        "method": request.method,
        "target": request.target,
        "version": format!("HTTP/1.{}", request.minor),
        "peer": exchange.input.connection().peer().map(|peer| peer.to_string()),
        "body": length,
        "fields": fields,
    });
    format!("{all:#}\n").into_bytes()
}

fn large(request: &Request, reply: &mut Reply<'_>) -> Result<(), Failure> {
    let bytes = number(request, "bytes", 10 << 20, 0..=LARGEST)?;
    reply.begin(200, &fields(TEXT), bytes)?;
    let mut offset = 0;
    while offset < bytes && !reply.is_head_only() {
        let piece = text::at(offset, bytes - offset);
        reply.piece(piece)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

fn chunked(reply: &mut Reply<'_>) -> io::Result<()> {
    let [media, store] = fields(TEXT);
    reply.begin_chunked(200, &[media, store, ("Trailer", "X-Body-Sha256")])?;
    let mut sum = Context::new(&SHA256);
    for i in 0..CHUNKS {
        let piece = text::at(i * CHUNK_BYTES, CHUNK_BYTES);
        sum.update(piece);
        reply.piece(piece)?;
    }
    let hex: String = sum.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect();
    reply.end(&[("X-Body-Sha256", &hex)])
}

fn events(exchange: &Exchange<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
    let count = number(&exchange.request, "n", 30, 0..=3_600)?;
    let every = Duration::from_millis(number(&exchange.request, "ms", 1_000, 10..=60_000)?);
    reply.begin_chunked(200, &fields("text/event-stream"))?;
    for i in 1..=count {
        if reply.is_head_only() || i > 1 && !exchange.ending.sleep(every) {
            break;
        }
        reply.piece(format!("id: {i}\ndata: {{\"event\":{i},\"of\":{count}}}\n\n").as_bytes())?;
    }
    Ok(reply.end(&[])?)
}

fn delay(exchange: &Exchange<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
    let ms = number(&exchange.request, "ms", 1_000, 0..=60_000)?;
    exchange.ending.sleep(Duration::from_millis(ms));
    Ok(reply.whole(200, &fields(TEXT), format!("after {ms} ms\n").as_bytes())?)
}

fn fixed_status(status: &str, reply: &mut Reply<'_>) -> Result<(), Failure> {
    let three = status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit());
    match status.parse() {
        Ok(status @ 200..=599) if three => {
            let location: Fields<'_> = &[("Content-Type", TEXT), ("Location", "/")];
            let fields = if matches!(status, 301..=303 | 307 | 308) { location } else { &location[..1] };
            Ok(reply.whole(status, fields, format!("{status}\n").as_bytes())?)
        }
        _ => Err(Refused(400, "a status that ends an exchange is one of 200 to 599").into()),
    }
}

/// Sends a body back while it comes.
fn echo(exchange: &mut Exchange<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
    let request = &mut exchange.request;
    let media = request.get("Content-Type").unwrap_or("application/octet-stream").to_owned();
    exchange.input.go_ahead(request)?;
    match request.framing {
        Framing::Nothing => reply.begin(200, &fields(&media), 0)?,
        Framing::Length(length) => reply.begin(200, &fields(&media), length)?,
        Framing::Chunks { .. } => reply.begin_chunked(200, &fields(&media))?,
    }
    let mut piece = [0; 16 << 10];
    loop {
        match exchange.input.body(&mut request.framing, &mut piece, PIECE)? {
            0 => return Ok(reply.end(&[])?),
            n => reply.piece(&piece[..n])?,
        }
    }
}
