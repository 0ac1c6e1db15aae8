//! `uacce-many`: an engine core that is shared by hundreds of processes.

use std::time::Duration;

use warpdrive_pmd::engine::rsa::RsaKey;

use super::RATE;
use super::client::{Client, Did, Window, Work, now, sleep_until};
use super::served::{Offer, Served, begin, ready};
use super::turns::Still;
use crate::measure::{Line, cpu_time};
use crate::peers::Process;
use crate::turns::target;
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "uacce-many",
    about: "RSA-2048 signatures for 200 client processes with a queue each, by an engine core of another process; needs root",
    peer: "one client process with as many requests in flight",
    package: "",
    unit: RATE.0,
    seconds: 3.0,
    rounds: 5,
    quick: Some((0.5, 2)),
    run: Kind::Comparison(run),
};
/// Client processes, and how many for a first look.
const CLIENTS: [usize; 2] = [200, 50];
/// Requests in flight of all together.
const IN_FLIGHT: usize = 400;
/// How long a client sleeps between two looks for answers. With all in flight, an answer takes several times as long: if not, who
/// looks just too early has much less than others.
const SLEEP: Duration = Duration::from_millis(5);
/// What part of a slice does not count at its beginning: filling queues, preparing keys.
const WARM: u32 = 4;
/// The time for all clients to hear of a slice.
const HEAR: Duration = Duration::from_millis(150);
/// How long after its end an answer of a client may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What part of one client's rate should be left.
const TARGET: f64 = 0.85;
/// What part of the client that did the most the one that did the least should have done.
const FAIR: f64 = 1.0 / 1.2;

/// A server with its clients.
struct Crowd {
    /// Before the server: they have its files open.
    clients: Vec<Process>,
    server: Served,
}

/// What a crowd did in a slice.
struct Slice {
    each: Vec<Did>,
    /// Cpu time of the server while answers counted.
    time: Duration,
}

impl Slice {
    fn rate(&self) -> f64 {
        self.each.iter().map(|did| did.counted).sum::<u64>() as f64 / self.time.as_secs_f64()
    }

    /// The least and the most that one client had.
    fn ends(&self) -> (u64, u64) {
        let counted = || self.each.iter().map(|did| did.counted);
        (counted().min().unwrap_or(0), counted().max().unwrap_or(0))
    }
}

impl Crowd {
    fn start(options: &Options, key: &RsaKey, clients: usize, each: usize) -> Result<Self, BenchError> {
        const DEVICE: &str = "hisi_hpre-0";
        let (near, far) = options.two_cpus()?;
        let server = Served::start(options, far, each, &[Offer::hpre(DEVICE)])?;
        let file = server.beside("key.pem");
        key.save_pem(&file)?;
        let mut all = Vec::with_capacity(clients);
        for _ in 0..clients {
            options.go_on()?;
            let sleep_us = SLEEP.as_micros() as u64;
            let work = Work::Signatures { key: file.clone(), in_flight: each, sleep_us };
            let client = Client { cpu: near, folder: server.folder(), device: DEVICE.to_owned(), work };
            all.push(begin(options, &client)?);
        }
        all.iter_mut().try_for_each(ready)?;
        Ok(Self { clients: all, server })
    }

    /// A slice in which another one's server stands still.
    fn alone(&mut self, other: &Self, length: Duration) -> Result<Slice, BenchError> {
        let _still = Still::new(&other.server);
        self.slice(length)
    }

    fn slice(&mut self, length: Duration) -> Result<Slice, BenchError> {
        let ns = |time: Duration| time.as_nanos() as u64;
        let start = now() + ns(HEAR);
        let window = Window { start, from: start + ns(length / WARM), end: start + ns(length) };
        let line = serde_json::to_string(&window).map_err(|e| BenchError::Bug(e.to_string()))?;
        self.clients.iter_mut().try_for_each(|client| client.send(&line))?;
        sleep_until(window.from);
        let before = cpu_time(self.server.id())?;
        sleep_until(window.end);
        let time = cpu_time(self.server.id())? - before;
        let answer = |client: &mut Process| {
            client.read(PATIENCE, "what it did", |line| serde_json::from_str::<Did>(line).ok())
        };
        let each = self.clients.iter_mut().map(answer).collect::<Result<Vec<_>, _>>()?;
        if let Some(did) = each.iter().find(|did| did.sent != did.received) {
            return Err(BenchError::Bug(format!("a client has lost requests: {did:?}")));
        }
        Ok(Slice { each, time })
    }
}

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    measure(options, CLIENTS[usize::from(options.quick)], emit)
}

fn measure(options: &Options, clients: usize, emit: Lines<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let key = RsaKey::generate(2048)?;
    let each = IN_FLIGHT / clients;
    let mut many = Crowd::start(options, &key, clients, each)?;
    let mut one = Crowd::start(options, &key, 1, IN_FLIGHT)?;
    let (mut ours, mut theirs, mut ends, mut sent) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..=options.rounds {
        options.go_on()?;
        // Forth and back, so that neither always comes first.
        let (crowd, single) = if round % 2 == 0 {
            let crowd = many.alone(&one, options.slice)?;
            (crowd, one.alone(&many, options.slice)?)
        } else {
            let single = one.alone(&many, options.slice)?;
            (many.alone(&one, options.slice)?, single)
        };
        if round > 0 {
            sent += crowd.each.iter().map(|did| did.sent).sum::<u64>();
            ours.push(crowd.rate());
            theirs.push(single.rate());
            ends.push(crowd.ends());
        }
    }
    let title = format!("one client process with {IN_FLIGHT} in flight");
    let how = format!(
        "clients are on cpu {near}, the server on cpu {far}: {clients} processes cannot spin on one cpu, so each of them, and the one as \
         well, sends what it may have in flight, sleeps for {} ms, takes what is done, and so on",
        SLEEP.as_millis()
    );
    let line = Line::compare(BENCH.name, RATE, &ours, Ok((&title, &theirs)));
    emit(
        target(line, TARGET)
            .command(options.command(BENCH.name))
            .note(format!("{clients} client processes, a queue and {each} in flight each; none of {sent} requests was lost or failed"))
            .note(&how)
            .note("seconds of cpu time of the server's process, all threads; all sign with one key, which the server prepares for each process"),
    );
    let (least, most): (Vec<f64>, Vec<f64>) = ends.iter().map(|(a, b)| (*a as f64, *b as f64)).unzip();
    let unit = ("requests in a slice", RATE.1);
    let name = format!("{}-fair", BENCH.name);
    let line = Line::compare(&name, unit, &least, Ok(("the client that was served most", &most)));
    emit(
        target(line, FAIR)
            .command(options.command(BENCH.name))
            .note(format!(
                "ours: the client that was served least, of {clients}; answers in {} of each slice",
                part(WARM)
            ))
            .note(how),
    );
    Ok(())
}

/// What is left of a slice, in words.
fn part(warm: u32) -> String {
    format!("the last {} %", 100 - 100 / warm)
}
