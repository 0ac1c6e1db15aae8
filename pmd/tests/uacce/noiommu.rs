//! M9 and M10: memory that is reserved with the queue, and entries that say otherwise by the time they are done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use warpdrive_mempool::{DmaMode, Va};
use warpdrive_pmd::engine::rsa::RsaOptions;
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::uacce::abi::hpre::error;
use warpdrive_pmd::uacce::abi::qm::Command;
use warpdrive_pmd::uacce::abi::zip::{COMPRESS, Entry, status};
use warpdrive_pmd::uacce::abi::{self, ACCESS_READ, ACCESS_WRITE, NO_IOMMU, Region, attribute};
use warpdrive_pmd::uacce::serve::{CoreConfig, DeviceConfig, Function, Server, ServerConfig};
use warpdrive_pmd::uacce::{QmQueue, Roots, UacceInfo};

use crate::child::{Role, Stage};
use crate::domain::{ELSEWHERE, Given};
use crate::entries::{RSA, Rsa, code, deflate, ended, entry, inflate, text, zip};
use crate::lab::{HPRE, Lab, ZIP, read_attribute};
use crate::memory::{PAGE, Pages};
use crate::queue::{Queue, call, errno, open};

pub const ROLES: &[(&str, Role)] = &[
    ("works in its window", works_in_its_window),
    ("reserves by the client", reserves_by_the_client),
    ("leaves its window", leaves_its_window),
    ("keeps its window", keeps_its_window),
    ("reaches for the window of another", reaches_for_the_window_of_another),
    ("changes what it has rung for", changes_what_it_has_rung_for),
    ("changes where it writes", changes_where_it_writes),
];

/// Bytes that are reserved with a queue.
const RESERVED: usize = 256 << 10;
const SECOND: &str = "hisi_zip-1";

fn lab() -> Option<Lab> {
    let device = |name, function| DeviceConfig {
        mode: DmaMode::NoIommu,
        depth: 16,
        reserve: RESERVED,
        ..DeviceConfig::new(name, function)
    };
    Lab::of(vec![device(ZIP, Function::Zip), device(HPRE, Function::Hpre), device(SECOND, Function::Zip)])
}

/// A queue, its memory, and what devices call that.
struct Reserved {
    queue: Queue,
    pages: Pages,
    window: u64,
}

impl Reserved {
    fn new(stage: &Stage, device: &str) -> Self {
        let queue = Queue::start(stage, device, 0);
        let offset = Region::Ss.offset(PAGE as u64) as usize;
        let pages = Pages::of(&queue.file, offset, RESERVED).unwrap();
        let window = told(&queue);
        Self { queue, pages, window }
    }
}

/// Where the memory of a queue is, of which all is told at once.
fn told(queue: &Queue) -> u64 {
    let mut answer = [0; 8];
    call(&queue.file, abi::GET_SS_DMA, &mut answer).unwrap();
    let answer = u64::from_ne_bytes(answer);
    assert_eq!((answer & abi::SS_GRANULES) * abi::SS_GRANULE, RESERVED as u64);
    answer & !abi::SS_GRANULES
}

#[test]
fn m09_memory_is_reserved_once_and_known_by_its_dma_address() {
    let Some(lab) = lab() else { return };
    let mut child = lab.child("works in its window");
    child.hears("worked");
    child.say("go");
    child.ends();
    lab.all_come_back(ZIP);
}

#[test]
fn m09_the_client_finds_all_of_it() {
    let Some(lab) = lab() else { return };
    lab.child("reserves by the client").ends();
    lab.all_come_back(ZIP);
}

fn reserves_by_the_client(stage: &Stage) {
    let info = Arc::new(UacceInfo::read(&Roots::below(&stage.folder), ZIP).unwrap());
    let mut queue = QmQueue::<Entry>::open(&info, COMPRESS, 4).unwrap();
    let reserved = queue.reserve_mem(RESERVED).unwrap();
    let va = reserved.region().mapping().va().0;
    let iova = |at: usize| reserved.dma_from_va(Va(va + at)).map(|iova| iova.0);
    let window = iova(0).unwrap();
    assert_eq!(window % PAGE as u64, 0);
    assert_eq!(iova(RESERVED - 1), Some(window + RESERVED as u64 - 1));
    assert_eq!(iova(RESERVED), None);
    // Zeros, to its last byte.
    let entry = Entry(entry(&deflate(window, PAGE, window + (RESERVED - PAGE) as u64, PAGE)));
    assert_eq!(queue.send(&[entry]).unwrap(), 1);
    let done = queue.recv_sync(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(done.ended().status, status::DONE);
}

#[test]
fn m09_more_memory_than_can_be_told_is_refused() {
    let most = (abi::SS_GRANULE * abi::SS_GRANULES) as usize;
    let start = |mode, reserve| {
        let device = DeviceConfig { mode, depth: 16, reserve, ..DeviceConfig::new(ZIP, Function::Zip) };
        Server::start(&ServerConfig {
            cores: vec![CoreConfig { cpu: 0, idle: IdlePolicy::Sleep }],
            devices: vec![device],
            in_flight: 8,
            rsa: RsaOptions::default(),
        })
    };
    assert!(start(DmaMode::NoIommu, most).is_ok() && start(DmaMode::ShareDomain, most + PAGE).is_ok());
    let error = start(DmaMode::NoIommu, most + PAGE).err().expect("it is too much").to_string();
    assert!(error.contains("Remedy: reserve"), "{error}");
}

fn works_in_its_window(stage: &Stage) {
    assert_eq!(read_attribute(&stage.folder, ZIP, attribute::FLAGS), "0");
    assert!(read_attribute(&stage.folder, ZIP, attribute::API).ends_with(NO_IOMMU));
    let mut zips = [0; 2].map(|_| Reserved::new(stage, ZIP));
    let mut hpre = Reserved::new(stage, HPRE);
    let windows = [zips[0].window, zips[1].window, hpre.window];
    for (i, one) in windows.iter().enumerate() {
        assert_eq!(one % PAGE as u64, 0);
        assert!(windows[i + 1..].iter().all(|other| one.abs_diff(*other) > RESERVED as u64), "{windows:x?}");
    }
    let plain = text(4 * PAGE);
    let room = 8 * PAGE;
    for Reserved { queue, pages, window } in &mut zips {
        pages.guard();
        pages.put(0, &plain);
        let at = RESERVED - room;
        let ended = zip(queue, &deflate(*window, plain.len(), *window + at as u64, room));
        assert_eq!(ended.status, status::DONE);
        assert!(inflate(&pages.get(at, ended.produced as usize), plain.len()) == plain);
        pages.is_untouched(plain.len(), at - plain.len());
        // Asked again, it is the same memory.
        assert_eq!(told(queue), *window);
    }
    // The memory of one queue is there for the process's others.
    let rsa = Rsa::private();
    let [one, two] = &mut zips;
    one.pages.put(0, &rsa.key);
    two.pages.put(0, &rsa.input);
    assert_eq!(code(&hpre.queue.call(&rsa.entry_at(one.window, two.window, hpre.window))), 0);
    assert!(hpre.pages.get(0, 256) == rsa.result);
    stage.tell("worked");
    stage.wait();
}

#[test]
fn m09_nothing_is_reached_outside_of_it() {
    let Some(lab) = lab() else { return };
    lab.child("leaves its window").ends();
    beside_a_window(&lab, "reaches for the window of another", "reached");
}

/// Somebody has a window, and finds it untouched after another one, who is told where it is, has done something.
#[track_caller]
fn beside_a_window(lab: &Lab, role: &str, done: &str) {
    let mut keeps = lab.child("keeps its window");
    let window = keeps.hears("has it");
    let mut other = lab.child(role);
    other.say(&window);
    other.hears(done);
    keeps.say("look");
    keeps.hears("untouched");
    other.ends();
}

/// Addresses that are not, or not with so many bytes behind them, in a window.
fn outside(window: u64, bytes: usize) -> [u64; 9] {
    let end = window + RESERVED as u64;
    let bytes = bytes as u64;
    [0, window - PAGE as u64, window - 1, end - bytes + 1, end - 1, end, end + (2 << 20), window | 1 << 63, {
        u64::MAX - bytes + 2
    }]
}

fn leaves_its_window(stage: &Stage) {
    let mut reserved = [ZIP, HPRE, ZIP].map(|device| Reserved::new(stage, device));
    reserved.iter().for_each(|it| it.pages.guard());
    let own = Pages::new(2 * PAGE);
    own.guard();
    let windows = reserved.each_ref().map(|it| it.window);
    let rsa = Rsa::public();
    let [packer, signer, _] = &mut reserved;
    for bad in outside(windows[0], PAGE).into_iter().chain([own.address()]) {
        for asked in [deflate(bad, PAGE, windows[0], PAGE), deflate(windows[0], PAGE, bad, PAGE)] {
            assert_eq!(zip(&mut packer.queue, &asked).status, status::ADDRESS, "{bad:#x}");
        }
    }
    signer.pages.put(0, &[&rsa.key[..], &rsa.input].concat());
    let (key, input, output) = (windows[1], windows[1] + 512, windows[1]);
    for i in 0..9 {
        let (long, short) = (outside(windows[1], 2 * RSA)[i], outside(windows[1], RSA)[i]);
        let bad = [rsa.entry_at(long, input, output), rsa.entry_at(key, short, output), {
            rsa.entry_at(key, input, short)
        }];
        for words in bad {
            assert_eq!(code(&signer.queue.call(&words)), error::ADDRESS, "{long:#x} {short:#x}");
        }
    }
    reserved.iter().for_each(|it| it.pages.is_untouched(768, RESERVED - 768));
    own.is_untouched(0, own.bytes());
}

fn keeps_its_window(stage: &Stage) {
    let mut reserved = Reserved::new(stage, SECOND);
    reserved.pages.guard();
    stage.tell(format_args!("has it {}", reserved.window));
    stage.wait();
    reserved.pages.is_untouched(0, RESERVED);
    let window = reserved.window;
    assert_eq!(zip(&mut reserved.queue, &deflate(window, PAGE, window + 8192, 2 * PAGE)).status, 0);
    stage.tell("untouched");
    stage.wait();
}

fn reaches_for_the_window_of_another(stage: &Stage) {
    let theirs: u64 = stage.wait().parse().unwrap();
    let mut own = Reserved::new(stage, ZIP);
    assert_eq!(errno(open(stage, SECOND)), Some(libc::EBUSY), "one process");
    for there in [theirs, theirs + 4096] {
        for asked in [deflate(there, PAGE, own.window, PAGE), deflate(own.window, PAGE, there, PAGE)] {
            assert_eq!(zip(&mut own.queue, &asked).status, status::ADDRESS);
        }
    }
    stage.tell("reached");
    stage.wait();
}

#[test]
fn m10_entries_that_change_after_the_doorbell_harm_nobody() {
    let Some(lab) = lab() else { return };
    beside_a_window(&lab, "changes what it has rung for", "changed");
}

/// How long entries are changed.
const TIME: Duration = Duration::from_millis(1500);

/// Writes two values to a word in turn until it is to end.
fn flip(queue: &Queue, at: usize, values: [u32; 2], ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        for value in values {
            for index in 0..queue.layout.sq_depth {
                queue.dus.word(queue.layout.entry(index) + at).store(value, Ordering::Relaxed);
            }
        }
    }
}

/// Sends an entry for some time, while words of it are changed; counts what it becomes.
fn send_changing(queue: &mut Queue, words: &[u32; 32], changed: &[(usize, [u32; 2])]) -> [u32; 2] {
    let ends = AtomicBool::new(false);
    let mut counts = [0; 2];
    // A second view of the same memory.
    let view = Queue::view(queue);
    std::thread::scope(|scope| {
        for (word, values) in changed {
            let (view, ends) = (&view, &ends);
            scope.spawn(move || flip(view, word * 4, *values, ends));
        }
        let start = Instant::now();
        while start.elapsed() < TIME / changed.len() as u32 {
            for _ in 0..8 {
                queue.put(words);
            }
            queue.ring(Command::Submitted, queue.tail);
            for _ in 0..8 {
                let was_done = ended(&queue.recv()).status == status::DONE;
                counts[usize::from(!was_done)] += 1;
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    counts
}

/// Words of an entry.
const INPUT: usize = 4;
const ROOM: usize = 14;
const SOURCE: usize = 18;
const DESTINATION: usize = 20;

fn changes_what_it_has_rung_for(stage: &Stage) {
    let theirs: u64 = stage.wait().parse().unwrap();
    let Reserved { mut queue, pages, window } = Reserved::new(stage, ZIP);
    let neighbour = Reserved::new(stage, ZIP);
    pages.guard();
    neighbour.pages.guard();
    // A part in the middle is used; the rest must stay.
    let (used, at) = (64 << 10, 64 << 10);
    let source = window + at as u64;
    let output = source + (32 << 10);
    pages.put(at, &text(PAGE));
    let words = entry(&deflate(source, PAGE, output, 8 * PAGE));
    let end = window + RESERVED as u64;
    for (word, value) in [
        (DESTINATION, (end - 2 * PAGE as u64) as u32),
        (DESTINATION, theirs as u32),
        (DESTINATION, window as u32 - 8 * PAGE as u32),
        (DESTINATION + 1, 0x7fff),
        (SOURCE, theirs as u32),
        (SOURCE, (end - 100) as u32),
        (INPUT, 8 << 20),
        (ROOM, 8 << 20),
        (ROOM, 20 * PAGE as u32),
    ] {
        let [done, refused] = send_changing(&mut queue, &words, &[(word, [words[word], value])]);
        assert!(done > 0, "word {word}: {done} done, {refused} refused");
    }
    // All of it at once.
    let all = [(SOURCE, theirs as u32), (DESTINATION, theirs as u32), (ROOM, 8 << 20)];
    send_changing(&mut queue, &words, &all.map(|(word, value)| (word, [words[word], value])));
    pages.is_untouched(0, at);
    pages.is_untouched(at + used, RESERVED - at - used);
    neighbour.pages.is_untouched(0, RESERVED);
    assert_eq!(queue.has_failed(), (false, false));
    stage.tell("changed");
    stage.wait();
}

#[test]
fn m10_entries_that_change_where_they_write_reach_nothing_that_is_read_only() {
    let Some(lab) = Lab::new() else { return };
    lab.child("changes where it writes").ends();
}

fn changes_where_it_writes(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    let [reading, writing] = [0; 2].map(|_| Given::new(16 * PAGE));
    reading.pages.guard();
    let (read_at, write_at) = (ELSEWHERE, ELSEWHERE + (1 << 20));
    assert_eq!(reading.give(&queue, read_at, ACCESS_READ), None);
    assert_eq!(writing.give(&queue, write_at, ACCESS_WRITE), None);
    let words = entry(&deflate(read_at, PAGE, write_at, 8 * PAGE));
    let flipped = [(DESTINATION, [write_at as u32, read_at as u32])];
    let [done, refused] = send_changing(&mut queue, &words, &flipped);
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
    reading.pages.is_untouched(0, reading.pages.bytes());
}
