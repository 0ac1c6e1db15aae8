//! Servers that stop, are killed, and come back.

use std::path::Path;

use warpdrive_pmd::uacce::abi;

use crate::child::{Child, Role, Stage};
use crate::entries::{Rsa, answers, code, compresses};
use crate::lab::{HPRE, LONG, Lab, QUEUES, ZIP, available, hpre, serve, soon, zip};
use crate::memory::{PAGE, Pages, bring, is_wanted, nobody_brings};
use crate::queue::{Queue, call, errno, open, poll};
use crate::space::space;

pub const ROLES: &[(&str, Role)] = &[
    ("serves", serves),
    ("waits for the end", waits_for_the_end),
    ("brings a page late", brings_a_page_late),
    ("outlives a server", outlives_a_server),
];

/// A server in a process of its own, which can be killed and looked at.
pub struct Serving(Child);

impl Serving {
    #[track_caller]
    pub fn start(folder: &Path) -> Self {
        let mut child = Child::start("serves", folder);
        child.hears("serving");
        Self(child)
    }

    pub fn kill(self) {
        self.0.kill();
    }

    /// Lets it have so many at most.
    pub fn limit_descriptors(&self, most: u64) {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        let pid = self.0.pid().cast_signed();
        // SAFETY: a structure that is read for the call.
        let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
        assert_eq!(set, 0);
    }

    /// Something of what the kernel says of it.
    pub fn proc(&self, below: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.0.pid().to_string()).join(below)
    }

    /// Names of its threads.
    pub fn threads(&self) -> Vec<String> {
        let names = self.tasks("comm");
        names.into_iter().map(|name| name.trim_end().to_owned()).collect()
    }

    fn tasks(&self, file: &str) -> Vec<String> {
        let tasks = std::fs::read_dir(self.proc("task")).unwrap();
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join(file)).ok()).collect()
    }

    /// Time that it has used.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// How often a thread has gone to sleep.
    pub fn switches(&self, thread: &str) -> u64 {
        let statuses = self.tasks("status");
        let is_it = |status: &&String| status.starts_with(&format!("Name:\t{thread}\n"));
        let status = statuses.iter().find(is_it).expect("a thread of this name");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }
}

fn serves(stage: &Stage) {
    let _serving = serve(vec![hpre(), zip()], &stage.folder);
    stage.tell("serving");
    stage.wait();
}

#[test]
fn a_server_that_stops_tells_everybody() {
    let Some(mut lab) = Lab::new() else { return };
    let mut child = lab.child("waits for the end");
    child.hears("waiting");
    // It is in poll by then, or will be told at once.
    std::thread::sleep(std::time::Duration::from_millis(50));
    lab.stop_server();
    child.hears("told");
    lab.unmount();
    child.say("unmounted");
    child.ends();
}

fn waits_for_the_end(stage: &Stage) {
    let (mut hpre, zip, fresh) =
        (Queue::start(stage, HPRE, 0), Queue::start(stage, ZIP, 1), open(stage, HPRE).unwrap());
    answers(&mut hpre);
    hpre.taken();
    stage.tell("waiting");
    assert_eq!(poll(&hpre.file, LONG.as_millis() as i32), (1, libc::POLLIN | libc::POLLERR));
    soon("the words", || hpre.has_failed() == (true, true) && zip.has_failed() == (true, true));
    assert_eq!(poll(&zip.file, 0), (1, libc::POLLIN | libc::POLLERR));
    assert_eq!(hpre.try_recv(), None);
    // A queue that is not started yet hears of it when it is.
    assert_eq!(errno(call(&fresh, abi::START, &mut [])), Some(libc::ENODEV));
    stage.tell("told");
    stage.wait();
    for file in [&hpre.file, &fresh] {
        assert_eq!(errno(call(file, abi::PUT_Q, &mut [])), Some(libc::ENOTCONN));
    }
    assert_eq!(errno(open(stage, HPRE)), Some(libc::ENOENT));
}

#[test]
fn what_a_server_is_writing_when_it_stops_is_there_before_its_users_hear_of_the_end() {
    let Some(mut lab) = Lab::new() else { return };
    let mut child = lab.child("brings a page late");
    child.hears("wanted");
    lab.stop_server();
    child.hears("written");
    child.ends();
}

fn brings_a_page_late(stage: &Stage) {
    let (mut hpre, rsa, output) = (Queue::start(stage, HPRE, 0), Rsa::public(), Pages::new(PAGE));
    let descriptor = nobody_brings(&output);
    hpre.send(&rsa.entry_at(rsa.key.as_ptr() as u64, rsa.input.as_ptr() as u64, output.address()));
    is_wanted(&descriptor);
    stage.tell("wanted");
    // When it has been told to stop, and waits, the server's heart stands still.
    let beat = || hpre.mmio.word(abi::HEARTBEAT_AT).load(std::sync::atomic::Ordering::SeqCst);
    soon("a heart that stands still", || {
        let before = beat();
        std::thread::sleep(std::time::Duration::from_millis(150));
        beat() == before
    });
    assert_eq!(hpre.has_failed(), (false, false));
    bring(&descriptor, &output, &[]);
    soon("the end", || hpre.has_failed() == (true, true));
    assert!(output.get(0, rsa.result.len()) == rsa.result, "its memory was given back too early");
    stage.tell("written");
    stage.wait();
}

#[test]
fn a_server_that_was_killed_is_replaced_at_the_same_place() {
    let Some(folder) = space() else { return };
    let first = Serving::start(folder.path());
    let mut child = Child::start("outlives a server", folder.path());
    child.hears("works");
    first.kill();
    child.say("killed");
    child.hears("noticed");
    let second = Serving::start(folder.path());
    child.say("replaced");
    child.hears("works");
    assert_eq!(available(folder.path(), HPRE), QUEUES - 1, "of the queue before nothing is known");
    child.ends();
    soon("the queue", || available(folder.path(), HPRE) == QUEUES);
    drop(second);
}

fn outlives_a_server(stage: &Stage) {
    let rsa = Rsa::private();
    let mut queue = Queue::start(stage, HPRE, 0);
    rsa.is_done(&mut queue);
    stage.tell("works");
    stage.wait();
    // Its memory is there, but nobody at the other end; and calls say so.
    assert_eq!(errno(call(&queue.file, abi::PUT_Q, &mut [])), Some(libc::ENOTCONN));
    assert_eq!(errno(open(stage, HPRE)), Some(libc::ENOTCONN));
    let mut output = vec![0; 256];
    queue.send(&rsa.entry(&mut output));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(queue.try_recv(), None);
    let beat = queue.mmio.word(abi::HEARTBEAT_AT);
    let before = beat.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(beat.load(std::sync::atomic::Ordering::SeqCst), before, "it does not live");
    stage.tell("noticed");
    stage.wait();
    let mut anew = Queue::start(stage, HPRE, 0);
    rsa.is_done(&mut anew);
    let beat = anew.mmio.word(abi::HEARTBEAT_AT);
    let before = beat.load(std::sync::atomic::Ordering::SeqCst);
    soon("a heartbeat", || beat.load(std::sync::atomic::Ordering::SeqCst) != before);
    compresses(&mut Queue::start(stage, ZIP, 0));
    assert_eq!(code(&anew.call(&crate::entries::null())), 0);
    stage.tell("works");
    stage.wait();
}
