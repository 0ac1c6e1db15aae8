//! An engine with what it needs to serve requests: the same inline and on an engine core.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrayvec::ArrayVec;
use warpdrive_mempool::DomainView;

use super::meter::SharedMeter;
use super::pieces::{Pieces, Spread, overlap};
use super::sessions::Table;
use super::window::{Slot, Waiting, Window};
use super::{Continued, Engine, Job, MAX_BATCH, Report};
use crate::clock;
use crate::device::{Completion, Phase, Request, Segment, Status, Stream};

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
    /// Empty but during a batch.
    pieces: Pieces,
    /// A panic in a batch was overcome, and nobody has asked since.
    recovered: bool,
    /// After a panic outside of a batch nothing is given to the engine any more.
    failed: bool,
}

/// Bytes produced, or why not.
pub(crate) type Outcome = Result<usize, Status>;
type Results = ArrayVec<(Outcome, Report), MAX_BATCH>;
/// The streams of a batch. They are out of their requests only while it is executed.
type Streams = ArrayVec<Option<Stream>, MAX_BATCH>;

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
            pieces: Pieces::new(E::CHAINS),
            recovered: false,
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

    /// Whether a panic was overcome since this was last asked.
    #[inline]
    pub(super) fn recovered(&mut self) -> bool {
        std::mem::take(&mut self.recovered)
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
        self.complete(ends, &chosen, std::iter::repeat(failed(Status::NoSession)), None);
    }

    fn execute<Q: End>(&mut self, ends: &mut [Q], sessions: &Table<E::Session>, chosen: u64, now: u64) {
        let chosen = self.window.choose(chosen);
        for slot in &chosen {
            ends[self.window.queue(*slot)].view().refresh();
        }
        let mut results = Results::new();
        let mut streams: Streams = chosen.iter().map(|slot| self.window.take_stream(*slot)).collect();
        let Self { engine, window, meter, pieces, .. } = self;
        let run = || run(engine, ends, sessions, window, &chosen, &mut streams, pieces, meter, &mut results);
        let panicked = catch_unwind(AssertUnwindSafe(run)).is_err();
        if panicked {
            self.meter.panics.add(1);
            // Whatever the engine had done by then is not to be trusted.
            results.clear();
            results.extend(chosen.iter().map(|_| failed(Status::EngineFailed)));
            streams.iter_mut().flatten().for_each(|stream| stream.kept().phase = Phase::Broken);
        }
        for (slot, stream) in chosen.iter().zip(streams.drain(..)) {
            if let Some(stream) = stream {
                self.window.put_stream(*slot, stream);
            }
        }
        if panicked {
            // Nor what it is now. If that panics too, each request has its stream again already.
            self.engine = E::new(&self.options);
            self.recovered = true;
        }
        self.complete(ends, &chosen, results.iter().copied(), Some(now));
    }

    /// Gives chosen requests back. `begun` is when they were, if they were.
    fn complete<Q: End>(
        &mut self,
        ends: &mut [Q],
        chosen: &[Slot],
        results: impl IntoIterator<Item = (Outcome, Report)>,
        begun: Option<u64>,
    ) {
        let (mut errors, mut bytes_in, mut bytes_out) = (0, 0, 0);
        for (slot, (result, report)) in chosen.iter().zip(results) {
            let Some(request) = self.window.take(*slot) else { continue };
            bytes_in += u64::from(report.consumed.unwrap_or(request.src_len()));
            match result {
                Ok(n) => bytes_out += n as u64,
                Err(_) => errors += 1,
            }
            if let Some(begun) = begun {
                self.meter.waited(begun.saturating_sub(request.sent));
            }
            ends[self.window.queue(*slot)].complete(completion(request, result, report));
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
            ends[queue].complete(completion(request, Err(Status::EngineFailed), Report::default()));
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

fn failed(status: Status) -> (Outcome, Report) {
    (Err(status), Report::default())
}

/// What came of a request.
#[inline(always)]
pub(crate) fn completion(request: Request, result: Outcome, report: Report) -> Completion {
    let (status, consumed, produced) = match result {
        Ok(n) if report.full => (Status::OutputFull, report.consumed, n as u32),
        Ok(n) => (Status::Ok, report.consumed, n as u32),
        Err(status) => (status, Some(0), 0),
    };
    let consumed = consumed.unwrap_or(request.src_len());
    let Report { ended, checksum, .. } = report;
    Completion { status, consumed, produced, ended, checksum, sent: request.sent, request }
}

/// What a panic said.
pub(super) fn message(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

#[expect(clippy::too_many_arguments, reason = "parts of one executor, borrowed apart from each other")]
fn run<E: Engine, Q: End>(
    engine: &mut E,
    ends: &mut [Q],
    sessions: &Table<E::Session>,
    window: &Window,
    chosen: &[Slot],
    streams: &mut Streams,
    pieces: &mut Pieces,
    meter: &SharedMeter,
    results: &mut Results,
) {
    // First of all requests, since they move while there are more to come.
    pieces.clear();
    let mut spreads: ArrayVec<Result<Spread, Status>, MAX_BATCH> = ArrayVec::new();
    for slot in chosen {
        spreads.push(match window.get(*slot) {
            Some(request) if request.is_chained() => {
                if E::CHAINS {
                    pieces.add(ends[window.queue(*slot)].view(), request)
                } else {
                    Err(Status::NotContiguous)
                }
            }
            _ => Ok(Spread::default()),
        });
    }
    let mut jobs: ArrayVec<Job<'_, E::Session, E::Stream>, MAX_BATCH> = ArrayVec::new();
    for ((slot, spread), stream) in chosen.iter().zip(spreads.drain(..)).zip(streams.iter_mut()) {
        let Some(request) = window.get(*slot) else { continue };
        let view = ends[window.queue(*slot)].view();
        let job = spread
            .and_then(|spread| resolve::<E>(view, sessions, request, pieces, &spread))
            .and_then(|job| join(job, request, sessions.device, stream.as_mut()));
        match job {
            Ok(job) => {
                jobs.push(job);
                results.push((Ok(0), Report::default()));
            }
            Err(status) => results.push(failed(status)),
        }
    }
    if jobs.is_empty() {
        return;
    }
    meter.batch(jobs.len());
    engine.run(&mut jobs);
    meter.retried.add(jobs.iter().filter(|job| job.retried).count() as u64);
    // Nothing is moved that has room for a whole batch: that would be tens of kilobytes.
    let mut done = jobs.drain(..);
    let mut ran = 0_u64;
    for (place, said) in results.iter_mut().enumerate() {
        if said.0.is_ok()
            && let Some(job) = done.next()
        {
            *said = (job.result, job.report);
            ran |= 1 << place;
        }
    }
    drop(done);
    drop(jobs);
    for (place, (slot, said)) in chosen.iter().zip(results).enumerate() {
        if ran >> place & 1 == 1
            && let Some(request) = window.get(*slot)
        {
            *said = checked(*said, request);
            if let Some(stream) = &mut streams[place] {
                stream.kept().phase = match said.0 {
                    Ok(_) if said.1.ended => Phase::Fresh,
                    Ok(_) => Phase::Begun,
                    Err(_) => Phase::Broken,
                };
            }
        }
    }
}

/// More than there was, or than there was room for, cannot be: whoever reads the numbers relies on it.
#[inline]
fn checked((result, report): (Outcome, Report), request: &Request) -> (Outcome, Report) {
    match result {
        Ok(n) if n > request.dst_len() as usize || report.consumed.is_some_and(|n| n > request.src_len()) => {
            failed(Status::EngineFailed)
        }
        said => (said, report),
    }
}

/// Gives the job the stream that its request came with.
#[inline(always)]
fn join<'a, S, T: 'static>(
    mut job: Job<'a, S, T>,
    request: &Request,
    device: u64,
    stream: Option<&'a mut Stream>,
) -> Result<Job<'a, S, T>, Status> {
    if let Some(stream) = stream {
        let stream = stream.kept();
        let is_ours = (stream.device, stream.session) == (device, request.session);
        if !is_ours || stream.phase == Phase::Broken {
            return Err(Status::BadStream);
        }
        let restart = stream.phase == Phase::Fresh;
        let state = stream.state.downcast_mut().ok_or(Status::BadStream)?;
        job.stream = Some(Continued { state, restart });
    }
    Ok(job)
}

/// Looks the session up and turns addresses into bytes, or says why not.
#[inline(always)]
fn resolve<'a, E: Engine>(
    view: &mut DomainView,
    sessions: &'a Table<E::Session>,
    request: &Request,
    pieces: &'a Pieces,
    spread: &Spread,
) -> Result<Job<'a, E::Session, E::Stream>, Status> {
    let session = sessions.get(request.session).ok_or(Status::NoSession)?;
    let mut get = |segment: Segment, write: bool| match segment.len {
        0 => Ok(None),
        len => view.resolve(segment.iova, len as usize, write).map(Some).map_err(Status::Fault),
    };
    let src = get(request.src(), false)?;
    let aux = get(request.aux(), false)?;
    let dst = get(request.dst(), true)?;
    let is_in = |input| dst.zip(input).is_some_and(|(dst, input)| overlap(dst, input));
    if is_in(src) || is_in(aux) || request.is_chained() && pieces.overlap(spread, src, aux, dst) {
        return Err(Status::Overlap);
    }
    // SAFETY: the request owns the packets the addresses point into (or its maker promised exclusive use, see
    // Request::raw) until its completion is given out, which is after the job is gone. Source and destination do not
    // overlap, nor do pieces of the destination. No view is refreshed while jobs exist.
    unsafe {
        let src = src.map_or(&[][..], |s| s.as_slice());
        let aux = aux.map_or(&[][..], |s| s.as_slice());
        let mut job = Job::new(session, src, aux, dst.map_or(&mut [][..], |s| s.as_mut_slice()));
        (job.src_rest, job.dst_rest) = (pieces.gather(spread), pieces.scatter(spread));
        (job.flush, job.checksum) = (request.flush, request.checksum);
        Ok(job)
    }
}
