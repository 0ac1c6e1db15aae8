use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;

fn client() -> SocketAddr {
    "192.0.2.7:1234".parse().unwrap()
}

fn entry(target: &[u8]) -> Entry<'_> {
    Entry {
        time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        client: client(),
        method: b"GET",
        target,
        host: b"",
        status: 200,
        bytes_in: 0,
        bytes_out: 0,
        duration: Duration::ZERO,
        upstream: None,
        tls: None,
        request_id: b"",
        user_agent: b"",
        referer: b"",
        gzip: None,
        error: None,
    }
}

fn full() -> Entry<'static> {
    Entry {
        host: b"example.org",
        bytes_in: 100,
        bytes_out: 2_000,
        duration: Duration::from_nanos(1_234_567),
        upstream: Some(Upstream {
            name: "app",
            address: "[::1]:8080".parse().unwrap(),
            duration: Some(Duration::from_millis(1)),
        }),
        tls: Some(Tls {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            resumed: true,
            sni: b"example.org",
        }),
        request_id: b"abc",
        user_agent: b"curl/8",
        referer: b"https://example.org/",
        gzip: Some((10_000, 1_900)),
        error: Some("the client has gone"),
        ..entry(b"/a?b=c")
    }
}

fn line(entry: &Entry<'_>) -> Value {
    let mut record = Record::default();
    record.fill(entry);
    let mut out = Vec::new();
    format::line(&record, &mut out);
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1, "one line");
    assert_eq!(out.last(), Some(&b'\n'));
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_line_has_all_that_is_known() {
    let expected = json!({
        "time": "2023-11-14T22:13:20.123Z", "client": "192.0.2.7:1234",
        "method": "GET", "target": "/a?b=c", "host": "example.org", "status": 200,
        "bytes_in": 100, "bytes_out": 2_000, "duration": 0.001_234,
        "upstream": { "name": "app", "address": "[::1]:8080", "duration": 0.001 },
        "tls": { "version": "1.3", "cipher": "TLS_AES_128_GCM_SHA256", "resumed": true, "sni": "example.org" },
        "request_id": "abc", "gzip": { "in": 10_000, "out": 1_900 },
        "user_agent": "curl/8", "referer": "https://example.org/", "error": "the client has gone",
    });
    assert_eq!(line(&full()), expected);
}

#[test]
fn what_is_not_there_is_left_out() {
    let expected = json!({
        "time": "1970-01-01T00:00:00.000Z", "client": "192.0.2.7:1234", "method": "GET", "target": "/", "host": "",
        "bytes_in": 0, "bytes_out": 0, "duration": 0.0, "upstream": { "name": "a", "address": "192.0.2.7:1234" },
    });
    let upstream = Some(Upstream { name: "a", address: client(), duration: None });
    let before = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(line(&Entry { status: 0, upstream, time: before, ..entry(b"/") }), expected);
}

#[test]
fn times_are_of_the_calendar() {
    let at =
        |ms| line(&Entry { time: UNIX_EPOCH + Duration::from_millis(ms), ..entry(b"/") })["time"].clone();
    assert_eq!(at(951_782_400_000), "2000-02-29T00:00:00.000Z");
    assert_eq!(at(4_102_444_799_999), "2099-12-31T23:59:59.999Z");
    assert_eq!(at(1 << 60), "9999-12-31T23:59:59.999Z", "no panic for times that have no four digits");
}

#[test]
fn long_texts_are_cut_and_marked_and_leave_room_to_the_others() {
    let long = |letter: u8| vec![letter; 5_000];
    let (method, host, id, agent, referer) = (long(b'M'), long(b'h'), long(b'i'), long(b'u'), long(b'r'));
    let (target, sni, name) = (long(b't'), long(b's'), "n".repeat(5_000));
    let all = Entry {
        method: &method,
        host: &host,
        request_id: &id,
        user_agent: &agent,
        referer: &referer,
        upstream: Some(Upstream { name: &name, address: client(), duration: None }),
        tls: Some(Tls { version: "1.2", cipher: "x", resumed: false, sni: &sni }),
        ..entry(&target)
    };
    let cut = line(&all);
    let len = |value: &Value| {
        let text = value.as_str().unwrap();
        assert!(text.ends_with('\u{2026}'), "{text}");
        text.chars().count() - 1
    };
    let lens = ["method", "host", "request_id", "user_agent", "referer", "target"].map(|key| len(&cut[key]));
    assert_eq!(lens, [24, 96, 64, 160, 160, 168]);
    assert_eq!((len(&cut["tls"]["sni"]), len(&cut["upstream"]["name"])), (96, 48));
    // With little else, a target has all the room.
    assert_eq!(len(&line(&entry(&target))["target"]), 813);
    let fits = long(b't');
    assert_eq!(
        line(&entry(&fits[..813]))["target"].as_str().unwrap().len(),
        813,
        "just fits, without a mark"
    );
    // Not in the middle of a letter: 168 bytes are 84 letters of two bytes, and one byte more is half of one.
    let accents = format!("/{}", "\u{e9}".repeat(2_500));
    let text = line(&Entry { user_agent: accents.as_bytes(), ..entry(b"/") })["user_agent"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(text, format!("/{}\u{2026}", "\u{e9}".repeat(79)));
}

#[test]
fn nothing_that_a_client_sends_makes_a_second_line_or_is_no_json() {
    let nasty = b"/\r\n{\"status\":500}\0\x1b[31m\"\\\xff\xe2\x82";
    let text = line(&entry(nasty))["target"].as_str().unwrap().to_owned();
    assert_eq!(text, "/\r\n{\"status\":500}\0\x1b[31m\"\\\u{FFFD}\u{FFFD}");
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[track_caller]
fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn open(path: &Path) -> AccessLog {
    AccessLog::open(path.to_str().unwrap()).unwrap()
}

#[test]
fn all_that_workers_wrote_is_in_the_file_at_the_end_in_the_order_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let mut writer = log.writer();
            scope.spawn(move || {
                for i in 0..3_000_u64 {
                    assert!(writer.write(&Entry { bytes_in: worker, bytes_out: i, ..full() }));
                }
            });
        }
    });
    let mut kept = log.writer();
    assert!(kept.write(&Entry { bytes_in: 2, ..full() }));
    drop(log);
    let lines = lines(&path);
    assert_eq!(lines.len(), 6_001);
    for worker in 0..2 {
        let of = lines
            .iter()
            .filter(|line| line["bytes_in"] == worker)
            .map(|line| line["bytes_out"].as_u64().unwrap());
        assert!(of.eq(0..3_000), "worker {worker}");
    }
}

#[test]
fn a_line_is_written_soon_and_not_only_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path);
    let mut writer = log.writer();
    writer.write(&full());
    wait_until("it is not written", || !lines(&path).is_empty());
    drop(writer);
    let mut next = log.writer();
    next.write(&full());
    wait_until("the next worker's is not written", || lines(&path).len() == 2);
    assert_eq!(log.lost(), 0);
}

#[test]
fn what_finds_no_room_is_counted_and_told_by_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path);
    let mut writer = log.writer();
    let mut written = 0_u64;
    // The thread cannot keep up with one that does nothing else, or at least not always.
    wait_until("there is always room", || {
        written += (0..20_000).filter(|_| writer.write(&full())).count() as u64;
        log.lost() > 0
    });
    let lost = log.lost();
    drop(log);
    let lines = lines(&path);
    let (told, requests): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["lost"].is_u64());
    assert_eq!(requests.len() as u64, written);
    assert_eq!(told.iter().map(|line| line["lost"].as_u64().unwrap()).sum::<u64>(), lost);
    assert!(
        told.iter().all(|line| line["why"] == "no room in the ring" && line["time"].is_string()),
        "{told:?}"
    );
}

#[test]
fn after_reopening_lines_go_to_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let log = open(&path);
    let mut writer = log.writer();
    writer.write(&full());
    wait_until("the first line", || lines(&path).len() == 1);
    fs::rename(&path, &old).unwrap();
    writer.write(&full());
    wait_until("the second line", || lines(&old).len() == 2);
    log.reopen();
    wait_until("a new file", || path.exists());
    writer.write(&full());
    wait_until("the third line", || lines(&path).len() == 1);
    // If it cannot be opened, the old one goes on.
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    log.reopen();
    writer.write(&full());
    wait_until("the fourth line", || lines(&old).len() == 2);
    assert_eq!(log.lost(), 0);
}

#[test]
fn a_full_disk_costs_lines_which_are_counted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let log = open(&path);
    let mut writer = log.writer();
    for i in 1..=3 {
        assert!(writer.write(&full()));
        wait_until("it is not counted", || log.lost() == i);
    }
    fs::remove_file(&path).unwrap();
    log.reopen();
    wait_until("nobody tells", || path.exists() && lines(&path).len() == 1);
    assert_eq!(lines(&path)[0]["lost"], 3);
    assert_eq!(lines(&path)[0]["why"], "not written");
    writer.write(&full());
    drop(log);
    assert_eq!(lines(&path).len(), 2);
}

#[test]
fn errors_name_the_file() {
    let error = AccessLog::open("/no/such/folder/access.log").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.contains("/no/such/folder/access.log") && text.contains("Remedy"), "{text}");
}

/// `cargo test --release -p warpdrive-proxy -- --ignored --nocapture time_of_a_record`
#[test]
#[ignore = "a measurement"]
fn time_of_a_record() {
    let (mut producer, mut consumer) = RingBuffer::<Record>::new(RECORDS);
    let mut writer_lost = Arc::<LostRecords>::default();
    let mut best = f64::MAX;
    for _ in 0..200 {
        let mut writer = LogWriter { records: producer, lost: writer_lost };
        let entry = full();
        let start = Instant::now();
        for _ in 0..1_000 {
            assert!(writer.write(std::hint::black_box(&entry)));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / 1_000.0);
        (producer, writer_lost) = (writer.records, writer.lost);
        while consumer.pop().is_ok() {}
    }
    let _ = writeln!(io::stdout(), "{best:.0} ns a record of {} bytes", size_of::<Record>());
    let _ = SystemTime::now();
}
