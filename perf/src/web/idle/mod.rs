//! `https-idle`: what connections cost a proxy that nobody uses now.
//!
//! Of each program two run: one holds connections without a request under way, the other none. All have the same
//! load beside that, in turn, so that a ratio is of neighbouring slices; memory is what the resident set grew by while the
//! connections came.

use std::time::Duration;

use super::ground::{Ground, Home};
use super::options::{Protocol, WebKind};
use super::proxies::{Ask, Side, Slice, behind, measure, over, peer};
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
/// Connections of those requests.
const DEPTH: usize = 64;
/// What a server must be able to hold: these, the others, and those to the server behind it.
const CONNECTIONS: usize = 16_384;
/// Files that a process may need open: connections held of two servers, and what else there is.
const FILES: u64 = 2 * HELD as u64 + 2_000;
/// Time for a server to give back what it needed for handshakes.
const SETTLE: Duration = Duration::from_millis(500);
/// The most that a connection should take.
const TARGET_BYTES: f64 = 24.0 * 1024.0;
/// The most that the 99th percentile should grow by, as a factor.
const TARGET_FACTOR: f64 = 2.0;

const ASK: Ask = Ask { protocol: Protocol::Tls13, kind: WebKind::Request, gzip: false, depth: DEPTH };

/// Starts a server, if it is installed.
type Start = fn(&Site, usize) -> Result<Result<Server, NoPeer>, BenchError>;

/// A program, once without and once with connections that it holds.
struct Pair {
    none: Side,
    held: Side,
    crowd: Crowd,
    /// What its resident set grew by, for each of them.
    bytes: f64,
}

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    os::allow_files(FILES).map_err(|cause| BenchError::Io {
        what: format!("{FILES} open files are needed for {HELD} connections of two servers"),
        cause,
        remedy: "ulimit -Hn 32768 before, or run as root",
    })?;
    let mut ground = Ground::new(options.web.transport)?;
    let site = Site {
        protocol: ASK.protocol,
        kind: ASK.kind,
        body: 1 << 10,
        log: false,
        gzip: false,
        behind: None,
        connections: CONNECTIONS,
        home: Home::default(),
    };
    let behind = behind(&site, &ground, near)?;
    let site = Site { behind: Some(behind.address), ..site };
    let lines = on_cpu(near, || {
        ground.enter()?;
        let ours = Pair::start(options, &site, far, warpdrive::start, || ground.ours())?;
        let mut ours = match ours {
            Ok(ours) => ours,
            Err(none) => {
                let name = options.web.transport.line(NAME, "");
                return Ok(vec![Line::compare(&name, ("us", Better::Lower), &[], Err(&none))]);
            }
        };
        let mut nginx = Pair::start(options, &site, far, nginx::start, || ground.peer())?;
        let sides = [Some(&ours), nginx.as_ref().ok()];
        let sides: Vec<&Side> = sides.into_iter().flatten().flat_map(|p| [&p.none, &p.held]).collect();
        let slices = measure(options, &sides, Shape::Open { rate: RATE, arrivals: Arrivals::Poisson })?;
        ours.still_holds()?;
        if let Ok(nginx) = &mut nginx {
            nginx.still_holds()?;
        }
        Ok(lines(options, &ours, nginx.as_ref(), &slices))
    })?;
    lines.into_iter().for_each(emit);
    Ok(())
}

impl Pair {
    fn start(
        options: &Options,
        site: &Site,
        cpu: usize,
        start: Start,
        mut home: impl FnMut() -> Result<Home, BenchError>,
    ) -> Result<Result<Self, NoPeer>, BenchError> {
        let mut side = || Side::open(&ASK, start(&Site { home: home()?, ..site.clone() }, cpu)?);
        let (none, held) = match (side()?, side()?) {
            (Ok(none), Ok(held)) => (none, held),
            (Err(none), _) | (_, Err(none)) => return Ok(Err(none)),
        };
        options.go_on()?;
        held.server.hold(false);
        std::thread::sleep(SETTLE);
        let before = memory::resident(held.server.id())?;
        let crowd = Crowd::gather(ASK.settings(&held.server), HELD)?;
        std::thread::sleep(SETTLE);
        let after = memory::resident(held.server.id())?;
        held.server.hold(true);
        let bytes = each(before, after, crowd.len());
        Ok(Ok(Self { none, held, crowd, bytes }))
    }

    /// Whether it does, and in that state has answered what was measured.
    fn still_holds(&mut self) -> Result<(), BenchError> {
        self.held.server.hold(false);
        self.crowd.ask()?;
        self.held.server.hold(true);
        Ok(())
    }
}

/// What a resident set grew by for each of so many, in bytes. It may have shrunk.
fn each(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count.max(1) as f64
}

fn lines(options: &Options, ours: &Pair, nginx: Result<&Pair, &NoPeer>, slices: &[Vec<Slice>]) -> Vec<Line> {
    let p99 = |i: usize| slices.get(i).map_or(Vec::new(), |s| s.iter().map(|s| s.p99_us).collect());
    let [none, held, none_theirs, held_theirs] = [0, 1, 2, 3].map(p99);
    let side = nginx.map(|pair| &pair.held);
    let line = |figure: &str, unit, ours: &[f64], theirs: &[f64]| {
        let name = options.web.transport.line(NAME, figure);
        let line = Line::compare(&name, (unit, Better::Lower), ours, peer(side, theirs));
        over(line.command(options.command(NAME)), options.web.transport)
    };
    let theirs: Vec<f64> = nginx.iter().map(|pair| pair.bytes).collect();
    let memory = line("-memory", "bytes", &[ours.bytes], &theirs);
    let factor = line("-slowdown", "times", &factors(&none, &held), &factors(&none_theirs, &held_theirs));
    vec![
        target(memory, TARGET_BYTES, "24 KiB").note(format!(
            "what VmRSS + HugetlbPages grew by for each of {HELD} connections that made a request and are idle; what \
             the kernel keeps for its sockets is not in it"
        )),
        line("-p99", "us", &held, &held_theirs)
            .note(format!("99th percentile of {RATE:.0} requests/s offered, while {HELD} connections are held")),
        line("-p99-none", "us", &none, &none_theirs).note("the same with none held"),
        target(factor, TARGET_FACTOR, "2").note("-p99 by -p99-none, of neighbouring slices"),
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
