//! Programs that others have written, with a server behind the proxy that does what a test tells it. What they do with the demo is
//! in `demo.rs`.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::has;
use crate::setup::{Proxy, Setup};
use crate::site::{noise, site, text};

/// Runs a command to its end.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    output
}

fn curl(proxy: &Proxy, args: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--http1.1", "--max-time", "60", "--cacert"]);
    command.arg(proxy.authority()).args(args).env_remove("https_proxy").current_dir(proxy.path());
    command
}

fn field(head: &Path, name: &str) -> Option<String> {
    let head = std::fs::read_to_string(head).expect("a head");
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.map(|value| value.trim().to_owned())
}

#[test]
fn curl_gets_the_same_bytes_by_every_way() {
    if !has("curl") {
        return;
    }
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let head = proxy.path().join("head");
    let head_name = head.to_str().expect("UTF-8");
    for tls in ["1.2", "1.3"] {
        for address in [proxy.v4, proxy.v6] {
            let version = format!("--tlsv{tls}");
            for (path, expected) in [
                ("text/0", text(0)),
                ("text/100", text(100)),
                ("text/100000", text(100_000)),
                ("text/3000000", text(3_000_000)),
                ("noise/300000", noise(300_000)),
                ("chunks/50000", text(50_000)),
            ] {
                let url = format!("https://{address}/{path}");
                let args = [&*version, "--tls-max", tls, "--dump-header", head_name, &url];
                let plain = run(&mut curl(&proxy, &args));
                assert!(plain.stdout == expected, "{url} by TLS {tls}");
                assert_eq!(field(&head, "Content-Encoding"), None);
                let packed = run(curl(&proxy, &args).arg("--compressed"));
                assert!(packed.stdout == expected, "{url} by TLS {tls}, compressed");
                let is_packed = expected.len() > 256 && !path.starts_with("noise");
                let expected = is_packed.then_some("gzip");
                assert_eq!(field(&head, "Content-Encoding").as_deref(), expected, "{url}");
            }
        }
    }
    assert!(proxy.metrics().sum("compressed_responses_total", &[]) == 12);
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn curl_sends_bodies_of_both_framings_and_waits_for_the_word_to_go_on() {
    if !has("curl") {
        return;
    }
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let body = noise(2_000_000);
    std::fs::write(proxy.path().join("body"), &body).expect("write the body");
    let url = format!("https://{}/echo/1", proxy.v4);
    for more in [
        &["--header", "Expect:"][..],
        // Longer than the test may take: without the word, it would fail.
        &["--header", "Expect: 100-continue", "--expect100-timeout", "100"],
        &["--header", "Expect:", "--header", "Transfer-Encoding: chunked"],
    ] {
        let got = run(curl(&proxy, &["--data-binary", "@body", &url]).args(more));
        assert!(got.stdout == body, "{more:?}: {} bytes", got.stdout.len());
    }
    drop(backend);
    proxy.leaves_nothing();
}

/// With the standard library alone: a session, a compressed body, an upload by generator.
const PYTHON: &str = r#"
import gzip, http.client, ssl, sys
host, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
connection = http.client.HTTPSConnection(host, port, context=ssl.create_default_context(cafile=ca), timeout=60)
for size in (0, 1, 300, 70000):
    connection.request("GET", f"/text/{size}", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    body = response.read()
    coded = response.getheader("Content-Encoding") == "gzip"
    assert coded == (size >= 256), (size, response.getheaders())
    body = gzip.decompress(body) if coded else body
    assert len(body) == size and response.status == 200, (size, len(body))
sent = [bytes([i]) * i * 100 for i in range(1, 100)]
connection.request("POST", "/echo/1", body=iter(sent), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
assert connection.getresponse().read() == b"".join(sent)
print("right")
"#;

#[test]
fn python_reads_and_writes() {
    if !has("python3") {
        return;
    }
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let port = proxy.v4.port().to_string();
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON, "127.0.0.1", &port]).arg(proxy.authority());
    assert_eq!(run(&mut python).stdout, b"right\n");
    drop((python, backend));
    proxy.leaves_nothing();
}
