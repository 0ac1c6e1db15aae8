//! Strict workers: names of system calls become numbers, and what cannot do without calls is refused.

use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::idle::IdlePolicy;

use super::DevicePlan;
use super::planner::Planner;
use crate::config::Strict;
use crate::diag::did_you_mean;
use crate::strict::{StrictPlan, names};

impl Planner<'_> {
    pub(super) fn strict(&mut self, devices: &[DevicePlan]) -> StrictPlan {
        let eal = &self.config.eal;
        let mode = *eal.strict.get_ref();
        if mode == Strict::Off {
            if !eal.strict_allow.is_empty() {
                self.notes.push("eal.strict_allow has no effect, because of strict = \"off\"".to_owned());
            }
        } else {
            self.sleepers(mode, devices);
        }
        let allow = eal.strict_allow.iter().filter_map(|name| {
            let number = names::number_of(name.get_ref());
            if number.is_none() {
                let written = name.get_ref();
                let help = did_you_mean(written, names::all())
                    .unwrap_or_else(|| "names are those of the manual: man 2 syscalls".to_owned());
                self.error(name.span(), format!("there is no system call {written:?}"), help);
            }
            number
        });
        StrictPlan { mode, allow: allow.collect() }
    }

    /// Refuses threads that sleep when they have nothing to do: that is a system call.
    fn sleepers(&mut self, mode: Strict, devices: &[DevicePlan]) {
        let engines = devices.iter().filter_map(|d| match d.placement {
            Placement::Core { idle, .. } => Some((format!("the engine of device {:?}", d.name), idle)),
            Placement::Inline => None,
        });
        let workers = ("workers".to_owned(), self.config.eal.idle);
        if let Some((who, _)) =
            [workers].into_iter().chain(engines).find(|(_, idle)| *idle == IdlePolicy::Sleep)
        {
            let message = format!(
                "strict = {:?} does not go together with idle = \"sleep\" of {who}: to sleep is a system call",
                mode.name()
            );
            self.error(
                self.config.eal.strict.span(),
                message,
                "idle = \"pause\", \"spin\" or \"umwait\"; or strict = \"off\"",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::cores;
    use crate::plan::Plan;

    fn plan(eal: &str) -> Result<Plan, String> {
        let text = format!(
            "version = 1\n[eal]\n{eal}\n[port.a]\ndriver = \"null\"\n[[pipeline]]\nname = \"p\"\n\
             stages = [ {{ rx = \"a\" }}, {{ tx = \"a\" }} ]\n"
        );
        let config = Config::parse("t.toml", &text).map_err(|e| e.to_string())?;
        Plan::new(&config, &cores::parse_list("0").unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn names_become_numbers() {
        let strict = plan("strict = \"log\"\nstrict_allow = [\"sendto\", \"getsockopt\"]").unwrap().strict;
        let allow = [libc::SYS_sendto, libc::SYS_getsockopt].map(|n| n as u32).to_vec();
        assert_eq!(strict, StrictPlan { mode: Strict::Log, allow });
        assert_eq!(strict.allowed().collect::<Vec<_>>(), ["sendto", "getsockopt"]);
        assert_eq!(plan("").unwrap().strict, StrictPlan::default());
    }

    #[test]
    fn an_unknown_name_is_refused_at_its_place() {
        let e =
            plan("strict = \"kill\"\nstrict_allow = [\"read\", \"sendtoo\", \"wobblewobble\"]").unwrap_err();
        assert!(e.contains("t.toml:4:25: error: there is no system call \"sendtoo\""), "{e}");
        assert!(e.contains("did you mean \"sendto\"?") && e.contains("man 2 syscalls"), "{e}");
        assert_eq!(e.matches("error:").count(), 2, "{e}");
    }

    #[test]
    fn what_sleeps_cannot_be_strict() {
        let e = plan("idle = \"sleep\"\nstrict = \"log\"").unwrap_err();
        assert!(e.contains("t.toml:4:10: error: strict = \"log\" does not go together"), "{e}");
        for idle in ["spin", "pause", "umwait"] {
            plan(&format!("idle = {idle:?}\nstrict = \"log\"")).unwrap();
        }
        plan("idle = \"sleep\"\nstrict = \"off\"").unwrap();
    }

    #[test]
    fn a_list_without_effect_is_noted() {
        let noted =
            |eal: &str| plan(eal).unwrap().notes.iter().any(|n| n.contains("strict_allow has no effect"));
        assert!(noted("strict_allow = [\"read\"]"));
        assert!(!noted("strict_allow = [\"read\"]\nstrict = \"log\""));
        assert!(!noted(""));
    }
}
