//! Hosts, as `Host` and targets in absolute form name them.

use std::net::Ipv6Addr;

/// The longest name of a host.
const NAME_MAX: usize = 255;

/// The host in a field, if it is one: a name of letters, digits, `-`, `.`, `_` and `~`, an IPv4 address or an IPv6 address in
/// brackets, and maybe a port. Percent-encoding and punctuation, which RFC 3986 has besides, are in no name that DNS and
/// certificates have, and are refused.
#[must_use]
pub fn check(value: &[u8]) -> Option<&str> {
    let host = std::str::from_utf8(value).ok()?;
    let (name, port) = split(host);
    let is_port = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let is_name = match name.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()),
        None => {
            !name.is_empty()
                && name.len() <= NAME_MAX
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
        }
    };
    // An empty port is one that is not given (RFC 3986, 3.2.3).
    let fits = port.is_empty() || port.parse::<u16>().is_ok();
    (is_name && is_port && fits).then_some(host)
}

/// A host without its port. IPv6 addresses keep their brackets.
#[must_use]
pub fn name(host: &str) -> &str {
    split(host).0
}

/// The name, and the port without its colon.
fn split(host: &str) -> (&str, &str) {
    let colon = if host.starts_with('[') { host.find("]:").map(|at| at + 1) } else { host.find(':') };
    colon.map_or((host, ""), |at| (&host[..at], &host[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        let long = "a".repeat(NAME_MAX);
        for (host, expected) in [
            ("example.org", "example.org"),
            ("EXAMPLE.org.:8443", "EXAMPLE.org."),
            ("a_b-c~d.example:0", "a_b-c~d.example"),
            ("192.0.2.1:65535", "192.0.2.1"),
            ("[::1]", "[::1]"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("empty.port:", "empty.port"),
            (long.as_str(), long.as_str()),
        ] {
            assert_eq!(check(host.as_bytes()), Some(host));
            assert_eq!(name(host), expected);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(NAME_MAX + 1);
        for host in [
            "",
            ":80",
            " a",
            "a b",
            "a,b",
            "a/b",
            "a?b",
            "a#b",
            "user@a",
            "a:b",
            "a:65536",
            "a:000080",
            "a:+80",
            "a:80:80",
            "a%2eb",
            "a'b",
            "a\"b",
            "a\\b",
            "a\u{e9}",
            "a\0",
            "::1",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]:x",
            "[]",
            "[a]",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[::1]]",
            "[127.0.0.1]",
            "<b>",
            &long,
        ] {
            assert_eq!(check(host.as_bytes()), None, "{host}");
        }
        assert_eq!(check(b"\xff"), None);
    }
}
