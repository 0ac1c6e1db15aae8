//! Plans, as `check` shows them.

use serde_json::{Value, json};
use warpdrive_pipeline::config::Strict;
use warpdrive_pipeline::cores::LcoreMap;
use warpdrive_pipeline::plan::{DevicePlan, EnginePlan, Plan, StagePlan, ZipPlan};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::rsa::RsaOptions;
use warpdrive_pmd::engine::zip::ZipOp;

use super::proxy;

fn stage_text(stage: &StagePlan, plan: &Plan) -> String {
    let port = |i: usize| &plan.ports[i].name;
    let device = |i: usize| &plan.devices[i].name;
    match stage {
        StagePlan::Rx { port: p, queue, burst } => format!("rx {}:{queue} (burst {burst})", port(*p)),
        StagePlan::Tx { port: p, queue, .. } => format!("tx {}:{queue}", port(*p)),
        StagePlan::Tee { port: p, queue } => format!("tee {}:{queue}", port(*p)),
        StagePlan::Rsa { device: d, op, scheme, depth, .. } => {
            format!("rsa {} {} {} (depth {depth})", device(*d), op.name(), scheme.name())
        }
        StagePlan::Zip(zip) => zip_text(zip, &plan.devices[zip.device]),
        StagePlan::Handoff { to, .. } => {
            let names: Vec<&str> = to.iter().map(|i| plan.pipelines[*i].name.as_str()).collect();
            format!("{} to {}", stage.kind(), names.join(", "))
        }
        other => other.kind().to_owned(),
    }
}

fn zip_text(zip: &ZipPlan, device: &DevicePlan) -> String {
    let ZipPlan { op, format, level, streams, refresh, depth, .. } = zip;
    let level = if *op == ZipOp::Compress { format!(" level {level}") } else { String::new() };
    let streams = match (streams, op) {
        (0, _) => String::new(),
        (n, ZipOp::Compress) => format!(", {n} streams begun anew every {refresh} packets"),
        (n, ZipOp::Decompress) => format!(", {n} streams"),
    };
    let dictionary = if zip.dictionary.is_some() { " with dictionary" } else { "" };
    let by = match &device.engine {
        EnginePlan::Uacce(_) => "a queue file",
        _ => zip.by().name(),
    };
    let device = &device.name;
    format!("zip {device} {op:?} {format:?}{level}{dictionary} by {by} (depth {depth}{streams})")
        .to_lowercase()
}

/// A line for each pipeline.
pub(super) fn pipelines(plan: &Plan) -> impl Iterator<Item = String> {
    plan.pipelines.iter().map(|p| {
        let stages: Vec<String> = p.stages.iter().map(|s| stage_text(s, plan)).collect();
        format!("pipeline {:?} on core {}: {}", p.name, p.lcore, stages.join(" -> "))
    })
}

/// How an engine is to work, where there is a choice.
fn options(engine: &EnginePlan) -> String {
    match engine {
        EnginePlan::Rsa(options) => rsa_options(options),
        EnginePlan::Zip | EnginePlan::Uacce(_) => String::new(),
    }
}

pub(super) fn rsa_options(options: &RsaOptions) -> String {
    let RsaOptions { simd, passes, deadline, blinding, .. } = options;
    let passes = format!("{passes:?}").to_lowercase();
    let deadline = match deadline.as_micros() {
        0 => String::new(),
        us => format!(", deadline {us} us"),
    };
    format!("; simd {}, passes {passes}{deadline}{}", simd.name(), if *blinding { ", blinding" } else { "" })
}

/// A plan, for `check`.
pub fn plan(plan: &Plan, lcores: &LcoreMap, name: &str) {
    println!("{name}: ok");
    println!("lcores: {lcores}");
    for d in &plan.devices {
        let place = match (&d.engine, d.placement) {
            (EnginePlan::Uacce(uacce), _) => {
                let nearest = if uacce.device.is_none() { "the nearest for " } else { "" };
                format!("{nearest}{} in {}", uacce.wanted(), uacce.roots.sysfs.display())
            }
            (_, Placement::Inline) => "inline".to_owned(),
            (_, Placement::Core { cpu, .. }) => format!("on cpu {cpu}, its own"),
        };
        println!("device {:?}: {place}{}", d.name, options(&d.engine));
    }
    for line in pipelines(plan).chain(proxy::plan(plan)) {
        println!("{line}");
    }
    for pool in &plan.pools {
        let sum: usize = pool.needs.iter().map(|(_, n)| n).sum();
        println!(
            "mempool {:?}: {} buffers of {} bytes, at most {sum} needed at once:",
            pool.config.name, pool.config.buffers, pool.config.size
        );
        for (who, n) in &pool.needs {
            println!("  {n:>6} {who}");
        }
    }
    if plan.strict.mode != Strict::Off {
        let allowed: Vec<String> = plan.strict.allowed().collect();
        println!("strict: {}, allowed: {}", plan.strict.mode.name(), none_or(&allowed));
    }
    for note in &plan.notes {
        println!("note: {note}");
    }
}

fn none_or(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A plan as JSON.
pub fn plan_json(plan: &Plan, lcores: &LcoreMap, name: &str) -> Value {
    let mut all = json!({
        "schema": "warpdrive.check.v1",
        "config": name,
        "lcores": lcores.to_string(),
        "pipelines": plan.pipelines.iter().map(|p| json!({
            "name": p.name,
            "core": p.lcore,
            "stages": p.stages.iter().map(|s| stage_text(s, plan)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "mempools": plan.pools.iter().map(|p| json!({
            "name": p.config.name,
            "buffers": p.config.buffers,
            "size": p.config.size,
            "needs": p.needs.iter().map(|(who, n)| json!({ "holder": who, "buffers": n })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "strict": { "mode": plan.strict.mode.name(), "allowed": plan.strict.allowed().collect::<Vec<_>>() },
        "notes": plan.notes,
    });
    if !plan.proxies.is_empty() {
        all["proxies"] = proxy::plan_json(plan);
    }
    all
}
