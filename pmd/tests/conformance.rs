//! Every driver and every engine against the conformance suite.

mod rigs;

use warpdrive_pmd::conformance::{check_device, check_port};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::idle::IdlePolicy;

#[test]
fn null_conforms() {
    check_port(&mut rigs::port::Null);
}

#[test]
fn ring_conforms() {
    check_port(&mut rigs::port::Ring::default());
}

#[test]
fn pcap_conforms() {
    check_port(&mut rigs::port::Pcap::new("pcap"));
}

#[test]
fn pcapng_conforms() {
    check_port(&mut rigs::port::Pcap::new("pcapng"));
}

#[test]
fn zip_conforms_inline() {
    check_device(&rigs::zip::Zip::new(Placement::Inline));
}

#[test]
fn zip_conforms_on_an_engine_core() {
    check_device(&rigs::zip::Zip::new(Placement::Core { cpu: 0, idle: IdlePolicy::Pause }));
}

#[test]
fn rsa_conforms_inline() {
    check_device(&rigs::rsa::Rsa::new(Placement::Inline));
}

#[test]
fn rsa_conforms_on_an_engine_core() {
    check_device(&rigs::rsa::Rsa::new(Placement::Core { cpu: 0, idle: IdlePolicy::Pause }));
}

#[test]
fn zip_over_a_queue_file_conforms() {
    if let Some(served) = rigs::uacce::Served::new() {
        let (device, pool) = served.open("hisi_zip-0");
        check_device(&rigs::zip::Zip::of(device, pool));
    }
}

#[test]
fn rsa_over_a_queue_file_conforms() {
    if let Some(served) = rigs::uacce::Served::new() {
        let (device, pool) = served.open("hisi_hpre-0");
        check_device(&rigs::rsa::Rsa::of(device, pool));
    }
}

#[test]
fn af_xdp_conforms() {
    rigs::netns::in_namespace(|| check_port(&mut rigs::netns::AfXdp::default()));
}

#[test]
fn tap_conforms() {
    rigs::netns::in_namespace(|| check_port(&mut rigs::netns::Tap::default()));
}

#[test]
fn af_packet_conforms() {
    rigs::netns::in_namespace(|| check_port(&mut rigs::netns::AfPacket::default()));
}
