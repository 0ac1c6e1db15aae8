//! What the kernel has, and permits to this process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Area, Fact, Fix, Roots, Verdict, names, read, value_of};

/// include/uapi/linux/capability.h
pub(super) const CAP_IPC_LOCK: u32 = 14;
const CAPABILITIES: [(u32, &str); 5] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (CAP_IPC_LOCK, "CAP_IPC_LOCK"),
    (21, "CAP_SYS_ADMIN"),
    (39, "CAP_BPF"),
];
const SETCAP: &str =
    "setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock,cap_sys_admin+ep \"$(command -v warpdrive)\"";
/// MADV_POPULATE_WRITE, and all of AF_XDP that is used.
const OLDEST: (u32, u32) = (5, 14);

pub(super) fn facts(roots: &Roots) -> Vec<Fact> {
    let status = read(&roots.proc.join("self/status")).unwrap_or_default();
    vec![
        version(&read(&roots.proc.join("sys/kernel/osrelease")).unwrap_or_default()),
        held(capabilities(&status)),
        feature("af_xdp", &af_xdp(), "packets without the kernel's network stack", "CONFIG_XDP_SOCKETS=y"),
        feature(
            "tpacket_v3",
            &tpacket_v3(),
            "packets through a ring shared with the kernel",
            "modprobe af_packet",
        ),
        feature(
            "tun/tap",
            &open(&roots.dev.join("net/tun")),
            "virtual interfaces for tests and for the tap port",
            "modprobe tun; mkdir -p /dev/net; mknod /dev/net/tun c 10 200",
        ),
        feature(
            "bpf(2)",
            &bpf_map(),
            "the program that steers packets to AF_XDP sockets",
            "CONFIG_BPF_SYSCALL=y",
        ),
        feature(
            "network namespaces",
            &network_namespace(),
            "tests build networks of their own in them",
            "CONFIG_NET_NS=y",
        ),
        feature(
            "userfaultfd",
            &userfaultfd(),
            "page faults of a shared address space in software",
            "CONFIG_USERFAULTFD=y",
        ),
        needed(feature(
            "memfd",
            &memfd(),
            "memory shared with devices and other processes",
            "CONFIG_MEMFD_CREATE=y",
        )),
        feature(
            "/dev/fuse",
            &open(&roots.dev.join("fuse")),
            "software devices with a device file of their own (CUSE, FUSE)",
            "modprobe fuse; mknod /dev/fuse c 10 229",
        ),
        perf_event(&cycle_counter(), roots.proc.join("sys/kernel/perf_event_paranoid")),
        uacce(&names(&roots.sys.join("class/uacce"))),
        iommu(names(&roots.sys.join("kernel/iommu_groups")).len()),
    ]
}

/// The effective capabilities in /proc/self/status, as a mask.
pub(super) fn capabilities(status: &str) -> u64 {
    value_of(status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
}

fn version(release: &str) -> Fact {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let found = if release.is_empty() { "unknown" } else { release };
    let why = "from 5.14 on a pool's pages are populated at start, so that no packet waits for one";
    Fact::new(Area::Kernel, "kernel", found, why).note_if(
        version < OLDEST,
        "apt-get install --only-upgrade linux-image-amd64   # to 5.14 or newer, and reboot",
    )
}

fn held(mask: u64) -> Fact {
    let missing: Vec<_> =
        CAPABILITIES.iter().filter(|(bit, _)| mask & (1 << bit) == 0).map(|&(_, name)| name).collect();
    let found = if missing.is_empty() {
        CAPABILITIES.map(|(_, name)| name).join(" ")
    } else {
        format!("without {}", missing.join(" "))
    };
    let why = "raw and XDP sockets, interfaces, BPF, locked memory and physical addresses each need one";
    Fact::new(Area::Kernel, "capabilities", found, why).note_if(!missing.is_empty(), SETCAP)
}

/// A feature that was tried. `lacking` is the remedy where the kernel has it not; a refusal wants privileges.
fn feature(name: &str, tried: &io::Result<()>, why: &'static str, lacking: &str) -> Fact {
    match tried {
        Ok(()) => Fact::new(Area::Kernel, name, "works", why),
        Err(e) => {
            let refused = e.kind() == io::ErrorKind::PermissionDenied;
            let remedy = match lacking.strip_prefix("CONFIG_") {
                _ if refused => SETCAP.to_owned(),
                Some(_) => format!("a kernel built with {lacking}"),
                None => lacking.to_owned(),
            };
            Fact::new(Area::Kernel, name, format!("no: {e}"), why).judged(Verdict::Note, remedy)
        }
    }
}

/// A feature without which nothing runs.
fn needed(mut fact: Fact) -> Fact {
    if fact.verdict == Verdict::Note {
        fact.verdict = Verdict::Bad;
    }
    fact
}

/// The descriptor that a system call returned, or its error.
fn owned(returned: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(returned) {
        // SAFETY: callers pass the fresh result of a call that makes a descriptor; nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    owned(unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) }.into())
}

fn af_xdp() -> io::Result<()> {
    socket(libc::AF_XDP).map(drop)
}

fn tpacket_v3() -> io::Result<()> {
    const TPACKET_V3: libc::c_int = 2; // include/uapi/linux/if_packet.h
    let fd = socket(libc::AF_PACKET)?;
    // SAFETY: the value lives across the call and its size is given.
    let set = unsafe {
        let (value, size) =
            (std::ptr::from_ref(&TPACKET_V3).cast(), size_of::<libc::c_int>() as libc::socklen_t);
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_VERSION, value, size)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn open(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the name is NUL-terminated and lives across the call.
    owned(unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) }.into()).map(drop)
}

/// Makes an array map of one element, the smallest thing bpf(2) can make.
fn bpf_map() -> io::Result<()> {
    const BPF_MAP_CREATE: libc::c_long = 0; // include/uapi/linux/bpf.h
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    // map_type, key_size, value_size, max_entries, map_flags
    let attr: [u32; 5] = [BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0];
    // SAFETY: the attributes live across the call and their size is given.
    owned(unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, attr.as_ptr(), size_of_val(&attr)) })
        .map(drop)
}

/// Enters a new network namespace on a thread of its own, and leaves it by ending.
fn network_namespace() -> io::Result<()> {
    let enter = || {
        // SAFETY: no memory is passed; a network namespace changes this thread alone.
        let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    std::thread::Builder::new()
        .spawn(enter)?
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
}

fn userfaultfd() -> io::Result<()> {
    const UFFD_USER_MODE_ONLY: libc::c_int = 1; // include/uapi/linux/userfaultfd.h
    // SAFETY: no memory is passed.
    owned(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | UFFD_USER_MODE_ONLY) }).map(drop)
}

fn memfd() -> io::Result<()> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a NUL-terminated literal.
    owned(unsafe { libc::memfd_create(c"warpdrive-doctor".as_ptr(), flags) }.into()).map(drop)
}

/// Opens a counter of this thread's cycles in user mode.
fn cycle_counter() -> io::Result<()> {
    const BYTES: u64 = 64; // PERF_ATTR_SIZE_VER0, include/uapi/linux/perf_event.h
    const EXCLUDE_KERNEL_AND_HV: u64 = 1 << 5 | 1 << 6;
    // type 0 (hardware) and size; config 0 (cycles); period, sample and read formats; flags; wakeup; addresses
    let attr: [u64; 8] = [BYTES << 32, 0, 0, 0, 0, EXCLUDE_KERNEL_AND_HV, 0, 0];
    let (this_thread, any_cpu, no_group, flags) = (0, -1, -1, 0);
    // SAFETY: the attributes are of the size they say and live across the call.
    owned(unsafe {
        libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), this_thread, any_cpu, no_group, flags)
    })
    .map(drop)
}

fn perf_event(counter: &io::Result<()>, paranoid: PathBuf) -> Fact {
    let why = "counts cycles and cache misses of a poll loop; without it only time is measured";
    let fact = Fact::new(Area::Kernel, "perf_event", "works", why);
    let Err(e) = counter else { return fact };
    let fact = Fact { found: format!("no: {e}"), ..fact };
    if e.kind() == io::ErrorKind::PermissionDenied {
        // 2 lets everybody count user mode of their own processes, the kernel's own default.
        fact.judged(Verdict::Note, "sysctl -w kernel.perf_event_paranoid=2")
            .fixed_by(Fix::Set { paths: vec![paranoid], value: "2".to_owned() })
    } else {
        fact.judged(Verdict::Note, "in a virtual machine, pass the host's counters: qemu -cpu host,pmu=on")
    }
}

fn uacce(devices: &[String]) -> Fact {
    let found = if devices.is_empty() { "none".to_owned() } else { devices.join(" ") };
    let why =
        "hardware accelerators for RSA and ZIP; without them `warpdrive serve` and software engines do it";
    Fact::new(Area::Kernel, "uacce devices", found, why)
}

fn iommu(groups: usize) -> Fact {
    let found = if groups == 0 { "none".to_owned() } else { format!("{groups} groups") };
    let why = "VFIO and shared virtual addresses of hardware need an IOMMU; software devices have their own";
    let remedy = "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&intel_iommu=on iommu=pt /' /etc/default/grub && update-grub && \
                  reboot   # a virtual machine needs a virtual IOMMU";
    Fact::new(Area::Kernel, "iommu", found, why).note_if(groups == 0, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{named, tree};
    use super::*;

    #[test]
    fn versions() {
        for (release, verdict) in [
            ("6.1.0-13-amd64", Verdict::Good),
            ("5.14", Verdict::Good),
            ("5.13.99", Verdict::Note),
            ("4.19.0", Verdict::Note),
            ("", Verdict::Note),
        ] {
            assert_eq!(version(release).verdict, verdict, "{release}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(held(capabilities("CapPrm:\t0\nCapEff:\t000001ffffffffff\n")).verdict, Verdict::Good);
        let fact = held(capabilities("CapEff:\t0000000000003000\n"));
        assert_eq!(fact.found, "without CAP_IPC_LOCK CAP_SYS_ADMIN CAP_BPF");
        assert_eq!(capabilities("CapEff:\tnonsense\n"), 0);
    }

    #[test]
    fn a_refusal_and_a_lack_have_different_remedies() {
        let fact = |errno| feature("x", &Err(io::Error::from_raw_os_error(errno)), "why", "CONFIG_X=y");
        assert!(fact(libc::EPERM).remedy.unwrap().starts_with("setcap"));
        assert_eq!(fact(libc::EAFNOSUPPORT).remedy.unwrap(), "a kernel built with CONFIG_X=y");
    }

    #[test]
    fn device_files_and_folders_are_found() {
        let (_dir, roots) = tree(&[
            ("dev/net/tun", ""),
            ("sys/class/uacce/hisi_zip-0/api", "hisi_qm_v2\n"),
            ("sys/kernel/iommu_groups/0/type", "DMA\n"),
        ]);
        let facts = facts(&roots);
        assert_eq!(named(&facts, "tun/tap").verdict, Verdict::Good);
        assert!(named(&facts, "/dev/fuse").found.starts_with("no: "));
        assert_eq!(named(&facts, "uacce devices").found, "hisi_zip-0");
        assert_eq!(named(&facts, "iommu").found, "1 groups");
    }

    #[test]
    fn counters_are_permitted_or_absent() {
        let fact = |errno| perf_event(&Err(io::Error::from_raw_os_error(errno)), PathBuf::from("paranoid"));
        assert!(matches!(fact(libc::EACCES).fix, Some(Fix::Set { value, .. }) if value == "2"));
        assert_eq!(fact(libc::ENOENT).fix, None);
        assert_eq!(perf_event(&Ok(()), PathBuf::new()).verdict, Verdict::Good);
        // An attribute structure of a wrong shape would be refused as such.
        let answer = cycle_counter().err().and_then(|e| e.raw_os_error());
        assert!(answer != Some(libc::EINVAL) && answer != Some(libc::E2BIG), "{answer:?}");
    }

    #[test]
    fn what_every_linux_has_works() {
        memfd().unwrap();
        open(Path::new("/dev/null")).unwrap();
    }
}
