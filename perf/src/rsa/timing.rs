//! `rsa-timing`: whether the time of a private operation depends on what nobody may learn.
//!
//! Inputs of two classes take turns at random; the times of both are compared by Welch's t-test. A planted leak must be
//! found and its constant-time twin must not, or the machine is too noisy for the rest to mean anything.

use std::hint::black_box;

use fastrand::Rng;
use warpdrive_pmd::clock::Clock;

use super::subjects;
use super::trial::{Class, Subject, Trial, timed};
use super::welch::{PASS, Test, Verdict, compare};
use crate::measure::{Better, Line, on_cpu};
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "rsa-timing",
    about: "whether the time of RSA-2048 private operations depends on key, message or padding (Welch's t-test)",
    peer: "the limit of a pass, |t| < 4.5; above 10 it is a leak, and the command fails",
    package: "",
    unit: UNIT.0,
    seconds: super::SECONDS,
    rounds: super::ROUNDS,
    quick: None,
    run: Kind::Comparison(run),
};
const UNIT: (&str, Better) = ("|t|", Better::Lower);
/// Samples before those that count.
const WARM: usize = 200;
/// Bytes of the comparison with the planted leak.
const SECRET: usize = 256;
/// Inputs of each class of the comparison.
const POOL: usize = 64;

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let cpu = options.cpu()?;
    let (mut planted, mut twin) = planted(options.seed);
    let found = try_one(options, cpu, &mut planted, emit)?;
    if Verdict::of(found.t) != Verdict::Leak {
        return Err(BenchError::Blind { what: "the planted leak was not found", t: found.t.abs() });
    }
    let found = try_one(options, cpu, &mut twin, emit)?;
    if Verdict::of(found.t) == Verdict::Leak {
        return Err(BenchError::Blind {
            what: "a comparison in constant time looks like a leak",
            t: found.t.abs(),
        });
    }
    let mut leaks = Vec::new();
    for mut trial in subjects::all()? {
        let found = try_one(options, cpu, &mut trial, emit)?;
        if Verdict::of(found.t) == Verdict::Leak {
            leaks.push(format!("{}{} (|t| = {:.1})", BENCH.name, trial.suffix, found.t.abs()));
        }
    }
    if leaks.is_empty() { Ok(()) } else { Err(BenchError::Leak(leaks.join(", "))) }
}

/// Tests one and emits its line.
fn try_one(
    options: &Options,
    cpu: usize,
    trial: &mut Trial<'_>,
    emit: Lines<'_>,
) -> Result<Test, BenchError> {
    let (first, second) = on_cpu(cpu, || sample(options, &mut trial.subject))?;
    let few = || BenchError::Bug(format!("{} samples are too few for a test", options.samples));
    let outcome = compare(&first, &second).ok_or_else(few)?;
    let test = outcome.worst;
    let verdict = match Verdict::of(test.t) {
        Verdict::Pass => "pass: no dependence was seen",
        Verdict::Doubtful => "doubtful: more --samples will tell",
        Verdict::Leak => "LEAK: the time depends on the class",
    };
    let ns = |ticks: f64| ticks / Clock::get().hz() as f64 * 1e9;
    let mut line = Line::compare(
        &format!("{}{}", BENCH.name, trial.suffix),
        UNIT,
        &[test.t.abs()],
        Ok(("limit of a pass", &[PASS])),
    );
    line.rounds = options.samples;
    emit(
        line.command(options.command(BENCH.name))
            .note(verdict)
            .note(format!("classes: {}", trial.classes))
            .note(format!(
                "largest |t| among the fastest {:.1} % of all samples, where the first class takes {:.1} ns more; \
                 a difference of {:.1} ns would be at the limit",
                test.part * 100.0,
                ns(test.difference),
                ns(outcome.finest)
            ))
            .note(format!("{} samples of each class or so, in random order; seed {}", options.samples / 2, options.seed)),
    );
    Ok(test)
}

/// Times of both classes.
fn sample(options: &Options, subject: &mut Subject<'_>) -> Result<(Vec<f64>, Vec<f64>), BenchError> {
    let mut random = Rng::with_seed(options.seed);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for i in 0..WARM + options.samples {
        options.go_on()?;
        let class = if random.bool() { Class::First } else { Class::Second };
        let ticks = subject(class, &mut random)? as f64;
        match class {
            _ if i < WARM => {}
            Class::First => first.push(ticks),
            Class::Second => second.push(ticks),
        }
    }
    Ok((first, second))
}

/// A comparison that ends at the first byte that differs, and one that does not.
fn planted(seed: u64) -> (Trial<'static>, Trial<'static>) {
    let mut random = Rng::with_seed(seed);
    let mut bytes = || {
        let mut bytes = [0; SECRET];
        random.fill(&mut bytes);
        bytes
    };
    let secret = bytes();
    let guesses: Vec<[[u8; SECRET]; POOL]> = vec![[secret; POOL], std::array::from_fn(|_| bytes())];
    let trial = |suffix: &str, classes: &str, equal: fn(&[u8; SECRET], &[u8; SECRET]) -> bool| {
        let guesses = guesses.clone();
        let subject = move |class: Class, random: &mut Rng| {
            // A copy, so that all are compared at one place.
            let guess = guesses[usize::from(class == Class::Second)][random.usize(..POOL)];
            Ok(timed(|| equal(black_box(&secret), black_box(&guess))))
        };
        Trial { suffix: suffix.to_owned(), classes: classes.to_owned(), subject: Box::new(subject) }
    };
    (
        trial(
            "-planted",
            "a leak that must be found: 256 bytes compared up to the first difference, equal or random",
            |a, b| a.iter().zip(b).all(|(a, b)| black_box(*a) == *b),
        ),
        trial("-twin", "must pass: 256 bytes compared in constant time, equal or random", |a, b| {
            a.iter().zip(b).fold(0, |all, (a, b)| all | (black_box(*a) ^ *b)) == 0
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planted_leak_is_found_and_its_twin_is_none() {
        let options = Options { samples: 5_000, ..super::super::tests::options(1) };
        let (mut leak, mut twin) = planted(1);
        let mut lines = Vec::new();
        let mut emit = |line: Line| lines.push(line);
        let cpu = options.cpu().unwrap();
        let test = try_one(&options, cpu, &mut leak, &mut emit).unwrap();
        assert_eq!(Verdict::of(test.t), Verdict::Leak, "{test:?}");
        assert!(test.difference > 0.0, "equal ones take longer: {test:?}");
        let test = try_one(&options, cpu, &mut twin, &mut emit).unwrap();
        assert_ne!(Verdict::of(test.t), Verdict::Leak, "{test:?}");
        assert_eq!(lines[0].name, "rsa-timing-planted");
        assert!(lines[0].ratio.unwrap() < 1.0 && lines[0].notes[0].starts_with("LEAK"), "{lines:?}");
    }

    #[test]
    fn classes_come_in_random_order_that_the_seed_repeats() {
        let order = |seed| {
            let options = Options { samples: 1_000, seed, ..super::super::tests::options(1) };
            let order = std::sync::Mutex::new(Vec::new());
            let mut subject: Subject<'_> = Box::new(|class, _: &mut Rng| {
                order.lock().unwrap().push(class == Class::First);
                Ok(1)
            });
            let (first, second) = sample(&options, &mut subject).unwrap();
            assert_eq!(first.len() + second.len(), 1_000);
            assert!((400..600).contains(&first.len()), "{}", first.len());
            drop(subject);
            order.into_inner().unwrap()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
