//! Devices for other programs: that they appear, what they take with them when they go, and what is refused.

mod common;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use common::served::{self, Served, USUAL};
use common::{PATIENCE, Started, Statistics, command, examples, folder, pcap, run, run_config, skipped};
use serde_json::Value;
use warpdrive_pmd::uacce::abi::{PUT_Q, START};

/// Opens a queue file as programs do.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// A call without an argument.
fn call(queue: &File, command: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the command has no argument that the kernel or the server would read or write.
    match unsafe { libc::ioctl(queue.as_raw_fd(), libc::c_ulong::from(command), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|e| e.raw_os_error())
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_the_configuration_says_appears_and_can_be_opened() {
    let toml = format!(
        "{USUAL}queues = 7\nqueues_per_process = 2\npriority = 3\nnuma_node = -1\npermissions = \"0640\"\ngroup = \"12345\"\n"
    );
    let Some(served) = Served::start(&toml, &[]) else { return };
    for (device, api, algorithms, queues) in [
        ("hisi_hpre-0", "hisi_qm_v1\n", "rsa\n", "256\n"),
        ("hisi_zip-0", "hisi_qm_v1\n", "deflate\n", "7\n"),
    ] {
        assert_eq!(served.attribute(device, "api"), api);
        assert_eq!(served.attribute(device, "algorithms"), algorithms);
        assert_eq!(served.attribute(device, "available_instances"), queues);
        assert_eq!(served.attribute(device, "flags"), "1\n");
    }
    assert_eq!(served.attribute("hisi_zip-0", "priority"), "3\n");
    assert_eq!(served.attribute("hisi_zip-0", "device/numa_node"), "-1\n");
    let file = std::fs::metadata(served.queue_file("hisi_zip-0")).expect("the queue file");
    assert_eq!((file.permissions().mode() & 0o777, file.uid(), file.gid()), (0o640, 0, 12345));

    let queue = open(&served.queue_file("hisi_zip-0")).expect("a queue");
    call(&queue, START).expect("it starts");
    assert_eq!(errno(call(&queue, START)), Some(libc::EINVAL), "a queue starts once");
    assert_eq!(served.attribute("hisi_zip-0", "available_instances"), "6\n");
    let second = open(&served.queue_file("hisi_zip-0")).expect("another queue");
    let third = errno(open(&served.queue_file("hisi_zip-0")));
    assert_eq!(third, Some(libc::EBUSY), "queues_per_process = 2");
    call(&queue, PUT_Q).expect("it is given back");
    drop((queue, second));
    wait_until("the queues are back", || served.attribute("hisi_zip-0", "available_instances") == "7\n");
    served.ends_well();
}

#[test]
fn it_says_what_it_serves_and_how_to_use_it_and_at_the_end_what_it_did() {
    let Some(served) = Served::start(USUAL, &[]) else { return };
    let expose = served.expose().display().to_string();
    let ran = served.ends_well();
    for part in [
        "device \"hisi_hpre-0\" on core",
        "rsa, hisi_qm_v1, sva, up to 256 queues of 1024 entries",
        "deflate",
        "if all queues are open",
        &format!("serving at {expose}"),
        &format!("warpdrive run-with-devices --expose {expose} -- PROGRAM"),
        &format!("driver = \"uacce\", expose = \"{expose}\""),
    ] {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
    for part in ["served ", " rsa: 0 requests", " zip: 0 requests"] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
}

#[test]
fn numbers_come_every_second_as_json() {
    let Some(served) = Served::start(USUAL, &["--json"]) else { return };
    let queue = open(&served.queue_file("hisi_zip-0")).expect("a queue");
    // It is open when one of the seconds ends.
    std::thread::sleep(Duration::from_millis(2500));
    drop(queue);
    let ran = served.ends_well();
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let [seconds @ .., last] = &lines[..] else { panic!("{}", ran.stdout) };
    let [first, ..] = seconds else { panic!("{}", ran.stdout) };
    assert_eq!((&first["schema"], &first["event"]), (&"warpdrive.serve.v1".into(), &"second".into()));
    assert_eq!(first["devices"][1]["name"], "hisi_zip-0");
    let open = |line: &Value| [0, 1].map(|device| line["devices"][device]["queues_open"].clone());
    assert!(seconds.iter().any(|line| open(line) == [0, 1]), "{}", ran.stdout);
    assert_eq!((&last["event"], &last["devices"][1]["queues_open"]), (&"end".into(), &0.into()));
    assert_eq!(last["cores"][0]["rsa"]["requests"], 0);
}

#[test]
fn a_signal_ends_it_while_queues_are_open() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let Some(served) = Served::start(USUAL, &[]) else { return };
        let queue = open(&served.queue_file("hisi_hpre-0")).expect("a queue");
        call(&queue, START).expect("it starts");
        served.signal(signal);
        let (expose, (ran, _folder)) = (served.expose().to_owned(), served.wait());
        ran.well();
        assert_eq!(std::fs::read_dir(&expose).expect("the folder").count(), 0);
        assert!(call(&queue, PUT_Q).is_err(), "nobody is there any more");
    }
}

#[test]
fn a_hangup_ends_nothing_and_says_so() {
    let Some(served) = Served::start(USUAL, &[]) else { return };
    let queue = open(&served.queue_file("hisi_zip-0")).expect("a queue");
    served.signal(libc::SIGHUP);
    std::thread::sleep(Duration::from_millis(200));
    call(&queue, START).expect("all goes on");
    drop(queue);
    assert!(served.ends_well().stderr.contains("SIGHUP: nothing is loaded anew"));
}

#[test]
fn a_folder_has_one_server_at_a_time() {
    let Some(served) = Served::start(USUAL, &[]) else { return };
    let folder = folder();
    std::fs::write(folder.path().join("serve.toml"), USUAL).expect("write");
    let expose = served.expose().as_os_str();
    let second = run(folder.path(), ["serve".as_ref(), "serve.toml".as_ref(), "--expose".as_ref(), expose]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    for part in ["error: ", "another server?", "Remedy: "] {
        assert!(second.stderr.contains(part), "no {part:?} in {}", second.stderr);
    }
    call(&open(&served.queue_file("hisi_zip-0")).expect("a queue"), START).expect("the first goes on");
    served.ends_well();
}

#[test]
fn after_kill_9_a_new_server_takes_the_folder_over() {
    let Some(served) = Served::start(USUAL, &[]) else { return };
    let queue = open(&served.queue_file("hisi_zip-0")).expect("a queue");
    call(&queue, START).expect("it starts");
    let expose = served.expose().to_owned();
    served.signal(libc::SIGKILL);
    let (ran, folder) = served.wait();
    assert_eq!(ran.signal, Some(libc::SIGKILL));
    assert_eq!(errno(std::fs::read_dir(&expose)), Some(libc::ENOTCONN), "what a killed server leaves");
    let Some(served) = Served::start_at(folder, &expose, USUAL, &[]) else { panic!("it could before") };
    assert_eq!(served.attribute("hisi_zip-0", "available_instances"), "256\n");
    call(&open(&served.queue_file("hisi_zip-0")).expect("a queue"), START).expect("it starts");
    served.ends_well();
}

#[test]
fn folders_that_will_not_do_are_refused_and_left_as_they_are() {
    if !served::possible() {
        return;
    }
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
    write("serve.toml", USUAL);
    std::fs::create_dir(folder.path().join("full")).expect("a folder");
    write("full/precious", "of somebody");
    write("file", "");
    for (expose, message, remedy) in [
        ("full", "the folder is not empty", "--expose with a folder of its own"),
        ("file", "Not a directory", "--expose with a folder"),
        ("file/below", "Not a directory", "--expose with a folder"),
    ] {
        let ran = run(folder.path(), ["serve", "serve.toml", "--expose", expose]);
        assert_eq!(ran.code, Some(1), "{expose}: {}", ran.stderr);
        for part in ["error: ", expose, message, "Remedy: ", remedy] {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
    }
    assert_eq!(
        std::fs::read_to_string(folder.path().join("full/precious")).expect("it is there"),
        "of somebody"
    );
}

#[test]
fn without_root_it_says_that_root_is_needed() {
    if !served::possible() {
        return;
    }
    let folder = folder();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("for everybody");
    std::fs::write(folder.path().join("serve.toml"), USUAL).expect("write");
    // In a folder that it may make, and in one that it may not.
    for (expose, part) in
        [("mine", "mount of a FUSE file system"), ("/run/warpdrive-of-nobody", "Permission denied")]
    {
        let mut command = command(folder.path(), ["serve", "serve.toml", "--expose", expose]);
        command.uid(65_534).gid(65_534);
        if let Err(e) =
            std::process::Command::new(command.get_program()).uid(65_534).arg("--version").output()
        {
            return skipped(&format!("others may not run the program here: {e}"));
        }
        let ran = Started::new(command).end(PATIENCE);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        for part in [part, "Remedy: root (CAP_SYS_ADMIN)"] {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
    }
}

#[test]
fn the_example_is_served_as_it_is() {
    let text = std::fs::read_to_string(examples().join("serve.toml")).expect("the example");
    let Some(served) = Served::start(&text, &[]) else { return };
    assert_eq!(served.attribute("hisi_zip-1", "api"), "hisi_qm_v3\n");
    assert_eq!(served.attribute("hisi_zip-1", "algorithms"), "zlib\ngzip\ndeflate\n");
    for device in ["hisi_hpre-0", "hisi_zip-0", "hisi_zip-1"] {
        call(&open(&served.queue_file(device)).expect("a queue"), START).expect("it starts");
    }
    served.ends_well();
}

#[test]
fn m24_the_documents_say_what_else_there_is_and_when_to_take_it() {
    let text = std::fs::read_to_string(examples().join("../docs/WARPDRIVE.md")).expect("the document");
    let (_, table) = text.split_once("## Why this, and when something else").expect("the part");
    for other in ["RDMA verbs", "VFIO", "AF_ALG", "DPDK"] {
        let row = table.lines().find(|line| line.starts_with(&format!("| **{other}**")));
        let cells: Vec<_> = row.unwrap_or_else(|| panic!("no {other}")).split('|').collect();
        // What it is, and when to take it instead.
        assert!(cells.len() == 5 && cells[2..4].iter().all(|cell| cell.len() > 30), "{other}: {cells:?}");
    }
}

/// The example for pipelines, with the devices of this server.
fn sign_zip(expose: &Path) -> String {
    let text = std::fs::read_to_string(examples().join("sign-zip-uacce.toml")).expect("the example");
    let at = format!("expose = {expose:?}");
    assert_eq!(text.matches("expose = \"/run/warpdrive\"").count(), 2);
    text.replace("expose = \"/run/warpdrive\"", &at)
}

#[test]
fn a_pipeline_gives_the_same_bytes_by_devices_of_a_server() {
    let Some(served) = Served::start(USUAL, &[]) else { return };
    let folder = folder();
    run(folder.path(), ["run"]).well();
    let ran = run_config(folder.path(), &sign_zip(served.expose()), &[]).well();
    let [here, there] = ["sign-zip", "sign-zip-uacce"]
        .map(|name| pcap::read(&folder.path().join(name).with_extension("pcap")));
    assert_eq!(here.len(), 64);
    assert!(here == there, "not the same");
    for part in ["hisi_hpre-0 (of `warpdrive serve`", "hisi_zip-0 (of `warpdrive serve`", "memory shared"] {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
    // The far end, by the same devices.
    let text = std::fs::read_to_string(examples().join("unzip-verify.toml")).expect("the example");
    let here = format!("driver = \"uacce\"\nexpose = {:?}\n", served.expose());
    let text = text
        .replace("driver = \"soft-rsa\"\ncore = \"auto\"\n", &here)
        .replace("driver = \"soft-zip\"\n", &here);
    assert_eq!(text.matches("\"uacce\"").count(), 2, "{text}");
    let statistics = run_config(folder.path(), &text, &[]).well().statistics();
    assert_eq!((statistics.port("in", "rx", "packets"), statistics.all_dropped()), (64, 0));
    let ended = served.ends_well();
    // 52 of the 64 packets are UDP. Pipelines verify by themselves.
    for part in ["rsa: 52 requests, 0 failed", "zip: 104 requests, 0 failed"] {
        assert!(ended.stdout.contains(part), "no {part:?} in {}", ended.stdout);
    }
}

/// From memory to memory without end, signed and compressed by devices of a server.
fn endless(expose: &Path) -> String {
    let ports = "[port.in]\ndriver = \"null\"\nsize = 256\ncopy = true\n\n[port.out]\ndriver = \"null\"\n\n";
    let text = sign_zip(expose);
    let (from, to) = (text.find("[port.in]").expect("a port"), text.find("[device.rsa0]").expect("a device"));
    text.replace(&text[from..to], ports)
}

/// A pipeline without end that tells its numbers every second. Killed when the test ends before it does.
struct Endless {
    child: Child,
    folder: tempfile::TempDir,
}

impl Endless {
    fn start(expose: &Path) -> Self {
        let folder = folder();
        let file = |name: &str| File::create(folder.path().join(name)).expect("a file");
        std::fs::write(folder.path().join("test.toml"), endless(expose)).expect("write");
        let mut command = command(folder.path(), ["run", "test.toml", "--json", "--stats", "--no-huge"]);
        command.stdout(file("stdout")).stderr(file("stderr"));
        Self { child: command.spawn().expect("it starts"), folder }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("its output")
    }

    /// What it has told last: lost and reopened queues of both devices, packets that went out.
    fn numbers(&self) -> Option<([Vec<u64>; 2], u64)> {
        let text = self.text("stdout");
        let (whole, _) = text.rsplit_once('\n')?;
        let all: Value = serde_json::from_str(whole.lines().last()?).expect("JSON");
        let devices = all["statistics"]["devices"].as_array()?;
        let of = |key| devices.iter().filter_map(|device| device[key].as_u64()).collect();
        Some((
            [of("queues_lost"), of("queues_reopened")],
            Statistics(all.clone()).port("out", "tx", "packets"),
        ))
    }

    /// Waits until packets go out by queues that were lost, and opened anew, so often at least.
    #[track_caller]
    fn works(&self, times: u64) {
        let (deadline, mut before) = (Instant::now() + PATIENCE, None);
        loop {
            if let Some(([lost, reopened], sent)) = self.numbers()
                && lost == reopened
                && lost.len() == 2
                && lost.iter().all(|lost| *lost >= times)
                && sent > *before.get_or_insert(sent)
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "it does not work, for the time {times}: {}",
                self.text("stderr")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end: its numbers, and what it has said.
    fn ends(mut self) -> (Statistics, String) {
        // SAFETY: the child was not waited for yet, so the id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) }, 0);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let (text, said) = (self.text("stdout"), self.text("stderr"));
        assert_eq!(status.code(), Some(0), "{said}");
        let all: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert_eq!(
            (&all["schema"], &all["leaked_buffers"]),
            (&"warpdrive.run.v1".into(), &serde_json::json!([]))
        );
        (Statistics(all), said)
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_pipeline_goes_on_when_its_server_was_stopped_or_killed_and_another_one_comes() {
    let Some(mut served) = Served::start(USUAL, &[]) else { return };
    let pipeline = Endless::start(served.expose());
    let expose = served.expose().to_owned();
    for (times, signal) in [(0, libc::SIGTERM), (1, libc::SIGKILL)] {
        pipeline.works(times);
        served.signal(signal);
        let (ran, folder) = served.wait();
        if signal == libc::SIGTERM {
            ran.well();
        }
        served = Served::start_at(folder, &expose, USUAL, &[]).expect("it could before");
    }
    pipeline.works(2);
    let (statistics, said) = pipeline.ends();
    let (came, went) = (statistics.port("in", "rx", "packets"), statistics.port("out", "tx", "packets"));
    let lost = [1, 2].map(|at| statistics.dropped("sign-and-zip", at, "engine")).iter().sum::<u64>();
    assert!(went > 0 && lost > 0 && came == went + statistics.all_dropped(), "{came} {went} {lost}");
    for part in ["who serves the device is gone", "the device has failed", "a queue was opened anew after"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    served.ends_well();
}

#[test]
fn silicon_can_be_insisted_on() {
    let Some(served) = Served::start(USUAL, &[]) else { return };
    let folder = folder();
    let text = sign_zip(served.expose()).replace("[eal]\n", "[eal]\nrequire = [\"hardware\"]\n");
    let ran = run_config(folder.path(), &text, &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for part in ["required but not got: ", "hardware for device \"rsa0\"", "hardware for device \"zip0\""] {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
    served.ends_well();
}

/// Attributes in plain files: enough to be found, too little to be opened.
fn listed(folder: &Path, name: &str, attributes: &[(&str, &str)]) {
    let usual = [
        ("api", "hisi_qm_v2"),
        ("flags", "1"),
        ("available_instances", "16"),
        ("algorithms", "zlib\ngzip\ndeflate"),
        ("region_mmio_size", "8192"),
        ("region_dus_size", "73728"),
        ("device/numa_node", "0"),
    ];
    let device = folder.join("sys").join(name);
    std::fs::create_dir_all(device.join("device")).expect("a folder");
    for (attribute, value) in usual.iter().chain(attributes) {
        std::fs::write(device.join(attribute), format!("{value}\n")).expect("an attribute");
    }
}

#[test]
fn what_is_wrong_with_a_device_of_others_is_told_at_its_place() {
    let folder = folder();
    listed(folder.path(), "hisi_zip-0", &[]);
    listed(folder.path(), "hisi_zip-1", &[("api", "hisi_qm_v2_noiommu"), ("flags", "0")]);
    listed(folder.path(), "hisi_zip-2", &[("region_dus_size", "much")]);
    let text = |eal: &str, device: &str, stage: &str| {
        format!(
            "version = 1\n[eal]\n{eal}\n[port.a]\ndriver = \"null\"\n[device.u]\ndriver = \"uacce\"\n{device}\n\
             [[pipeline]]\nname = \"p\"\nstages = [ {{ rx = \"a\" }}, {stage} {{ tx = \"a\" }} ]\n"
        )
    };
    let sign = "{ rsa = \"u\", op = \"sign\", scheme = \"pss-sha256\", key = \"demo:rsa2048\" },";
    let compress = "{ zip = \"u\", op = \"compress\" },";
    let here = |name: &str| format!("device = {name:?}\nsysfs = \"sys\"\ndev = \"nodev\"");
    for (eal, device, stage, place, message, help) in [
        ("", "sysfs = \"nowhere\"".to_owned(), compress, "6:9", "cannot list nowhere", "warpdrive serve"),
        ("", here("hisi_zip-7"), compress, "8:10", "\"hisi_zip-7\"", "one of these names"),
        (
            "",
            here("hisi_zip-0"),
            sign,
            "8:10",
            "hisi_zip-0 does zlib, gzip, deflate, and RSA is asked",
            "does rsa",
        ),
        ("", "sysfs = \"sys\"".to_owned(), sign, "6:9", "\"rsa\"", "what they do"),
        ("", here("hisi_zip-2"), compress, "8:10", "\"much\"", "leave the device out"),
        ("", here("hisi_zip-1"), compress, "8:10", "hisi_zip-1 takes addresses of mode", "dma = \"noiommu\""),
        (
            "dma = \"share-domain\"",
            here("hisi_zip-0"),
            compress,
            "3:7",
            "hisi_zip-0 takes addresses of mode",
            "dma = \"sva\"",
        ),
    ] {
        let ran = run_config(folder.path(), &text(eal, &device, stage), &[]);
        assert_eq!(ran.code, Some(1), "{device}: {}", ran.stderr);
        let place = format!("test.toml:{place}: error: ");
        let line = ran.stderr.lines().find(|line| line.starts_with(&place));
        let line = line.unwrap_or_else(|| panic!("{device}: no {place:?} in {}", ran.stderr));
        assert!(line.contains(message), "{device}: no {message:?} in {line}");
        let helped = ran.stderr.lines().find(|line| line.contains("= help: "));
        assert!(helped.is_some_and(|line| line.contains(help)), "{device}: no {help:?} in {}", ran.stderr);
    }
    // Found, and then it is no queue file.
    let ran = run_config(folder.path(), &text("", &here("hisi_zip-0"), compress), &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for part in ["error: ", "\"u\"", "nodev/hisi_zip-0"] {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
}
