//! `uacce-rtt`: there and back of an entry that asks for nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use warpdrive_pmd::clock::{Clock, ticks};
use warpdrive_pmd::uacce::abi::hpre::Entry;
use warpdrive_pmd::uacce::discover::{Roots, UacceInfo};
use warpdrive_pmd::uacce::{QmQueue, UacceError};

use super::client::{Client, Did, Window, Work, now, sleep_until};
use super::served::{IN_FLIGHT, Offer, Served, begin, ready};
use super::turns::Still;
use super::{alone, lost, no_queue, peers};
use crate::measure::{Better, Contender, Line, alternate, on_cpu};
use crate::turns::target;
use crate::{Bench, BenchError, Kind, Lines, Options, syscalls};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "uacce-rtt",
    about: "an empty operation through a queue file to another process and back, one at a time; needs root",
    peer: "64 bytes there and back over a Unix stream socket, and by eventfd and shared memory",
    package: "",
    unit: UNIT.0,
    seconds: crate::SLICE_S,
    rounds: crate::ROUNDS,
    quick: Some((0.05, 5)),
    run: Kind::Comparison(run),
};
const UNIT: (&str, Better) = ("us", Better::Lower);
/// How many times as long the kernel's ways should take, at the median.
const TARGET: f64 = 10.0;
const DEVICE: &str = "hisi_hpre-0";
/// How long an entry may be under way.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a completion is looked for before the clock is looked at.
const LOOKS: u32 = 1 << 16;
/// The time of a client before and after its calls are counted.
const MARGIN: Duration = Duration::from_millis(500);

/// How long round trips took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) median_us: f64,
    pub(super) p999_us: f64,
}

/// Does something again and again, and says how long each time took.
pub(super) fn time(
    length: Duration,
    mut once: impl FnMut() -> Result<(), BenchError>,
) -> Result<Times, BenchError> {
    let bug = |e: &dyn std::error::Error| BenchError::Bug(e.to_string());
    let mut taken = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).map_err(|e| bug(&e))?;
    let clock = Clock::get();
    let begun = ticks();
    let until = begun + clock.ticks_of(length);
    let mut start = begun;
    while start < until {
        once()?;
        let end = ticks();
        taken.saturating_record(clock.ns(end - start).max(1));
        start = end;
    }
    let us = |quantile: f64| taken.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Times { count: taken.len(), median_us: us(0.5), p999_us: us(0.999) })
}

/// Entries that are sent at once at most.
const MOST: usize = 64;

/// A queue for operations that do nothing.
pub(super) struct NullQueue {
    queue: QmQueue<Entry>,
    entries: [Entry; MOST],
    back: [Entry; MOST],
}

impl NullQueue {
    pub(super) fn open(roots: &Roots, device: &str) -> Result<Self, BenchError> {
        let info = UacceInfo::read(roots, device).map_err(|e| no_queue(device, e))?;
        if !info.extensions().null {
            return Err(no_queue(
                device,
                UacceError::Layout {
                    device: device.to_owned(),
                    what: "it has no operation that does nothing".to_owned(),
                },
            ));
        }
        let queue = QmQueue::open(&Arc::new(info), 0, 512).map_err(|e| no_queue(device, e))?;
        let entries = [Entry::null(0); MOST];
        Ok(Self { queue, entries, back: entries })
    }

    /// The least of it all.
    #[inline]
    pub(super) fn round_trip(&mut self) -> Result<(), BenchError> {
        self.burst(1)
    }

    /// Sends so many at once and waits for all.
    pub(super) fn burst(&mut self, n: usize) -> Result<(), BenchError> {
        let n = n.min(MOST);
        let sent = self.queue.send(&self.entries[..n]).map_err(lost)?;
        let (mut left, mut deadline) = (sent, None);
        loop {
            for _ in 0..LOOKS {
                let got = self.queue.recv(&mut self.back).map_err(lost)?;
                if let Some(wrong) = self.back[..got].iter().find(|entry| entry.ended() != Some(0)) {
                    return Err(BenchError::Bug(format!("an empty operation ended as {:?}", wrong.ended())));
                }
                left -= got;
                if left == 0 {
                    return if sent == n { Ok(()) } else { Err(stuck("takes no entry")) };
                }
                std::hint::spin_loop();
            }
            let now = std::time::Instant::now();
            if now > *deadline.get_or_insert(now + PATIENCE) {
                return Err(stuck("does not answer"));
            }
        }
    }
}

fn stuck(what: &str) -> BenchError {
    BenchError::Bug(format!("a queue {what}"))
}

/// The sides, in the order of their slices.
const OURS: usize = 0;
const SOCKET: usize = 1;
const EVENTS: usize = 2;

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let cpus = options.two_cpus()?;
    let mut server = Served::start(options, cpus.1, IN_FLIGHT, &[Offer::hpre(DEVICE)])?;
    let mut queue = NullQueue::open(&server.roots(), DEVICE)?;
    let tails = std::cell::RefCell::new([const { Vec::new() }; 3]);
    let kept = |side: usize, times: Times| {
        tails.borrow_mut()[side].push(times);
        times.median_us
    };
    let medians = {
        let still = Still::new(&server);
        let mut sides: [Contender<'_>; 3] = [
            Box::new(|length| {
                let times = still.except(|| on_cpu(cpus.0, || time(length, || queue.round_trip())))?;
                Ok(kept(OURS, times))
            }),
            Box::new(|length| Ok(kept(SOCKET, peers::socket(cpus, length)?))),
            Box::new(|length| Ok(kept(EVENTS, peers::events(cpus, length)?))),
        ];
        alternate(options, &mut sides)?
    };
    drop(queue);
    server.alive()?;
    // The first round does not count.
    let tails = tails.into_inner();
    let count: u64 = tails[OURS][1..].iter().map(|times| times.count).sum();
    let tails = tails.map(|side: Vec<Times>| side[1..].iter().map(|t| t.p999_us).collect::<Vec<_>>());
    for (name, side, peer) in [
        ("socket", SOCKET, "a Unix stream socket, 64 bytes"),
        ("eventfd", EVENTS, "two eventfds and shared memory, 64 bytes"),
    ] {
        let line = |suffix: &str, of: &[Vec<f64>]| {
            Line::compare(&format!("{}-{name}{suffix}", BENCH.name), UNIT, &of[OURS], Ok((peer, &of[side])))
                .command(options.command(BENCH.name))
                .note(said(cpus))
        };
        emit(target(line("", &medians), TARGET).note(format!("medians of each slice; {count} of ours")));
        emit(line("-p999", &tails).note("99.9th percentiles of each slice: mostly the machine's"));
    }
    emit(calls(options, cpus, &server)?);
    Ok(())
}

fn said((near, far): (usize, usize)) -> String {
    format!(
        "ours: an entry of HPRE that does nothing, to a server in another process on cpu {far} (idle = \"pause\") and back to cpu \
         {near}, both by looking at memory. Peer: a thread on the same cpu replies; both wait in the kernel, as programs do that \
         have nothing else to do"
    )
}

/// What both sides call while they are busy: of a client in a process of its own, since nobody can trace himself.
fn calls(options: &Options, (near, far): (usize, usize), server: &Served) -> Result<Line, BenchError> {
    let client =
        Client { cpu: near, folder: server.folder(), device: DEVICE.to_owned(), work: Work::RoundTrips };
    let mut process = begin(options, &client)?;
    ready(&mut process)?;
    let ns = |time: Duration| time.as_nanos() as u64;
    let start = now() + ns(MARGIN);
    let window = Window { start, from: start, end: start + ns(2 * MARGIN + options.slice) };
    process.send(&serde_json::to_string(&window).map_err(|e| BenchError::Bug(e.to_string()))?)?;
    sleep_until(start + ns(MARGIN) / 2);
    let core = thread(server.id(), &format!("serve-{far}"))?;
    let threads = vec![("the server's core".to_owned(), core), ("the client".to_owned(), id(process.id())?)];
    let counted = syscalls::calls_within(threads, options.slice)?;
    let did: Did = process.read(PATIENCE, "its answer", |line| serde_json::from_str(line).ok())?;
    let sums: Vec<u64> = counted.iter().map(|calls| calls.values().sum()).collect();
    let none = alone("a target of 0", "there is no peer");
    let mut line = Line::compare(
        &format!("{}-syscalls", BENCH.name),
        ("system calls", Better::Lower),
        &[sums.iter().sum::<u64>() as f64],
        Err(&none),
    )
    .command(options.command(BENCH.name))
    .note(format!(
        "in {} ms of round trips, by ptrace: {} of the server's core and {} of a client in a process of its own, which had {} \
         round trips in its {} ms",
        options.slice.as_millis(),
        sums[0],
        sums[1],
        did.counted,
        (window.end - window.from) / 1_000_000
    ))
    .note(format!("target: 0: {}", if sums == [0, 0] { "met" } else { "missed" }));
    for (who, calls) in ["server", "client"].iter().zip(&counted).filter(|(_, calls)| !calls.is_empty()) {
        line = line.note(format!("{who}: {calls:?}"));
    }
    Ok(line)
}

fn id(process: u32) -> Result<libc::pid_t, BenchError> {
    libc::pid_t::try_from(process).map_err(|_| BenchError::Bug("a process without a number".to_owned()))
}

/// A thread of a process, by its name.
fn thread(process: u32, name: &str) -> Result<libc::pid_t, BenchError> {
    let tasks = format!("/proc/{process}/task");
    let entries = std::fs::read_dir(Path::new(&tasks)).map_err(|cause| BenchError::Io {
        what: tasks.clone(),
        cause,
        remedy: "is /proc mounted?",
    })?;
    let is_it = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let found = entries.flatten().find(is_it).and_then(|task| task.file_name().to_str()?.parse().ok());
    found.ok_or_else(|| BenchError::Bug(format!("process {process} has no thread {name}")))
}
