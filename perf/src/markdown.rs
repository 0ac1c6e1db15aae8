//! Results as tables of a Markdown file, between two marks. What is outside of them is left as it is.

use std::fmt::Write as _;
use std::path::Path;

use crate::measure::{Line, Machine};
use crate::record::{Curve, Record, Report};
use crate::{BENCHES, BenchError};

/// Where the tables begin.
const BEGIN: &str = "<!-- bench: begin -->";
/// Where they end.
const END: &str = "<!-- bench: end -->";

/// Says whether the marks are there, before there are results.
///
/// # Errors
/// [`BenchError::Io`] when they are not, or the file cannot be read.
pub fn check(path: &Path) -> Result<(), BenchError> {
    split(path).map(drop)
}

/// Replaces what is between the marks by the tables of a report.
///
/// # Errors
/// [`BenchError::Io`] when a mark is missing, or the file cannot be written.
pub fn replace(path: &Path, report: &Report) -> Result<(), BenchError> {
    let (before, after) = split(path)?;
    let text = format!("{before}{BEGIN}\n{}{END}{after}", tables(report));
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Whole or not at all, and with the rights that it had.
    let io = |cause| wrong(path, cause);
    let file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::fs::write(file.path(), text).map_err(io)?;
    let rights = std::fs::metadata(path).map_err(io)?.permissions();
    std::fs::set_permissions(file.path(), rights).map_err(io)?;
    file.persist(path).map(drop).map_err(|e| io(e.error))
}

fn split(path: &Path) -> Result<(String, String), BenchError> {
    let text = std::fs::read_to_string(path).map_err(|cause| wrong(path, cause))?;
    let found = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = found.ok_or_else(|| wrong(path, std::io::Error::other("the marks are missing")))?;
    Ok((before.to_owned(), after.to_owned()))
}

fn wrong(path: &Path, cause: std::io::Error) -> BenchError {
    BenchError::Io {
        what: format!("cannot put tables into {}", path.display()),
        cause,
        remedy: "a Markdown file with the lines \"<!-- bench: begin -->\" and \"<!-- bench: end -->\"",
    }
}

/// The tables.
#[must_use]
pub fn tables(report: &Report) -> String {
    let mut text = String::new();
    machine(&mut text, report);
    for bench in BENCHES {
        let of: Vec<&Record> = report.records.iter().filter(|r| bench.owns(r.name())).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n### {}\n\n{}.", bench.name, sentence(bench.about));
        if let Some(command) = of.first().map(|r| r.command()) {
            let _ = writeln!(text, "`{}`", public(command));
        }
        comparisons(&mut text, &of);
        for record in &of {
            match record {
                Record::Curve(found) => curve(&mut text, found),
                Record::Failed(failure) => {
                    let _ = writeln!(text, "\n{} was not measured: {}", failure.name, failure.error);
                }
                Record::Comparison(_) => {}
            }
        }
    }
    text
}

/// A command as others may repeat it: paths of this machine mean nothing to them.
fn public(command: &str) -> String {
    let mut words = Vec::new();
    let mut after = "";
    for word in command.split(' ').filter(|w| *w != "--json") {
        words.push(match after {
            "--crypto-mb" => "PATH",
            "--corpus" | "--out" => "FOLDER",
            _ => word,
        });
        after = word;
    }
    words.join(" ")
}

fn sentence(about: &str) -> String {
    let mut letters = about.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn machine(text: &mut String, report: &Report) {
    let Machine { cpu, tsc_hz, kernel, load, free_hugepages, gaps, .. } = &report.machine;
    let cpus = gaps.len();
    let _ = writeln!(
        text,
        "Machine: {cpu}, {cpus} cpus measured on, time-stamp counter {:.2} GHz, kernel {kernel}, load {load}, {free_hugepages} free pages of 2 MiB.",
        *tsc_hz as f64 / 1e9
    );
    for g in gaps {
        let _ = writeln!(
            text,
            "Cpu {} in a spin test of {} ms before: {} gaps above 1 us, {} above 10 us, {} above 100 us, the longest {:.0} us, {:.2} % lost.",
            g.cpu, g.spun_ms, g.over_1us, g.over_10us, g.over_100us, g.longest_us, g.lost_percent
        );
    }
    for doubt in report.machine.doubts() {
        let _ = writeln!(text, "**Noisy: {doubt}.**");
    }
    for (name, version) in &report.versions {
        let _ = writeln!(text, "{name} {version}.");
    }
    let _ = writeln!(text, "Command: `{}`", public(&report.command));
}

fn comparisons(text: &mut String, records: &[&Record]) {
    let lines: Vec<&Line> =
        records.iter().filter_map(|r| if let Record::Comparison(l) = r { Some(l) } else { None }).collect();
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n| line | ours | peer | unit | ratio | 95 % | least to most | rounds |");
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|");
    for line in lines {
        let range = |of: Option<[f64; 2]>| of.map_or(String::new(), |[a, b]| format!("{a:.2} to {b:.2}"));
        let theirs = line.peer_value.map_or(String::new(), |v| format!("{} ", figure(v)));
        let _ = writeln!(
            text,
            "| {} | {} | {theirs}{} | {} | {} | {} | {} | {} |",
            line.name,
            figure(line.value),
            line.peer.replace('|', "\\|"),
            line.unit,
            line.ratio.map_or("–".to_owned(), |r| format!("**{r:.2}**")),
            range(line.interval),
            range(line.spread),
            line.rounds
        );
    }
}

fn curve(text: &mut String, curve: &Curve) {
    let _ = writeln!(text, "\n{}: {}.", curve.name, sentence(&curve.about));
    if let Some(device) = curve.facts.get("device") {
        let _ = writeln!(text, "Device: {device}.");
    }
    let unit = &curve.unit;
    let _ = writeln!(text, "\n| load | {unit} | p50 us | p90 | p99 | p99.9 | max | lost | not sent |");
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|---|");
    for point in &curve.points {
        let of = point.latency.as_ref().map(|l| [l.p50, l.p90, l.p99, l.p999].map(|s| figure(s.median)));
        let latency = of.map_or("– | – | – | –".to_owned(), |of| of.join(" | "));
        let max = point.latency.as_ref().map_or("–".to_owned(), |l| figure(l.max));
        let rate = figure(point.rate.median);
        let _ = writeln!(
            text,
            "| {} | {rate} | {latency} | {max} | {} | {} |",
            point.label(),
            point.lost,
            point.unsent
        );
    }
    if let Some(found) = &curve.found {
        let _ = writeln!(text, "\nHighest rate: {} {unit}: {}.", figure(found.rate), found.criterion);
    }
    for note in curve.notes.iter().filter(|n| n.starts_with("OTHER LOAD")) {
        let _ = writeln!(text, "\n**{note}.**");
    }
}

/// A number as tables have it: four digits or so, thousands apart.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 1e9 => return format!("{:.2} G", value / 1e9),
        v if v >= 1e7 => return format!("{:.1} M", value / 1e6),
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let plain = format!("{value:.decimals$}");
    let whole = plain.split('.').next().unwrap_or_default().len();
    let digits: String = plain
        .char_indices()
        .flat_map(|(i, c)| {
            let gap = i > 0 && i < whole && (whole - i).is_multiple_of(3) && c.is_ascii_digit();
            gap.then_some(',').into_iter().chain([c])
        })
        .collect();
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Better;

    fn report() -> Report {
        let mut report = Report { command: "warpdrive bench all".into(), ..Report::default() };
        let line =
            Line::compare("ring", ("cycles/object", Better::Lower), &[2.0; 3], Ok(("rte_ring", &[3.0; 3])));
        report.records.push(line.into());
        report
    }

    #[test]
    fn figures_have_thousands_apart() {
        for (value, text) in [
            (0.7301, "0.730"),
            (2.464, "2.46"),
            (97.25, "97.2"),
            (999.6, "1,000"),
            (1234.0, "1,234"),
            (9_876_543.0, "9,876,543"),
            (255_800_000.0, "255.8 M"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn commands_name_no_paths_of_this_machine() {
        let command = "warpdrive bench all --json --crypto-mb /a/b.so --out /c --rounds 3";
        assert_eq!(public(command), "warpdrive bench all --crypto-mb PATH --out FOLDER --rounds 3");
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.md");
        std::fs::write(&path, format!("# Title\n{BEGIN}\nold\n{END}\nrest\n")).unwrap();
        check(&path).unwrap();
        replace(&path, &report()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# Title\n<!--") && text.ends_with("-->\nrest\n") && !text.contains("old"));
        assert!(text.contains("| ring | 2.00 | 3.00 rte_ring | cycles/object | **1.50** |"), "{text}");
        let once = text.clone();
        replace(&path, &report()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), once);
        std::fs::write(&path, "no marks").unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("marks are missing"));
    }
}
