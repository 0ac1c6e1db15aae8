//! Configurations that more than one file of tests runs.

use std::path::Path;

use crate::common::{run_config, skipped};

/// For runs without end that are to be short.
pub const SHORT: &[&str] = &["--duration", "300ms"];

/// Signing and compressing without end.
pub fn load(eal: &str, depth: usize) -> String {
    format!(
        r#"
        version = 1
        [eal]
        {eal}
        [mempool.pkt]
        buffers = 32768
        [port.source]
        driver = "null"
        size = 256
        copy = true
        [port.sink]
        driver = "null"
        [device.rsa0]
        driver = "soft-rsa"
        core = "auto"
        [device.zip0]
        driver = "soft-zip"
        [[pipeline]]
        name = "p"
        stages = [
          {{ rx = "source" }},
          {{ rsa = "rsa0", op = "sign", key = "demo:rsa2048", scheme = "pkcs1-sha256", depth = {depth} }},
          {{ zip = "zip0", op = "compress" }},
          {{ tx = "sink" }},
        ]
        "#
    )
}

/// From memory to memory without end, through these stages.
pub fn memory(eal: &str, stages: &str) -> String {
    format!(
        r#"
        version = 1
        [eal]
        {eal}
        [port.source]
        driver = "null"
        size = 256
        copy = true
        [port.sink]
        driver = "null"
        [device.zip0]
        driver = "soft-zip"
        core = "auto"
        [device.zip1]
        driver = "soft-zip"
        [[pipeline]]
        name = "p"
        stages = [ {{ rx = "source" }}, {stages} {{ tx = "sink" }} ]
        "#
    )
}

/// From a capture to another core by a handoff, through these stages and a cable, and into memory.
pub fn linked(eal: &str, capture: &str, stages: &str) -> String {
    format!(
        r#"
        version = 1
        [eal]
        {eal}
        [port.in]
        driver = "pcap"
        {capture}
        [port.kept]
        driver = "pcap"
        out = "kept.pcap"
        memory = true
        buffer_bytes = 1048576
        [port.left]
        driver = "ring"
        peer = "right"
        [port.right]
        driver = "ring"
        peer = "left"
        [port.sink]
        driver = "null"
        [[pipeline]]
        name = "front"
        stages = [ {{ rx = "in" }}, {{ tee = "kept" }}, {{ handoff = "middle" }} ]
        [[pipeline]]
        name = "middle"
        stages = [ {{ merge = true }}, {stages} {{ count = "c" }}, {{ tx = "left" }} ]
        [[pipeline]]
        name = "back"
        stages = [ {{ rx = "right" }}, {{ tx = "sink" }} ]
        "#
    )
}

/// Into a packet socket on the loopback interface without end, where a send is a system call.
pub fn socket(eal: &str) -> String {
    format!(
        r#"
        version = 1
        [eal]
        cores = "0"
        {eal}
        [port.source]
        driver = "null"
        size = 64
        copy = true
        [port.lo]
        driver = "af_packet"
        interface = "lo"
        [[pipeline]]
        name = "p"
        stages = [ {{ rx = "source" }}, {{ tx = "lo" }} ]
        "#
    )
}

/// Whether packet sockets are permitted; says so if not.
pub fn has_sockets(folder: &Path) -> bool {
    let ran = run_config(folder, &socket(""), SHORT);
    if ran.code != Some(0) {
        skipped(&format!("no packet sockets here: {}", ran.stderr));
    }
    ran.code == Some(0)
}
