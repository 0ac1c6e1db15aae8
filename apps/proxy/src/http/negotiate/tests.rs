use super::*;
use crate::http::field::Room;
use crate::http::head::{Limits, Parsed};
use crate::http::response;

#[test]
fn gzip_is_accepted_where_it_is_named_or_anything_is() {
    for value in [
        "gzip",
        "GZIP",
        "x-gzip",
        "gzip, deflate, br, zstd",
        "br;q=1.0, gzip;q=0.8, *;q=0.1",
        "gzip;q=1",
        "gzip;q=1.000",
        "gzip;q=0.001",
        "gzip ; q=0.5",
        "gzip;Q=0.5",
        "*",
        "*;q=0.1",
        "deflate, *",
        "identity;q=0, gzip",
        ",gzip,",
        "*;q=0, gzip",
        "identity, gzip",
        "gzip;q=1.",
        "deflate;q=0, gzip",
    ] {
        assert!(accepts_gzip(value.as_bytes()), "{value}");
    }
}

#[test]
fn gzip_is_refused_by_weight_by_silence_and_by_what_is_malformed() {
    for value in [
        "",
        "identity",
        "deflate, br",
        "gzip;q=0",
        "gzip;q=0.",
        "gzip;q=0.0",
        "gzip;q=0.000",
        "*;q=0",
        "gzip;q=0, *",
        "x-gzip;q=0, *;q=1",
        "gzip, gzip;q=0",
        "gzip;q=0, gzip",
        "gzip;",
        "gzip;q",
        "gzip;q=",
        "gzip;q=2",
        "gzip;q=1.1",
        "gzip;q=0.0001",
        "gzip;q=1.0000",
        "gzip;q=-1",
        "gzip;q=0,5",
        "gzip;x=1",
        "gzip;q=0.5;x=1",
        "gzip;q=a",
        "gzip; q =1",
        "gzip, br;q=7",
        "gzi",
        "gzipp",
        "gzip deflate",
        "gzip;q=0.a",
        "gzip;q=10",
    ] {
        assert!(!accepts_gzip(value.as_bytes()), "{value}");
    }
}

#[test]
fn fields_add_up() {
    let reads = |values: &[&str]| {
        let mut accept = AcceptEncoding::default();
        values.iter().for_each(|value| accept.read(value.as_bytes()));
        accept.takes_gzip()
    };
    assert!(!reads(&[]));
    assert!(reads(&["br", "gzip"]));
    assert!(reads(&["*;q=0", "gzip"]));
    assert!(!reads(&["*", "gzip;q=0"]));
    assert!(!reads(&["gzip", "br;q=x"]));
}

#[test]
fn media_types_match_by_name_kind_and_suffix() {
    let types =
        Types::parse(&["text/*", "Application/JSON", "application/*+xml", " image/svg+xml "]).expect("types");
    for value in [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "text/event-stream",
        "application/json",
        "application/JSON ;x=\"a,b\"",
        "application/atom+xml",
        "application/rss+XML;charset=utf-8",
        "image/svg+xml",
    ] {
        assert!(types.matches(value.as_bytes()), "{value}");
    }
    for value in [
        "",
        "text",
        "text/",
        "textual/html",
        "image/png",
        "application/jsonp",
        "application/xml",
        "application/+xml",
        "application/atom+xmlx",
        "video/x+xml",
        ";text/html",
        "image/svg+xml2",
        "application/jso",
        "application/json, text/html",
    ] {
        assert!(!types.matches(value.as_bytes()), "{value}");
    }
    assert!(Types::parse(&["*/*"]).expect("any").matches(b"a/b"));
    assert!(!Types::parse(&["*/*"]).expect("any").matches(b""));
    assert!(!Types::default().matches(b"text/html"));
    assert_eq!(media_type(b" Text/HTML ; a=b"), b"Text/HTML");
}

#[test]
fn an_entry_that_is_no_media_type_is_named() {
    for entry in [
        "",
        "text",
        "text/",
        "/html",
        "*",
        "*/html",
        "te*t/html",
        "text/h*",
        "text/html; a=b",
        "a/b/c",
        "text/*xml",
        "text /x",
        "text/*+",
        "a/*+*",
    ] {
        let wrong = Types::parse(&["text/html", entry]).expect_err(entry);
        assert!(wrong.to_string().contains(&format!("`{entry}`")), "{wrong}");
    }
}

fn decide(accepts_gzip: bool, is_head: bool, head: &str) -> Decision {
    let compression = Compression { types: Types::parse(&["text/*"]).expect("types"), min_bytes: 1000 };
    let mut room = Room::new();
    match response::parse(head.as_bytes(), is_head, &Limits::default(), &mut room) {
        Ok(Parsed::Whole(response)) => compression.decide(accepts_gzip, is_head, &response),
        other => panic!("{head}: {other:?}"),
    }
}

#[test]
fn long_texts_are_compressed_for_who_accepts_it() {
    let both = Decision { gzip: true, vary: true };
    let vary = Decision { gzip: false, vary: true };
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: identity\r\n\r\n",
    ] {
        assert_eq!(decide(true, false, head), both, "{head}");
        assert_eq!(decide(false, false, head), vary, "{head}");
        assert_eq!(decide(true, true, head), vary, "{head}");
    }
}

#[test]
fn what_is_short_coded_partial_or_to_stay_is_not_compressed() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: br\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: identity, gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: public, no-transform\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Type: text/html\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\n\r\n",
        "HTTP/1.1 205 Reset Content\r\nContent-Type: text/html\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Type: text/html\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nContent-Type: text/html\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\n\r\n",
    ] {
        assert_eq!(decide(true, false, head), Decision::default(), "{head}");
    }
}
