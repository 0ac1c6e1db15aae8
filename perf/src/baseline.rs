//! Is it worse than last time? Two reports compared, with regard to how far their figures are to be trusted.
//!
//! A figure is worse only if it changed by more than a least change that matters, and by more than what both runs
//! say of their own uncertainty. Where a peer took part in both runs, ratios are compared: what the machine did to one side
//! it did to the other.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::BenchError;
use crate::measure::{Better, Line};
use crate::record::{Curve, LEAST_SHARE, Mode, Point, Record, Report, SCHEMA};
use crate::statistics::{Summary, rounded};

/// Changes of rates and ratios below this are of no interest.
const LEAST_RATE: f64 = 0.05;
/// Of a median latency.
const LEAST_P50: f64 = 0.10;
/// Of the 99th percentile.
const LEAST_P99: f64 = 0.25;
/// A change must exceed what is uncertain by this factor: many figures are compared, and each is wrong now and then.
const MARGIN: f64 = 1.5;
/// Points of an open loop are compared if what was offered differs by less than this.
const SAME_OFFER: f64 = 0.2;

/// What became of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Better by more than chance.
    Better,
    /// No change that could be told from chance.
    Same,
    /// Worse by more than chance.
    Worse,
    /// Disturbed in one of the runs, so not judged.
    Noisy,
    /// Not in the new run.
    Missing,
}

/// One figure, then and now.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The record.
    pub name: String,
    /// The figure: `ratio`, `depth 8 p99`, …
    pub figure: String,
    /// Then.
    pub before: f64,
    /// Now.
    pub now: Option<f64>,
    /// By how much it is better (above 0) or worse, in percent.
    pub percent: Option<f64>,
    /// Changes within this many percent are chance or of no interest.
    pub threshold_percent: f64,
    /// What that means.
    pub change: Change,
}

/// One figure of a report.
struct Figure {
    name: String,
    figure: String,
    value: f64,
    /// What it might be off, as a part of it.
    uncertainty: f64,
    least: f64,
    better: Better,
    noisy: bool,
    /// What had to be alike for two of it to be compared.
    offered: Option<f64>,
}

/// Compares all figures of two reports, the older first.
#[must_use]
pub fn compare(before: &Report, now: &Report) -> Vec<Verdict> {
    let same_cpu = before.machine.cpu == now.machine.cpu;
    let (old, new) = (figures(before), figures(now));
    old.iter()
        // On another cpu only ratios mean something.
        .filter(|f| same_cpu || f.figure == "ratio")
        // From nothing, everything is better.
        .filter(|then| then.value > 0.0)
        .map(|then| {
            let now = new.iter().find(|f| f.name == then.name && f.figure == then.figure);
            let alike = match (then.offered, now.and_then(|f| f.offered)) {
                (Some(a), Some(b)) => (a / b - 1.0).abs() < SAME_OFFER,
                _ => true,
            };
            let mut verdict = verdict(then, now);
            if !alike {
                // Latency under another load is another thing; that there was another load is a verdict of its own.
                verdict.change = Change::Noisy;
            }
            verdict
        })
        .collect()
}

fn verdict(then: &Figure, now: Option<&Figure>) -> Verdict {
    let noise = then.uncertainty.hypot(now.map_or(0.0, |f| f.uncertainty));
    let threshold = then.least.max(MARGIN * noise);
    let gain = now.map(|now| match then.better {
        Better::Higher => now.value / then.value - 1.0,
        Better::Lower => then.value / now.value - 1.0,
    });
    let change = match gain {
        None => Change::Missing,
        Some(_) if then.noisy || now.is_some_and(|f| f.noisy) => Change::Noisy,
        // What is worse by so much is better, seen from there, by 1 / (1 - x).
        Some(gain) if gain < 1.0 / (1.0 + threshold) - 1.0 => Change::Worse,
        Some(gain) if gain > threshold => Change::Better,
        Some(_) => Change::Same,
    };
    Verdict {
        name: then.name.clone(),
        figure: then.figure.clone(),
        before: then.value,
        now: now.map(|f| f.value),
        percent: gain.map(|g| rounded(100.0 * g)),
        threshold_percent: rounded(100.0 * threshold),
        change,
    }
}

fn figures(report: &Report) -> Vec<Figure> {
    let mut figures = Vec::new();
    for record in &report.records {
        match record {
            Record::Comparison(line) => figures.push(of_line(line)),
            Record::Curve(curve) => of_curve(curve, &mut figures),
            Record::Failed(_) => {}
        }
    }
    // A rate of nothing is a figure; a latency of nothing is none.
    figures.retain(|f| f.value.is_finite() && (f.value > 0.0 || f.better == Better::Higher));
    figures
}

fn of_line(line: &Line) -> Figure {
    let figure = |figure: &str, of: Summary, better| Figure {
        name: line.name.clone(),
        figure: figure.to_owned(),
        value: of.median,
        uncertainty: of.uncertainty(),
        least: LEAST_RATE,
        better,
        noisy: false,
        offered: None,
    };
    match (line.ratio, line.spread) {
        (Some(median), Some([min, max])) => {
            let ratio = Summary { median, min, max, interval: line.interval, n: line.rounds };
            figure("ratio", ratio, Better::Higher)
        }
        _ => figure("value", line.ours, line.better),
    }
}

fn of_curve(curve: &Curve, figures: &mut Vec<Figure>) {
    let figure = |figure: String, value, uncertainty, least, better, point: Option<&Point>| Figure {
        name: curve.name.clone(),
        figure,
        value,
        uncertainty,
        least,
        better,
        noisy: point.is_some_and(|p| p.cpu_share < LEAST_SHARE),
        offered: point.and_then(|p| p.offered),
    };
    if matches!(curve.mode, Mode::ZeroLoss | Mode::P99) {
        let noisiest = curve.points.iter().min_by(|a, b| a.cpu_share.total_cmp(&b.cpu_share));
        // A rate between the two may be the true one.
        let (rate, width) = curve.found.as_ref().map_or((0.0, 0.0), |found| {
            (found.rate, found.failed.map_or(0.0, |failed| failed / found.rate - 1.0))
        });
        let mut of = figure("highest rate".to_owned(), rate, width, LEAST_RATE, Better::Higher, noisiest);
        of.offered = None;
        figures.push(of);
    }
    if !matches!(curve.mode, Mode::Closed | Mode::Open) {
        return;
    }
    // What is offered is a part of what the closed loop does, unless the user says how much.
    if let Some(most) = curve.points.iter().filter_map(|p| p.offered).reduce(f64::max) {
        let uncertainty = curve.points.iter().map(|p| p.rate.uncertainty()).fold(0.0, f64::max);
        figures.push(figure("highest load".to_owned(), most, uncertainty, LEAST_RATE, Better::Higher, None));
    }
    for (i, point) in curve.points.iter().enumerate() {
        let label = point.depth.map_or_else(|| format!("load {}", i + 1), |d| format!("depth {d}"));
        let mut add = |what: &str, of: Summary, least, better| {
            let label = format!("{label} {what}");
            figures.push(figure(label, of.median, of.uncertainty(), least, better, Some(point)));
        };
        add("rate", point.rate, LEAST_RATE, Better::Higher);
        if let Some(latency) = &point.latency {
            add("p50", latency.p50, LEAST_P50, Better::Lower);
            add("p99", latency.p99, LEAST_P99, Better::Lower);
        }
    }
}

/// Where a baseline is kept: a path as it is, a mere name in the user's folder for data.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    if name.contains('/') || Path::new(name).extension().is_some_and(|e| e == "json") {
        return PathBuf::from(name);
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home).unwrap_or_default();
    data.join("warpdrive/bench").join(format!("{name}.json"))
}

/// Keeps a report as a baseline. Returns where.
///
/// # Errors
/// [`BenchError::Io`] with the path.
pub fn save(report: &Report, name: &str) -> Result<PathBuf, BenchError> {
    let path = path_of(name);
    let io = |cause| BenchError::Io {
        what: format!("cannot write the baseline {}", path.display()),
        cause,
        remedy: "--save PATH.json, where this user may write",
    };
    let text = serde_json::to_string(report).map_err(|e| io(e.into()))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    // Whole or not at all.
    let file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::fs::write(file.path(), text).map_err(io)?;
    file.persist(&path).map_err(|e| io(e.error))?;
    Ok(path)
}

/// Reads a baseline.
///
/// # Errors
/// [`BenchError::Io`] when there is none of that name, or it is none, or of another schema.
pub fn load(name: &str) -> Result<Report, BenchError> {
    let path = path_of(name);
    let io = |cause| BenchError::Io {
        what: format!("cannot read the baseline {}", path.display()),
        cause,
        remedy: "bench ... --save NAME makes one",
    };
    let text = std::fs::read_to_string(&path).map_err(io)?;
    let other = |found: &str| io(std::io::Error::other(format!("its schema is {found}, not {SCHEMA}")));
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| io(e.into()))?;
    match value["schema"].as_str() {
        Some(SCHEMA) => serde_json::from_value(value).map_err(|e| io(e.into())),
        found => Err(other(found.unwrap_or("none"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Machine;

    fn machine() -> Machine {
        serde_json::from_str(
            r#"{"cpu":"X","tsc_hz":1,"tsc_invariant":true,"tsc_drift_ppm":0,"kernel":"k","load":0,"free_hugepages":0,"gaps":[]}"#,
        )
        .unwrap()
    }

    fn report(lines: &[(&str, &[f64], &[f64])]) -> Report {
        let mut report = Report::new("test".into(), machine());
        for (name, ours, theirs) in lines {
            let line = Line::compare(name, ("op/s", Better::Higher), ours, Ok(("peer", theirs)));
            report.records.push(line.into());
        }
        report
    }

    const FLAT: &[f64] = &[100.0; 5];

    fn change(before: &[f64], now: &[f64]) -> Change {
        let verdicts = compare(&report(&[("x", before, FLAT)]), &report(&[("x", now, FLAT)]));
        assert_eq!(verdicts.len(), 1);
        verdicts[0].change
    }

    #[test]
    fn what_got_slower_is_worse_and_what_got_faster_better() {
        let before = [200.0, 201.0, 199.0, 200.0, 200.0];
        assert_eq!(change(&before, &[180.0, 181.0, 179.0, 180.0, 180.0]), Change::Worse);
        assert_eq!(change(&before, &[220.0, 221.0, 219.0, 220.0, 220.0]), Change::Better);
        assert_eq!(change(&before, &[195.0, 194.0, 196.0, 195.0, 195.0]), Change::Same, "of no interest");
    }

    #[test]
    fn the_same_change_is_chance_where_values_scatter() {
        let wide = [140.0, 200.0, 260.0, 190.0, 230.0, 150.0];
        assert_eq!(change(&wide, &[180.0, 120.0, 240.0, 170.0, 210.0, 130.0]), Change::Same);
    }

    #[test]
    fn runs_that_differ_by_chance_alone_seldom_differ() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut run = || -> Vec<f64> { (0..7).map(|_| 100.0 * (0.9 + 0.2 * random.f64())).collect() };
        let wrong = (0..300).filter(|_| change(&run(), &run()) != Change::Same).count();
        assert!(wrong <= 9, "{wrong} of 300");
    }

    #[test]
    fn a_machine_that_slowed_both_sides_is_not_our_regression() {
        let before = report(&[("x", &[200.0; 5], &[100.0; 5])]);
        let now = report(&[("x", &[100.0; 5], &[50.0; 5])]);
        assert_eq!(compare(&before, &now)[0].change, Change::Same);
    }

    #[test]
    fn what_is_gone_is_said_and_another_cpu_compares_ratios_only() {
        let before = report(&[("x", FLAT, FLAT), ("y", FLAT, FLAT)]);
        let mut now = report(&[("x", FLAT, FLAT)]);
        let gone = compare(&before, &now);
        assert_eq!(gone.iter().map(|v| v.change).collect::<Vec<_>>(), [Change::Same, Change::Missing]);
        now.machine.cpu = "Y".into();
        now.records.push(Line::compare("z", ("op/s", Better::Higher), FLAT, Ok(("p", &[]))).into());
        let mut before = before;
        before.records.push(Line::compare("z", ("op/s", Better::Higher), FLAT, Ok(("p", &[]))).into());
        assert!(compare(&before, &now).iter().all(|v| v.figure == "ratio"));
    }

    fn curve(mode: Mode, rate: f64, found: Option<f64>) -> Report {
        let text = serde_json::json!({
            "name": "c", "about": "", "mode": mode, "unit": "op/s", "facts": {}, "stages": [], "command": "", "notes": [],
            "found": found.map(|rate| serde_json::json!({"rate": rate, "failed": null, "criterion": ""})),
            "points": [{
                "depth": null, "offered": rate, "arrivals": "poisson", "at_s": null, "sent": 1, "done": 1, "lost": 0,
                "unsent": 0, "late_us": 0.0, "cpu_share": 100.0, "latency": null, "rate": Summary::of(&[rate; 5]),
            }],
        });
        let curve: Curve = serde_json::from_value(text).unwrap();
        let mut report = report(&[]);
        report.records.push(curve.into());
        report
    }

    #[test]
    fn what_does_nothing_any_more_is_worse_and_not_missing() {
        let worst = |before: &Report, now: &Report| {
            compare(before, now).iter().filter(|v| v.change == Change::Worse).count()
        };
        assert_eq!(worst(&curve(Mode::ZeroLoss, 9.0, Some(9.0)), &curve(Mode::ZeroLoss, 9.0, None)), 1);
        assert_eq!(worst(&curve(Mode::ZeroLoss, 9.0, None), &curve(Mode::ZeroLoss, 9.0, Some(9.0))), 0);
        // A load that follows the capacity: half of it is half the figure.
        assert!(worst(&curve(Mode::Open, 100.0, None), &curve(Mode::Open, 50.0, None)) >= 1);
        assert_eq!(worst(&curve(Mode::Open, 100.0, None), &curve(Mode::Open, 99.0, None)), 0);
        let none = curve(Mode::Open, 0.0, None);
        assert!(worst(&curve(Mode::Open, 100.0, None), &none) >= 1);
    }

    #[test]
    fn a_baseline_is_kept_and_read_and_another_schema_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er.json");
        let name = path.to_str().unwrap();
        save(&report(&[("x", FLAT, FLAT)]), name).unwrap();
        assert_eq!(load(name).unwrap().records[0].name(), "x");
        let text = std::fs::read_to_string(&path).unwrap().replace(SCHEMA, "warpdrive-bench/0");
        std::fs::write(&path, text).unwrap();
        let error = load(name).unwrap_err().to_string();
        assert!(error.contains("warpdrive-bench/0") && error.contains("er.json"), "{error}");
        assert!(load("/no/such/file.json").is_err());
        assert!(path_of("main").ends_with("warpdrive/bench/main.json"));
    }
}
