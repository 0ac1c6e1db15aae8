//! A network namespace for one test, and the drivers of kernel interfaces in it.

use std::process::Command;

use warpdrive_mempool::Mempool;
use warpdrive_pmd::conformance::{Ends, Medium, PortRig, Receiver};
use warpdrive_pmd::port::PortConfig;
use warpdrive_pmd::port::af_packet::AfPacketConfig;
use warpdrive_pmd::port::af_xdp::AfXdpConfig;
use warpdrive_pmd::port::tap::TapConfig;

/// Runs `test` in a thread with a new network namespace. It has no name: the kernel deletes it with its last user, so
/// nothing is left behind however the test ends. Says so and does nothing where namespaces are not to be had.
pub fn in_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: a plain system call; it changes the namespace of this new thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 || !ip("link set lo up") {
                eprintln!("skipped: needs root and network namespaces, and iproute2");
                return;
            }
            // Otherwise the kernel sends router solicitations of its own.
            for which in ["all", "default"] {
                let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
            }
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `ip` with these arguments in the thread's namespace; whether it could.
pub fn ip(arguments: &str) -> bool {
    match Command::new("ip").args(arguments.split(' ')).output() {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                eprintln!("ip {arguments}: {error}");
            }
            output.status.success()
        }
        Err(e) => {
            eprintln!("ip: {e}");
            false
        }
    }
}

pub fn tap(interface: &str) -> TapConfig {
    TapConfig { interface: interface.to_owned(), mac: None, mtu: None, address: None, queues: 1 }
}

/// Two TAP interfaces on a bridge of the kernel.
#[derive(Default)]
pub struct Tap {
    pairs: usize,
}

impl PortRig for Tap {
    fn name(&self) -> &str {
        "tap"
    }
    fn medium(&self) -> Medium {
        Medium { max_frame: Some(1_518), ..Medium::default() }
    }
    fn open(&mut self, tx_pool: &Mempool, rx_pool: &Mempool) -> Ends {
        self.pairs += 1;
        let [bridge, a, b] = ["br", "ta", "tb"].map(|p| format!("{p}{}", self.pairs));
        let ends = Ends {
            tx: PortConfig::Tap(tap(&a)).open("tx", tx_pool).unwrap(),
            rx: Receiver::Open(PortConfig::Tap(tap(&b)).open("rx", rx_pool).unwrap()),
        };
        assert!(ip(&format!("link add name {bridge} type bridge")));
        assert!(ip(&format!("link set {a} master {bridge}")) && ip(&format!("link set {b} master {bridge}")));
        assert!(ip(&format!("link set {bridge} up")));
        ends
    }
}

/// A fresh veth pair, both ends up in this namespace.
pub fn veth(a: &str, b: &str) {
    assert!(ip(&format!("link add name {a} type veth peer name {b}")));
    for end in [a, b] {
        assert!(ip(&format!("link set {end} up")));
    }
}

/// The two ends of a veth pair.
#[derive(Default)]
pub struct AfPacket {
    pairs: usize,
}

impl PortRig for AfPacket {
    fn name(&self) -> &str {
        "af_packet"
    }
    fn medium(&self) -> Medium {
        Medium { max_frame: Some(1_514), ..Medium::default() }
    }
    fn open(&mut self, tx_pool: &Mempool, rx_pool: &Mempool) -> Ends {
        self.pairs += 1;
        let [a, b] = ["va", "vb"].map(|p| format!("{p}{}", self.pairs));
        veth(&a, &b);
        let open = |i: &str, pool| PortConfig::AfPacket(AfPacketConfig::new(i)).open(i, pool).unwrap();
        Ends { tx: open(&a, tx_pool), rx: Receiver::Open(open(&b, rx_pool)) }
    }
}

/// The two ends of a veth pair, by AF_XDP. Frames of the MTU may have a VLAN tag.
#[derive(Default)]
pub struct AfXdp {
    pairs: usize,
}

impl PortRig for AfXdp {
    fn name(&self) -> &str {
        "af_xdp"
    }
    fn medium(&self) -> Medium {
        Medium { max_frame: Some(1_518), refuses_small_buffers: true, ..Medium::default() }
    }
    fn open(&mut self, tx_pool: &Mempool, rx_pool: &Mempool) -> Ends {
        self.pairs += 1;
        let [a, b] = ["xa", "xb"].map(|p| format!("{p}{}", self.pairs));
        veth(&a, &b);
        let open = |i: &str, pool| {
            let config = AfXdpConfig { ring_size: 64, ..AfXdpConfig::new(i) };
            PortConfig::AfXdp(config).open(i, pool).unwrap()
        };
        Ends { tx: open(&a, tx_pool), rx: Receiver::Open(open(&b, rx_pool)) }
    }
}
