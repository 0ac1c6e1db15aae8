//! The page: one file that needs nothing else. All texts of records go through `html!`, which escapes them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figure::Figure;
use super::warnings::warnings;
use super::{figures, lines, number, ratios, render, stems, tables, theme};
use crate::measure::{Line, Machine};
use crate::record::{Curve, Failure, Mode, Record, Report};

/// How the page looks.
const STYLE: &str = include_str!("style.css");

/// The page of a report.
#[must_use]
pub fn html(report: &Report) -> String {
    html_of(report, &figures(report))
}

/// The page of a report whose figures are known.
pub fn html_of(report: &Report, figures: &[Figure]) -> String {
    let when = utc(report.started_unix);
    let stems = stems(report);
    let lines = lines(report);
    let curves = || {
        report.records.iter().zip(&stems).filter_map(|(record, stem)| match record {
            Record::Curve(curve) => Some((curve, stem.as_str())),
            Record::Comparison(_) | Record::Failed(_) => None,
        })
    };
    let failures: Vec<&Failure> = report
        .records
        .iter()
        .filter_map(|record| if let Record::Failed(failure) = record { Some(failure) } else { None })
        .collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "warpdrive bench, " (when) }
                style { (PreEscaped(STYLE)) (PreEscaped(theme::dark_rules(".plot"))) }
            }
            body {
                header {
                    h1 { "warpdrive bench" }
                    p .when { "Began " time datetime=(when) { (when.replace('T', " ").replace('Z', " UTC")) } }
                    (command(&report.command))
                }
                main {
                    (warned(&warnings(report)))
                    (machine(&report.machine, report))
                    (failed(&failures))
                    @if report.records.is_empty() { p { "There are no results." } } @else {
                        (contents(!lines.is_empty(), curves()))
                    }
                    @if !lines.is_empty() { (comparisons(&lines, figures)) }
                    @for (curve, stem) in curves() { (of_curve(curve, stem, figures)) }
                }
                footer { p { "Form of the data: " code { (report.schema) } ". All numbers are in results.json." } }
            }
        }
    };
    page.into_string()
}

/// A time as RFC 3339 has it.
fn utc(unix: u64) -> String {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(unix.min(LAST));
    humantime::format_rfc3339_seconds(time).to_string()
}

fn command(command: &str) -> Markup {
    html! { @if !command.is_empty() { pre .command tabindex="0" { code { (command) } } } }
}

fn warned(warnings: &[String]) -> Markup {
    html! {
        @if !warnings.is_empty() {
            section .warnings aria-labelledby="warnings" {
                h2 #warnings { "Warnings" }
                ul { @for warning in warnings { li { (warning) } } }
            }
        }
    }
}

/// Benches that gave no result, or no further one.
fn failed(failures: &[&Failure]) -> Markup {
    html! {
        @if !failures.is_empty() {
            section .warnings aria-labelledby="failures" {
                h2 #failures { "Benches that were not run to their end" }
                @for failure in failures {
                    p { strong { (failure.name) } ": " (failure.error) }
                    (command(&failure.command))
                }
            }
        }
    }
}

fn machine(machine: &Machine, report: &Report) -> Markup {
    let facts = [
        ("cpu", machine.cpu.clone()),
        ("time-stamp counter", clock(machine)),
        ("kernel", machine.kernel.clone()),
        ("load average before", machine.load.to_string()),
        ("free pages of 2 MiB", machine.free_hugepages.to_string()),
    ];
    html! {
        section aria-labelledby="machine" {
            h2 #machine { "Machine" }
            div .columns {
                dl .facts {
                    @for (name, value) in &facts { div { dt { (name) } dd { (value) } } }
                }
                @if !report.versions.is_empty() {
                    dl .facts {
                        @for (name, value) in &report.versions { div { dt { (name) } dd { (value) } } }
                    }
                }
            }
            @if !machine.gaps.is_empty() { (tables::gaps(&machine.gaps)) }
        }
    }
}

/// What is known of the clock.
fn clock(machine: &Machine) -> String {
    let steady =
        if machine.tsc_invariant { "one rate in all states" } else { "not known to run at one rate" };
    let (mhz, drift) = (number::plain(machine.tsc_hz as f64 / 1e6), machine.tsc_drift_ppm);
    format!("{mhz} MHz, {steady}, {drift} ppm from the kernel's clock")
}

fn contents<'a>(comparisons: bool, curves: impl Iterator<Item = (&'a Curve, &'a str)>) -> Markup {
    html! {
        nav aria-label="Results" {
            ul {
                @if comparisons { li { a href="#comparisons" { "Comparisons" } } }
                @for (curve, stem) in curves { li { a href={ "#" (stem) } { (curve.name) } } }
            }
        }
    }
}

/// A plot with its words, by ids that begin with `stem`.
fn plots(figures: &[Figure], belongs: impl Fn(&str) -> bool) -> Markup {
    html! {
        div .plots {
            @for figure in figures.iter().filter(|f| belongs(&f.stem)) {
                figure id={ "plot-" (figure.stem) } {
                    @match render::element(figure) {
                        Ok(svg) => div .scroll tabindex="0" role="group" aria-label=(figure.title) { (PreEscaped(svg)) },
                        Err(error) => p { "This plot could not be drawn: " (error) },
                    }
                    figcaption { (figure.caption) }
                }
            }
        }
    }
}

fn comparisons(lines: &[&Line], figures: &[Figure]) -> Markup {
    html! {
        section aria-labelledby="comparisons" {
            h2 #comparisons { "Comparisons" }
            (plots(figures, is_of_comparisons))
            @for (bench, lines) in ratios::groups(lines) {
                h3 { (bench) }
                (tables::comparisons(bench, &lines))
                (notes_of(&lines))
                @for once in distinct(lines.iter().map(|l| l.command.as_str())) { (command(once)) }
            }
        }
    }
}

/// The figures that are of no curve.
fn is_of_comparisons(stem: &str) -> bool {
    stem.strip_prefix(ratios::STEM).is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
}

/// Notes of a group: what is said of all of it once.
fn notes_of(lines: &[&Line]) -> Markup {
    let all = distinct(lines.iter().flat_map(|l| &l.notes).map(String::as_str));
    let of = |note: &str| -> String {
        let names: Vec<&str> =
            lines.iter().filter(|l| l.notes.iter().any(|n| n == note)).map(|l| l.name.as_str()).collect();
        if names.len() == lines.len() { String::new() } else { format!("{}: ", names.join(", ")) }
    };
    html! {
        @if !all.is_empty() {
            ul .notes { @for note in all { li { span .of { (of(note)) } (note) } } }
        }
    }
}

/// Each once, in the order in which they come.
fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    texts.filter(|t| !t.is_empty() && seen.insert(*t)).collect()
}

fn of_curve(curve: &Curve, stem: &str, figures: &[Figure]) -> Markup {
    let belongs = |of: &str| of.strip_prefix(stem).is_some_and(|kind| super::curves::KINDS.contains(&kind));
    html! {
        section aria-labelledby=(stem) {
            h2 #(stem) { (curve.name) }
            p { (curve.about) }
            @if !curve.facts.is_empty() {
                dl .facts { @for (name, value) in &curve.facts { div { dt { (name) } dd { (value) } } } }
            }
            (found(curve))
            (plots(figures, belongs))
            @if !curve.points.is_empty() { (tables::points(curve)) } @else { p { "There are no points." } }
            @if !curve.stages.is_empty() { (tables::stages(&curve.stages)) }
            @if !curve.notes.is_empty() { ul .notes { @for note in &curve.notes { li { (note) } } } }
            (command(&curve.command))
        }
    }
}

fn found(curve: &Curve) -> Markup {
    let unit = &curve.unit;
    html! {
        @if let Some(found) = &curve.found {
            p .found {
                "Found: " strong { (number::si(found.rate, 4)) " " (unit) }
                @match found.failed {
                    Some(failed) => { "; the lowest that failed: " (number::si(failed, 4)) " " (unit) ". " }
                    None => { "; the sender can do no more. " }
                }
                "Criterion: " (found.criterion) "."
            }
        } @else if matches!(curve.mode, Mode::ZeroLoss | Mode::P99) {
            p .found { "Found: " strong { "none" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn texts_of_records_are_no_markup() {
        const EVIL: &str = "<script>alert('x')</script><img src=\"http://example.com/\">&amp;";
        let mut report = samples::report();
        report.command = EVIL.into();
        report.schema = EVIL.into();
        report.versions.insert(EVIL.into(), EVIL.into());
        (report.machine.cpu, report.machine.kernel) = (EVIL.into(), EVIL.into());
        for record in &mut report.records {
            match record {
                Record::Comparison(line) => {
                    for text in [&mut line.name, &mut line.unit, &mut line.peer, &mut line.command] {
                        *text = EVIL.into();
                    }
                    line.notes = vec![EVIL.into()];
                }
                Record::Curve(curve) => {
                    for text in [&mut curve.name, &mut curve.about, &mut curve.unit, &mut curve.command] {
                        *text = EVIL.into();
                    }
                    curve.facts.insert(EVIL.into(), EVIL.into());
                    curve.notes.push(EVIL.into());
                    curve.stages.iter_mut().for_each(|s| s.name = EVIL.into());
                    if let Some(found) = &mut curve.found {
                        found.criterion = EVIL.into();
                    }
                }
                Record::Failed(failure) => {
                    for text in [&mut failure.name, &mut failure.error, &mut failure.command] {
                        *text = EVIL.into();
                    }
                }
            }
        }
        let page = html(&report);
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("&amp;amp;amp;"));
        assert!(page.matches("&lt;script&gt;").count() > 50);
        for figure in figures(&report) {
            let svg = render::svg(&figure).unwrap();
            assert!(!svg.contains("<script") && !svg.contains("<img"), "{}", figure.stem);
        }
    }

    #[test]
    fn nothing_is_fetched() {
        let page = html(&samples::report());
        let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "@import", "url(", "<link", "<script"] {
            assert!(!without_namespace.contains(outside), "{outside}");
        }
    }

    #[test]
    fn what_a_reader_needs_is_there() {
        let page = html(&samples::report());
        for said in [
            "2026-11-21 18:40:00 UTC",
            "AMD EPYC 9654",
            "OpenSSL",
            "Noisy: cpu 0",
            "<strong>forward-af-xdp</strong>: /home/a b/&lt;corpus&gt;: no such file",
            "3.5 ppm",
            "warpdrive bench --all --corpus",
            "id=\"pipeline-zero-loss\"",
            "Found: <strong>803.6 k packets/s</strong>",
            "one frame of 64 bytes",
            "avx512",
            "dpdk-testpmd (absent)",
            "compress deflate",
            "--mode soak",
            "scope=\"row\"",
            "<figcaption>",
        ] {
            assert!(page.contains(said), "{said}");
        }
        assert_eq!(page.matches("<svg").count(), figures(&samples::report()).len(), "each plot once");
    }

    #[test]
    fn reports_of_little_are_pages_too() {
        let mut report = samples::report();
        report.records.retain(|r| matches!(r, Record::Curve(_)));
        assert!(!html(&report).contains("Comparisons"));
        for record in &mut report.records {
            if let Record::Curve(curve) = record {
                curve.points.clear();
                curve.stages.clear();
                curve.found = None;
            }
        }
        let page = html(&report);
        assert!(page.contains("There are no points.") && !page.contains("<svg"));
        report.records.clear();
        report.machine.gaps.clear();
        report.versions.clear();
        assert!(html(&report).contains("There are no results."));
        assert_eq!(utc(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
