//! Mistakes in proxies.

use super::{HEAD, Wrong, file};

pub fn cases() -> Vec<Wrong> {
    [
        tables(),
        addresses(),
        user_space(),
        devices(),
        tls(),
        limits(),
        timeouts(),
        compression(),
        upstreams(),
        routes(),
        eal(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const UPSTREAM: &str = "[[proxy.upstream]]\nname = \"u\"\nservers = [\"127.0.0.1:8080\"]\n";

/// A proxy with these keys, and these tables behind its upstream.
fn proxy(keys: &str, tables: &str, message: &'static str, help: &'static str) -> Wrong {
    let keys = format!("name = \"w\"\nlisten = [\"127.0.0.1:8443\"]\n{keys}");
    Wrong { text: format!("{HEAD}[[proxy]]\n{keys}\n{UPSTREAM}{tables}\n"), message, help }
}

fn keys(keys: &str, message: &'static str, help: &'static str) -> Wrong {
    proxy(keys, "", message, help)
}

/// A proxy with these routes, and upstreams u and v.
fn route(routes: &str, message: &'static str, help: &'static str) -> Wrong {
    let other = "[[proxy.upstream]]\nname = \"v\"\nservers = [\"demo\"]\n";
    proxy("", &format!("{other}{routes}"), message, help)
}

/// A proxy with these keys, and nothing else.
fn bare(text: &str, message: &'static str, help: &'static str) -> Wrong {
    Wrong { text: format!("{HEAD}{text}"), message, help }
}

fn tables() -> Vec<Wrong> {
    let two = |second: &str, message, help| {
        let first = format!("[[proxy]]\nname = \"w\"\nlisten = [\"127.0.0.1:8443\"]\n{UPSTREAM}");
        bare(&format!("{first}[[proxy]]\n{second}\n{UPSTREAM}"), message, help)
    };
    vec![
        file("version = 1\n»[proxy]\nname = \"w\"\n", "proxy is an array of tables", "[[proxy]]"),
        file("version = 1\nproxy = [»1]\n", "a table", "[[proxy]]"),
        bare(
            &format!("»[[proxy]]\nlisten = [\"127.0.0.1:1\"]\n{UPSTREAM}"),
            "\"name\" is missing",
            "[[proxy]]",
        ),
        bare(&format!("»[[proxy]]\nname = \"w\"\n{UPSTREAM}"), "\"listen\" is missing", "[[proxy]]"),
        bare(
            &format!("[[proxy]]\nname = »\"\"\nlisten = [\"127.0.0.1:1\"]\n{UPSTREAM}"),
            "a name cannot be empty",
            "name = ",
        ),
        bare(
            &format!("[[proxy]]\nname = »\"w\"\nlisten = []\n{UPSTREAM}"),
            "proxy \"w\" listens nowhere",
            "listen = [\"127.0.0.1:8443\"]",
        ),
        two("name = »\"w\"\nlisten = [\"127.0.0.1:1\"]", "there are two proxies \"w\"", "a name of its own"),
        keys("»lisen = 1", "unknown key \"lisen\"", "did you mean \"listen\"?"),
        keys("»wobble = 1", "unknown key \"wobble\"", "name, cores, transport, port"),
        keys("transport = »\"kernal\"", "\"kernal\" is not known", "did you mean \"kernel\"?"),
        keys("cores = »0", "a list is expected", "[ … ]"),
        keys("cores = [0, »0]", "core 0 twice", "each core once"),
        keys("cores = [»7]", "core 7 is not one of the lcores", "lcores: 0"),
        keys("mempool = »\"prxy\"", "there is no mempool \"prxy\"", "mempools: "),
    ]
}

fn addresses() -> Vec<Wrong> {
    let listen = |listen: &str, message, help| {
        bare(&format!("[[proxy]]\nname = \"w\"\nlisten = [{listen}]\n{UPSTREAM}"), message, help)
    };
    let two = |keys: [&str; 2], message, help| {
        let proxy = |(name, keys): (&str, &str)| format!("[[proxy]]\nname = {name:?}\n{keys}\n{UPSTREAM}");
        bare(&["a", "b"].into_iter().zip(keys).map(proxy).collect::<String>(), message, help)
    };
    let taken = "an address or a path of its own";
    vec![
        listen("»\"localhost:8443\"", "this is not an address with a port", "127.0.0.1:8443"),
        listen(
            "\"127.0.0.1:1\", »\"127.0.0.1:1\"",
            "proxy \"w\" listens at 127.0.0.1:1 already",
            "each address once",
        ),
        two(
            ["listen = [\"127.0.0.1:1\", \"[::1]:1\"]", "listen = [»\"[::1]:1\"]"],
            "proxy \"a\" listens at [::1]:1 already",
            "in all proxies",
        ),
        keys("admin = »\"127.0.0.1:8443\"", "proxy \"w\" listens at 127.0.0.1:8443", taken),
        two(
            ["listen = [\"0.0.0.0:1\"]", "listen = [\"127.0.0.1:2\"]\nadmin = »\"127.0.0.1:1\""],
            "the admin address 127.0.0.1:1 is taken: proxy \"a\" listens at 0.0.0.0:1",
            taken,
        ),
        two(
            [
                "listen = [\"127.0.0.1:1\"]\nadmin = \"./s.sock\"",
                "listen = [\"127.0.0.1:2\"]\nadmin = »\"./s.sock\"",
            ],
            "another proxy has ./s.sock as its admin address",
            taken,
        ),
        keys("admin = »\"9443\"", "neither an address nor a path", "127.0.0.1:9443"),
        keys("admin = »\"192.0.2.1:9443\"", "is not of the loopback", "127.0.0.1:9443"),
    ]
}

fn user_space() -> Vec<Wrong> {
    // Port a, which no pipeline uses.
    let user = |keys: &str, message, help| {
        let proxy = format!("[[proxy]]\nname = \"w\"\ntransport = \"userspace\"\n{keys}\n{UPSTREAM}");
        bare(&proxy, message, help)
    };
    let listen = "listen = [\"192.0.2.7:443\"]";
    let right = format!("port = \"a\"\naddresses = [\"192.0.2.7/24\"]\n{listen}");
    let nameless = format!("[[proxy]]\nname = »\"w\"\ntransport = \"userspace\"\n{listen}\n");
    let strict = format!(
        "[eal]\nstrict = »\"kill\"\n[[proxy]]\nname = \"w\"\ntransport = \"userspace\"\n{right}\n{UPSTREAM}"
    );
    let for_user_space = "this is for transport = \"userspace\"";
    vec![
        keys("port = »\"a\"", for_user_space, "leave it out"),
        keys("mac = »\"02:00:00:00:00:07\"", for_user_space, "leave it out"),
        keys("addresses = [»\"192.0.2.7/24\"]", for_user_space, "leave it out"),
        keys("gateways = [»\"192.0.2.1\"]", for_user_space, "leave it out"),
        bare(&format!("{nameless}{UPSTREAM}"), "does TCP by itself and has no port", "[port.NAME]"),
        user(&right.replace("\"a\"", "»\"aa\""), "there is no port \"aa\"", "did you mean \"a\"?"),
        user(
            &right.replace("[\"192.0.2.7/24\"]", "[»\"192.0.2.7\"]").replace("192.0.2.7:443", "0.0.0.0:443"),
            "\"192.0.2.7\" is not an address of an interface with the length of its prefix",
            "192.0.2.7/24",
        ),
        user(
            &right.replace("\"192.0.2.7:443", "»\"192.0.2.8:443"),
            "192.0.2.8 is none of the addresses of proxy \"w\"",
            "0.0.0.0 or [::] for all",
        ),
        user(
            &format!("{right}\nmac = »\"03:00:00:00:00:07\""),
            "this is the address of a group",
            "02:00:00:00:00:07",
        ),
        bare(&strict, "proxy \"w\": servers are reached by sockets", "strict = \"off\""),
    ]
}

fn devices() -> Vec<Wrong> {
    let small =
        "[mempool.m]\nsize = »512\n[[proxy]]\nname = \"w\"\nlisten = [\"127.0.0.1:1\"]\nrsa = \"r\"\n";
    let few = "[mempool.»m]\nbuffers = 256\n[[proxy]]\nname = \"w\"\nlisten = [\"127.0.0.1:1\"]\nrsa = \"r\"\nzip = \"z\"\n";
    vec![
        keys("rsa = »\"rr\"", "there is no device \"rr\"", "did you mean \"r\"?"),
        keys("rsa = »\"z\"", "device \"z\" does ZIP, and RSA is needed", "soft-rsa"),
        keys("zip = »\"r\"", "device \"r\" does RSA, and ZIP is needed", "soft-zip"),
        bare(
            &format!("{small}{UPSTREAM}"),
            "buffers of 512 bytes, and a signature of proxy \"w\" needs 896",
            "size = 896",
        ),
        bare(&format!("{few}{UPSTREAM}"), "512 handshakes of proxy \"w\" on core 0", "buffers = 1024"),
    ]
}

fn tls() -> Vec<Wrong> {
    vec![
        keys("tls = { »tickts = true }", "unknown key \"tickts\"", "did you mean \"tickets\"?"),
        keys("tls = { parked = »0 }", "parked = 0 is not possible", "parked = 1 to 4096"),
        keys("tls = { parked = »4097 }", "parked = 4097 is not possible", "parked = 1 to 4096"),
        keys("tls = { sign_ms = »0 }", "sign_ms = 0 is not possible", "sign_ms = 1 to 60000"),
        keys("tls = { min_version = »\"1.1\" }", "\"1.1\" is not known", "did you mean \"1.2\"?"),
        keys("tls = { min_version = »1.2 }", "text is expected", "quotes"),
        keys("tls = { unknown_name = »\"refuse\" }", "\"refuse\" is not known", "default, reject"),
        keys("tls = { tickets = »\"no\" }", "true or false is expected", "without quotes"),
        keys(
            "tls = { cipher_suites = [\"TLS_AES_128_GCM_SHA256\", »\"TLS_AES_128_GCM_SHA265\"] }",
            "there is no cipher suite \"TLS_AES_128_GCM_SHA265\"",
            "did you mean \"TLS_AES_128_GCM_SHA256\"?",
        ),
        keys(
            "tls = { cipher_suites = [»\"RC4\"] }",
            "there is no cipher suite \"RC4\"",
            "TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256",
        ),
        keys(
            "tls = { min_version = \"1.3\", cipher_suites = [»\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"] }",
            "no usable cipher suites",
            "a suite for each version",
        ),
        keys("tls = { certificates = [»{ certificate = \"c.pem\" }] }", "\"key\" is missing", "[[proxy]]"),
    ]
}

fn limits() -> Vec<Wrong> {
    vec![
        keys(
            "limits = { connections = »0 }",
            "connections = 0 is not possible",
            "connections = 1 to 1000000",
        ),
        keys("limits = { half_open = »0 }", "half_open = 0 is not possible", "half_open = 1 to 1000000"),
        keys("limits = { head_bytes = »1023 }", "head_bytes = 1023 is not possible", "1024 to 65536"),
        keys("limits = { head_bytes = »65537 }", "head_bytes = 65537 is not possible", "1024 to 65536"),
        keys("limits = { target_bytes = »63 }", "target_bytes = 63 is not possible", "64 to 65536"),
        keys(
            "limits = { target_bytes = »16384 }",
            "target_bytes = 16384 is not below head_bytes = 16384",
            "target_bytes = 8192",
        ),
        keys(
            "limits = { head_bytes = »4096 }",
            "target_bytes = 8192 is not below head_bytes = 4096",
            "and target_bytes = 2048",
        ),
        keys("limits = { fields = »0 }", "fields = 0 is not possible", "fields = 1 to 128"),
        keys("limits = { fields = »129 }", "fields = 129 is not possible", "fields = 1 to 128"),
        keys("limits = { requests = »0 }", "requests = 0 is not possible", "requests = 1 or more"),
        keys("limits = { body_bytes = »-1 }", "-1", "0 or more"),
        keys("limits = { body_bytes = »\"64M\" }", "a whole number is expected", "without quotes"),
        keys("limits = { »body = 1 }", "unknown key \"body\"", "head_bytes, target_bytes"),
    ]
}

fn timeouts() -> Vec<Wrong> {
    let each = [
        "handshake_ms",
        "head_ms",
        "idle_ms",
        "body_ms",
        "connect_ms",
        "response_ms",
        "upstream_idle_ms",
        "upgrade_ms",
    ];
    let zero = |key: &str| {
        keys(&format!("timeouts = {{ {key} = »0 }}"), "_ms = 0 is not possible", "_ms = 1 to 86400000")
    };
    let mut all: Vec<Wrong> = each.map(zero).into();
    all.push(keys(
        "timeouts = { idle_ms = »86400001 }",
        "idle_ms = 86400001 is not possible",
        "idle_ms = 1 to 86400000",
    ));
    all.push(keys("timeouts = { »idle = 1 }", "unknown key \"idle\"", "handshake_ms, head_ms"));
    all
}

fn compression() -> Vec<Wrong> {
    vec![
        keys("compress = { level = »0 }", "level = 0 is not possible", "level = 1 to 9"),
        keys("compress = { level = »10 }", "level = 10 is not possible", "level = 1 to 9"),
        keys(
            "compress = { min_bytes = »1073741825 }",
            "min_bytes = 1073741825 is not possible",
            "0 to 1073741824",
        ),
        keys("compress = { types = »\"text/*\" }", "a list is expected", "[ … ]"),
        keys(
            "compress = { types = [\"text/*\", »\"html\"] }",
            "\"html\" is not a media type",
            "\"text/html\"",
        ),
        keys(
            "compress = { types = [»\"text/html; charset=utf-8\"] }",
            "\"text/html; charset=utf-8\" is not a media type",
            "without parameters",
        ),
        keys("log = { access = »1 }", "text is expected", "quotes"),
        keys("log = { »acces = \"-\" }", "unknown key \"acces\"", "did you mean \"access\"?"),
    ]
}

fn upstreams() -> Vec<Wrong> {
    let upstream = |keys: &str, message, help| {
        proxy(
            "",
            &format!("[[proxy.upstream]]\nname = \"v\"\nservers = [\"127.0.0.1:1\"]\n{keys}"),
            message,
            help,
        )
    };
    let servers = |servers: &str, message, help| {
        proxy("", &format!("[[proxy.upstream]]\nname = \"v\"\nservers = [{servers}]"), message, help)
    };
    let check = |keys: &str, message, help| upstream(&format!("check = {{ {keys} }}"), message, help);
    vec![
        bare(
            "[[proxy]]\nname = »\"w\"\nlisten = [\"127.0.0.1:1\"]\n",
            "proxy \"w\" has no upstream",
            "[[proxy.upstream]]",
        ),
        proxy(
            "",
            "[[proxy.upstream]]\nname = »\"v\"\nservers = []",
            "upstream \"v\" has no servers",
            "servers = [",
        ),
        proxy(
            "",
            "[[proxy.upstream]]\nname = »\"u\"\nservers = [\"demo\"]",
            "there are two upstreams \"u\"",
            "a name of its own",
        ),
        proxy(
            "",
            "[[proxy.upstream]]\nname = »\"\"\nservers = [\"demo\"]",
            "a name cannot be empty",
            "name = ",
        ),
        servers("»\"127.0.0.1\"", "\"127.0.0.1\" is not an address with a port", "\"demo\""),
        servers("»\"127.0.0.1:0\"", "\"127.0.0.1:0\" is not an address with a port", "127.0.0.1:8080"),
        servers("»\"http://127.0.0.1:80\"", "is not an address with a port", "127.0.0.1:8080"),
        servers("\"127.0.0.1:1\", »\"127.0.0.1:1\"", "server \"127.0.0.1:1\" twice", "each server once"),
        upstream("balance = »\"random\"", "\"random\" is not known", "round-robin, least-connections"),
        upstream("keepalive = »65537", "keepalive = 65537 is not possible", "0 to 65536"),
        upstream("max_fails = »1000001", "max_fails = 1000001 is not possible", "0 to 1000000"),
        upstream("fail_ms = »0", "fail_ms = 0 is not possible", "1 to 86400000"),
        check("path = »\"health\"", "\"health\" is not a path", "begins with /"),
        check("path = \"/\", interval_ms = »99", "interval_ms = 99 is not possible", "100 to 86400000"),
        check("path = \"/\", timeout_ms = »0", "timeout_ms = 0 is not possible", "1 to 86400000"),
        check("path = »\"/#top\"", "\"/#top\" is not a path", "behind #"),
        check("path = »\"/café\"", "\"/café\" is not a path", "%XX"),
        check("path = \"/\", host = »\"a b\"", "\"a b\" is not a host", "example.org"),
        check("path = \"/\", host = »\"http://a\"", "\"http://a\" is not a host", "example.org"),
        check("path = \"/\", rise = »0", "rise = 0 is not possible", "rise = 1 to 1000"),
        check("path = \"/\", fall = »1001", "fall = 1001 is not possible", "fall = 1 to 1000"),
        check("path = \"/\", expect = »199", "expect = 199 is not possible", "expect = 200 to 599"),
        check("path = \"/\", expect = [200, »600]", "expect = 600 is not possible", "expect = 200 to 599"),
        check("path = \"/\", expect = »[]", "no status is good", "200 to 399"),
        check("path = \"/\", expect = »\"2xx\"", "a status or a list of statuses is expected", "[200, 204]"),
        check("path = \"/\", expect = [»\"200\"]", "a whole number is expected", "without quotes"),
        check("path = \"/\", expect = »-200", "-200", "0 or more"),
        check("path = \"/\", »expects = 200", "unknown key \"expects\"", "did you mean \"expect\"?"),
        upstream("check = »{ interval_ms = 100 }", "\"path\" is missing", "[[proxy]]"),
    ]
}

fn routes() -> Vec<Wrong> {
    let host = |host: &str, message, help| {
        route(&format!("[[proxy.route]]\nhost = »{host:?}\nupstream = \"u\""), message, help)
    };
    let path = |path: &str, message, help| {
        route(&format!("[[proxy.route]]\npath = »{path:?}\nupstream = \"u\""), message, help)
    };
    vec![
        route("[[proxy.route]]\nupstream = »\"uu\"", "there is no upstream \"uu\"", "did you mean \"u\"?"),
        route(
            "[[proxy.route]]\nupstream = »\"wobble\"",
            "there is no upstream \"wobble\"",
            "upstreams: u, v",
        ),
        route("»[[proxy.route]]\npath = \"/\"", "\"upstream\" is missing", "[[proxy]]"),
        path("api", "\"api\" is not a path", "begins with /"),
        path("/api/*", "\"/api/*\" is not a path", "without a star"),
        path("/a?b=c", "\"/a?b=c\" is not a path", "without a query"),
        path("/café", "\"/café\" is not a path", "%XX"),
        path("/a b", "\"/a b\" is not a path", "%XX"),
        host("", "\"\" is not a host", "leave host out"),
        host("*", "\"*\" is not a host", "leave host out"),
        host("a.example:8443", "\"a.example:8443\" is not a host", "without a port"),
        host("https://a.example/", "is not a host", "without a scheme"),
        host("[::1]", "\"[::1]\" is not a host", "without brackets"),
        host("a.*.example", "\"a.*.example\" is not a host", "*.example.org"),
        host("*example", "\"*example\" is not a host", "*.example.org"),
        host("a.example.", "\"a.example.\" is not a host", "without a dot"),
        host("café.example", "\"café.example\" is not a host", "xn--"),
        host("a..example", "\"a..example\" is not a host", "an IP address"),
        route(
            "[[proxy.route]]\nupstream = \"u\"\n[[proxy.route]]\npath = »\"/api/\"\nupstream = \"v\"",
            "route 2 can never fit: route 1 before it takes any host \"/\"",
            "the narrower one first",
        ),
        route(
            "[[proxy.route]]\nhost = \"*.example\"\nupstream = \"u\"\n[[proxy.route]]\nhost = »\"a.Example\"\nupstream = \"v\"",
            "route 2 can never fit: route 1 before it takes *.example \"/\"",
            "the narrower one first",
        ),
        route(
            "[[proxy.route]]\nupstream = \"u\"\n[[proxy.route]]\nupstream = »\"v\"",
            "route 2 can never fit",
            "leave it out",
        ),
    ]
}

fn eal() -> Vec<Wrong> {
    let right = format!("[[proxy]]\nname = \"w\"\nlisten = [\"127.0.0.1:8443\"]\n{UPSTREAM}");
    let eal = |keys: &str, message, help| bare(&format!("[eal]\n{keys}\n{right}"), message, help);
    vec![
        eal(
            "strict = »\"kill\"",
            "strict = \"kill\" does not go together with proxy \"w\": servers are reached by sockets",
            "off",
        ),
        eal(
            "strict = »\"log\"",
            "strict = \"log\" does not go together with proxy \"w\": servers are reached by sockets",
            "off",
        ),
        eal(
            "require = [\"locked\", »\"no-syscalls\"]",
            "\"no-syscalls\" does not go together with proxy \"w\": servers are reached by sockets",
            "leave it out",
        ),
    ]
}
