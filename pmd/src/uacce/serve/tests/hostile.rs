use super::client::{Client, me, until};
use super::{Accelerator, Errno, Process, hpre, server};
use crate::uacce::abi::START;
use crate::uacce::abi::hpre::{Entry, NULL};
use crate::uacce::abi::qm::Command;

fn null() -> [u32; 16] {
    let mut entry = Entry::default();
    entry.0[0] = NULL | 1 << 30;
    entry.0
}

#[test]
fn a_doorbell_beyond_the_ring_costs_its_queue_alone() {
    let server = server(vec![hpre()]);
    let device = &*server.devices()[0];
    let (mut good, bad) = (Client::open(device, 0, 16), Client::open(device, 0, 16));
    bad.ring(Command::Submitted, bad.depth());
    until("it is told so", || bad.has_failed());
    assert!(bad.file.poll(None).is_err());
    good.call(&null());
    assert!(!good.has_failed());
}

#[test]
fn who_has_not_opened_a_queue_has_no_say() {
    let server = server(vec![hpre()]);
    let device: &dyn Accelerator = &*server.devices()[0];
    let file = device.open(me()).unwrap();
    assert_eq!(file.ioctl(Process(1), START, &[]), Err(Errno::PERM));
    assert_eq!(file.ioctl(me(), 0x5799, &[]), Err(Errno::NOTTY));
    file.ioctl(me(), START, &[]).unwrap();
    assert_eq!(file.ioctl(me(), START, &[]), Err(Errno::INVAL), "once");
}

#[test]
fn queues_of_a_process_are_limited() {
    let mut config = hpre();
    (config.queues, config.queues_per_process) = (3, 2);
    let server = server(vec![config]);
    let device = &*server.devices()[0];
    let one = Client::open(device, 0, 16);
    let _two = Client::open(device, 0, 16);
    assert_eq!(device.open(me()).err(), Some(Errno::BUSY));
    one.put_back();
    until("it is free", || device.attribute("available_instances").unwrap() == "2\n");
    let _three = Client::open(device, 0, 16);
}

#[test]
fn an_entry_whose_doorbell_was_overwritten_is_found() {
    let server = server(vec![hpre()]);
    let mut client = Client::open(&*server.devices()[0], 0, 16);
    client.call(&null());
    let mut words = [0; 16];
    for _ in 0..2000 {
        client.put(&null());
        // What takes the place of the doorbell for it, as when another thread takes completions.
        client.ring(Command::Taken, client.cq_head);
        client.recv(&mut words);
        client.call(&null());
    }
}
