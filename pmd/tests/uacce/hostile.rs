//! Clients that do what no client does. Others must not notice.

use std::time::{Duration, Instant};

use warpdrive_pmd::uacce::abi::hpre::error;
use warpdrive_pmd::uacce::abi::qm::Command;
use warpdrive_pmd::uacce::abi::{ACCESS_READ, ACCESS_WRITE};

use crate::child::{Role, Stage};
use crate::domain::{ELSEWHERE, Given};
use crate::entries::{RSA, Rsa, answers, code, compresses, deflate, entry, null};
use crate::lab::{HPRE, LONG, Lab, ZIP, hpre, soon, zip};
use crate::memory::{PAGE, Pages, bring, is_wanted, nobody_brings};
use crate::queue::{Queue, poll};

pub const ROLES: &[(&str, Role)] = &[
    ("rings beyond the ring", rings_beyond_the_ring),
    ("rings for more than there is", rings_for_more_than_there_is),
    ("never takes anything", never_takes_anything),
    ("writes anything anywhere", writes_anything_anywhere),
    ("takes back what waits", takes_back_what_waits),
    ("closes what waits", closes_what_waits),
    ("takes back in many threads", takes_back_in_many_threads),
    ("works well", works_well),
];

/// Longer than it takes to be served when nobody else keeps the server; much shorter than the server waits for anything.
pub const SOON: Duration = Duration::from_secs(3);

/// Somebody who behaves, and is served.
#[track_caller]
pub fn others_are_served(lab: &Lab) {
    let mut child = lab.child("works well");
    let took = child.hears("served after");
    assert!(took.parse::<u128>().unwrap() < SOON.as_millis(), "{took} ms");
}

fn works_well(stage: &Stage) {
    let start = Instant::now();
    let (mut signer, mut packer) = (Queue::start(stage, HPRE, 0), Queue::start(stage, ZIP, 0));
    for _ in 0..5 {
        Rsa::public().is_done(&mut signer);
        compresses(&mut packer);
    }
    drop((signer, packer));
    stage.tell(format_args!("served after {}", start.elapsed().as_millis()));
    stage.wait();
}

/// A client, and others that work while it does what it does.
pub fn beside(lab: &Lab, role: &str) {
    let mut child = lab.child(role);
    child.hears("begins");
    others_are_served(lab);
    child.hears("done");
    others_are_served(lab);
    child.ends();
    lab.all_come_back(HPRE);
    lab.all_come_back(ZIP);
}

#[test]
fn doorbells_beyond_the_ring_cost_their_queue_alone() {
    let Some(lab) = Lab::new() else { return };
    beside(&lab, "rings beyond the ring");
}

fn rings_beyond_the_ring(stage: &Stage) {
    stage.tell("begins");
    let mut good = Queue::start(stage, HPRE, 0);
    for (command, index) in [
        (Command::Submitted, 1024),
        (Command::Submitted, u16::MAX),
        (Command::Taken, 1024),
        (Command::Taken, 0x8000),
    ] {
        let mut bad = Queue::start(stage, HPRE, 0);
        answers(&mut bad);
        bad.taken();
        bad.ring(command, index);
        soon("the words", || bad.has_failed() == (true, true));
        assert_eq!(poll(&bad.file, LONG.as_millis() as i32), (1, libc::POLLIN | libc::POLLERR));
        bad.send(&null());
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(bad.try_recv(), None, "it is over");
        answers(&mut good);
    }
    // What is no doorbell is not heard.
    let number = u64::from(good.number);
    for word in [2 << 16 | number, 0xf << 16 | number, (number + 1) | (0xffff << 32), u64::MAX] {
        good.bell(word);
        std::thread::sleep(Duration::from_millis(5));
    }
    answers(&mut good);
    stage.tell("done");
    stage.wait();
}

#[test]
fn doorbells_for_more_than_the_ring_has_leave_nothing_behind() {
    let [mut small, packer] = [hpre(), zip()];
    small.depth = 16;
    let Some(lab) = Lab::of(vec![small, packer]) else { return };
    for _ in 0..3 {
        beside(&lab, "rings for more than there is");
    }
}

fn rings_for_more_than_there_is(stage: &Stage) {
    let mut queues = [0; 3].map(|kind| Queue::start(stage, HPRE, kind));
    stage.tell("begins");
    let (rsa, mut signed) = (Rsa::private(), vec![0; 256]);
    let slow = rsa.entry(&mut signed);
    let (start, mut state) = (Instant::now(), 1_u64);
    while start.elapsed() < Duration::from_millis(700) {
        for queue in &mut queues {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let [place, tail, what] = [60, 50, 40].map(|shift| (state >> shift) as u16 % 16);
            if what < 8 {
                queue.write(place, &slow)
            } else {
                queue.write(place, &null())
            }
            queue.ring(Command::Submitted, tail);
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    drop(queues);
    stage.tell("done");
    stage.wait();
}

#[test]
fn a_client_that_never_takes_completions_keeps_nobody() {
    let Some(lab) = Lab::new() else { return };
    beside(&lab, "never takes anything");
}

fn never_takes_anything(stage: &Stage) {
    let (mut signer, mut packer) = (Queue::start(stage, HPRE, 0), Queue::start(stage, ZIP, 0));
    let (rsa, mut signed, data) = (Rsa::public(), vec![0; 256], Pages::new(64 << 10));
    let (sign, pack) = (
        rsa.entry(&mut signed),
        entry(&deflate(data.address(), 32 << 10, data.address() + (32 << 10), 32 << 10)),
    );
    stage.tell("begins");
    let start = Instant::now();
    // Round and round, whether or not there is room by the rules.
    while start.elapsed() < Duration::from_secs(1) {
        for _ in 0..64 {
            signer.put(&sign);
            packer.put(&pack);
        }
        signer.ring(Command::Submitted, signer.tail);
        packer.ring(Command::Submitted, packer.tail);
        std::thread::sleep(Duration::from_micros(100));
    }
    assert_eq!((signer.has_failed(), packer.has_failed()), ((false, false), (false, false)));
    stage.tell("done");
    stage.wait();
}

#[test]
fn anything_may_be_in_the_rings() {
    let Some(lab) = Lab::new() else { return };
    beside(&lab, "writes anything anywhere");
}

fn writes_anything_anywhere(stage: &Stage) {
    let devices = [(HPRE, 0), (ZIP, 0), (ZIP, 1), (ZIP, 0)];
    let mut queues: Vec<_> = devices.map(|(device, kind)| Queue::start(stage, device, kind)).into();
    stage.tell("begins");
    let (start, mut state, mut broken) = (Instant::now(), 99_u64, 0);
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    while start.elapsed() < Duration::from_secs(1) {
        for (queue, (device, kind)) in queues.iter_mut().zip(devices) {
            for _ in 0..32 {
                let at = random() as usize % (queue.dus.bytes() / 4) * 4;
                queue.dus.word(at).store(random() as u32, std::sync::atomic::Ordering::Relaxed);
            }
            // A doorbell of any kind, mostly one of this queue.
            match random() % 8 {
                0 => queue.bell(random()),
                1 => queue.ring(Command::Taken, random() as u16 % 1024),
                _ => queue.ring(Command::Submitted, random() as u16 % 1024),
            }
            if random() % 64 == 0 {
                broken += 1;
                *queue = Queue::start(stage, device, kind);
            }
        }
    }
    assert!(broken > 3, "{broken}");
    drop(queues);
    stage.tell("done");
    stage.wait();
}

/// Queues with entries that wait for a page that nobody brings, while memory is given for other parts of them.
struct Waiting {
    queues: Vec<Queue>,
    given: Vec<(u64, Given)>,
    /// Nobody brings its pages as long as there is this descriptor.
    descriptor: std::os::fd::OwnedFd,
    missing: Pages,
}

impl Waiting {
    fn new(stage: &Stage, queues: usize, ranges: usize) -> Self {
        let (rsa, missing) = (Rsa::public(), Pages::new(PAGE));
        let descriptor = nobody_brings(&missing);
        let mut this = Self { queues: Vec::new(), given: Vec::new(), descriptor, missing };
        for _ in 0..queues {
            let mut queue = Queue::start(stage, HPRE, 0);
            for _ in 0..ranges {
                let (address, given) = (ELSEWHERE + ((this.given.len() as u64) << 20), Given::new(PAGE));
                given.pages.put(0, &rsa.input);
                assert_eq!(given.give(&queue, address, ACCESS_READ | ACCESS_WRITE), None);
                queue.send(&rsa.entry_at(this.missing.address(), address, address + 1024));
                this.given.push((address, given));
            }
            this.queues.push(queue);
        }
        // When somebody has touched the page, one waits; the others soon after.
        is_wanted(&this.descriptor);
        std::thread::sleep(Duration::from_millis(100));
        assert!(this.queues.iter_mut().all(|queue| queue.try_recv().is_none()));
        this
    }
}

#[test]
fn memory_that_is_taken_back_while_something_waits_for_it_stays_as_long_as_needed() {
    let Some(lab) = Lab::new() else { return };
    beside(&lab, "takes back what waits");
}

fn takes_back_what_waits(stage: &Stage) {
    let mut waiting = Waiting::new(stage, 1, 2);
    stage.tell("begins");
    // It is waited for, but not for ever.
    std::thread::scope(|scope| {
        for (address, given) in &waiting.given {
            let queue = &waiting.queues[0];
            scope.spawn(move || assert_eq!(given.take(queue, *address), Some(libc::EBUSY)));
        }
    });
    // Now there is the key: what began when the memory was given ends with it.
    bring(&waiting.descriptor, &waiting.missing, &Rsa::public().key);
    for _ in 0..2 {
        assert_eq!(code(&waiting.queues[0].recv()), 0);
    }
    assert!(waiting.given.iter().all(|(_, given)| given.pages.get(1024, RSA) == Rsa::public().result));
    let (address, _) = waiting.given[0];
    let words = Rsa::public().entry_at(waiting.missing.address(), address, address + 1024);
    assert_eq!(code(&waiting.queues[0].call(&words)), error::ADDRESS, "what begins afterwards does not");
    stage.tell("done");
    stage.wait();
}

#[test]
fn files_that_are_closed_while_something_waits_keep_nobody() {
    let Some(lab) = Lab::new() else { return };
    beside(&lab, "closes what waits");
}

fn closes_what_waits(stage: &Stage) {
    // More than the server has threads for calls.
    let mut waiting = Waiting::new(stage, 8, 4);
    waiting.queues.clear();
    stage.tell("begins");
    std::thread::sleep(Duration::from_secs(2));
    stage.tell("done");
    stage.wait();
}

#[test]
fn calls_that_wait_keep_nobody() {
    let Some(lab) = Lab::new() else { return };
    beside(&lab, "takes back in many threads");
}

fn takes_back_in_many_threads(stage: &Stage) {
    let waiting = Waiting::new(stage, 1, 16);
    std::thread::scope(|scope| {
        for (address, given) in &waiting.given {
            let queue = &waiting.queues[0];
            scope.spawn(move || assert_eq!(given.take(queue, *address), Some(libc::EBUSY)));
        }
        std::thread::sleep(Duration::from_millis(50));
        stage.tell("begins");
    });
    stage.tell("done");
    stage.wait();
}

#[test]
fn whoever_may_not_open_a_device_does_not() {
    let mut device = hpre();
    device.permissions.mode = 0o600;
    let Some(lab) = Lab::of(vec![device, zip()]) else { return };
    let path = lab.folder.path().join("dev").join(HPRE);
    let mut shell = std::process::Command::new("/bin/sh");
    std::os::unix::process::CommandExt::uid(&mut shell, 65_534);
    let status = shell.args(["-c", "exec 3<>\"$0\""]).arg(&path).stderr(std::process::Stdio::null()).status();
    assert!(!status.unwrap().success());
    others_are_served(&lab);
}
