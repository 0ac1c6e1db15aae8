//! What the engines of devices are told, and whether this machine can do it.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use warpdrive_pmd::engine::rsa::{Passes, RsaOptions, Simd};

use super::planner::{Planner, Supports};
use super::uacce::UaccePlan;
use crate::config::{DeviceDriver, DeviceTable, Named, RsaEngineKeys};
use crate::diag::Diagnostic;

/// The longest that a request may be kept waiting for company: more is a slip of the unit rather than a wish.
const LONGEST_DEADLINE_US: u64 = 10_000;

/// An engine with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnginePlan {
    /// RSA in software.
    Rsa(RsaOptions),
    /// DEFLATE in software.
    Zip,
    /// Elsewhere, behind a queue file.
    Uacce(UaccePlan),
}

impl Planner<'_> {
    pub(super) fn engine(&mut self, device: &Named<DeviceTable>) -> EnginePlan {
        match device.value.driver.get_ref() {
            DeviceDriver::SoftRsa => {
                let whose = format!("device {:?}", device.name.get_ref());
                let mut engine = RsaEnginePlanner {
                    whose: &whose,
                    span: device.name.span(),
                    supports: self.supports,
                    errors: &mut self.errors,
                    notes: &mut self.notes,
                };
                EnginePlan::Rsa(engine.options(&device.value.rsa))
            }
            DeviceDriver::SoftZip => EnginePlan::Zip,
            DeviceDriver::Uacce => EnginePlan::Uacce(self.uacce(device)),
        }
    }
}

/// Makes options of what is written for an RSA engine.
pub(super) struct RsaEnginePlanner<'a> {
    /// What has the engine, for messages.
    pub(super) whose: &'a str,
    /// Where that is.
    pub(super) span: Range<usize>,
    pub(super) supports: Supports,
    pub(super) errors: &'a mut Vec<Diagnostic>,
    pub(super) notes: &'a mut Vec<String>,
}

impl RsaEnginePlanner<'_> {
    pub(super) fn options(&mut self, keys: &RsaEngineKeys) -> RsaOptions {
        let options = RsaOptions {
            simd: keys.simd.as_ref().map_or(Simd::default(), |simd| *simd.get_ref()),
            passes: keys.passes.as_ref().map_or(Passes::default(), |passes| *passes.get_ref()),
            deadline: keys.deadline_us.as_ref().map_or(Duration::ZERO, |us| self.deadline(us)),
            blinding: keys.blinding,
            ..RsaOptions::default()
        };
        if let Err(text) = (self.supports)(&options) {
            let span = keys.simd.as_ref().map(Spanned::span).filter(|span| !span.is_empty());
            let span = span.unwrap_or_else(|| self.span.clone());
            self.errors.push(Diagnostic::of_error(span, &text));
        }
        // Nobody waits for a second operation that would be done alone all the same.
        let alone = match (options.simd, options.passes) {
            (Simd::Library, _) => Some("simd = \"library\""),
            (_, Passes::Single) => Some("passes = \"single\""),
            _ => None,
        };
        if let Some(alone) = alone.filter(|_| !options.deadline.is_zero()) {
            self.notes.push(format!("{}: deadline_us has no effect, because of {alone}", self.whose));
        }
        options
    }

    fn deadline(&mut self, us: &Spanned<u64>) -> Duration {
        let n = *us.get_ref();
        if n > LONGEST_DEADLINE_US {
            let help = format!("0 to {LONGEST_DEADLINE_US} microseconds; 0 is not to wait");
            self.errors.push(Diagnostic::new(us.span(), format!("deadline_us = {n} is too long")).help(help));
        }
        Duration::from_micros(n.min(LONGEST_DEADLINE_US))
    }
}

#[cfg(test)]
mod tests {
    use super::super::planner::Supports;
    use super::*;
    use crate::config::Config;
    use crate::cores;
    use crate::plan::Plan;

    fn plan(keys: &str, supports: Supports) -> Result<Plan, String> {
        let text = format!(
            "version = 1\n[port.a]\ndriver = \"null\"\n[device.r]\ndriver = \"soft-rsa\"\n{keys}\n\
             [[pipeline]]\nname = \"p\"\nstages = [ {{ rx = \"a\" }}, {{ tx = \"a\" }} ]\n"
        );
        let config = Config::parse("t.toml", &text).unwrap();
        Plan::supported(&config, &cores::parse_list("0").unwrap(), supports).map_err(|e| e.to_string())
    }

    #[test]
    fn every_key_reaches_the_engine() {
        let keys = "simd = \"library\"\npasses = \"largest\"\ndeadline_us = 250\nblinding = true";
        let options = RsaOptions {
            simd: Simd::Library,
            passes: Passes::Largest,
            deadline: Duration::from_micros(250),
            blinding: true,
            check: true,
        };
        let plan = |keys: &str| plan(keys, |_| Ok(())).unwrap();
        assert_eq!(plan(keys).devices[0].engine, EnginePlan::Rsa(options));
        assert_eq!(plan("").devices[0].engine, EnginePlan::Rsa(RsaOptions::default()));
        for simd in Simd::ALL {
            let named = plan(&format!("simd = {:?}", simd.name()));
            assert_eq!(
                named.devices[0].engine,
                EnginePlan::Rsa(RsaOptions { simd, ..RsaOptions::default() })
            );
        }
    }

    #[test]
    fn what_this_cpu_cannot_do_is_refused_at_its_place() {
        let supports: Supports = |options| match options.simd {
            Simd::Auto => Ok(()),
            _ => Err("this cpu lacks it. Remedy: simd = \"auto\"".to_owned()),
        };
        assert!(plan("passes = \"largest\"", supports).is_ok());
        let refused = plan("simd = \"avx512-ifma\"", supports).unwrap_err();
        assert!(refused.starts_with("t.toml:6:8: error: this cpu lacks it\n"), "{refused}");
        assert!(refused.contains("= help: simd = \"auto\""), "{refused}");
    }

    #[test]
    fn a_deadline_without_effect_is_noted() {
        let notes = |keys: &str| plan(keys, |_| Ok(())).unwrap().notes.join("\n");
        let note = "device \"r\": deadline_us has no effect, because of";
        assert!(
            notes("passes = \"single\"\ndeadline_us = 1").contains(&format!("{note} passes = \"single\""))
        );
        assert!(notes("simd = \"library\"\ndeadline_us = 1").contains(&format!("{note} simd = \"library\"")));
        assert!(!notes("passes = \"largest\"\ndeadline_us = 1").contains(note));
        assert!(!notes("passes = \"single\"\ndeadline_us = 0").contains(note));
    }
}
