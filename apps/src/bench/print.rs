//! Results for people.

use std::io::{self, Write};

use warpdrive_perf::baseline::{Change, Verdict};
use warpdrive_perf::record::{Failure, Latency};
use warpdrive_perf::{Curve, Line, Machine, Point, Record};

/// The machine, before anything is measured.
pub fn machine(out: &mut impl Write, machine: &Machine) -> io::Result<()> {
    let invariant = if machine.tsc_invariant { "" } else { " NOT INVARIANT" };
    writeln!(
        out,
        "{}, tsc {:.3} GHz{invariant} ({:+.0} ppm of the kernel's clock), kernel {}, load {:.2}, {} free hugepages of 2 MiB",
        machine.cpu,
        machine.tsc_hz as f64 / 1e9,
        machine.tsc_drift_ppm,
        machine.kernel,
        machine.load,
        machine.free_hugepages
    )?;
    for gaps in &machine.gaps {
        writeln!(out, "{gaps}")?;
    }
    for doubt in machine.doubts() {
        writeln!(out, "NOISY: {doubt}")?;
    }
    writeln!(out)
}

/// One result.
pub fn record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    match record {
        Record::Comparison(found) => line(out, found),
        Record::Curve(found) => curve(out, found),
        Record::Failed(Failure { name, error, .. }) => writeln!(out, "{name}: NOT MEASURED: {error}\n"),
    }
}

fn line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    writeln!(out, "{:24} {:>12} {}", line.name, number(line.value), line.unit)?;
    let theirs = line.peer_value.map_or("-".to_owned(), number);
    writeln!(out, "{:24} {theirs:>12} {}", "", line.peer)?;
    match (line.ratio, line.spread) {
        (Some(ratio), Some([least, most])) => {
            let verdict = if ratio >= 1.0 { "ours is better" } else { "the peer is better" };
            let interval =
                line.interval.map_or(String::new(), |[low, high]| format!(" (95 %: {low:.3} to {high:.3})"));
            writeln!(
                out,
                "{:24} {ratio:>12.3} {least:.3} to {most:.3}{interval} in {} rounds: {verdict}",
                "", line.rounds
            )?;
        }
        _ => writeln!(out, "{:24} {:>12} nothing to compare with", "", "-")?,
    }
    for note in &line.notes {
        writeln!(out, "{:24}   {note}", "")?;
    }
    writeln!(out)
}

fn curve(out: &mut impl Write, curve: &Curve) -> io::Result<()> {
    writeln!(out, "{}: {}", curve.name, curve.about)?;
    for (name, fact) in &curve.facts {
        writeln!(out, "  {name}: {fact}")?;
    }
    writeln!(
        out,
        "{:>16} {:>12} {:>25} {:>10} {:>10} {:>10} {:>10} {:>10}  not borne",
        "load", curve.unit, "min to max", "p50 us", "p90", "p99", "p99.9", "max"
    )?;
    for point in &curve.points {
        self::point(out, point)?;
    }
    if let Some(found) = &curve.found {
        let failed = found.failed.map_or("none".to_owned(), number);
        let (rate, unit) = (number(found.rate), &curve.unit);
        writeln!(out, "  highest rate: {rate} {unit} (lowest that failed: {failed}): {}", found.criterion)?;
    }
    for stage in &curve.stages {
        let times = [stage.p50, stage.p99, stage.max].map(number);
        writeln!(
            out,
            "  stage {:20} {:>10} packets, us: p50 {}, p99 {}, max {}",
            stage.name, stage.packets, times[0], times[1], times[2]
        )?;
    }
    for note in &curve.notes {
        writeln!(out, "  {note}")?;
    }
    writeln!(out)
}

fn point(out: &mut impl Write, point: &Point) -> io::Result<()> {
    let rate = &point.rate;
    let spread = format!("{} to {}", number(rate.min), number(rate.max));
    write!(out, "{:>16} {:>12} {spread:>25}", point.label(), number(rate.median))?;
    let of = |l: &Latency| [l.p50.median, l.p90.median, l.p99.median, l.p999.median, l.max];
    for us in point.latency.as_ref().map_or([f64::NAN; 5], of) {
        let shown = if us.is_nan() { "-".to_owned() } else { format!("{us:.1}") };
        write!(out, " {shown:>10}")?;
    }
    let not_borne = match (point.lost, point.unsent) {
        (0, 0) => String::new(),
        (lost, 0) => format!("{lost} lost"),
        (0, unsent) => format!("{unsent} not sent"),
        (lost, unsent) => format!("{lost} lost, {unsent} not sent"),
    };
    writeln!(out, "  {not_borne}")
}

/// What became of the figures of a baseline. Says all that are not the same.
pub fn verdicts(out: &mut impl Write, name: &str, verdicts: &[Verdict]) -> io::Result<()> {
    let count = |change| verdicts.iter().filter(|v| v.change == change).count();
    writeln!(
        out,
        "against {name:?}: {} figures the same, {} better, {} worse, {} too noisy to say, {} missing",
        count(Change::Same),
        count(Change::Better),
        count(Change::Worse),
        count(Change::Noisy),
        count(Change::Missing)
    )?;
    for v in verdicts.iter().filter(|v| v.change != Change::Same) {
        let word = match v.change {
            Change::Better => "better",
            Change::Worse => "WORSE",
            Change::Noisy => "noisy",
            _ => "missing",
        };
        let now = v.now.map_or("-".to_owned(), number);
        let percent = v.percent.map_or(String::new(), |p| format!(", {p:+.1} %"));
        writeln!(
            out,
            "  {word:8} {} {}: {} -> {now}{percent} (chance or of no interest: up to {:.1} %)",
            v.name,
            v.figure,
            number(v.before),
            v.threshold_percent
        )?;
    }
    Ok(())
}

/// A number with a prefix for thousands, to four digits or so.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e9 => format!("{:.3} G", value / 1e9),
        v if v >= 1e6 => format!("{:.3} M", value / 1e6),
        v if v >= 1e4 => format!("{:.2} k", value / 1e3),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(61_234_567.0), "61.235 M");
        assert_eq!(number(0.7301), "0.730");
        assert_eq!(number(375_000.0), "375.00 k");
    }
}
