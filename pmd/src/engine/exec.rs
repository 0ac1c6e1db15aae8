//! An engine with what it needs to serve requests: the same inline and on an engine core.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrayvec::ArrayVec;
use warpdrive_mempool::{DmaSlice, DomainView};

use super::meter::SharedMeter;
use super::sessions::Table;
use super::window::{Slot, Waiting, Window};
use super::{Engine, Job, MAX_BATCH};
use crate::clock;
use crate::device::{Completion, Request, Segment, Status};

/// The engine's end of a queue.
pub(super) trait End {
    /// The queue's way to the memory that its requests name.
    fn view(&mut self) -> &mut DomainView;

    /// Gives a request back. There is room.
    fn complete(&mut self, completion: Completion);
}

/// An engine with the requests that wait for it.
pub(super) struct Executor<E: Engine> {
    device: String,
    options: E::Options,
    engine: E,
    window: Window,
    /// The version of the table in which the sessions of the window were found, except for the newest.
    checked: u64,
    unchecked: usize,
    meter: SharedMeter,
    /// After a panic outside of a batch nothing is given to the engine any more.
    failed: bool,
}

type Results = ArrayVec<Result<usize, Status>, MAX_BATCH>;

impl<E: Engine> Executor<E> {
    pub(super) fn new(device: &str, options: E::Options, meter: SharedMeter) -> Self {
        let engine = E::new(&options);
        Self {
            device: device.to_owned(),
            options,
            engine,
            window: Window::new(),
            checked: 0,
            unchecked: 0,
            meter,
            failed: false,
        }
    }

    /// How many requests it takes in now.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.window.room()
    }

    /// How many it holds.
    #[inline]
    pub(super) fn held(&self) -> usize {
        MAX_BATCH - self.window.room()
    }

    /// Takes a request of `ends[queue]` in. There must be room.
    #[inline]
    pub(super) fn admit(&mut self, queue: usize, request: Request) {
        self.window.push(queue, request);
        self.unchecked += 1;
    }

    /// Executes what the engine chooses. Whether there was anything to do.
    #[inline]
    pub(super) fn turn<Q: End>(
        &mut self,
        ends: &mut [Q],
        sessions: &Table<E::Session>,
        draining: bool,
    ) -> bool {
        if self.failed {
            return self.answer_all(ends);
        }
        if self.window.len() == 0 {
            return false;
        }
        let gone = self.gone(sessions);
        if gone != 0 {
            self.expel(ends, gone);
            if self.window.len() == 0 {
                return true;
            }
        }
        let now = clock::ticks();
        let waiting = Waiting { window: &self.window, sessions, now, draining };
        let mut chosen = self.engine.choose(&waiting) & waiting.oldest(MAX_BATCH);
        if chosen == 0 {
            if !draining {
                return false;
            }
            chosen = waiting.oldest(E::BATCH);
        }
        while chosen.count_ones() as usize > E::BATCH {
            chosen &= !(1 << chosen.ilog2());
        }
        self.execute(ends, sessions, chosen, now);
        true
    }

    /// The requests whose sessions are not there, or not any more.
    #[inline]
    fn gone(&mut self, sessions: &Table<E::Session>) -> u64 {
        let first = if self.checked == sessions.version { self.window.len() - self.unchecked } else { 0 };
        (self.checked, self.unchecked) = (sessions.version, 0);
        self.window.bits(first, |r| sessions.get(r.session).is_none())
    }

    #[cold]
    fn expel<Q: End>(&mut self, ends: &mut [Q], gone: u64) {
        let chosen = self.window.choose(gone);
        self.complete(ends, &chosen, std::iter::repeat(Err(Status::NoSession)), None);
    }

    fn execute<Q: End>(&mut self, ends: &mut [Q], sessions: &Table<E::Session>, chosen: u64, now: u64) {
        let chosen = self.window.choose(chosen);
        for slot in &chosen {
            ends[self.window.queue(*slot)].view().refresh();
        }
        let mut results = Results::new();
        let Self { engine, window, meter, .. } = self;
        let run = || run(engine, ends, sessions, window, &chosen, meter, &mut results);
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            self.meter.panics.add(1);
            // Whatever the engine had done by then is not to be trusted, nor what it is now.
            self.engine = E::new(&self.options);
            results.clear();
            results.extend(chosen.iter().map(|_| Err(Status::EngineFailed)));
        }
        self.complete(ends, &chosen, results, Some(now));
    }

    /// Gives chosen requests back. `begun` is when they were, if they were.
    fn complete<Q: End>(
        &mut self,
        ends: &mut [Q],
        chosen: &[Slot],
        results: impl IntoIterator<Item = Result<usize, Status>>,
        begun: Option<u64>,
    ) {
        let (mut errors, mut bytes_in, mut bytes_out) = (0, 0, 0);
        for (slot, result) in chosen.iter().zip(results) {
            let Some(request) = self.window.take(*slot) else { continue };
            bytes_in += u64::from(request.src().len);
            match result {
                Ok(n) => bytes_out += n as u64,
                Err(_) => errors += 1,
            }
            if let Some(begun) = begun {
                self.meter.waited(begun.saturating_sub(request.sent));
            }
            ends[self.window.queue(*slot)].complete(completion(request, result));
        }
        self.meter.requests.add(chosen.len() as u64);
        self.meter.errors.add(errors);
        self.meter.bytes_in.add(bytes_in);
        self.meter.bytes_out.add(bytes_out);
    }

    /// After a panic outside of a batch: every request, also those to come, ends as [`Status::EngineFailed`].
    #[cold]
    pub(super) fn fail(&mut self, cause: &(dyn Any + Send)) {
        self.failed = true;
        self.meter.fail();
        tracing::error!(
            "device {:?}: its engine has died ({}). Every request to it fails from now on. Remedy: open the device anew, and report the cause",
            self.device,
            message(cause),
        );
    }

    #[cold]
    fn answer_all<Q: End>(&mut self, ends: &mut [Q]) -> bool {
        let mut n = 0;
        self.window.clear(|queue, request| {
            n += 1;
            ends[queue].complete(completion(request, Err(Status::EngineFailed)));
        });
        self.meter.requests.add(n);
        self.meter.errors.add(n);
        n > 0
    }

    /// Drops the requests of `ends[queue]`, which is about to be taken out: those behind it move up.
    pub(super) fn forget(&mut self, queue: usize) {
        self.window.forget(queue);
        self.unchecked = self.window.len();
    }
}

#[inline(always)]
fn completion(request: Request, result: Result<usize, Status>) -> Completion {
    let (status, produced) = match result {
        Ok(n) => (Status::Ok, n as u32),
        Err(status) => (status, 0),
    };
    Completion { status, produced, sent: request.sent, request }
}

/// What a panic said.
pub(super) fn message(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

fn run<E: Engine, Q: End>(
    engine: &mut E,
    ends: &mut [Q],
    sessions: &Table<E::Session>,
    window: &Window,
    chosen: &[Slot],
    meter: &SharedMeter,
    results: &mut Results,
) {
    let mut jobs: ArrayVec<Job<'_, E::Session>, MAX_BATCH> = ArrayVec::new();
    for slot in chosen {
        let Some(request) = window.get(*slot) else { continue };
        match resolve(ends[window.queue(*slot)].view(), sessions, request) {
            Ok(job) => {
                jobs.push(job);
                results.push(Ok(0));
            }
            Err(status) => results.push(Err(status)),
        }
    }
    if jobs.is_empty() {
        return;
    }
    meter.batch(jobs.len());
    engine.run(&mut jobs);
    meter.retried.add(jobs.iter().filter(|job| job.retried).count() as u64);
    let mut done = jobs.into_iter();
    for result in results.iter_mut().filter(|r| r.is_ok()) {
        if let Some(job) = done.next() {
            // More than there was room for cannot be: whoever reads the number relies on it.
            *result = match job.result {
                Ok(n) if n > job.dst.len() => Err(Status::EngineFailed),
                said => said,
            };
        }
    }
}

/// Looks the session up and turns addresses into bytes, or says why not.
fn resolve<'a, S>(
    view: &mut DomainView,
    sessions: &'a Table<S>,
    request: &'a Request,
) -> Result<Job<'a, S>, Status> {
    let session = sessions.get(request.session).ok_or(Status::NoSession)?;
    let mut get = |segment: Segment, write: bool| match segment.len {
        0 => Ok(None),
        len => view.resolve(segment.iova, len as usize, write).map(Some).map_err(Status::Fault),
    };
    let src = get(request.src(), false)?;
    let aux = get(request.aux(), false)?;
    let dst = get(request.dst(), true)?;
    if overlap(src, dst) || overlap(aux, dst) {
        return Err(Status::Overlap);
    }
    // SAFETY: the request owns the packets the addresses point into (or its maker promised exclusive use, see
    // Request::raw) until its completion is given out, which is after the job is gone. Source and destination do not
    // overlap. No view is refreshed while jobs exist.
    unsafe {
        Ok(Job {
            session,
            src: src.map_or(&[], |s| s.as_slice()),
            aux: aux.map_or(&[], |s| s.as_slice()),
            dst: dst.map_or(&mut [], |s| s.as_mut_slice()),
            result: Err(Status::EngineFailed),
            retried: false,
        })
    }
}

fn overlap(a: Option<DmaSlice>, b: Option<DmaSlice>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return false;
    };
    let (a0, b0) = (a.ptr.addr().get(), b.ptr.addr().get());
    a0 < b0 + b.len && b0 < a0 + a.len
}
