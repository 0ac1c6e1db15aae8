//! How packets get from stage to stage, from pipeline to pipeline and through cables; whether they come to an end.

use warpdrive_pmd::port::PortConfig;

use super::planner::Planner;
use super::{PipelinePlan, StagePlan};
use crate::config::PipelineTable;
use crate::diag::known_names;

impl Planner<'_> {
    /// A source at the beginning and nowhere else, an end at the end and nowhere else.
    pub(super) fn order(&mut self, table: &PipelineTable, stages: &[StagePlan]) {
        let name = table.name.get_ref();
        let last = stages.len().wrapping_sub(1);
        if stages.is_empty() {
            self.error(
                table.name.span(),
                format!("pipeline {name:?} has no stages"),
                "at least a source and an end",
            );
        }
        for (i, (stage, written)) in stages.iter().zip(&table.stages).enumerate() {
            let kind = stage.kind();
            if i == 0 && !stage.is_source() {
                self.error(
                    written.span(),
                    format!("pipeline {name:?} begins with {kind}"),
                    "the first stage is rx or merge",
                );
            } else if i > 0 && stage.is_source() {
                self.error(
                    written.span(),
                    format!("{kind} in the middle of a pipeline"),
                    "a source is the first stage of a pipeline",
                );
            }
            if i < last && stage.is_end() {
                self.error(
                    written.span(),
                    format!("no packet gets past this {kind}, so the stages behind it are unreachable"),
                    "tx, drop, handoff and fanout come last; a copy on the way is a tee",
                );
                break;
            }
            if i == last && i > 0 && !stage.is_end() {
                self.error(
                    written.span(),
                    format!("pipeline {name:?} ends with {kind}"),
                    "the last stage is tx, drop, handoff or fanout",
                );
            }
        }
        if stages.len() == 1 && !stages[0].is_end() {
            self.error(
                table.name.span(),
                format!("pipeline {name:?} has no end"),
                "the last stage is tx, drop, handoff or fanout",
            );
        }
    }

    /// Handoffs lead to pipelines that begin with a merge, and to no circle.
    pub(super) fn links(&mut self, pipelines: &[PipelinePlan]) {
        let config = self.config;
        let mut targeted = vec![false; pipelines.len()];
        // Pipelines of circles that were told of: once is enough.
        let mut circled = vec![false; pipelines.len()];
        for (from, plan) in pipelines.iter().enumerate() {
            for to in links_of(plan) {
                targeted[to] = true;
                let target = &pipelines[to];
                if !matches!(target.stages.first(), Some(StagePlan::Merge { .. })) {
                    self.error(
                        config.pipelines[to].name.span(),
                        format!(
                            "pipeline {:?} is given packets by {:?} but does not begin with a merge",
                            target.name, plan.name
                        ),
                        "its first stage: { merge = true }",
                    );
                }
                if reaches(pipelines, to, from) && !std::mem::replace(&mut circled[from], true) {
                    for (other, seen) in circled.iter_mut().enumerate() {
                        *seen |= reaches(pipelines, from, other) && reaches(pipelines, other, from);
                    }
                    self.error(
                        config.pipelines[from].name.span(),
                        format!(
                            "packets of pipeline {:?} come back to it by way of {:?}",
                            plan.name, target.name
                        ),
                        "a circle never drains: end one of the pipelines with tx or drop",
                    );
                }
            }
        }
        for (i, plan) in pipelines.iter().enumerate() {
            if matches!(plan.stages.first(), Some(StagePlan::Merge { .. })) && !targeted[i] {
                self.error(
                    config.pipelines[i].name.span(),
                    format!("pipeline {:?} begins with a merge but no pipeline gives it packets", plan.name),
                    "name it in a handoff, fanout or match",
                );
            }
        }
    }

    /// Ring ports that name each other, and somebody who receives what is sent into them.
    pub(super) fn cables(&mut self) {
        let config = self.config;
        let names = || config.ports.iter().map(|p| p.name.get_ref().as_str());
        let peer_of = |i: usize| match &config.ports[i].value.driver {
            PortConfig::Ring(ring) => Some(ring.peer.as_deref()),
            _ => None,
        };
        for (i, port) in config.ports.iter().enumerate() {
            let (name, span) = (port.name.get_ref(), port.name.span());
            let Some(peer) = peer_of(i) else { continue };
            let receiver = match peer {
                None => i,
                Some(peer) if peer == name => {
                    self.error(
                        span,
                        format!("ring port {name:?} is its own peer"),
                        "without a peer it is a loop",
                    );
                    continue;
                }
                Some(peer) => match names().position(|n| n == peer) {
                    None => {
                        let help = known_names(peer, "ports", names());
                        self.error(
                            span,
                            format!("there is no port {peer:?} to be the peer of {name:?}"),
                            help,
                        );
                        continue;
                    }
                    Some(other) if peer_of(other) != Some(Some(name)) => {
                        let help = format!("[port.{peer}] driver = \"ring\", peer = {name:?}");
                        self.error(
                            span,
                            format!("port {peer:?} does not have port {name:?} as its peer"),
                            help,
                        );
                        continue;
                    }
                    Some(other) => other,
                },
            };
            if self.tx_owner.keys().any(|(p, _)| *p == i)
                && !self.rx_owner.keys().any(|(p, _)| *p == receiver)
            {
                let receiver = config.ports[receiver].name.get_ref();
                let message = format!("nobody receives what is sent to ring port {name:?}");
                self.error(span, message, format!("a pipeline that begins with {{ rx = {receiver:?} }}"));
            }
        }
    }

    /// Which ports the packets of each pipeline may end at.
    pub(super) fn sinks(&mut self, pipelines: &mut [PipelinePlan]) {
        for i in 0..pipelines.len() {
            let mut todo = vec![i];
            let mut seen = vec![false; pipelines.len()];
            let mut sinks = Vec::new();
            while let Some(at) = todo.pop() {
                if std::mem::replace(&mut seen[at], true) {
                    continue;
                }
                for stage in &pipelines[at].stages {
                    if let StagePlan::Tx { port, .. } = stage {
                        sinks.push(*port);
                    }
                }
                todo.extend(links_of(&pipelines[at]));
            }
            sinks.sort_unstable();
            sinks.dedup();
            pipelines[i].sinks = sinks;
        }
    }
}

/// Pipelines that a pipeline gives packets to.
fn links_of(plan: &PipelinePlan) -> Vec<usize> {
    let mut to = Vec::new();
    for stage in &plan.stages {
        match stage {
            StagePlan::Handoff { to: targets, .. } => to.extend(targets),
            StagePlan::Match { elsewhere: Some(target), .. } => to.push(*target),
            _ => {}
        }
    }
    to
}

/// Whether packets of pipeline `from` can get to pipeline `to`.
fn reaches(pipelines: &[PipelinePlan], from: usize, to: usize) -> bool {
    let mut seen = vec![false; pipelines.len()];
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        if at == to {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            todo.extend(links_of(&pipelines[at]));
        }
    }
    false
}
