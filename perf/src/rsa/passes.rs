//! `rsa-passes`: which rule for putting requests together gives the shortest times under load.

use std::time::Duration;

use warpdrive_pmd::engine::rsa::{Passes, RsaKey, RsaOptions};

use super::keys::Keys;
use super::load::{Borne, Load, offer};
use super::ours::engine;
use super::rig::Fill;
use super::{FULL, RATE};
use crate::measure::{Better, Line, median, on_cpu};
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "rsa-passes",
    about: "mean time of RSA-2048 signatures through a queue at 10 to 90 % load, with passes = adaptive",
    peer: "passes = largest and single, and adaptive with a deadline, at the same arrivals",
    package: "",
    unit: UNIT.0,
    seconds: 0.2,
    rounds: 10,
    quick: None,
    run: Kind::Comparison(run),
};
const UNIT: (&str, Better) = ("us", Better::Lower);
/// Parts of the capacity that are offered, in percent.
const LOADS: [u32; 5] = [10, 30, 50, 70, 90];
/// Of what one at a time can do, no more than this part is offered to it.
const SINGLE_MOST: f64 = 0.95;
/// How long the oldest request may wait for others, where it may.
const DEADLINE: Duration = Duration::from_micros(500);

/// A way to put requests together.
struct Rule {
    suffix: &'static str,
    title: &'static str,
    options: RsaOptions,
    /// The most that it can do in a second.
    most: f64,
}

fn rules(full: f64, single: f64) -> [Rule; 4] {
    let rule = |suffix, title, passes, deadline, most| Rule {
        suffix,
        title,
        options: RsaOptions { passes, deadline, ..RsaOptions::default() },
        most,
    };
    let none = Duration::ZERO;
    [
        rule("", "passes = adaptive", Passes::Adaptive, none, full),
        rule("-largest", "passes = largest", Passes::Largest, none, full),
        rule("-single", "passes = single", Passes::Single, none, SINGLE_MOST * single),
        rule("-deadline", "passes = adaptive, deadline 0.5 ms", Passes::Adaptive, DEADLINE, full),
    ]
}

/// What became of each rule at a load: round by round.
struct Measured {
    rounds: Vec<Vec<Borne>>,
}

/// The rounds that count of the first rule and another.
struct Pairs<'a> {
    first: Vec<&'a Borne>,
    other: Vec<&'a Borne>,
    /// Rounds that do not count because a thread had not all of its cpu. If that is so in all rounds, all are shown.
    dropped: usize,
}

impl Measured {
    /// The first rule beside another.
    fn pairs(&self, rule: usize) -> Pairs<'_> {
        let all = || self.rounds.iter().map(|round| (&round[0], &round[rule]));
        let mut pairs: Vec<_> = all().filter(|(a, b)| a.is_steady() && b.is_steady()).collect();
        let dropped = self.rounds.len() - pairs.len();
        if pairs.is_empty() {
            pairs = all().collect();
        }
        let (first, other) = pairs.into_iter().unzip();
        Pairs { first, other, dropped }
    }

    /// Which rounds count of some pairs, in words.
    fn trust(&self, pairs: &Pairs<'_>) -> String {
        match (pairs.dropped, self.rounds.len()) {
            (0, n) => format!("all {n} rounds count"),
            (dropped, n) if n == dropped => {
                "OTHER LOAD ON THE MACHINE in all rounds, not to be trusted".to_owned()
            }
            (dropped, n) => {
                format!("{dropped} of {n} rounds dropped: sender or engine had not all of its cpu")
            }
        }
    }
}

/// Mean times in microseconds.
fn means(of: &[&Borne]) -> Vec<f64> {
    of.iter().map(|borne| borne.outcome.latency.mean() / 1e3).collect()
}

fn fill(of: &[&Borne]) -> Fill {
    let mut fill = Fill::default();
    of.iter().for_each(|borne| fill.add(&borne.fill));
    fill
}

/// A rule in words.
fn told(title: &str, of: &[&Borne]) -> String {
    let [p50, p99] = [0.5, 0.99].map(|q| {
        let us = |borne: &&Borne| borne.outcome.latency.value_at_quantile(q) as f64 / 1e3;
        median(&of.iter().map(us).collect::<Vec<_>>())
    });
    format!("{title}: us, medians of the slices: p50 {p50:.1}, p99 {p99:.1}; lanes: {}", fill(of))
}

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let keys = Keys::new(2048)?;
    let key = keys.ours(1)?.remove(0);
    for percent in LOADS {
        let rate = |at_once, options: &Options| -> Result<f64, BenchError> {
            let mut bare = engine(&keys, 1, at_once, &RsaOptions::default())?;
            Ok(on_cpu(far, || bare.run_for(options.slice))?.rate())
        };
        let (full, single) = (rate(FULL, options)?, rate(1, options)?);
        let load = Load {
            near,
            far,
            engine: RsaOptions::default(),
            rate: full * f64::from(percent) / 100.0,
            seed: options.seed,
            length: options.slice,
        };
        let rules: Vec<Rule> = rules(full, single).into_iter().filter(|r| load.rate < r.most).collect();
        let measured = measure(options, &key, &load, &rules)?;
        for (i, rule) in rules.iter().enumerate().skip(1) {
            let pairs = measured.pairs(i);
            let line = Line::compare(
                &format!("{}-{percent}{}", BENCH.name, rule.suffix),
                UNIT,
                &means(&pairs.first),
                Ok((rule.title, &means(&pairs.other))),
            );
            emit(
                line.command(options.command(BENCH.name))
                    .note("the mean from when a request was due to when its completion was received")
                    .note(told(rules[0].title, &pairs.first))
                    .note(told(rule.title, &pairs.other))
                    .note(measured.trust(&pairs))
                    .note(format!(
                        "offered: {percent} % of the {full:.0} {} of full passes, measured just before; both have the \
                         same arrivals, others in each round; one at a time does {single:.0}",
                        RATE.0
                    )),
            );
        }
    }
    Ok(())
}

/// Each rule in turn, `rounds` times, after a round that does not count.
fn measure(options: &Options, key: &RsaKey, load: &Load, rules: &[Rule]) -> Result<Measured, BenchError> {
    let mut rounds = Vec::with_capacity(options.rounds);
    for round in 0..=options.rounds {
        let seed = load.seed.wrapping_add(round as u64);
        let turn = |rule: &Rule| {
            options.go_on()?;
            offer(key, &Load { engine: rule.options.clone(), seed, ..load.clone() })
        };
        let of_round = rules.iter().map(turn).collect::<Result<Vec<_>, _>>()?;
        if round > 0 {
            rounds.push(of_round);
        }
    }
    Ok(Measured { rounds })
}

#[cfg(test)]
mod tests {
    use warpdrive_pmd::engine::rsa::RsaEngine;

    use super::*;
    use crate::rsa::HALF;

    #[test]
    fn each_rule_puts_requests_together_in_its_own_way() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let options = Options { slice: Duration::from_millis(20), ..super::super::tests::options(1) };
        let key = RsaKey::generate(2048).unwrap();
        // More than one at a time can do, so that requests wait.
        let load = Load {
            near: cpus[0],
            far: *cpus.last().unwrap(),
            engine: RsaOptions::default(),
            rate: 6_000.0,
            seed: 1,
            length: options.slice,
        };
        let rules = rules(1.0, 1.0);
        let measured = measure(&options, &key, &load, &rules).unwrap();
        let of_sizes = |rule: usize, sizes: std::ops::RangeInclusive<usize>| -> u64 {
            let fill = fill(&measured.pairs(rule).other);
            sizes.map(|size| fill.of(size)).sum()
        };
        assert!((0..4).all(|rule| matches!(means(&measured.pairs(rule).other)[..], [mean] if mean > 0.0)));
        assert!(of_sizes(2, 1..=1) > 0);
        assert_eq!(of_sizes(2, 2..=FULL), 0, "one at a time");
        for adaptive in [0, 3] {
            assert_eq!(of_sizes(adaptive, HALF + 1..=FULL - 1), 0, "half passes, full ones, and no others");
        }
        if RsaEngine::multiply_adds(&RsaOptions::default(), 2048).is_some() {
            assert!((0..4).all(|rule| rule == 2 || of_sizes(rule, 2..=FULL) > 0), "together");
        }
    }

    #[test]
    fn one_at_a_time_takes_no_part_in_what_it_cannot_bear() {
        let within = |rate: f64| {
            let rules = rules(10_000.0, 3_000.0);
            rules.iter().filter(|rule| rate < rule.most).map(|rule| rule.suffix).collect::<Vec<_>>()
        };
        assert_eq!(within(2_800.0), ["", "-largest", "-single", "-deadline"]);
        assert_eq!(within(2_900.0), ["", "-largest", "-deadline"]);
    }

    #[test]
    fn rounds_count_in_which_all_threads_had_their_cpus_or_else_all_do() {
        let borne = |share, ns| {
            let mut latency = hdrhistogram::Histogram::new(3).unwrap();
            latency.record(ns).unwrap();
            let outcome = crate::load::Outcome {
                latency,
                sent: 1,
                done: 1,
                lost: 0,
                unsent: 0,
                elapsed: Duration::ZERO,
                late_ns: 0,
                cpu_share: 100.0,
            };
            Borne { outcome, fill: Fill::default(), wait: Default::default(), share }
        };
        let round = |a, b, ns| vec![borne(a, ns), borne(b, 2 * ns)];
        let some = Measured {
            rounds: vec![round(99.0, 50.0, 1000), round(99.0, 99.0, 500), round(50.0, 99.0, 900)],
        };
        let pairs = some.pairs(1);
        assert_eq!((pairs.dropped, means(&pairs.first), means(&pairs.other)), (2, vec![0.5], vec![1.0]));
        assert!(some.trust(&pairs).starts_with("2 of 3"));
        let none = Measured { rounds: vec![round(50.0, 50.0, 1000), round(99.0, 50.0, 500)] };
        let pairs = none.pairs(1);
        assert_eq!((pairs.dropped, means(&pairs.first)), (2, vec![1.0, 0.5]));
        assert!(none.trust(&pairs).contains("not to be trusted"));
    }
}
