//! What heads cost: `cargo test --release -p warpdrive-proxy http::cost -- --ignored --nocapture`.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::field::Room;
use super::negotiate::{Compression, Types};
use super::request::{self, Peer, Via};
use super::response::{self, Plan};
use super::{Limits, Parsed};

const REQUEST: &[u8] = b"GET /assets/app.3f2b9c.js?v=20240611 HTTP/1.1\r\n\
    Host: www.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.org/products/list?page=2\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=5d41402abc4b2a76b9719d911017c592; theme=dark; _ga=GA1.2.1234567890.1700000000\r\n\
    Sec-Fetch-Dest: script\r\n\
    Sec-Fetch-Mode: no-cors\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=2\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Tue, 11 Jun 2024 10:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    Last-Modified: Mon, 10 Jun 2024 09:00:00 GMT\r\n\
    Connection: keep-alive\r\n\
    ETag: \"6666c3a0-400\"\r\n\
    Cache-Control: public, max-age=600\r\n\
    Accept-Ranges: bytes\r\n\r\n";

/// The median of many rounds, in ns for each call.
fn ns_per_call(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 20_000;
    let mut rounds: Vec<f64> = (0..51)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

#[test]
#[ignore = "a measurement, for release builds"]
fn a_request_and_its_response() {
    let limits = Limits::default();
    let peer = Peer::new(Ipv4Addr::new(203, 0, 113, 195).into());
    let request_id = "0190b6f07e6a7cc398f45a5ad6b6a2d1";
    let via = Via { peer: &peer, proto: "https", request_id, host: None, identity: false };
    let types = ["text/*", "application/json", "application/javascript", "image/svg+xml"];
    let compression = Compression { types: Types::parse(&types).expect("types"), min_bytes: 256 };
    let mut out = Vec::with_capacity(4096);
    let parse = ns_per_call(|| {
        let mut room = Room::new();
        black_box(request::parse(black_box(REQUEST), &limits, &mut room).is_ok());
    });
    let bare = ns_per_call(|| {
        let mut room = Room::new();
        let mut request = httparse::Request::new(&mut []);
        black_box(request.parse_with_uninit_headers(black_box(REQUEST), &mut room.0).is_ok());
    });
    println!("request  {:5} bytes in: the parser alone {bare:4.0} ns", REQUEST.len());
    let mut room = Room::new();
    let Ok(Parsed::Whole(request)) = request::parse(REQUEST, &limits, &mut room) else { panic!("a request") };
    let forward = ns_per_call(|| {
        out.clear();
        request::forward(black_box(&request), &via, &mut out);
        black_box(out.len());
    });
    println!(
        "request  {:5} bytes in, {:4} out: parse {parse:4.0} ns, forward {forward:4.0} ns",
        REQUEST.len(),
        out.len()
    );
    let client = request.client();
    let parse = ns_per_call(|| {
        let mut room = Room::new();
        black_box(response::parse(black_box(RESPONSE), false, &limits, &mut room).is_ok());
    });
    let mut room = Room::new();
    let Ok(Parsed::Whole(response)) = response::parse(RESPONSE, false, &limits, &mut room) else {
        panic!("a response")
    };
    for (name, accepts_gzip) in [("", false), (" with gzip", true)] {
        let forward = ns_per_call(|| {
            out.clear();
            let decision = compression.decide(black_box(accepts_gzip), false, &response);
            response::forward(black_box(&response), &Plan::new(&client, &response, decision), &mut out);
            black_box(out.len());
        });
        let (len, to) = (RESPONSE.len(), out.len());
        println!(
            "response {len:5} bytes in, {to:4} out: parse {parse:4.0} ns, decide and forward{name} {forward:4.0} ns"
        );
    }
}
