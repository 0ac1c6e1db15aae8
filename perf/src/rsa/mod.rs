//! RSA private operations: `rsa2048`, `rsa3072` and `rsa4096` count them, `rsa-latency` and `rsa-queue` look at a pass,
//! a queue and its load, `rsa-timing` at what the time of an operation depends on.

use warpdrive_pmd::device::Status;

use crate::measure::{Better, Line, on_cpu};
use crate::peers::NoPeer;
use crate::{Bench, BenchError, Kind, Lines, Options};
use contenders::{Contender, Run};
use keys::Keys;
use ours::{Ours, ours};
use peers::{Peer, build};
use slices::{Slice, Slices, Speed};

mod calibrate;
pub(crate) mod contenders;
mod cores;
mod keys;
pub mod latency;
mod load;
mod ours;
pub mod passes;
mod peers;
pub mod queue;
pub(crate) mod rig;
mod slices;
mod speed;
mod subjects;
pub mod timing;
mod trial;
mod welch;

/// Lanes of a full pass.
const FULL: usize = 8;
/// Operations of a half pass, where both primes of each have a lane.
const HALF: usize = 4;
const RATE: (&str, Better) = ("op/s", Better::Higher);

const PEERS: &str =
    "OpenSSL's EVP_PKEY_sign and its `openssl speed`; aws-lc; crypto_mb if given by --crypto-mb";
const PACKAGE: &str = "libssl-dev gcc pkg-config openssl";
/// Short slices, many of them: a neighbour on the physical core comes and goes.
const SECONDS: f64 = 0.01;
const ROUNDS: usize = 100;

/// The bench of 2048 bits.
pub const BENCH_2048: Bench = Bench {
    name: "rsa2048",
    about: "RSA-2048 private operations on one core, eight requests at a time",
    peer: PEERS,
    package: PACKAGE,
    unit: RATE.0,
    seconds: SECONDS,
    rounds: ROUNDS,
    quick: Some((SECONDS, 15)),
    run: Kind::Comparison(|options, emit| run(options, emit, 2048)),
};
/// The bench of 3072 bits.
pub const BENCH_3072: Bench = Bench {
    name: "rsa3072",
    about: "RSA-3072 private operations on one core, eight requests at a time",
    quick: None,
    run: Kind::Comparison(|options, emit| run(options, emit, 3072)),
    ..BENCH_2048
};
/// The bench of 4096 bits.
pub const BENCH_4096: Bench = Bench {
    name: "rsa4096",
    about: "RSA-4096 private operations on one core, eight requests at a time",
    quick: None,
    run: Kind::Comparison(|options, emit| run(options, emit, 4096)),
    ..BENCH_2048
};

/// Runs a bench of throughput.
fn run(options: &Options, emit: Lines<'_>, bits: usize) -> Result<(), BenchError> {
    let cpu = options.cpu()?;
    let bench = format!("rsa{bits}");
    let keys = Keys::new(bits)?;
    let ours = ours(&keys)?;
    let mut field = Field::new(options, &keys, cpu, ours);
    let slices = field.slices(options, cpu)?;
    for (i, our) in field.ours.iter().enumerate() {
        for &peer in our.against {
            let name = format!("{bench}{}{}", our.suffix, peer.suffix());
            let line = field.line(&name, RATE, &slices, (i, peer), Run::rate);
            emit(field.said(line, our, peer, &slices).command(options.command(&bench)));
        }
        if our.cost {
            emit(field.cost(&bench, &slices, i).command(options.command(&bench)));
        }
        if let Some(line) = field.peak(&bench, &slices, i) {
            emit(line.command(options.command(&bench)));
        }
    }
    let Ours { contender, how, .. } = &mut field.ours[0];
    emit(speed::line(options, cpu, bits, contender.as_mut(), how)?);
    Ok(())
}

/// A peer, or why it takes no part.
type Started = Result<Box<dyn Contender>, NoPeer>;

/// Our ways and the peers that are there, in one list for taking turns.
struct Field<'a> {
    ours: Vec<Ours<'a>>,
    peers: Vec<(Peer, Started)>,
}

impl<'a> Field<'a> {
    /// With every peer that one of ours is compared with.
    fn new(options: &Options, keys: &Keys, cpu: usize, ours: Vec<Ours<'a>>) -> Self {
        let built = build();
        let wanted = Peer::ALL.into_iter().filter(|peer| ours.iter().any(|our| our.against.contains(peer)));
        let peers = wanted.map(|peer| (peer, peer.start(keys, built.as_ref(), cpu, options))).collect();
        Self { ours, peers }
    }

    /// Lets all take turns on `cpu`.
    fn slices(&mut self, options: &Options, cpu: usize) -> Result<Slices, BenchError> {
        let peers = self.peers.iter_mut().filter_map(|(_, peer)| peer.as_mut().ok());
        let mut all: Vec<&mut dyn Contender> = Vec::new();
        for our in &mut self.ours {
            all.push(our.contender.as_mut());
        }
        for peer in peers {
            all.push(peer.as_mut());
        }
        on_cpu(cpu, || take_turns(options, &mut all))
    }

    /// Where a peer's slices are, or why there are none.
    fn place(&self, peer: Peer) -> Result<(usize, &dyn Contender), &NoPeer> {
        let mut at = self.ours.len();
        for (other, contender) in &self.peers {
            match contender {
                Ok(contender) if *other == peer => return Ok((at, contender.as_ref())),
                Err(none) if *other == peer => return Err(none),
                there => at += usize::from(there.is_ok()),
            }
        }
        unreachable!("{peer:?} is not one that ours are compared with")
    }

    /// One of ours against a peer, of the slices that count.
    fn line(
        &self,
        name: &str,
        unit: (&'static str, Better),
        slices: &Slices,
        (our, peer): (usize, Peer),
        value: impl Fn(&Run) -> f64,
    ) -> Line {
        match self.place(peer) {
            Ok((at, contender)) => {
                let pairs = slices.pairs(our, at, value);
                let line = Line::compare(name, unit, &pairs.ours, Ok((contender.name(), &pairs.theirs)));
                let all = pairs.ours.len() + pairs.dropped;
                match pairs.dropped {
                    0 => line,
                    n if n == pairs.ours.len() => {
                        line.note(format!("the core was disturbed in all {n} rounds: not to be trusted"))
                    }
                    n => line.note(format!("{n} of {all} rounds dropped: the core was disturbed")),
                }
            }
            Err(none) => {
                let values: Vec<f64> = slices.steady(our).map(|s| value(&s.run)).collect();
                let aws_lc = self.peers.iter().any(|(other, there)| *other == Peer::AwsLc && there.is_ok());
                let other = match peer {
                    Peer::OpenSsl if aws_lc => "; aws-lc has lines of its own, ending in -aws-lc",
                    _ => "",
                };
                Line::compare(name, unit, &values, Err(none))
                    .note(format!("PEER MISSING: {name} is compared with nothing{other}"))
            }
        }
    }

    /// One of ours against the first of ours: what an option costs.
    fn cost(&self, bench: &str, slices: &Slices, our: usize) -> Line {
        let (first, other) = (&self.ours[0], &self.ours[our]);
        let pairs = slices.pairs(our, 0, Run::rate);
        let peer = format!("ours: {}", first.how);
        let line = Line::compare(
            &format!("{bench}{}-cost", other.suffix),
            RATE,
            &pairs.ours,
            Ok((&peer, &pairs.theirs)),
        );
        let percent = line.ratio.map_or(f64::NAN, |ratio| (1.0 / ratio - 1.0) * 100.0);
        line.note(format!("{percent:+.1} % time for an operation"))
            .note(format!("ours: {}; {}", other.contender.name(), other.how))
            .note(format!("{} rounds dropped: the core was disturbed", pairs.dropped))
            .note(core(slices.best()))
    }

    /// The part of the multiplier's peak that one of ours uses.
    fn peak(&self, bench: &str, slices: &Slices, our: usize) -> Option<Line> {
        let Ours { suffix, how, multiply_adds, .. } = &self.ours[our];
        let counts = (*multiply_adds)?;
        let part = slices.of_peak(our, counts.done)?;
        let schoolbook = slices.of_peak(our, counts.schoolbook)?;
        let none = NoPeer { peer: "the multiplier's peak", why: "it is what the value is a part of".into() };
        let unit = ("of the peak", Better::Higher);
        let mut line = Line::compare(&format!("{bench}{suffix}-peak"), unit, &[part], Err(&none));
        line.rounds = slices.steady(our).count();
        Some(
            line.note(format!(
                "{:.0} vpmadd52 on 512 bits for an operation, which are done; with schoolbook multiplication they \
                 would be {:.0}, and as many in this time {schoolbook:.3} of the peak",
                counts.done, counts.schoolbook
            ))
            .note(format!("ours: {}; {how}", self.ours[our].contender.name()))
            .note(core(slices.best())),
        )
    }

    /// What is to be known of a line.
    fn said(&self, line: Line, our: &Ours<'_>, peer: Peer, slices: &Slices) -> Line {
        line.note(format!("ours: {}; {}", our.contender.name(), our.how))
            .note(format!("peer: {}", peer.how()))
            .note("seconds of cpu time of the thread that works")
            .note(core(slices.best()))
    }
}

/// The core at its best, in words.
fn core(best: Speed) -> String {
    match (best.clock_hz, best.multiplies_hz) {
        (Some(clock), Some(rate)) => format!(
            "core: {:.2} GHz, vpmadd52 on 512 bits {:.2} G/s, {:.2} a cycle",
            clock / 1e9,
            rate / 1e9,
            rate / clock
        ),
        (Some(clock), None) => format!("core: {:.2} GHz, no vpmadd52 on 512 bits", clock / 1e9),
        _ => "core: clock not measured on this architecture".to_owned(),
    }
}

/// Gives each a slice in turn, `rounds` times, after a round that does not count; every other round in reverse, so that
/// none has always the same before it. The core's speed is measured between slices.
fn take_turns(options: &Options, contenders: &mut [&mut dyn Contender]) -> Result<Slices, BenchError> {
    let mut slices = vec![Vec::with_capacity(options.rounds); contenders.len()];
    let mut before = calibrate::speed();
    for round in 0..=options.rounds {
        for turn in 0..contenders.len() {
            options.go_on()?;
            let i = if round % 2 == 0 { turn } else { contenders.len() - 1 - turn };
            let run = contenders[i].run_for(options.slice)?;
            let after = calibrate::speed();
            if round > 0 {
                slices[i].push(Slice { run, speed: before.least(after) });
            }
            before = after;
        }
    }
    Ok(Slices::new(slices))
}

/// An error of a request that must not fail.
fn failed(status: Status) -> BenchError {
    BenchError::Bug(format!("a request ended with {:?}", status.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Counted<'a>(&'a std::sync::Mutex<String>, &'static str);

    impl Contender for Counted<'_> {
        fn name(&self) -> &str {
            self.1
        }

        fn run_for(&mut self, time: Duration) -> Result<Run, BenchError> {
            self.0.lock().unwrap().push_str(self.1);
            Ok(Run { ops: 1, time, passes_us: vec![] })
        }
    }

    pub fn options(rounds: usize) -> Options {
        Options::for_tests(rounds)
    }

    #[test]
    fn turns_go_forth_and_back_and_the_first_round_does_not_count() {
        let order = std::sync::Mutex::new(String::new());
        let (mut a, mut b) = (Counted(&order, "a"), Counted(&order, "b"));
        let slices = take_turns(&options(2), &mut [&mut a, &mut b]).unwrap();
        assert_eq!(order.into_inner().unwrap(), "abbaab");
        let pairs = slices.pairs(0, 1, Run::rate);
        assert_eq!(pairs.ours.len() + if pairs.dropped == 2 { 0 } else { pairs.dropped }, 2);
    }

    #[test]
    fn a_missing_peer_is_said_loudly_and_the_others_keep_their_places() {
        let order = std::sync::Mutex::new(String::new());
        let our = Ours {
            suffix: "",
            how: String::new(),
            against: &[Peer::OpenSsl, Peer::AwsLc],
            cost: false,
            multiply_adds: None,
            contender: Box::new(Counted(&order, "ours")),
        };
        let keys = Keys::new(2048).unwrap();
        let none = NoPeer::absent("OpenSSL", "libssl-dev");
        let aws_lc = Peer::AwsLc.start(&keys, Err(&none), 0, &options(1)).unwrap();
        let mut field =
            Field { ours: vec![our], peers: vec![(Peer::OpenSsl, Err(none)), (Peer::AwsLc, Ok(aws_lc))] };
        let options = options(2);
        let slices = field.slices(&options, options.cpu().unwrap()).unwrap();
        let line = field.line("rsa2048", RATE, &slices, (0, Peer::OpenSsl), Run::rate);
        assert_eq!((line.peer.as_str(), line.ratio), ("OpenSSL (absent)", None));
        assert!(line.notes.iter().any(|n| n.contains("PEER MISSING")), "{:?}", line.notes);
        let line = field.line("rsa2048-aws-lc", RATE, &slices, (0, Peer::AwsLc), Run::rate);
        assert_eq!(line.peer, "aws-lc");
        assert!(line.ratio.is_some());
    }
}
