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
