//! One watched thread: whether it is in its steady state, and what it called there.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

use super::names::{self, ARCH};

/// Numbers of calls that are counted apart: x86-64 has fewer than 500.
const NUMBERS: usize = 1024;

/// From when on a thread can be in its steady state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From when it says so.
    Now,
    /// From then, but not before [`Supervisor::all_is_open`](super::Supervisor::all_is_open): it runs while others prepare.
    AllOpen,
}

/// What is known of one watched thread. Nothing in here locks or allocates: the thread may wait in the middle of either.
pub(super) struct Tally {
    name: String,
    /// From when on it can be steady.
    from: From,
    steady: AtomicBool,
    /// How to answer it, from when its filter is there. It is open as long as the thread is.
    pub(super) listener: OnceLock<OwnedFd>,
    /// The filter could not be installed, or the thread has ended.
    pub(super) gone: AtomicBool,
    /// How often each call was made; in the last place those that are none of this architecture.
    counts: [AtomicU64; NUMBERS + 1],
}

impl Tally {
    pub(super) fn new(name: &str, from: From) -> Self {
        Self {
            name: name.to_owned(),
            from,
            steady: AtomicBool::new(false),
            listener: OnceLock::new(),
            gone: AtomicBool::new(false),
            counts: [const { AtomicU64::new(0) }; NUMBERS + 1],
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The kernel orders this against the call that follows.
    pub(super) fn set_steady(&self, steady: bool) {
        self.steady.store(steady, Ordering::Release);
    }

    pub(super) fn is_steady(&self, all_open: bool) -> bool {
        self.steady.load(Ordering::Acquire) && (all_open || self.from == From::Now)
    }

    /// Counts a call; true when it was the first of its kind.
    pub(super) fn count(&self, call: &libc::seccomp_data) -> bool {
        self.counts[slot(call)].fetch_add(1, Ordering::Relaxed) == 0
    }

    /// What was counted, by slot; those of zero are left out.
    pub(super) fn counted(&self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter().map(|n| n.load(Ordering::Relaxed)).enumerate().filter(|(_, n)| *n > 0)
    }

    pub(super) fn calls(&self) -> ThreadCalls {
        let calls = self.counted().map(|(slot, n)| (name_of_slot(slot), n)).collect();
        ThreadCalls { thread: self.name.clone(), calls }
    }
}

fn slot(call: &libc::seccomp_data) -> usize {
    match usize::try_from(call.nr) {
        Ok(number) if number < NUMBERS && call.arch == ARCH => number,
        _ => NUMBERS,
    }
}

pub(super) fn name_of_slot(slot: usize) -> String {
    if slot == NUMBERS { "a call of another architecture".to_owned() } else { names::name_of(slot as u64) }
}

/// The name of a call, if it has one, without an allocation.
pub(super) fn known_name(call: &libc::seccomp_data) -> Option<&'static str> {
    names::known(call.arch, u64::try_from(call.nr).ok()?)
}

/// The system calls that a watched thread made in its steady state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadCalls {
    /// The thread's name.
    pub thread: String,
    /// How often it made each.
    pub calls: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(nr: i64, arch: u32) -> libc::seccomp_data {
        libc::seccomp_data { nr: nr as i32, arch, instruction_pointer: 0, args: [0; 6] }
    }

    #[test]
    fn calls_are_counted_by_name() {
        let tally = Tally::new("worker-0", From::Now);
        assert!(tally.count(&call(libc::SYS_sendto, ARCH)));
        assert!(!tally.count(&call(libc::SYS_sendto, ARCH)));
        assert!(tally.count(&call(libc::SYS_sendto, 0x4000_0003)), "another architecture is another call");
        assert!(!tally.count(&call(-1, ARCH)), "and a number out of range is, too");
        let counted = tally.calls();
        assert_eq!(counted.thread, "worker-0");
        let expected = [("a call of another architecture".to_owned(), 2), ("sendto".to_owned(), 2)];
        assert_eq!(counted.calls, BTreeMap::from(expected));
    }

    #[test]
    fn who_runs_while_others_prepare_is_steady_only_when_all_is_open() {
        for (from, before) in [(From::Now, true), (From::AllOpen, false)] {
            let tally = Tally::new("t", from);
            assert!(!tally.is_steady(true));
            tally.set_steady(true);
            assert_eq!((tally.is_steady(false), tally.is_steady(true)), (before, true));
        }
    }

    #[test]
    fn only_calls_of_this_architecture_are_named() {
        assert_eq!(known_name(&call(libc::SYS_sendto, ARCH)), Some("sendto"));
        assert_eq!(known_name(&call(libc::SYS_sendto, 0x4000_0003)), None);
        assert_eq!(known_name(&call(-1, ARCH)), None);
    }
}
