//! HdrHistogram's text of a percentile distribution: its plotter and tools read it.

use std::fmt::Write;

use crate::load::run::histogram;
use crate::record::Latency;

/// Of a distribution in microseconds. An empty curve gives the head and the foot.
#[must_use]
pub fn hgrm(latency: &Latency) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for step in &latency.curve {
        let part = step.percentile / 100.0;
        let _ = write!(text, "{:12.3} {part:2.12} {:10}", step.us, step.count);
        // The last line has no fourth column: it would be infinite.
        let _ = if part < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - part)) } else { writeln!(text) };
    }
    let (buckets, sub_buckets) = layout();
    let _ = writeln!(text, "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]", latency.mean, latency.deviation);
    let _ = writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", latency.max, latency.count);
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]");
    text
}

/// How many buckets the histograms of this harness have, and how many parts each: a power of two that tells twice as
/// many values apart as their digits can.
fn layout() -> (u8, u64) {
    // Cannot fail: the bounds are constant.
    histogram().map_or((0, 0), |h| (h.buckets(), (2 * 10u64.pow(h.sigfig().into())).next_power_of_two()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the format: the value, the part, how many, and what is left above.
    type Step = (f64, f64, u64, Option<f64>);

    /// By the rules of the format: a head, an empty line, steps of three or four columns, three lines of a foot.
    fn parsed(text: &str) -> (Vec<Step>, Vec<(String, f64)>) {
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        assert_eq!(lines.next(), Some(""));
        let (mut steps, mut foot) = (Vec::new(), Vec::new());
        for line in lines {
            if let Some(inner) = line.strip_prefix("#[") {
                for pair in inner.strip_suffix(']').unwrap().split(',') {
                    let (key, value) = pair.split_once('=').unwrap();
                    foot.push((key.trim().to_owned(), value.trim().parse().unwrap()));
                }
            } else {
                assert!(foot.is_empty(), "{line:?} after the foot");
                let columns: Vec<&str> = line.split_whitespace().collect();
                let rest = columns.get(3).map(|c| c.parse().unwrap());
                steps.push((
                    columns[0].parse().unwrap(),
                    columns[1].parse().unwrap(),
                    columns[2].parse().unwrap(),
                    rest,
                ));
            }
        }
        (steps, foot)
    }

    fn latency(values_ns: impl Iterator<Item = u64>) -> Latency {
        let mut histogram = histogram().unwrap();
        values_ns.for_each(|v| histogram.record(v).unwrap());
        Latency::of(std::iter::once(&histogram)).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let latency = latency((1..=10_000).map(|i| i * 1000));
        let (steps, foot) = parsed(&hgrm(&latency));
        assert_eq!(steps.len(), latency.curve.len());
        for (step, of) in steps.iter().zip(&latency.curve) {
            assert!((step.0 - of.us).abs() < 1e-3 && (step.1 - of.percentile / 100.0).abs() < 1e-11);
            assert_eq!(step.2, of.count);
            match step.3 {
                Some(rest) => assert!((rest * (1.0 - step.1) - 1.0).abs() < 0.01, "{step:?}"),
                None => assert_eq!(step.1, 1.0),
            }
        }
        assert_eq!(steps.iter().filter(|s| s.3.is_none()).count(), 1, "the last");
        let half = steps.iter().find(|s| s.1 >= 0.5).unwrap();
        assert!((half.0 / 5000.0 - 1.0).abs() < 0.01 && half.2.abs_diff(5000) < 10, "{half:?}");
        let names: Vec<_> = foot.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Mean", "StdDeviation", "Max", "Total count", "Buckets", "SubBuckets"]);
        assert!(
            (foot[0].1 / 5000.5 - 1.0).abs() < 0.01 && (foot[1].1 / 2886.8 - 1.0).abs() < 0.01,
            "{foot:?}"
        );
        assert!((foot[2].1 / 10_000.0 - 1.0).abs() < 0.002 && foot[3].1 == 10_000.0, "{foot:?}");
        // 60 s in nanoseconds, in buckets of 2,048 parts that begin at 2,048, 4,096 …: 2,048 * 2^25 is the first above.
        assert_eq!((foot[4].1, foot[5].1), (26.0, 2048.0));
    }

    #[test]
    fn columns_are_where_other_writers_have_them() {
        let text = hgrm(&latency([25_000, 50_000, 75_000].into_iter()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[2], "      25.007 0.000000000000          1           1.00");
        assert_eq!(lines[lines.len() - 4], "      75.007 1.000000000000          3");
        assert_eq!(lines[lines.len() - 3], "#[Mean    =       49.992, StdDeviation   =       20.403]");
    }

    #[test]
    fn an_empty_curve_has_a_head_and_a_foot() {
        let mut latency = latency([1000].into_iter());
        latency.curve.clear();
        let (steps, foot) = parsed(&hgrm(&latency));
        assert!(steps.is_empty() && foot.len() == 6);
    }
}
