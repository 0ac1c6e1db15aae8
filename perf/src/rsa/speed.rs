//! `openssl speed` as a peer: OpenSSL's own measurement of its private operation, as everybody quotes it.

use std::process::Command;
use std::time::{Duration, Instant};

use super::contenders::{Contender, Run};
use super::{RATE, core};
use crate::measure::{Line, on_cpu};
use crate::peers::{NoPeer, Process, which};
use crate::{BenchError, Options};

const NAME: &str = "openssl speed";
const PROGRAM: &str = "openssl";
/// It measures whole seconds.
const SLICE: Duration = Duration::from_secs(1);
/// Time for its second, on a machine that has others.
const LIMIT: Duration = Duration::from_secs(20);
/// Rounds, of a second for either side, and of a quick run.
const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 2;

/// The line against one of ours, each with its second in turn on `cpu`.
pub fn line(
    options: &Options,
    cpu: usize,
    bits: usize,
    ours: &mut dyn Contender,
    how: &str,
) -> Result<Line, BenchError> {
    let mut peer = version();
    let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds.clamp(1, if options.quick { QUICK_ROUNDS } else { ROUNDS }) {
        options.go_on()?;
        our_rates.push(Run::rate(&on_cpu(cpu, || ours.run_for(SLICE))?));
        if peer.is_ok() {
            match on_cpu(cpu, || speed(options, bits)) {
                Ok(rate) => their_rates.push(rate),
                Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
                Err(e) => peer = Err(NoPeer { peer: NAME, why: e.to_string() }),
            }
        }
    }
    let theirs = peer.as_ref().map(|title| (title.as_str(), their_rates.as_slice()));
    Ok(Line::compare(&format!("rsa{bits}-openssl-speed"), RATE, &our_rates, theirs)
        .command(options.command(&format!("rsa{bits}")))
        .note(format!("ours: {}; {how}", ours.name()))
        .note(format!(
            "peer command: openssl speed -seconds 1 rsa{bits}, on the same cpu, in turn; a key of its own"
        ))
        .note("seconds of cpu time: of the thread that works, and as openssl gives them, to a hundredth")
        .note(core(super::calibrate::speed())))
}

/// Name and version.
fn version() -> Result<String, NoPeer> {
    let absent = || NoPeer::absent(NAME, "openssl");
    which(PROGRAM).ok_or_else(absent)?;
    let output = Command::new(PROGRAM).arg("version").output().map_err(|_| absent())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let title: Vec<&str> = text.split_whitespace().take(2).collect();
    Ok(format!("{} speed", title.join(" ")))
}

/// Private operations a second of one run. It begins on this thread's cpu, and is ended before it turns to public ones.
fn speed(options: &Options, bits: usize) -> Result<f64, BenchError> {
    let mut command = Command::new(PROGRAM);
    command.args(["speed", "-seconds", "1", &format!("rsa{bits}")]);
    let mut process = Process::start(command)?;
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(rate) = process.error_line("private RSA's in").as_deref().and_then(rate) {
            // It is ended in the middle of its work.
            let _ = process.terminate();
            return Ok(rate);
        }
        options.go_on()?;
        process.alive()?;
        if Instant::now() > until {
            return Err(BenchError::Program {
                program: NAME.to_owned(),
                what: format!("no private operations within {} s", LIMIT.as_secs()),
                remedy: "run it by hand".to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Operations a second of what it says when it has done the private ones.
fn rate(line: &str) -> Option<f64> {
    let (_, done) = line.split_once("s: ")?;
    let count: f64 = done.split(' ').next()?.parse().ok()?;
    let seconds: f64 = done.rsplit_once(" in ")?.1.trim().strip_suffix('s')?.parse().ok()?;
    (seconds > 0.0).then_some(count / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_private_operations() {
        // Of OpenSSL 3.0.19.
        let line = "Doing 2048 bits private rsa's for 1s: 3593 2048 bits private RSA's in 0.92s";
        assert_eq!(rate(line), Some(3593.0 / 0.92));
        for other in [
            "Doing 2048 bits private rsa's for 1s: ",
            "Doing 2048 bits private rsa's for 1s: 0 2048 bits private RSA's in 0.00s",
            "version: 3.0.19",
            "",
        ] {
            assert_eq!(rate(other), None, "{other}");
        }
    }

    struct Steady;

    impl Contender for Steady {
        fn name(&self) -> &str {
            "steady"
        }

        fn run_for(&mut self, _: Duration) -> Result<Run, BenchError> {
            Ok(Run { ops: 1, time: Duration::from_millis(1), passes_us: vec![] })
        }
    }

    #[test]
    fn openssl_measures_itself_or_is_said_to_be_absent() {
        let options = Options::for_tests(1);
        let line = line(&options, options.cpu().unwrap(), 2048, &mut Steady, "").unwrap();
        assert_eq!((line.name.as_str(), line.value), ("rsa2048-openssl-speed", 1000.0));
        match line.peer_value {
            Some(rate) => assert!(line.peer.starts_with("OpenSSL ") && rate > 50.0, "{line:?}"),
            None => assert!(line.notes.iter().any(|n| n.contains("apt-get install openssl")), "{line:?}"),
        }
    }
}
