//! An echo by WebSocket (RFC 6455): frames go back as they come, piece by piece. Whether text is UTF-8 is left to the
//! client, who gets it back.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Exchange;
use super::reply::Reply;
use super::routes::Failure;
use crate::blocking::{Connection, Input, Refused};

/// RFC 6455, 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a frame.
const LONGEST: u64 = 16 << 20;
/// For the next frame.
const IDLE: Duration = Duration::from_secs(600);

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Why the server closes (RFC 6455, 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// Makes the connection one of WebSocket, and serves it until it is closed.
pub fn answer(exchange: &mut Exchange<'_, '_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
    let request = &exchange.request;
    let asked = request.lists("Upgrade", "websocket") && request.lists("Connection", "Upgrade");
    if !asked || request.method != "GET" || request.get("Sec-WebSocket-Version") != Some("13") {
        return Err(Refused(426, "this path speaks WebSocket, version 13").into());
    }
    let sound = |key: &&str| BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    let mut keys = request.all("Sec-WebSocket-Key");
    let (Some(key), None) = (request.get("Sec-WebSocket-Key").filter(sound), keys.nth(1)) else {
        return Err(Refused(400, "a Sec-WebSocket-Key has 16 bytes in base64").into());
    };
    let accept = accept(key);
    let fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", &*accept)];
    reply.switch(&fields)?;
    if let Err(Ended::For(code)) = echo(exchange.input) {
        send(exchange.input.connection(), FIN | CLOSE, &code.to_be_bytes())?;
    }
    Ok(())
}

/// How a connection ends.
enum Ended {
    /// The server closes it, for a reason.
    For(u16),
    /// It is gone, or closed by both.
    Gone,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// The head of a frame.
struct Frame {
    first: u8,
    len: u64,
    mask: [u8; 4],
}

impl Frame {
    fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    fn is_control(&self) -> bool {
        self.first & 0x08 != 0
    }
}

fn echo(input: &mut Input<'_>) -> Result<(), Ended> {
    let mut within_message = false;
    loop {
        let frame = frame(input)?;
        match frame.opcode() {
            CLOSE | PING | PONG => {
                let mut payload = [0; 125];
                // `frame` has seen to its length.
                let payload = &mut payload[..frame.len as usize];
                exactly(input, payload)?;
                unmask(payload, frame.mask, 0);
                match frame.opcode() {
                    CLOSE if payload.len() == 1 => return Err(Ended::For(PROTOCOL_ERROR)),
                    // Its code alone goes back.
                    CLOSE => {
                        send(input.connection(), FIN | CLOSE, &payload[..payload.len().min(2)])?;
                        return Ok(());
                    }
                    PING => send(input.connection(), FIN | PONG, payload)?,
                    _ => {}
                }
            }
            CONTINUATION..=BINARY if (frame.opcode() == CONTINUATION) == within_message => {
                within_message = frame.first & FIN == 0;
                give_back(input, &frame)?;
            }
            _ => return Err(Ended::For(PROTOCOL_ERROR)),
        }
    }
}

fn frame(input: &mut Input<'_>) -> Result<Frame, Ended> {
    let mut head = [0; 2];
    exactly(input, &mut head)?;
    let [first, second] = head;
    let mut longer = [0; 8];
    let len = match second & !MASKED {
        126 => {
            exactly(input, &mut longer[6..])?;
            u64::from_be_bytes(longer)
        }
        127 => {
            exactly(input, &mut longer)?;
            u64::from_be_bytes(longer)
        }
        len => u64::from(len),
    };
    let mut frame = Frame { first, len, mask: [0; 4] };
    let reserved = first & 0x70 != 0;
    let unsound_control = frame.is_control() && (len > 125 || first & FIN == 0);
    if reserved || unsound_control || second & MASKED == 0 {
        return Err(Ended::For(PROTOCOL_ERROR));
    }
    if len > LONGEST {
        return Err(Ended::For(TOO_BIG));
    }
    exactly(input, &mut frame.mask)?;
    Ok(frame)
}

/// Sends a frame back, while it comes, without its mask.
fn give_back(input: &mut Input<'_>, frame: &Frame) -> io::Result<()> {
    let mut out = head(frame.first, frame.len);
    let (mut done, mut piece) = (0, [0; 16 << 10]);
    loop {
        let most = (frame.len - done).min(piece.len() as u64) as usize;
        let n = input.take(&mut piece[..most], IDLE)?;
        unmask(&mut piece[..n], frame.mask, done);
        out.extend_from_slice(&piece[..n]);
        input.connection().send(&out)?;
        out.clear();
        done += n as u64;
        if done == frame.len {
            return Ok(());
        }
    }
}

fn send(to: &Connection, first: u8, payload: &[u8]) -> io::Result<()> {
    let mut out = head(first, payload.len() as u64);
    out.extend_from_slice(payload);
    to.send(&out)
}

/// The head of a frame of the server.
fn head(first: u8, len: u64) -> Vec<u8> {
    let mut out = vec![first];
    match len {
        0..=125 => out.push(len as u8),
        126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out
}

fn exactly(input: &mut Input<'_>, to: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < to.len() {
        done += input.take(&mut to[done..], IDLE)?;
    }
    Ok(())
}

/// `offset` is that of the bytes in the payload.
fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte ^= mask[(i + (offset % 4) as usize) % 4];
    }
}

/// The answer to a key (RFC 6455, 4.2.2).
fn accept(key: &str) -> String {
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_answered_as_in_the_standards_example() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
