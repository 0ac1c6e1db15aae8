//! `zip-cli`: the command `warpdrive zip` on a large file, against pigz and gunzip.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::program::{self, Large, installed};
use super::{Rate, Side, corpus, size_line, wall};
use crate::measure::{Better, Line};
use crate::peers::NoPeer;
use crate::turns::take_turns;
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "zip-cli",
    about: "warpdrive zip on a file of 1 GiB in memory (in proportion to --seconds below 10), there and back",
    peer: "pigz -p2; gunzip",
    package: "pigz",
    unit: RATE.0,
    seconds: FULL_S,
    rounds: 3,
    quick: None,
    run: Kind::Comparison(run),
};
/// Of bytes that are not compressed, by the clock.
const RATE: (&str, Better) = super::RATE;
const FULL_BYTES: f64 = (1 << 30) as f64;
const FULL_S: f64 = 10.0;
const LEVELS: [u8; 3] = [1, 6, 9];
/// The level of what is decompressed.
const MIDDLE: u8 = 6;

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let part = (options.slice.as_secs_f64() / FULL_S).min(1.0);
    let large = Large::new(&corpus::compressible(options)?, (FULL_BYTES * part) as u64)?;
    let pigz = installed(&["pigz"]).ok_or_else(|| NoPeer::absent("pigz", "pigz"));
    let gunzip = installed(&["gunzip"]).ok_or_else(|| NoPeer::absent("gunzip", "gzip"));
    let mut emit = |line: Line| emit(line.command(options.command(BENCH.name)).note(note(&large)));
    let (ours_gz, theirs_gz) = (large.beside("ours.gz"), large.beside("theirs.gz"));
    for level in LEVELS {
        let level = format!("-{level}");
        let ours =
            Run { program: &options.program, arguments: vec!["zip", "-g", &level, "-c"], output: &ours_gz };
        let theirs = pigz.as_ref().map(|pigz| Run {
            program: pigz,
            arguments: vec!["-p2", &level, "-c"],
            output: &theirs_gz,
        });
        let rates = contest(options, &large.file, large.bytes, &ours, theirs.as_ref().ok())?;
        let name = format!("{}{level}", BENCH.name);
        let title = format!("pigz -p2 {level}");
        emit(compare(&name, &rates, &title, theirs.as_ref().map(drop).map_err(|none| *none)));
        let part = |path| program::size(path).map(|n| n as f64 / large.bytes as f64);
        let size = match &theirs {
            Ok(_) => Ok((title.as_str(), part(&theirs_gz)?)),
            Err(none) => Err(*none),
        };
        emit(size_line(&format!("{name}-size"), part(&ours_gz)?, size));
        let back = large.beside("back");
        if let Ok(gunzip) = &gunzip {
            program::run(gunzip, &["-c"], &ours_gz, &back)?;
        } else {
            program::run(&options.program, &["zip", "-d", "-c"], &ours_gz, &back)?;
        }
        same(&large.file, &back)?;
    }
    let level = format!("-{MIDDLE}");
    program::run(&options.program, &["zip", "-g", &level, "-c"], &large.file, &ours_gz)?;
    let mut files = vec![("", "made by warpdrive zip", &ours_gz)];
    if let Ok(pigz) = &pigz {
        program::run(pigz, &["-p2", &level, "-c"], &large.file, &theirs_gz)?;
        files.push(("-pigz", "made by pigz", &theirs_gz));
    }
    let (our_out, their_out) = (large.beside("ours"), large.beside("theirs"));
    for (suffix, origin, file) in files {
        let ours = Run { program: &options.program, arguments: vec!["zip", "-d", "-c"], output: &our_out };
        let theirs =
            gunzip.as_ref().map(|gunzip| Run { program: gunzip, arguments: vec!["-c"], output: &their_out });
        let rates = contest(options, file, large.bytes, &ours, theirs.as_ref().ok())?;
        same(&large.file, &our_out)?;
        let name = format!("{}-unzip{suffix}", BENCH.name);
        let there = theirs.as_ref().map(drop).map_err(|none| *none);
        emit(compare(&name, &rates, "gunzip", there).note(format!("input: {origin}, level {MIDDLE}")));
    }
    Ok(())
}

/// A program as it is run.
struct Run<'a> {
    program: &'a Path,
    arguments: Vec<&'a str>,
    output: &'a Path,
}

fn contest(
    options: &Options,
    input: &Path,
    bytes: u64,
    ours: &Run<'_>,
    theirs: Option<&Run<'_>>,
) -> Result<Vec<Vec<Rate>>, BenchError> {
    let mut sides: Vec<Side<'_>> = Vec::new();
    for run in std::iter::once(ours).chain(theirs) {
        sides.push(Box::new(move |_: Duration| {
            let took = program::run(run.program, &run.arguments, input, run.output)?;
            Ok(Rate::new(bytes, took.user + took.system, took.wall))
        }));
    }
    take_turns(options, &mut sides)
}

fn compare(name: &str, rates: &[Vec<Rate>], title: &str, there: Result<(), &NoPeer>) -> Line {
    let theirs = rates.get(1).map(|rates| wall(rates)).unwrap_or_default();
    let busy = |rates: &[Rate]| {
        let parts: Vec<f64> = rates.iter().map(|rate| rate.wall / rate.cpu).collect();
        crate::measure::median(&parts)
    };
    let line = Line::compare(name, RATE, &wall(&rates[0]), there.map(|()| (title, theirs.as_slice())));
    let line = line.note("by the clock, start and end and writing to a file in memory included");
    match rates.get(1) {
        Some(theirs) => {
            line.note(format!("cpus in use: ours {:.2}, peer {:.2}", busy(&rates[0]), busy(theirs)))
        }
        None => line.note(format!("cpus in use: {:.2}", busy(&rates[0]))),
    }
}

fn note(large: &Large) -> String {
    format!(
        "a file of {} bytes in memory: those corpora of `zip` that can be compressed, over and over",
        large.bytes
    )
}

/// Whether two files have the same bytes.
fn same(a: &Path, b: &Path) -> Result<(), BenchError> {
    const CHUNK: usize = 1 << 20;
    let wrong = |cause| BenchError::Io {
        what: format!("comparing {} with what came back", a.display()),
        cause,
        remedy: "run the command by hand to see more",
    };
    let mut files = [File::open(a).map_err(wrong)?, File::open(b).map_err(wrong)?];
    let mut chunks = [Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK)];
    loop {
        for (file, chunk) in files.iter_mut().zip(&mut chunks) {
            chunk.clear();
            file.take(CHUNK as u64).read_to_end(chunk).map_err(wrong)?;
        }
        if chunks[0] != chunks[1] {
            return Err(BenchError::Bug(format!("{} came out wrong", b.display())));
        }
        if chunks[0].is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_are_told_from_those_that_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let bytes = vec![7; 3_000_000];
        std::fs::write(&a, &bytes).unwrap();
        std::fs::write(&b, &bytes).unwrap();
        same(&a, &b).unwrap();
        for other in [&bytes[1..], &[&bytes[1..], &[8]].concat(), &[&bytes[..], &[7]].concat()] {
            std::fs::write(&b, other).unwrap();
            assert!(same(&a, &b).is_err(), "{} bytes", other.len());
        }
    }
}
