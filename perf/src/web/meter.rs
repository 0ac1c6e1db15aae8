//! Who was at its limit, client or server: what part of the time either worked, in windows of a run.

use std::time::Duration;

use warpdrive_pmd::clock::{Clock, ticks};

use crate::os;
use crate::statistics::rounded;

/// Length of a window.
const WINDOW: Duration = Duration::from_millis(50);
/// A client that works this part of a window, in percent, could hardly do more.
const CLIENT_FULL: f64 = 90.0;
/// A server that works less than this part of it while the client is full is not what was measured.
const SERVER_FULL: f64 = 90.0;

/// A window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// The part of the time that the client did anything but ask whether something happened, in percent.
    pub client: f64,
    /// The cpu time of the server by the clock, in percent of one cpu. `None` if it is not ours to ask.
    pub server: Option<f64>,
}

/// Watches a client and its server.
pub struct Meter {
    servers: Vec<u32>,
    window: u64,
    next: u64,
    since: u64,
    busy: u64,
    busy_before: u64,
    server_before: Option<Duration>,
    /// The window in which the server worked most, and that in which the client did. `None` before the first has ended.
    top: Option<(Window, Window)>,
}

impl Meter {
    /// Of a server with these process ids, or with none that we know.
    #[must_use]
    pub fn new(servers: Vec<u32>) -> Self {
        let window = Clock::get().ticks_of(WINDOW);
        let mut meter = Self {
            servers,
            window,
            next: 0,
            since: 0,
            busy: 0,
            busy_before: 0,
            server_before: None,
            top: None,
        };
        meter.restart();
        meter
    }

    /// Cpu time of the server so far.
    #[must_use]
    pub fn server_time(&self) -> Option<Duration> {
        if self.servers.is_empty() {
            return None;
        }
        self.servers.iter().map(|pid| os::cpu_time(*pid).ok()).sum()
    }

    /// The client has worked for so many ticks, until `now`.
    #[inline]
    pub fn worked(&mut self, ticks: u64, now: u64) {
        self.busy += ticks;
        self.look(now);
    }

    /// It is `now`, and the client has nothing to do.
    #[inline]
    pub fn look(&mut self, now: u64) {
        if now >= self.next {
            self.end_window(now);
        }
    }

    /// Forgets what was.
    pub fn restart(&mut self) {
        self.top = None;
        self.begin_window(ticks());
    }

    fn begin_window(&mut self, now: u64) {
        (self.since, self.next, self.busy_before) = (now, now + self.window, self.busy);
        self.server_before = self.server_time();
    }

    fn end_window(&mut self, now: u64) {
        let clock = Clock::get();
        let length = clock.ns(now - self.since) as f64;
        // Nobody looked for long: between two loads.
        if now < self.next + self.window {
            let used = self.server_time().zip(self.server_before).map(|(after, before)| after - before);
            let busy = clock.ns(self.busy - self.busy_before) as f64;
            let window = Window {
                client: rounded((100.0 * busy / length).min(100.0)),
                server: used.map(|used| rounded(100.0 * used.as_nanos() as f64 / length)),
            };
            let (server, client) = self.top.get_or_insert((window, window));
            if window.server > server.server {
                *server = window;
            }
            if window.client > client.client {
                *client = window;
            }
        }
        self.begin_window(now);
    }

    /// What a reader must know.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let windows = format!("in windows of {} ms", WINDOW.as_millis());
        let Some((server, client)) = self.top else {
            return vec![format!(
                "{windows}, none of which was complete: how much the client worked is not known"
            )];
        };
        let mut notes = vec![match (server.server, client.server) {
            (Some(most), Some(then)) => format!(
                "{windows}: the server had {most:.0} % of a cpu at most (the client then worked {:.0} % of the time); \
                 the client worked {:.0} % at most (the server then had {then:.0} %)",
                server.client, client.client
            ),
            _ => format!(
                "{windows}: the client worked {:.0} % of the time at most; how much the server did is not known",
                client.client
            ),
        }];
        if client.client >= CLIENT_FULL && client.server.is_none_or(|share| share < SERVER_FULL) {
            notes.push(
                "THE CLIENT WAS AT ITS LIMIT: the highest rates are what it could do, not the server"
                    .to_owned(),
            );
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_works_without_a_pause_is_said_to_be_the_limit() {
        let mut meter = Meter::new(vec![]);
        let window = meter.window;
        let start = meter.since;
        meter.worked(window / 10, start + window / 2);
        meter.look(start + window);
        assert!(meter.notes().len() == 1 && meter.notes()[0].contains("worked 10 %"), "{:?}", meter.notes());
        meter.worked(window * 95 / 100, meter.since + window);
        assert!(meter.notes()[1].contains("AT ITS LIMIT"), "{:?}", meter.notes());
        meter.restart();
        assert_eq!(meter.notes().len(), 1);
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let mut stranger = Meter::new(vec![]);
        assert!(!stranger.notes()[0].contains(" 0 %"), "{:?}", stranger.notes());
        stranger.worked(stranger.window / 10, stranger.since + stranger.window);
        let said = stranger.notes().join("; ");
        assert!(said.contains("worked 10 %") && !said.contains(" 0 %"), "{said}");
        assert!(!said.contains("the server had"), "{said}");
        let mut ours = Meter::new(vec![std::process::id()]);
        ours.worked(ours.window / 10, ours.since + ours.window);
        let said = ours.notes().join("; ");
        assert!(said.contains("the server had") && said.contains("then worked 10 %"), "{said}");
    }

    #[test]
    fn a_pause_is_no_window() {
        let mut meter = Meter::new(vec![std::process::id()]);
        let (window, start) = (meter.window, meter.since);
        meter.worked(window * 3, start + 3 * window);
        assert_eq!(meter.top, None);
        assert!(meter.server_time().unwrap() > Duration::ZERO);
        assert!(Meter::new(vec![u32::MAX]).server_time().is_none());
    }
}
