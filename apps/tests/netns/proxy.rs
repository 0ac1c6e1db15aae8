//! The proxy with TCP in user space: programs that others have written, on another network stack, over tap and over AF_XDP.

use warpdrive_proxy::demo::certificate::DemoCertificate;

use super::*;
use crate::clients::{Place, browser, curl, openssl, requests, wrk};

/// Who carries frames.
#[derive(Clone, Copy, Debug)]
enum By {
    Tap,
    AfXdp,
}

/// Starts the demo, lets a client do what it does, and looks at what was counted.
fn with_demo(by: By, client: impl FnOnce(&Place<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let mut net = Net::new();
    let with_v6 = "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0";
    let (space, example) = match by {
        By::Tap => {
            net.exec("w", with_v6);
            ("w", "https-proxy-tap.toml")
        }
        By::AfXdp => {
            net.host("far", "w", "wd0", Some("192.0.2.1/24"));
            net.exec("far", with_v6);
            net.must("far", "ip addr add 2001:db8::1/64 dev e0 nodad");
            ("far", "https-proxy-af_xdp.toml")
        }
    };
    let program = net.start("w", folder.path(), &[&config(example)]);
    if matches!(by, By::Tap) {
        net.must("w", "ip addr add 2001:db8::1/64 dev wdtap0 nodad");
    }
    let place = Place {
        hosts: ["192.0.2.7:443", "[2001:db8::7]:443"].map(str::to_owned),
        certificate: DemoCertificate::in_folder(&demo_keys(), &[]).unwrap(),
        folder: folder.path(),
        command: &|program| net.command(space, program),
    };
    assert!(!place.certificate.made, "the program has made it");
    client(&place);
    counted(&program.end());
    if matches!(by, By::Tap) {
        assert!(!net.exec("w", "ip link show wdtap0").status.success(), "the tap interface was left behind");
    }
}

/// The device has signed, and the port has carried frames.
fn counted(stats: &str) {
    let line = stats.lines().find(|l| l.contains("device \"rsa0\"")).unwrap_or_else(|| panic!("{stats}"));
    let word = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(word.parse::<usize>().unwrap() > 0, "{line}");
    assert!(packets(stats, "wire", "rx0") > 10 && packets(stats, "wire", "tx0") > 10, "{stats}");
}

/// What is not for the proxy, but for who does TCP and IP.
fn answers(place: &Place<'_>) {
    let in_space = |program: &str, args: &str| run((place.command)(Path::new(program)).args(args.split(' ')));
    let answer = text(&in_space("ping", "-c 3 -i 0.1 -W 2 192.0.2.7").stdout);
    assert!(answer.contains("3 received"), "{answer}");
    // Nobody listens there, and that is said at once.
    let refused = in_space("curl", "-sS -m 5 http://192.0.2.7:444/");
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));
}

#[test]
fn curl_and_ping_are_answered_by_a_proxy_that_does_tcp_by_itself_over_tap() {
    need!("curl", "ping");
    with_demo(By::Tap, |place| {
        curl::all(place);
        answers(place);
    });
}

#[test]
fn curl_and_ping_are_answered_by_a_proxy_that_does_tcp_by_itself_over_af_xdp() {
    need!("curl", "ping", "ethtool");
    with_demo(By::AfXdp, |place| {
        curl::all(place);
        answers(place);
    });
}

#[test]
fn openssl_loads_the_demo_over_tap() {
    need!("openssl");
    with_demo(By::Tap, openssl::all);
}

#[test]
fn openssl_loads_the_demo_over_af_xdp() {
    need!("openssl", "ethtool");
    with_demo(By::AfXdp, openssl::all);
}

#[test]
fn wrk_loads_the_demo_over_tap() {
    need!("wrk");
    with_demo(By::Tap, wrk::all);
}

#[test]
fn wrk_loads_the_demo_over_af_xdp() {
    need!("wrk", "ethtool");
    with_demo(By::AfXdp, wrk::all);
}

#[test]
fn requests_loads_the_demo_over_tap() {
    need!();
    let Some(python) = requests::python() else { return };
    with_demo(By::Tap, |place| requests::all(place, &python));
}

#[test]
fn requests_loads_the_demo_over_af_xdp() {
    need!("ethtool");
    let Some(python) = requests::python() else { return };
    with_demo(By::AfXdp, |place| requests::all(place, &python));
}

#[test]
fn a_browser_shows_the_demo_over_tap() {
    need!();
    if browser::is_there() {
        with_demo(By::Tap, |place| browser::all(place, "tap"));
    }
}

#[test]
fn a_browser_shows_the_demo_over_af_xdp() {
    need!("ethtool");
    if browser::is_there() {
        with_demo(By::AfXdp, |place| browser::all(place, "af_xdp"));
    }
}

/// For longer than what is unacknowledged may stay so.
const SILENCE_S: u32 = 33;

#[test]
fn a_connection_may_be_silent_for_long_over_tap() {
    need!("openssl");
    with_demo(By::Tap, |place| {
        let get = |more: &str| format!("printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n{more}\\r\\n'");
        let requests = format!("{}; sleep {SILENCE_S}; {}; sleep 2", get(""), get("Connection: close\\r\\n"));
        let script = format!("({requests}) | openssl s_client -quiet -connect {} 2>&1", place.hosts[0]);
        let answer = text(&run((place.command)(Path::new("sh")).args(["-c", &script])).stdout);
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    });
}
