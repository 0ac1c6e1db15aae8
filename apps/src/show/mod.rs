//! Plans, reports and statistics as people read them, and as JSON.

mod numbers;
mod plan;
mod proxy;
pub mod serve;

use std::io::IsTerminal;

use warpdrive_pipeline::cores::LcoreMap;
use warpdrive_pipeline::plan::Plan;
use warpdrive_pipeline::running::StartReport;

pub use numbers::{Moment, ended, ended_json, second, second_json};
pub use plan::{plan, plan_json};

/// Whether to colour what goes to `stream`.
pub fn colour(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && stream.is_terminal()
}

/// What was got at start, and what was done without.
pub fn start(report: &StartReport, plan: &Plan, lcores: &LcoreMap, name: &str) {
    eprintln!("warpdrive {}: {name}, lcores {lcores}", env!("CARGO_PKG_VERSION"));
    for line in &report.got {
        eprintln!("  {line}");
    }
    for line in plan::pipelines(plan).chain(proxy::plan(plan)) {
        eprintln!("  {line}");
    }
    for line in plan.notes.iter().map(|n| format!("note: {n}")) {
        eprintln!("  {line}");
    }
    if !report.without.is_empty() {
        eprintln!("running without (\"warpdrive doctor --fix\" mends what it can):");
        for line in &report.without {
            eprintln!("  {line}");
        }
    }
}

fn count(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.2}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// A time in nanoseconds with a unit that fits.
pub fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}
