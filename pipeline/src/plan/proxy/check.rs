//! Checks of servers: what is asked for, how often, and what is a good answer.

use std::time::Duration;

use super::super::Placed;
use super::super::planner::Planner;
use super::numbers::DAY_MS;
use crate::config::{CheckTable, Statuses};

/// The shortest time between two checks of a server: more often is a load rather than a look.
const SHORTEST_INTERVAL_MS: u64 = 100;
/// The longest row of answers that is waited for.
const LONGEST_ROW: u64 = 1_000;

/// `check = { path = "/", … }`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/check.rs")]
pub struct CheckPlan {
    pub path: String,
    /// Looked at by the proxy.
    pub host: Option<Placed>,
    /// None: 200 to 399.
    pub expect: Vec<u16>,
    pub interval: Duration,
    pub timeout: Duration,
    pub rise: u32,
    pub fall: u32,
}

impl CheckPlan {
    /// Whether a status is that of a server which is well.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        if self.expect.is_empty() { (200..400).contains(&status) } else { self.expect.contains(&status) }
    }
}

impl Planner<'_> {
    pub(super) fn check(&mut self, table: &CheckTable) -> CheckPlan {
        let path = table.path.get_ref();
        if let Some(help) = wrong_target(path) {
            self.error(table.path.span(), format!("{path:?} is not a path"), help);
        }
        let interval = self.ranged("interval_ms", &table.interval_ms, SHORTEST_INTERVAL_MS..=DAY_MS);
        CheckPlan {
            path: path.clone(),
            host: table.host.as_ref().map(Placed::from),
            expect: self.expected(table),
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(self.milliseconds("timeout_ms", &table.timeout_ms)),
            rise: self.ranged("rise", &table.rise, 1..=LONGEST_ROW) as u32,
            fall: self.ranged("fall", &table.fall, 1..=LONGEST_ROW) as u32,
        }
    }

    fn expected(&mut self, table: &CheckTable) -> Vec<u16> {
        let Some(expect) = &table.expect else { return Vec::new() };
        let one;
        let statuses = match expect.get_ref() {
            Statuses::One(status) => {
                one = [toml::Spanned::new(expect.span(), *status)];
                &one[..]
            }
            Statuses::Several(several) => several,
        };
        if statuses.is_empty() {
            self.error(expect.span(), "no status is good".to_owned(), "leave expect out for 200 to 399");
        }
        // What is below 200 is never the last word of a server.
        statuses.iter().map(|status| self.ranged("expect", status, 200..=599) as u16).collect()
    }
}

/// What to write instead of what is no path. A query may be behind it.
fn wrong_target(path: &str) -> Option<&'static str> {
    match path {
        _ if !path.starts_with('/') => Some("a path begins with /"),
        _ if path.contains('#') => Some("without what is behind #: servers do not get that"),
        _ if !path.bytes().all(|b| b.is_ascii_graphic()) => {
            Some("with %XX for what is not ASCII: \"/caf%C3%A9/\"")
        }
        _ => None,
    }
}
