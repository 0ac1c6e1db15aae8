//! `zip` with a dictionary that both ends have.

use std::path::Path;

use crate::common::{Ran, folder, pcap, run_config};

/// In the statistics, where anything was.
const DROPPED: &str = "\"dropped\":{\"";

fn config(op: &str, input: &str, output: &str, keys: &str) -> String {
    format!(
        r#"
        version = 1
        [port.in]
        driver = "pcap"
        file = "{input}"
        [port.out]
        driver = "pcap"
        out = "{output}"
        [device.zip0]
        driver = "soft-zip"
        [[pipeline]]
        name = "p"
        stages = [ {{ rx = "in" }}, {{ zip = "zip0", op = "{op}"{keys} }}, {{ tx = "out" }} ]
        "#
    )
}

fn compressed(folder: &Path, output: &str, keys: &str) -> (Ran, u64) {
    let ran = run_config(folder, &config("compress", "builtin:demo", output, keys), &[]).well();
    let size = std::fs::metadata(folder.join(output)).expect("a capture").len();
    (ran, size)
}

#[test]
fn payloads_like_the_dictionary_take_less_room_and_come_back() {
    let folder = folder();
    let here = folder.path();
    let (_, alone) = compressed(here, "alone.pcap", ", level = 6");
    // The payloads of the capture itself: the far end of what a dictionary can do.
    let copy = config("compress", "builtin:demo", "copy.pcap", ", level = 0")
        .replace("{ zip", "{ count = \"n\" }, { zip");
    run_config(here, &copy, &[]).well();
    let payloads: Vec<u8> = pcap::read(&here.join("copy.pcap"))
        .iter()
        .filter_map(|f| pcap::udp_payload(f).map(|range| f[range].to_vec()))
        .flatten()
        .take(30_000)
        .collect();
    std::fs::write(here.join("words"), payloads).expect("the dictionary");
    for keys in
        [", level = 6, dictionary = \"words\"", ", level = 6, dictionary = \"words\", format = \"zlib\""]
    {
        let (ran, with) = compressed(here, "with.pcap", keys);
        assert!(ran.stderr.contains("with dictionary by zlib-rs"), "{}", ran.stderr);
        assert!(with < alone, "{with} with, {alone} without");
        let back = config("decompress", "with.pcap", "back.pcap", &keys.replace("level = 6, ", ""));
        let ran = run_config(here, &back, &[]).well();
        assert!(!ran.stdout.contains(DROPPED), "{}", ran.stdout);
        let plain = run_config(here, &config("decompress", "alone.pcap", "plain.pcap", ""), &[]).well();
        assert!(!plain.stdout.contains(DROPPED));
        assert!(pcap::read(&here.join("back.pcap")) == pcap::read(&here.join("plain.pcap")));
    }
}

#[test]
fn a_dictionary_that_cannot_be_used_is_refused_at_its_place() {
    let folder = folder();
    std::fs::write(folder.path().join("empty"), "").expect("a file");
    std::fs::write(folder.path().join("long"), [7; 40_000]).expect("a file");
    for (name, said) in [
        ("missing", "No such file"),
        ("empty", "is empty"),
        ("long", "no more than 32768 can be referred to"),
        ("/dev/zero", "no more than 32768"),
    ] {
        let text = config("compress", "builtin:demo", "out.pcap", &format!(", dictionary = \"{name}\""));
        let ran = run_config(folder.path(), &text, &[]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains(said) && ran.stderr.contains("13:"), "{name}: {}", ran.stderr);
    }
}
