//! `https-idle`: what connections cost a proxy that nobody uses now.
//!
//! Of a program two run: one holds connections without a request under way, the other none. Both have the same load beside
//! that, in turn, so that a ratio is of neighbouring slices; memory is what the resident set grew by while the connections
//! came. Our proxy comes first, then nginx: connections of both would be more open files than a process often may have.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::behind::Behind;
use super::ground::{Ground, Home};
use super::options::{Protocol, WebKind};
use super::proxies::{Ask, Side, behind, beside, measure, over};
use super::servers::{Server, Site, nginx, warpdrive};
use crate::load::Shape;
use crate::measure::{Better, Line, on_cpu};
use crate::peers::NoPeer;
use crate::record::Arrivals;
use crate::{Bench, BenchError, Kind, Lines, Options, memory, os};

mod crowd;

pub use crowd::Crowd;

/// The bench.
pub const BENCH: Bench = Bench {
    name: NAME,
    about: "10,000 idle TLS connections of a proxy: memory of each, and latency of 1,000 requests/s with and without them",
    peer: "nginx as a proxy, one thread",
    package: "nginx-light",
    unit: "us",
    seconds: 2.0,
    rounds: 7,
    // Making the connections takes longer than a first look.
    quick: None,
    run: Kind::Comparison(run),
};

const NAME: &str = "https-idle";
/// Connections that are held.
const HELD: usize = 10_000;
/// Requests a second beside them.
const RATE: f64 = 1_000.0;
/// Bytes of what is asked for.
const BODY: usize = 1 << 10;
/// Connections of those requests.
const DEPTH: usize = 64;
/// What a server must be able to hold: these, the others, and those to the server behind it.
const CONNECTIONS: usize = 16_384;
/// Files that a process may need open: the connections held, or those of a server, and what else there is.
const FILES: u64 = HELD as u64 + 2_000;
/// Time for a server to give back what it needed for handshakes.
const SETTLE: Duration = Duration::from_millis(500);
/// The most that a connection should take.
const TARGET_BYTES: f64 = 24.0 * 1024.0;
/// The most that the 99th percentile should grow by, as a factor.
const TARGET_FACTOR: f64 = 2.0;

const ASK: Ask = Ask { protocol: Protocol::Tls13, kind: WebKind::Request, gzip: false, depth: DEPTH };

/// Starts a server, if it is installed.
type Start = fn(&Site, usize) -> Result<Result<Server, NoPeer>, BenchError>;

/// What became of a program.
struct Found {
    title: String,
    /// What its resident set grew by, for each connection that it held.
    bytes: f64,
    /// 99th percentiles in microseconds without them, slice by slice.
    none: Vec<f64>,
    /// With them.
    held: Vec<f64>,
}

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    os::allow_files(FILES).map_err(|cause| BenchError::Io {
        what: format!("{FILES} open files are needed to hold {HELD} connections"),
        cause,
        remedy: "ulimit -Hn 16384 before, as root",
    })?;
    let mut ground = Ground::new(options.web.transport)?;
    let site = Site { gzip: false, connections: CONNECTIONS, ..Site::new(ASK.protocol, ASK.kind, BODY) };
    let lines = on_cpu(near, || {
        let behind = behind(BODY, &ground)?;
        let site = Site { behind: Some(behind.borrow().address()), ..site };
        ground.enter()?;
        let ours = match examine(options, &site, far, &behind, warpdrive::start, || ground.ours())? {
            Ok(ours) => ours,
            Err(none) => {
                let name = options.web.transport.line(NAME, "");
                return Ok(vec![Line::compare(&name, ("us", Better::Lower), &[], Err(&none))]);
            }
        };
        let nginx = examine(options, &site, far, &behind, nginx::start, || ground.peer())?;
        Ok(lines(options, &ours, nginx.as_ref()))
    })?;
    lines.into_iter().for_each(emit);
    Ok(())
}

/// Has a program hold connections, and compares it with itself without any.
fn examine(
    options: &Options,
    site: &Site,
    cpu: usize,
    behind: &Rc<RefCell<Behind>>,
    start: Start,
    mut home: impl FnMut() -> Result<Home, BenchError>,
) -> Result<Result<Found, NoPeer>, BenchError> {
    options.go_on()?;
    let mut side = || Side::open(&ASK, start(&Site { home: home()?, ..site.clone() }, cpu)?, behind);
    let (none, held) = match (side()?, side()?) {
        (Ok(none), Ok(held)) => (none, held),
        (Err(none), _) | (_, Err(none)) => return Ok(Err(none)),
    };
    held.server.hold(false);
    std::thread::sleep(SETTLE);
    let before = memory::resident(held.server.id())?;
    let mut crowd = Crowd::gather(ASK.settings(&held.server), HELD, beside(behind))?;
    std::thread::sleep(SETTLE);
    let after = memory::resident(held.server.id())?;
    held.server.hold(true);
    let load = Shape::Open { rate: RATE, arrivals: Arrivals::Poisson };
    let slices = measure(options, &[&none, &held], load)?;
    // It must have held them all the time, or what was measured was something else.
    held.server.hold(false);
    crowd.ask()?;
    let p99 = |i: usize| slices[i].iter().map(|slice| slice.p99_us).collect();
    let title = held.server.title.clone();
    Ok(Ok(Found { title, bytes: each(before, after, crowd.len()), none: p99(0), held: p99(1) }))
}

/// What a resident set grew by for each of so many, in bytes. It may have shrunk.
fn each(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count.max(1) as f64
}

fn lines(options: &Options, ours: &Found, nginx: Result<&Found, &NoPeer>) -> Vec<Line> {
    let line = |figure: &str, unit, of: &dyn Fn(&Found) -> Vec<f64>| {
        let theirs = nginx.map(|found| (found.title.as_str(), of(found)));
        let theirs = theirs.as_ref().map(|(title, theirs)| (*title, &theirs[..])).map_err(|none| *none);
        let name = options.web.transport.line(NAME, figure);
        let line = Line::compare(&name, (unit, Better::Lower), &of(ours), theirs);
        over(line.command(options.command(NAME)), options.web.transport)
    };
    let memory = line("-memory", "bytes", &|found| vec![found.bytes]);
    let slowdown = line("-slowdown", "times", &|found| factors(&found.none, &found.held));
    let apart = "the programs were measured one after the other, so that their slices are no neighbours";
    vec![
        target(memory, TARGET_BYTES, "24 KiB").note(format!(
            "what VmRSS + HugetlbPages grew by for each of {HELD} connections that made a request and are idle; what \
             the kernel keeps for its sockets is not in it"
        )),
        line("-p99", "us", &|found| found.held.clone())
            .note(format!("99th percentile of {RATE:.0} requests/s offered, while {HELD} connections are held"))
            .note(apart),
        line("-p99-none", "us", &|found| found.none.clone()).note("the same with none held").note(apart),
        target(slowdown, TARGET_FACTOR, "2").note("-p99 by -p99-none, of neighbouring slices"),
    ]
}

/// How much later with connections held than without, slice by slice.
fn factors(none: &[f64], held: &[f64]) -> Vec<f64> {
    none.iter().zip(held).map(|(none, held)| held / none).collect()
}

fn target(line: Line, most: f64, words: &str) -> Line {
    let verdict = if line.value <= most { "met" } else { "MISSED" };
    line.note(format!("target: no more than {words}, {verdict}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_shared_out_and_may_be_less_than_nothing() {
        assert_eq!(each(1_000_000, 1_240_000, 10), 24_000.0);
        assert_eq!(each(1_000, 900, 10), -10.0);
        assert_eq!(each(5, 10, 0), 5.0);
    }

    #[test]
    fn slices_are_compared_with_their_neighbours() {
        assert_eq!(factors(&[100.0, 200.0], &[150.0, 200.0]), [1.5, 1.0]);
        assert_eq!(factors(&[100.0], &[]), [0.0; 0]);
    }

    #[test]
    fn a_target_is_met_up_to_itself() {
        let verdict = |value: f64| {
            let line = Line::compare("x", ("bytes", Better::Lower), &[value], Ok(("nginx", &[1.0])));
            target(line, TARGET_BYTES, "24 KiB").notes.pop().unwrap()
        };
        assert!(verdict(24.0 * 1024.0).ends_with("met"));
        assert!(verdict(24.0 * 1024.0 + 1.0).ends_with("MISSED"));
    }

    #[test]
    fn its_lines_are_its_own() {
        for (_, transport) in super::super::options::Transport::NAMES {
            assert!(BENCH.owns(&transport.line(NAME, "-p99-none")));
        }
    }
}
