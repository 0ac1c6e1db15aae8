//! Figures of comparisons: how many times better or worse than the peer's, in groups by bench.

use super::axis::Axis;
use super::figure::{Bar, Bars, Body, Figure, Row};
use super::theme::{BLUE, GREY, Ink, ORANGE};
use crate::BENCHES;
use crate::measure::Line;

/// What the names of the figures begin with, a number after it.
pub const STEM: &str = "comparisons-plot-";
/// Bars in a plot at most.
pub const BARS: usize = 25;

/// The bench that a line is of, by its name: the longest bench's name that it begins with, else its first word.
#[must_use]
pub fn bench_of(name: &str) -> &str {
    let begins = |bench: &str| {
        name.strip_prefix(bench)
            .is_some_and(|rest| rest.is_empty() || !rest.starts_with(char::is_alphanumeric))
    };
    let longest = BENCHES.iter().map(|b| b.name).filter(|b| begins(b)).max_by_key(|b| b.len());
    match longest {
        Some(bench) => &name[..bench.len()],
        None => name.split(['-', ' ']).next().unwrap_or(name),
    }
}

/// Lines of each bench, in the order in which they came.
#[must_use]
pub fn groups<'a>(lines: &[&'a Line]) -> Vec<(&'a str, Vec<&'a Line>)> {
    let mut groups: Vec<(&str, Vec<&Line>)> = Vec::new();
    for line in lines {
        let bench = bench_of(&line.name);
        match groups.iter_mut().find(|(name, _)| *name == bench) {
            Some((_, group)) => group.push(line),
            None => groups.push((bench, vec![line])),
        }
    }
    groups
}

/// Bars of all lines that have a ratio.
#[must_use]
pub fn figures(lines: &[&Line]) -> Vec<Figure> {
    let with_ratio: Vec<&Line> =
        lines.iter().copied().filter(|l| l.ratio.is_some_and(|r| r.is_finite() && r > 0.0)).collect();
    let plots = packed(groups(&with_ratio));
    let count = plots.len();
    let of = |(i, groups): (usize, Vec<(&str, Vec<&Line>)>)| {
        let part = if count > 1 { format!(" ({} of {count})", i + 1) } else { String::new() };
        figure(&groups, &part, i)
    };
    plots.into_iter().enumerate().filter_map(of).collect()
}

/// Groups of a plot.
type Groups<'a> = Vec<(&'a str, Vec<&'a Line>)>;

/// As few plots as have room for all, none with more than [`BARS`] bars; a group is in one plot if it has room there.
fn packed(groups: Groups<'_>) -> Vec<Groups<'_>> {
    let mut plots: Vec<Groups<'_>> = Vec::new();
    for (bench, lines) in groups {
        let parts = lines.len().div_ceil(BARS).max(1);
        for part in lines.chunks(lines.len().div_ceil(parts).max(1)) {
            let room =
                |plot: &Groups<'_>| plot.iter().map(|(_, l)| l.len()).sum::<usize>() + part.len() <= BARS;
            match plots.last_mut().filter(|plot| room(plot)) {
                Some(plot) => plot.push((bench, part.to_vec())),
                None => plots.push(vec![(bench, part.to_vec())]),
            }
        }
    }
    plots
}

fn figure(groups: &Groups<'_>, part: &str, index: usize) -> Option<Figure> {
    let lines = || groups.iter().flat_map(|(_, lines)| lines);
    let values = lines().flat_map(|l| l.ratio.into_iter().chain(range(l).into_iter().flatten()));
    let mut axis = Axis::log("ratio to the peer (times), logarithmic", values.chain([1.0]))?;
    for (_, label) in &mut axis.ticks {
        label.push('×');
    }
    let rows = groups.iter().flat_map(|(bench, lines)| {
        std::iter::once(Row::Head((*bench).to_owned())).chain(lines.iter().map(|line| row(bench, line)))
    });
    let legend = [(BLUE, "better than the peer"), (ORANGE, "worse"), (GREY, "no difference shown")];
    let used = |ink: &Ink| lines().any(|l| judged(l) == *ink);
    let legend =
        legend.into_iter().filter(|(ink, _)| used(ink)).map(|(ink, l)| (ink, l.to_owned())).collect();
    Some(Figure {
        stem: format!("{STEM}{}", index + 1),
        title: format!("ours against peers{part}"),
        caption: "To the right of 1×, ours is better, whatever the unit: a rate higher, a cost lower. Bars are medians \
                  of the ratios of neighbouring slices; whiskers are their 95 % intervals (bootstrap), or from the \
                  smallest to the largest where slices are too few."
            .to_owned(),
        body: Body::Bars(Bars { axis, from: 1.0, rows: rows.collect(), legend }),
    })
}

fn row(bench: &str, line: &Line) -> Row {
    let short =
        line.name.strip_prefix(bench).map_or(line.name.as_str(), |s| s.trim_start_matches(['-', ' ', '/']));
    let label = if short.is_empty() { line.name.as_str() } else { short };
    let to = line.ratio.unwrap_or(1.0);
    Row::Of(label.to_owned(), vec![Bar { to, range: range(line), ink: judged(line), text: times(to) }])
}

/// A ratio in words.
#[must_use]
pub fn times(ratio: f64) -> String {
    match ratio {
        r if r >= 9.95 => format!("{r:.1}×"),
        r if r >= 0.0995 => format!("{r:.2}×"),
        r if r >= 0.00995 => format!("{r:.3}×"),
        r => format!("{r:.1e}×"),
    }
}

/// How far the ratio may be off.
fn range(line: &Line) -> Option<[f64; 2]> {
    line.interval.or(line.spread.filter(|_| line.rounds > 1))
}

/// Better, worse, or neither for sure.
fn judged(line: &Line) -> Ink {
    let [low, high] = range(line).unwrap_or([line.ratio.unwrap_or(1.0); 2]);
    match () {
        () if low > 1.0 => BLUE,
        () if high < 1.0 => ORANGE,
        () => GREY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Better;

    fn line(name: &str, ours: &[f64]) -> Line {
        let theirs = vec![1.0; ours.len()];
        Line::compare(name, ("op/s", Better::Higher), ours, Ok(("peer 1", &theirs)))
    }

    #[test]
    fn lines_are_grouped_by_bench() {
        assert_eq!(bench_of("mempool-burst-32"), "mempool");
        assert_eq!(bench_of("forward-af-xdp"), "forward-af-xdp");
        assert_eq!(bench_of("ring"), "ring");
        assert_eq!(bench_of("rings-big"), "rings", "no bench: its first word");
        let (a, b, c) = (line("ring-1", &[1.0]), line("mempool", &[1.0]), line("ring-2", &[1.0]));
        let groups = groups(&[&a, &b, &c]);
        assert_eq!(
            groups.iter().map(|(n, l)| (*n, l.len())).collect::<Vec<_>>(),
            [("ring", 2), ("mempool", 1)]
        );
    }

    #[test]
    fn colours_say_better_worse_or_neither() {
        assert_eq!(judged(&line("x", &[2.0, 2.1, 2.2])), BLUE);
        assert_eq!(judged(&line("x", &[0.5, 0.6, 0.5])), ORANGE);
        assert_eq!(judged(&line("x", &[0.9, 1.1, 1.0, 0.95])), GREY);
        assert_eq!(judged(&line("x", &[2.0])), BLUE, "one round has no range");
    }

    #[test]
    fn many_bars_are_in_several_plots() {
        let lines: Vec<Line> = (0..70)
            .map(|i| line(&format!("{}-{i}", if i < 60 { "mempool" } else { "ring" }), &[1.5, 1.6, 1.7]))
            .collect();
        let figures = figures(&lines.iter().collect::<Vec<_>>());
        let bars: Vec<usize> = figures
            .iter()
            .map(|f| match &f.body {
                Body::Bars(bars) => bars.rows.iter().filter(|r| matches!(r, Row::Of(..))).count(),
                Body::Panels(_) => 0,
            })
            .collect();
        assert_eq!(bars.iter().sum::<usize>(), 70);
        assert!(bars.iter().all(|n| *n <= BARS), "{bars:?}");
        assert!(figures[0].title.ends_with(&format!("(1 of {})", figures.len())));
    }

    #[test]
    fn without_ratios_there_is_no_plot() {
        assert!(figures(&[]).is_empty());
        let mut none = line("x", &[1.0]);
        for ratio in [None, Some(f64::NAN), Some(f64::INFINITY), Some(0.0)] {
            none.ratio = ratio;
            assert!(figures(&[&none]).is_empty(), "{ratio:?}");
        }
    }

    #[test]
    fn ratios_in_words() {
        assert_eq!(
            [0.00218, 0.0515, 0.5, 1.0, 3.856, 12.34].map(times),
            ["2.2e-3×", "0.051×", "0.50×", "1.00×", "3.86×", "12.3×"]
        );
    }
}
