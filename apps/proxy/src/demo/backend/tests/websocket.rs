use super::*;

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xFFFF => bytes.extend([&[0x80 | 126][..], &(len as u16).to_be_bytes()].concat()),
        len => bytes.extend([&[0x80 | 127][..], &(len as u64).to_be_bytes()].concat()),
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

fn websocket(backend: &DemoBackend) -> Client {
    let mut client = Client::to(backend);
    let fields = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = client.send(format!("GET /websocket HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).answer(false);
    assert_eq!((answer.status, answer.field("Upgrade")), (101, Some("websocket")));
    assert_eq!(answer.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

#[test]
fn websockets_give_frames_back_until_they_are_closed() {
    let backend = DemoBackend::start().unwrap();
    let mut client = websocket(&backend);
    client.send(frame(0x81, b"hello"));
    assert_eq!(client.exactly(7), b"\x81\x05hello");
    // A message in three frames, with a ping between them.
    client.send([frame(0x02, b"a"), frame(0x89, b"p"), frame(0x00, b""), frame(0x80, &[b'b'; 126])].concat());
    assert_eq!(client.exactly(3 + 3 + 2 + 4), b"\x02\x01a\x8a\x01p\x00\x00\x80\x7e\x00\x7e");
    assert_eq!(client.exactly(126), [b'b'; 126]);
    let long: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    client.send(frame(0x82, &long));
    assert_eq!(client.exactly(10), b"\x82\x7f\0\0\0\0\0\x01\x86\xa0");
    assert_eq!(client.exactly(long.len()), long);
    client.send([frame(0x8A, b"nobody asked"), frame(0x88, b"\x03\xe8bye")].concat());
    assert_eq!(client.rest(), b"\x88\x02\x03\xe8");
}

#[test]
fn frames_against_the_rules_end_a_websocket_with_a_code() {
    let backend = DemoBackend::start().unwrap();
    let protocol: [&[u8]; 7] = [
        b"\x81\x01a",            // without a mask
        &frame(0xC1, b"a"),      // a reserved bit
        &frame(0x83, b"a"),      // an unknown kind
        &frame(0x80, b"a"),      // it continues nothing
        &frame(0x09, b"a"),      // a ping in pieces
        &frame(0x89, &[0; 126]), // a long ping
        &frame(0x88, b"\x03"),   // half a code
    ];
    for bytes in protocol {
        assert_eq!(websocket(&backend).send(bytes).rest(), b"\x88\x02\x03\xea", "{bytes:?}");
    }
    let mut within = websocket(&backend);
    within.send([frame(0x01, b"a"), frame(0x81, b"b")].concat());
    assert_eq!(within.rest(), b"\x01\x01a\x88\x02\x03\xea", "a message within a message");
    let long = b"\x82\xff\0\0\0\0\x01\0\0\x01";
    assert_eq!(websocket(&backend).send(long).rest(), b"\x88\x02\x03\xf1");
    for fields in [
        "",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n",
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    ] {
        let request = format!("GET /websocket HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let answer = Client::to(&backend).send(request).answer(false);
        assert_eq!((answer.status, answer.field("Sec-WebSocket-Version")), (426, Some("13")), "{fields}");
    }
    for key in ["dGhlIHNhbXBsZSBub25jZQ", "AAAA", "!"] {
        let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
        let request =
            format!("GET /websocket HTTP/1.1\r\nHost: a\r\n{fields}\r\nSec-WebSocket-Key: {key}\r\n\r\n");
        assert_eq!(Client::to(&backend).send(request).answer(false).status, 400, "{key}");
    }
}
