//! The access log: a JSON object a line, written by a thread of its own.
//!
//! A worker copies what it has to say into a record of fixed size, in a ring; it allocates nothing, waits for nobody and
//! makes no system call. The thread looks into the rings from time to time. A record for which there is no room is lost,
//! and so is a line that cannot be written; both are counted, and a line says how many, as soon as one can be written.
//!
//! | key | what |
//! |---|---|
//! | `time` | the end of the request, RFC 3339, UTC |
//! | `client`, `method`, `target`, `host`, `status` | who asked for what, and got what; no status: the client has gone before |
//! | `bytes_in`, `bytes_out` | from and to the client: bodies and heads, without TLS |
//! | `duration` | seconds, from the first byte of the request to the last of the response |
//! | `upstream` | `name`, `address`, `duration` (seconds, to the head of the response); absent: no server was asked |
//! | `tls` | `version`, `cipher`, `resumed`, `sni` |
//! | `request_id`, `user_agent`, `referer` | as the request had them, or as it was given one |
//! | `gzip` | `in`, `out`: bytes, if the proxy compressed |
//! | `error` | what went wrong, in a few words |
//!
//! A text that was too long ends in `…`. A line `{"time", "lost", "why"}` counts what is missing before it.

mod format;
mod record;
mod writer;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use warpdrive_pmd::stats::Counter;

use record::Record;
pub use record::{Entry, Tls, Upstream};
use writer::{Target, Writer};

/// Records of a worker that wait to be written: for the longest sleep of the thread at 80,000 requests a second.
const RECORDS: usize = 4_096;
/// How long the end waits for what is still to be written: to a pipe that nobody reads it could be for ever.
const FAREWELL: Duration = Duration::from_secs(3);

/// What the thread, the workers and whoever opened the log have in common.
#[derive(Default)]
struct Shared {
    /// Rings that the thread has not seen yet.
    arrivals: Mutex<Vec<Ring>>,
    /// Of each worker that ever wrote.
    lost: Mutex<Vec<Arc<LostRecords>>>,
    /// Lines that could not be written.
    unwritten: AtomicU64,
    ending: AtomicBool,
    reopen: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's end of a worker's ring.
struct Ring {
    records: Consumer<Record>,
    lost: Arc<LostRecords>,
    /// How many of them the thread has seen.
    seen: u64,
}

/// Records of one worker for which there was no room, on a cache line of their own.
#[derive(Default)]
#[repr(align(128))]
struct LostRecords(Counter);

/// An access log. When it is dropped, all that workers have written is in the file.
pub struct AccessLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessLog({} lost)", self.lost())
    }
}

impl AccessLog {
    /// Opens a file to add lines to, which is made if it is not there; `"-"` is standard output. Starts the thread, which may
    /// run where the caller may.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread.
    pub fn open(path: &str) -> io::Result<Self> {
        let writer = Writer::new(Target::open(path)?);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let thread = thread.spawn(move || writer::run(&theirs, writer))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The end that a worker writes to.
    #[must_use]
    pub fn writer(&self) -> LogWriter {
        let (producer, consumer) = RingBuffer::new(RECORDS);
        let lost = Arc::<LostRecords>::default();
        lock(&self.shared.lost).push(Arc::clone(&lost));
        lock(&self.shared.arrivals).push(Ring { records: consumer, lost: Arc::clone(&lost), seen: 0 });
        LogWriter { records: producer, lost }
    }

    /// Opens the file anew, soon: after something has moved it away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// Records and lines that were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let unwritten = self.shared.unwritten.load(Ordering::Relaxed);
        lock(&self.shared.lost).iter().map(|lost| lost.0.get()).sum::<u64>() + unwritten
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        self.wake();
        let start = Instant::now();
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() {
            if start.elapsed() > FAREWELL {
                tracing::warn!("the access log is not written to its end: nobody takes it");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = thread.join();
    }
}

/// What a worker writes to.
pub struct LogWriter {
    records: Producer<Record>,
    lost: Arc<LostRecords>,
}

impl LogWriter {
    /// Takes down a request that has ended. Whether there was room for it.
    #[inline]
    pub fn write(&mut self, entry: &Entry<'_>) -> bool {
        let Ok(mut chunk) = self.records.write_chunk(1) else {
            self.lost.0.add(1);
            return false;
        };
        let (first, second) = chunk.as_mut_slices();
        if let Some(record) = first.first_mut().or(second.first_mut()) {
            record.fill(entry);
        }
        chunk.commit_all();
        true
    }
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogWriter({} lost)", self.lost.0.get())
    }
}

#[cfg(test)]
mod tests;
