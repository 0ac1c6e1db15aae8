//! M8, M11 and M12: memory that is given, for what, to whom, and until when.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use warpdrive_mempool::DmaMode;
use warpdrive_pmd::uacce::abi::hpre::error;
use warpdrive_pmd::uacce::abi::qm::Command;
use warpdrive_pmd::uacce::abi::zip::status;
use warpdrive_pmd::uacce::abi::{ACCESS_READ, ACCESS_WRITE, SHARE, UNSHARE};

use crate::child::{Role, Stage};
use crate::entries::{Rsa, code, deflate, ended, entry, inflate, text, zip};
use crate::lab::{HPRE, Lab, ZIP, hpre, zip as zip_device};
use crate::memory::{PAGE, Pages, memfd};
use crate::queue::{Queue, context, errno, give, open};

pub const ROLES: &[(&str, Role)] = &[
    ("shares its domain", shares_its_domain),
    ("comes second", comes_second),
    ("counts what it gives", counts_what_it_gives),
    ("gives for reading and for writing", gives_for_reading_and_for_writing),
    ("gives what cannot be given", gives_what_cannot_be_given),
    ("takes back in flight", takes_back_in_flight),
    ("has something", has_something),
    ("wants what others have", wants_what_others_have),
    ("opens another later", opens_another_later),
];

const BOTH: u32 = ACCESS_READ | ACCESS_WRITE;
/// Where given memory is said to be: nothing is there in any process.
pub const ELSEWHERE: u64 = 0x5000_0000_0000;

/// Memory to be given.
pub struct Given {
    pub fd: OwnedFd,
    pub pages: Pages,
}

impl Given {
    pub fn new(bytes: usize) -> Self {
        let fd = memfd(bytes);
        let pages = Pages::of(&fd, 0, bytes).unwrap();
        Self { fd, pages }
    }

    /// Gives it to a queue, as if it were at an address; returns the number of an error.
    pub fn give(&self, queue: &Queue, address: u64, access: u32) -> Option<i32> {
        errno(give(&queue.file, SHARE, address, self.pages.bytes(), &self.fd, access))
    }

    /// Takes it back.
    pub fn take(&self, queue: &Queue, address: u64) -> Option<i32> {
        errno(give(&queue.file, UNSHARE, address, self.pages.bytes(), &self.fd, BOTH))
    }
}

/// Devices behind an IOMMU that has one domain.
fn shared_domain() -> Option<Lab> {
    let of_domain = |mut device: warpdrive_pmd::uacce::serve::DeviceConfig| {
        device.mode = DmaMode::ShareDomain;
        device
    };
    Lab::of(vec![of_domain(hpre()), of_domain(zip_device())])
}

#[test]
fn m08_a_shared_domain_is_of_one_process() {
    let Some(lab) = shared_domain() else { return };
    let mut first = lab.child("shares its domain");
    first.hears("has it");
    lab.child("comes second").ends();
    first.say("go on");
    first.ends();
    lab.all_come_back(HPRE);
    lab.child("counts what it gives").ends();
}

fn shares_its_domain(stage: &Stage) {
    // As many queues as it likes.
    let mut queues = [0; 3].map(|kind| Queue::start(stage, HPRE, kind));
    let given = Given::new(PAGE);
    assert_eq!(given.give(&queues[0], ELSEWHERE, BOTH), None);
    stage.tell("has it");
    stage.wait();
    let rsa = Rsa::public();
    given.pages.put(0, &[&rsa.key[..], &rsa.input].concat());
    let words = rsa.entry_at(ELSEWHERE, ELSEWHERE + 512, ELSEWHERE + 1024);
    for queue in &mut queues {
        assert_eq!(code(&queue.call(&words)), 0);
        assert!(given.pages.get(1024, 256) == rsa.result);
        // Its own memory is none of the domain's.
        let mut output = vec![0; 256];
        assert_eq!(code(&queue.call(&rsa.entry(&mut output))), error::ADDRESS);
        assert_eq!(output, [0; 256]);
    }
}

fn comes_second(stage: &Stage) {
    assert_eq!(errno(open(stage, HPRE)), Some(libc::EBUSY));
    // Of the other device nobody has anything.
    let file = open(stage, ZIP).unwrap();
    assert_ne!(context(&file, 0).unwrap(), 0);
}

fn counts_what_it_gives(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    let given = Given::new(4 * PAGE);
    given.pages.put(0, &text(PAGE));
    let asked = deflate(ELSEWHERE, PAGE, ELSEWHERE + 8192, 2 * PAGE);
    let status = |queue: &mut Queue| zip(queue, &asked).status;
    assert_eq!(status(&mut queue), status::ADDRESS, "not given yet");
    assert_eq!(given.give(&queue, ELSEWHERE, BOTH), None);
    assert_eq!(given.give(&queue, ELSEWHERE, BOTH), None);
    assert_eq!(given.give(&queue, ELSEWHERE, ACCESS_READ), Some(libc::EEXIST), "given otherwise");
    assert_eq!(given.give(&queue, ELSEWHERE + 4096, BOTH), Some(libc::EEXIST), "in part");
    assert_eq!(status(&mut queue), status::DONE);
    assert_eq!(given.take(&queue, ELSEWHERE), None);
    assert_eq!(status(&mut queue), status::DONE, "given once more than taken");
    assert_eq!(given.take(&queue, ELSEWHERE + 4096), Some(libc::ENOENT), "not where it begins");
    assert_eq!(given.take(&queue, ELSEWHERE), None);
    assert_eq!(status(&mut queue), status::ADDRESS, "taken back");
    assert_eq!(given.take(&queue, ELSEWHERE), Some(libc::ENOENT));
    // What a queue file was used to give goes with it, and nothing else does.
    let other = Queue::start(stage, ZIP, 0);
    assert_eq!(given.give(&other, ELSEWHERE, BOTH), None);
    assert_eq!(given.take(&queue, ELSEWHERE), Some(libc::ENOENT), "given by another file");
    assert_eq!(given.give(&queue, ELSEWHERE, BOTH), None);
    drop(other);
    assert_eq!(status(&mut queue), status::DONE);
    assert_eq!(given.take(&queue, ELSEWHERE), None);
    crate::lab::soon("the release of the other", || status(&mut queue) == status::ADDRESS);
}

#[test]
fn m11_access_is_as_it_was_given() {
    let Some(lab) = Lab::new() else { return };
    lab.child("gives for reading and for writing").ends();
    lab.child("gives what cannot be given").ends();
}

fn gives_for_reading_and_for_writing(stage: &Stage) {
    let (mut packer, mut signer) = (Queue::start(stage, ZIP, 0), Queue::start(stage, HPRE, 0));
    let [reading, writing] = [0; 2].map(|_| Given::new(4 * PAGE));
    let (read_at, write_at) = (ELSEWHERE, ELSEWHERE + (1 << 30));
    let rsa = Rsa::public();
    reading.pages.guard();
    reading.pages.put(0, &rsa.key);
    writing.pages.guard();
    assert_eq!(reading.give(&packer, read_at, ACCESS_READ), None);
    assert_eq!(writing.give(&packer, write_at, ACCESS_WRITE), None);
    let guarded = 512..4 * PAGE;
    let unread = |pages: &Pages| pages.is_untouched(guarded.start, guarded.len());
    let plain = text(PAGE);
    let mut status =
        |source, destination, room| zip(&mut packer, &deflate(source, PAGE, destination, room)).status;
    let own = Pages::new(2 * PAGE);
    assert_eq!(status(plain.as_ptr() as u64, read_at, 4 * PAGE), status::ADDRESS, "written to");
    assert_eq!(status(read_at, read_at + 8192, 2 * PAGE), status::ADDRESS, "written to, too");
    assert_eq!(status(write_at, own.address(), 2 * PAGE), status::ADDRESS, "read");
    writing.pages.is_untouched(0, 4 * PAGE);
    // One byte beyond.
    assert_eq!(status(read_at + 3 * 4096 + 1, own.address(), 2 * PAGE), status::ADDRESS);
    assert_eq!(status(read_at, write_at + 8192, 2 * PAGE + 1), status::ADDRESS);
    assert_eq!(status(read_at, write_at + 8192, 2 * PAGE), status::DONE, "as it was given");
    writing.pages.is_untouched(0, 2 * PAGE);
    unread(&reading.pages);
    let input = rsa.input.as_ptr() as u64;
    let mut code = |output| code(&signer.call(&rsa.entry_at(read_at, input, output)));
    assert_eq!(code(read_at + 1024), error::ADDRESS);
    assert_eq!(code(write_at), 0);
    assert!(writing.pages.get(0, 256) == rsa.result);
    unread(&reading.pages);
}

fn gives_what_cannot_be_given(stage: &Stage) {
    let queue = Queue::start(stage, ZIP, 0);
    let good = Given::new(4 * PAGE);
    let try_give =
        |address, bytes, fd: &OwnedFd, access| errno(give(&queue.file, SHARE, address, bytes, fd, access));
    const WRONG: Option<i32> = Some(libc::EINVAL);
    for access in [0, 4, u32::MAX] {
        assert_eq!(try_give(ELSEWHERE, 4 * PAGE, &good.fd, access), WRONG);
    }
    assert_eq!(try_give(u64::MAX - 4095, 4 * PAGE, &good.fd, BOTH), WRONG, "around the end");
    assert_eq!(try_give(ELSEWHERE, 0, &good.fd, BOTH), WRONG, "nothing");
    assert_eq!(try_give(ELSEWHERE, PAGE + 1, &good.fd, BOTH), WRONG, "parts of pages");
    assert_eq!(try_give(ELSEWHERE, 5 * PAGE, &good.fd, BOTH), WRONG, "more than there is");
    assert_eq!(try_give(ELSEWHERE, usize::MAX - 4095, &good.fd, BOTH), WRONG, "much more");
    let shrinks = rustix::fs::memfd_create("shrinks", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&shrinks, PAGE as u64).unwrap();
    assert_eq!(try_give(ELSEWHERE, PAGE, &shrinks, BOTH), WRONG);
    for path in ["/dev/zero", "/proc/self/exe", "/proc/self/mem"] {
        let file: OwnedFd = std::fs::File::open(path).unwrap().into();
        assert_eq!(try_give(ELSEWHERE, PAGE, &file, BOTH), WRONG, "{path}");
    }
    let own: OwnedFd = queue.file.try_clone().unwrap().into();
    assert_eq!(try_give(ELSEWHERE, PAGE, &own, BOTH), WRONG, "the queue itself");
    let gone = {
        use std::os::fd::{AsRawFd as _, FromRawFd as _};
        let fd = queue.file.try_clone().unwrap().as_raw_fd();
        // SAFETY: a number that is not used for anything; it is not closed.
        std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    assert_eq!(try_give(ELSEWHERE, PAGE, &gone, BOTH), Some(libc::EBADF));
    assert_eq!(good.give(&queue, ELSEWHERE, BOTH), None, "it is not the worse for it");
}

#[test]
fn m11_what_is_taken_back_is_not_touched_any_more() {
    let Some(lab) = Lab::new() else { return };
    lab.child("takes back in flight").ends();
}

fn takes_back_in_flight(stage: &Stage) {
    let mut packer = Queue::start(stage, ZIP, 0);
    let (source, output) = (Given::new(64 << 10), Given::new(64 << 10));
    source.pages.put(0, &text(64 << 10));
    let (source_at, output_at) = (ELSEWHERE, ELSEWHERE + (1 << 30));
    assert_eq!(source.give(&packer, source_at, ACCESS_READ), None);
    let words = entry(&deflate(source_at, 64 << 10, output_at, 64 << 10));
    let (mut done, mut refused) = (0, 0);
    for round in 0..30 {
        assert_eq!(output.give(&packer, output_at, ACCESS_WRITE), None);
        (0..40).for_each(|_| packer.put(&words));
        packer.ring(Command::Submitted, packer.tail);
        if round % 3 > 0 {
            std::thread::sleep(std::time::Duration::from_micros(400 * round));
        }
        assert_eq!(output.take(&packer, output_at), None);
        output.pages.guard();
        for _ in 0..40 {
            match ended(&packer.recv()).status {
                status::DONE => done += 1,
                status::ADDRESS => refused += 1,
                other => panic!("status {other:#x}"),
            }
        }
        output.pages.is_untouched(0, 64 << 10);
    }
    assert!(done > 0 && refused > 0, "{done} were before, {refused} after");
}

#[test]
fn m12_addresses_are_those_of_the_opener() {
    let Some(lab) = Lab::new() else { return };
    let mut has = lab.child("has something");
    has.hears("has it");
    lab.child("wants what others have").ends();
    has.say("look");
    has.ends();
}

/// Where one process has memory and another does not.
const THERE: usize = 0x4000_0000_0000;

fn has_something(stage: &Stage) {
    let own = Pages::at(THERE, 16 * PAGE);
    let given = Given::new(16 * PAGE);
    own.guard();
    given.pages.guard();
    let mut queue = Queue::start(stage, ZIP, 0);
    assert_eq!(given.give(&queue, ELSEWHERE, BOTH), None);
    stage.tell("has it");
    stage.wait();
    own.is_untouched(0, own.bytes());
    given.pages.is_untouched(0, own.bytes());
    assert_eq!(zip(&mut queue, &deflate(ELSEWHERE, PAGE, own.address(), 2 * PAGE)).status, status::DONE);
}

fn wants_what_others_have(stage: &Stage) {
    let (mut packer, mut signer) = (Queue::start(stage, ZIP, 0), Queue::start(stage, HPRE, 0));
    let (own, rsa) = (Pages::new(4 * PAGE), Rsa::public());
    for theirs in [THERE as u64, ELSEWHERE] {
        for asked in
            [deflate(theirs, PAGE, own.address(), 2 * PAGE), deflate(own.address(), PAGE, theirs, 2 * PAGE)]
        {
            assert_eq!(zip(&mut packer, &asked).status, status::ADDRESS);
        }
        let [key, input] = [&rsa.key, &rsa.input].map(|part| part.as_ptr() as u64);
        assert_eq!(code(&signer.call(&rsa.entry_at(key, input, theirs))), error::ADDRESS);
        assert_eq!(code(&signer.call(&rsa.entry_at(key, theirs, own.address()))), error::ADDRESS);
    }
}

#[test]
fn m12_what_was_given_is_there_for_queues_that_come_later() {
    let Some(lab) = Lab::new() else { return };
    lab.child("opens another later").ends();
}

fn opens_another_later(stage: &Stage) {
    let first = Queue::start(stage, ZIP, 0);
    let given = Given::new(16 * PAGE);
    assert_eq!(given.give(&first, ELSEWHERE, BOTH), None);
    // On another device, and on the same.
    let (mut signer, rsa) = (Queue::start(stage, HPRE, 0), Rsa::public());
    given.pages.put(0, &[&rsa.key[..], &rsa.input].concat());
    assert_eq!(code(&signer.call(&rsa.entry_at(ELSEWHERE, ELSEWHERE + 512, ELSEWHERE + 1024))), 0);
    assert!(given.pages.get(1024, 256) == rsa.result);
    let mut packer = Queue::start(stage, ZIP, 0);
    let plain = text(4 * PAGE);
    given.pages.put(0, &plain);
    let asked = deflate(ELSEWHERE, plain.len(), ELSEWHERE + 8 * 4096, 8 * PAGE);
    let produced = zip(&mut packer, &asked).produced as usize;
    assert!(inflate(&given.pages.get(8 * PAGE, produced), plain.len()) == plain);
    // From several threads at once, as queues come and go.
    given.pages.put(0, &[&rsa.key[..], &rsa.input].concat());
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let comes_and_goes = scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                let mut queue = Queue::start(stage, HPRE, 0);
                assert_eq!(code(&queue.call(&rsa.entry_at(ELSEWHERE, ELSEWHERE + 512, ELSEWHERE + 1024))), 0);
            }
        });
        for i in 0..100 {
            let more = Given::new(PAGE);
            let at = ELSEWHERE + ((i + 1) << 20);
            assert_eq!(more.give(&first, at, BOTH), None);
            assert_eq!(zip(&mut packer, &deflate(ELSEWHERE, PAGE, at, PAGE)).status, status::DONE);
            assert_eq!(more.take(&first, at), None);
            assert_eq!(zip(&mut packer, &deflate(ELSEWHERE, PAGE, at, PAGE)).status, status::ADDRESS);
        }
        ends.store(true, Ordering::Relaxed);
        comes_and_goes.join().unwrap();
    });
}
