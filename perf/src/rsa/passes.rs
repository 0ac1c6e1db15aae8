//! `rsa-passes`: which rule for putting requests together gives the shortest times under load.

use std::time::Duration;

use warpdrive_pmd::engine::rsa::{Passes, RsaKey, RsaOptions};

use super::keys::Keys;
use super::load::{Borne, Load, offer};
use super::ours::engine;
use super::rig::Fill;
use super::{FULL, RATE};
use crate::measure::{Better, Line, on_cpu};
use crate::{Bench, BenchError, Emit, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "rsa-passes",
    about: "mean time of RSA-2048 signatures through a queue at 10 to 90 % load, with passes = adaptive",
    peer: "passes = largest and single, and adaptive with a deadline, at the same arrivals",
    package: "",
    unit: UNIT.0,
    seconds: 0.2,
    rounds: 10,
    run,
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

/// What became of a rule at a load.
#[derive(Default)]
struct Measured {
    means: Vec<f64>,
    p99s: Vec<f64>,
    fill: Fill,
    least_share: Option<Borne>,
}

impl Measured {
    fn add(&mut self, borne: Borne) {
        let latency = &borne.outcome.latency;
        self.means.push(latency.mean() / 1e3);
        self.p99s.push(latency.value_at_quantile(0.99) as f64 / 1e3);
        self.fill.add(&borne.fill);
        if self.least_share.as_ref().is_none_or(|least| borne.share < least.share) {
            self.least_share = Some(borne);
        }
    }

    fn told(&self, rule: &Rule) -> String {
        let p99 = crate::measure::median(&self.p99s);
        let shared = self.least_share.as_ref().map_or_else(String::new, Borne::shared);
        format!(
            "{}: p99 {p99:.1} us (median of the slices); lanes: {}; at least, {shared}",
            rule.title, self.fill
        )
    }
}

fn run(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
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
        for (rule, other) in rules.iter().zip(&measured).skip(1) {
            let line = Line::compare(
                &format!("{}-{percent}{}", BENCH.name, rule.suffix),
                UNIT,
                &measured[0].means,
                Ok((rule.title, &other.means)),
            );
            emit(
                line.command(options.command(BENCH.name))
                    .note("the mean from when a request was due to when its completion was received")
                    .note(measured[0].told(&rules[0]))
                    .note(other.told(rule))
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
fn measure(
    options: &Options,
    key: &RsaKey,
    load: &Load,
    rules: &[Rule],
) -> Result<Vec<Measured>, BenchError> {
    let mut measured: Vec<Measured> = rules.iter().map(|_| Measured::default()).collect();
    for round in 0..=options.rounds {
        for (rule, measured) in rules.iter().zip(&mut measured) {
            options.go_on()?;
            let seed = load.seed.wrapping_add(round as u64);
            let borne = offer(key, &Load { engine: rule.options.clone(), seed, ..load.clone() })?;
            if round > 0 {
                measured.add(borne);
            }
        }
    }
    Ok(measured)
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
        let of_sizes = |i: usize, sizes: std::ops::RangeInclusive<usize>| -> u64 {
            sizes.map(|size| measured[i].fill.of(size)).sum()
        };
        assert!(measured.iter().all(|m| m.means.len() == 1 && m.means[0] > 0.0));
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
}
