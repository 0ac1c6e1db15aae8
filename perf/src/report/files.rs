//! A report as files in a folder.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::Builder;

use super::{Names, figures, hgrm, page, png, render, stems};
use crate::BenchError;
use crate::record::{Record, Report};

/// Writes `results.json`, `report.html`, a distribution of each point that has one in `hgrm/`, and each plot as SVG and
/// as PNG in `plots/`. The folder is made if it is not there; files of the same names are replaced. Returns what was
/// written. A file is there as a whole or not at all.
///
/// # Errors
/// [`BenchError::Io`], which names the file.
pub fn write(report: &Report, dir: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let mut written = Vec::new();
    let mut put = |path: PathBuf, content: &[u8]| {
        put(&path, content)?;
        written.push(path);
        Ok::<(), BenchError>(())
    };
    let json = serde_json::to_vec_pretty(report)
        .map_err(|e| failed("write", &dir.join("results.json"), io::Error::other(e)))?;
    put(dir.join("results.json"), &json)?;
    let figures = figures(report);
    put(dir.join("report.html"), page::html_of(report, &figures).as_bytes())?;
    for (name, text) in distributions(report) {
        put(dir.join("hgrm").join(format!("{name}.hgrm")), text.as_bytes())?;
    }
    for figure in &figures {
        let stem = dir.join("plots").join(&figure.stem);
        put(stem.with_extension("svg"), render::svg(figure)?.as_bytes())?;
        put(stem.with_extension("png"), &png::png(figure)?)?;
    }
    Ok(written)
}

/// Names and texts of the distributions of all points that have one.
fn distributions(report: &Report) -> Vec<(String, String)> {
    let mut names = Names::default();
    let mut all = Vec::new();
    for (record, stem) in report.records.iter().zip(stems(report)) {
        let Record::Curve(curve) = record else { continue };
        for point in &curve.points {
            if let Some(latency) = point.latency.as_ref().filter(|l| !l.curve.is_empty()) {
                all.push((names.take(&format!("{stem}-{}", point.label())), hgrm(latency)));
            }
        }
    }
    all
}

/// Writes beside and renames.
fn put(path: &Path, content: &[u8]) -> Result<(), BenchError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|e| failed("make the folder of", path, e))?;
    let everyone_reads = std::fs::Permissions::from_mode(0o644);
    let written =
        Builder::new().prefix(".report").permissions(everyone_reads).tempfile_in(dir).and_then(|mut file| {
            file.write_all(content)?;
            file.persist(path).map_err(|e| e.error)?;
            Ok(())
        });
    written.map_err(|e| failed("write", path, e))
}

fn failed(what: &str, path: &Path, cause: io::Error) -> BenchError {
    BenchError::Io {
        what: format!("cannot {what} {}", path.display()),
        cause,
        remedy: "name a folder that this user may write to, on a disk with room",
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::Mode;

    #[test]
    fn trials_of_one_rate_have_files_of_their_own() {
        let mut report = samples::report();
        report.records = vec![samples::curve(Mode::P99).into(), samples::curve(Mode::Soak).into()];
        let names: Vec<String> = distributions(&report).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 11, "none of the soak: {names:?}");
        assert_eq!(names[0], "pipeline-p99-1025000-offered");
        assert_eq!(names[1], "pipeline-p99-1025000-offered-2");
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plots"), "a file where a folder should be").unwrap();
        let error = write(&samples::report(), dir.path()).unwrap_err().to_string();
        assert!(error.contains("plots/comparisons-plot-1.svg") && error.contains("Remedy: "), "{error}");
        assert!(dir.path().join("report.html").is_file(), "what came before is whole");
    }

    #[test]
    fn nothing_half_written_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a").join("b.txt");
        put(&path, b"old").unwrap();
        put(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(put(&dir.path().join("folder"), b"x").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing beside");
    }
}
