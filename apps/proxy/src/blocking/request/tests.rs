use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::*;

const SOON: Duration = Duration::from_millis(200);

/// What comes of bytes that arrive in pieces, after which the client says no more.
fn heard<T>(pieces: &[&[u8]], then: impl FnOnce(&mut Input<'_>) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let connection = Connection::Tcp(listener.accept().unwrap().0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for piece in pieces {
                let _ = client.write_all(piece);
                std::thread::sleep(Duration::from_millis(2));
            }
            client.shutdown(std::net::Shutdown::Write).unwrap();
            // It stays open, so that nothing is lost, until the other end is closed.
            let _ = client.read(&mut [0]);
        });
        let result = then(&mut Input::new(&connection));
        connection.shut_down();
        result
    })
}

fn status(text: &str) -> u16 {
    heard(&[text.as_bytes()], |input| match input.request(SOON) {
        Ok(Some(_)) => 200,
        Ok(None) => 0,
        Err(Refused(status, _)) => status,
    })
}

#[test]
fn heads_that_could_be_read_in_two_ways_are_refused() {
    let cases: [(&str, u16); 23] = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("", 0),
        ("GET / HT", 0),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("\x16\x03\x01\x02\x00\x01", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", 200),
    ];
    for (text, expected) in cases {
        assert_eq!(status(text), expected, "{text:?}");
    }
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 * HEAD_BYTES))), 431);
    let many = "X: y\r\n".repeat(FIELDS + 1);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431);
}

fn whole(input: &mut Input<'_>) -> io::Result<(Request, Vec<u8>)> {
    let mut request = input.request(SOON).unwrap().expect("a request");
    let (mut body, mut piece) = (Vec::new(), [0; 7]);
    loop {
        match input.body(&mut request.framing, &mut piece, SOON)? {
            0 => return Ok((request, body)),
            n => body.extend_from_slice(&piece[..n]),
        }
    }
}

#[test]
fn bodies_end_where_they_say_however_they_come() {
    let text = b"POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x=y\r\nhello\r\n0A\r\n, 10 bytes\r\n0\r\nTrailer: x\r\n\r\n\
        POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\nabcGET / HTTP/1.0\r\n\r\n";
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    for pieces in [bytes, text.chunks(11).collect(), vec![text.as_slice()]] {
        heard(&pieces, |input| {
            let (request, body) = whole(input).unwrap();
            assert_eq!(
                (request.path(), request.query(), body.as_slice()),
                ("/a", "b", &b"hello, 10 bytes"[..])
            );
            assert!(request.keeps_alive());
            let (request, body) = whole(input).unwrap();
            assert_eq!((request.query(), body.as_slice()), ("", &b"abc"[..]));
            assert!(!request.keeps_alive());
            let (request, body) = whole(input).unwrap();
            assert!(body.is_empty() && !request.keeps_alive() && request.get("Host").is_none());
        });
    }
}

#[test]
fn bodies_that_are_none_are_errors() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bad = [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\nx",
        "1\nx",
        "1\r\nxy\r\n0\r\n\r\n",
        "11111111111111111\r\n",
        ";\r\n",
        "1;a\rb\r\nx\r\n0\r\n\r\n",
    ];
    for body in bad {
        let error = heard(&[head.as_bytes(), body.as_bytes()], |input| whole(input).unwrap_err());
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{body:?}: {error}");
    }
    let error = heard(&[head.as_bytes(), b"5\r\nab"], |input| whole(input).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
