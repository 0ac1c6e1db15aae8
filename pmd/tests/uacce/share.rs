//! M16: processes that share an accelerator.

use std::time::{Duration, Instant};

use warpdrive_pmd::uacce::abi::qm::Command;

use crate::child::{Role, Stage};
use crate::entries::{Rsa, code, compresses};
use crate::lab::{HPRE, Lab, ZIP, soon};
use crate::queue::Queue;

pub const ROLES: &[(&str, Role)] =
    &[("signs one at a time", signs_one_at_a_time), ("opens in many threads", opens_in_many_threads)];

/// How long they work.
const TIME: Duration = Duration::from_secs(1);

#[test]
fn m16_processes_share_a_device_and_fill_the_lanes_of_one_batch() {
    const PROCESSES: usize = 8;
    let Some(lab) = Lab::new() else { return };
    let mut children: Vec<_> = (0..PROCESSES).map(|_| lab.child("signs one at a time")).collect();
    for child in &mut children {
        child.hears("ready");
    }
    assert_eq!(lab.available(HPRE), 256 - PROCESSES as u32);
    let before = lab.server().stats()[0][0].clone();
    children.iter_mut().for_each(|child| child.say("go"));
    let done: Vec<u64> = children.iter_mut().map(|child| child.hears("done").parse().unwrap()).collect();
    children.into_iter().for_each(|child| child.ends());
    let after = lab.server().stats()[0][0].clone();
    let (requests, batches) = (after.requests - before.requests, after.batches - before.batches);
    assert_eq!(requests, done.iter().sum::<u64>(), "each request of each is counted, and no other");
    assert_eq!(after.errors, before.errors);
    assert!(done.iter().all(|done| *done > 0), "{done:?}");
    if after.fill.len() > 2 {
        // Each has one at a time: what is in one batch is of several.
        let fill = requests as f64 / batches as f64;
        assert!(fill > 1.5, "{fill} of up to {} lanes", after.fill.len() - 1);
    } else {
        eprintln!("lanes are not looked at: this engine has one");
    }
    lab.all_come_back(HPRE);
}

fn signs_one_at_a_time(stage: &Stage) {
    let mut queue = Queue::start(stage, HPRE, 0);
    let rsa = Rsa::private();
    rsa.is_done(&mut queue);
    // Known numbers are in ordinary memory: 256 bytes each.
    let mut signed = vec![0; 256];
    stage.tell("ready");
    stage.wait();
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        signed.fill(0);
        assert_eq!(code(&queue.call(&rsa.entry(&mut signed))), 0);
        assert!(signed == rsa.result);
        done += 1;
    }
    stage.tell(format_args!("done {done}"));
    stage.wait();
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
