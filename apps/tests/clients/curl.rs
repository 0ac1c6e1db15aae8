//! curl, with both versions of IP and of TLS.

use super::{Place, noise, original, run};

/// What is asked for on one connection.
const TARGETS: [&str; 4] = ["/large?bytes=1", "/large?bytes=300000", "/chunked", "/large?bytes=0"];

/// The same bytes by every way, compressed or not, and up and down.
pub fn all(place: &Place<'_>) {
    let originals = TARGETS.map(original);
    let (sent, noise) = noise(place, 300_000);
    let sent = format!("@{}", sent.display());
    for tls in ["1.2", "1.3"] {
        for host in &place.hosts {
            for compressed in [false, true] {
                let way = format!("TLS {tls}, {host}, compressed: {compressed}");
                for (i, (said, expected)) in
                    gets(place, host, tls, compressed).iter().zip(&originals).enumerate()
                {
                    let got = std::fs::read(place.file(&format!("got{i}"))).unwrap_or_default();
                    assert!(got == *expected, "{way}: {} has {} other bytes", TARGETS[i], got.len());
                    let connects = usize::from(i == 0);
                    let begin = format!("200 0 {connects} ");
                    let size = said.strip_prefix(&begin).unwrap_or_else(|| panic!("{way}: {said:?}"));
                    let is_packed = size.parse::<usize>().expect("a number") != expected.len();
                    assert_eq!(is_packed, compressed && expected.len() > 256, "{way}: {said}");
                }
            }
            let url = format!("https://{host}/echo");
            let back = place.file("back");
            let args = ["--data-binary", &sent, "--output", back.to_str().expect("UTF-8"), &url];
            run(curl(place, tls).args(args));
            assert!(std::fs::read(back).expect("a file") == noise, "{url} by TLS {tls}");
        }
    }
}

fn curl(place: &Place<'_>, tls: &str) -> std::process::Command {
    let mut command = place.program("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "60", "--cacert", place.trusted()]);
    command.args([&format!("--tlsv{tls}"), "--tls-max", tls]);
    command
}

/// Gets all targets, to `got0` and so on. Of each: status, result of verification, connections made for it, and bytes that came.
fn gets(place: &Place<'_>, host: &str, tls: &str, compressed: bool) -> Vec<String> {
    let mut command = curl(place, tls);
    command.args(["--write-out", "%{http_code} %{ssl_verify_result} %{num_connects} %{size_download}\\n"]);
    command.args(compressed.then_some("--compressed"));
    for (i, target) in TARGETS.iter().enumerate() {
        let to = place.file(&format!("got{i}"));
        // It makes no file for an empty body.
        let _ = std::fs::remove_file(&to);
        command.arg("--output").arg(to).arg(format!("https://{host}{target}"));
    }
    let said: Vec<String> = run(&mut command).lines().map(str::to_owned).collect();
    assert_eq!(said.len(), TARGETS.len(), "{said:?}");
    said
}
