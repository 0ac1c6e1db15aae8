//! bpf(2): the socket map, the program, and the link that holds the program to the interface.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::abi::*;

/// Makes a system call of it. The kernel takes a structure shorter than `union bpf_attr` for one that ends in zeroes.
fn bpf<T>(command: u32, attr: &mut T) -> io::Result<i64> {
    // SAFETY: `attr` is a `repr(C)` structure of abi.rs with the layout that this command reads, valid for its size;
    // what its address fields point to is kept alive by the callers below over the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn bpf_fd<T>(command: u32, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)? as RawFd;
    // SAFETY: the commands this is used with return a new descriptor (close-on-exec) that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

const NAME: [u8; BPF_OBJ_NAME_LEN] = *b"warpdrive_xdp\0\0\0";

/// A map from receive queue to AF_XDP socket.
pub(super) fn create_xskmap(entries: u32) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        map_type: BPF_MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: entries,
        map_name: NAME,
        ..MapCreate::default()
    };
    bpf_fd(BPF_MAP_CREATE, &mut attr)
}

/// Puts a socket into the map. The kernel takes it out when the socket is closed.
pub(super) fn set_socket(map: &OwnedFd, queue: u32, socket: &OwnedFd) -> io::Result<()> {
    let value = socket.as_raw_fd() as u32;
    let mut attr = MapElem {
        map_fd: map.as_raw_fd() as u32,
        key: address(&queue),
        value: address(&value),
        ..MapElem::default()
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Loads an XDP program. When the verifier rejects it, its log is in the error.
pub(super) fn load_xdp(insns: &[Insn]) -> io::Result<OwnedFd> {
    // No GPL-only helper is called, so any licence will do: the project's own.
    let license = c"MIT";
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
        prog_name: NAME,
        expected_attach_type: BPF_XDP,
        ..ProgLoad::default()
    };
    match bpf_fd(BPF_PROG_LOAD, &mut attr) {
        Err(e) if e.raw_os_error() != Some(libc::EPERM) => {}
        loaded_or_not_allowed => return loaded_or_not_allowed,
    }
    // Once more, for the reasons.
    let mut log = vec![0u8; 64 << 10];
    attr.log_level = 1;
    attr.log_size = log.len() as u32;
    attr.log_buf = log.as_mut_ptr().expose_provenance() as u64;
    bpf_fd(BPF_PROG_LOAD, &mut attr).map_err(|again| {
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]);
        io::Error::new(again.kind(), format!("{again}; the verifier says: {}", log.trim_end()))
    })
}

/// Attaches the program. It stays for as long as the descriptor is open in some process, and no longer.
pub(super) fn attach(program: &OwnedFd, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: ifindex,
        attach_type: BPF_XDP,
        flags,
    };
    bpf_fd(BPF_LINK_CREATE, &mut attr)
}

/// The name a program was loaded with.
pub(super) fn program_name(id: u32) -> io::Result<String> {
    let program = bpf_fd(BPF_PROG_GET_FD_BY_ID, &mut GetFdById { id, ..GetFdById::default() })?;
    let mut info = ProgInfo::default();
    let mut attr = ObjInfo {
        bpf_fd: program.as_raw_fd() as u32,
        info_len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info).expose_provenance() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let end = info.name.iter().position(|b| *b == 0).unwrap_or(info.name.len());
    Ok(String::from_utf8_lossy(&info.name[..end]).into_owned())
}

fn address<T>(value: &T) -> u64 {
    std::ptr::from_ref(value).expose_provenance() as u64
}

/// Runs an XDP program over a frame, on queue 0 of the loopback interface, and returns its action.
#[cfg(all(test, not(loom)))]
pub(super) fn test_run(program: &OwnedFd, frame: &[u8]) -> io::Result<u32> {
    let mut out = vec![0u8; frame.len() + 256];
    let mut attr = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr().expose_provenance() as u64,
        data_out: out.as_mut_ptr().expose_provenance() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attr)?;
    Ok(attr.retval)
}
