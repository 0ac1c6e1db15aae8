//! Requests of the admin address. One a connection.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Sources;
use crate::blocking::{Connection, Input, Refused, Request};
use crate::metrics::Prometheus;

/// For a request, and for a piece of its response.
const PATIENCE: Duration = Duration::from_secs(10);
const RELOAD: &str = "/reload";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The page: one file, that loads nothing but numbers.
pub const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/style.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>\n",
    include_str!("page/plot.js"),
    include_str!("page/status.js"),
    "</script>\n</body>\n</html>\n",
);

/// What it may do: run what is in it, and ask here.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct Answer {
    status: u16,
    media: &'static str,
    body: String,
}

/// Answers a request, if one comes.
pub fn serve(connection: &Connection, sources: &Sources, started: Instant) {
    let mut is_reload = false;
    let answer = match Input::new(connection).request(PATIENCE) {
        Ok(Some(request)) => {
            is_reload = request.path() == RELOAD;
            answer(&request, sources, started)
        }
        Ok(None) => return,
        Err(refused) => Err(refused),
    };
    let answer = answer.unwrap_or_else(|Refused(status, why)| Answer {
        status,
        media: TEXT,
        body: format!("{why}\n"),
    });
    let Answer { status, media, body } = answer;
    let allow = match (status, is_reload) {
        (405, false) => "Allow: GET\r\n",
        (405, true) => "Allow: POST\r\n",
        _ => "",
    };
    let response = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\n\
         Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Connection: close\r\n\r\n{body}",
        reason(status),
        body.len(),
    );
    if connection.set_timeouts(PATIENCE, PATIENCE).is_ok() {
        // If it fails, the client has gone.
        let _ = connection.send(response.as_bytes());
    }
}

fn answer(request: &Request, sources: &Sources, started: Instant) -> Result<Answer, Refused> {
    // A page of somebody else may be made to ask here under its own name, by a DNS server that gives this address.
    if !request.get("Host").is_some_and(is_local) {
        return Err(Refused(421, "this is not the host that was asked for: use localhost or 127.0.0.1"));
    }
    if request.path() == RELOAD {
        return reload(request, sources);
    }
    if request.method != "GET" {
        return Err(Refused(405, "here is only something to GET"));
    }
    let ok = |media, body| Ok(Answer { status: 200, media, body });
    match request.path() {
        "/" => ok("text/html; charset=utf-8", PAGE.to_owned()),
        "/status.json" => ok(JSON, format!("{}\n", sources.status(started))),
        "/metrics" => ok(Prometheus::MEDIA_TYPE, sources.metrics()),
        "/healthz" if sources.is_draining() => Err(Refused(503, "draining")),
        "/healthz" => ok(TEXT, "ok\n".to_owned()),
        _ => Err(Refused(404, "here are /, /status.json, /metrics, /healthz and /reload")),
    }
}

/// A page of somebody else may send a POST here, but not with a field of ours.
fn reload(request: &Request, sources: &Sources) -> Result<Answer, Refused> {
    if request.method != "POST" {
        return Err(Refused(405, "POST, with the field Warpdrive: reload"));
    }
    if request.get("Warpdrive") != Some("reload") {
        return Err(Refused(403, "the field Warpdrive: reload is missing"));
    }
    let Some(load) = &sources.load else { return Err(Refused(404, "nothing can be loaded here")) };
    let (status, text) = match load() {
        Ok(done) => (200, done),
        Err(why) => (409, why),
    };
    Ok(Answer { status, media: TEXT, body: format!("{text}\n") })
}

/// Whether a Host is a name of this machine that no DNS server was asked for.
fn is_local(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an address are within brackets.
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let address: Option<IpAddr> = match bare {
        Some(v6) => v6.parse().ok().filter(IpAddr::is_ipv6),
        None => name.parse().ok().filter(IpAddr::is_ipv4),
    };
    port.bytes().all(|b| b.is_ascii_digit())
        && (name.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback()))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_few() {
        for host in [
            "localhost",
            "LocalHost:9443",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.0.0.2",
            "[::1]",
            "[::1]:80",
            "localhost:",
        ] {
            assert!(is_local(host), "{host}");
        }
        let others = [
            "",
            "example.org",
            "localhost.example.org",
            "a.localhost",
            "127.0.0.1.example.org",
            "127.1",
            "10.0.0.1:80",
            "[::2]",
            "::1",
            "[127.0.0.1]",
            "localhost:x",
            "localhost:80:80",
            "0.0.0.0",
            "[::1",
            "localhost ",
        ];
        for host in others {
            assert!(!is_local(host), "{host}");
        }
    }
}
