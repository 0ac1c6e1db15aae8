//! M7: any address of the process, and what is none.

use std::fs::File;

use warpdrive_pmd::uacce::abi::hpre::error;
use warpdrive_pmd::uacce::abi::zip::{MOST, status};

use crate::child::{Role, Stage};
use crate::entries::{RSA, Rsa, answers, code, compresses, deflate, entry, inflate, text, zip};
use crate::lab::{HPRE, Lab, QUEUES, ZIP, soon};
use crate::memory::{PAGE, Pages, nobody_brings};
use crate::queue::Queue;

pub const ROLES: &[(&str, Role)] = &[
    ("has memory of all kinds", has_memory_of_all_kinds),
    ("has addresses that are none", has_addresses_that_are_none),
    ("brings no page", brings_no_page),
    ("works on", works_on),
];

#[test]
fn m07_any_address_of_the_process_may_be_given() {
    let Some(lab) = Lab::new() else { return };
    lab.child("has memory of all kinds").ends();
}

fn has_memory_of_all_kinds(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    let bytes = 8 * PAGE;
    let on_stack: [u8; 8 * PAGE] = std::array::from_fn(|i| (i / 3) as u8);
    let on_heap = text(bytes);
    let program = Pages::private(&File::open("/proc/self/exe").unwrap(), bytes, libc::PROT_READ).unwrap();
    let zeros = Pages::private(&File::open("/dev/zero").unwrap(), bytes, libc::PROT_READ).unwrap();
    let mut named = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut named, &on_heap).unwrap();
    let shared = Pages::of(&named, 0, bytes).unwrap();
    let constant: &'static [u8] = include_bytes!("sva.rs");
    let sources = [
        ("stack", on_stack.as_ptr() as u64, on_stack.to_vec()),
        ("heap", on_heap.as_ptr() as u64, on_heap.clone()),
        ("program", program.address(), program.get(0, bytes)),
        ("zeros", zeros.address(), vec![0; bytes]),
        ("shared file", shared.address(), on_heap.clone()),
        ("constant", constant.as_ptr() as u64, constant.to_vec()),
        ("never touched", Pages::new(bytes).address(), vec![0; bytes]),
    ];
    // As it is gone, that of the last one.
    let fresh = Pages::new(bytes);
    let room = 2 * bytes;
    let (mut heap, mut stack) = (vec![0_u8; room], [0_u8; 16 * PAGE]);
    let touched = Pages::new(room);
    for (name, source, plain) in sources {
        let source = if name == "never touched" { fresh.address() } else { source };
        let outputs = [heap.as_mut_ptr() as u64, stack.as_mut_ptr() as u64, touched.address()];
        for output in outputs {
            let ended = zip(&mut queue, &deflate(source, plain.len(), output, room));
            assert_eq!((ended.status, ended.consumed as usize), (status::DONE, plain.len()), "{name}");
            let produced = ended.produced as usize;
            let blocks = match output {
                at if at == touched.address() => touched.get(0, produced),
                at if at == heap.as_ptr() as u64 => heap[..produced].to_vec(),
                _ => std::hint::black_box(&stack)[..produced].to_vec(),
            };
            assert!(inflate(&blocks, plain.len()) == plain, "{name}");
        }
    }
    Rsa::public().is_done(&mut Queue::start(stage, HPRE, 0));
}

#[test]
fn m07_addresses_that_are_none_are_errors_of_their_entry() {
    let Some(lab) = Lab::new() else { return };
    lab.child("has addresses that are none").ends();
    lab.child("has memory of all kinds").ends();
}

/// What is at addresses like these is nobody's.
fn nowhere(gone: u64) -> [u64; 8] {
    [0, 8, gone, 0xffff_8880_0000_0000, 0xffff_ffff_8000_0000, 1 << 60, u64::MAX - 100, u64::MAX]
}

fn has_addresses_that_are_none(stage: &Stage) {
    let (mut hpre, mut packer) = (Queue::start(stage, HPRE, 0), Queue::start(stage, ZIP, 0));
    let (rsa, plain) = (Rsa::public(), text(4 * PAGE));
    let (source, output) = (plain.as_ptr() as u64, Pages::new(8 * PAGE));
    output.guard();
    let [key, input] = [&rsa.key, &rsa.input].map(|part| part.as_ptr() as u64);
    let gone = Pages::new(PAGE).address();
    for bad in nowhere(gone) {
        let refused = |queue: &mut Queue, words: [u32; 16]| {
            assert_eq!(code(&queue.call(&words)), error::ADDRESS, "{bad:#x}");
        };
        refused(&mut hpre, rsa.entry_at(bad, input, output.address()));
        refused(&mut hpre, rsa.entry_at(key, bad, output.address()));
        refused(&mut hpre, rsa.entry_at(key, input, bad));
        for asked in [deflate(bad, plain.len(), output.address(), output.bytes()), {
            deflate(source, plain.len(), bad, output.bytes())
        }] {
            assert_eq!(zip(&mut packer, &asked).status, status::ADDRESS, "{bad:#x}");
        }
    }
    output.is_untouched(0, output.bytes());
    // The next page is not there: neither for what comes in, nor, when there is too much, for what goes out.
    let halves = Pages::new(4 * PAGE);
    halves.put(0, &plain);
    halves.unmap(PAGE, PAGE);
    let asked = deflate(halves.address(), 2 * PAGE, output.address(), output.bytes());
    assert_eq!(zip(&mut packer, &asked).status, status::ADDRESS, "not all of it");
    let mut noise = vec![0; 2 * PAGE];
    let mut state = 1_u64;
    noise.fill_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let asked = deflate(noise.as_ptr() as u64, noise.len(), halves.address(), 4 * PAGE);
    assert_eq!(zip(&mut packer, &asked).status, status::ADDRESS, "no room for all of it");
    let at_the_end = halves.address() + PAGE as u64 - RSA as u64 / 2;
    assert_eq!(code(&hpre.call(&rsa.entry_at(key, at_the_end, output.address()))), error::ADDRESS);
    assert_eq!(code(&hpre.call(&rsa.entry_at(key, input, at_the_end))), error::ADDRESS);
    // What may only be read.
    let fixed = Pages::new(4 * PAGE);
    fixed.guard();
    fixed.protect(0, 4 * PAGE, libc::PROT_READ);
    let asked = deflate(source, plain.len(), fixed.address(), fixed.bytes());
    assert_eq!(zip(&mut packer, &asked).status, status::ADDRESS, "read-only");
    assert_eq!(code(&hpre.call(&rsa.entry_at(key, input, fixed.address()))), error::ADDRESS);
    fixed.is_untouched(0, fixed.bytes());
    let asked = deflate(fixed.address(), PAGE, output.address(), output.bytes());
    assert_eq!(zip(&mut packer, &asked).status, status::DONE, "it can be read");
    fixed.protect(0, 4 * PAGE, libc::PROT_NONE);
    assert_eq!(zip(&mut packer, &asked).status, status::ADDRESS, "not even read");
    sizes_that_are_none(&mut hpre, &mut packer, &rsa, &output);
    // The queues are none the worse for it.
    rsa.is_done(&mut hpre);
    compresses(&mut packer);
    assert_eq!((hpre.has_failed(), packer.has_failed()), ((false, false), (false, false)));
}

fn sizes_that_are_none(hpre: &mut Queue, packer: &mut Queue, rsa: &Rsa, output: &Pages) {
    output.guard();
    let source = Pages::new(4 * PAGE);
    for input in [MOST + 1, 1 << 31, u32::MAX as usize] {
        let asked = deflate(source.address(), input, output.address(), output.bytes());
        assert_eq!(zip(packer, &asked).status, status::DATA, "{input}");
        let asked = deflate(source.address(), PAGE, output.address(), input);
        assert_eq!(zip(packer, &asked).status, status::DATA, "room {input}");
    }
    let asked = deflate(source.address(), MOST, output.address(), output.bytes());
    assert_eq!(zip(packer, &asked).status, status::ADDRESS, "as much as is possible, which is not there");
    let plain = rsa.entry_at(rsa.key.as_ptr() as u64, rsa.input.as_ptr() as u64, output.address());
    // All lengths of operands but those of known sizes of keys, and all algorithms but the known ones.
    for operand in 0..=255 {
        if ![15, 31, 47, 63].contains(&operand) {
            let mut words = plain;
            words[1] = operand;
            assert_eq!(code(&hpre.call(&words)), error::PARAMETER, "operand {operand}");
        }
    }
    for algorithm in 2..0x1f {
        let mut words = plain;
        words[0] = words[0] & !0x1f | algorithm;
        assert_eq!(code(&hpre.call(&words)), error::PARAMETER, "algorithm {algorithm}");
    }
    for format in (0..=255).filter(|format| ![1, 2, 3].contains(format)) {
        let mut words = entry(&deflate(source.address(), PAGE, output.address(), output.bytes()));
        words[9] = format;
        assert_eq!(crate::entries::ended(&packer.call(&words)).status, status::DATA, "format {format}");
    }
    output.is_untouched(0, output.bytes());
}

#[test]
fn m07_a_page_that_nobody_brings_keeps_only_its_process_waiting() {
    let Some(lab) = Lab::new() else { return };
    let mut stuck = lab.child("brings no page");
    stuck.hears("stuck");
    let mut other = lab.child("works on");
    other.hears("worked");
    soon("only the stuck one's", || lab.available(HPRE) == QUEUES - 1);
    let agent = format!("agent-{}", stuck.pid());
    stuck.kill();
    lab.all_come_back(HPRE);
    lab.all_come_back(ZIP);
    soon("the end of its thread", || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let mut names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        !names.any(|comm| comm.trim_end() == agent)
    });
}

fn brings_no_page(stage: &Stage) {
    let (mut hpre, mut packer) = (Queue::start(stage, HPRE, 0), Queue::start(stage, ZIP, 0));
    let (rsa, missing, output) = (Rsa::public(), Pages::new(4 * PAGE), Pages::new(8 * PAGE));
    let _descriptor = nobody_brings(&missing);
    for _ in 0..50 {
        hpre.send(&rsa.entry_at(missing.address(), rsa.input.as_ptr() as u64, output.address()));
        packer.send(&entry(&deflate(missing.address(), 2 * PAGE, output.address(), output.bytes())));
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!((hpre.try_recv(), packer.try_recv()), (None, None));
    stage.tell("stuck");
    stage.wait();
}

fn works_on(stage: &Stage) {
    let (mut hpre, mut packer) = (Queue::start(stage, HPRE, 0), Queue::start(stage, ZIP, 0));
    for _ in 0..20 {
        Rsa::public().is_done(&mut hpre);
        compresses(&mut packer);
        answers(&mut hpre);
    }
    drop((hpre, packer));
    stage.tell("worked");
    stage.wait();
}
