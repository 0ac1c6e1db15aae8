//! From a stage's table to its [`StagePlan`], with every number in range.

use std::net::Ipv4Addr;
use std::time::Duration;

use toml::Spanned;
use warpdrive_mempool::BURST;
use warpdrive_pmd::engine::MAX_DEPTH;
use warpdrive_pmd::engine::rsa::RsaOp;
use warpdrive_pmd::engine::zip::{BackEnd, MAX_LEVEL, MAX_STREAM_LEVEL, WINDOW_BITS, ZipFormat, ZipSession};
use warpdrive_pmd::port::MacAddr;

use super::planner::Planner;
use super::{DEFAULT_DEPTH, Placed, StagePlan, ZipPlan};
use crate::config::{DeviceDriver, EchoTable, Name, RsaTable, StageTable, StallTable, ZipTable};
use crate::demo;
use crate::diag::Diagnostic;
use crate::stage::classify::Rules;
use crate::stage::flows::MAX_FLOWS;
use crate::stage::stall::Stalls;

/// The longest stall that can be asked for.
const LONGEST_STALL_MS: u32 = 60_000;

impl Planner<'_> {
    pub(super) fn stage(&mut self, pipeline: &str, table: &StageTable) -> Option<StagePlan> {
        Some(match table {
            StageTable::Rx(t) => {
                let burst = self.burst(&t.burst);
                let port = self.port(&t.rx)?;
                self.own(true, port, t.queue, pipeline, t.rx.span());
                StagePlan::Rx { port, queue: t.queue, burst }
            }
            StageTable::Tx(t) => {
                let port = self.port(&t.tx)?;
                self.own(false, port, t.queue, pipeline, t.tx.span());
                StagePlan::Tx { port, queue: t.queue, full: t.full }
            }
            StageTable::Rsa(t) => self.rsa(t)?,
            StageTable::Zip(t) => self.zip(t)?,
            StageTable::Match(t) => {
                let rules = Rules::read(t.r#match.get_ref()).map_err(|e| self.errors.extend(e)).ok()?;
                if rules == Rules::default() {
                    self.error(
                        t.r#match.span(),
                        "there is no condition here",
                        "match = { protocol = \"udp\" }",
                    );
                }
                let elsewhere = match &t.r#else {
                    Some(name) if name.get_ref() != "drop" => Some(self.elsewhere(name)?),
                    _ => None,
                };
                StagePlan::Match { rules, elsewhere }
            }
            StageTable::MacSwap(t) => {
                self.must_be_true(&t.mac_swap);
                StagePlan::MacSwap
            }
            StageTable::Echo(t) => self.echo(t)?,
            StageTable::Count(t) => {
                let name = t.count.get_ref();
                if name.is_empty() {
                    self.error(t.count.span(), "a name cannot be empty", "count = \"…\"");
                } else if !self.counters.insert(name.clone()) {
                    let message = format!("there are two counters {name:?}");
                    self.error(t.count.span(), message, "give each a name of its own");
                }
                StagePlan::Count { name: name.clone() }
            }
            StageTable::Drop(t) => {
                self.must_be_true(&t.drop);
                StagePlan::Drop
            }
            StageTable::Stall(t) => StagePlan::Stall(self.stalls(t)),
            StageTable::Tee(t) => {
                let port = self.port(&t.tee)?;
                self.own(false, port, t.queue, pipeline, t.tee.span());
                StagePlan::Tee { port, queue: t.queue }
            }
            StageTable::Handoff(t) => {
                let slots = self.slots(&t.slots);
                StagePlan::Handoff { to: vec![self.pipeline_named(&t.handoff)?], slots, full: t.full }
            }
            StageTable::Fanout(t) => {
                let slots = self.slots(&t.slots);
                let to: Vec<usize> =
                    t.fanout.get_ref().iter().filter_map(|n| self.pipeline_named(n)).collect();
                for (i, name) in t.fanout.get_ref().iter().enumerate() {
                    if t.fanout.get_ref()[..i].iter().any(|n| n.get_ref() == name.get_ref()) {
                        let message = format!("this fanout names pipeline {:?} twice", name.get_ref());
                        self.error(name.span(), message, "each pipeline once");
                    }
                }
                if t.fanout.get_ref().is_empty() {
                    self.error(t.fanout.span(), "a fanout to nowhere", "name at least one pipeline");
                }
                StagePlan::Handoff { to, slots, full: t.full }
            }
            StageTable::Merge(t) => {
                self.must_be_true(&t.merge);
                StagePlan::Merge { burst: self.burst(&t.burst) }
            }
        })
    }

    /// The pipeline named by the `else` of a `match`.
    fn elsewhere(&mut self, name: &Name) -> Option<usize> {
        let found = self.pipeline_named(name);
        if found.is_none()
            && let Some(Diagnostic { help: Some(help), .. }) = self.errors.last_mut()
        {
            help.push_str(", or \"drop\"");
        }
        found
    }

    /// A key is loaded at start, but a name that can never be one is known now.
    fn key(&mut self, key: &Name) {
        let name = key.get_ref();
        if name.starts_with(demo::PREFIX) && demo::bits(name).is_none() {
            let help = demo::NAMES.join(", ");
            self.error(key.span(), format!("there is no demo key {name:?}"), format!("demo keys: {help}"));
        } else if name.is_empty() {
            self.error(key.span(), "a key has a file name", "a PEM or DER file, or \"demo:rsa2048\"");
        }
    }

    fn rsa(&mut self, t: &RsaTable) -> Option<StagePlan> {
        self.key(&t.key);
        if let Some(certificate) = t.certificate.as_ref().filter(|name| name.get_ref().is_empty()) {
            self.error(certificate.span(), "a certificate has a file name", "a PEM or DER file");
        }
        let depth = self.depth(t.depth.as_ref());
        let (op, scheme) = (*t.op.get_ref(), *t.scheme.get_ref());
        if !matches!(op, RsaOp::Sign | RsaOp::Verify) {
            self.error(
                t.op.span(),
                "a pipeline signs and verifies; it does not encrypt",
                "op = \"sign\" or \"verify\"",
            );
            return None;
        }
        if !scheme.is_for(op) {
            self.error(
                t.scheme.span(),
                format!("{:?} is a scheme for encryption", scheme.name()),
                "for signatures: \"pss-sha256\", \"pkcs1-sha256\", and both with sha384 and sha512",
            );
            return None;
        }
        let device = self.device(&t.rsa, DeviceDriver::SoftRsa)?;
        Some(StagePlan::Rsa {
            device,
            op,
            scheme,
            key: Placed::from(&t.key),
            certificate: t.certificate.as_ref().map(Placed::from),
            allow_1024: t.allow_1024,
            depth,
            full: t.full,
            oversize: t.oversize,
            plain: t.plain,
        })
    }

    fn zip(&mut self, t: &ZipTable) -> Option<StagePlan> {
        let depth = self.depth(t.depth.as_ref());
        let streams = self.within(
            t.streams.as_ref(),
            0,
            0..=MAX_FLOWS,
            "streams",
            "0: none; a stream has 300 to 500 KiB",
        );
        let refresh = self.within(
            t.refresh.as_ref(),
            64,
            1..=65_535,
            "refresh",
            "packets; fewer for networks that lose many",
        );
        let window_bits = self.within(t.window_bits.as_ref(), 15, WINDOW_BITS, "window-bits", "15 is 32 KiB");
        let level = *t.level.get_ref();
        let max = if streams > 0 { MAX_STREAM_LEVEL } else { MAX_LEVEL };
        if level > max {
            self.error(
                t.level.span(),
                format!("level {level} is too high"),
                format!("0 (stored) to {max} (smallest{})", if streams > 0 { " of streams" } else { "" }),
            );
        }
        if streams > 0 && t.format != ZipFormat::Deflate {
            let span = t.streams.as_ref().map_or(0..0, toml::Spanned::span);
            self.error(span, "streams have no wrapping", "leave `format` out, or say format = \"deflate\"");
        }
        let device = self.device(&t.zip, DeviceDriver::SoftZip)?;
        let plan = ZipPlan {
            device,
            op: *t.op.get_ref(),
            format: t.format,
            level: level.min(max),
            window_bits,
            back_end: t.back_end.as_ref().map_or(BackEnd::Auto, |b| *b.get_ref()),
            dictionary: t.dictionary.as_ref().map(Placed::from),
            streams,
            refresh,
            depth,
            full: t.full,
            oversize: t.oversize,
            plain: t.plain,
        };
        self.check_zip(t, &plan);
        Some(StagePlan::Zip(Box::new(plan)))
    }

    /// Whether there can be such a session. What its dictionary says is looked at when it is read.
    fn check_zip(&mut self, t: &ZipTable, plan: &ZipPlan) {
        let stand_in = if plan.dictionary.is_some() { vec![0] } else { Vec::new() };
        let said = t.dictionary.as_ref().map(Spanned::span).or(t.back_end.as_ref().map(Spanned::span));
        let span = said.or(t.window_bits.as_ref().map(Spanned::span)).unwrap_or(t.zip.span());
        match ZipSession::with(plan.session(stand_in)) {
            Err(e) => self.diagnose(Diagnostic::of_error(span, &e.to_string())),
            Ok(session) if plan.streams > 0 => {
                if let Err(why) = session.stream_back_end() {
                    self.diagnose(Diagnostic::of_error(span, &why));
                }
            }
            Ok(_) => {}
        }
    }

    /// A number within its range, or what it is if nobody said.
    fn within<T>(
        &mut self,
        given: Option<&toml::Spanned<T>>,
        usual: T,
        range: std::ops::RangeInclusive<T>,
        name: &str,
        help: &str,
    ) -> T
    where
        T: Copy + PartialOrd + std::fmt::Display,
    {
        let Some(given) = given else { return usual };
        let value = *given.get_ref();
        if !range.contains(&value) {
            let message = format!("{name} = {value} is not possible: {} to {}", range.start(), range.end());
            self.error(given.span(), message, help);
            return usual;
        }
        value
    }

    fn echo(&mut self, t: &EchoTable) -> Option<StagePlan> {
        let Ok(address) = t.echo.get_ref().parse::<Ipv4Addr>() else {
            self.error(
                t.echo.span(),
                format!("{:?} is not an IPv4 address", t.echo.get_ref()),
                "for example \"192.0.2.1\"",
            );
            return None;
        };
        let mac = match &t.mac {
            None => None,
            Some(text) => match text.get_ref().parse::<MacAddr>() {
                Ok(MacAddr([first, ..])) if first & 1 == 1 => {
                    let message =
                        format!("{:?} is a group address: nobody can answer with it", text.get_ref());
                    self.error(text.span(), message, "for example \"02:00:00:00:00:01\"");
                    return None;
                }
                Ok(mac) => Some(mac),
                Err(e) => {
                    self.error(text.span(), e, "for example \"02:00:00:00:00:01\"");
                    return None;
                }
            },
        };
        Some(StagePlan::Echo { address, mac, others: t.others })
    }

    fn stalls(&mut self, t: &StallTable) -> Stalls {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let length = *t.stall.get_ref();
        if !(1..=LONGEST_STALL_MS).contains(&length) {
            let message = format!("stall = {length} is not possible");
            self.error(t.stall.span(), message, format!("1 to {LONGEST_STALL_MS} milliseconds"));
        }
        let every = t.every_ms.as_ref().filter(|every| *every.get_ref() > 0);
        if let Some(every) = every.filter(|every| *every.get_ref() <= length) {
            let message = format!("every-ms = {} leaves no time between two stalls", every.get_ref());
            self.error(every.span(), message, format!("more than {length}, or 0 for once"));
        }
        Stalls { length: ms(length), after: ms(t.after_ms), every: every.map(|every| ms(*every.get_ref())) }
    }

    fn must_be_true(&mut self, value: &Spanned<bool>) {
        if !value.get_ref() {
            self.error(value.span(), "this can only be true", "to have no such stage, leave it out");
        }
    }

    fn number(&mut self, value: &Spanned<usize>, what: &str, max: usize) -> usize {
        let n = *value.get_ref();
        if n == 0 || n > max {
            self.error(value.span(), format!("{what} = {n} is not possible"), format!("1 to {max}"));
        }
        n.clamp(1, max)
    }

    fn burst(&mut self, value: &Spanned<usize>) -> usize {
        self.number(value, "burst", BURST)
    }

    fn depth(&mut self, value: Option<&Spanned<usize>>) -> usize {
        value.map_or(DEFAULT_DEPTH, |v| self.number(v, "depth", MAX_DEPTH))
    }

    fn slots(&mut self, value: &Spanned<usize>) -> usize {
        const MOST: usize = 1 << 16;
        let n = *value.get_ref();
        let range = format!("{BURST} to {MOST}");
        if n < BURST {
            self.error(value.span(), format!("slots = {n} is less than a burst"), range);
        } else if n > MOST {
            self.error(value.span(), format!("slots = {n} is not possible"), range);
        }
        n.clamp(BURST, MOST)
    }
}
