//! Sides of a comparison, of which one at a time has the cpu of the engine.

use std::time::Duration;

use warpdrive_mempool::Domain;
use warpdrive_pmd::uacce::{Roots, UacceDevice, UacceOptions};

use super::served::Served;
use crate::BenchError;
use crate::load::Subject;
use crate::measure::{Better, Line, on_cpu};
use crate::record::LEAST_SHARE;
use crate::rsa::contenders::Run;
use crate::rsa::rig::Rig;
use crate::subjects::device::DeviceRig;

/// What a side did in a slice.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) run: Run,
    /// What part of its own cpu the sender had, in percent.
    pub(super) share: f64,
}

/// One side.
pub(super) type Side<'a> = crate::turns::Side<'a, Slice>;

/// Has a server go on at last: closing a queue of one that stands still would take for ever.
pub(super) struct Still<'a>(&'a Served);

impl<'a> Still<'a> {
    /// From now on it stands still.
    pub(super) fn new(server: &'a Served) -> Self {
        server.hold(true);
        Self(server)
    }

    /// Lets it go on for as long as `work` takes.
    pub(super) fn except<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.hold(false);
        let done = work();
        self.0.hold(true);
        done
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.hold(false);
    }
}

/// A queue of a server, which stands still from now on but for its slices. Requests go round in the same memory all the time.
pub(super) fn of_server<'a, S: Subject + Send>(
    server: &'a Served,
    rig: &'a mut Rig<S>,
    near: usize,
) -> Side<'a> {
    let still = Still::new(server);
    Box::new(move |length| still.except(|| slice(rig, near, length)))
}

/// What part of a slice a new engine works before one that counts.
const WARM: u32 = 4;

/// A queue of an engine of this process, which is made anew for each slice: its thread must not be on the core in the others. It
/// is warm before it counts, as those are that are there all the time.
pub(super) fn of_thread<'a>(
    near: usize,
    mut open: impl FnMut() -> Result<DeviceRig, BenchError> + 'a,
) -> Side<'a> {
    Box::new(move |length| {
        let mut rig = Rig::of_thread(open()?)?;
        slice(&mut rig, near, length / WARM)?;
        slice(&mut rig, near, length)
    })
}

fn slice<S: Subject + Send>(rig: &mut Rig<S>, near: usize, length: Duration) -> Result<Slice, BenchError> {
    let (run, share) = on_cpu(near, || rig.rate(length))?;
    Ok(Slice { run, share })
}

/// A device of a server, for memory of a domain.
pub(super) fn device(roots: &Roots, name: &str, domain: &Domain) -> Result<Box<UacceDevice>, BenchError> {
    Ok(Box::new(UacceDevice::open(name, roots, domain, UacceOptions::default())?))
}

/// Compares two sides, by the rounds in which both senders had their cpu; by all if there is no such round. An operation counts
/// as so much of the unit.
pub(super) fn compare(
    name: &str,
    unit: (&'static str, Better),
    (ours, theirs): (&[Slice], &[Slice]),
    peer: &str,
    of_operation: f64,
) -> Line {
    let fed = |slice: &Slice| slice.share >= LEAST_SHARE;
    let good: Vec<_> = ours.iter().zip(theirs).filter(|(a, b)| fed(a) && fed(b)).collect();
    let (kept, starved) = (good.len(), ours.len() - good.len());
    let pairs = if good.is_empty() { ours.iter().zip(theirs).collect() } else { good };
    let rate = |slice: &Slice| slice.run.rate() * of_operation;
    let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.into_iter().map(|(a, b)| (rate(a), rate(b))).unzip();
    let line = Line::compare(name, unit, &ours, Ok((peer, &theirs)));
    match (kept, starved) {
        (_, 0) => line,
        (0, n) => line.note(format!(
            "the sender had less than {LEAST_SHARE} % of its cpu in all {n} rounds: not to be trusted"
        )),
        (kept, n) => line.note(format!(
            "{n} of {} rounds dropped: the sender had less than {LEAST_SHARE} % of its cpu",
            kept + n
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(ops: u64, share: f64) -> Slice {
        Slice { run: Run { ops, time: Duration::from_millis(10), passes_us: vec![] }, share }
    }

    #[test]
    fn rounds_in_which_a_sender_starved_are_dropped_and_said() {
        let ours = [slice(20, 99.0), slice(90, 50.0), slice(30, 100.0)];
        let theirs = [slice(10, 99.0), slice(10, 100.0), slice(10, 98.0)];
        let line = compare("x", ("MB/s", Better::Higher), (&ours, &theirs), "p", 2.0);
        assert_eq!((line.ratio, line.rounds, line.peer_value), (Some(2.5), 2, Some(2000.0)));
        assert!(line.notes[0].starts_with("1 of 3 rounds dropped"), "{:?}", line.notes);
        let line = compare("x", ("MB/s", Better::Higher), (&ours[1..2], &theirs[1..2]), "p", 1.0);
        assert_eq!(line.ratio, Some(9.0));
        assert!(line.notes[0].contains("not to be trusted"), "{:?}", line.notes);
    }
}
