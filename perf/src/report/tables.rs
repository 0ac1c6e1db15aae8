//! Tables of a page.

use maud::{Markup, html};

use super::curves::evenly;
use super::number::{count, plain, si};
use super::ratios::times;
use crate::measure::{Better, Gaps, Line};
use crate::record::{Curve, Latency, Mode, Point, StageTime};
use crate::statistics::Summary;

/// Rows of a soak at most; the plot and the data have all.
const ROWS: usize = 40;

/// A table that scrolls by itself where it has no room.
fn table(caption: &str, content: &Markup) -> Markup {
    html! {
        div .scroll tabindex="0" role="group" aria-label=(caption) {
            table { caption { (caption) } (content) }
        }
    }
}

fn head(names: &[&str]) -> Markup {
    let is_text = |name: &str| matches!(name, "unit" | "peer");
    html! { thead { tr { @for name in names { th scope="col" .text[is_text(name)] { (name) } } } } }
}

/// A median, and beneath it how it spread.
fn spread(summary: &Summary, text: impl Fn(f64) -> String) -> Markup {
    html! {
        td {
            @if summary.n == 0 { "–" } @else { (text(summary.median)) }
            @if summary.n > 1 { small { (text(summary.min)) " – " (text(summary.max)) } }
        }
    }
}

fn interval(interval: Option<[f64; 2]>, text: impl Fn(f64) -> String) -> Markup {
    html! { td { @if let Some([low, high]) = interval { (text(low)) " – " (text(high)) } @else { "–" } } }
}

/// How long a spinning thread was not running.
pub fn gaps(gaps: &[Gaps]) -> Markup {
    let content = html! {
        (head(&["cpu", "spun (ms)", "gaps > 1 us", "> 10 us", "> 100 us", "longest (us)", "time lost (%)"]))
        tbody {
            @for gap in gaps {
                tr {
                    th scope="row" { (gap.cpu) }
                    td { (gap.spun_ms) }
                    td { (gap.over_1us) }
                    td { (gap.over_10us) }
                    td { (gap.over_100us) }
                    td { (plain(gap.longest_us)) }
                    td { (plain(gap.lost_percent)) }
                }
            }
        }
    };
    table(
        "The machine's own jitter before measuring: how often a thread that only spins was not running",
        &content,
    )
}

/// Comparisons of one bench.
pub fn comparisons(bench: &str, lines: &[&Line]) -> Markup {
    let content = html! {
        (head(&["name", "unit", "ours", "95 % interval", "peer", "peer's", "ratio", "95 % interval", "min – max", "rounds"]))
        tbody {
            @for line in lines {
                tr {
                    th .name scope="row" { (line.name) }
                    td .text { (line.unit) small { (direction(line.better)) } }
                    (spread(&line.ours, |v| si(v, 4)))
                    (interval(line.ours.interval, |v| si(v, 4)))
                    td .text { (line.peer) }
                    td { (line.peer_value.map_or("–".into(), |v| si(v, 4))) }
                    td { (line.ratio.map_or("–".into(), times)) }
                    (interval(line.interval, times))
                    (interval(line.spread, times))
                    td { (line.rounds) }
                }
            }
        }
    };
    table(&format!("{bench}: medians; above 1× ours is better"), &content)
}

fn direction(better: Better) -> &'static str {
    match better {
        Better::Higher => "more is better",
        Better::Lower => "less is better",
    }
}

/// Points of a curve.
pub fn points(curve: &Curve) -> Markup {
    let unit = &curve.unit;
    let load = match curve.mode {
        Mode::Closed => "depth".to_owned(),
        Mode::Open | Mode::ZeroLoss | Mode::P99 => format!("offered ({unit})"),
        Mode::Soak => "time (s)".to_owned(),
    };
    let shown =
        if curve.mode == Mode::Soak { evenly(&curve.points, ROWS) } else { curve.points.iter().collect() };
    let rate = format!("rate ({unit})");
    let times = ["p50 (us)", "p90 (us)", "p99 (us)", "p99.9 (us)", "max (us)"];
    let counts = ["sent", "lost", "not sent", "sender late (us)", "cpu (%)"];
    let names: Vec<&str> =
        [load.as_str(), &rate, "95 % interval"].into_iter().chain(times).chain(counts).collect();
    let content = html! {
        (head(&names))
        tbody { @for point in &shown { (of_point(curve, point)) } }
    };
    let caption = match curve.points.len() - shown.len() {
        0 => format!("{}: medians of the repeats, and beneath them the least and the most", curve.name),
        _ => format!(
            "{}: {} of {} intervals; results.json has all",
            curve.name,
            shown.len(),
            curve.points.len()
        ),
    };
    table(&caption, &content)
}

fn of_point(curve: &Curve, point: &Point) -> Markup {
    let load = match curve.mode {
        Mode::Closed => point.depth.map(|d| d.to_string()),
        Mode::Soak => point.at_s.map(plain),
        Mode::Open | Mode::ZeroLoss | Mode::P99 => point.offered.map(|r| si(r, 4)),
    };
    let is_search = matches!(curve.mode, Mode::ZeroLoss | Mode::P99);
    let verdict = if super::search::passed(curve, point) { "passed" } else { "failed" };
    html! {
        tr {
            th scope="row" { (load.unwrap_or_else(|| "–".into())) @if is_search { small { (verdict) } } }
            (spread(&point.rate, |v| si(v, 4)))
            (interval(point.rate.interval, |v| si(v, 4)))
            (latency(point.latency.as_ref()))
            td { (count(point.sent)) }
            td .bad[point.lost > 0] { (count(point.lost)) }
            td .bad[point.unsent > 0] { (count(point.unsent)) }
            td { (plain(point.late_us)) }
            td { (plain(point.cpu_share)) }
        }
    }
}

fn latency(latency: Option<&Latency>) -> Markup {
    html! {
        @match latency {
            Some(l) => {
                @for of in [&l.p50, &l.p90, &l.p99, &l.p999] { (spread(of, plain)) }
                td { (plain(l.max)) }
            }
            None => { @for _ in 0..5 { td { "–" } } }
        }
    }
}

/// Stages of a pipeline.
pub fn stages(stages: &[StageTime]) -> Markup {
    let content = html! {
        (head(&["stage", "packets", "p50 (us)", "p99 (us)", "max (us)"]))
        tbody {
            @for stage in stages {
                tr {
                    th .name scope="row" { (stage.name) }
                    td { (count(stage.packets)) }
                    @for value in [stage.p50, stage.p99, stage.max] { td { (plain(value)) } }
                }
            }
        }
    };
    table("Time in each stage", &content)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    /// How many cells each row of a table has.
    fn cells(markup: &Markup) -> Vec<usize> {
        let rows = markup.0.split("<tr>").skip(1);
        rows.map(|row| row.matches("<td").count() + row.matches("<th ").count()).collect()
    }

    #[test]
    fn all_rows_have_as_many_cells_as_the_head() {
        let mut curve = samples::curve(Mode::Open);
        curve.points[1].latency = None;
        let line = samples::line("x", "op/s", 2.0);
        for markup in [
            points(&curve),
            points(&samples::curve(Mode::Closed)),
            points(&samples::curve(Mode::P99)),
            stages(&curve.stages),
            gaps(&samples::report().machine.gaps),
            comparisons("x", &[&line, &line]),
        ] {
            let cells = cells(&markup);
            assert!(cells.len() > 2 && cells.iter().all(|n| *n == cells[0]), "{cells:?}");
        }
    }

    #[test]
    fn a_long_soak_is_cut_and_that_is_said() {
        let mut curve = samples::curve(Mode::Soak);
        assert!(points(&curve).0.contains("40 of 60 intervals"));
        curve.points.truncate(ROWS);
        assert!(points(&curve).0.contains("medians of the repeats"));
    }

    #[test]
    fn losses_and_verdicts_stand_out() {
        let markup = points(&samples::curve(Mode::ZeroLoss)).0;
        assert!(markup.contains("class=\"bad\"") && markup.contains("failed") && markup.contains("passed"));
    }
}
