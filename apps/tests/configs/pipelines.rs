//! Mistakes in pipelines and their stages.

use super::{Wrong, file, pipelines_of, stages};

pub fn cases() -> Vec<Wrong> {
    [tables(), order(), queues(), numbers(), accelerators(), matches(), simple(), links()]
        .into_iter()
        .flatten()
        .collect()
}

fn tables() -> Vec<Wrong> {
    let right = "stages = [ { rx = \"a\" }, { tx = \"b\" } ]\n";
    let with = |text: &str, message, help| pipelines_of(&format!("[[pipeline]]\n{text}"), message, help);
    vec![
        file("version = 1\n»[pipeline]\nname = \"p\"\n", "an array of tables", "[[pipeline]]"),
        file("version = 1\npipeline = [»1]\n", "a table", "[[pipeline]]"),
        pipelines_of(&format!("»[[pipeline]]\n{right}"), "has no name", "name = "),
        with(&format!("name = »3\n{right}"), "text is expected", "quotes"),
        with(&format!("name = »\"\"\n{right}"), "a name cannot be empty", "name = "),
        with(
            &format!("name = \"p\"\n»cores = 0\n{right}"),
            "unknown key \"cores\"",
            "did you mean \"core\"?",
        ),
        with(&format!("name = \"p\"\n»wobble = 0\n{right}"), "unknown key \"wobble\"", "name, core, stages"),
        with(
            &format!("name = \"p\"\ncore = »\"0\"\n{right}"),
            "a whole number is expected",
            "without quotes",
        ),
        pipelines_of("»[[pipeline]]\nname = \"p\"\n", "\"p\" has no stages", "stages = ["),
        with("name = »\"p\"\nstages = []\n", "\"p\" has no stages", "a source and an end"),
        with("name = \"p\"\nstages = »\"rx\"\n", "stages are an array", "stages = ["),
        with("name = \"p\"\nstages = [ »\"rx\" ]\n", "a table is expected", "{ rx = "),
        with("name = \"p\"\nstages = [ »{} ]\n", "an empty stage", "rx, tx, rsa"),
        with("name = \"p\"\nstages = [ { »rxx = \"a\" } ]\n", "\"rxx\"", "did you mean \"rx\"?"),
        with(
            "name = \"p\"\nstages = [ { »mac_swap = true } ]\n",
            "\"mac_swap\"",
            "did you mean \"mac-swap\"?",
        ),
        with("name = \"p\"\nstages = [ { »wobble = 1 } ]\n", "\"wobble\"", "rx, tx, rsa"),
        with(
            "name = \"p\"\nstages = [ { rx = \"a\", »tx = \"b\" } ]\n",
            "unknown key \"tx\"",
            "a table of its own",
        ),
        with(
            &format!(
                "name = \"p\"\n{right}[[pipeline]]\nname = »\"p\"\nstages = [ {{ rx = \"b\" }}, {{ tx = \"a\" }} ]\n"
            ),
            "two pipelines \"p\"",
            "a name of its own",
        ),
    ]
}

fn order() -> Vec<Wrong> {
    vec![
        stages("{ rx = \"a\" },\n»{ rx = \"b\" },\n{ drop = true },", "rx in the middle", "first stage"),
        stages("{ rx = \"a\" },\n»{ merge = true },\n{ drop = true },", "merge in the middle", "first stage"),
        stages(
            "{ rx = \"a\" },\n»{ tx = \"b\" },\n{ count = \"c\" },\n{ drop = true },",
            "past this tx",
            "tee",
        ),
        stages("{ rx = \"a\" },\n»{ drop = true },\n{ tx = \"b\" },", "past this drop", "come last"),
        stages(
            "{ rx = \"a\" },\n»{ count = \"c\" },",
            "\"p\" ends with count",
            "tx, drop, handoff or fanout",
        ),
        stages(
            "{ rx = \"a\" },\n»{ zip = \"z\", op = \"compress\" },",
            "\"p\" ends with zip",
            "tx, drop, handoff or fanout",
        ),
        stages("»{ count = \"c\" },\n{ tx = \"b\" },", "\"p\" begins with count", "rx or merge"),
        stages("»{ tx = \"b\" },", "\"p\" begins with tx", "rx or merge"),
        pipelines_of(
            "[[pipeline]]\nname = »\"p\"\nstages = [ { rx = \"a\" } ]\n",
            "\"p\" has no end",
            "tx, drop",
        ),
    ]
}

fn queues() -> Vec<Wrong> {
    let two = |first: &str, second: &str, message, help| {
        pipelines_of(
            &format!(
                "[[pipeline]]\nname = \"p\"\nstages = [ {first} ]\n[[pipeline]]\nname = \"q\"\nstages = [ {second} ]\n"
            ),
            message,
            help,
        )
    };
    vec![
        stages("{ rx = »\"c\" },\n{ tx = \"b\" },", "there is no port \"c\"", "ports: a, b"),
        stages("{ rx = \"a\" },\n{ tx = »\"bb\" },", "there is no port \"bb\"", "did you mean \"b\"?"),
        stages(
            "{ rx = \"a\" },\n{ tee = »\"bc\" },\n{ tx = \"b\" },",
            "there is no port \"bc\"",
            "did you mean",
        ),
        stages("{ rx = »1 },\n{ tx = \"b\" },", "text is expected", "quotes"),
        two(
            r#"{ rx = "a" }, { tx = "b" }"#,
            r#"{ rx = »"a" }, { drop = true }"#,
            "rx queue 0 of port \"a\" belongs to pipeline \"p\"",
            "handoff and merge",
        ),
        two(
            r#"{ rx = "a" }, { tx = "b" }"#,
            r#"{ rx = "b" }, { tx = »"b" }"#,
            "tx queue 0 of port \"b\" belongs to pipeline \"p\"",
            "another queue",
        ),
        stages(
            "{ rx = \"a\" },\n{ tee = \"b\" },\n{ tx = »\"b\" },",
            "tx queue 0 of port \"b\" belongs to pipeline \"p\"",
            "another queue",
        ),
        stages("{ rx = \"a\", queue = »-1 },\n{ tx = \"b\" },", "-1", "0 or more"),
        stages("{ rx = \"a\" },\n{ tx = \"b\", queue = »70000 },", "70000", "65535"),
        stages("{ rx = \"a\" },\n{ tx = \"b\", full = »\"wait\" },", "\"wait\"", "hold, drop"),
    ]
}

fn numbers() -> Vec<Wrong> {
    let zip = |key: &str, message, help| {
        stages(
            &format!("{{ rx = \"a\" }},\n{{ zip = \"z\", op = \"compress\", {key} }},\n{{ tx = \"b\" }},"),
            message,
            help,
        )
    };
    let handoff = |slots: &str, message, help| {
        pipelines_of(
            &format!(
                "[[pipeline]]\nname = \"p\"\nstages = [ {{ rx = \"a\" }}, {{ handoff = \"q\", slots = {slots} }} ]\n\
                 [[pipeline]]\nname = \"q\"\nstages = [ {{ merge = true }}, {{ tx = \"b\" }} ]\n"
            ),
            message,
            help,
        )
    };
    vec![
        stages("{ rx = \"a\", burst = »0 },\n{ tx = \"b\" },", "burst = 0", "1 to 64"),
        stages("{ rx = \"a\", burst = »65 },\n{ tx = \"b\" },", "burst = 65", "1 to 64"),
        stages(
            "{ rx = \"a\", burst = »\"32\" },\n{ tx = \"b\" },",
            "a whole number is expected",
            "without quotes",
        ),
        zip("depth = »0", "depth = 0", "1 to 4096"),
        zip("depth = »5000", "depth = 5000", "1 to 4096"),
        zip("level = »13", "level 13 is too high", "0 (stored) to 12"),
        zip("streams = 8, level = »10", "level 10 is too high", "0 (stored) to 9 (smallest of streams)"),
        zip("streams = »5000", "streams = 5000", "0: none"),
        zip("streams = »8, format = \"gzip\"", "streams have no wrapping", "leave `format` out"),
        zip(
            "streams = 8, refresh = »0",
            "refresh = 0 is not possible: 1 to 65535",
            "fewer for networks that lose many",
        ),
        zip("window-bits = »8", "window-bits = 8 is not possible: 9 to 15", "15 is 32 KiB"),
        zip(
            "dictionary = »\"d\", format = \"gzip\"",
            "gzip cannot name a dictionary",
            "zlib, or raw DEFLATE",
        ),
        zip("window-bits = »14, level = 12", "its highest level is 9", "take a lower level"),
        zip("back-end = »\"libdeflate\", streams = 4", "whole buffers only", "\"auto\" or \"zlib-rs\""),
        zip("back-end = »\"libdeflat\"", "libdeflat", "libdeflate"),
        zip("level = »300", "300", "255"),
        zip("level = »-1", "-1", "0 or more"),
        handoff("»3", "slots = 3 is less than a burst", "64 to 65536"),
        handoff("»0", "slots = 0", "64 to 65536"),
        handoff("»100000", "slots = 100000", "64 to 65536"),
    ]
}

fn accelerators() -> Vec<Wrong> {
    let stage = |stage: &str, message, help| {
        stages(&format!("{{ rx = \"a\" }},\n{stage},\n{{ tx = \"b\" }},"), message, help)
    };
    let rsa = |keys: &str, message, help| stage(&format!("{{ rsa = \"r\", {keys} }}"), message, help);
    vec![
        stage(
            r#"{ rsa = »"rr", op = "sign", scheme = "pss-sha256", key = "k" }"#,
            "there is no device \"rr\"",
            "did you mean \"r\"?",
        ),
        stage(
            r#"{ rsa = »"z", op = "sign", scheme = "pss-sha256", key = "k" }"#,
            "device \"z\" does ZIP, and RSA is needed here",
            "soft-rsa",
        ),
        stage(
            r#"{ zip = »"r", op = "compress" }"#,
            "device \"r\" does RSA, and ZIP is needed here",
            "soft-zip",
        ),
        stage(r#"{ zip = »"wobble", op = "compress" }"#, "there is no device \"wobble\"", "devices: r, z"),
        stage(r#"»{ zip = "z" }"#, "the key \"op\" is missing", "zip"),
        stage(r#"{ zip = "z", op = »"inflate" }"#, "\"inflate\"", "compress, decompress"),
        stage(r#"{ zip = "z", op = "compress", format = »"brotli" }"#, "\"brotli\"", "deflate, zlib, gzip"),
        stage(r#"{ zip = "z", op = "compress", oversize = »"keep" }"#, "\"keep\"", "pass, drop"),
        rsa(
            r#"op = »"encrypt", scheme = "oaep-sha256", key = "k""#,
            "does not encrypt",
            "\"sign\" or \"verify\"",
        ),
        rsa(
            r#"op = »"decrypt", scheme = "oaep-sha256", key = "k""#,
            "does not encrypt",
            "\"sign\" or \"verify\"",
        ),
        rsa(r#"op = »"sing", scheme = "pss-sha256", key = "k""#, "\"sing\"", "did you mean \"sign\"?"),
        rsa(
            r#"op = "sign", scheme = »"oaep-sha256", key = "k""#,
            "\"oaep-sha256\" is a scheme for encryption",
            "pss-sha256",
        ),
        rsa(
            r#"op = "verify", scheme = »"pkcs1", key = "k""#,
            "\"pkcs1\" is a scheme for encryption",
            "pkcs1-sha256",
        ),
        rsa(r#"op = "sign", scheme = »"pss-sha1", key = "k""#, "\"pss-sha1\"", "did you mean \"pss-sha"),
        rsa(
            r#"op = "sign", scheme = "pss-sha256", key = »"demo:rsa1024""#,
            "no demo key \"demo:rsa1024\"",
            "demo:rsa2048",
        ),
        rsa(r#"op = "sign", scheme = "pss-sha256", key = »"""#, "key", "PEM or DER"),
        rsa(
            r#"op = "sign", scheme = "pss-sha256", key = "k", certificate = »"""#,
            "a certificate has a file name",
            "PEM or DER",
        ),
        rsa(
            r#"op = "sign", scheme = "pss-sha256", key = "k", »cert = "c""#,
            "unknown key \"cert\"",
            "certificate",
        ),
        rsa(
            r#"op = "sign", scheme = "pss-sha256", key = "k", allow-1024 = »"yes""#,
            "true or false",
            "without quotes",
        ),
        stage(r#"»{ rsa = "r", op = "sign", scheme = "pss-sha256" }"#, "the key \"key\" is missing", "rsa"),
        stage(r#"»{ rsa = "r", op = "sign", key = "k" }"#, "the key \"scheme\" is missing", "rsa"),
    ]
}

fn matches() -> Vec<Wrong> {
    let rule = |rule: &str, message, help| {
        stages(&format!("{{ rx = \"a\" }},\n{{ match = {{ {rule} }} }},\n{{ tx = \"b\" }},"), message, help)
    };
    vec![
        rule("src = »\"192.0.2.0/33\"", "\"192.0.2.0/33\" is not a network", "192.0.2.0/24"),
        rule("dst = »\"localhost\"", "\"localhost\" is not a network", "192.0.2.0/24"),
        rule("src = »1", "text is expected", "quotes"),
        rule("sport = »\"2047-1024\"", "2047-1024", "1024-2047"),
        rule("dport = »70000", "70000", "53 or \"1024-2047\""),
        rule("dport = »\"http\"", "http", "53 or \"1024-2047\""),
        rule("dport = »[53]", "a name or a number", "53"),
        rule("protocol = »\"upd\"", "\"upd\"", "did you mean \"udp\"?"),
        rule("protocol = »\"sctp\"", "\"sctp\"", "icmp, tcp, udp, icmpv6"),
        rule("protocol = »256", "256 is too large", "255"),
        rule("ethertype = »\"ip4\"", "\"ip4\"", "did you mean \"ipv4\"?"),
        rule("ethertype = »65536", "65536 is too large", "65535"),
        rule("vlan = »4096", "vlan = 4096", "4095"),
        rule("»port = 53", "unknown key \"port\"", "did you mean"),
        rule("»wobble = 53", "unknown key \"wobble\"", "ethertype, vlan, protocol"),
        stages("{ rx = \"a\" },\n{ match = »\"udp\" },\n{ tx = \"b\" },", "a table", "match = { protocol = "),
        stages("{ rx = \"a\" },\n{ match = »{} },\n{ tx = \"b\" },", "no condition", "protocol"),
        stages(
            "{ rx = \"a\" },\n{ match = { vlan = 1 }, else = »\"q\" },\n{ tx = \"b\" },",
            "there is no pipeline \"q\"",
            "pipelines: p, or \"drop\"",
        ),
    ]
}

fn simple() -> Vec<Wrong> {
    let stage = |stage: &str, message, help| {
        stages(&format!("{{ rx = \"a\" }},\n{stage},\n{{ tx = \"b\" }},"), message, help)
    };
    vec![
        stage("{ mac-swap = »false }", "can only be true", "leave it out"),
        stage("{ mac-swap = »\"yes\" }", "true or false is expected", "without quotes"),
        stage("{ echo = »\"192.0.2\" }", "\"192.0.2\" is not an IPv4 address", "192.0.2.1"),
        stage("{ echo = »\"::1\" }", "\"::1\" is not an IPv4 address", "192.0.2.1"),
        stage(
            "{ echo = \"192.0.2.1\", mac = »\"02:00\" }",
            "\"02:00\" is not an Ethernet address",
            "02:00:00:00:00:01",
        ),
        stage("{ echo = \"192.0.2.1\", mac = »\"03:00:00:00:00:01\" }", "group", "02:00:00:00:00:01"),
        stage("{ echo = \"192.0.2.1\", others = »\"keep\" }", "\"keep\"", "pass, drop"),
        stage("{ stall = »0 }", "stall = 0 is not possible", "1 to 60000"),
        stage("{ stall = »true }", "a whole number is expected", "without quotes"),
        stage("{ stall = 100, every-ms = »100 }", "no time between", "more than 100"),
        stage("{ count = »5 }", "text is expected", "quotes"),
        stage("{ count = »\"\" }", "a name cannot be empty", "count = "),
        stages("{ rx = \"a\" },\n{ drop = »false },", "can only be true", "leave it out"),
        stage("{ count = \"c\" },\n{ count = »\"c\" }", "two counters \"c\"", "a name of its own"),
    ]
}

fn links() -> Vec<Wrong> {
    let two = |first: &str, second: &str, message, help| {
        pipelines_of(&format!("[[pipeline]]\nname = {first}\n[[pipeline]]\nname = {second}\n"), message, help)
    };
    let merge = "stages = [ { merge = true }, { tx = \"b\" } ]";
    vec![
        stages("{ rx = \"a\" },\n{ handoff = »\"q\" },", "there is no pipeline \"q\"", "pipelines: p"),
        stages("{ rx = \"a\" },\n{ fanout = [»\"qq\"] },", "there is no pipeline \"qq\"", "pipelines: p"),
        stages("{ rx = \"a\" },\n{ fanout = »[] },", "a fanout to nowhere", "at least one pipeline"),
        stages("{ rx = \"a\" },\n{ fanout = »\"p\" },", "a list is expected", "[ … ]"),
        two(
            "\"p\"\nstages = [ { rx = \"a\" }, { handoff = \"q\" } ]",
            "»\"q\"\nstages = [ { rx = \"b\" }, { tx = \"b\" } ]",
            "\"q\" is given packets by \"p\" but does not begin with a merge",
            "{ merge = true }",
        ),
        two(
            "\"p\"\nstages = [ { rx = \"a\" }, { match = { vlan = 1 }, else = \"q\" }, { tx = \"a\" } ]",
            "»\"q\"\nstages = [ { rx = \"b\" }, { tx = \"b\" } ]",
            "\"q\" is given packets by \"p\" but does not begin with a merge",
            "{ merge = true }",
        ),
        two(
            "\"p\"\nstages = [ { rx = \"a\" }, { tx = \"a\" } ]",
            &format!("»\"q\"\n{merge}"),
            "\"q\" begins with a merge but no pipeline gives it packets",
            "handoff, fanout or match",
        ),
        pipelines_of(
            "[[pipeline]]\nname = »\"p\"\nstages = [ { merge = true }, { handoff = \"p\" } ]\n",
            "packets of pipeline \"p\" come back to it",
            "never drains",
        ),
        two(
            "»\"p\"\nstages = [ { merge = true }, { handoff = \"q\" } ]",
            "\"q\"\nstages = [ { merge = true }, { handoff = \"p\" } ]",
            "packets of pipeline \"p\" come back to it by way of \"q\"",
            "never drains",
        ),
        two(
            "\"p\"\nstages = [ { rx = \"a\" }, { fanout = [\"q\", »\"q\"] } ]",
            &format!("\"q\"\n{merge}"),
            "\"q\" twice",
            "each pipeline once",
        ),
        two(
            "\"p\"\nstages = [ { rx = \"a\" }, { handoff = \"q\" } ]",
            "\"q\"\nstages = [ { merge = true, burst = »100 }, { tx = \"b\" } ]",
            "burst = 100",
            "1 to 64",
        ),
    ]
}
