//! Servers: what they are to offer, and what they did.

use std::time::Duration;

use serde_json::{Value, json};
use warpdrive_mempool::DmaMode;
use warpdrive_pipeline::cores::LcoreMap;
use warpdrive_pipeline::plan::ServePlan;
use warpdrive_pmd::stats::DeviceStats;
use warpdrive_pmd::uacce::EXPOSE;
use warpdrive_pmd::uacce::abi::attribute;
use warpdrive_pmd::uacce::serve::{DeviceConfig, Inputs, Server};

use super::plan::rsa_options;
use crate::found::FoundServer;

/// A plan, for `check`.
pub fn plan(plan: &ServePlan, lcores: &LcoreMap, name: &str) {
    println!("{name}: ok");
    println!("lcores: {lcores}");
    println!("expose: {}", plan.expose.display());
    for ((lcore, cpu), core) in plan.cores.iter().zip(&plan.server.cores) {
        let idle = format!("{:?}", core.idle).to_lowercase();
        println!("core {lcore}: on cpu {cpu}, idle {idle}{}", rsa_options(&plan.server.rsa));
    }
    devices(plan).for_each(|line| println!("{line}"));
    println!("memory: {}", memory(plan));
    plan.notes.iter().for_each(|note| println!("note: {note}"));
}

fn devices(plan: &ServePlan) -> impl Iterator<Item = String> {
    plan.server.devices.iter().map(|d| {
        let reserved = match d.reserve {
            0 => String::new(),
            reserve => format!(", of which {} are reserved memory", bytes(reserve)),
        };
        let inputs = if d.inputs == Inputs::InPlace { ", inputs read in place" } else { "" };
        format!(
            "device {:?} on core {}: {}, {}, {}, up to {} queues of {} entries, {} of one process; {} each{reserved}; priority {}, \
             mode {:04o} of {}:{}{inputs}",
            d.name,
            plan.lcore_of(d),
            d.algorithms.join(" "),
            d.api(),
            d.mode,
            d.queues,
            d.depth,
            d.queues_per_process,
            bytes(d.queue_bytes()),
            d.priority,
            d.permissions.mode,
            d.permissions.uid,
            d.permissions.gid,
        )
    })
}

fn memory(plan: &ServePlan) -> String {
    let [slots, large] = plan.server.process_bytes();
    format!(
        "{} if all queues are open; of each process at each core up to {} for {} requests, and {} for those above 64 KiB",
        bytes(plan.most_queue_bytes()),
        bytes(slots),
        plan.server.in_flight,
        bytes(large)
    )
}

/// Bytes in the unit that fits.
fn bytes(n: usize) -> String {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    const GIB: usize = 1 << 30;
    match n {
        GIB.. => format!("{:.1} GiB", n as f64 / GIB as f64),
        _ if n.is_multiple_of(MIB) => format!("{} MiB", n / MIB),
        MIB.. => format!("{:.1} MiB", n as f64 / MIB as f64),
        _ => format!("{} KiB", n.div_ceil(KIB)),
    }
}

/// A plan as JSON.
pub fn plan_json(plan: &ServePlan, lcores: &LcoreMap, name: &str) -> Value {
    let [slots, large] = plan.server.process_bytes();
    let device = |d: &DeviceConfig| {
        json!({
            "name": d.name,
            "core": plan.lcore_of(d),
            "algorithms": d.algorithms,
            "api": d.api(),
            "mode": mode(d.mode),
            "depth": d.depth,
            "queues": d.queues,
            "queues_per_process": d.queues_per_process,
            "queue_bytes": d.queue_bytes(),
            "reserve_bytes": d.reserve,
            "priority": d.priority,
            "permissions": format!("{:04o}", d.permissions.mode),
            "uid": d.permissions.uid,
            "gid": d.permissions.gid,
        })
    };
    json!({
        "schema": "warpdrive.check-serve.v1",
        "config": name,
        "lcores": lcores.to_string(),
        "expose": plan.expose,
        "cores": plan.cores.iter().map(|(lcore, cpu)| json!({ "core": lcore, "cpu": cpu })).collect::<Vec<_>>(),
        "in_flight": plan.server.in_flight,
        "devices": plan.server.devices.iter().map(device).collect::<Vec<_>>(),
        "most_queue_bytes": plan.most_queue_bytes(),
        "process_bytes": slots,
        "process_large_bytes": large,
        "notes": plan.notes,
    })
}

/// As configurations call it.
fn mode(mode: DmaMode) -> &'static str {
    match mode {
        DmaMode::Sva => "sva",
        DmaMode::ShareDomain => "share-domain",
        DmaMode::NoIommu => "noiommu",
    }
}

/// What is served now, and how to come by it.
pub fn start(found: &FoundServer, server: &Server) {
    let FoundServer { plan, lcores, name } = found;
    eprintln!("warpdrive {}: {name}, lcores {lcores}", env!("CARGO_PKG_VERSION"));
    devices(plan).for_each(|line| eprintln!("  {line}"));
    for ((lcore, _), engines) in plan.cores.iter().zip(server.engines()) {
        let [rsa, zip] = engines.map(|engine| engine.implementation);
        eprintln!("  core {lcore} rsa: {rsa}");
        eprintln!("  core {lcore} zip: {zip}");
    }
    eprintln!("  memory: {}", memory(plan));
    plan.notes.iter().for_each(|note| eprintln!("  note: {note}"));
    let at = plan.expose.display();
    let expose = if plan.expose.as_os_str() == EXPOSE { String::new() } else { format!(" --expose {at}") };
    eprintln!("serving at {at}, until SIGINT or SIGTERM");
    eprintln!(
        "  for programs that look into /sys/class/uacce and /dev: warpdrive run-with-devices{expose} -- PROGRAM"
    );
    eprintln!("  for pipelines and proxies: [device.NAME] driver = \"uacce\", expose = \"{at}\"");
}

/// All numbers at one moment.
pub struct Moment {
    uptime: Duration,
    entries: u64,
    /// Devices with their open queues.
    devices: Vec<(String, u32)>,
    /// Cores with what their engines have counted: RSA and ZIP.
    cores: Vec<(usize, [DeviceStats; 2])>,
}

impl Moment {
    /// As it is now.
    pub fn new(plan: &ServePlan, server: &Server, uptime: Duration) -> Self {
        let open = plan.server.devices.iter().zip(server.devices()).map(|(config, device)| {
            let free = device.attribute(attribute::AVAILABLE_INSTANCES).ok();
            let free: u32 = free.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            (config.name.clone(), config.queues.saturating_sub(free))
        });
        let lcores = plan.cores.iter().map(|(lcore, _)| *lcore);
        Self {
            uptime,
            entries: server.entries(),
            devices: open.collect(),
            cores: lcores.zip(server.stats()).collect(),
        }
    }
}

/// One moment as JSON, with rates since the one `before`.
pub fn moment_json(event: &str, before: Option<&Moment>, now: &Moment) -> Value {
    let seconds = now.uptime.as_secs_f64();
    let (entries, since) = before.map_or((0, 0.0), |before| (before.entries, before.uptime.as_secs_f64()));
    let rate = now.entries.saturating_sub(entries) as f64 / (seconds - since).max(1e-9);
    json!({
        "schema": "warpdrive.serve.v1",
        "event": event,
        "uptime_seconds": seconds,
        "entries": now.entries,
        "entries_per_second": rate,
        "devices": now.devices.iter().map(|(name, open)| json!({ "name": name, "queues_open": open })).collect::<Vec<_>>(),
        "cores": now.cores.iter().map(|(lcore, [rsa, zip])| json!({ "core": lcore, "rsa": rsa, "zip": zip }))
            .collect::<Vec<_>>(),
    })
}

/// The numbers at the end.
pub fn ended(now: &Moment) {
    println!("served {:.1} s: {} entries", now.uptime.as_secs_f64(), now.entries);
    for (lcore, [rsa, zip]) in &now.cores {
        println!(
            "  core {lcore} rsa: {} requests, {} failed, {} retried, {:.1} in a batch",
            rsa.requests,
            rsa.errors,
            rsa.retried,
            rsa.mean_fill()
        );
        println!(
            "  core {lcore} zip: {} requests, {} failed, {} bytes to {}",
            zip.requests, zip.errors, zip.bytes_in, zip.bytes_out
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_fits() {
        let cases = [
            (4096, "4 KiB"),
            (4097, "5 KiB"),
            (16 << 20, "16 MiB"),
            ((3 << 19) + 1, "1.5 MiB"),
            (5 << 29, "2.5 GiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn a_rate_is_that_since_the_moment_before() {
        let moment = |seconds: u64, entries| Moment {
            uptime: Duration::from_secs(seconds),
            entries,
            devices: vec![("hisi_zip-0".to_owned(), 2)],
            cores: Vec::new(),
        };
        let (before, now) = (moment(2, 100), moment(4, 500));
        assert_eq!(moment_json("second", Some(&before), &now)["entries_per_second"], 200.0);
        let end = moment_json("end", None, &now);
        assert_eq!((&end["entries_per_second"], &end["event"]), (&json!(125.0), &json!("end")));
        assert_eq!(end["devices"][0]["queues_open"], 2);
    }
}
