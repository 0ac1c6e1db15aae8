//! Chromium: the demo page with its script, events and WebSocket, as it is seen.

use std::path::{Path, PathBuf};

use serde_json::Value;
pub use warpdrive_browser::is_there;
use warpdrive_browser::{Look, Page, Picture};

use super::Place;

/// The colours of the page: paper, the stroke beside the header, the rest of the bar of progress.
const PAPER: [u8; 3] = [0xff, 0xff, 0xff];
const ACCENT: [u8; 3] = [0x1f, 0x5f, 0xc4];
const LINE: [u8; 3] = [0xdd, 0xe1, 0xe7];
const LOOK: Look = Look { width: 1000, height: 900, dark: false };

/// Starts it. It takes no certificate that is not trusted, but for this key.
pub fn open(place: &Place<'_>, pin: &str) -> Page {
    let pinned = format!("--ignore-certificate-errors-spki-list={pin}");
    let options = [&pinned, "--disable-background-networking", "--no-proxy-server"];
    Page::open_in(place.program("sh"), &options).expect("a browser")
}

/// Loads the page, waits until all of it has moved, and looks at it. The picture is kept, by this name.
pub fn all(place: &Place<'_>, name: &str) {
    let mut page = open(place, &place.certificate.pin);
    page.look(LOOK);
    for host in &place.hosts {
        page.go(&format!("https://{host}/"));
        page.wait_for("document.getElementById('events')?.textContent.startsWith('event 2 of 30')");
        page.evaluate("document.querySelector('#talk button').click()");
        page.wait_for("document.getElementById('heard').textContent.startsWith('“hello” came back')");
        page.wait_for("document.getElementById('transfer').textContent.startsWith('https, http/1.1; ')");
        let dom = page.evaluate("document.documentElement.outerHTML");
        let dom = dom.as_str().expect("text");
        for expected in [
            "<title>warpdrive: the demo behind the proxy</title>",
            "You are connected by HTTPS to a proxy",
            "bytes unpacked: compressed ",
            "<dd><code>https</code></dd>",
            "<dd><code>1.1 warpdrive</code></dd>",
            // Browsers leave the usual port out.
            &format!("<dd><code>{}</code></dd>", host.trim_end_matches(":443")),
        ] {
            assert!(dom.contains(expected), "{host}: no {expected:?} in {dom}");
        }
        assert_eq!(page.evaluate("isSecureContext"), true);
        is_seen(&mut page, &picture(name));
    }
    let errors = page.errors();
    assert!(errors.is_empty(), "{errors:?}");
}

/// Kept after the test for whoever wants to see it.
fn picture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(format!("proxy-{name}.png"))
}

/// What is where: `[left, top, right, bottom]` of the first element that a selector finds.
fn place_of(page: &mut Page, selector: &str) -> [f64; 4] {
    let script = format!(
        "(() => {{ const b = document.querySelector({selector:?}).getBoundingClientRect(); \
         return [b.left, b.top + scrollY, b.right, b.bottom + scrollY]; }})()"
    );
    let found = page.evaluate(&script);
    let numbers: Vec<f64> = found.as_array().expect("four").iter().filter_map(Value::as_f64).collect();
    numbers.try_into().expect("four numbers")
}

/// Looks at the pixels: colours are where the layout says that they are, and there are letters in what has letters.
fn is_seen(page: &mut Page, to: &Path) {
    // What moves stands still: the bar grows a second after an event.
    page.evaluate("events.close(); document.getElementById('progress').style.transition = 'none'");
    let [header, title, bar, progress] =
        ["header", "h1", ".bar", "#progress"].map(|selector| place_of(page, selector));
    let picture = page.picture(to);
    assert!(picture.width == LOOK.width && picture.height > 600, "{} x {}", picture.width, picture.height);
    assert!(picture.colours().len() > 100, "{} colours", picture.colours().len());
    assert_eq!(at(&picture, 2.0, 2.0), PAPER);
    let middle = |[_, top, _, bottom]: [f64; 4]| f64::midpoint(top, bottom);
    assert_eq!(at(&picture, header[0] + 2.0, middle(header)), ACCENT, "the stroke beside {header:?}");
    assert_eq!(at(&picture, header[0] - 2.0, middle(header)), PAPER, "left of it");
    let done = f64::midpoint(progress[0], progress[2]);
    assert!(progress[2] - progress[0] > 10.0, "the bar has grown: {progress:?}");
    assert_eq!(at(&picture, done, middle(bar)), ACCENT, "the part that is done of {bar:?}");
    assert_eq!(at(&picture, f64::midpoint(progress[2], bar[2]), middle(bar)), LINE, "the part that is not");
    let is_ink = |(x, y): (u32, u32)| picture.at(x, y).iter().all(|sample| *sample < 0x60);
    let (across, down) = (title[0] as u32..title[2] as u32, title[1] as u32..title[3] as u32);
    let ink = down.flat_map(|y| across.clone().map(move |x| (x, y))).filter(|at| is_ink(*at)).count();
    assert!((300..20_000).contains(&ink), "{ink} pixels of the title {title:?} are letters");
}

fn at(picture: &Picture, x: f64, y: f64) -> [u8; 3] {
    picture.at(x as u32, y as u32)
}
