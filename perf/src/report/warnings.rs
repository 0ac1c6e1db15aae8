//! What a reader should know before believing a number: that the machine was not its own.

use crate::measure::Machine;
use crate::record::{Record, Report};

/// A load average above this: other programs ran.
const LOAD: f64 = 0.7;
/// Notes of curves that begin so are about the machine.
const OTHER_LOAD: &str = "OTHER LOAD";

/// All of them, in words.
#[must_use]
pub fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = of_machine(&report.machine);
    for record in &report.records {
        let notes = match record {
            Record::Comparison(line) => &line.notes,
            Record::Curve(curve) => &curve.notes,
            Record::Failed(_) => continue,
        };
        let loud = notes.iter().filter(|n| n.starts_with(OTHER_LOAD));
        warnings.extend(loud.map(|note| format!("{}: {note}", record.name())));
    }
    warnings
}

fn of_machine(machine: &Machine) -> Vec<String> {
    let load = (machine.load > LOAD)
        .then(|| format!("the load average was {} before measuring, so other programs ran", machine.load));
    load.into_iter().chain(machine.doubts()).map(|doubt| format!("Noisy: {doubt}.")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_quiet_machine_has_none() {
        let mut report = samples::report();
        report.machine.load = 0.1;
        for gaps in &mut report.machine.gaps {
            (gaps.over_100us, gaps.lost_percent) = (0, 0.4);
        }
        assert!(warnings(&report).is_empty(), "{:?}", warnings(&report));
    }

    #[test]
    fn load_gaps_and_notes_are_said() {
        let mut report = samples::report();
        report.records[0].notes_mut().unwrap().push(format!("{OTHER_LOAD} ON THE MACHINE: 50 %"));
        let said = warnings(&report);
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(
            said[0].contains("1.3") && said[1].contains("cpu 0") && said[1].contains("2483 us"),
            "{said:?}"
        );
        assert!(said[3].starts_with("rsa2048: OTHER LOAD"), "{said:?}");
    }
}
