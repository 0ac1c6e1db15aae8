//! Pipelines that give packets to others, and stages that sort, copy and count: exact numbers, exact bytes.

use std::path::Path;

use crate::common::{folder, pcap, run_config};

const A: [u8; 4] = [192, 0, 2, 1];
const B: [u8; 4] = [192, 0, 2, 2];

/// `n` datagrams of many flows, in both directions, each different.
fn flows(n: u16) -> Vec<Vec<u8>> {
    (0..n)
        .map(|i| {
            let body = format!("datagram {i} of {n}").repeat(1 + usize::from(i) % 5);
            let (client, server) = (20_000 + i / 2 % 50, if i % 3 == 0 { 53 } else { 5000 });
            match i % 2 {
                0 => pcap::udp(A, client, B, server, body.as_bytes()),
                _ => pcap::udp(B, server, A, client, body.as_bytes()),
            }
        })
        .collect()
}

fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

/// Ports `in`, which gives `frames`, and the named outputs.
fn ports(folder: &Path, frames: &[Vec<u8>], outputs: &[&str]) -> String {
    pcap::write(&folder.join("in.pcap"), frames);
    let mut toml = "version = 1\n[port.in]\ndriver = \"pcap\"\nfile = \"in.pcap\"\n".to_owned();
    for name in outputs {
        toml += &format!("[port.{name}]\ndriver = \"pcap\"\nout = \"{name}.pcap\"\n");
    }
    toml
}

#[test]
fn a_handoff_keeps_every_packet_and_their_order() {
    let (folder, frames) = (folder(), flows(2000));
    let toml = ports(folder.path(), &frames, &["out"])
        + r#"
        [[pipeline]]
        name = "back"
        stages = [ { merge = true }, { count = "all" }, { tx = "out" } ]
        [[pipeline]]
        name = "front"
        stages = [ { rx = "in" }, { handoff = "back", slots = 64 } ]
    "#;
    let s = run_config(folder.path(), &toml, &[]).well().statistics();
    assert!(pcap::read(&folder.path().join("out.pcap")) == frames);
    let bytes: usize = frames.iter().map(Vec::len).sum();
    assert_eq!(s.0["statistics"]["counts"]["all"], serde_json::json!([2000, bytes]));
}

#[test]
fn a_fanout_keeps_both_directions_of_a_flow_together_and_in_order() {
    let (folder, frames) = (folder(), flows(2000));
    let toml = ports(folder.path(), &frames, &["out1", "out2", "out3"])
        + r#"
        [[pipeline]]
        name = "front"
        stages = [ { rx = "in" }, { fanout = ["one", "two", "three"] } ]
        [[pipeline]]
        name = "one"
        stages = [ { merge = true }, { tx = "out1" } ]
        [[pipeline]]
        name = "two"
        stages = [ { merge = true }, { tx = "out2" } ]
        [[pipeline]]
        name = "three"
        stages = [ { merge = true }, { tx = "out3" } ]
    "#;
    run_config(folder.path(), &toml, &[]).well().statistics();
    let outs: Vec<Vec<Vec<u8>>> = ["out1", "out2", "out3"]
        .iter()
        .map(|n| pcap::read(&folder.path().join(format!("{n}.pcap"))))
        .collect();
    assert_eq!(sorted(outs.concat()), sorted(frames.clone()));
    let flow = |f: &[u8]| {
        let (a, b) = (f[34..36].to_vec(), f[36..38].to_vec());
        if a < b { (a, b) } else { (b, a) }
    };
    for (i, out) in outs.iter().enumerate() {
        assert!(!out.is_empty(), "60 flows spread over three pipelines");
        for other in outs.iter().skip(i + 1).flatten() {
            assert!(!out.iter().any(|f| flow(f) == flow(other)), "a flow is in two outputs");
        }
        let mut expected = frames.iter().filter(|f| out.contains(f));
        assert!(out.iter().all(|f| expected.next() == Some(f)), "out of order");
    }
}

#[test]
fn a_merge_joins_what_several_pipelines_give() {
    let (folder, frames) = (folder(), flows(600));
    pcap::write(&folder.path().join("in2.pcap"), &flows(301));
    let toml = ports(folder.path(), &frames, &["out"])
        + r#"
        [port.in2]
        driver = "pcap"
        file = "in2.pcap"
        [[pipeline]]
        name = "one"
        stages = [ { rx = "in" }, { handoff = "both" } ]
        [[pipeline]]
        name = "two"
        stages = [ { rx = "in2" }, { handoff = "both" } ]
        [[pipeline]]
        name = "both"
        stages = [ { merge = true }, { tx = "out" } ]
    "#;
    run_config(folder.path(), &toml, &[]).well().statistics();
    let out = pcap::read(&folder.path().join("out.pcap"));
    assert_eq!(sorted(out), sorted([frames, flows(301)].concat()));
}

#[test]
fn a_match_lets_through_what_is_said_and_sends_the_rest_elsewhere() {
    let folder = folder();
    let mut frames = flows(300);
    frames.push(pcap::arp_request(A, B));
    frames.push(pcap::ping(A, B, 1, b"ping"));
    let toml = ports(folder.path(), &frames, &["dns", "rest"])
        + r#"
        [[pipeline]]
        name = "sort"
        stages = [
          { rx = "in" },
          { match = { ethertype = "ipv4", protocol = "udp", src = "192.0.2.0/31", dport = "50-60" }, else = "others" },
          { count = "dns" },
          { tx = "dns" },
        ]
        [[pipeline]]
        name = "others"
        stages = [ { merge = true }, { tx = "rest" } ]
    "#;
    let s = run_config(folder.path(), &toml, &[]).well().statistics();
    let is_dns = |f: &&Vec<u8>| f[12..14] == [8, 0] && f[23] == 17 && f[36..38] == [0, 53];
    let (dns, rest): (Vec<_>, Vec<_>) = frames.iter().partition(is_dns);
    assert!(!dns.is_empty());
    assert!(pcap::read(&folder.path().join("dns.pcap")).iter().eq(dns.iter().copied()));
    assert!(pcap::read(&folder.path().join("rest.pcap")).iter().eq(rest.iter().copied()));
    assert_eq!(s.passed("sort", 1, "no_match"), rest.len() as u64);
    assert_eq!(s.0["statistics"]["counts"]["dns"][0], dns.len() as u64);
}

#[test]
fn a_match_without_else_drops_and_counts() {
    let (folder, frames) = (folder(), flows(300));
    let toml = ports(folder.path(), &frames, &["out"])
        + r#"
        [[pipeline]]
        name = "p"
        stages = [ { rx = "in" }, { match = { src = "192.0.2.1" } }, { tx = "out" } ]
    "#;
    let s = run_config(folder.path(), &toml, &[]).well().statistics();
    assert_eq!(pcap::read(&folder.path().join("out.pcap")).len(), 150);
    assert_eq!(s.dropped("p", 1, "no_match"), 150);
}

#[test]
fn a_tee_copies_and_mac_swap_exchanges_and_the_copy_is_not_touched() {
    let (folder, frames) = (folder(), flows(500));
    let toml = ports(folder.path(), &frames, &["before", "out"])
        + r#"
        [[pipeline]]
        name = "p"
        stages = [ { rx = "in" }, { tee = "before" }, { mac-swap = true }, { tx = "out" } ]
    "#;
    run_config(folder.path(), &toml, &[]).well().statistics();
    assert!(pcap::read(&folder.path().join("before.pcap")) == frames);
    let swapped = pcap::read(&folder.path().join("out.pcap"));
    assert_eq!(swapped.len(), frames.len());
    for (a, b) in frames.iter().zip(&swapped) {
        assert_eq!((&a[..6], &a[6..12], &a[12..]), (&b[6..12], &b[..6], &b[12..]));
    }
}

#[test]
fn two_ring_ports_are_a_cable_between_pipelines() {
    let (folder, frames) = (folder(), flows(3000));
    let toml = ports(folder.path(), &frames, &["out"])
        + r#"
        [port.left]
        driver = "ring"
        peer = "right"
        slots = 128
        [port.right]
        driver = "ring"
        peer = "left"
        slots = 128
        [[pipeline]]
        name = "to"
        stages = [ { rx = "in" }, { tx = "left" } ]
        [[pipeline]]
        name = "from"
        stages = [ { rx = "right" }, { tx = "out" } ]
    "#;
    let s = run_config(folder.path(), &toml, &["--duration", "2s"]).well().statistics();
    assert_eq!(s.port("left", "tx", "packets"), 3000);
    assert!(pcap::read(&folder.path().join("out.pcap")) == frames);
}

#[test]
fn a_file_is_received_as_often_as_told_and_into_pcapng_too() {
    let (folder, frames) = (folder(), flows(100));
    let toml = ports(folder.path(), &frames, &[])
        .replace("file = \"in.pcap\"", "file = \"in.pcap\"\nloop = 7")
        + r#"
        [port.ng]
        driver = "pcap"
        out = "out.pcapng"
        [[pipeline]]
        name = "p"
        stages = [ { rx = "in", burst = 5 }, { tx = "ng" } ]
    "#;
    let s = run_config(folder.path(), &toml, &[]).well().statistics();
    assert_eq!(s.port("in", "rx", "packets"), 700);
    let back = r#"
        version = 1
        [port.in]
        driver = "pcap"
        file = "out.pcapng"
        [port.out]
        driver = "pcap"
        out = "back.pcap"
        [[pipeline]]
        name = "p"
        stages = [ { rx = "in" }, { tx = "out" } ]
    "#;
    run_config(folder.path(), back, &[]).well();
    assert!(pcap::read(&folder.path().join("back.pcap")) == vec![frames; 7].concat());
}

#[test]
fn packets_that_end_in_drop_are_counted_and_free_their_buffers() {
    let (folder, frames) = (folder(), flows(500));
    let toml = ports(folder.path(), &frames, &[])
        + "[[pipeline]]\nname = \"p\"\nstages = [ { rx = \"in\" }, { drop = true } ]\n";
    let s = run_config(folder.path(), &toml, &[]).well().statistics();
    assert_eq!(s.dropped("p", 1, "discarded"), 500);
}
