use super::*;
use crate::http::body::Framing;
use crate::http::field::Room;
use crate::http::head::{Limits, Parsed};
use crate::http::response;

const ALL: [Refusal; 16] = [
    Refusal::BadRequest("why"),
    Refusal::Forbidden,
    Refusal::Method,
    Refusal::Timeout,
    Refusal::BodyTooLarge,
    Refusal::TargetTooLong,
    Refusal::ExpectationFailed,
    Refusal::Misdirected,
    Refusal::TooManyRequests,
    Refusal::HeadTooLarge,
    Refusal::Internal,
    Refusal::NotImplemented("why"),
    Refusal::BadGateway("a secret"),
    Refusal::Unavailable,
    Refusal::GatewayTimeout,
    Refusal::Version,
];

#[test]
fn each_refusal_is_a_response_with_the_length_it_says() {
    for refusal in ALL {
        for (keep_alive, is_head) in [(false, false), (true, false), (true, true)] {
            let answer =
                Answer { keep_alive, is_head, request_id: "id-1", date: b"Thu, 01 Jan 1970 00:00:00 GMT" };
            let mut out = b"before".to_vec();
            refusal.write(&answer, &mut out);
            let bytes = out.strip_prefix(b"before").expect("it is appended");
            let mut room = Room::new();
            let Ok(Parsed::Whole(response)) = response::parse(bytes, is_head, &Limits::default(), &mut room)
            else {
                panic!("{refusal:?}");
            };
            assert_eq!(response.status, refusal.status());
            assert_eq!(response.keep_alive, keep_alive && !refusal.must_close());
            let page = bytes.len() - response.head_len;
            if is_head {
                assert_eq!((response.framing, page), (Framing::None, 0));
                assert!(response.content_length > Some(100));
            } else {
                assert_eq!(response.framing, Framing::Length(page as u64));
                let page = String::from_utf8_lossy(&bytes[response.head_len..]);
                assert!(page.contains(refusal.reason()) && page.contains("request id-1"), "{page}");
                assert!(!page.contains("secret"), "what is wrong behind us is nothing to a client");
            }
            assert_eq!(response.fields.get("x-request-id"), Some(&b"id-1"[..]));
            assert_eq!(response.fields.get("date"), Some(&b"Thu, 01 Jan 1970 00:00:00 GMT"[..]));
            assert_eq!(response.fields.get("allow").is_some(), refusal == Refusal::Method);
        }
    }
}

#[test]
fn an_id_that_is_markup_or_another_field_is_not_written() {
    for request_id in ["", "<script>", "a\r\nSet-Cookie: b"] {
        let mut out = Vec::new();
        Refusal::Forbidden.write(&Answer { request_id, ..Answer::default() }, &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert!(
            !text.contains("script") && !text.contains("Cookie") && !text.contains("X-Request-Id"),
            "{text}"
        );
        assert!(!text.contains("Date:"));
    }
}

#[test]
fn errors_say_what_happened() {
    assert_eq!(
        Refusal::BadRequest("there is no Host").to_string(),
        "the request is malformed: there is no Host"
    );
    assert!(Refusal::BadGateway("a secret").to_string().ends_with("a secret"), "logs have it");
}
