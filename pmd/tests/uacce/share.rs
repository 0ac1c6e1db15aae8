//! M16: processes that share an accelerator.

use warpdrive_pmd::uacce::abi::qm::Command;
use warpdrive_pmd::uacce::abi::zip::status;
use warpdrive_pmd::uacce::abi::{ACCESS_READ, ACCESS_WRITE};

use crate::child::{Child, Role, Stage};
use crate::domain::{ELSEWHERE, Given};
use crate::entries::{RSA, Rsa, code, compresses, deflate, text, zip};
use crate::lab::{HPRE, Lab, QUEUES, ZIP, soon};
use crate::queue::{Queue, poll};

pub const ROLES: &[(&str, Role)] = &[
    ("signs one at a time", signs_one_at_a_time),
    ("compresses for long", compresses_for_long),
    ("opens in many threads", opens_in_many_threads),
];

const BOTH: u32 = ACCESS_READ | ACCESS_WRITE;
/// As much as a request may have.
const LARGE: usize = 8 << 20;

#[test]
fn m16_processes_share_a_device_and_fill_the_lanes_of_one_batch() {
    const PROCESSES: usize = 8;
    let Some(lab) = Lab::new() else { return };
    let stats = || lab.server().stats()[0][0].clone();
    let mut children: Vec<_> = (0..PROCESSES).map(|_| lab.child("signs one at a time")).collect();
    // While the core is at a long request, each of the others sends its next one.
    children.push(lab.child("compresses for long"));
    children.iter_mut().for_each(|child| _ = child.hears("ready"));
    assert_eq!(lab.available(HPRE), QUEUES - PROCESSES as u32);
    let before = stats();
    let all = |children: &mut [Child], word: &str, answer: &str| -> Vec<u64> {
        children.iter_mut().for_each(|child| child.say(word));
        children.iter_mut().map(|child| child.hears(answer).parse().unwrap()).collect()
    };
    all(&mut children, "go", "goes");
    // Each has one at a time: what is in one batch is of as many processes.
    match PROCESSES.min(before.fill.len() - 1) {
        1 => eprintln!("lanes are not looked at: this engine has one"),
        most => soon("a full batch", || stats().fill[most] > before.fill[most]),
    }
    let done = all(&mut children, "stop", "done");
    let (signers, after) = (&done[..PROCESSES], stats());
    assert_eq!(after.requests - before.requests, signers.iter().sum(), "each one of each, and no other");
    assert_eq!(after.errors, before.errors);
    children.into_iter().for_each(Child::ends);
    lab.all_come_back(HPRE);
}

/// Does it again and again, from when it is told to until it is told to stop.
fn again_and_again(stage: &Stage, mut it: impl FnMut()) {
    it();
    stage.tell("ready");
    stage.wait();
    stage.tell("goes 0");
    let mut done = 0_u64;
    while done == 0 || poll(&std::io::stdin(), 0).0 == 0 {
        it();
        done += 1;
    }
    stage.wait();
    stage.tell(format_args!("done {done}"));
    stage.wait();
}

fn signs_one_at_a_time(stage: &Stage) {
    let mut queue = Queue::start(stage, HPRE, 0);
    let (rsa, given) = (Rsa::private(), Given::new(4096));
    given.pages.put(0, &[&rsa.input[..], &rsa.key].concat());
    assert_eq!(given.give(&queue, ELSEWHERE, BOTH), None);
    let at = given.pages.bytes() - RSA;
    let words = rsa.entry_at(ELSEWHERE + RSA as u64, ELSEWHERE, ELSEWHERE + at as u64);
    again_and_again(stage, || {
        given.pages.put(at, &[0; RSA]);
        assert_eq!(code(&queue.call(&words)), 0);
        assert!(given.pages.get(at, RSA) == rsa.result);
        queue.taken();
    });
}

fn compresses_for_long(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    let given = Given::new(2 * LARGE);
    given.pages.put(0, &text(LARGE));
    assert_eq!(given.give(&queue, ELSEWHERE, BOTH), None);
    let asked = deflate(ELSEWHERE, LARGE, ELSEWHERE + LARGE as u64, LARGE);
    again_and_again(stage, || {
        assert_eq!(zip(&mut queue, &asked).status, status::DONE);
        queue.taken();
    });
}

#[test]
fn m16_threads_of_a_process_open_queues_at_once_and_each_is_served() {
    let Some(lab) = Lab::new() else { return };
    // The first queues of a process, of which there are several at once only in its beginning.
    for _ in 0..20 {
        lab.child("opens in many threads").ends();
    }
    soon("all queues", || lab.available(HPRE) == 256 && lab.available(ZIP) == 256);
}

fn opens_in_many_threads(stage: &Stage) {
    const THREADS: usize = 16;
    let (start, rsa) = (std::sync::Barrier::new(THREADS), Rsa::public());
    std::thread::scope(|scope| {
        for i in 0..THREADS {
            let (start, rsa) = (&start, &rsa);
            scope.spawn(move || {
                let device = [HPRE, ZIP][i % 2];
                let mut queue = Queue::map(stage, device, 0).unwrap();
                start.wait();
                crate::queue::call(&queue.file, warpdrive_pmd::uacce::abi::START, &mut []).unwrap();
                if device == HPRE {
                    rsa.is_done(&mut queue)
                } else {
                    compresses(&mut queue)
                }
                queue.ring(Command::Taken, queue.cq_head);
            });
        }
    });
}
