//! `driver = "pcap"`: receives the frames of a capture file and writes what is sent to another. Both as pcap or pcapng.
//!
//! The input is loaded whole when the port is opened, into memory of its own (hugepages where there are any), so
//! receiving makes no system call. A file can wait: when the pool is exhausted, frames come later and none is lost.
//! The output goes through a buffer, which is written when it is full and when the queue is dropped.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use warpdrive_mempool::{Burst, Mapping, Mempool, PageChoice, PageSize, Sharing};

use super::{Port, PortError, PortInfo, RxQueue, Takeable, TxQueue};
use crate::clock::{self, Clock};
use crate::stats::{QueueCounters, SharedCounters};

mod demo;
mod parse;
mod write;

pub use demo::demo_capture;
pub use parse::{Capture, MAX_FRAME, ParseError, Record, parse};
pub use write::Format;

/// The value of `file` that stands for [`demo_capture`].
pub const BUILTIN_DEMO: &str = "builtin:demo";

/// How fast frames are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rate {
    /// As fast as the port is polled.
    #[default]
    FlatOut,
    /// With the gaps of the recording.
    Recorded,
}

/// Configuration of a pcap port: `file`, `out` or both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PcapConfig {
    /// The capture to receive from, or `"builtin:demo"`. Without it the port has no receive queue.
    pub file: Option<PathBuf>,
    /// How often the capture is received; 0: without end.
    #[serde(rename = "loop")]
    pub passes: u32,
    /// How fast.
    pub rate: Rate,
    /// The largest input file in bytes.
    pub max_bytes: u64,
    /// The capture to write what is sent to. Without it the port has no transmit queue.
    pub out: Option<PathBuf>,
    /// Format of `out`; absent: by its extension, pcap unless that is `pcapng`.
    pub format: Option<Format>,
    /// Longer frames are cut to this many bytes in `out`.
    pub snaplen: u32,
    /// Whether an existing `out` is overwritten.
    pub truncate: bool,
    /// Size of the buffer before `out` in bytes; absent: 4 MiB, or 64 MiB with `memory`.
    pub buffer_bytes: Option<u64>,
    /// Write nothing before the end: sending makes no system call, and frames beyond `buffer_bytes` are lost.
    pub memory: bool,
}

impl Default for PcapConfig {
    fn default() -> Self {
        Self {
            file: None,
            passes: 1,
            rate: Rate::FlatOut,
            max_bytes: 1 << 30,
            out: None,
            format: None,
            snaplen: 65_535,
            truncate: true,
            buffer_bytes: None,
            memory: false,
        }
    }
}

/// Default sizes of the output buffer.
const BUFFER_BYTES: u64 = 4 << 20;
const BUFFER_BYTES_MEMORY: u64 = 64 << 20;
/// Largest output buffer.
const MAX_BUFFER_BYTES: u64 = 64 << 30;

/// A private mapping used as plain bytes.
struct Arena {
    mapping: Mapping,
    len: usize,
}

impl Arena {
    fn new(len: usize, pages: PageChoice) -> Result<Self, warpdrive_mempool::MemError> {
        let mapping = Mapping::new(len, pages, Sharing::Private, None)?;
        Ok(Self { mapping, len })
    }

    #[inline]
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is zeroed memory of at least `len` bytes that lives as long as this value, which alone
        // has it; it is no region of any domain, so no device writes there.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr(), self.len) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.as_ptr(), self.len) }
    }
}

/// An open pcap port.
pub struct PcapPort {
    info: PortInfo,
    rx: Takeable<dyn RxQueue>,
    tx: Takeable<dyn TxQueue>,
    failure: write::Failure,
}

impl PcapPort {
    /// Loads the input, and creates the output.
    ///
    /// # Errors
    /// [`PortError`] when neither is named, a file cannot be used, or memory is not to be had.
    pub fn open(name: &str, config: &PcapConfig, pool: &Mempool) -> Result<Self, PortError> {
        // Small pages in the pool may have been asked for; then hugepages are not to be touched here either.
        let pages = match pool.region().mapping().page_size() {
            size @ PageSize::Size4K => PageChoice::Exactly(size),
            _ => PageChoice::Auto,
        };
        let opener = Opener { name, config, pages };
        if config.file.is_none() && config.out.is_none() {
            return opener.refuse(
                "it has neither a file to receive from nor an out to write to".to_owned(),
                "file = \"….pcap\", file = \"builtin:demo\" or out = \"….pcap\"",
            );
        }
        let mut remarks = Vec::new();
        let failure = write::Failure::default();
        let mut rx: Vec<Box<dyn RxQueue>> = Vec::new();
        if let Some(file) = &config.file {
            rx.push(Box::new(opener.input(file, pool, &mut remarks)?));
        }
        let mut tx: Vec<Box<dyn TxQueue>> = Vec::new();
        if let Some(out) = &config.out {
            tx.push(Box::new(opener.output(out, &mut remarks, write::Failure::clone(&failure))?));
        }
        Ok(Self {
            info: PortInfo {
                name: name.to_owned(),
                driver: "pcap",
                mac: None,
                mtu: pool.data_capacity() - 18,
                rx_queues: rx.len() as u16,
                tx_queues: tx.len() as u16,
                zero_copy: false,
                syscalls: config.out.is_some() && !config.memory,
                remarks,
            },
            rx: Takeable::new(name, "rx", rx),
            tx: Takeable::new(name, "tx", tx),
            failure,
        })
    }
}

impl Port for PcapPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }
    fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }
    fn rx_queue(&mut self, index: u16) -> Result<Box<dyn RxQueue>, PortError> {
        self.rx.take(index)
    }
    fn tx_queue(&mut self, index: u16) -> Result<Box<dyn TxQueue>, PortError> {
        self.tx.take(index)
    }
}

struct Opener<'a> {
    name: &'a str,
    config: &'a PcapConfig,
    pages: PageChoice,
}

impl Opener<'_> {
    fn refuse<T>(&self, what: String, remedy: &str) -> Result<T, PortError> {
        Err(PortError::Unsupported { port: self.name.to_owned(), what, remedy: remedy.to_owned() })
    }

    fn os<'a>(&'a self, action: String, remedy: &'a str) -> impl FnOnce(io::Error) -> PortError + 'a {
        move |cause| PortError::Os { port: self.name.to_owned(), action, cause, remedy: remedy.to_owned() }
    }

    fn arena(&self, len: usize) -> Result<Arena, PortError> {
        Arena::new(len, self.pages).map_err(|source| PortError::Memory { port: self.name.to_owned(), source })
    }

    fn input(&self, path: &Path, pool: &Mempool, remarks: &mut Vec<String>) -> Result<PcapRx, PortError> {
        let arena = if path == Path::new(BUILTIN_DEMO) {
            let demo = demo_capture();
            let mut arena = self.arena(demo.len())?;
            arena.bytes_mut().copy_from_slice(&demo);
            arena
        } else {
            self.load(path)?
        };
        let capture = match parse(arena.bytes()) {
            Ok(capture) => capture,
            Err(e) => {
                return self.refuse(
                    format!("the capture {path:?} cannot be used: {e}"),
                    "an undamaged Ethernet capture (editcap and tcpdump -r … -w … repair or convert files)",
                );
            }
        };
        let capacity = pool.data_capacity();
        let fitting = capture.records.iter().filter(|r| r.len as usize <= capacity).count();
        remarks.push(format!(
            "{} frames of {path:?} in {} KiB of {} pages",
            capture.records.len(),
            arena.mapping.len() / 1024,
            arena.mapping.page_size()
        ));
        if capture.cut > 0 {
            remarks.push(format!("{} frames were cut when they were captured", capture.cut));
        }
        if fitting < capture.records.len() {
            remarks.push(format!(
                "{} frames are longer than the {capacity} bytes of a buffer of mempool {:?}: skipped and counted",
                capture.records.len() - fitting,
                pool.name()
            ));
        }
        let passes = match self.config.passes {
            _ if fitting == 0 => 1, // nothing to repeat
            0 => u64::MAX,
            n => u64::from(n),
        };
        Ok(PcapRx {
            pool: pool.clone(),
            capacity,
            base_ns: capture.records.first().map_or(0, |r| r.time_ns),
            records: capture.records.into(),
            arena,
            next: 0,
            passes_left: passes,
            left: passes.saturating_mul(fitting as u64),
            recorded: (self.config.rate == Rate::Recorded).then(Clock::get),
            pass_start: None,
            counters: QueueCounters::shared(),
        })
    }

    fn load(&self, path: &Path) -> Result<Arena, PortError> {
        let remedy = "check the path and its permissions";
        let mut file = File::open(path).map_err(self.os(format!("open the capture {path:?}"), remedy))?;
        let meta = file.metadata().map_err(self.os(format!("look at {path:?}"), remedy))?;
        if !meta.is_file() {
            return self.refuse(
                format!("{path:?} is not a regular file, and captures are loaded whole"),
                "write the capture to a file first",
            );
        }
        if meta.len() > self.config.max_bytes {
            return self.refuse(
                format!(
                    "the capture {path:?} has {} bytes, more than max_bytes = {}",
                    meta.len(),
                    self.config.max_bytes
                ),
                "a shorter capture (editcap -c splits), or a larger max_bytes if there is memory for it",
            );
        }
        let mut arena = self.arena(meta.len() as usize)?;
        file.read_exact(arena.bytes_mut()).map_err(
            self.os(format!("read {} bytes of {path:?}", meta.len()), "is it still being written?"),
        )?;
        Ok(arena)
    }

    fn output(
        &self,
        path: &Path,
        remarks: &mut Vec<String>,
        failure: write::Failure,
    ) -> Result<write::PcapTx, PortError> {
        let config = self.config;
        if config.snaplen == 0 || config.snaplen as usize > MAX_FRAME {
            return self.refuse(
                format!("snaplen = {} is not between 1 and {MAX_FRAME}", config.snaplen),
                "for example 65535",
            );
        }
        let bytes =
            config.buffer_bytes.unwrap_or(if config.memory { BUFFER_BYTES_MEMORY } else { BUFFER_BYTES });
        let least = u64::from(config.snaplen) + 1024; // one record and the file's header
        if bytes < least || bytes > MAX_BUFFER_BYTES {
            return self.refuse(
                format!("buffer_bytes = {bytes} is not between {least} and {MAX_BUFFER_BYTES}"),
                "for example 4194304, or a smaller snaplen",
            );
        }
        if let Some(input) = &config.file
            && let (Ok(a), Ok(b)) = (fs::canonicalize(input), fs::canonicalize(path))
            && a == b
        {
            return self.refuse(format!("{path:?} is both file and out"), "another out");
        }
        let mut options = File::options();
        options.write(true);
        if config.truncate {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let remedy = "check the path and its permissions; truncate = true overwrites an existing file";
        let file = options.open(path).map_err(self.os(format!("create the capture {path:?}"), remedy))?;
        let format = config.format.unwrap_or_else(|| match path.extension() {
            Some(e) if e.eq_ignore_ascii_case("pcapng") => Format::Pcapng,
            _ => Format::Pcap,
        });
        let arena = self.arena(bytes as usize)?;
        remarks.push(format!(
            "{format:?} to {path:?} through {} KiB of {} pages",
            bytes / 1024,
            arena.mapping.page_size()
        ));
        Ok(write::PcapTx::new(file, path.to_owned(), arena, format, config.snaplen, config.memory, failure))
    }
}

struct PcapRx {
    pool: Mempool,
    /// Longest frame that fits a buffer.
    capacity: usize,
    arena: Arena,
    records: Box<[Record]>,
    /// Below the number of records, or both are 0.
    next: usize,
    passes_left: u64,
    /// Frames still to be given, over all passes, without those that are too long.
    left: u64,
    /// The clock, when gaps are to be as recorded.
    recorded: Option<Clock>,
    /// Ticks when the first frame of this pass was due.
    pass_start: Option<u64>,
    /// Time of the first frame.
    base_ns: u64,
    counters: SharedCounters,
}

impl PcapRx {
    /// Passes over frames that are too long, and from the end of a pass to the next. Then `next` is one that fits, or
    /// all passes are done.
    #[inline]
    fn skip(&mut self) {
        while self.passes_left > 0 {
            match self.records.get(self.next) {
                Some(r) if r.len as usize <= self.capacity => return,
                Some(_) => {
                    self.counters.errors.add(1);
                    self.next += 1;
                }
                None => {
                    self.next = 0;
                    self.passes_left -= 1;
                    self.pass_start = None;
                }
            }
        }
    }

    /// How many of the next frames, up to `want`, are due. Within one pass, where gaps matter.
    #[inline]
    fn due(&mut self, want: usize, now: u64) -> usize {
        let Some(clock) = self.recorded else {
            return want;
        };
        self.skip();
        if self.passes_left == 0 {
            return 0;
        }
        let start = *self.pass_start.get_or_insert(now);
        let elapsed_ns = clock.ns(now - start);
        let fits = self.records[self.next..].iter().filter(|r| r.len as usize <= self.capacity);
        fits.take(want).take_while(|r| r.time_ns.saturating_sub(self.base_ns) <= elapsed_ns).count()
    }
}

impl RxQueue for PcapRx {
    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let want = max.min(burst.room()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            self.skip(); // frames behind the last that fits are counted too
            return 0;
        }
        let now = clock::ticks();
        let want = self.due(want, now);
        let start = burst.len();
        let got = self.pool.alloc_burst(burst, want);
        let mut bytes = 0;
        for packet in &mut burst.as_mut_slice()[start..] {
            self.skip();
            let record = self.records[self.next];
            let frame = &self.arena.bytes()[record.offset..record.offset + record.len as usize];
            // Cannot fail: `skip` compared the length with the pool's capacity.
            let _ = packet.extend_from_slice(frame);
            packet.set_timestamp(now);
            bytes += frame.len() as u64;
            self.next += 1;
        }
        self.left -= got as u64;
        self.counters.packets.add(got as u64);
        self.counters.bytes.add(bytes);
        got
    }

    fn is_finished(&self) -> bool {
        self.left == 0
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
