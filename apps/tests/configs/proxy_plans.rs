//! What `check` shows of proxies, and whether the documents know all keys.

use std::fs;
use std::path::Path;

use super::common::{examples, folder, run};

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
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let route = |host: Option<&str>, upstream: &str, servers: &[&str], compress: bool| {
        serde_json::json!({
            "host": host, "path": "/", "upstream": upstream, "servers": servers, "compress": compress,
        })
    };
    let expected = serde_json::json!([{
        "name": "site",
        "cores": [0],
        "listen": ["127.0.0.1:8444"],
        "rsa": "rsa0",
        "zip": "zip0",
        "admin": "127.0.0.1:9444",
        "routes": [
            route(Some("accounts.example.org"), "accounts", &["127.0.0.1:8080", "127.0.0.1:8081"], false),
            route(None, "app", &["demo"], true),
        ],
    }]);
    assert_eq!(json["proxies"], expected);
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
