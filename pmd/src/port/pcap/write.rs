//! The sending side: frames to a pcap or pcapng file, through a buffer in memory.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use pcap_file::pcap::{PcapHeader, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, Endianness, TsResolution};
use serde::Deserialize;
use warpdrive_mempool::{Burst, Packet};

use super::Arena;
use crate::clock::{self, Clock};
use crate::port::TxQueue;
use crate::stats::{QueueCounters, SharedCounters};

/// Format of an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// pcap with nanosecond timestamps.
    Pcap,
    /// pcapng with nanosecond timestamps.
    Pcapng,
}

/// Bytes that a record adds to its frame, at most.
pub(super) const RECORD_OVERHEAD: usize = 40;

/// The head of a file, little endian, nanoseconds.
pub(super) fn encode_header(format: Format, snaplen: u32, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    match format {
        Format::Pcap => {
            let header = PcapHeader {
                snaplen,
                datalink: DataLink::ETHERNET,
                ts_resolution: TsResolution::NanoSecond,
                endianness: Endianness::Little,
                ..PcapHeader::default()
            };
            let _ = PcapWriter::with_header(out, header);
        }
        Format::Pcapng => {
            let interface = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen,
                options: vec![InterfaceDescriptionOption::IfTsResol(9)],
            };
            if let Ok(mut writer) = PcapNgWriter::with_endianness(out, Endianness::Little) {
                let _ = writer.write_pcapng_block(interface);
            }
        }
    }
}

/// Where records are appended.
pub(super) trait Append {
    /// Appends bytes, for which the caller has made sure there is room.
    fn append(&mut self, bytes: &[u8]);
}

impl Append for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// One record. `frame` appends the bytes of the frame: all its segments, cut if the file's snap length says so.
/// `pcap-file` would want them in one slice.
pub(super) fn encode_record<A: Append>(
    format: Format,
    time_ns: u64,
    wire_len: usize,
    out: &mut A,
    captured: usize,
    frame: impl FnOnce(&mut A),
) {
    let (captured, wire_len) = (captured as u32, wire_len as u32);
    match format {
        Format::Pcap => {
            let (s, ns) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
            for word in [s as u32, ns as u32, captured, wire_len] {
                out.append(&word.to_le_bytes());
            }
            frame(out);
        }
        Format::Pcapng => {
            let padded = captured.next_multiple_of(4);
            let total = padded + 32;
            for word in [6, total, 0, (time_ns >> 32) as u32, time_ns as u32, captured, wire_len] {
                out.append(&word.to_le_bytes());
            }
            frame(out);
            out.append(&[0; 3][..(padded - captured) as usize]);
            out.append(&total.to_le_bytes());
        }
    }
}

/// A preallocated buffer that is written to the file when it is full.
struct Output {
    file: File,
    path: PathBuf,
    arena: Arena,
    /// Bytes of the arena in use.
    used: usize,
    /// Frames in the buffer, not yet in the file.
    frames: u64,
    /// Length of the file: always whole records.
    written: u64,
    /// Nothing is written before the end.
    memory: bool,
    /// A write has failed: the rest is dropped.
    failed: bool,
    /// Why, for the port.
    failure: Failure,
    counters: SharedCounters,
}

/// What went wrong for good, as the port will tell.
pub(super) type Failure = Arc<OnceLock<String>>;

impl Append for Output {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        self.arena.bytes_mut()[self.used..end].copy_from_slice(bytes);
        self.used = end;
    }
}

impl Output {
    /// Whether `bytes` more can be appended, after writing out what is there if need be.
    #[inline]
    fn make_room(&mut self, bytes: usize) -> bool {
        if self.failed {
            return false;
        }
        if self.used + bytes <= self.arena.len() {
            return true;
        }
        !self.memory && bytes <= self.arena.len() && self.write_out()
    }

    /// Writes the buffer to the file. On failure the file is cut back to whole records, and said so once.
    #[cold]
    fn write_out(&mut self) -> bool {
        let mut at = 0;
        while at < self.used {
            self.counters.syscalls.add(1);
            match self.file.write(&self.arena.bytes()[at..self.used]) {
                Ok(n) if n > 0 => at += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => {
                    let cause =
                        result.err().map_or_else(|| "nothing was written".to_owned(), |e| e.to_string());
                    self.failed = true;
                    self.counters.errors.add(self.frames);
                    // Set once: nothing is written after a failure.
                    let _ = self.failure.set(format!(
                        "cannot write the capture {:?}: {cause}. It ends after {} bytes; all frames since are lost and counted as errors",
                        self.path, self.written
                    ));
                    // Best effort: a reader then finds whole records only.
                    let _ = self.file.set_len(self.written);
                    self.used = 0;
                    self.frames = 0;
                    return false;
                }
            }
        }
        self.written += self.used as u64;
        self.used = 0;
        self.frames = 0;
        true
    }
}

/// The transmit queue.
pub(super) struct PcapTx {
    output: Output,
    format: Format,
    snaplen: usize,
    clock: Clock,
    /// Ticks and nanoseconds since 1970 of one moment.
    anchor: (u64, u64),
}

impl PcapTx {
    pub(super) fn new(
        file: File,
        path: PathBuf,
        arena: Arena,
        format: Format,
        snaplen: u32,
        memory: bool,
        failure: Failure,
    ) -> Self {
        let mut header = Vec::new();
        encode_header(format, snaplen, &mut header);
        let mut output = Output {
            file,
            path,
            arena,
            used: 0,
            frames: 0,
            written: 0,
            memory,
            failed: false,
            failure,
            counters: QueueCounters::shared(),
        };
        output.append(&header);
        let clock = Clock::get();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        Self { output, format, snaplen: snaplen as usize, clock, anchor: (clock::ticks(), wall) }
    }

    /// Ticks of this process's clock as nanoseconds since 1970.
    #[inline]
    fn wall_ns(&self, ticks: u64) -> u64 {
        let (t0, wall0) = self.anchor;
        match ticks.checked_sub(t0) {
            Some(later) => wall0 + self.clock.ns(later),
            None => wall0.saturating_sub(self.clock.ns(t0 - ticks)),
        }
    }

    #[inline]
    fn write(&mut self, packet: &Packet, now: u64) -> bool {
        let wire_len = if packet.is_chained() { packet.total_len() } else { packet.len() };
        let captured = wire_len.min(self.snaplen);
        if !self.output.make_room(captured + RECORD_OVERHEAD) {
            return false;
        }
        let stamp = packet.timestamp();
        let time_ns = self.wall_ns(if stamp == 0 { now } else { stamp });
        encode_record(self.format, time_ns, wire_len, &mut self.output, captured, |out| {
            let mut left = captured;
            for segment in packet.segments() {
                let n = segment.len().min(left);
                out.append(&segment.data()[..n]);
                left -= n;
            }
        });
        self.output.frames += 1;
        true
    }
}

impl TxQueue for PcapTx {
    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        let now = clock::ticks();
        let (mut packets, mut bytes, mut errors) = (0, 0, 0);
        for packet in burst.iter() {
            if self.write(packet, now) {
                packets += 1;
                bytes += packet.total_len() as u64;
            } else {
                errors += 1;
            }
        }
        let counters = &self.output.counters;
        counters.packets.add(packets);
        counters.bytes.add(bytes);
        counters.errors.add(errors);
        burst.free_front(burst.len())
    }

    fn counters(&self) -> &SharedCounters {
        &self.output.counters
    }
}

impl Drop for PcapTx {
    fn drop(&mut self) {
        if !self.output.failed {
            self.output.write_out();
        }
    }
}
