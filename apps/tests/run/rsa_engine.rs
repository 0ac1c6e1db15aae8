//! What the configuration and the command line say about the RSA engine, and what the statistics say of it.

use std::path::Path;

use serde_json::Value;

use crate::common::{Ran, folder, pcap, run, run_config, skipped};

const DATAGRAMS: u16 = 64;

/// Signs a capture on the worker's core, with these keys of the device and of the stage.
fn sign(folder: &Path, device: &str, stage: &str, options: &[&str]) -> Ran {
    let to = |port| pcap::udp([192, 0, 2, 1], port, [192, 0, 2, 2], 9999, b"payload");
    let packets: Vec<_> = (0..DATAGRAMS).map(|i| to(1000 + i)).collect();
    pcap::write(&folder.join("in.pcap"), &packets);
    let toml = format!(
        r#"
        version = 1
        [port.in]
        driver = "pcap"
        file = "in.pcap"
        [port.out]
        driver = "pcap"
        out = "out.pcap"
        [device.r]
        driver = "soft-rsa"
        {device}
        [[pipeline]]
        name = "p"
        stages = [
          {{ rx = "in", burst = 64 }},
          {{ rsa = "r", op = "sign", key = "demo:rsa2048", scheme = "pkcs1-sha256", {stage} }},
          {{ tx = "out" }},
        ]
        "#
    );
    run_config(folder, &toml, &[&["-l", "0"], options].concat()).well()
}

/// What the statistics say of the device.
fn device(ran: &Ran) -> Value {
    let device = ran.statistics().0["statistics"]["devices"][0].clone();
    assert_eq!((&device["driver"], &device["requests"]), (&"soft-rsa".into(), &DATAGRAMS.into()));
    assert_eq!((&device["errors"], &device["retried"], &device["panics"]), (&0.into(), &0.into(), &0.into()));
    device
}

fn fill(device: &Value) -> Vec<u64> {
    let fill = device["fill"].as_array().expect("a histogram");
    fill.iter().map(|n| n.as_u64().expect("a count")).collect()
}

/// Whether this cpu computes passes; says so if not.
fn has_passes(folder: &Path) -> bool {
    let has = run(folder, ["devices"]).well().stdout.contains("AVX-512 IFMA, 8 private operations at once");
    if !has {
        skipped("this cpu computes RSA one at a time");
    }
    has
}

#[test]
fn passes_are_as_large_as_the_configuration_says_and_the_statistics_show_it() {
    let folder = folder();
    if !has_passes(folder.path()) {
        return;
    }
    let largest = device(&sign(folder.path(), "passes = \"largest\"", "depth = 64", &[]));
    assert_eq!(fill(&largest), [0, 0, 0, 0, 0, 0, 0, 0, 8]);
    assert_eq!((&largest["batch"], &largest["mean_fill"]), (&8.into(), &8.0.into()));
    assert_eq!((&largest["batches"], &largest["wait"]["count"]), (&8.into(), &DATAGRAMS.into()));
    for quantile in ["p50_ns", "p99_ns", "max_ns"] {
        assert!(largest["wait"][quantile].as_u64().is_some_and(|ns| ns > 0), "{quantile}: {largest}");
    }
    // With six in flight: in one pass, until four are left, or four by four.
    let six = |passes: &str| {
        let fill = fill(&device(&sign(folder.path(), &format!("passes = {passes:?}"), "depth = 6", &[])));
        (fill[6], fill[4])
    };
    assert_eq!((six("largest"), six("adaptive")), ((10, 1), (0, 16)));
    let single = device(&sign(folder.path(), "passes = \"single\"", "depth = 64", &[]));
    assert_eq!(fill(&single)[..2], [0, DATAGRAMS.into()]);
    assert_eq!(single["mean_fill"], 1.0);
}

#[test]
fn a_deadline_keeps_requests_waiting_for_company_no_longer_than_it_says() {
    let folder = folder();
    if !has_passes(folder.path()) {
        return;
    }
    let waited = |device_keys: &str, depth: usize| {
        let stage = format!("depth = {depth}");
        let ran = sign(folder.path(), device_keys, &stage, &[]);
        device(&ran)["wait"]["p50_ns"].as_u64().expect("a time")
    };
    let deadline = "deadline_us = 10000";
    assert!(waited(deadline, 4) >= 10_000_000, "four wait in vain for four more");
    assert!(waited("", 4) < 10_000_000);
    assert!(waited(deadline, 8) < 10_000_000, "eight wait for nobody");
}

#[test]
fn blinding_changes_no_signature() {
    let folder = folder();
    sign(folder.path(), "", "depth = 64", &[]);
    let plain = pcap::read(&folder.path().join("out.pcap"));
    assert_eq!(plain.len(), usize::from(DATAGRAMS));
    for device_keys in ["blinding = true", "blinding = true\nsimd = \"library\""] {
        device(&sign(folder.path(), device_keys, "depth = 64", &[]));
        assert!(pcap::read(&folder.path().join("out.pcap")) == plain, "{device_keys}");
    }
}

#[test]
fn the_command_line_overrides_the_simd_of_the_configuration() {
    let folder = folder();
    if !has_passes(folder.path()) {
        return;
    }
    let written = "simd = \"avx512-ifma-plain\"";
    let got = |options: &[&str]| sign(folder.path(), written, "depth = 64", options).stderr;
    assert!(got(&[]).contains("AVX-512 IFMA, 8 private operations at once (plain kernels)"));
    let forced = got(&["--force-simd", "avx512-ifma-karatsuba"]);
    assert!(forced.contains("AVX-512 IFMA, 8 private operations at once (Karatsuba kernels)"), "{forced}");
    let forced = got(&["--force-simd", "library"]);
    assert!(forced.contains("device \"r\": software, aws-lc (") && !forced.contains("8 private"), "{forced}");
    let check = |options: &[&str]| {
        run(folder.path(), [&["check", "test.toml", "-l", "0"], options].concat()).well().stdout
    };
    assert!(check(&[]).contains("device \"r\": inline; simd avx512-ifma-plain, passes adaptive\n"));
    assert!(check(&["--force-simd", "library"]).contains("simd library, passes adaptive\n"));
}

#[test]
fn devices_shows_the_code_that_is_asked_for_and_how_much_it_does_at_once() {
    let folder = folder();
    let rsa = |name: &str| -> Value {
        let ran = run(folder.path(), ["devices", "--json", "--force-simd", name]).well();
        let all: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        all["devices"]
            .as_array()
            .expect("devices")
            .iter()
            .find(|d| d["driver"] == "soft-rsa")
            .cloned()
            .expect("RSA")
    };
    let library = rsa("library");
    assert!(library["implementation"].as_str().expect("text").starts_with("aws-lc ("), "{library}");
    if has_passes(folder.path()) {
        let passes = rsa("avx512-ifma");
        assert_eq!(passes["batch"], 8, "lanes");
        assert!(passes["implementation"].as_str().expect("text").starts_with("AVX-512 IFMA, 8 "), "{passes}");
    } else {
        let refused = run(folder.path(), ["devices", "--force-simd", "avx512-ifma"]);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("Remedy: simd = \"auto\""), "{}", refused.stderr);
        let refused = run(folder.path(), ["check", "--force-simd", "avx512-ifma"]);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.starts_with("error: --force-simd: "), "{}", refused.stderr);
    }
    let unknown = run(folder.path(), ["run", "--force-simd", "sse2"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("avx512-ifma-karatsuba"), "what there is: {}", unknown.stderr);
    let completions = run(folder.path(), ["completions", "bash"]).well().stdout;
    assert!(completions.contains("auto avx512-ifma avx512-ifma-karatsuba avx512-ifma-plain library"));
}
