use std::time::Instant;

use super::client::{Client, until};
use super::{hpre, server};
use crate::engine::rsa::RsaKey;
use crate::uacce::abi::hpre::{Addresses, Algorithm, Entry, NULL, error};

/// A key as descriptors bring it, padded to `half` bytes a number.
fn crt(key: &RsaKey) -> Vec<u8> {
    let parts = key.parts("test").unwrap();
    let half = key.bits() / 16;
    let mut bytes = Vec::new();
    for number in [&parts.dq, &parts.dp, &parts.q, &parts.p, &parts.qinv] {
        bytes.extend(std::iter::repeat_n(0, half - number.len()));
        bytes.extend_from_slice(number);
    }
    bytes
}

#[test]
fn private_operations_are_undone_by_public_ones() {
    let server = server(vec![hpre()]);
    let mut client = Client::open(&*server.devices()[0], 0, 16);
    let key = RsaKey::generate(2048).unwrap();
    let bytes = crt(&key);
    let mut public = vec![0; 253];
    public.extend([1, 0, 1]);
    public.extend_from_slice(key.modulus());
    for round in 0..3_u8 {
        let plain: Vec<u8> = (0..=255).map(|i: u8| i.wrapping_mul(7) & 0x7f ^ round).collect();
        let (mut signed, mut back) = (vec![0_u8; 256], vec![0_u8; 256]);
        let addresses = Addresses {
            key: bytes.as_ptr() as u64,
            input: plain.as_ptr() as u64,
            output: signed.as_mut_ptr() as u64,
        };
        let tag = 0xdead_0000_0000 + u64::from(round);
        let done = client.call(&Entry::new(Algorithm::Crt, 256, addresses, tag).0);
        let done = Entry(done.try_into().unwrap());
        assert_eq!((done.ended(), done.tag(), done.algorithm()), (Some(0), tag, 1));
        let addresses = Addresses {
            key: public.as_ptr() as u64,
            input: signed.as_ptr() as u64,
            output: back.as_mut_ptr() as u64,
        };
        let done = client.call(&Entry::new(Algorithm::NoCrt, 256, addresses, tag).0);
        assert_eq!(Entry(done.try_into().unwrap()).ended(), Some(0));
        assert!(back == plain, "{round}");
    }
}

#[test]
fn nothing_is_done_in_order_however_often_and_memory_is_that_of_the_start() {
    let server = server(vec![hpre()]);
    let device = &*server.devices()[0];
    let free = || device.attribute("available_instances").unwrap();
    let before = free();
    let mut client = Client::open(device, 0, 16);
    assert_ne!(free(), before);
    let mut entry = Entry::default();
    entry.0[0] = NULL | 1 << 30;
    let mut words = [0; 16];
    let began = Instant::now();
    for round in 0..5_000_u32 {
        // As many as fit, so that both rings wrap at all places.
        let n = 1 + round % 100;
        for i in 0..n {
            entry.0[8] = round * 1000 + i;
            client.put(&entry.0);
        }
        client.ring(crate::uacce::abi::qm::Command::Submitted, client.tail);
        for i in 0..n {
            client.recv(&mut words);
            assert_eq!((words[0] >> 30, words[8]), (3, round * 1000 + i));
        }
    }
    println!("{:?} for 252,500", began.elapsed());
    drop(client);
    until("it is free again", || free() == before);
}

#[test]
fn keys_and_addresses_that_are_none_are_refused() {
    let server = server(vec![hpre()]);
    let mut client = Client::open(&*server.devices()[0], 0, 16);
    let (key, input, mut output) = (vec![0_u8; 640], vec![1_u8; 256], vec![0_u8; 256]);
    let mut addresses = Addresses {
        key: key.as_ptr() as u64,
        input: input.as_ptr() as u64,
        output: output.as_mut_ptr() as u64,
    };
    let mut call = |addresses, operand| {
        let done = client.call(&Entry::new(Algorithm::Crt, operand, addresses, 1).0);
        Entry(done.try_into().unwrap()).ended().unwrap()
    };
    assert_eq!(call(addresses, 256), error::PARAMETER, "zeros are no key");
    assert_eq!(call(addresses, 200), error::PARAMETER, "a length that is none");
    addresses.key = 0x1000;
    assert_eq!(call(addresses, 256), error::ADDRESS);
    addresses.key = 1 << 63;
    assert_eq!(call(addresses, 256), error::ADDRESS);
}
