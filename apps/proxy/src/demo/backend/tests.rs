use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::*;

mod websocket;

/// A client, byte by byte.
struct Client(BufReader<TcpStream>);

#[derive(Debug)]
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| &**v)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    fn to(backend: &DemoBackend) -> Self {
        let stream = TcpStream::connect(backend.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
        self
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("no line: {line:?}")).to_owned()
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some((name, value)) => fields.push((name.to_owned(), value.to_owned())),
                None => return if line.is_empty() { fields } else { panic!("{line:?}") },
            }
        }
    }

    fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn chunk(&mut self) -> Vec<u8> {
        let len = usize::from_str_radix(&self.line(), 16).unwrap();
        let bytes = self.exactly(len);
        if len > 0 {
            assert_eq!(self.line(), "");
        }
        bytes
    }

    fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn head(&mut self) -> Answer {
        let line = self.line();
        let mut words = line.splitn(3, ' ');
        assert_eq!(words.next(), Some("HTTP/1.1"));
        let status = words.next().unwrap().parse().unwrap();
        Answer { status, fields: self.fields(), body: Vec::new(), trailers: Vec::new() }
    }

    fn answer(&mut self, is_head: bool) -> Answer {
        let mut answer = self.head();
        if is_head || matches!(answer.status, 204 | 304 | 101) {
            return answer;
        }
        if answer.field("Transfer-Encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    answer.trailers = self.fields();
                    return answer;
                }
                answer.body.extend(chunk);
            }
        }
        answer.body = match answer.field("Content-Length") {
            Some(length) => self.exactly(length.parse().unwrap()),
            None => self.rest(),
        };
        answer
    }

    fn get(&mut self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).answer(false)
    }
}

#[test]
fn the_front_page_says_what_came_and_nothing_that_a_client_sends_is_markup() {
    let backend = DemoBackend::start().unwrap();
    let mut client = Client::to(&backend);
    let plain = client.get("/");
    assert_eq!((plain.status, plain.field("Content-Type")), (200, Some("text/html; charset=utf-8")));
    assert!(plain.text().contains("no proxy has said anything") && plain.text().contains("not said"));
    let request = "GET /?<b> HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\nX-Request-Id: <i>\"'&\r\n\
        X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: <!--fields-->\r\n\r\n";
    let page = client.send(request).answer(false);
    let text = page.text();
    assert!(
        text.contains("connected by HTTPS") && text.contains("<code>&lt;i&gt;&quot;&#39;&amp;</code>"),
        "{text}"
    );
    assert!(
        text.contains("<code>192.0.2.1, &lt;!--fields--&gt;</code>")
            && text.contains("GET /?&lt;b&gt; HTTP/1.1")
    );
    assert!(!text.contains("<i>") && !text.contains("<b>") && !text.contains("<!--"), "{text}");
    for (path, media) in
        [("/style.css", "text/css; charset=utf-8"), ("/script.js", "text/javascript; charset=utf-8")]
    {
        assert!(text.contains(&format!("\"{path}\"")), "the page loads {path}");
        let answer = client.get(path);
        assert_eq!((answer.status, answer.field("Content-Type")), (200, Some(media)));
        assert!(answer.body.len() > 500);
    }
    // What it leads to is there, and it leads nowhere else.
    let links: Vec<&str> =
        text.split("href=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    assert!(
        links.len() > 6 && links.iter().all(|link| link.starts_with('/') || *link == "data:,"),
        "{links:?}"
    );
}

#[test]
fn the_request_as_json_is_what_was_sent() {
    let backend = DemoBackend::start().unwrap();
    let request = "DELETE /json?a=b HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\nx-a: \u{e9}\r\nContent-Length: 3\r\n\r\nabc";
    let bytes: Vec<u8> = request.chars().map(|c| c as u8).collect();
    let mut client = Client::to(&backend);
    let json: Value = serde_json::from_slice(&client.send(bytes).answer(false).body).unwrap();
    assert_eq!(
        (&json["method"], &json["target"], &json["body"]),
        (&"DELETE".into(), &"/json?a=b".into(), &3.into())
    );
    assert_eq!(json["fields"][1], serde_json::json!({ "name": "X-A", "value": "1" }));
    assert_eq!(json["fields"][2], serde_json::json!({ "name": "x-a", "value": "\u{FFFD}" }));
    assert_eq!(json["peer"], client.0.get_ref().local_addr().unwrap().to_string());
    assert_eq!(client.get("/json").status, 200, "the body was read over");
}

#[test]
fn large_is_of_the_length_that_was_asked_for_and_the_same_every_time() {
    let backend = DemoBackend::start().unwrap();
    let mut client = Client::to(&backend);
    for (query, len) in [("", 10 << 20), ("?bytes=0", 0), ("?bytes=1", 1), ("?x=y&bytes=200001", 200_001)] {
        let answer = client.get(&format!("/large{query}"));
        assert_eq!((answer.status, answer.body.len()), (200, len), "{query}");
        assert!(answer.body.iter().eq(text::period().iter().cycle().take(len)), "{query}");
    }
    for query in ["bytes=1073741825", "bytes=-1", "bytes=+1", "bytes=", "bytes", "bytes=0x10"] {
        assert_eq!(client.get(&format!("/large?{query}")).status, 400, "{query}");
    }
    // All of a GiB is promised, and not made for who does not take it.
    let head = client.send("HEAD /large?bytes=1073741824 HTTP/1.1\r\nHost: a\r\n\r\n").answer(true);
    assert_eq!(head.field("Content-Length"), Some("1073741824"));
}

#[test]
fn chunked_text_has_its_checksum_as_a_trailer() {
    let backend = DemoBackend::start().unwrap();
    let mut client = Client::to(&backend);
    let answer = client.get("/chunked");
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &answer.body);
    let hex: String = sum.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(answer.body.len(), 16_000);
    assert_eq!(answer.trailers, [("X-Body-Sha256".to_owned(), hex)]);
    let head = client.send("HEAD /chunked HTTP/1.1\r\nHost: a\r\n\r\n").answer(true);
    assert_eq!(
        (head.field("Transfer-Encoding"), head.field("Trailer")),
        (Some("chunked"), Some("X-Body-Sha256"))
    );
    let old = client.send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer(false);
    assert_eq!((old.field("Transfer-Encoding"), old.field("Connection")), (None, Some("close")));
    assert_eq!(old.body, answer.body);
}

#[test]
fn events_come_one_by_one_the_first_at_once() {
    let backend = DemoBackend::start().unwrap();
    let mut client = Client::to(&backend);
    let answer = client.get("/events?n=3&ms=10");
    assert_eq!(answer.field("Content-Type"), Some("text/event-stream"));
    let data: Vec<&str> = answer.text().lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data, [r#"{"event":1,"of":3}"#, r#"{"event":2,"of":3}"#, r#"{"event":3,"of":3}"#]);
    let start = Instant::now();
    client.send("GET /events?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n").head();
    assert_eq!(client.chunk(), b"id: 1\ndata: {\"event\":1,\"of\":30}\n\n");
    drop(backend);
    assert!(start.elapsed() < Duration::from_secs(20), "it ends although the second event is a minute away");
}

#[test]
fn delays_and_statuses_are_as_wished() {
    let backend = DemoBackend::start().unwrap();
    let mut client = Client::to(&backend);
    let start = Instant::now();
    assert_eq!(client.get("/delay?ms=150").text(), "after 150 ms\n");
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert_eq!(client.get("/delay?ms=60001").status, 400);
    for status in [200, 204, 302, 304, 418, 503, 599] {
        let answer = client.get(&format!("/status/{status}"));
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("Content-Length").is_some(), !matches!(status, 204 | 304), "{status}");
        assert_eq!(answer.field("Location").is_some(), status == 302, "{status}");
    }
    for status in ["199", "600", "20", "0200", "+200", "x", ""] {
        assert_eq!(client.get(&format!("/status/{status}")).status, 400, "{status}");
    }
    assert_eq!(client.get("/nothing").status, 404);
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let backend = DemoBackend::start().unwrap();
    let mut client = Client::to(&backend);
    let paths =
        ["/", "/style.css", "/script.js", "/large", "/chunked", "/events?n=1", "/delay?ms=0", "/status/200"];
    for path in paths {
        let get = client.get(path);
        let head = client.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).answer(true);
        // The page and the JSON say by which method they were asked for.
        let fields = |answer: Answer| {
            let fields = answer.fields.into_iter();
            (answer.status, fields.filter(|(n, _)| path != "/" || n != "Content-Length").collect::<Vec<_>>())
        };
        assert_eq!(fields(head), fields(get), "{path}");
    }
    for path in ["/json", "/echo"] {
        assert_eq!(client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n")).answer(true).status, 200);
    }
    assert_eq!(client.get("/json").status, 200, "nothing was left on the way");
}

#[test]
fn an_echo_comes_while_the_rest_is_still_to_be_sent() {
    let backend = DemoBackend::start().unwrap();
    let mut client = Client::to(&backend);
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: x/y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let head = client.head();
    assert_eq!((head.field("Transfer-Encoding"), head.field("Content-Type")), (Some("chunked"), Some("x/y")));
    assert_eq!(client.chunk(), b"abc");
    client.send("2;x\r\nde\r\n");
    assert_eq!(client.chunk(), b"de");
    client.send("0\r\nT: x\r\n\r\n");
    assert_eq!((client.chunk(), client.fields()), (vec![], vec![]));

    client.send("PUT /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n");
    assert_eq!((client.head().status, client.head().field("Content-Length")), (100, Some("6")));
    for part in ["abc", "def"] {
        client.send(part);
        assert_eq!(client.exactly(3), part.as_bytes());
    }
    let many = "x".repeat(300_000);
    let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{many}", many.len());
    assert_eq!(client.send(request).answer(false).text(), many);
    assert_eq!(client.send("POST /echo HTTP/1.1\r\nHost: a\r\n\r\n").answer(false).body, b"");
    assert_eq!(client.get("/echo").status, 405);
}

#[test]
fn requests_of_one_connection_are_answered_in_order_and_bodies_nobody_wants_are_read_over() {
    let backend = DemoBackend::start().unwrap();
    let mut client = Client::to(&backend);
    let one = "GET /status/201 HTTP/1.1\r\nHost: a\r\n\r\n";
    let two = "GET /status/202 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
    let three =
        "POST /status/203 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let four = "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.send([one, two, three, four].concat());
    let statuses = [(); 4].map(|()| client.answer(false).status);
    assert_eq!((statuses, client.rest()), ([201, 202, 405, 204], vec![]));
    // It is not asked for a body that is not wanted, and the connection is at an end.
    let mut client = Client::to(&backend);
    client.send("GET /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n");
    assert_eq!((client.answer(false).status, client.rest()), (404, vec![]));
    let mut client = Client::to(&backend);
    let long = "x".repeat(3 << 20);
    client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", long.len()));
    let _ = client.0.get_mut().write_all(long.as_bytes());
    assert_eq!((client.answer(false).status, client.rest()), (404, vec![]));
}

#[test]
fn nothing_that_is_sent_ends_it_or_makes_it_panic() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some("demo-backend") {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        usual(info);
    }));
    let backend = DemoBackend::start().unwrap();
    let seeds: [&[u8]; 6] = [
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET /large?bytes=10000 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /events?n=2&ms=10 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /status/204 HTTP/1.0\r\n\r\n",
        b"GET /json HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\r\n\r\n",
        b"GET /websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x85\x01\x02\x03\x04abcde\x88\x80\0\0\0\0",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for i in 0..600 {
        let mut bytes = seeds[i % seeds.len()].to_vec();
        for _ in 0..random.usize(0..5) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, random.u8(..)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mut client = Client::to(&backend);
        let _ = client.0.get_mut().write_all(&bytes);
        let _ = client.0.get_mut().shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.0.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{bytes:?}");
    }
    assert_eq!(Client::to(&backend).get("/status/200").status, 200);
    drop(backend);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}
