//! What the TOML reader and serde say, in words for people: what is expected, what stands there, and what to write.

use std::ops::Range;

use super::STAGES;
use crate::diag::{Diagnostic, known_names};

/// An error of the grammar.
#[must_use]
pub fn from_syntax(e: &toml::de::Error, text: &str) -> Diagnostic {
    let span = e.span().unwrap_or(0..0);
    let message = e.message().replace(['\n', '`'], " ");
    let nothing_there =
        text.get(span.start..).is_none_or(|t| t.trim_start_matches(' ').starts_with(['\n', '\r']))
            || span.start >= text.len();
    let says = |part: &str| message.contains(part);
    let (what, help) = if says("duplicate key") {
        return Diagnostic::new(span, "duplicate key").help("give each key and each table once");
    } else if says("string values must be quoted") && nothing_there {
        ("the value is missing", "key = value")
    } else if says("string values must be quoted") {
        ("text without quotes", "text stands in quotes: \"…\"; numbers, true and false without")
    } else if says("basic string") || says("literal string") {
        (
            "the text is not closed, or has a character that needs a \\",
            "it ends with the quote it began with, on its line",
        )
    } else if says("leading zero") {
        ("a zero in front of a number", "the number without it; hexadecimal numbers begin with 0x")
    } else if says("no value") {
        ("a key without a value", "key = value")
    } else if says("unclosed array") {
        ("the list is not closed", "close it with ]")
    } else if says("unclosed table") {
        ("the name of the table is not closed", "[NAME] or [[NAME]]")
    } else if says("unclosed inline table") {
        ("the table is not closed", "close it with }")
    } else {
        (message.trim(), "the grammar of TOML is at https://toml.io")
    };
    Diagnostic::new(span, format!("wrong TOML: {what}")).help(help)
}

/// An error of a value: of the wrong type, unknown, or missing.
#[must_use]
pub fn from_toml(e: &toml::de::Error, otherwise: Range<usize>) -> Diagnostic {
    let message = e.message();
    let span = e.span().unwrap_or(otherwise);
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let after = |prefix: &str| message.strip_prefix(prefix)?.rsplit_once(", expected ");
    if let (Some((written, expected)), true) = (quoted.split_first(), message.starts_with("unknown field")) {
        return unknown_key(span, written, expected);
    }
    if let (Some((written, possible)), true) = (quoted.split_first(), message.starts_with("unknown variant"))
    {
        let help = known_names(written, "possible", possible.iter().copied());
        return Diagnostic::new(span, format!("{written:?} is not known here")).help(help);
    }
    if let (Some(name), true) = (quoted.first(), message.starts_with("missing field")) {
        return Diagnostic::new(span, format!("the key {name:?} is missing"));
    }
    if let Some((given, expected)) = after("invalid value: ") {
        let value = given.split('`').nth(1).unwrap_or(given);
        return Diagnostic::new(span, format!("{value} is out of range")).help(range(expected));
    }
    if let Some((given, expected)) = after("invalid type: ") {
        return wrong_type(span, given, expected);
    }
    // Of the standard library, for an address of a listener.
    if message == "invalid socket address syntax" {
        let help = "an IP address and a port: \"127.0.0.1:8443\", \"[::1]:8443\"";
        return Diagnostic::new(span, "this is not an address with a port").help(help);
    }
    if message == "wanted string or table" {
        return wrong_type(span, "something else", "string");
    }
    // The "expecting" of an untagged enum is all that is said.
    let help = if message.contains("\"auto\"") {
        "core = 1 or core = \"auto\""
    } else {
        "for example \"udp\" or 53"
    };
    match message.starts_with("a ") {
        true => Diagnostic::new(span, format!("{message} is expected here")).help(help),
        false => Diagnostic::new(span, message.replace('\n', ", ")),
    }
}

fn unknown_key(span: Range<usize>, written: &str, expected: &[&str]) -> Diagnostic {
    let d = Diagnostic::new(span, format!("unknown key {written:?}"));
    let in_a_stage = expected.iter().any(|e| STAGES.contains(e));
    if in_a_stage && STAGES.contains(&written) {
        return d.help("each stage is a table of its own: { rx = … }, { tx = … }");
    }
    d.help(known_names(written, "keys", expected.iter().copied()))
}

fn range(expected: &str) -> String {
    let most = match expected {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        _ => return "a whole number, 0 or more".to_owned(),
    };
    format!("a whole number, 0 or more, at most {most}")
}

fn wrong_type(span: Range<usize>, given: &str, expected: &str) -> Diagnostic {
    let (what, help) = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => {
            ("a whole number", "a number without quotes and without a point")
        }
        "a boolean" => ("true or false", "true or false, without quotes"),
        "a sequence" => ("a list", "[ … ]"),
        "a status or a list of statuses" => (expected, "expect = 200, or expect = [200, 204]"),
        e if e.contains("string") => ("text", "text stands in quotes: \"…\""),
        e if e.starts_with("struct") || e.contains("map") => {
            return Diagnostic::new(span, format!("a table is expected here, not {}", plain(given)));
        }
        other => (other, "see the examples in configs/"),
    };
    Diagnostic::new(span, format!("{what} is expected here, not {}", plain(given))).help(help)
}

/// serde's words for what it found.
fn plain(given: &str) -> String {
    match given {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        other => other
            .replace('`', "")
            .replacen("string ", "the text ", 1)
            .replacen("integer ", "", 1)
            .replacen("floating point ", "", 1)
            .replacen("boolean ", "", 1),
    }
}
