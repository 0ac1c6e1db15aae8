//! dpdk-testpmd as a peer: resident and interactive, told when to poll and when not.

use std::process::Command;
use std::time::Duration;

use crate::measure::{Better, Line, cpu_time};
use crate::peers::{NoPeer, PageSize, Process, which};
use crate::{BenchError, Options};

const NAME: &str = "dpdk-testpmd";
const START: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(10);

/// How testpmd is to run.
pub struct Setup<'a> {
    /// The cpu that forwards.
    pub cpu: usize,
    /// The cpu of the command line.
    pub main_cpu: usize,
    /// Its pages.
    pub pages: PageSize,
    /// Its `--vdev`s.
    pub devices: &'a [String],
    /// How many ports these are.
    pub ports: usize,
    /// Packet buffers; 0: its own choice.
    pub mbufs: usize,
    /// What to run it with: `ip netns exec …`.
    pub wrapper: &'a [String],
}

/// Counters of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Packets received.
    pub rx: u64,
    /// Packets sent.
    pub tx: u64,
}

/// A testpmd that runs.
pub struct Testpmd {
    process: Process,
    ports: usize,
    version: String,
    /// The command line, for people.
    pub command: String,
}

impl Testpmd {
    /// Starts it, in io mode with bursts of 32; it does not forward yet.
    ///
    /// # Errors
    /// [`NoPeer`] when it is not installed or does not start.
    pub fn start(setup: &Setup<'_>) -> Result<Self, NoPeer> {
        if which(NAME).is_none() {
            return Err(NoPeer::absent(NAME, "dpdk-dev"));
        }
        if which("stdbuf").is_none() {
            return Err(NoPeer::absent(NAME, "coreutils"));
        }
        // Through a pipe testpmd's answers would wait in its buffer: stdbuf makes them come line by line.
        let mut words: Vec<String> = setup.wrapper.to_vec();
        words.extend(["stdbuf", "-oL", NAME, "-v", "--no-pci", "--no-telemetry"].map(str::to_owned));
        let (forwards, main) = (format!("0@{}", setup.cpu), format!("1@{}", setup.main_cpu));
        words.extend(["--lcores".to_owned(), format!("{forwards},{main}"), "--main-lcore=1".to_owned()]);
        words.extend(setup.pages.dpdk().iter().map(|&w| w.to_owned()));
        words.extend(setup.devices.iter().map(|device| format!("--vdev={device}")));
        words.extend(["--", "-i", "--forward-mode=io", "--burst=32", "--nb-cores=1"].map(str::to_owned));
        if setup.mbufs > 0 {
            words.push(format!("--total-num-mbufs={}", setup.mbufs));
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let started = Process::start(command).and_then(|mut process| {
            process.read(START, "its ports", |line| line.contains("Checking link statuses").then_some(()))?;
            // The prompt comes without a line's end; an answer to a question shows that it is there.
            process.send("show port stats all")?;
            read_counters(&mut process, setup.ports)?;
            Ok(process)
        });
        let process = started.map_err(|e| NoPeer { peer: NAME, why: e.to_string() })?;
        let version =
            process.error_line("RTE Version").and_then(|l| version(&l)).unwrap_or_else(|| "?".to_owned());
        Ok(Self { process, ports: setup.ports, version, command: words.join(" ") })
    }

    /// Name and version.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{NAME} {}", self.version)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process it is.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Begins to poll.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it broke off.
    pub fn forward(&mut self) -> Result<(), BenchError> {
        self.begin("start")
    }

    /// Sends so many bursts out of each port and begins to poll: for ports whose packets come back.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it broke off.
    pub fn forward_first(&mut self, bursts: usize) -> Result<(), BenchError> {
        self.begin(&format!("start tx_first {bursts}"))
    }

    fn begin(&mut self, command: &str) -> Result<(), BenchError> {
        self.process.send(command)?;
        self.process.read(ANSWER, "its start", |line| line.contains("nb forwarding cores").then_some(()))
    }

    /// Chooses another way to forward than io: `rxonly`, `txonly`, ….
    ///
    /// # Errors
    /// [`BenchError::Program`] when it broke off.
    pub fn set_mode(&mut self, mode: &str) -> Result<(), BenchError> {
        self.process.send(&format!("set fwd {mode}"))?;
        let wanted = format!("Set {mode} packet forwarding mode");
        self.process.read(ANSWER, "its mode", |line| line.contains(&wanted).then_some(()))
    }

    /// Ceases to poll; it then uses no cpu.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it broke off.
    pub fn stop(&mut self) -> Result<(), BenchError> {
        self.process.send("stop")?;
        self.process.read(ANSWER, "its stop", |line| (line.trim() == "Done.").then_some(()))
    }

    /// The counters of all ports, and the cpu time it had used when they were asked for.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it broke off.
    pub fn counters(&mut self) -> Result<(Duration, Vec<PortCounters>), BenchError> {
        let used = cpu_time(self.id())?;
        self.process.send("show port stats all")?;
        Ok((used, read_counters(&mut self.process, self.ports)?))
    }

    /// Forwards for one slice; returns packets in a second of cpu time, each counted once, when it was sent.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it broke off.
    pub fn slice(&mut self, warm: Duration, slice: Duration) -> Result<f64, BenchError> {
        self.forward()?;
        self.rate(warm, slice)
    }

    /// The rate at which it forwards, in packets a second of cpu time; then it stops.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it broke off.
    pub fn rate(&mut self, warm: Duration, slice: Duration) -> Result<f64, BenchError> {
        std::thread::sleep(warm);
        let (start, before) = self.counters()?;
        std::thread::sleep(slice);
        let (end, after) = self.counters()?;
        self.stop()?;
        let sent = |ports: &[PortCounters]| ports.iter().map(|p| p.tx).sum::<u64>();
        Ok((sent(&after) - sent(&before)) as f64 / (end - start).as_secs_f64())
    }
}

/// The lines of a pipeline that forwards, with and without recording latency, against testpmd: `values` are of these
/// three in this order. All lines get the notes; `command` is what testpmd was told besides its command line.
pub fn forwarding_lines(
    options: &Options,
    bench: &str,
    values: &[Vec<f64>],
    testpmd: Result<&Testpmd, &NoPeer>,
    notes: &[String],
    command: &str,
) -> Vec<Line> {
    let title = testpmd.map(Testpmd::title);
    [("", "latency recorded for each burst and stage, as by default"), ("-nolatency", "eal.latency = false")]
        .into_iter()
        .zip(values)
        .map(|((suffix, kind), ours)| {
            let theirs = title.as_ref().map(|t| (t.as_str(), values[2].as_slice())).map_err(|e| *e);
            let name = format!("{bench}{suffix}");
            let line = Line::compare(&name, ("packets/s", Better::Higher), ours, theirs)
                .command(options.command(bench))
                .note(kind);
            let line = notes.iter().fold(line, Line::note);
            match testpmd {
                Ok(testpmd) => line.note(format!("peer command: {}{command}", testpmd.command)),
                Err(_) => line,
            }
        })
        .collect()
}

impl Drop for Testpmd {
    /// Lets it take its ports down in its own time: killed, it would leave its XDP programs on the interfaces.
    fn drop(&mut self) {
        let _ = self.process.send("quit").and_then(|()| self.process.wait(ANSWER));
    }
}

fn read_counters(process: &mut Process, ports: usize) -> Result<Vec<PortCounters>, BenchError> {
    let mut parser = Parser::default();
    process.read(ANSWER, "its counters", |line| {
        parser.line(line);
        (parser.ports.len() >= ports && parser.complete).then(|| std::mem::take(&mut parser.ports))
    })
}

/// Reads the answer to `show port stats all`.
#[derive(Default)]
struct Parser {
    ports: Vec<PortCounters>,
    /// Whether the last port's block has ended.
    complete: bool,
}

impl Parser {
    fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.contains("NIC statistics for port") {
            self.ports.push(PortCounters::default());
            self.complete = false;
        } else if line.len() > 20 && line.bytes().all(|b| b == b'#') {
            self.complete = !self.ports.is_empty();
        } else if let Some(port) = self.ports.last_mut() {
            if let Some(n) = number_after(line, "RX-packets:") {
                port.rx = n;
            }
            if let Some(n) = number_after(line, "TX-packets:") {
                port.tx = n;
            }
        }
    }
}

fn number_after(line: &str, key: &str) -> Option<u64> {
    line.strip_prefix(key)?.split_whitespace().next()?.parse().ok()
}

/// `EAL: RTE Version: 'DPDK 22.11.11'` has a version in it.
pub(crate) fn version(line: &str) -> Option<String> {
    let text = line.split('\'').nth(1)?;
    Some(text.strip_prefix("DPDK ").unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "testpmd> show port stats all\r

  ######################## NIC statistics for port 0  ########################
  RX-packets: 9113536    RX-missed: 0          RX-bytes:  0
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 8681920    TX-errors: 0          TX-bytes:  0

  Throughput (since last show)
  Rx-pps:            0          Rx-bps:            0
  Tx-pps:            0          Tx-bps:            0
  ############################################################################

  ######################## NIC statistics for port 1  ########################
  RX-packets: 9115392    RX-missed: 0          RX-bytes:  0
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 8682240    TX-errors: 0          TX-bytes:  0

  Throughput (since last show)
  Rx-pps:            0          Rx-bps:            0
  Tx-pps:            0          Tx-bps:            0
  ############################################################################
";

    #[test]
    fn the_counters_of_each_port_are_read_to_the_end_of_its_block() {
        let mut parser = Parser::default();
        let mut complete_at = Vec::new();
        for (i, line) in ANSWER.lines().enumerate() {
            parser.line(line);
            if parser.complete && parser.ports.len() == 2 {
                complete_at.push(i);
            }
        }
        assert_eq!(complete_at, [ANSWER.lines().count() - 1]);
        let port = |rx, tx| PortCounters { rx, tx };
        assert_eq!(parser.ports, [port(9_113_536, 8_681_920), port(9_115_392, 8_682_240)]);
    }

    #[test]
    fn other_output_is_no_counter() {
        let mut parser = Parser::default();
        for line in ["RX-packets: 5", "######################", "", "  TX-packets: x", "Done."] {
            parser.line(line);
        }
        assert!(parser.ports.is_empty() && !parser.complete);
    }

    #[test]
    fn the_version_is_between_quotes() {
        assert_eq!(version("EAL: RTE Version: 'DPDK 22.11.11'"), Some("22.11.11".to_owned()));
        assert_eq!(version("EAL: nothing"), None);
    }
}
