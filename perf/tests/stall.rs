//! What a stall of a worker looks like: in an open loop as the book has it, in a closed loop next to nothing.
//!
//! By the book: operations are due at equal distances for a time T, and the worker stands still for S of it. A part S/T of all
//! is due meanwhile and waits for what is left of S, which is anything from all of it to nothing, evenly. So in a part q of
//! all, latency is at most S * (1 - (1 - q) * T / S). A closed loop of depth 1 has one operation that is slow.

use std::time::Duration;

use warpdrive_perf::load::Subject as _;
use warpdrive_perf::load::{Load, Outcome, Shape, apply};
use warpdrive_perf::measure::on_cpu;
use warpdrive_perf::record::{Arrivals, StageTime};
use warpdrive_perf::subjects::pipeline::{Ends, InMemory, plan};

const STALL_MS: f64 = 100.0;
const LENGTH: Duration = Duration::from_secs(2);
const OPEN: Shape = Shape::Open { rate: 10_000.0, arrivals: Arrivals::Constant };
/// On a machine that holds programs up for longer than this by itself, nothing can be said.
const QUIET_MS: f64 = 12.0;
/// How often a quiet moment is waited for.
const ATTEMPTS: usize = 5;

/// On a machine that is busy otherwise a load may not get all that is due into its time: then once more.
fn outcome(cpus: (usize, usize), stall: bool, shape: Shape) -> (Outcome, Vec<StageTime>) {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let (outcome, stages) = try_outcome(cpus, stall, shape);
        if outcome.is_complete() && outcome.done > 1_000 {
            return (outcome, stages);
        }
        last = format!("{} of {}", outcome.done, outcome.sent);
    }
    panic!("{last}");
}

fn try_outcome((near, far): (usize, usize), stall: bool, shape: Shape) -> (Outcome, Vec<StageTime>) {
    let stall = if stall { format!("{{ stall = {STALL_MS}, after-ms = 500 }},") } else { String::new() };
    let text = format!(
        "version = 1
         [port.in]
         driver = \"null\"
         [port.out]
         driver = \"null\"
         [[pipeline]]
         name = \"p\"
         stages = [ {{ rx = \"in\" }}, {stall} {{ tx = \"out\" }} ]"
    );
    let mut plan = plan("stall", &text, far).unwrap();
    let ends = Ends::of(&plan, None, None).unwrap();
    let (mut subject, _) = InMemory::launch(&mut plan, &ends).unwrap();
    let load = Load { shape, warm: Duration::ZERO, length: LENGTH, seed: 1, overhead_ns: 0 };
    let outcome = on_cpu(near, || apply(&mut subject, &load)).unwrap();
    let stages = subject.stages();
    subject.end().unwrap();
    (outcome, stages)
}

fn ms(outcome: &Outcome, quantile: f64) -> f64 {
    outcome.latency.value_at_quantile(quantile) as f64 / 1e6
}

#[test]
fn an_open_loop_shows_a_stall_and_a_closed_one_hides_it() {
    let cpus = warpdrive_pipeline::cores::allowed().unwrap();
    let [near, far, ..] = cpus[..] else {
        println!("skipped: two cpus are needed");
        return;
    };
    let mut quiet = 0;
    for _ in 0..ATTEMPTS {
        let before = ms(&outcome((near, far), false, OPEN).0, 0.999);
        let (open, stages) = outcome((near, far), true, OPEN);
        let closed = outcome((near, far), true, Shape::Closed { depth: 1 }).0;
        let after = ms(&outcome((near, far), false, OPEN).0, 0.999);
        let noise = before.max(after);
        println!(
            "open: p97 {:.1} p99 {:.1} p99.9 {:.1} ms; closed: p99.9 {:.3}, max {:.1} ms; without a stall p99.9 {noise:.1} ms",
            ms(&open, 0.97),
            ms(&open, 0.99),
            ms(&open, 0.999),
            ms(&closed, 0.999),
            ms(&closed, 1.0)
        );
        let by_the_book = |q: f64| STALL_MS * (1.0 - (1.0 - q) * LENGTH.as_secs_f64() * 1e3 / STALL_MS);
        // Whatever else happens, nothing can be faster than that, and somebody was under way.
        for q in [0.97, 0.99, 0.999] {
            assert!(ms(&open, q) > by_the_book(q) - 2.0, "p{}: {} ms", q * 100.0, ms(&open, q));
        }
        assert!(ms(&closed, 1.0) > STALL_MS - 1.0);
        let stall = stages.iter().find(|s| s.name == "p 1 stall").expect("the stage has its own time");
        assert!(stall.max > STALL_MS * 1e3 - 1e3, "{stall:?}");
        if noise > QUIET_MS {
            continue;
        }
        quiet += 1;
        let slack = QUIET_MS + noise;
        let wrong = [0.97, 0.99, 0.999].into_iter().find(|q| ms(&open, *q) > by_the_book(*q) + slack);
        if wrong.is_none() && ms(&closed, 0.999) < slack {
            return;
        }
    }
    assert!(quiet < 2, "more than by the book in each of {quiet} quiet moments");
    println!("skipped: in {ATTEMPTS} attempts the machine held programs up by itself");
}
