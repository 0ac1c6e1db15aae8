//! Targets of requests (RFC 9112, 3.2), and the methods they come with.

use super::METHOD_MAX;
use crate::http::error::Refusal;
use crate::http::head::Limits;
use crate::http::host;

/// A target in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    pub(super) as_sent: &'b str,
    /// Of targets in absolute form.
    pub(super) authority: Option<&'b str>,
    pub(super) path: &'b str,
    pub(super) query: Option<&'b str>,
    /// What a server is asked for: path and query as they were sent. Only a path may be missing, before a `?` or at all.
    pub(super) origin: &'b str,
}

impl<'b> Target<'b> {
    pub(super) fn parse(method: &str, target: &'b str, limits: &Limits) -> Result<Self, Refusal> {
        check_method(method)?;
        check(target.as_bytes(), limits)?;
        match target.as_bytes() {
            [b'/', ..] => Ok(Self::of(target, None, target)),
            b"*" if method == "OPTIONS" => {
                Ok(Self { as_sent: target, authority: None, path: target, query: None, origin: target })
            }
            _ => Self::absolute(method, target),
        }
    }

    fn of(as_sent: &'b str, authority: Option<&'b str>, origin: &'b str) -> Self {
        let (path, query) = match memchr::memchr(b'?', origin.as_bytes()) {
            Some(at) => (&origin[..at], Some(&origin[at + 1..])),
            None => (origin, None),
        };
        Self { as_sent, authority, path: if path.is_empty() { "/" } else { path }, query, origin }
    }

    fn absolute(method: &str, target: &'b str) -> Result<Self, Refusal> {
        let malformed = Refusal::BadRequest("the target is neither a path nor an http or https URI");
        let (scheme, rest) = target.split_once("://").ok_or(malformed)?;
        if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
            return Err(malformed);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = host::check(&rest.as_bytes()[..end]);
        let authority = authority.ok_or(Refusal::BadRequest("the target's authority is no host"))?;
        let mut parts = Self::of(target, Some(authority), &rest[end..]);
        if parts.origin.is_empty() && method == "OPTIONS" {
            // It asks for the server, as `*` does (RFC 9112, 3.2.4).
            (parts.path, parts.origin) = ("*", "*");
        }
        Ok(parts)
    }
}

fn check_method(method: &str) -> Result<(), Refusal> {
    match method {
        // A tunnel is not what a reverse proxy offers, and a trace would show what it adds.
        "CONNECT" | "TRACE" => Err(Refusal::Method),
        _ => check_method_len(method.len()),
    }
}

fn check_method_len(len: usize) -> Result<(), Refusal> {
    if len > METHOD_MAX {
        Err(Refusal::NotImplemented("a method longer than any that there is"))
    } else {
        Ok(())
    }
}

/// Checks a target, or the beginning of one.
fn check(target: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if target.len() > limits.target_bytes {
        Err(Refusal::TargetTooLong)
    } else if !target.is_ascii() || memchr::memchr(b'#', target).is_some() {
        Err(Refusal::BadRequest("the target has a fragment, or characters other than ASCII"))
    } else {
        Ok(())
    }
}

/// Checks as much as has come of a request line.
pub(super) fn check_beginning(
    bytes: &[u8],
    method: Option<&str>,
    target: Option<&str>,
    limits: &Limits,
) -> Result<(), Refusal> {
    match (method, target) {
        (Some(method), Some(target)) => Target::parse(method, target, limits).map(drop),
        (Some(method), None) => {
            check_method(method)?;
            check(bytes.get(method.len() + 1..).unwrap_or_default(), limits)
        }
        (None, _) => check_method_len(bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(
        method: &str,
        target: &'static str,
    ) -> (Option<&'static str>, &'static str, Option<&'static str>) {
        let limits = Limits::default();
        let target = Target::parse(method, target, &limits).expect("a target");
        (target.authority, target.path, target.query)
    }

    #[test]
    fn targets_are_taken_apart() {
        for (target, authority, path, query) in [
            ("/", None, "/", None),
            ("/a/b?c=d?e", None, "/a/b", Some("c=d?e")),
            ("/a?", None, "/a", Some("")),
            ("//a//b", None, "//a//b", None),
            ("/http://x/", None, "/http://x/", None),
            ("http://example.org", Some("example.org"), "/", None),
            ("HTTPS://Example.org:8443/a?b", Some("Example.org:8443"), "/a", Some("b")),
            ("https://[::1]:1?b/c", Some("[::1]:1"), "/", Some("b/c")),
        ] {
            assert_eq!(parts("GET", target), (authority, path, query), "{target}");
        }
        for target in ["*", "http://example.org", "/a"] {
            assert_eq!(parts("OPTIONS", target).1, if target == "/a" { "/a" } else { "*" });
        }
        assert_eq!(parts("OPTIONS", "http://example.org/"), (Some("example.org"), "/", None));
        assert_eq!(parts("OPTIONS", "http://example.org?"), (Some("example.org"), "/", Some("")));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        let limits = Limits { target_bytes: 40, ..Limits::default() };
        for target in [
            "",
            "*",
            "a",
            "example.org:443",
            "ftp://example.org/",
            "http:/example.org/",
            "http:///a",
            "http://a@b/",
            "://a/",
            "http://a:b/",
            "http://a b/",
            "/a#b",
            "#",
            "/\u{e9}",
            "http://a\\b/",
            "**",
            "?a",
        ] {
            let refusal = Target::parse("GET", target, &limits).expect_err(target);
            assert_eq!(refusal.status(), 400, "{target}");
        }
        let long = format!("/{}", "a".repeat(39));
        assert!(Target::parse("GET", &long, &limits).is_ok());
        assert_eq!(Target::parse("GET", &format!("{long}a"), &limits), Err(Refusal::TargetTooLong));
        assert_eq!(Target::parse("OPTIONS", "*?", &limits).expect_err("no target").status(), 400);
    }

    #[test]
    fn methods_that_are_not_served_are_refused() {
        let limits = Limits::default();
        for method in ["CONNECT", "TRACE"] {
            assert_eq!(Target::parse(method, "/", &limits), Err(Refusal::Method));
        }
        let long = "M".repeat(METHOD_MAX);
        assert!(Target::parse(&long, "/", &limits).is_ok());
        assert_eq!(Target::parse(&format!("{long}M"), "/", &limits).expect_err("too long").status(), 501);
        // Case matters: this is another method.
        assert!(Target::parse("connect", "/", &limits).is_ok());
    }
}
