//! The page that a visitor sees, and what belongs to it.

use std::fmt::Write as _;

use crate::blocking::Request;

/// Its colours.
pub const STYLE: &str = include_str!("style.css");
/// What it does when it is there.
pub const SCRIPT: &str = include_str!("script.js");
/// What it may load: what this server has.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// What a proxy says of a visitor, and what that means.
const SAID: [(&str, &str); 5] = [
    ("X-Forwarded-Proto", "the visitor's protocol"),
    ("X-Forwarded-For", "the visitor's address"),
    ("X-Forwarded-Host", "the host that was asked for"),
    ("X-Request-Id", "the request's name in logs"),
    ("Via", "who stands between"),
];

/// The page.
pub fn front(request: &Request) -> String {
    let mut said = String::new();
    for (name, meaning) in SAID {
        let values: Vec<_> = request.all(name).map(String::from_utf8_lossy).collect();
        let value = match &*values.join(", ") {
            "" => "<span class=\"none\">not said</span>".to_owned(),
            value => format!("<code>{}</code>", escape(value)),
        };
        let _ = writeln!(said, "<div><dt>{name}<small>{meaning}</small></dt><dd>{value}</dd></div>");
    }
    let mut fields = String::new();
    for (name, value) in &request.fields {
        let value = String::from_utf8_lossy(value);
        let _ =
            writeln!(fields, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(&value));
    }
    let how = match request.get("X-Forwarded-Proto") {
        Some("https") => {
            "You are connected by HTTPS to a proxy, which has decrypted your request and passed it on to this server in plain \
             HTTP. How you and the proxy agreed on keys, your browser can tell; this server only sees what follows."
        }
        Some(_) => "A proxy has passed your request on to this server. It did not come by HTTPS.",
        None => "Your request came straight to this server: no proxy has said anything about you.",
    };
    let line = format!("{} {} HTTP/1.{}", request.method, request.target, request.minor);
    let page = include_str!("page.html").replace("<!--how-->", how).replace("<!--line-->", &escape(&line));
    // Last, so that nothing is looked for in what a client has sent.
    let (before, after) = page.split_once("<!--said-->").unwrap_or((&page, ""));
    let (between, after) = after.split_once("<!--fields-->").unwrap_or((after, ""));
    [before, &said, between, &fields, after].concat()
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push('\u{FFFD}'),
            c => safe.push(c),
        }
    }
    safe
}
