//! What is not wrong with a proxy, but perhaps not meant.

use super::super::planner::Planner;
use super::ProxyPlan;
use crate::config::ProxyTable;

impl Planner<'_> {
    pub(super) fn notes_on(&mut self, table: &ProxyTable, plan: &ProxyPlan) {
        let mut notes = Vec::new();
        signatures(table, &mut notes);
        compression(table, plan, &mut notes);
        upstreams(plan, &mut notes);
        let name = table.name.get_ref();
        self.notes.extend(notes.into_iter().map(|note| format!("proxy {name:?}: {note}")));
    }

    /// Cores that several proxies have, or a proxy and pipelines.
    pub(in super::super) fn shared_cores(&mut self, proxies: &[ProxyPlan], pipelines: &[(usize, &str)]) {
        for (lcore, _) in self.lcores.iter() {
            let on =
                proxies.iter().filter(|p| p.lcores.contains(&lcore)).map(|p| format!("proxy {:?}", p.name));
            let mut who: Vec<String> = on.collect();
            if who.is_empty() {
                continue;
            }
            who.extend(pipelines.iter().filter(|(l, _)| *l == lcore).map(|(_, p)| format!("pipeline {p:?}")));
            if who.len() > 1 {
                self.notes.push(format!("core {lcore} is shared by {}", who.join(", ")));
            }
        }
    }
}

fn signatures(table: &ProxyTable, notes: &mut Vec<String>) {
    let tls = &table.tls;
    if table.rsa.is_none() {
        notes.push(
            "it has no rsa device: the TLS library signs handshakes, one at a time, on the worker's core"
                .to_owned(),
        );
        for (key, number) in [("parked", &tls.parked), ("sign_ms", &tls.sign_ms)] {
            if !number.span().is_empty() {
                notes.push(format!("{key} has no effect without an rsa device"));
            }
        }
        return;
    }
    let (sign, handshake) = (tls.sign_ms.get_ref(), table.timeouts.handshake_ms.get_ref());
    if sign >= handshake {
        notes.push(format!(
            "sign_ms = {sign} leaves no time for the library to sign before handshake_ms = {handshake} is over"
        ));
    }
}

fn compression(table: &ProxyTable, plan: &ProxyPlan, notes: &mut Vec<String>) {
    let compress = &table.compress;
    if table.zip.is_none() {
        let spans = [compress.level.span(), compress.min_bytes.span(), compress.types.span()];
        if spans.iter().any(|span| !span.is_empty()) {
            notes.push("[proxy.compress] has no effect without a zip device".to_owned());
        }
    } else if plan.compress.types.is_empty() {
        notes.push("its zip device has nothing to do: [proxy.compress] names no types".to_owned());
    } else if !plan.routes.iter().any(|route| route.compress) {
        notes.push("its zip device has nothing to do: no route lets responses be compressed".to_owned());
    }
}

fn upstreams(plan: &ProxyPlan, notes: &mut Vec<String>) {
    for (i, upstream) in plan.upstreams.iter().enumerate() {
        let name = &upstream.name;
        if !plan.routes.iter().any(|route| route.upstream == i) {
            notes.push(format!("upstream {name:?} is not used by any route"));
        }
    }
    if !plan.routes.iter().any(|route| route.host.is_none() && route.path == "/") {
        notes.push("requests that no route fits are answered with status 421".to_owned());
    }
}
