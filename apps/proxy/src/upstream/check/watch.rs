//! The thread that checks: all servers side by side, so that one which hangs holds up no other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use warpdrive_pipeline::plan::CheckPlan;

use super::health::Health;
use super::judge::Judge;
use super::probe::{self, Fault, Probe};
use crate::upstream::UpstreamConfig;

/// Bytes received at once.
const SCRATCH: usize = 16 << 10;
/// How long to wait when the kernel has no room to wait in.
const NO_ROOM: Duration = Duration::from_millis(50);

/// A server that is checked.
struct Server {
    /// Its place among all servers.
    place: usize,
    address: SocketAddr,
    check: CheckPlan,
    request: Vec<u8>,
    judge: Judge,
    probe: Option<Probe>,
    /// When the next probe begins, if the last one is over by then.
    due: Instant,
}

/// All that are checked.
pub struct Watch {
    proxy: String,
    servers: Vec<Server>,
    health: Arc<Health>,
    scratch: Vec<u8>,
    /// Whether there were no sockets, which is said once.
    is_short: bool,
}

impl Watch {
    /// The first checks are due at once.
    pub fn new(proxy: &str, upstreams: &[UpstreamConfig], health: Arc<Health>) -> Self {
        let now = Instant::now();
        let all = upstreams.iter().flat_map(|u| u.servers.iter().map(|address| (*address, u.check.as_ref())));
        let server = |(place, (address, check)): (usize, (SocketAddr, Option<&CheckPlan>))| {
            let check = check?.clone();
            let judge = Judge::new(health.server(place).is_up(), check.rise, check.fall);
            let request = request(&check, address);
            Some(Server { place, address, check, request, judge, probe: None, due: now })
        };
        let servers = all.enumerate().filter_map(server).collect();
        Self { proxy: proxy.to_owned(), servers, health, scratch: vec![0; SCRATCH], is_short: false }
    }

    /// Whether there is nothing to be checked.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Checks until something can be read from `end`.
    pub fn run(mut self, end: &OwnedFd) {
        loop {
            self.begin_due(Instant::now());
            let Some(ready) = self.wait(end) else { return };
            self.advance(&ready, Instant::now());
        }
    }

    fn begin_due(&mut self, now: Instant) {
        for i in 0..self.servers.len() {
            let server = &mut self.servers[i];
            if server.probe.is_some() || server.due > now {
                continue;
            }
            server.due = now + server.check.interval;
            let socket = match probe::socket(&server.address) {
                Ok(socket) => socket,
                Err(e) => {
                    if !std::mem::replace(&mut self.is_short, true) {
                        tracing::warn!(
                            "proxy {:?}: servers are not checked for want of sockets: {e}",
                            self.proxy
                        );
                    }
                    continue;
                }
            };
            self.is_short = false;
            match Probe::begin(socket, &server.address, server.check.timeout, now) {
                Ok(probe) => server.probe = Some(probe),
                Err(fault) => self.hear(i, Err(fault)),
            }
        }
    }

    /// Waits until there is something to do. Of each probe, whether its socket is ready; `None` at the end.
    fn wait(&self, end: &OwnedFd) -> Option<Vec<bool>> {
        let probes = self.servers.iter().filter_map(|server| server.probe.as_ref());
        let mut fds: Vec<PollFd<'_>> = vec![PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN)];
        fds.extend(probes.map(Probe::wants).map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let next = self.servers.iter().map(|s| s.probe.as_ref().map_or(s.due, Probe::until)).min()?;
        let time = next.saturating_duration_since(Instant::now());
        match poll(&mut fds, Timespec::try_from(time).ok().as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Some(vec![false; fds.len() - 1]),
            Err(_) => {
                std::thread::sleep(NO_ROOM);
                return Some(vec![false; fds.len() - 1]);
            }
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let is_end = ready.next()?;
        (!is_end).then(|| ready.collect())
    }

    fn advance(&mut self, ready: &[bool], now: Instant) {
        let mut ready = ready.iter();
        for i in 0..self.servers.len() {
            let server = &mut self.servers[i];
            let Some(probe) = &mut server.probe else { continue };
            let is_ready = ready.next().is_some_and(|ready| *ready);
            let told = probe.advance(&server.request, is_ready, now, &mut self.scratch);
            if probe.is_over() {
                server.probe = None;
            }
            if let Some(told) = told {
                let is_good =
                    |status| if server.check.expects(status) { Ok(()) } else { Err(Fault::Status(status)) };
                let verdict = told.and_then(is_good);
                self.hear(i, verdict);
            }
        }
    }

    /// Takes down what became of a check, and says so if that changes something.
    fn hear(&mut self, i: usize, verdict: Result<(), Fault>) {
        let (server, proxy) = (&mut self.servers[i], &self.proxy);
        let health = self.health.server(server.place);
        health.checks.add(1);
        health.failures.add(u64::from(verdict.is_err()));
        let Some(up) = server.judge.hear(verdict.is_ok()) else { return };
        health.set_up(up);
        let (upstream, address, CheckPlan { rise, fall, .. }) =
            (&health.upstream, server.address, &server.check);
        // The good news is as loud as the bad: who has read the one waits for the other.
        match verdict {
            Ok(()) => tracing::warn!(
                "proxy {proxy:?}: server {address} of upstream {upstream:?} is asked again: {rise} in a row of its checks passed"
            ),
            Err(why) => tracing::warn!(
                "proxy {proxy:?}: server {address} of upstream {upstream:?} is left out: {fall} in a row of its checks failed, the last one: {why}"
            ),
        }
    }
}

/// What is sent to a server.
fn request(check: &CheckPlan, address: SocketAddr) -> Vec<u8> {
    // The zone of an address is this machine's own affair (RFC 6874, 1).
    let address = SocketAddr::new(address.ip(), address.port()).to_string();
    let host = check.host.as_ref().map_or(&*address, |host| &*host.name);
    let agent = concat!("warpdrive-check/", env!("CARGO_PKG_VERSION"));
    format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        check.path
    )
    .into_bytes()
}
