//! M6: the six steps, and clients that are killed at each of them.

use warpdrive_pmd::uacce::abi;
use warpdrive_pmd::uacce::abi::qm::Command;

use crate::child::{Role, Stage};
use crate::entries::{Rsa, answers, compresses, deflate, entry, text};
use crate::lab::{HPRE, Lab, QUEUES, ZIP, soon};
use crate::memory::Pages;
use crate::queue::{Queue, call, context, errno, open};

pub const ROLES: &[(&str, Role)] = &[
    ("takes all six steps", takes_all_six_steps),
    ("opens", |stage| {
        let _queues = [HPRE, ZIP].map(|device| open(stage, device).unwrap());
        here(stage);
    }),
    ("says what for", |stage| {
        let queues = [HPRE, ZIP].map(|device| open(stage, device).unwrap());
        queues.iter().for_each(|file| assert_ne!(context(file, 0).unwrap(), 0));
        here(stage);
    }),
    ("maps", |stage| {
        let _queues = [HPRE, ZIP].map(|device| Queue::map(stage, device, 0).unwrap());
        here(stage);
    }),
    ("starts", |stage| {
        let _queues = [HPRE, ZIP].map(|device| Queue::start(stage, device, 0));
        here(stage);
    }),
    ("has entries in flight", has_entries_in_flight),
    ("puts back", |stage| {
        for device in [HPRE, ZIP] {
            let queue = Queue::start(stage, device, 0);
            call(&queue.file, abi::PUT_Q, &mut []).unwrap();
            // To be closed by the kill.
            std::mem::forget(queue);
        }
        here(stage);
    }),
];

fn here(stage: &Stage) {
    stage.tell("here");
    stage.wait();
}

#[test]
fn m06_the_six_steps_give_all_back() {
    let Some(lab) = Lab::new() else { return };
    for _ in 0..3 {
        lab.child("takes all six steps").ends();
    }
    lab.all_come_back(HPRE);
    lab.all_come_back(ZIP);
}

fn takes_all_six_steps(stage: &Stage) {
    let mut queue = Queue::start(stage, HPRE, 0);
    Rsa::public().is_done(&mut queue);
    answers(&mut queue);
    call(&queue.file, abi::PUT_Q, &mut []).unwrap();
    drop(queue);
    compresses(&mut Queue::start(stage, ZIP, 0));
}

fn killed(role: &str) {
    let Some(lab) = Lab::new() else { return };
    for _ in 0..3 {
        let mut child = lab.child(role);
        child.hears("here");
        let held = if role == "puts back" { 0 } else { 1 };
        soon("it has what it has", || lab.available(HPRE) == QUEUES - held);
        child.kill();
        lab.all_come_back(HPRE);
        lab.all_come_back(ZIP);
    }
    // Others do not notice.
    lab.child("takes all six steps").ends();
}

#[test]
fn m06_killed_after_the_open() {
    killed("opens");
}

#[test]
fn m06_killed_after_it_said_what_for() {
    killed("says what for");
}

#[test]
fn m06_killed_after_the_mapping() {
    killed("maps");
}

#[test]
fn m06_killed_after_the_start() {
    killed("starts");
}

#[test]
fn m06_killed_with_entries_in_flight() {
    killed("has entries in flight");
}

#[test]
fn m06_killed_after_it_was_put_back() {
    killed("puts back");
}

fn has_entries_in_flight(stage: &Stage) {
    let (mut hpre, mut zip) = (Queue::start(stage, HPRE, 0), Queue::start(stage, ZIP, 0));
    let (rsa, plain, output) = (Rsa::private(), text(100_000), Pages::new(200_000));
    let mut signed = vec![0; 256];
    let (sign, pack) = (
        rsa.entry(&mut signed),
        entry(&deflate(plain.as_ptr() as u64, plain.len(), output.address(), output.bytes())),
    );
    // More than can be under way at once, and as many again whenever some are done.
    for _ in 0..500 {
        hpre.put(&sign);
        zip.put(&pack);
    }
    hpre.ring(Command::Submitted, hpre.tail);
    zip.ring(Command::Submitted, zip.tail);
    hpre.recv();
    stage.tell("here");
    loop {
        for (queue, words) in [(&mut hpre, &sign[..]), (&mut zip, &pack[..])] {
            while queue.try_recv().is_some() {
                queue.send(words);
            }
        }
        assert_eq!(errno(open(stage, "none")), Some(libc::ENOENT), "it is there to be asked");
    }
}
