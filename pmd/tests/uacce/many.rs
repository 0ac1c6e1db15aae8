//! M5: ten thousand opens, with kills in between.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use warpdrive_pmd::uacce::abi;

use crate::child::{Child, Role, Stage};
use crate::domain::{ELSEWHERE, Given};
use crate::entries::{Rsa, answers, code, compresses};
use crate::lab::{HPRE, QUEUES, ZIP, available, soon};
use crate::memory::{PAGE, Pages};
use crate::queue::{Queue, call, context, open};
use crate::server::Serving;
use crate::space::space;

pub const ROLES: &[(&str, Role)] = &[("opens and closes", opens_and_closes)];

/// How many opens, if not ten thousand.
const OPENS: &str = "WARPDRIVE_TEST_OPENS";
/// Clients at a time.
const CLIENTS: usize = 4;
/// What the server may have more of afterwards: an allocator keeps what it likes.
const BOUND: u64 = 16 << 20;
/// A file in which clients count, as they are killed before they can tell.
const COUNTER: &str = "counter";

/// What the server has.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    available: [u32; 2],
    threads: Vec<String>,
    descriptors: BTreeMap<String, usize>,
    /// Mappings of files and memfds, by their names.
    mappings: BTreeMap<String, usize>,
}

fn counts(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

impl Held {
    fn of(serving: &Serving, folder: &std::path::Path) -> Self {
        let mut threads = serving.threads();
        threads.sort();
        let links = std::fs::read_dir(serving.proc("fd")).unwrap();
        let links =
            links.filter_map(|fd| Some(std::fs::read_link(fd.ok()?.path()).ok()?.display().to_string()));
        let maps = std::fs::read_to_string(serving.proc("maps")).unwrap();
        let names = maps.lines().filter_map(|line| Some(line.split_whitespace().nth(5)?.to_owned()));
        Self {
            available: [HPRE, ZIP].map(|device| available(folder, device)),
            threads,
            descriptors: counts(links),
            mappings: counts(names.filter(|name| name.starts_with('/'))),
        }
    }
}

/// What it has when nothing changes any more: a thread that has answered a call, and memory that the kernel still has, go a little
/// later than the queue.
fn at_rest(serving: &Serving, folder: &std::path::Path) -> Held {
    let mut held = Held::of(serving, folder);
    soon("a time in which nothing changes", || {
        std::thread::sleep(Duration::from_millis(300));
        let before = std::mem::replace(&mut held, Held::of(serving, folder));
        before == held
    });
    held
}

/// Bytes that are in memory, by what the kernel calls them.
fn resident(serving: &Serving) -> u64 {
    let status = std::fs::read_to_string(serving.proc("status")).unwrap();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    (kilobytes("RssAnon:") + kilobytes("RssShmem:")) << 10
}

#[test]
fn m05_nothing_is_left_after_ten_thousand_opens() {
    let Some(folder) = space() else { return };
    let counter = std::fs::File::create_new(folder.path().with_extension(COUNTER)).unwrap();
    counter.set_len(PAGE as u64).unwrap();
    let path = folder.path().with_extension(COUNTER);
    let counter =
        Pages::of(&std::fs::File::options().read(true).write(true).open(&path).unwrap(), 0, PAGE).unwrap();
    let serving = Serving::start(folder.path());
    let opens = std::env::var(OPENS).map_or(10_000, |opens| opens.parse().expect("a number"));
    // What is allocated once and kept.
    let mut seed = 1;
    open_many(folder.path(), &counter, opens / 20, &mut seed);
    let idle = |what| {
        soon(what, || {
            let now = [HPRE, ZIP].map(|device| available(folder.path(), device));
            now == [QUEUES; 2] && !serving.threads().iter().any(|name| name.starts_with("agent-"))
        });
    };
    idle("the warm-up's end");
    let (before, bytes, start) = (at_rest(&serving, folder.path()), resident(&serving), Instant::now());
    let kills = open_many(folder.path(), &counter, opens, &mut seed);
    idle("the end of all queues");
    // The kernel lets go of memory a little later than of the queue.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut after = Held::of(&serving, folder.path());
    while after != before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        after = Held::of(&serving, folder.path());
    }
    assert_eq!(after, before);
    let grown = resident(&serving).saturating_sub(bytes);
    println!("{opens} opens, {kills} kills, {:?}: {grown} bytes more than {bytes}", start.elapsed());
    assert!(kills > opens as usize / 1000, "{kills} kills");
    assert!(grown < BOUND, "{grown} bytes more");
    std::fs::remove_file(path).unwrap();
}

/// Lets clients open queues so often, and kills them now and then. Returns how many were killed.
fn open_many(folder: &std::path::Path, counter: &Pages, opens: u64, seed: &mut u64) -> usize {
    let mut clients: Vec<Child> = Vec::new();
    let (begun, mut kills, start) = (counter.double(0).load(Ordering::SeqCst), 0, Instant::now());
    while counter.double(0).load(Ordering::SeqCst) < begun + opens {
        assert!(start.elapsed() < Duration::from_secs(300), "it gets on");
        while clients.len() < CLIENTS {
            *seed += 1;
            let mut client = Child::start("opens and closes", folder);
            client.say(&seed.to_string());
            clients.push(client);
        }
        let random = next(seed);
        std::thread::sleep(Duration::from_millis(20 + random % 100));
        clients.swap_remove(random as usize / 1000 % CLIENTS).kill();
        kills += 1;
    }
    kills
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// In any way, with some work or none, until it is killed.
fn opens_and_closes(stage: &Stage) {
    let mut seed: u64 = stage.wait().parse().unwrap();
    let path = stage.folder.with_extension(COUNTER);
    let counter =
        Pages::of(&std::fs::File::options().read(true).write(true).open(path).unwrap(), 0, PAGE).unwrap();
    let (rsa, mut signed, given) = (Rsa::public(), vec![0; 256], Given::new(4 * PAGE));
    let mut kept = Vec::new();
    loop {
        counter.double(0).fetch_add(1, Ordering::SeqCst);
        let random = next(&mut seed);
        let device = if random.is_multiple_of(4) { ZIP } else { HPRE };
        match random / 4 % 8 {
            0 => drop(open(stage, device).unwrap()),
            1 => drop(context(&open(stage, device).unwrap(), 0).unwrap()),
            2 => drop(Queue::map(stage, device, 0).unwrap()),
            3 => drop(Queue::start(stage, device, 0)),
            4 => {
                let mut queue = Queue::start(stage, HPRE, 0);
                assert_eq!(given.give(&queue, ELSEWHERE, 3), None);
                rsa.is_done(&mut queue);
                // Sometimes what was given goes with the queue.
                if random.is_multiple_of(3) {
                    assert_eq!(given.take(&queue, ELSEWHERE), None);
                }
            }
            5 => {
                // With entries in flight.
                let mut queue = Queue::start(stage, HPRE, 0);
                (0..20).for_each(|_| queue.send(&rsa.entry(&mut signed)));
                if random.is_multiple_of(3) {
                    assert_eq!(code(&queue.recv()), 0);
                }
                if random.is_multiple_of(5) {
                    call(&queue.file, abi::PUT_Q, &mut []).unwrap();
                }
            }
            6 => compresses(&mut Queue::start(stage, ZIP, 0)),
            _ => {
                // Some stay for a while.
                let mut queue = Queue::start(stage, HPRE, 0);
                answers(&mut queue);
                kept.push(queue);
                if kept.len() > 5 {
                    kept.clear();
                }
            }
        }
    }
}
