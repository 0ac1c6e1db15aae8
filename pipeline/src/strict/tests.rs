//! Threads that are watched.

use super::*;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use warpdrive_mempool::Burst;
use warpdrive_pmd::idle::IdlePolicy;

use crate::stage::{Context, Stage};
use crate::stats::SharedStage;
use crate::worker::{Mailbox, Pipeline, Worker};

/// A supervisor that logs, unless it is not permitted here.
fn supervisor(allow: &[&str]) -> Option<Supervisor> {
    let allow = allow.iter().map(|name| crate::strict::names::number_of(name).unwrap()).collect();
    let supervisor = Supervisor::start(&StrictPlan { mode: Strict::Log, allow });
    let works = std::thread::scope(|scope| {
        let probe =
            || supervisor.as_ref().map(|s| s.watch_current("probe", From::Now).is_ok()).unwrap_or(false);
        scope.spawn(probe).join().unwrap()
    });
    if !works {
        eprintln!("skipped: filters of system calls are not permitted here");
        return None;
    }
    supervisor.ok()
}

/// What a thread that does this is found to have called.
fn found(supervisor: &Supervisor, work: impl FnOnce(&Watched) + Send) -> Vec<(String, u64)> {
    std::thread::scope(|scope| {
        let watched = || work(&supervisor.watch_current("t", From::Now).unwrap());
        let _ = scope.spawn(watched).join();
    });
    supervisor.end();
    let calls = supervisor.calls();
    calls.into_iter().find(|c| c.thread == "t").unwrap().calls.into_iter().collect()
}

fn getppid() {
    std::hint::black_box(std::os::unix::process::parent_id());
}

#[test]
fn calls_are_counted_in_the_steady_state_only() {
    let Some(supervisor) = supervisor(&[]) else { return };
    let calls = found(&supervisor, |watched| {
        getppid();
        watched.steady(true);
        for _ in 0..3 {
            getppid();
        }
        watched.steady(false);
        getppid();
    });
    assert_eq!(calls, [("getppid".to_owned(), 3)]);
}

#[test]
fn what_is_allowed_is_not_even_seen() {
    let Some(supervisor) = supervisor(&["getppid"]) else { return };
    let calls = found(&supervisor, |watched| {
        watched.steady(true);
        getppid();
    });
    assert!(calls.is_empty(), "{calls:?}");
}

#[test]
fn what_a_panic_tells_is_not_counted() {
    let Some(supervisor) = supervisor(&[]) else { return };
    // The test harness keeps messages to itself: this stands for writing them.
    let ours = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        ours(info);
        getppid();
    }));
    let calls = found(&supervisor, |watched| {
        watched.steady(true);
        panic!("on purpose");
    });
    assert!(calls.is_empty(), "{calls:?}");
}

/// Fails in its first round, as an engine does whose device makes a new one, and calls the kernel long after.
#[derive(Default)]
struct Recovers(u32);

impl Stage for Recovers {
    fn kind(&self) -> &'static str {
        "rx"
    }

    fn process(&mut self, _burst: &mut Burst, _cx: &mut Context<'_>) {}

    fn polls(&self) -> bool {
        true
    }

    fn poll(&mut self, _out: &mut Burst, _max: usize, _cx: &mut Context<'_>) {
        self.0 += 1;
        match self.0 {
            1 => assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err()),
            5_000 => getppid(),
            _ => {}
        }
    }

    fn is_finished(&self) -> bool {
        self.0 >= 10_000
    }

    fn attach(&mut self, _counters: SharedStage) {}
}

#[test]
fn a_worker_whose_engine_has_recovered_from_a_panic_is_steady_again() {
    let Some(supervisor) = supervisor(&[]) else { return };
    let ((_sender, empty), (full, _receiver)) = (rtrb::RingBuffer::new(1), rtrb::RingBuffer::new(1));
    let mut worker = Worker {
        pipelines: vec![Pipeline::new(vec![Box::new(Recovers::default())], false)],
        idle: IdlePolicy::Spin,
        stop: Arc::new(AtomicBool::new(false)),
        drain: Duration::ZERO,
        services: Vec::new(),
        pools: Vec::new(),
        failures: 0,
        mailbox: Mailbox { empty, full },
        watched: Watched::default(),
    };
    std::thread::scope(|scope| {
        let watched = || {
            worker.watched = supervisor.watch_current("t", From::Now).unwrap();
            worker.run()
        };
        scope.spawn(watched).join().unwrap();
    });
    supervisor.end();
    let calls = supervisor.calls().into_iter().find(|c| c.thread == "t").unwrap().calls;
    assert_eq!(calls.get("getppid"), Some(&1), "{calls:?}");
}

#[test]
fn a_thread_that_outlives_the_handle_is_answered_all_the_same() {
    let Some(supervisor) = supervisor(&[]).map(Arc::new) else { return };
    let shared = Arc::downgrade(&supervisor.shared);
    let (go, may_go) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel();
    let own = Arc::clone(&supervisor);
    let thread = std::thread::spawn(move || {
        let watched = own.watch_current("t", From::Now).unwrap();
        drop(own);
        ready.send(()).unwrap();
        let _ = may_go.recv();
        watched.steady(true);
        getppid();
    });
    is_ready.recv().unwrap();
    drop(supervisor);
    go.send(()).unwrap();
    thread.join().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while shared.strong_count() > 0 {
        assert!(Instant::now() < deadline, "the supervisor ends with the last thread");
        std::thread::sleep(Duration::from_millis(1));
    }
}
