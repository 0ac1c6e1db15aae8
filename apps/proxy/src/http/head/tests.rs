use super::*;

#[test]
fn a_length_is_a_number_that_is_given_once() {
    for (value, number) in [("0", 0), ("5", 5), ("007", 7), ("18446744073709551615", u64::MAX)] {
        let mut length = Length::default();
        assert_eq!(length.read_length(value.as_bytes()), Ok(()));
        assert_eq!(length.framing(1), Ok(Some(Framing::Length(number))));
        // Also an equal one.
        assert!(length.read_length(value.as_bytes()).is_err(), "{value}");
    }
    for value in [
        "",
        "+5",
        "-5",
        "5, 5",
        "5,",
        "5 5",
        "0x5",
        "5.0",
        "5;",
        "18446744073709551616",
        "99999999999999999999",
        "\u{665}",
    ] {
        assert!(Length::default().read_length(value.as_bytes()).is_err(), "{value}");
    }
}

#[test]
fn chunked_alone_is_taken_and_what_is_not_known_is_told_from_what_is_wrong() {
    for value in ["chunked", "Chunked", "CHUNKED"] {
        let mut length = Length::default();
        assert_eq!(length.read_codings(value.as_bytes()), Ok(()));
        assert_eq!(length.framing(1), Ok(Some(Framing::Chunked)));
        assert!(length.framing(0).is_err(), "HTTP/1.0 has none");
        assert!(length.read_codings(b"chunked").is_err(), "there are two");
    }
    for value in [
        "",
        ",",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "identity",
        "identity, chunked",
        "chunked;x",
        "chunked x",
        "chunked, gzip",
        "chunked, gzip, chunked",
        "\"chunked\"",
        "gzip;q=1",
        "chu\u{212a}ed",
        "chunked\u{b}",
    ] {
        let fault = Length::default().read_codings(value.as_bytes());
        assert!(matches!(fault, Err(Fault::Malformed(_))), "{value}: {fault:?}");
    }
    for value in ["gzip", "xchunked", "gzip, chunked", "deflate , br, chunked", "chunked-"] {
        let fault = Length::default().read_codings(value.as_bytes());
        assert!(matches!(fault, Err(Fault::Coding(_))), "{value}: {fault:?}");
    }
}

#[test]
fn a_length_and_chunks_exclude_each_other() {
    let mut length = Length::default();
    assert_eq!(length.framing(1), Ok(None));
    let _ = length.read_length(b"5");
    let _ = length.read_codings(b"chunked");
    assert!(matches!(length.framing(1), Err(Fault::Malformed(_))));
    assert!(matches!(length.framing(0), Err(Fault::Malformed(_))));
}

#[test]
fn a_few_empty_lines_are_counted() {
    for (bytes, expected) in [
        ("", Ok(None)),
        ("\r", Ok(None)),
        ("\r\n", Ok(None)),
        ("\r\n\r\n\r\n\r\n", Ok(None)),
        ("G", Ok(Some(0))),
        ("\r\nG", Ok(Some(2))),
        ("\r\n\r\n\r\n\r\nG", Ok(Some(8))),
    ] {
        assert_eq!(empty_lines(bytes.as_bytes()), expected, "{bytes:?}");
    }
    for bytes in ["\n", "\nG", "\rG", "\r\n\n", "\r\r\n", "\r\n\r\n\r\n\r\n\r\n"] {
        assert!(empty_lines(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_bare_lf_is_seen_before_the_head_is_whole() {
    for (bytes, is_right) in
        [("", true), ("a", true), ("a\r\nb\r\n", true), ("\n", false), ("a\n", false), ("a\r\n\nb", false)]
    {
        assert_eq!(check_beginning(bytes.as_bytes()).is_ok(), is_right, "{bytes:?}");
    }
}
