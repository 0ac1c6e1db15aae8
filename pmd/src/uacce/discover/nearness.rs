//! Which node of memory this thread's cpu is next to, and how far others are.

const NODES: &str = "/sys/devices/system/node";
const CPUS: &str = "/sys/devices/system/cpu";
/// What firmware says of a node and itself.
const NEAR: u32 = 10;
/// And of another, if nothing better is known.
const FAR: u32 = 20;

pub(super) fn node_of_this_cpu() -> Option<u32> {
    let cpu = rustix::thread::sched_getcpu();
    let entries = std::fs::read_dir(format!("{CPUS}/cpu{cpu}")).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

/// From one node to another. A device without a node is as near as the first.
pub(super) fn distance(from: Option<u32>, to: Option<u32>) -> u32 {
    let (Some(from), to) = (from, to.unwrap_or(0)) else { return NEAR };
    let told = std::fs::read_to_string(format!("{NODES}/node{from}/distance")).ok();
    let told = told.and_then(|text| text.split_whitespace().nth(to as usize)?.parse().ok());
    told.unwrap_or(if from == to { NEAR } else { FAR })
}
