//! A report of every kind of record, written, and its page opened in a browser: what is drawn is looked at where it is
//! shown, in the light and in the dark, on a wide screen and on a narrow one.

// What the samples name, by the names that they have beside the code.
use warpdrive_perf::{load, measure, record};

#[path = "../src/report/samples.rs"]
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use load::modes::{About, drive};
use load::nothing::Nothing;
use record::{Mode, Point, Record, Report};
use serde::Deserialize;
use warpdrive_browser::{Look, Page, Picture};
use warpdrive_perf::{LoadOptions, Options, report};

/// Records of every kind, more than there is room for, and some that were really measured: of a subject that does
/// nothing.
fn sample() -> Report {
    let mut report = samples::report();
    let mut crowded = samples::curve(Mode::Closed);
    crowded.name = "crowded".into();
    crowded.points = (1..=40).map(|i| Point { depth: Some(100 + i), ..crowded.points[3].clone() }).collect();
    report.records.push(crowded.into());
    let more =
        (0..30).map(|i| samples::line(&format!("ring-of-{i}"), "cycles/object", 0.9 + 0.01 * f64::from(i)));
    report.records.extend(more.map(Record::from));
    let options = Options {
        slice: Duration::from_millis(2),
        rounds: 3,
        cpus: vec![0],
        program: "warpdrive".into(),
        crypto_mb: None,
        corpus: None,
        config: None,
        input: None,
        output: None,
        seed: 1,
        samples: 100,
        quick: true,
        web: warpdrive_perf::WebOptions::default(),
        load: LoadOptions::default(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let about =
        About { bench: "nothing", what: "nothing is done".into(), unit: "op/s", facts: BTreeMap::new() };
    drive(&options, &about, &mut Nothing::default(), &mut |record| report.records.push(record)).unwrap();
    report
}

fn written(dir: &Path) -> (Report, Vec<PathBuf>) {
    let report = sample();
    let files = report::write(&report, dir).unwrap();
    (report, files)
}

/// The files of a kind, by name.
fn of_kind<'a>(files: &'a [PathBuf], ending: &str) -> Vec<&'a PathBuf> {
    files.iter().filter(|f| f.extension().is_some_and(|e| e == ending)).collect()
}

#[test]
fn all_files_are_there_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (report, files) = written(dir.path());
    assert!(files.iter().all(|f| f.starts_with(dir.path()) && fs::metadata(f).unwrap().len() > 0));
    let read: Report = serde_json::from_slice(&fs::read(dir.path().join("results.json")).unwrap()).unwrap();
    let names = |report: &Report| report.records.iter().map(|r| r.name().to_owned()).collect::<Vec<_>>();
    assert_eq!((names(&read), &read.schema), (names(&report), &report.schema));
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert_eq!(page, report::html(&report), "the same page either way");

    let curves = report.records.iter().filter_map(|record| match record {
        Record::Curve(curve) => Some(&curve.points),
        Record::Comparison(_) | Record::Failed(_) => None,
    });
    let latencies = curves.flatten().filter_map(|p| p.latency.as_ref());
    let with_distribution = latencies.filter(|l| !l.curve.is_empty()).count();
    assert_eq!(of_kind(&files, "hgrm").len(), with_distribution);

    let (svgs, pngs) = (of_kind(&files, "svg"), of_kind(&files, "png"));
    assert!(svgs.len() == pngs.len() && svgs.len() > 15, "{} {}", svgs.len(), pngs.len());
    for png in pngs {
        let picture = Picture::read(png);
        let Picture { width, height, .. } = picture;
        assert!(width == 1280 && height > 200, "{}: {width} x {height}", png.display());
        let colours = picture.colours().len();
        assert!(colours > 60, "{}: {colours} colours", png.display());
    }
}

/// What the script in the page has measured.
#[derive(Debug, Deserialize)]
struct Measured {
    width: f64,
    scroll_width: f64,
    dark: bool,
    background: String,
    plots: Vec<Plot>,
    pictures: Vec<f64>,
}

#[derive(Debug, Deserialize)]
struct Plot {
    name: String,
    width: f64,
    height: f64,
    /// Elements that are drawn besides letters and paper, and of size.
    drawn: usize,
    colours: usize,
    paper: String,
    named: bool,
    texts: Vec<Text>,
    overlaps: Vec<[String; 2]>,
}

#[derive(Debug, Deserialize)]
struct Text {
    text: String,
    upright: bool,
    /// How far its box is out of the plot's, in pixels.
    out: f64,
    size: f64,
    height: f64,
}

/// A page that has the report in a frame of this size. In it is a script, and all plots once more as pictures: those are read
/// as XML, strictly.
fn page_that_measures(dir: &Path, svgs: &[&PathBuf], look: Look) -> PathBuf {
    let page = fs::read_to_string(dir.join("report.html")).unwrap();
    let name = |f: &Path| f.file_name().unwrap().to_str().unwrap().to_owned();
    let pictures: String =
        svgs.iter().map(|f| format!("<img class=\"picture\" src=\"plots/{}\">", name(f))).collect();
    let hidden = "position:absolute;width:1px;height:1px;overflow:hidden";
    let script = include_str!("report/measure.js");
    let more = format!("<div style=\"{hidden}\">{pictures}</div><script>{script}</script></body>");
    let inner = page.replacen("</body>", &more, 1);
    let outer = maud::html! {
        (maud::DOCTYPE)
        meta charset="utf-8";
        meta name="color-scheme" content="light dark";
        body style="margin:0" { iframe srcdoc=(inner) width=(look.width) height=(look.height) style="border:0" {} }
    };
    let path = dir.join(format!("{}.html", look.width));
    fs::write(&path, outer.into_string()).unwrap();
    path
}

#[test]
fn in_a_browser_all_is_seen_and_nothing_sticks_out() {
    let Some(mut browser) = Page::open(&[]) else { return };
    // Kept after the test, for whoever wants to see it.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&dir).unwrap();
    let (_, files) = written(&dir);
    let svgs = of_kind(&files, "svg");
    for dark in [false, true] {
        for width in [400, 1400] {
            let look = Look { width, height: 1600, dark };
            let page = page_that_measures(&dir, &svgs, look);
            browser.look(look);
            browser.go(&format!("file://{}", page.display()));
            browser.wait_for("document.getElementById('measured') !== null");
            let measured = browser.evaluate("document.getElementById('measured').textContent");
            let measured: Measured = serde_json::from_str(measured.as_str().unwrap()).unwrap();
            check(&measured, look, svgs.len());
            let name = format!("{}-{width}.png", if dark { "dark" } else { "light" });
            let colours = browser.window(&dir.join(name)).colours().len();
            assert!(colours > 100, "{look:?}: {colours} colours");
        }
    }
}

fn check(measured: &Measured, look: Look, plots: usize) {
    assert_eq!(measured.width, f64::from(look.width));
    assert_eq!(measured.dark, look.dark);
    let paper = if look.dark { "rgb(21, 24, 30)" } else { "rgb(255, 255, 255)" };
    assert_eq!(measured.background, paper);
    assert!(measured.scroll_width <= measured.width, "{look:?}: the page is {} wide", measured.scroll_width);
    assert_eq!(measured.plots.len(), plots);
    assert!(
        measured.pictures.len() == plots && measured.pictures.iter().all(|w| *w == 640.0),
        "{measured:?}"
    );
    for plot in &measured.plots {
        let at = format!("{look:?}, {}", plot.name);
        assert!(plot.width >= 300.0 && plot.height >= 100.0, "{at}: {} x {}", plot.width, plot.height);
        assert!(
            plot.drawn >= 8 && plot.colours >= 3,
            "{at}: {} drawn in {} colours",
            plot.drawn,
            plot.colours
        );
        assert_eq!(plot.paper, paper, "{at}");
        assert!(plot.named, "{at}: no title, no desc, or no caption");
        for text in &plot.texts {
            assert!(text.out <= 0.5, "{at}: {:?} is {} px out", text.text, text.out);
            assert!(text.height > 5.0 && text.size >= 8.4, "{at}: {:?} is {} px", text.text, text.size);
        }
        assert!(plot.overlaps.is_empty(), "{at}: {:?}", plot.overlaps);
        axes_have_units(plot, &at);
    }
}

/// What a rate, a time, a part or a ratio counts in is said in parentheses.
fn axes_have_units(plot: &Plot, at: &str) {
    let units = ["(us)", "(s)", "/s)", "(times)", "(% of operations)", "(operations under way)"];
    let has_unit = |t: &&Text| units.iter().any(|unit| t.text.contains(unit));
    let upright: Vec<&Text> = plot.texts.iter().filter(|t| t.upright).collect();
    let across = plot.texts.iter().filter(|t| !t.upright).filter(has_unit).count();
    let bars = plot.name.contains("comparisons") || plot.name.ends_with("stages");
    assert_eq!(upright.is_empty(), bars, "{at}: only bars have no axis upwards");
    assert!(upright.iter().all(has_unit), "{at}: {upright:?}");
    assert_eq!(across, upright.len().max(1), "{at}: one axis across for each panel: {:?}", plot.texts);
}
