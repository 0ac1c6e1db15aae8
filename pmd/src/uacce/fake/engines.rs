//! What fake devices compute, by other code than the one that is tested. Addresses are those of this process.

use std::collections::HashMap;

use num_bigint::BigUint;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

use super::Engine;
use crate::engine::zip::Checksum;
use crate::uacce::abi::hpre::{self, Algorithm};
use crate::uacce::abi::zip::{self, Asked, Ended, Format, status};

/// Bytes at an address that a request has named.
fn bytes<'a>(address: u64, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: tests give addresses of memory of this process that stays until their completions are there.
    unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address as usize), len) }
}

fn put(address: u64, from: &[u8]) {
    if from.is_empty() {
        return;
    }
    // SAFETY: as above, and nobody else uses the destination meanwhile.
    unsafe {
        let to = std::ptr::with_exposed_provenance_mut::<u8>(address as usize);
        to.copy_from_nonoverlapping(from.as_ptr(), from.len());
    }
}

/// RSA on numbers.
pub(in crate::uacce) fn rsa() -> Engine {
    Box::new(|kind, words| {
        assert_eq!(kind, 0);
        let mut entry = hpre::Entry(words.try_into().unwrap());
        let (operand, at) = (entry.operand(), entry.addresses());
        let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
        let input = || number(bytes(at.input, operand));
        let output = match Algorithm::of(entry.algorithm()) {
            _ if entry.algorithm() == hpre::NULL => None,
            Some(Algorithm::Crt) => {
                let key = bytes(at.key, hpre::key_bytes(Algorithm::Crt, operand));
                let parts: Vec<_> = key.chunks(operand / 2).map(number).collect();
                let [dq, dp, q, p, qinv] = parts.try_into().unwrap();
                let (m1, m2) = (input().modpow(&dp, &p), input().modpow(&dq, &q));
                let h = qinv * (m1 + &p * (&m2 / &p + 1u32) - &m2) % &p;
                Some(m2 + h * q)
            }
            Some(Algorithm::NoCrt) => {
                let key = bytes(at.key, 2 * operand);
                Some(input().modpow(&number(&key[..operand]), &number(&key[operand..])))
            }
            None => {
                return words.copy_from_slice(&{
                    entry.end(hpre::error::PARAMETER);
                    entry.0
                });
            }
        };
        if let Some(output) = output {
            let digits = output.to_bytes_be();
            let mut padded = vec![0; operand - digits.len()];
            padded.extend(digits);
            put(at.output, &padded);
        }
        entry.end(0);
        words.copy_from_slice(&entry.0);
    })
}

/// DEFLATE in both directions.
pub(in crate::uacce) fn zip() -> Engine {
    let mut streams = HashMap::new();
    Box::new(move |kind, words| {
        let mut entry = zip::Entry(words.try_into().unwrap());
        let Some(asked) = entry.asked() else {
            entry.end(&Ended { status: 0x11, ..Ended::default() });
            return words.copy_from_slice(&entry.0);
        };
        assert!(entry.window_bytes().is_some());
        let compress = kind == zip::COMPRESS;
        let level = entry.level().map_or(1, |level| level.min(9));
        let fresh = || Running::new(compress, level);
        let mut alone = fresh();
        let running = match asked.stream {
            Some(address) => {
                let running = streams.entry(address).or_insert_with(fresh);
                if asked.begins {
                    *running = fresh();
                }
                running
            }
            None => {
                assert!(asked.begins, "what stands alone begins");
                &mut alone
            }
        };
        let ended = if compress { running.compress(&asked) } else { running.decompress(&asked) };
        if asked.stream.is_some() {
            let sum = zip::State::default().with_checksum(asked.format, running.sum);
            let words = [u32::from(!running.pending.is_empty()), 0, 0];
            entry.set_state(&zip::State { words, length: running.len as u32, ..sum });
        }
        entry.end(&Ended { checksum: entry.state().sum, length: entry.state().length, ..ended });
        words.copy_from_slice(&entry.0);
    })
}

/// A stream, or what stands alone.
struct Running {
    deflate: Deflate,
    inflate: Inflate,
    /// Output for which there was no room.
    pending: Vec<u8>,
    sum: u32,
    begun: bool,
    len: u64,
    body_ended: bool,
    trailer: Vec<u8>,
    finished: bool,
}

fn kind(format: Format) -> Checksum {
    match format {
        Format::Deflate => Checksum::None,
        Format::Zlib => Checksum::Adler32,
        Format::Gzip => Checksum::Crc32,
    }
}

fn trailer(format: Format, sum: u32, len: u64) -> Vec<u8> {
    match format {
        Format::Deflate => Vec::new(),
        Format::Zlib => sum.to_be_bytes().to_vec(),
        Format::Gzip => [sum.to_le_bytes(), (len as u32).to_le_bytes()].concat(),
    }
}

impl Running {
    fn new(_compress: bool, level: u8) -> Self {
        Self {
            deflate: Deflate::new(level.into(), false, 15),
            inflate: Inflate::new(false, 15),
            pending: Vec::new(),
            sum: 0,
            begun: false,
            len: 0,
            body_ended: false,
            trailer: Vec::new(),
            finished: false,
        }
    }

    fn add(&mut self, format: Format, plain: &[u8]) {
        if !self.begun {
            (self.begun, self.sum) = (true, kind(format).start());
        }
        self.sum = kind(format).update(self.sum, plain);
        self.len += plain.len() as u64;
    }

    /// Gives out what there is room for.
    fn give(&mut self, asked: &Asked) -> u32 {
        let n = self.pending.len().min(asked.room as usize);
        put(asked.destination, &self.pending[..n]);
        self.pending.drain(..n);
        n as u32
    }

    fn compress(&mut self, asked: &Asked) -> Ended {
        let input = bytes(asked.source, asked.input as usize);
        self.add(asked.format, input);
        if !self.finished {
            let flush = if asked.finish { DeflateFlush::Finish } else { DeflateFlush::SyncFlush };
            let mut room = vec![0; input.len() + input.len() / 8 + 100];
            let before = self.deflate.total_out();
            self.deflate.compress(input, &mut room, flush).unwrap();
            room.truncate((self.deflate.total_out() - before) as usize);
            if !input.is_empty() || asked.finish {
                self.pending.extend(room);
            }
            if asked.finish {
                self.pending.extend(trailer(asked.format, self.sum, self.len));
                self.finished = true;
            }
        }
        if asked.stream.is_none() && self.pending.len() > asked.room as usize {
            return Ended { status: status::FULL, ..Ended::default() };
        }
        Ended { consumed: asked.input, produced: self.give(asked), ..Ended::default() }
    }

    fn decompress(&mut self, asked: &Asked) -> Ended {
        let input = bytes(asked.source, asked.input as usize);
        let mut read = 0;
        let failed = |status| Ended { status, ..Ended::default() };
        while !self.body_ended {
            let mut room = [0; 4096];
            let (i, o) = (self.inflate.total_in(), self.inflate.total_out());
            let Ok(status) = self.inflate.decompress(&input[read..], &mut room, InflateFlush::NoFlush) else {
                return failed(status::DATA);
            };
            let n = (self.inflate.total_out() - o) as usize;
            read += (self.inflate.total_in() - i) as usize;
            self.add(asked.format, &room[..n]);
            self.pending.extend(&room[..n]);
            self.body_ended = status == zlib_rs::Status::StreamEnd;
            if n == 0 && read == input.len() && !self.body_ended {
                break;
            }
        }
        let mut ended = self.body_ended;
        if self.body_ended {
            let wanted = trailer(asked.format, self.sum, self.len);
            let n = (wanted.len() - self.trailer.len()).min(input.len() - read);
            self.trailer.extend(&input[read..read + n]);
            read += n;
            ended = self.trailer.len() == wanted.len();
            if ended && self.trailer != wanted {
                return failed(status::CHECKSUM);
            }
        }
        if asked.stream.is_none() {
            if self.pending.len() > asked.room as usize {
                return failed(status::FULL);
            }
            if !ended {
                return failed(status::TRUNCATED);
            }
        }
        let produced = self.give(asked);
        let ended = ended && self.pending.is_empty();
        let status = if ended { status::END } else { status::DONE };
        Ended {
            status,
            consumed: read as u32,
            produced,
            last_block: ended && asked.stream.is_some(),
            ..Ended::default()
        }
    }
}
