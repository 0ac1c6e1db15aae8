//! M3 to M5: attributes, queue files, and what they cost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use warpdrive_pmd::uacce::abi::qm::Command;
use warpdrive_pmd::uacce::abi::{self, Region, attribute};

use crate::child::{Child, Role, Stage};
use crate::entries::{answers, code, deflate, ended, entry, null};
use crate::lab::{HPRE, Lab, QUEUES, ZIP, available, hpre, read_attribute, soon};
use crate::memory::{PAGE, Pages};
use crate::queue::{Queue, call, errno, open};
use crate::server::Serving;
use crate::space::space;

pub const ROLES: &[(&str, Role)] = &[
    ("opens two queues", opens_two_queues),
    ("reads attributes", reads_attributes),
    ("reads how many there are", |stage| {
        stage.tell(format_args!("there are {}", available(&stage.folder, HPRE)));
        stage.wait();
    }),
    ("opens until it cannot", opens_until_it_cannot),
    ("goes step by step", goes_step_by_step),
];

#[test]
fn m03_attributes_say_what_a_program_needs() {
    let Some(lab) = Lab::new() else { return };
    lab.child("reads attributes").ends();
}

fn reads_attributes(stage: &Stage) {
    let read = |device, name| read_attribute(&stage.folder, device, name);
    for (device, algorithms, entry) in [(HPRE, "rsa", 64), (ZIP, "deflate", 128)] {
        assert_eq!(read(device, attribute::API), "hisi_qm_v1");
        assert_eq!(read(device, attribute::FLAGS), "1");
        assert_eq!(read(device, attribute::ALGORITHMS), algorithms);
        assert_eq!(read(device, attribute::ISOLATE), "0");
        assert_eq!(read(device, attribute::REGION_MMIO_SIZE), "4096");
        let dus: usize = read(device, attribute::REGION_DUS_SIZE).parse().unwrap();
        assert!(dus >= 1024 * (entry + 16) + 8 && dus.is_multiple_of(PAGE), "{dus}");
    }
}

#[test]
fn m03_available_instances_count_down_and_come_back() {
    let Some(lab) = Lab::new() else { return };
    let mut first = lab.child("opens two queues");
    first.hears("both");
    assert_eq!((lab.available(HPRE), lab.available(ZIP)), (QUEUES - 2, QUEUES));
    let mut reader = lab.child("reads how many there are");
    assert_eq!(reader.hears("there are"), (QUEUES - 2).to_string());
    reader.ends();
    let mut second = lab.child("opens two queues");
    second.hears("both");
    assert_eq!(lab.available(HPRE), QUEUES - 4);
    first.ends();
    soon("the first's", || lab.available(HPRE) == QUEUES - 2);
    second.kill();
    lab.all_come_back(HPRE);
}

#[test]
fn m04_each_open_is_a_queue_of_its_own() {
    let Some(lab) = Lab::new() else { return };
    let mut child = lab.child("opens two queues");
    child.hears("both");
    child.ends();
}

fn opens_two_queues(stage: &Stage) {
    let [mut one, mut two] = [0; 2].map(|kind| Queue::start(stage, HPRE, kind));
    assert_ne!(one.number, two.number);
    answers(&mut one);
    assert_eq!(two.try_recv(), None);
    // Memory of one is not the other's.
    two.dus.double(PAGE).store(0x1234, Ordering::SeqCst);
    assert_eq!(one.dus.double(PAGE).load(Ordering::SeqCst), 0);
    // A doorbell of another number is nobody's.
    one.put(&null());
    two.ring_as(one.number, Command::Submitted, 1);
    one.ring_as(two.number, Command::Submitted, one.tail);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((one.try_recv(), two.try_recv()), (None, None));
    one.ring(Command::Submitted, one.tail);
    assert_eq!(code(&one.recv()), 0);
    answers(&mut two);
    stage.tell("both");
    stage.wait();
}

#[test]
fn m04_regions_are_plain_mappings_of_the_file() {
    let Some(lab) = Lab::new() else { return };
    lab.child("goes step by step").ends();
    lab.all_come_back(ZIP);
}

fn goes_step_by_step(stage: &Stage) {
    let file = open(stage, ZIP).unwrap();
    // In any order, as often as one likes.
    let offset = |region: Region| region.offset(PAGE as u64) as usize;
    let maps = [Region::Dus, Region::Mmio, Region::Dus].map(|r| Pages::of(&file, offset(r), PAGE).unwrap());
    maps[0].word(0).store(77, Ordering::SeqCst);
    assert_eq!(maps[2].word(0).load(Ordering::SeqCst), 77);
    // What is rung before the start is not lost, and not heard.
    let mut queue = Queue::map(stage, ZIP, 0).unwrap();
    let (plain, output) = (Pages::new(PAGE), Pages::new(2 * PAGE));
    queue.send(&entry(&deflate(plain.address(), PAGE, output.address(), 2 * PAGE)));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(queue.try_recv(), None);
    call(&queue.file, abi::START, &mut []).unwrap();
    assert_eq!(ended(&queue.recv()).status, 0);
    assert_eq!(errno(call(&queue.file, abi::START, &mut [])), Some(libc::EINVAL), "once");
    assert_eq!(errno(call(&queue.file, 0x5799, &mut [])), Some(libc::ENOTTY));
    assert_eq!(
        errno(call(&queue.file, abi::GET_SS_DMA, &mut [0; 8])),
        Some(libc::EINVAL),
        "none is reserved"
    );
    call(&queue.file, abi::PUT_Q, &mut []).unwrap();
    assert_eq!(
        errno(call(&queue.file, abi::START, &mut [])),
        Some(libc::EINVAL),
        "not after it was put back"
    );
}

#[test]
fn m05_a_device_has_as_many_queues_as_it_says() {
    let mut device = hpre();
    (device.queues, device.queues_per_process) = (5, 3);
    let Some(lab) = Lab::of(vec![device]) else { return };
    let [mut first, mut second] = [0; 2].map(|_| lab.child("opens until it cannot"));
    let (mut opened, mut most) = ([0; 2], 0);
    for (child, opened) in [&mut first, &mut second].into_iter().zip(&mut opened) {
        child.say("open");
        *opened = child.hears("opened").parse().unwrap();
        most += *opened;
    }
    assert_eq!((opened, most), ([3, 2], 5), "the first is limited by itself, the second by the device");
    assert_eq!(lab.available(HPRE), 0);
    first.say("close");
    first.hears("closed");
    soon("the first's", || lab.available(HPRE) == 3);
    second.say("open");
    assert_eq!(second.hears("opened"), "3");
}

fn opens_until_it_cannot(stage: &Stage) {
    let mut queues = Vec::new();
    loop {
        match stage.wait().as_str() {
            "open" => {
                let refused = loop {
                    match Queue::map(stage, HPRE, 0) {
                        Ok(queue) => queues.push(queue),
                        Err(e) => break e,
                    }
                };
                assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
                stage.tell(format_args!("opened {}", queues.len()));
            }
            _ => {
                queues.clear();
                stage.tell("closed");
            }
        }
    }
}

#[test]
fn m05_a_device_costs_nothing_until_somebody_opens_it() {
    let Some(folder) = space() else { return };
    let serving = Serving::start(folder.path());
    let held = || (serving.cpu_ticks(), serving.switches("serve-0"), serving.threads().len());
    // The last attribute that was read is an answer that may still be cleared away.
    let mut idle = held();
    soon("a time in which nobody wakes up", || {
        let before = idle;
        std::thread::sleep(Duration::from_millis(300));
        idle = held();
        before == idle
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(held(), idle, "and nobody does any more");
    let mut child = Child::start("opens two queues", folder.path());
    child.hears("both");
    let agent = format!("agent-{}", child.pid());
    assert_eq!(serving.threads().iter().filter(|name| **name == agent).count(), 1, "one for the process");
    assert_ne!(held(), idle, "now it has something to look at");
    child.ends();
    soon("the end of its thread", || !serving.threads().contains(&agent));
    soon("sleep", || {
        let before = held();
        std::thread::sleep(Duration::from_millis(100));
        held() == before
    });
}
