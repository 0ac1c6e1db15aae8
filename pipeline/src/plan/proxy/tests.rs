use crate::config::Config;
use crate::cores;
use crate::plan::{Plan, ServerPlan};

const DEVICES: &str = "[device.r]\ndriver = \"soft-rsa\"\n[device.z]\ndriver = \"soft-zip\"\n";
const UPSTREAM: &str = "[[proxy.upstream]]\nname = \"u\"\nservers = [\"127.0.0.1:8080\"]\n";

fn plan_on(cores: &str, text: &str) -> Result<Plan, String> {
    let text = format!("version = 1\n{text}");
    let config = Config::parse("t.toml", &text).map_err(|e| e.to_string())?;
    Plan::new(&config, &cores::parse_list(cores).unwrap()).map_err(|e| e.to_string())
}

/// The notes of a proxy with these keys and these tables behind its upstream.
fn notes(keys: &str, tables: &str) -> String {
    let text =
        format!("{DEVICES}[[proxy]]\nname = \"p\"\nlisten = [\"127.0.0.1:0\"]\n{keys}\n{UPSTREAM}{tables}\n");
    plan_on("0", &text).unwrap().notes.join("\n")
}

fn proxy(name: &str, keys: &str) -> String {
    format!("[[proxy]]\nname = {name:?}\nlisten = [\"127.0.0.1:0\"]\n{keys}\n{UPSTREAM}")
}

#[test]
fn what_is_left_out_has_the_values_of_the_documents() {
    let plan = plan_on("0", &proxy("p", "")).unwrap();
    let p = &plan.proxies[0];
    assert_eq!((p.limits.connections, p.limits.head_bytes, p.limits.fields), (16_384, 16 << 10, 100));
    assert_eq!((p.timeouts.handshake_ms, p.timeouts.upgrade_ms), (10_000, 3_600_000));
    assert_eq!((p.tls.parked, p.tls.sign.as_millis()), (512, 1_000));
    assert_eq!((p.compress.level, p.compress.min_bytes), (1, 256));
    assert_eq!(p.compress.types[0].name, "text/*");
    let u = &p.upstreams[0];
    assert_eq!((u.keepalive, u.max_fails, u.fail.as_millis()), (32, 3, 10_000));
    assert_eq!(u.servers, [ServerPlan::Address("127.0.0.1:8080".parse().unwrap())]);
    assert_eq!((p.routes.len(), &*p.routes[0].path, p.routes[0].upstream), (1, "/", 0));
}

#[test]
fn a_check_that_says_no_more_than_its_path_has_the_values_of_the_documents() {
    let check = |keys: &str| {
        let text =
            proxy("p", "").replace(UPSTREAM, &format!("{UPSTREAM}check = {{ path = \"/h?a=b\"{keys} }}\n"));
        plan_on("0", &text).unwrap().proxies[0].upstreams[0].check.clone().unwrap()
    };
    let c = check("");
    assert_eq!((&*c.path, c.host.is_none(), c.rise, c.fall), ("/h?a=b", true, 2, 3));
    assert_eq!((c.interval.as_millis(), c.timeout.as_millis()), (5_000, 1_000));
    let good = |c: &super::CheckPlan| (200..600).filter(|status| c.expects(*status)).collect::<Vec<u16>>();
    assert_eq!(good(&c), (200..400).collect::<Vec<u16>>());
    assert_eq!(good(&check(", expect = 401")), [401]);
    assert_eq!(good(&check(", expect = [503, 200]")), [200, 503]);
}

#[test]
fn proxies_without_cores_get_free_ones_in_turn_and_share_when_there_are_none() {
    let three: String = ["a", "b", "c"].map(|name| proxy(name, "")).concat();
    let plan = plan_on("0-3", &three).unwrap();
    let cores: Vec<&[usize]> = plan.proxies.iter().map(|p| &*p.lcores).collect();
    assert_eq!(cores, [[0], [1], [2]]);
    assert_eq!(plan.workers.len(), 3);
    let shared = |plan: &Plan| plan.notes.iter().any(|n| n.contains("is shared by"));
    assert!(!shared(&plan));
    let plan = plan_on("0-1", &three).unwrap();
    let cores: Vec<&[usize]> = plan.proxies.iter().map(|p| &*p.lcores).collect();
    assert_eq!(cores, [[0], [1], [0]]);
    assert!(
        plan.notes.contains(&"core 0 is shared by proxy \"a\", proxy \"c\"".to_owned()),
        "{:?}",
        plan.notes
    );
    // One that says where it runs, and an engine with a core of its own, come first.
    let engine = DEVICES.replace("\"soft-rsa\"", "\"soft-rsa\"\ncore = 1");
    let plan =
        plan_on("0-3", &format!("{engine}{}{}", proxy("a", "rsa = \"r\""), proxy("b", "cores = [0, 2]")));
    let plan = plan.unwrap();
    let cores: Vec<&[usize]> = plan.proxies.iter().map(|p| &*p.lcores).collect();
    assert_eq!(cores, [&[3][..], &[0, 2]]);
}

#[test]
fn what_has_no_effect_is_noted() {
    for (keys, tables, note) in [
        ("", "", "proxy \"p\": it has no rsa device: the TLS library signs"),
        ("tls = { parked = 8 }", "", "parked has no effect without an rsa device"),
        ("tls = { sign_ms = 8 }", "", "sign_ms has no effect without an rsa device"),
        (
            "rsa = \"r\"\ntls = { sign_ms = 500 }\ntimeouts = { handshake_ms = 500 }",
            "",
            "sign_ms = 500 leaves no time",
        ),
        ("compress = { level = 2 }", "", "[proxy.compress] has no effect without a zip device"),
        ("compress = { types = [\"text/*\"] }", "", "[proxy.compress] has no effect without a zip device"),
        ("zip = \"z\"\ncompress = { types = [] }", "", "names no types"),
        (
            "zip = \"z\"",
            "[[proxy.route]]\nupstream = \"u\"\ncompress = false",
            "no route lets responses be compressed",
        ),
        (
            "",
            "[[proxy.upstream]]\nname = \"v\"\nservers = [\"demo\"]",
            "upstream \"v\" is not used by any route",
        ),
        (
            "",
            "[[proxy.route]]\nhost = \"a.example\"\nupstream = \"u\"",
            "no route fits are answered with status 421",
        ),
    ] {
        assert!(notes(keys, tables).contains(note), "{note}: {}", notes(keys, tables));
    }
    let (keys, tables) = ("rsa = \"r\"\nzip = \"z\"", "[[proxy.route]]\nupstream = \"u\"");
    assert_eq!(notes(keys, tables), "", "nothing is amiss");
}

#[test]
fn a_route_behind_a_narrower_one_is_right() {
    let routes = |hosts: &[(&str, &str)]| {
        let route = |(host, path): &(&str, &str)| {
            let host = if host.is_empty() { String::new() } else { format!("host = {host:?}\n") };
            format!("[[proxy.route]]\n{host}path = {path:?}\nupstream = \"u\"\n")
        };
        plan_on("0", &format!("{}{}", proxy("p", ""), hosts.iter().map(route).collect::<String>())).map(drop)
    };
    for right in [
        &[("a.example", "/"), ("*.example", "/"), ("", "/")][..],
        &[("", "/api/v1/"), ("", "/api/"), ("", "/")],
        &[("*.b.example", "/"), ("b.example", "/")],
        &[("a.example", "/x"), ("a.example", "/y"), ("", "/x")],
        &[("::1", "/"), ("192.0.2.1", "/")],
    ] {
        routes(right).unwrap_or_else(|e| panic!("{right:?}: {e}"));
    }
    for wrong in [
        &[("", "/"), ("a.example", "/x")][..],
        &[("", "/api"), ("", "/api/v1")],
        &[("*.example", "/"), ("a.b.Example", "/")],
        &[("*.example", "/"), ("*.b.example", "/")],
        &[("a.example", "/"), ("A.example", "/")],
    ] {
        let e = routes(wrong).unwrap_err();
        assert!(e.contains("route 2 can never fit: route 1 before it"), "{wrong:?}: {e}");
    }
}
