//! The proxy with TCP in user space: curl and wrk of another network stack, over tap and over AF_XDP.

use super::*;

/// What curl says of a request: the status, and how many bytes there were.
fn curl(net: &Net, space: &str, options: &str, url: &str) -> String {
    let ca = demo_keys().join("localhost.crt.pem");
    net.must(
        space,
        &format!(
            "curl -sS -m 20 --cacert {} {options} -w %{{http_code}},%{{size_download}} {url}",
            ca.display()
        ),
    )
}

/// The same content over both versions of IP and of TLS, compressed or not, up and down; and what is not for the proxy.
fn serves(net: &Net, space: &str, folder: &Path) {
    let at = |name: &str| folder.join(name).display().to_string();
    let get = |file: &str, options: &str, host: &str, path: &str| {
        let said = curl(net, space, &format!("{options} -o {}", at(file)), &format!("https://{host}{path}"));
        assert!(said.starts_with("200,"), "{host}{path} {options}: {said}");
        (fs::read(at(file)).unwrap(), said)
    };
    let (plain, said) = get("plain", "--tlsv1.3", "192.0.2.7", "/large?bytes=300000");
    assert_eq!((plain.len(), said.as_str()), (300_000, "200,300000"));
    for (options, host) in
        [("--tls-max 1.2", "192.0.2.7"), ("--tlsv1.3", "[2001:db8::7]"), ("--tls-max 1.2", "[2001:db8::7]")]
    {
        assert!(get("same", options, host, "/large?bytes=300000").0 == plain, "{options} {host}");
    }
    let (unpacked, said) = get("unpacked", "--compressed", "192.0.2.7", "/large?bytes=300000");
    assert!(unpacked == plain && said != "200,300000", "it was compressed: {said}");
    fs::write(at("up"), &plain).unwrap();
    let up = format!("--data-binary @{}", at("up"));
    assert!(get("echo", &up, "[2001:db8::7]", "/echo").0 == plain);
    let answer = net.must(space, "ping -c 3 -i 0.1 -W 2 192.0.2.7");
    assert!(answer.contains("3 received"), "{answer}");
    // Nobody listens there, and that is said at once.
    let refused = net.exec(space, "curl -sS -m 5 http://192.0.2.7:444/");
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));
}

/// Every signature was made by the device, and the port has carried the frames.
fn counted(stats: &str, handshakes: usize) {
    let line = stats.lines().find(|l| l.contains("device \"rsa0\"")).unwrap_or_else(|| panic!("{stats}"));
    let word = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(word.parse::<usize>().unwrap() >= handshakes, "{line}");
    assert!(packets(stats, "wire", "rx0") > 100 && packets(stats, "wire", "tx0") > 100, "{stats}");
}

#[test]
fn a_proxy_does_tcp_by_itself_over_tap() {
    need!("curl", "ping");
    let folder = tempfile::tempdir().unwrap();
    let net = Net::new();
    net.exec("w", "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0");
    let program = net.start("w", folder.path(), &[&config("https-proxy-tap.toml")]);
    net.must("w", "ip addr add 2001:db8::1/64 dev wdtap0 nodad");
    serves(&net, "w", folder.path());
    counted(&program.end(), 6);
    assert!(!net.exec("w", "ip link show wdtap0").status.success(), "the tap interface was left behind");
}

#[test]
fn a_proxy_does_tcp_by_itself_over_af_xdp() {
    need!("curl", "ping", "ethtool");
    let folder = tempfile::tempdir().unwrap();
    let mut net = Net::new();
    net.host("far", "w", "wd0", Some("192.0.2.1/24"));
    net.exec("far", "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0");
    net.must("far", "ip addr add 2001:db8::1/64 dev e0 nodad");
    let program = net.start("w", folder.path(), &[&config("https-proxy-af_xdp.toml")]);
    serves(&net, "far", folder.path());
    counted(&program.end(), 6);
}
