//! Numbers of proxies: each has a range in which it makes sense.

use std::ops::RangeInclusive;

use super::super::Placed;
use super::super::planner::Planner;
use crate::config::{CompressTable, LimitsTable, Number, TimeoutsTable};
use crate::diag::Diagnostic;

/// The most fields that a head can have.
pub const MOST_FIELDS: usize = 128;
/// The longest head of a request: what a connection keeps before it is worked on.
const LONGEST_HEAD: u64 = 64 << 10;
/// The longest timeout: more is a slip of the unit rather than a wish.
pub(super) const DAY_MS: u64 = 86_400_000;

/// `[proxy.limits]`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/proxy.rs")]
pub struct LimitsPlan {
    pub connections: usize,
    pub half_open: usize,
    pub head_bytes: usize,
    pub target_bytes: usize,
    pub fields: usize,
    pub body_bytes: u64,
    pub requests: u64,
}

/// `[proxy.timeouts]`, in milliseconds.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/proxy.rs")]
pub struct TimeoutsPlan {
    pub handshake_ms: u64,
    pub head_ms: u64,
    pub idle_ms: u64,
    pub body_ms: u64,
    pub connect_ms: u64,
    pub response_ms: u64,
    pub upstream_idle_ms: u64,
    pub upgrade_ms: u64,
}

/// `[proxy.compress]`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/proxy.rs")]
pub struct CompressPlan {
    pub level: u8,
    pub min_bytes: u64,
    /// Looked at by the proxy.
    pub types: Vec<Placed>,
}

/// What is to be said of a number, unless it is within its range.
pub(in crate::plan) fn out_of_range(
    key: &str,
    number: &Number,
    range: RangeInclusive<u64>,
) -> Option<Diagnostic> {
    let n = number.get_ref();
    if range.contains(n) {
        return None;
    }
    let help = match range.into_inner() {
        (least, u64::MAX) => format!("{key} = {least} or more"),
        (least, most) => format!("{key} = {least} to {most}"),
    };
    Some(Diagnostic::new(number.span(), format!("{key} = {n} is not possible")).help(help))
}

impl Planner<'_> {
    /// A number that is to be within a range.
    pub(super) fn ranged(&mut self, key: &str, number: &Number, range: RangeInclusive<u64>) -> u64 {
        self.errors.extend(out_of_range(key, number, range));
        *number.get_ref()
    }

    /// A time that something is waited for.
    pub(super) fn milliseconds(&mut self, key: &str, number: &Number) -> u64 {
        self.ranged(key, number, 1..=DAY_MS)
    }

    pub(super) fn limits(&mut self, table: &LimitsTable) -> LimitsPlan {
        let before = self.errors.len();
        let plan = LimitsPlan {
            connections: self.ranged("connections", &table.connections, 1..=1_000_000) as usize,
            half_open: self.ranged("half_open", &table.half_open, 1..=1_000_000) as usize,
            head_bytes: self.ranged("head_bytes", &table.head_bytes, 1024..=LONGEST_HEAD) as usize,
            target_bytes: self.ranged("target_bytes", &table.target_bytes, 64..=LONGEST_HEAD) as usize,
            fields: self.ranged("fields", &table.fields, 1..=MOST_FIELDS as u64) as usize,
            body_bytes: *table.body_bytes.get_ref(),
            requests: self.ranged("requests", &table.requests, 1..=u64::MAX),
        };
        let (head, target) = (plan.head_bytes, plan.target_bytes);
        if target >= head && self.errors.len() == before {
            // At the one that is written: the other may be its default.
            let (span, help) = match table.target_bytes.span() {
                written if !written.is_empty() => (written, format!("target_bytes = {}", head / 2)),
                _ => (table.head_bytes.span(), format!("and target_bytes = {}", head / 2)),
            };
            let message = format!(
                "target_bytes = {target} is not below head_bytes = {head}: the target is a part of the head"
            );
            self.error(span, message, help);
        }
        plan
    }

    pub(super) fn timeouts(&mut self, table: &TimeoutsTable) -> TimeoutsPlan {
        TimeoutsPlan {
            handshake_ms: self.milliseconds("handshake_ms", &table.handshake_ms),
            head_ms: self.milliseconds("head_ms", &table.head_ms),
            idle_ms: self.milliseconds("idle_ms", &table.idle_ms),
            body_ms: self.milliseconds("body_ms", &table.body_ms),
            connect_ms: self.milliseconds("connect_ms", &table.connect_ms),
            response_ms: self.milliseconds("response_ms", &table.response_ms),
            upstream_idle_ms: self.milliseconds("upstream_idle_ms", &table.upstream_idle_ms),
            upgrade_ms: self.milliseconds("upgrade_ms", &table.upgrade_ms),
        }
    }

    pub(super) fn compress(&mut self, table: &CompressTable) -> CompressPlan {
        CompressPlan {
            level: self.ranged("level", &table.level, 1..=9) as u8,
            min_bytes: self.ranged("min_bytes", &table.min_bytes, 0..=1 << 30),
            types: table.types.get_ref().iter().map(Placed::from).collect(),
        }
    }
}
