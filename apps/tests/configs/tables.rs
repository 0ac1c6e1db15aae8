//! Mistakes in TOML, and in all tables but pipelines.

use super::{HEAD, PIPELINE, Wrong, file, pipelines_of, tables_of};

pub fn cases() -> Vec<Wrong> {
    [syntax(), top(), eal(), mempools(), ports(), devices(), rsa_engines()].into_iter().flatten().collect()
}

/// The head, with something changed.
fn head(from: &str, to: &str, message: &'static str, help: &'static str) -> Wrong {
    assert!(HEAD.contains(from));
    Wrong { text: format!("{}{PIPELINE}", HEAD.replacen(from, to, 1)), message, help }
}

fn syntax() -> Vec<Wrong> {
    vec![
        file("version = 1\n[port.a]\ndriver = \"null»\n", "wrong TOML: the text is not closed", "quote"),
        file("version = 1\n[port.a]\nfile = 'null»\n", "wrong TOML: the text is not closed", "quote"),
        file("version = 1\n[port.a]\ndriver = \"null\"\n»driver = \"pcap\"\n", "duplicate key", "once"),
        tables_of("[port.»a]\ndriver = \"null\"", "duplicate key", "once"),
        file("version = 1\n[eal»\n", "wrong TOML: the name of the table is not closed", "[NAME]"),
        file("version = 1\n[eal]\npages »auto\n", "wrong TOML: a key without a value", "key = value"),
        file("version = 1\n[eal]\npages = »\n", "wrong TOML: the value is missing", "key = value"),
        file("version = 1\n[eal]\npages = »auto\n", "wrong TOML: text without quotes", "quotes"),
        file(
            "version = 1\n[[pipeline]]\nname = \"p\"\nstages = [ { rx = \"a\" }»\n",
            "wrong TOML: the list is not closed",
            "]",
        ),
        file("version = 1\n[eal]\ndrain_ms = »0123\n", "wrong TOML: a zero in front", "number"),
    ]
}

fn top() -> Vec<Wrong> {
    vec![
        file("»", "the version is missing", "version = 1"),
        file("»# nothing but words\n", "the version is missing", "version = 1"),
        file("»[port.a]\ndriver = \"null\"\n", "the version is missing", "version = 1"),
        file("version = »2\n", "version 2 is not known", "version = 1"),
        file("version = »\"1\"\n", "a whole number is expected", "without quotes"),
        file("version = »-1\n", "-1", "0 or more"),
        file("»verson = 1\n", "\"verson\"", "did you mean \"version\"?"),
        tables_of("[»prot.c]\ndriver = \"null\"", "\"prot\"", "did you mean \"port\"?"),
        tables_of("[»wobble]", "\"wobble\"", "version, eal, mempool, port, device, pipeline"),
        file("»version = 1\n", "there is no pipeline", "[[pipeline]]"),
    ]
}

fn eal() -> Vec<Wrong> {
    vec![
        tables_of("[eal]\n»core = \"0\"", "unknown key \"core\"", "did you mean \"cores\"?"),
        tables_of(
            "[eal]\n»wobble = 1",
            "unknown key \"wobble\"",
            "cores, pages, dma, require, idle, latency, drain_ms",
        ),
        tables_of("[eal]\ncores = »1", "text is expected", "quotes"),
        tables_of("[eal]\npages = »\"3G\"", "\"3G\"", "did you mean \"1G\"?"),
        tables_of("[eal]\npages = »\"huge\"", "\"huge\"", "auto, 4K, 2M, 1G"),
        tables_of("[eal]\npages = »2", "text is expected", "quotes"),
        tables_of("[eal]\ndma = »\"iommu\"", "\"iommu\"", "did you mean \"noiommu\"?"),
        tables_of(
            "[eal]\nrequire = [\"locked\", »\"hugepage\"]",
            "\"hugepage\"",
            "did you mean \"hugepages\"?",
        ),
        tables_of("[eal]\nrequire = »\"hugepages\"", "a list is expected", "[ … ]"),
        tables_of("[eal]\nidle = »\"slep\"", "\"slep\"", "did you mean \"sleep\"?"),
        tables_of("[eal]\nlatency = »\"yes\"", "true or false is expected", "without quotes"),
        tables_of("[eal]\ndrain_ms = »-1", "-1", "0 or more"),
        tables_of("[eal]\ndrain_ms = »1.5", "a whole number is expected here, not 1.5", "without a point"),
        file("version = 1\neal = »1\n", "a table is expected", "[eal]"),
        file("version = 1\n»[[eal]]\n", "a table is expected", "[eal]"),
    ]
}

fn mempools() -> Vec<Wrong> {
    vec![
        tables_of("[mempool.m]\n»bufers = 1", "unknown key \"bufers\"", "did you mean \"buffers\"?"),
        tables_of("[mempool.m]\nbuffers = »\"many\"", "a whole number is expected", "without quotes"),
        tables_of("[mempool.m]\nbuffers = »0", "buffers = 0", "1 to"),
        tables_of("[mempool.m]\nbuffers = »-5", "-5", "0 or more"),
        tables_of("[mempool.m]\nsize = »100", "size = 100", "multiple of 64"),
        tables_of("[mempool.m]\nsize = »2000", "size = 2000", "multiple of 64"),
        tables_of("[mempool.m]\nheadroom = »4096", "headroom = 4096", "64 bytes"),
        tables_of("[mempool.m]\npages = »\"2m\"", "\"2m\"", "did you mean \"2M\"?"),
        tables_of("[mempool.m]\nnuma_node = »-1", "-1", "0 or more"),
        tables_of(
            "[mempool.»m]\nbuffers = 128",
            "mempool \"m\" has 128 buffers, but 192 may be needed at once: 64 cache of core 0, 128 bursts of pipeline \"p\"",
            "buffers = 256",
        ),
        file("version = 1\nmempool = »8192\n", "a table is expected", "[mempool.NAME]"),
        file("version = 1\n[mempool]\nbuffers = »8192\n", "\"buffers\"", "[mempool.NAME]"),
        tables_of("[mempool.»\"\"]", "a name cannot be empty", "[mempool.NAME]"),
        head(
            "driver = \"null\"",
            "driver = \"null\"\nmempool = »\"pkts\"",
            "there is no mempool \"pkts\"",
            "did you mean \"pkt\"?",
        ),
    ]
}

fn ports() -> Vec<Wrong> {
    vec![
        tables_of("»[port.c]\nsize = 64", "port \"c\" has no driver", "driver = one of af_packet, af_xdp"),
        tables_of("[port.c]\ndriver = »\"nul\"", "no port driver \"nul\"", "did you mean \"null\"?"),
        tables_of("[port.c]\ndriver = »\"e1000\"", "no port driver \"e1000\"", "null, pcap"),
        tables_of("[port.c]\ndriver = »1", "text is expected", "quotes"),
        tables_of("[port.c]\ndriver = \"null\"\n»siz = 64", "unknown key \"siz\"", "did you mean \"size\"?"),
        tables_of(
            "[port.c]\ndriver = \"null\"\nsize = »\"64\"",
            "a whole number is expected",
            "without quotes",
        ),
        tables_of("[port.c]\ndriver = \"null\"\npackets = »-1", "-1", "0 or more"),
        tables_of("[port.c]\ndriver = \"null\"\nqueues = »65536", "65536", "65535"),
        tables_of("[port.c]\ndriver = \"null\"\ncopy = »1", "true or false is expected", "true"),
        tables_of(
            "[port.c]\ndriver = \"pcap\"\n»fil = \"a.pcap\"",
            "unknown key \"fil\"",
            "did you mean \"file\"?",
        ),
        tables_of("[port.c]\ndriver = \"pcap\"\n»wobble = 1", "unknown key \"wobble\"", "file, loop, rate"),
        tables_of("[port.c]\ndriver = \"pcap\"\nrate = »\"fast\"", "\"fast\"", "flat-out, recorded"),
        tables_of(
            "[port.c]\ndriver = \"pcap\"\nout = \"o\"\nformat = »\"pcapn\"",
            "\"pcapn\"",
            "did you mean",
        ),
        tables_of(
            "[port.c]\ndriver = \"ring\"\n»per = \"a\"",
            "unknown key \"per\"",
            "did you mean \"peer\"?",
        ),
        tables_of(
            "[port.»c]\ndriver = \"ring\"\npeer = \"bb\"",
            "there is no port \"bb\" to be the peer of \"c\"",
            "did you mean \"b\"?",
        ),
        tables_of("[port.»c]\ndriver = \"ring\"\npeer = \"c\"", "its own peer", "a loop"),
        tables_of(
            "[port.»c]\ndriver = \"ring\"\npeer = \"b\"",
            "port \"b\" does not have port \"c\" as its peer",
            "peer = \"c\"",
        ),
        pipelines_of(
            "[port.»c]\ndriver = \"ring\"\n[[pipeline]]\nname = \"p\"\nstages = [ { rx = \"a\" }, { tx = \"c\" } ]\n",
            "nobody receives what is sent to ring port \"c\"",
            "{ rx = \"c\" }",
        ),
        tables_of("[port.c]\ndriver = \"ring\"\nslots = »true", "a whole number is expected", "a number"),
        tables_of("[port.c]\ndriver = \"null\"\nmempool = »1", "text is expected", "quotes"),
        file("version = 1\n[port]\ndriver = »\"null\"\n", "\"driver\"", "[port.NAME]"),
        file("version = 1\nport = »[]\n", "a table is expected", "[port.NAME]"),
    ]
}

fn devices() -> Vec<Wrong> {
    let pipeline_on = |core: &str| {
        format!("[[pipeline]]\nname = \"p\"\n{core}stages = [ {{ rx = \"a\" }}, {{ tx = \"b\" }} ]\n")
    };
    vec![
        tables_of(
            "»[device.d]\ncore = 1",
            "device \"d\" has no driver",
            "driver = one of soft-rsa, soft-zip",
        ),
        tables_of(
            "[device.d]\ndriver = »\"soft-rs\"",
            "no device driver \"soft-rs\"",
            "did you mean \"soft-rsa\"?",
        ),
        tables_of("[device.d]\ndriver = »\"qat\"", "no device driver \"qat\"", "soft-rsa, soft-zip"),
        tables_of(
            "[device.d]\ndriver = \"soft-zip\"\n»cor = 1",
            "unknown key \"cor\"",
            "did you mean \"core\"?",
        ),
        tables_of("[device.d]\ndriver = \"soft-zip\"\ncore = »\"aut\"", "a core number or \"auto\"", "auto"),
        tables_of("[device.d]\ndriver = \"soft-zip\"\ncore = »-1", "a core number or \"auto\"", "core = 1"),
        tables_of(
            "[device.d]\ndriver = \"soft-zip\"\nidle = »\"paus\"",
            "\"paus\"",
            "did you mean \"pause\"?",
        ),
        tables_of(
            "[device.d]\ndriver = \"soft-zip\"\ncore = »7",
            "core 7 is not one of the lcores",
            "lcores: 0",
        ),
        tables_of(
            "[device.d]\ndriver = \"soft-zip\"\ncore = 0\n[device.e]\ndriver = \"soft-zip\"\ncore = »0",
            "core 0 is that of device \"d\" already",
            "its own",
        ),
        pipelines_of(
            &format!("[device.d]\ndriver = \"soft-zip\"\ncore = 0\n{}", pipeline_on("core = »0\n")),
            "core 0 is that of device \"d\"",
            "its own",
        ),
        pipelines_of(
            &format!(
                "[device.d]\ndriver = \"soft-zip\"\ncore = 0\n{}",
                pipeline_on("").replace("\"p\"", "»\"p\"")
            ),
            "no core is left for pipeline \"p\"",
            "fewer engines",
        ),
        pipelines_of(&pipeline_on("core = »9\n"), "core 9 is not one of the lcores", "--lcores"),
    ]
}

fn rsa_engines() -> Vec<Wrong> {
    let rsa = |keys: &str, message, help| {
        tables_of(&format!("[device.d]\ndriver = \"soft-rsa\"\n{keys}"), message, help)
    };
    let zip = |key: &str| {
        tables_of(
            &format!("[device.d]\ndriver = \"soft-zip\"\n»{key}"),
            "a key of soft-rsa devices, and this one is soft-zip",
            "leave it out",
        )
    };
    vec![
        rsa("simd = »\"avx512-ifm\"", "\"avx512-ifm\" is not known", "did you mean \"avx512-ifma\"?"),
        rsa("simd = »\"sse2\"", "\"sse2\" is not known", "auto, avx512-ifma, avx512-ifma-karatsuba"),
        rsa("simd = »512", "text is expected here", "quotes"),
        rsa("»smid = \"auto\"", "unknown key \"smid\"", "did you mean \"simd\"?"),
        rsa("passes = »\"larges\"", "\"larges\" is not known", "did you mean \"largest\"?"),
        rsa("passes = »\"eight\"", "\"eight\" is not known", "adaptive, largest, single"),
        rsa("passes = »8", "text is expected here", "quotes"),
        rsa("deadline_us = »10001", "deadline_us = 10001 is too long", "0 to 10000"),
        rsa("deadline_us = »-1", "-1", "0 or more"),
        rsa("deadline_us = »0.5", "a whole number is expected here, not 0.5", "without a point"),
        rsa("deadline_us = »\"1ms\"", "a whole number is expected", "without quotes"),
        rsa("»deadline = 1", "unknown key \"deadline\"", "did you mean \"deadline_us\"?"),
        rsa("blinding = »\"on\"", "true or false is expected", "without quotes"),
        // Only measurements do without the check of results.
        rsa(
            "»check = false",
            "unknown key \"check\"",
            "driver, core, idle, simd, passes, deadline_us, blinding",
        ),
        zip("simd = \"auto\""),
        zip("passes = \"single\""),
        zip("deadline_us = 100"),
        zip("blinding = false"),
        tables_of(
            "[device.d]\ndriver = \"soft-zip\"\n»wobble = 1",
            "unknown key \"wobble\"",
            "driver, core, idle",
        ),
    ]
}
