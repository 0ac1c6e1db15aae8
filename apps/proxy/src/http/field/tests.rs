use super::*;

#[test]
fn names_are_known_in_any_case_and_only_as_a_whole() {
    for (name, kind) in [
        ("host", Name::Host),
        ("te", Name::Te),
        ("connection", Name::Connection),
        ("keep-alive", Name::Hop),
        ("proxy-connection", Name::Hop),
        ("proxy-authenticate", Name::Hop),
        ("proxy-authorization", Name::Hop),
        ("proxy-authentication-info", Name::Hop),
        ("http2-settings", Name::Hop),
        ("transfer-encoding", Name::TransferEncoding),
        ("content-length", Name::ContentLength),
        ("upgrade", Name::Upgrade),
        ("trailer", Name::Trailer),
        ("expect", Name::Expect),
        ("forwarded", Name::Forwarded),
        ("x-forwarded-for", Name::ForwardedFor),
        ("x-forwarded-proto", Name::ForwardedOther),
        ("x-forwarded-host", Name::ForwardedOther),
        ("x-forwarded-client-cert", Name::ForwardedOther),
        ("x-real-ip", Name::ForwardedOther),
        ("x-request-id", Name::RequestId),
        ("accept-encoding", Name::AcceptEncoding),
        ("accept-ranges", Name::AcceptRanges),
        ("cache-control", Name::CacheControl),
        ("content-encoding", Name::ContentEncoding),
        ("content-type", Name::ContentType),
        ("content-md5", Name::Digest),
        ("digest", Name::Digest),
        ("content-digest", Name::Digest),
        ("repr-digest", Name::Digest),
        ("date", Name::Date),
        ("etag", Name::Etag),
        ("vary", Name::Vary),
    ] {
        assert_eq!(Name::of(name.as_bytes()), kind, "{name}");
        assert_eq!(Name::of(name.to_uppercase().as_bytes()), kind, "{name}");
        assert_eq!(Name::of(&name.as_bytes()[1..]), Name::Other, "{name}");
        let longer = if name.starts_with("x-forwarded-") { Name::ForwardedOther } else { Name::Other };
        assert_eq!(Name::of(format!("{name}s").as_bytes()), longer, "{name}");
        // Each character counts, and none is another one with a bit set.
        for i in 0..name.len() {
            for other in (b'!'..=b'~').filter(|b| is_token(&[*b])) {
                let mut changed = name.as_bytes().to_vec();
                changed[i] = other;
                let is_same = changed.eq_ignore_ascii_case(name.as_bytes());
                let known = Name::of(&changed);
                assert!(known == kind || !is_same, "{name} {i} {}", other as char);
                let is_prefix = kind == Name::ForwardedOther && i >= 12;
                assert!(known != kind || is_same || is_prefix, "{name} {i} {}", other as char);
            }
        }
    }
    assert_eq!(Name::of(b"x-forwarded-"), Name::Other, "there is nothing behind it");
}

#[test]
fn a_name_with_an_underscore_is_told() {
    for (name, has) in [("a_b", true), ("_", true), ("x-forwarded_for", true), ("a-b", false), ("", false)] {
        assert_eq!(has_underscore(name.as_bytes()), has, "{name}");
    }
}

#[test]
fn fields_that_frame_route_or_ask_may_not_trail() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Host",
        "Connection",
        "Trailer",
        "TE",
        "Upgrade",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Cache-Control",
        "If-Match",
        "Content-Encoding",
        "Content-Type",
        "Content-Range",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Forwarded",
        "Via",
        "X-Request-Id",
        "X_Custom",
        "Proxy-Authorization",
        "Vary",
        "Date",
        "Range",
    ] {
        assert!(!may_trail(name), "{name}");
    }
    for name in ["Server-Timing", "grpc-status", "Repr-Digest", "ETag", "X-Checksum", "iffy"] {
        assert!(may_trail(name), "{name}");
    }
}

#[test]
fn lists_have_elements_between_commas() {
    let list: Vec<_> = elements(b" a ,, b;c=d,\te\t,").collect();
    assert_eq!(list, [&b"a"[..], b"b;c=d", b"e"]);
    assert_eq!(elements(b"").count() + elements(b" , ").count(), 0);
    for (value, is_there) in [
        ("no-transform", true),
        ("max-age=0, No-Transform", true),
        ("no-transform ;x", true),
        ("no-transforms", false),
    ] {
        assert_eq!(lists(value.as_bytes(), b"no-transform"), is_there, "{value}");
    }
}

#[test]
fn a_request_id_has_plain_characters_only() {
    let long = "a".repeat(REQUEST_ID_MAX);
    for id in [
        "1",
        "0190b6f0-7e6a-7cc3-98f4-5a5ad6b6a2d1",
        "Root=1-67891233-abcdef012345678912345678",
        "a+b/c=",
        &long,
    ] {
        assert_eq!(request_id(id.as_bytes()), Some(id));
    }
    for id in ["", "a b", "a,b", "<b>", "a\"", "a&b", "\u{e9}", "a\tb", &format!("{long}a")] {
        assert_eq!(request_id(id.as_bytes()), None, "{id}");
    }
}

#[test]
fn marked_fields_are_left_out_and_the_others_copied_as_they_came() {
    let text = b"GET / HTTP/1.1\r\nA: 1\r\nB:\t 2 \r\nC:\r\nD: 4\r\n\r\n";
    let mut list = [httparse::EMPTY_HEADER; 4];
    let _ = httparse::Request::new(&mut list).parse(text).expect("a head");
    let fields = Fields::new(text, &list);
    let lines = [&b"A: 1\r\n"[..], b"B:\t 2 \r\n", b"C:\r\n", b"D: 4\r\n"];
    for set in 0..16_u32 {
        let mut skip = Marks::default();
        (0..4).filter(|i| set >> i & 1 == 1).for_each(|i| skip.set(i));
        let mut out = Vec::new();
        fields.copy_except(skip, &mut out);
        let expected: Vec<_> = (0..4).filter(|i| set >> i & 1 == 0).flat_map(|i| lines[i]).copied().collect();
        assert_eq!(out, expected, "{set:b}");
        assert_eq!(fields.marked(skip).count(), set.count_ones() as usize);
    }
    assert_eq!(fields.get("b"), Some(&b"2"[..]));
    assert_eq!(fields.get("x"), None);
}

#[test]
fn as_many_fields_as_there_is_room_for_are_copied() {
    let text = format!("GET / HTTP/1.1\r\n{}\r\n", "A: 1\r\n".repeat(MAX_FIELDS));
    let mut list = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let _ = httparse::Request::new(&mut list).parse(text.as_bytes()).expect("a head");
    let fields = Fields::new(text.as_bytes(), &list);
    let mut skip = Marks::default();
    let mut out = Vec::new();
    fields.copy_except(skip, &mut out);
    assert_eq!(out.len(), 6 * MAX_FIELDS);
    skip.set(MAX_FIELDS - 1);
    out.clear();
    fields.copy_except(skip, &mut out);
    assert_eq!(out.len(), 6 * (MAX_FIELDS - 1));
    (0..MAX_FIELDS).for_each(|i| skip.set(i));
    out.clear();
    fields.copy_except(skip, &mut out);
    assert_eq!(out, b"");
}

#[test]
fn numbers_are_written_in_decimal() {
    for number in [0, 9, 10, 12_345_678_901, u64::MAX] {
        let mut out = Vec::new();
        put_decimal(number, &mut out);
        assert_eq!(out, number.to_string().as_bytes());
    }
}
