//! What the plan adds up to: buffers that may be held at once, and what nobody uses.

use std::collections::BTreeMap;

use warpdrive_mempool::BURST;
use warpdrive_pmd::engine::Placement;

use super::planner::Planner;
use super::{CACHED_PER_WORKER, ELSEWHERE_SLOTS, Plan, StagePlan};
use crate::diag::Diagnostic;

impl Planner<'_> {
    pub(super) fn unused(&mut self, plan: &Plan) {
        let config = self.config;
        for (i, port) in config.ports.iter().enumerate() {
            let used = self.rx_owner.keys().chain(self.tx_owner.keys()).any(|(p, _)| *p == i);
            if !used {
                self.notes.push(format!("port {:?} is not used by any pipeline", port.name.get_ref()));
            }
        }
        for (i, device) in config.devices.iter().enumerate() {
            let used = plan.pipelines.iter().flat_map(|p| &p.stages).any(|s| match s {
                StagePlan::Rsa { device, .. } => *device == i,
                StagePlan::Zip(zip) => zip.device == i,
                _ => false,
            });
            let used = used || plan.proxies.iter().any(|p| p.rsa == Some(i) || p.zip == Some(i));
            if !used {
                let name = device.name.get_ref();
                self.notes.push(format!("device {name:?} is not used by any pipeline or proxy"));
            }
        }
    }

    /// Adds up, for each pool, what may be held at once.
    pub(super) fn arithmetic(&mut self, plan: &mut Plan) {
        for (index, port) in plan.ports.iter().enumerate() {
            let queues =
                |owners: &BTreeMap<(usize, u16), String>| owners.keys().filter(|(p, _)| *p == index).count();
            let (rx, tx) = (queues(&self.rx_owner), queues(&self.tx_owner));
            let held = rx * port.config.buffers_per_rx() + tx * port.config.buffers_per_tx();
            if held > 0 {
                plan.pools[port.pool].needs.push((format!("port {:?}", port.name), held));
            }
        }
        for worker in &plan.workers {
            for pool in &mut plan.pools {
                let cached = CACHED_PER_WORKER.min(pool.config.buffers / 2);
                pool.needs.push((format!("cache of core {}", worker.lcore), cached));
            }
        }
        for device in &plan.devices {
            if let Placement::Core { cpu, .. } = device.placement {
                for pool in &mut plan.pools {
                    let cached = CACHED_PER_WORKER.min(pool.config.buffers / 2);
                    pool.needs.push((format!("cache of engine core {cpu}"), cached));
                }
            }
        }
        for pipeline in &plan.pipelines {
            let needs = &mut plan.pools[pipeline.pool].needs;
            let mut bursts = BURST;
            for stage in &pipeline.stages {
                let (what, n) = match stage {
                    StagePlan::Rsa { depth, .. } => ("rsa in flight", *depth),
                    // The input and the output.
                    StagePlan::Zip(zip) => ("zip in flight", 2 * zip.depth),
                    StagePlan::Handoff { to, slots, .. } => ("handed off", to.len() * slots),
                    StagePlan::Match { elsewhere: Some(_), .. } => ("sent elsewhere", ELSEWHERE_SLOTS),
                    StagePlan::Tx { .. } | StagePlan::Tee { .. } => {
                        bursts += BURST;
                        continue;
                    }
                    _ => continue,
                };
                needs.push((format!("{what} in pipeline {:?}", pipeline.name), n));
            }
            needs.push((format!("bursts of pipeline {:?}", pipeline.name), bursts));
        }
        for proxy in &plan.proxies {
            if let Some(user) = &proxy.user {
                let pool = plan.ports[user.port].pool;
                let bursts = 2 * BURST * proxy.lcores.len();
                plan.pools[pool].needs.push((format!("bursts of proxy {:?}", proxy.name), bursts));
            }
            let needs = &mut plan.pools[proxy.pool].needs;
            for lcore in &proxy.lcores {
                needs.extend(proxy.needs(*lcore));
            }
        }
        for (i, pool) in plan.pools.iter().enumerate() {
            let sum: usize = pool.needs.iter().map(|(_, n)| n).sum();
            if sum > pool.config.buffers {
                let list: Vec<String> = pool.needs.iter().map(|(who, n)| format!("{n} {who}")).collect();
                let span = self.config.mempools.get(i).map_or(0..0, |m| m.name.span());
                let message = format!(
                    "mempool {:?} has {} buffers, but {sum} may be needed at once: {}",
                    pool.config.name,
                    pool.config.buffers,
                    list.join(", ")
                );
                self.errors.push(
                    Diagnostic::new(span, message).help(format!("buffers = {}", sum.next_power_of_two())),
                );
            }
        }
    }
}
