//! What `check` and `run` show of proxies, and whether the documents know all keys.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::common::{PATIENCE, Started, command, examples, folder, run};

#[test]
fn a_plan_shows_its_proxies_as_text_and_as_json() {
    let folder = folder();
    let example = examples().join("https-proxy-options.toml");
    let example = example.to_str().expect("UTF-8");
    let text = run(folder.path(), ["check", "-l", "0", example]).well().stdout;
    for line in [
        "proxy \"site\" on core 0 at 127.0.0.1:8444: signed by rsa0, compressed by zip0",
        "  accounts.example.org / -> \"accounts\" (127.0.0.1:8080, 127.0.0.1:8081), never compressed",
        "  any host / -> \"app\" (demo)",
        "512 handshakes of proxy \"site\" on core 0",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    let json = run(folder.path(), ["check", "-l", "0", "--json", example]).well().stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let route = |host: Option<&str>, upstream: &str, servers: &[&str], compress: bool| {
        serde_json::json!({
            "host": host, "path": "/", "upstream": upstream, "servers": servers, "compress": compress,
        })
    };
    let expected = serde_json::json!([{
        "name": "site",
        "cores": [0],
        "listen": ["127.0.0.1:8444"],
        "port": null,
        "rsa": "rsa0",
        "zip": "zip0",
        "admin": "127.0.0.1:9444",
        "routes": [
            route(Some("accounts.example.org"), "accounts", &["127.0.0.1:8080", "127.0.0.1:8081"], false),
            route(None, "app", &["demo"], true),
        ],
    }]);
    assert_eq!(json["proxies"], expected);
    let tap = examples().join("https-proxy-tap.toml");
    let text = run(folder.path(), ["check", "-l", "0", tap.to_str().expect("UTF-8")]).well().stdout;
    let line = "proxy \"demo\" on core 0 at 192.0.2.7:443, [2001:db8::7]:443 of port wire: signed by rsa0";
    assert!(text.contains(line), "no {line:?} in {text}");
}

/// A proxy at a port of its own, with one client that speaks no TLS. Its output with these options.
fn run_with_a_stranger(options: &[&str]) -> String {
    let folder = folder();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port");
    let text = format!(
        "version = 1\n[eal]\nidle = \"sleep\"\n[[proxy]]\nname = \"w\"\nlisten = [\"{free}\"]\n\
         [[proxy.upstream]]\nname = \"u\"\nservers = [\"demo\"]\n"
    );
    fs::write(folder.path().join("w.toml"), text).expect("write");
    let args = ["run", "w.toml", "--no-huge", "--duration", "2500ms"];
    let started = Started::new(command(folder.path(), args.iter().chain(options)));
    let deadline = Instant::now() + PATIENCE;
    let mut stranger = loop {
        match TcpStream::connect(free) {
            Ok(stranger) => break stranger,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    stranger.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it listens");
    // An alert, and the end.
    let _ = stranger.read_to_end(&mut Vec::new());
    let ran = started.end(PATIENCE).well();
    format!("{}{}", ran.stderr, ran.stdout)
}

#[test]
fn the_numbers_of_proxies_are_in_what_a_run_says() {
    let text = run_with_a_stranger(&["--stats"]);
    for part in [
        "s proxy \"w\" handshakes 0/s parked 0 requests 0/s",
        "proxy \"w\" on core 0\n  connections  1\n  handshakes   0\n",
        "  failed       1: not tls 1\n",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("nobuffer"), "no table of ports where there are none: {text}");
}

#[test]
fn the_numbers_of_proxies_are_in_the_json_of_a_run_and_of_its_seconds() {
    let text = run_with_a_stranger(&["--stats", "--json"]);
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let schemas: Vec<&str> = lines.iter().filter_map(|line| line["schema"].as_str()).collect();
    assert!(schemas.len() >= 2 && schemas[0] == "warpdrive.stats.v1", "{schemas:?}");
    assert_eq!(schemas.last(), Some(&"warpdrive.run.v1"));
    for line in &lines {
        let proxy = &line["statistics"]["proxies"][0];
        assert_eq!(proxy["name"], "w");
    }
    let proxy = &lines.last().expect("a line")["statistics"]["proxies"][0];
    assert_eq!((&proxy["connections_total"], &proxy["cores"]), (&Value::from(1), &serde_json::json!([0])));
    let failed = proxy["handshakes_failed_total"].as_array().expect("reasons");
    let not_tls = failed.iter().find(|entry| entry["reason"] == "not_tls").expect("a reason");
    assert_eq!(not_tls["value"], 1);
}

/// The keys of a table of a proxy, as the program itself names them: it is given one that there is not.
fn keys(table: &str) -> Vec<String> {
    let folder = folder();
    let entry = |name: &str| format!("{name} = {{ zzzzzzzzzzzz = 1 }}\n");
    let (proxy, behind) = match table {
        "" => ("zzzzzzzzzzzz = 1\n".to_owned(), String::new()),
        "upstream" | "route" => (String::new(), format!("[[proxy.{table}]]\nzzzzzzzzzzzz = 1\n")),
        "check" => {
            (String::new(), format!("[[proxy.upstream]]\nname = \"v\"\nservers = []\n{}", entry("check")))
        }
        "certificates" => ("tls = { certificates = [ { zzzzzzzzzzzz = 1 } ] }\n".to_owned(), String::new()),
        table => (entry(table), String::new()),
    };
    let text = format!("version = 1\n[[proxy]]\nname = \"p\"\nlisten = []\n{proxy}{behind}");
    fs::write(folder.path().join("keys.toml"), text).expect("write");
    let ran = run(folder.path(), ["check", "keys.toml"]);
    let list = ran.stderr.split("= help: keys: ").nth(1).unwrap_or_else(|| panic!("{table}: {}", ran.stderr));
    list.lines().next().expect("a line").split(", ").map(str::to_owned).collect()
}

#[test]
fn the_example_with_all_keys_and_the_reference_have_all_keys() {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let example = read(&examples().join("https-proxy-options.toml"));
    let reference = read(&examples().join("../docs/PROXY.md"));
    let mut found = 0;
    for table in
        ["", "tls", "certificates", "limits", "timeouts", "compress", "log", "upstream", "check", "route"]
    {
        for key in keys(table) {
            // Tables have a heading, or stand on one line.
            let written = [format!("{key} = "), format!("[proxy.{key}]"), format!("[[proxy.{key}]]")];
            assert!(written.iter().any(|w| example.contains(w)), "{key:?} is not in the example");
            assert!(reference.contains(&format!("`{key}`")), "{key:?} is not in docs/PROXY.md");
            found += 1;
        }
    }
    assert!(found > 50, "only {found} keys");
}
