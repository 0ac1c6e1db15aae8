//! One file after the other.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use warpdrive_pmd::engine::zip::ZipFormat;

use super::Trouble::{self, Failed, Unread, Warned};
use super::args::ZipArgs;
use super::compress::{Compressor, Sizes};
use super::decompress::{Begun, Behind, Decompressor, Unpacked};
use super::engines::Choice;
use super::failure::Failure;
use super::files::{self, Input, Rules};
use super::header::{self, Begins, Origin};
use super::list::{self, Entry};
use super::partial::Partial;
use super::progress::Progress;
use super::sink::Sink;
use super::{TIMER_SLACK_NS, is_standard, shown};

/// The state of the command.
pub(super) struct Run<'a> {
    args: &'a ZipArgs,
    choice: Choice,
    /// Made when first needed.
    compressor: Option<Compressor>,
    decompressor: Option<Decompressor>,
    /// Of all files listed: how many, compressed, uncompressed.
    listed: (usize, u64, u64),
}

impl<'a> Run<'a> {
    pub(super) fn new(args: &'a ZipArgs, choice: Choice) -> Self {
        Self { args, choice, compressor: None, decompressor: None, listed: (0, 0, 0) }
    }

    /// Does one file, or standard input.
    pub(super) fn one(&mut self, path: &Path) -> Result<(), Trouble> {
        let args = self.args;
        let decompress = args.decompress || args.test || args.list;
        let reads_only = args.test || args.list;
        let input = if is_standard(path) {
            standard_input(decompress && !args.force)?
        } else {
            let default = OsStr::new(files::suffix(args.format.asked().unwrap_or(ZipFormat::Gzip)));
            let own = args.suffix.as_deref().unwrap_or(default);
            let rules = Rules {
                force: args.force,
                stays: args.stdout || reads_only,
                try_suffixes: decompress.then_some(own),
            };
            files::open(path, rules)?
        };
        larger_pipe(&input.file);
        let total = input.data.is_file().then_some(input.data.len());
        let shows = !args.quiet && io::stderr().is_terminal();
        let mut progress = Progress::new(shows, &shown(path), total);
        match (decompress, reads_only) {
            (false, _) => self.compress(&input, &mut progress),
            (true, false) => self.decompress(&input, &mut progress),
            (true, true) => self.examine(&input, &mut progress),
        }
    }

    fn compress(&mut self, input: &Input, progress: &mut Progress) -> Result<(), Trouble> {
        let args = self.args;
        let format = args.format.asked().unwrap_or(ZipFormat::Gzip);
        let suffix = args.suffix.clone().unwrap_or_else(|| files::suffix(format).into());
        let name = shown(&input.path);
        let target = if args.stdout || is_standard(&input.path) {
            if !args.force && io::stdout().is_terminal() {
                return Err(Failed(
                    "compressed data is not written to a terminal; -f does it all the same".into(),
                ));
            }
            None
        } else {
            if !args.force && files::without_suffix(&input.path, Some(&suffix)).is_some() {
                return Err(Warned(format!("{name} has a suffix of compressed files already -- unchanged")));
            }
            Some(files::with_suffix(&input.path, &suffix))
        };
        let origin = if args.no_name { Origin::default() } else { origin(input) };
        if self.compressor.is_none() {
            let largest = largest(&args.files);
            let made = Compressor::new(&self.choice, format, args.level.0, args.block, largest);
            let made = made.map_err(|e| Failed(e.to_string()))?;
            self.compressor = Some(made);
            exact_sleep();
        }
        let Some(compressor) = &mut self.compressor else { return Ok(()) };
        let (mut sink, partial) = output(target.as_deref(), input, args.force)?;
        let sizes = compressor
            .run(&input.file, &mut sink, &origin, progress)
            .map_err(|e| trouble(&name, e, target.is_none()))?;
        self.finish(input, target.as_deref().zip(partial), sink, &origin_of_output(input))?;
        let trailer = header::trailer(format, 0, 0).len() as u64;
        self.report(&name, sizes, trailer, target.as_deref());
        Ok(())
    }

    fn decompress(&mut self, input: &Input, progress: &mut Progress) -> Result<(), Trouble> {
        let args = self.args;
        let name = shown(&input.path);
        let to_stdout = args.stdout || is_standard(&input.path);
        let without = files::without_suffix(&input.path, args.suffix.as_deref());
        if !to_stdout && without.is_none() {
            return Err(Warned(format!("{name}: unknown suffix -- ignored")));
        }
        let begun = begin(&mut self.decompressor, &self.choice, input, args.format.asked())
            .map_err(|e| trouble(&name, e, false))?;
        let header = begun.header;
        // As gzip does, so that zcat -f shows any file.
        let copies = args.force && to_stdout && matches!(begun.begins, Begins::Other(_));
        let origin = if copies { Ok(Origin::default()) } else { begun.origin() };
        let origin = origin.map_err(|e| trouble(&name, e, false))?;
        let target = match without {
            _ if to_stdout => None,
            Some(plain) => Some(original(&plain, &origin, args.name)),
            None => None,
        };
        let (mut sink, partial) = output(target.as_deref(), input, args.force)?;
        let done = if copies { begun.copy(&mut sink, progress) } else { begun.run(&mut sink, progress) };
        let done = done.map_err(|e| trouble(&name, e, target.is_none()))?;
        let mut kept = origin_of_output(input);
        if args.name && origin.time.is_some() {
            kept.time = origin.time;
        }
        self.finish(input, target.as_deref().zip(partial), sink, &kept)?;
        let sizes = Sizes { plain: done.plain, packed: done.packed, header };
        self.report(&name, sizes, 8, target.as_deref());
        self.behind(&name, done.behind)
    }

    /// Tests or lists.
    fn examine(&mut self, input: &Input, progress: &mut Progress) -> Result<(), Trouble> {
        let args = self.args;
        let name = shown(&input.path);
        let failed = |e| trouble(&name, e, false);
        let begun =
            begin(&mut self.decompressor, &self.choice, input, args.format.asked()).map_err(failed)?;
        let origin = begun.origin().map_err(failed)?;
        let header = begun.header;
        let done = begun.run(&mut Sink::nowhere(), progress).map_err(failed)?;
        if args.list {
            self.list(input, &origin, header, &done).map_err(|_| Unread)?;
        } else if args.verbose {
            eprintln!("{name}:\t OK");
        }
        self.behind(&name, done.behind)
    }

    fn list(&mut self, input: &Input, origin: &Origin, header: u64, done: &Unpacked) -> io::Result<()> {
        let args = self.args;
        let mut out = io::stdout().lock();
        if self.listed.0 == 0 && !args.quiet {
            list::heading(&mut out, args.verbose)?;
        }
        let plain = if is_standard(&input.path) {
            PathBuf::from("stdout")
        } else {
            files::without_suffix(&input.path, args.suffix.as_deref()).unwrap_or_else(|| input.path.clone())
        };
        let name = original(&plain, origin, args.name).display().to_string();
        let time = origin.time.filter(|_| args.name).or_else(|| input.data.modified().ok());
        let entry = Entry {
            packed: done.packed,
            plain: done.plain,
            wrapping: header + 8,
            name: &name,
            more: args.verbose.then_some((done.checksum, time)),
        };
        self.listed = (self.listed.0 + 1, self.listed.1 + done.packed, self.listed.2 + done.plain);
        list::entry(&mut out, &entry, args.verbose)?;
        out.flush()
    }

    /// What comes behind a list of several files.
    pub(super) fn totals(&self) -> io::Result<()> {
        let (n, packed, plain) = self.listed;
        if n < 2 || self.args.quiet {
            return Ok(());
        }
        let entry = Entry { packed, plain, wrapping: 0, name: "(totals)", more: None };
        list::entry(&mut io::stdout().lock(), &entry, self.args.verbose)
    }

    /// Completes an output file and removes the input.
    fn finish(
        &self,
        input: &Input,
        target: Option<(&Path, Partial)>,
        sink: Sink,
        origin: &Origin,
    ) -> Result<(), Trouble> {
        let Some((path, partial)) = target else { return Ok(()) };
        let carried =
            sink.into_file().map_or(Ok(()), |file| files::carry_over(&input.data, &file, origin.time));
        partial.keep();
        if !self.args.keep {
            fs::remove_file(&input.path)
                .map_err(|e| Failed(format!("cannot remove {}: {e}", shown(&input.path))))?;
        }
        carried.map_err(|e| Warned(format!("{}: mode and times could not be kept: {e}", path.display())))
    }

    fn report(&self, name: &str, sizes: Sizes, trailer: u64, target: Option<&Path>) {
        if !self.args.verbose {
            return;
        }
        let ratio = list::ratio(sizes.plain, sizes.packed.saturating_sub(sizes.header + trailer));
        match target {
            None => eprintln!("{name}:\t{ratio}"),
            Some(path) => {
                let what = if self.args.keep { "created" } else { "replaced with" };
                eprintln!("{name}:\t{ratio} -- {what} {}", path.display());
            }
        }
    }

    fn behind(&self, name: &str, behind: Behind) -> Result<(), Trouble> {
        match behind {
            Behind::Zeros if self.args.verbose => {
                Err(Warned(format!("{name}: decompression OK, trailing zero bytes ignored")))
            }
            Behind::Garbage => Err(Warned(format!("{name}: decompression OK, trailing garbage ignored"))),
            _ => Ok(()),
        }
    }
}

fn begin<'a>(
    decompressor: &'a mut Option<Decompressor>,
    choice: &Choice,
    input: &'a Input,
    wanted: Option<ZipFormat>,
) -> Result<Begun<'a>, Failure> {
    let decompressor = match decompressor {
        Some(made) => made,
        none => {
            let made = Decompressor::new(choice)?;
            exact_sleep();
            none.insert(made)
        }
    };
    decompressor.begin(&input.file, wanted)
}

/// Lets this thread sleep for short times. After the engines were started, which would inherit it and poll too often.
fn exact_sleep() {
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS));
}

/// Bytes of the largest of some files, if all are files.
fn largest(files: &[PathBuf]) -> Option<u64> {
    let sizes = files.iter().map(|path| {
        // One that cannot be found is not going to be done.
        fs::metadata(path).map_or(Some(0), |data| data.is_file().then_some(data.len()))
    });
    sizes.collect::<Option<Vec<_>>>().and_then(|sizes| sizes.into_iter().max())
}

fn trouble(name: &str, e: Failure, to_stdout: bool) -> Trouble {
    match e {
        Failure::Write { cause, .. } if to_stdout && cause.kind() == io::ErrorKind::BrokenPipe => Unread,
        e => Failed(format!("{name}: {e}")),
    }
}

fn standard_input(refuse_terminal: bool) -> Result<Input, Trouble> {
    let input = io::stdin();
    if refuse_terminal && input.is_terminal() {
        return Err(Failed("compressed data is not read from a terminal; -f does it all the same".into()));
    }
    let file = file_of(input).map_err(|e| Failed(format!("standard input: {e}")))?;
    let data = file.metadata().map_err(|e| Failed(format!("standard input: {e}")))?;
    Ok(Input { file, path: "-".into(), data })
}

fn file_of(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// Where output goes: a new file, or standard output.
fn output(target: Option<&Path>, input: &Input, force: bool) -> Result<(Sink, Option<Partial>), Trouble> {
    let Some(path) = target else {
        let file = file_of(io::stdout()).map_err(|e| Failed(format!("standard output: {e}")))?;
        larger_pipe(&file);
        return Ok((Sink::new(file, "to standard output"), None));
    };
    if force && files::is_same(path, &input.data) {
        return Err(Warned(format!("{} is input and output at once -- unchanged", path.display())));
    }
    match Partial::create(path, force) {
        Ok((file, partial)) => Ok((Sink::new(file, path.display().to_string()), Some(partial))),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(Warned(format!("{} already exists; not overwritten (-f does it)", path.display())))
        }
        Err(e) => Err(Failed(format!("cannot create {}: {e}", path.display()))),
    }
}

/// Fewer, larger reads and writes. What is no pipe, or may not grow, stays as it is.
fn larger_pipe(file: &File) {
    const LARGEST: usize = 1 << 20;
    let _ = rustix::pipe::fcntl_setpipe_size(file, LARGEST);
}

/// What the header is to say of the input.
fn origin(input: &Input) -> Origin {
    let name = input.path.file_name().filter(|_| !is_standard(&input.path));
    let time = input.data.modified().ok().filter(|_| input.data.is_file());
    Origin { name: name.map(|name| name.as_bytes().to_vec()), time }
}

/// The time that an output file gets unless there is a better one.
fn origin_of_output(input: &Input) -> Origin {
    Origin { name: None, time: input.data.modified().ok() }
}

/// The name of the output: the last part of what the header says, if that is wanted and there is one, in the folder of
/// the input.
fn original(plain: &Path, origin: &Origin, wanted: bool) -> PathBuf {
    let stored = origin.name.clone().filter(|name| wanted && !name.is_empty()).map(OsString::from_vec);
    match stored.as_deref().map(Path::new).and_then(Path::file_name) {
        Some(name) => plain.with_file_name(name),
        None => plain.to_owned(),
    }
}
