//! The thread that writes: it takes records from the rings, and lines go to the file in large pieces.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{Ring, Shared, format, lock};

/// Lines wait no longer than this to be written while others come.
const FLUSH: Duration = Duration::from_millis(200);
/// Bytes of lines that are written at once.
const PIECE: usize = 64 << 10;
/// Between two looks into the rings: short when there was something, longer each time when there was not.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(50);

/// Where lines go.
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File {
        /// To be opened anew.
        path: PathBuf,
        /// As it is open.
        file: File,
    },
}

impl Target {
    pub fn open(path: &str) -> io::Result<Self> {
        match path {
            "-" => Ok(Self::Stdout),
            path => Ok(Self::File { path: path.into(), file: open(Path::new(path))? }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // Its buffer is passed by: what it takes it has written, but for a part of a line.
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush()).map(|()| bytes.len())
            }
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // It says who visited: not for everybody.
    File::options().append(true).create(true).mode(0o640).open(path).map_err(|cause| {
        let text = format!(
            "access log {path:?} cannot be opened: {cause}. Remedy: a file in a folder that is there and can be written to"
        );
        io::Error::new(cause.kind(), text)
    })
}

/// Lines that wait to be written.
pub struct Writer {
    target: Target,
    buffer: Vec<u8>,
    /// Lines of requests in it.
    lines: u64,
    /// When it was last emptied.
    flushed: Instant,
    /// Whether what was written last is a part of a line.
    within_line: bool,
    failing: bool,
    /// To be told by a line: records that found no room, and lines that could not be written.
    no_room: u64,
    unwritten: u64,
}

impl Writer {
    pub fn new(target: Target) -> Self {
        Self {
            target,
            buffer: Vec::with_capacity(2 * PIECE),
            lines: 0,
            flushed: Instant::now(),
            within_line: false,
            failing: false,
            no_room: 0,
            unwritten: 0,
        }
    }

    /// Writes what there is. Whether that was possible, or there was nothing.
    fn flush(&mut self, shared: &Shared) {
        self.flushed = Instant::now();
        let requests = self.buffer.len();
        let now = SystemTime::now();
        for (lost, why) in [(self.no_room, "no room in the ring"), (self.unwritten, "not written")] {
            if lost > 0 {
                format::lost(now, lost, why, &mut self.buffer);
            }
        }
        if self.buffer.is_empty() {
            return;
        }
        if self.within_line {
            self.buffer.insert(0, b'\n');
        }
        let begin = usize::from(self.within_line);
        let mut done = 0;
        let failure = loop {
            match self.target.write(&self.buffer[done..]) {
                Ok(0) => break Some(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Some(e),
            }
            if done == self.buffer.len() {
                break None;
            }
        };
        match failure {
            None => {
                (self.no_room, self.unwritten, self.within_line) = (0, 0, false);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("access log {}: lines are written again", self.target.name());
                }
            }
            Some(cause) => {
                let written = &self.buffer[begin.min(done)..done.min(begin + requests)];
                let missing = self.lines - memchr::memchr_iter(b'\n', written).count() as u64;
                self.unwritten += missing;
                shared.unwritten.fetch_add(missing, Ordering::Relaxed);
                self.within_line = match done.checked_sub(1) {
                    Some(last) => self.buffer[last] != b'\n',
                    None => self.within_line,
                };
                self.complain(&cause);
            }
        }
        self.buffer.clear();
        self.lines = 0;
    }

    /// Says it once.
    fn complain(&mut self, cause: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            let name = self.target.name();
            tracing::error!(
                "access log {name}: lines are lost and counted: {cause}. Remedy: make room, and it goes on by itself"
            );
        }
    }

    fn flush_if_due(&mut self, idle: bool, shared: &Shared) {
        let late = self.flushed.elapsed() >= FLUSH;
        let waiting = !self.buffer.is_empty() || self.no_room > 0 || self.unwritten > 0;
        if self.buffer.len() >= PIECE || waiting && (late || idle && !self.failing) {
            self.flush(shared);
        }
    }

    fn reopen(&mut self, shared: &Shared) {
        self.flush(shared);
        if let Target::File { path, file } = &mut self.target {
            match open(path) {
                Ok(new) => (*file, self.within_line) = (new, false),
                Err(e) => tracing::error!("{e}; the old file is written on"),
            }
        }
    }

    /// Takes what is in the rings. Whether there was anything.
    fn take(&mut self, rings: &mut Vec<Ring>, shared: &Shared) -> bool {
        let mut any = false;
        rings.retain_mut(|ring| {
            let gone = ring.records.is_abandoned();
            // What comes meanwhile is for the next time: others wait too.
            for _ in 0..ring.records.slots() {
                let Ok(record) = ring.records.peek() else { break };
                format::line(record, &mut self.buffer);
                let _ = ring.records.pop();
                self.lines += 1;
                any = true;
                if self.buffer.len() >= PIECE {
                    self.flush(shared);
                }
            }
            let lost = ring.lost.0.get();
            self.no_room += lost - ring.seen;
            ring.seen = lost;
            !gone
        });
        any
    }
}

/// The thread.
pub fn run(shared: &Shared, mut writer: Writer) {
    let mut rings: Vec<Ring> = Vec::new();
    let mut nap = SHORTEST;
    loop {
        // Before the last look, so that it is the last.
        let ending = shared.ending.load(Ordering::Acquire);
        if shared.reopen.swap(false, Ordering::AcqRel) {
            writer.reopen(shared);
        }
        rings.append(&mut lock(&shared.arrivals));
        let any = writer.take(&mut rings, shared);
        if ending {
            writer.flush(shared);
            return;
        }
        writer.flush_if_due(!any, shared);
        nap = if any { SHORTEST } else { (nap * 2).min(LONGEST) };
        thread::park_timeout(nap);
    }
}
