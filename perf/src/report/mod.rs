//! Reports of a run: one page of HTML, plots as SVG and PNG, HdrHistogram's text, and the JSON. Nothing of them needs
//! a network, or a font of the machine.
//!
//! A `Figure` says what is in a plot, `draw` draws it on whatever plotters draws on, `render` and `png` make files of
//! it; `page` and `tables` are the page.

use std::collections::BTreeMap;

use crate::record::{Record, Report};

mod axis;
mod bars;
mod curves;
mod draw;
mod figure;
mod files;
mod hgrm;
mod legend;
mod number;
mod page;
mod png;
mod ratios;
mod render;
#[cfg(test)]
mod samples;
mod search;
mod tables;
mod theme;
mod warnings;

pub use files::write;
pub use hgrm::hgrm;
pub use page::html;

/// All figures of a report.
fn figures(report: &Report) -> Vec<figure::Figure> {
    let lines = lines(report);
    let mut figures = ratios::figures(&lines);
    let stems = stems(report);
    for (record, stem) in report.records.iter().zip(&stems) {
        if let Record::Curve(curve) = record {
            figures.extend(curves::figures(curve, stem));
        }
    }
    figures
}

/// The comparisons of a report.
fn lines(report: &Report) -> Vec<&crate::measure::Line> {
    let records = report.records.iter();
    records
        .filter_map(|record| if let Record::Comparison(line) = record { Some(line) } else { None })
        .collect()
}

/// Names of the records, fit for files and ids, all different.
fn stems(report: &Report) -> Vec<String> {
    let mut names = Names::default();
    report.records.iter().map(|record| names.take(record.name())).collect()
}

/// Names that were given.
#[derive(Default)]
struct Names {
    given: BTreeMap<String, usize>,
}

impl Names {
    /// Letters of a name at most.
    const MOST: usize = 80;

    /// A name fit for a file of any system, and not given before.
    fn take(&mut self, name: &str) -> String {
        let mut safe = String::new();
        for letter in name.chars() {
            match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => safe.push(letter),
                '.' | '-' if !safe.is_empty() => safe.push(letter),
                _ if safe.is_empty() || safe.ends_with('-') => {}
                _ => safe.push('-'),
            }
        }
        safe.truncate(Self::MOST);
        let safe = safe.trim_end_matches(['-', '.']);
        let safe = if safe.is_empty() { "unnamed" } else { safe };
        let mut candidate = safe.to_owned();
        // A system may not tell capitals from small letters.
        while self.given.contains_key(&candidate.to_lowercase()) {
            let n = self.given.entry(safe.to_lowercase()).or_insert(1);
            *n += 1;
            candidate = format!("{safe}-{n}");
        }
        self.given.insert(candidate.to_lowercase(), 1);
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_files() {
        let mut names = Names::default();
        let given = ["rsa2048-closed depth 8", "../../etc/passwd", "A", "a", "a", "a-2", "", "..", "x: y%?"]
            .map(|n| names.take(n));
        assert_eq!(
            given,
            [
                "rsa2048-closed-depth-8",
                "etc-passwd",
                "A",
                "a-2",
                "a-3",
                "a-2-2",
                "unnamed",
                "unnamed-2",
                "x-y"
            ]
        );
        let long = names.take(&"ü".repeat(300)) + &names.take(&"b".repeat(300));
        assert!(long.is_ascii() && long.len() < 100);
    }

    #[test]
    fn figures_have_different_names() {
        let mut report = samples::report();
        report.records.push(samples::curve(crate::Mode::Open).into());
        let figures = figures(&report);
        let mut stems: Vec<&str> = figures.iter().map(|f| f.stem.as_str()).collect();
        let count = stems.len();
        stems.sort_unstable();
        stems.dedup();
        assert_eq!(stems.len(), count);
        assert_eq!(count, 1 + 4 * 3 + 2 + 3, "comparisons, four kinds of three, a soak, open once more");
    }
}
