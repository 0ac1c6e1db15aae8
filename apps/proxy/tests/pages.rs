//! Pages in a browser: the status page with numbers that change, and the demo page, in the light and in the dark, on a wide
//! screen and on a narrow one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use warpdrive_browser::{Look, Page};
use warpdrive_pmd::stats::DeviceStats;
use warpdrive_proxy::admin::{Admin, Place, Sources};
use warpdrive_proxy::demo::backend::DemoBackend;
use warpdrive_proxy::metrics::{
    DeviceReport, Handshake, HandshakeFailure, Metrics, ProxyMetrics, SignedBy, Timeout,
};

/// What the script has measured.
#[derive(Debug, Deserialize)]
struct Measured {
    width: f64,
    scroll_width: f64,
    dark: bool,
    background: String,
    letters: usize,
    cut: Vec<String>,
    plots: Vec<Plot>,
}

#[derive(Debug, Deserialize)]
struct Plot {
    name: String,
    label: String,
    legend: Vec<String>,
    width: f64,
    points: Vec<usize>,
    sticks_out: usize,
    colours: usize,
    texts: Vec<String>,
    out: Vec<String>,
    overlaps: Vec<[String; 2]>,
}

const LOOKS: [Look; 4] = [
    Look { width: 400, height: 900, dark: false },
    Look { width: 400, height: 900, dark: true },
    Look { width: 1400, height: 900, dark: false },
    Look { width: 1400, height: 900, dark: true },
];

fn measured(page: &mut Page) -> Measured {
    let text = page.evaluate(include_str!("pages/measure.js"));
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

/// Pictures, kept after the test for whoever wants to see them.
fn picture(name: &str, look: Look) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{name}-{}-{}.png", if look.dark { "dark" } else { "light" }, look.width))
}

fn check_layout(measured: &Measured, look: Look) {
    assert_eq!((measured.width, measured.dark), (f64::from(look.width), look.dark));
    let paper = if look.dark { "rgb(21, 24, 30)" } else { "rgb(255, 255, 255)" };
    assert_eq!(measured.background, paper);
    assert!(measured.scroll_width <= measured.width, "{look:?}: the page is {} wide", measured.scroll_width);
    assert!(measured.letters > 10, "{look:?}: {measured:?}");
    assert!(measured.cut.is_empty(), "{look:?}: cut off: {:?}", measured.cut);
}

/// Proxies and devices that do something, until this is dropped.
struct Busy {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn busy() -> (Sources, Busy) {
    let servers = [
        ("app".to_owned(), "192.0.2.1:8080".to_owned()),
        ("app".to_owned(), "[2001:db8::1234:5678]:8080".to_owned()),
    ];
    let workers = vec![Metrics::new(1, &servers), Metrics::new(2, &servers)];
    let fill = Arc::new(Mutex::new(vec![0_u64; 9]));
    let over = Arc::new(AtomicBool::new(false));
    let (theirs, their_fill, their_over) = (workers.clone(), Arc::clone(&fill), Arc::clone(&over));
    let thread = std::thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(1);
        while !their_over.load(Ordering::Relaxed) {
            for worker in &theirs {
                work(worker, &mut random);
            }
            their_fill.lock().unwrap()[random.usize(4..9)] += 3;
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let sources = Sources {
        proxies: vec![
            ProxyMetrics { name: "web".into(), workers, health: Arc::default() },
            ProxyMetrics { name: "idle".into(), workers: vec![Metrics::new(3, &[])], health: Arc::default() },
        ],
        devices: Box::new(move || {
            let stats = DeviceStats { fill: fill.lock().unwrap().clone(), ..Default::default() };
            vec![DeviceReport { name: "rsa0".into(), stats }]
        }),
        more: Vec::new(),
        draining: Arc::default(),
        load: None,
    };
    (sources, Busy { over, thread: Some(thread) })
}

fn work(worker: &Metrics, random: &mut fastrand::Rng) {
    for kind in [Handshake::Full13, Handshake::Resumed13, Handshake::Full12, Handshake::Resumed12] {
        (0..random.u8(1..9)).for_each(|_| worker.handshakes.count(kind));
        worker.handshake_duration.record(Duration::from_micros(random.u64(400..3_000)));
    }
    worker.handshakes_failed.count(HandshakeFailure::NothingInCommon);
    worker.handshakes_parked.set(random.u64(1..512));
    (0..4).for_each(|_| worker.signatures.count(SignedBy::Device));
    worker.signatures.count(SignedBy::QueueFull);
    worker.connections_open.set(random.u64(1_000..1_200));
    for status in [200, 200, 200, 304, 404, 503] {
        worker.responded(status);
        worker.request_duration.record(Duration::from_micros(random.u64(90..20_000)));
        worker.upstream_response.record(Duration::from_micros(random.u64(50..9_000)));
    }
    worker.client_bytes_in.add(random.u64(5_000..9_000));
    worker.client_bytes_out.add(random.u64(5_000_000..9_000_000));
    worker.server_bytes_in.add(10_000_000);
    worker.server_bytes_out.add(6_000);
    worker.compression_bytes_in.add(random.u64(9_000..11_000));
    worker.compression_bytes_out.add(2_500);
    worker.timeouts.count(Timeout::Idle);
    let servers = worker.servers();
    let server = &servers[0];
    server.requests.add(5);
    server.connections_open.set(12);
    server.connections_idle.set(7);
    servers[1].failures.add(1);
    servers[1].up.set(0);
}

#[test]
fn the_status_page_draws_what_changes_and_nothing_sticks_out() {
    let Some(mut page) = Page::open(&[]) else { return };
    let (sources, busy) = busy();
    let draining = Arc::clone(&sources.draining);
    let admin = Admin::start("127.0.0.1:0", sources).unwrap();
    let Place::Address(address) = admin.place() else { panic!("no address") };
    let address = *address;
    page.go(&format!("http://localhost:{}/", address.port()));
    page.wait_for(
        "[...document.querySelectorAll('polyline')].some((line) => line.points.numberOfItems >= 6)",
    );
    for look in LOOKS {
        page.look(look);
        let measured = measured(&mut page);
        check_layout(&measured, look);
        assert_eq!(measured.plots.len(), 9, "{look:?}");
        for plot in &measured.plots {
            check_plot(plot, &format!("{look:?}, {}", plot.name));
        }
        assert!(page.picture(&picture("status", look)).colours().len() > 100);
    }
    let text = |page: &mut Page, selector: &str| {
        let text = page.evaluate(&format!("document.querySelector({selector:?}).textContent"));
        text.as_str().unwrap().to_owned()
    };
    assert_eq!(text(&mut page, "h1"), "warpdrive proxy web");
    assert!(text(&mut page, "#state").starts_with("Running for "));
    let servers = text(&mut page, "#servers tbody");
    assert!(
        servers.contains("192.0.2.1:8080up") && servers.contains("[2001:db8::1234:5678]:8080down"),
        "{servers}"
    );
    assert_eq!(
        text(&mut page, "#servers td[data-name='Requests, in all']")
            .replace(',', "")
            .parse::<u64>()
            .map(drop),
        Ok(())
    );
    let wrong = text(&mut page, "#wrong tbody");
    assert!(wrong.contains("handshake failednothing in common") && wrong.contains("status503"), "{wrong}");
    // The other proxy has done nothing: it is chosen, and curves begin anew.
    page.evaluate("(() => { const s = document.getElementById('proxies'); s.value = 'idle'; s.dispatchEvent(new Event('change')); })()");
    page.wait_for("document.querySelector('h1').textContent.endsWith(' idle') && !document.getElementById('calm').hidden");
    draining.store(true, Ordering::Relaxed);
    page.wait_for("document.getElementById('state').textContent.startsWith('Draining')");
    let errors = page.errors();
    assert!(errors.is_empty(), "{errors:?}");
    drop((admin, busy));
    page.wait_for("document.getElementById('state').textContent.startsWith('No answer')");
    // Another program at the same place: it goes on by itself.
    let (sources, _busy) = self::busy();
    let _admin = Admin::start(&address.to_string(), sources).unwrap();
    page.wait_for("document.getElementById('state').textContent.startsWith('Running')");
}

fn check_plot(plot: &Plot, at: &str) {
    assert!(plot.width >= 300.0, "{at}: {} wide", plot.width);
    assert!(!plot.points.is_empty() && plot.points.iter().all(|n| *n >= 5), "{at}: {:?} points", plot.points);
    assert_eq!(plot.points.len(), plot.legend.len(), "{at}: a line for each in the legend {:?}", plot.legend);
    assert!(
        plot.legend.iter().all(|item| item.contains(": ") && !item.contains("NaN")),
        "{at}: {:?}",
        plot.legend
    );
    let distinct = plot.points.len().min(2);
    assert!(plot.colours >= distinct, "{at}: {} colours", plot.colours);
    assert_eq!(plot.sticks_out, 0, "{at}");
    assert!(plot.out.is_empty(), "{at}: out of the plot: {:?}", plot.out);
    assert!(plot.overlaps.is_empty(), "{at}: on each other: {:?}", plot.overlaps);
    assert!(plot.name.ends_with(')') && plot.label.starts_with(&plot.name), "{at}: {:?}", plot.label);
    assert!(
        plot.texts.iter().any(|t| t == "time (seconds from now)") && plot.texts.len() >= 9,
        "{at}: {:?}",
        plot.texts
    );
}

#[test]
fn the_demo_page_shows_events_and_an_echo_and_nothing_sticks_out() {
    let Some(mut page) = Page::open(&[]) else { return };
    let backend = DemoBackend::start().unwrap();
    page.go(&format!("http://{}/", backend.address()));
    page.wait_for("document.getElementById('events')?.textContent.startsWith('event 2 of 30')");
    page.evaluate("document.querySelector('#talk button').click()");
    page.wait_for("document.getElementById('heard').textContent.startsWith('“hello” came back')");
    page.wait_for("document.getElementById('transfer').textContent.startsWith('http, http/1.1; ')");
    for look in LOOKS {
        page.look(look);
        check_layout(&measured(&mut page), look);
        assert!(page.picture(&picture("demo", look)).colours().len() > 100);
    }
    let errors = page.errors();
    assert!(errors.is_empty(), "{errors:?}");
}
