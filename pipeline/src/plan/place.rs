//! Which core each pipeline and each engine has, and the workers that follow from it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use warpdrive_pmd::engine::Placement;

use super::planner::Planner;
use super::{DevicePlan, PipelinePlan, ProxyPlan, WorkerPlan};
use crate::config::{AutoWord, EngineCoreChoice};
use crate::diag::Diagnostic;

impl Planner<'_> {
    /// Decides which lcore each pipeline and each engine has.
    pub(super) fn place(
        &mut self,
        pipelines: &mut [PipelinePlan],
        proxies: &mut [ProxyPlan],
    ) -> Vec<DevicePlan> {
        let config = self.config;
        // What the configuration says comes first, then engines' wishes, then what is left.
        let mut engine_of: BTreeMap<usize, usize> = BTreeMap::new();
        for (i, device) in config.devices.iter().enumerate() {
            let Some(choice) = &device.value.core else { continue };
            let EngineCoreChoice::Lcore(lcore) = *choice.get_ref() else { continue };
            self.check_lcore(lcore, choice.span());
            if let Some(other) = engine_of.insert(lcore, i) {
                let other = config.devices[other].name.get_ref();
                self.error(
                    choice.span(),
                    format!("core {lcore} is that of device {other:?} already"),
                    "an engine's core is its own",
                );
            }
        }
        for (table, plan) in config.pipelines.iter().zip(pipelines.iter_mut()) {
            if let Some(core) = &table.core {
                plan.lcore = *core.get_ref();
                self.check_core(core, &engine_of);
            }
        }
        for (table, plan) in config.proxies.iter().zip(proxies.iter_mut()) {
            for core in &table.cores {
                plan.lcores.push(*core.get_ref());
                self.check_core(core, &engine_of);
            }
        }
        let of_proxies = proxies.iter().flat_map(|p| p.lcores.iter().copied());
        let taken: Vec<usize> =
            pipelines.iter().map(|p| p.lcore).filter(|l| *l != usize::MAX).chain(of_proxies).collect();
        let mut free: Vec<usize> = self
            .lcores
            .iter()
            .map(|(l, _)| l)
            .filter(|l| !taken.contains(l) && !engine_of.contains_key(l))
            .collect();
        // Engines take cores from the end, but leave one for pipelines that have none yet.
        let unplaced =
            pipelines.iter().any(|p| p.lcore == usize::MAX) || proxies.iter().any(|p| p.lcores.is_empty());
        let mut wished = vec![false; config.devices.len()];
        for (i, device) in config.devices.iter().enumerate() {
            let Some(choice) = &device.value.core else { continue };
            if let EngineCoreChoice::Word(AutoWord::Auto) = choice.get_ref() {
                wished[i] = true;
                if free.len() > usize::from(unplaced)
                    && let Some(lcore) = free.pop()
                {
                    engine_of.insert(lcore, i);
                }
            }
        }
        self.place_pipelines(pipelines, &free, &engine_of);
        self.place_proxies(proxies, pipelines, &engine_of);
        config
            .devices
            .iter()
            .enumerate()
            .map(|(i, device)| {
                let lcore = engine_of.iter().find(|(_, d)| **d == i).map(|(l, _)| *l);
                let idle = device.value.idle.unwrap_or(config.eal.idle);
                let cpu = lcore.and_then(|l| self.lcores.get(l)).and_then(|cpus| cpus.iter().next());
                DevicePlan {
                    name: device.name.get_ref().clone(),
                    engine: self.engine(device),
                    placement: cpu.map_or(Placement::Inline, |cpu| Placement::Core { cpu, idle }),
                    core_wished: wished[i] && lcore.is_none(),
                }
            })
            .collect()
    }

    /// Gives pipelines without a core one: free ones in turn, else those of other pipelines.
    fn place_pipelines(
        &mut self,
        pipelines: &mut [PipelinePlan],
        free: &[usize],
        engine_of: &BTreeMap<usize, usize>,
    ) {
        let fallback: Vec<usize> =
            self.lcores.iter().map(|(l, _)| l).filter(|l| !engine_of.contains_key(l)).collect();
        let choices = if free.is_empty() { &fallback[..] } else { free };
        let mut next = 0;
        for (table, plan) in self.config.pipelines.iter().zip(pipelines) {
            if plan.lcore != usize::MAX {
                continue;
            }
            match choices.get(next % choices.len().max(1)) {
                Some(lcore) => plan.lcore = *lcore,
                // A mistake in the cores of engines is told of already.
                None if !self.errors.is_empty() => {}
                None => self.errors.push(
                    Diagnostic::new(
                        table.name.span(),
                        format!("no core is left for pipeline {:?}", plan.name),
                    )
                    .help("give fewer engines a core of their own, or more cores to the program"),
                ),
            }
            next += 1;
        }
    }

    /// Gives each proxy without cores one that nothing else has, else one that no engine has.
    fn place_proxies(
        &mut self,
        proxies: &mut [ProxyPlan],
        pipelines: &[PipelinePlan],
        engine_of: &BTreeMap<usize, usize>,
    ) {
        let open: Vec<usize> =
            self.lcores.iter().map(|(l, _)| l).filter(|l| !engine_of.contains_key(l)).collect();
        for i in 0..proxies.len() {
            if !proxies[i].lcores.is_empty() {
                continue;
            }
            let is_taken = |lcore: usize| {
                pipelines.iter().any(|p| p.lcore == lcore)
                    || proxies.iter().any(|p| p.lcores.contains(&lcore))
            };
            let free = open.iter().copied().find(|lcore| !is_taken(*lcore)).or(open.first().copied());
            if free.is_none() && self.errors.is_empty() {
                let message = format!("no core is left for proxy {:?}", proxies[i].name);
                let help = "give fewer engines a core of their own, or more cores to the program";
                self.error(self.config.proxies[i].name.span(), message, help);
            }
            proxies[i].lcores.extend(free);
        }
    }

    /// A core that is written for a pipeline or a proxy.
    fn check_core(&mut self, core: &Spanned<usize>, engine_of: &BTreeMap<usize, usize>) {
        self.check_lcore(*core.get_ref(), core.span());
        if let Some(device) = engine_of.get(core.get_ref()) {
            let device = self.config.devices[*device].name.get_ref();
            let message = format!("core {} is that of device {device:?}", core.get_ref());
            self.error(core.span(), message, "an engine's core is its own");
        }
    }

    fn check_lcore(&mut self, lcore: usize, span: Range<usize>) {
        if self.lcores.get(lcore).is_none() {
            let lcores = self.lcores.to_string();
            self.error(
                span,
                format!("core {lcore} is not one of the lcores in use"),
                format!("lcores: {lcores} (choose others with -c, -l, --lcores or eal.cores)"),
            );
        }
    }

    pub(super) fn workers(&mut self, pipelines: &[PipelinePlan], proxies: &[ProxyPlan]) -> Vec<WorkerPlan> {
        self.lcores
            .iter()
            .map(|(lcore, cpus)| WorkerPlan {
                lcore,
                cpus: *cpus,
                pipelines: (0..pipelines.len()).filter(|i| pipelines[*i].lcore == lcore).collect(),
            })
            .filter(|w| !w.pipelines.is_empty() || proxies.iter().any(|p| p.lcores.contains(&w.lcore)))
            .collect()
    }
}
