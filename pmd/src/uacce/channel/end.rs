//! How a queue ends: because its owner lets it go, or because the device is gone.
//!
//! Either way the memory of its requests is nobody's but the owner's afterwards.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Channel;
use crate::device::{Phase, Status};
use crate::engine::Report;
use crate::uacce::driver::Driver;
use crate::uacce::error::Lost;
use crate::uacce::queue::{Entry, QmQueue};

/// How long completions are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(5);

impl<D: Driver> Channel<D> {
    /// The device is gone: what it has is given back, once.
    #[cold]
    pub(super) fn lose(&mut self, lost: Lost) {
        if lost == Lost::Child || self.kept.lost.is_some() {
            return;
        }
        self.kept.lost = Some(lost);
        self.kept.parts.keeper.count_lost();
        let mut given_back = true;
        for at in 0..self.lanes.len() {
            let Some(lane) = &mut self.lanes[at] else { continue };
            // Nobody completes anything of a server's that is gone.
            let patience = if lost == Lost::Server { Duration::ZERO } else { PATIENCE };
            let halted = halt(&mut lane.qm, patience);
            given_back &= halted;
            for place in 0..lane.pending.len() {
                let Some(pending) = self.lanes[at].as_mut().and_then(|lane| lane.pending[place].take())
                else {
                    continue;
                };
                if !halted {
                    // Its memory is the device's as long as nobody knows better.
                    self.in_flight -= 1;
                    std::mem::forget(pending);
                    continue;
                }
                let mut request = pending.request;
                let mut stream = request.take_stream();
                stream.iter_mut().for_each(|stream| stream.kept().phase = Phase::Broken);
                self.answer(request, stream, Err(Status::Cancelled), Report::default());
            }
        }
        self.go_on_without(lost, given_back);
    }

    /// What is in flight is settled. Whether the device has given everything back is known.
    fn go_on_without(&mut self, lost: Lost, given_back: bool) {
        let name = &self.kept.parts.name;
        let (what, is_trusted) = match lost {
            Lost::Device => ("the device has failed", true),
            Lost::Server => ("who serves the device is gone", true),
            Lost::Nonsense => ("the device writes completions of nothing that was sent", false),
            Lost::Child => return,
        };
        if !given_back || !is_trusted {
            // What was not given back may still be written to.
            tracing::error!(
                "device {name:?}: {what}. Its queue is not opened anew. Remedy: start this program anew"
            );
            return;
        }
        tracing::error!("device {name:?}: {what}. Its queue is opened anew when the device is back");
        self.kept.driver = None;
        self.ask_for_next();
    }
}

/// Makes sure that the device touches nothing of a queue's requests any more. Whether that is certain.
fn halt<E: Entry>(qm: &mut QmQueue<E>, patience: Duration) -> bool {
    let begun = Instant::now();
    while qm.in_flight() > 0 && begun.elapsed() < patience {
        match qm.take() {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::yield_now(),
            Err(_) => break,
        }
    }
    let is_idle = qm.in_flight() == 0;
    match qm.stop() {
        Ok(()) => true,
        // Who could touch it is gone.
        Err(Errno::NOTCONN | Errno::NODEV | Errno::CONNABORTED) => true,
        Err(cause) => {
            tracing::error!("{}: a queue is not given back: {cause}", qm.info().name);
            is_idle
        }
    }
}

impl<D: Driver> Drop for Channel<D> {
    fn drop(&mut self) {
        if self.lineage.is_left() {
            return; // the file is closed, and that is all
        }
        for lane in self.lanes.iter_mut().flatten() {
            if !halt(&mut lane.qm, PATIENCE) {
                let pending = std::mem::take(&mut *lane.pending);
                tracing::error!(
                    "{}: {} requests are the device's for ever",
                    lane.qm.info().name,
                    pending.iter().flatten().count()
                );
                std::mem::forget(pending);
                // And the memory that it has for them.
                std::mem::forget(self.kept.driver.take());
            }
            if let Some(memory) = &mut lane.memory {
                memory.end(lane.qm.file());
            }
        }
    }
}
