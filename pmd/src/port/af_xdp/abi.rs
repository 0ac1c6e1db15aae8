//! Kernel structures and numbers that libc lacks: include/uapi/linux/bpf.h, if_xdp.h, if_link.h, ethtool.h.

/// Commands of bpf(2): `enum bpf_cmd`.
pub(super) const BPF_MAP_CREATE: u32 = 0;
pub(super) const BPF_MAP_UPDATE_ELEM: u32 = 2;
pub(super) const BPF_PROG_LOAD: u32 = 5;
#[cfg(all(test, not(loom)))]
pub(super) const BPF_PROG_TEST_RUN: u32 = 10;
pub(super) const BPF_PROG_GET_FD_BY_ID: u32 = 13;
pub(super) const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
pub(super) const BPF_LINK_CREATE: u32 = 28;

pub(super) const BPF_MAP_TYPE_XSKMAP: u32 = 17;
pub(super) const BPF_PROG_TYPE_XDP: u32 = 6;
pub(super) const BPF_XDP: u32 = 37;
pub(super) const BPF_PSEUDO_MAP_FD: u8 = 1;
pub(super) const BPF_FUNC_REDIRECT_MAP: i32 = 51;
pub(super) const BPF_OBJ_NAME_LEN: usize = 16;

/// `enum xdp_action`.
#[cfg(all(test, not(loom)))]
pub(super) const XDP_DROP: u32 = 1;
pub(super) const XDP_PASS: u32 = 2;

/// How to attach: if_link.h.
pub(super) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
pub(super) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// What the kernel keeps free in front of a received frame: bpf.h.
pub(super) const XDP_PACKET_HEADROOM: usize = 256;
/// Smallest chunk of a UMEM; the largest is a page: include/net/xdp_sock.h.
pub(super) const XDP_UMEM_MIN_CHUNK_SIZE: usize = 2048;
/// Descriptors one sendto(2) may send in copy mode: a socket option of if_xdp.h since Linux 6.17. Without it 32.
pub(super) const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

pub(super) const IFLA_CARRIER: u16 = 33;
pub(super) const IFLA_XDP: u16 = 43;
pub(super) const IFLA_XDP_PROG_ID: u16 = 4;
pub(super) const IFLA_XDP_DRV_PROG_ID: u16 = 5;
pub(super) const IFLA_XDP_SKB_PROG_ID: u16 = 6;
pub(super) const IFLA_XDP_HW_PROG_ID: u16 = 7;

pub(super) const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// One instruction: `struct bpf_insn`. `regs` has the destination in its low half, the source in its high half.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Insn {
    pub code: u8,
    pub regs: u8,
    pub off: i16,
    pub imm: i32,
}

/// `union bpf_attr` as BPF_MAP_CREATE reads it.
#[repr(C)]
#[derive(Default)]
pub(super) struct MapCreate {
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub map_flags: u32,
    pub inner_map_fd: u32,
    pub numa_node: u32,
    pub map_name: [u8; BPF_OBJ_NAME_LEN],
}

/// As the element commands read it.
#[repr(C)]
#[derive(Default)]
pub(super) struct MapElem {
    pub map_fd: u32,
    pub pad: u32,
    pub key: u64,
    pub value: u64,
    pub flags: u64,
}

/// As BPF_PROG_LOAD reads it.
#[repr(C)]
#[derive(Default)]
pub(super) struct ProgLoad {
    pub prog_type: u32,
    pub insn_cnt: u32,
    pub insns: u64,
    pub license: u64,
    pub log_level: u32,
    pub log_size: u32,
    pub log_buf: u64,
    pub kern_version: u32,
    pub prog_flags: u32,
    pub prog_name: [u8; BPF_OBJ_NAME_LEN],
    pub prog_ifindex: u32,
    pub expected_attach_type: u32,
}

/// As BPF_LINK_CREATE reads it.
#[repr(C)]
#[derive(Default)]
pub(super) struct LinkCreate {
    pub prog_fd: u32,
    pub target_ifindex: u32,
    pub attach_type: u32,
    pub flags: u32,
}

/// As the commands read it that open an object by its id.
#[repr(C)]
#[derive(Default)]
pub(super) struct GetFdById {
    pub id: u32,
    pub next_id: u32,
    pub open_flags: u32,
}

/// As BPF_OBJ_GET_INFO_BY_FD reads it.
#[repr(C)]
#[derive(Default)]
pub(super) struct ObjInfo {
    pub bpf_fd: u32,
    pub info_len: u32,
    pub info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
pub(super) struct ProgInfo {
    pub prog_type: u32,
    pub id: u32,
    pub tag: [u8; 8],
    pub jited_prog_len: u32,
    pub xlated_prog_len: u32,
    pub jited_prog_insns: u64,
    pub xlated_prog_insns: u64,
    pub load_time: u64,
    pub created_by_uid: u32,
    pub nr_map_ids: u32,
    pub map_ids: u64,
    pub name: [u8; BPF_OBJ_NAME_LEN],
}

/// As BPF_PROG_TEST_RUN reads it.
#[cfg(all(test, not(loom)))]
#[repr(C)]
#[derive(Default)]
pub(super) struct TestRun {
    pub prog_fd: u32,
    pub retval: u32,
    pub data_size_in: u32,
    pub data_size_out: u32,
    pub data_in: u64,
    pub data_out: u64,
    pub repeat: u32,
    pub duration: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
pub(super) struct EthtoolChannels {
    pub cmd: u32,
    pub max_rx: u32,
    pub max_tx: u32,
    pub max_other: u32,
    pub max_combined: u32,
    pub rx_count: u32,
    pub tx_count: u32,
    pub other_count: u32,
    pub combined_count: u32,
}

// Layouts against the headers: no padding that the compiler put in.
const _: () = {
    assert!(size_of::<Insn>() == 8);
    assert!(size_of::<MapCreate>() == 44);
    assert!(size_of::<MapElem>() == 32);
    assert!(size_of::<ProgLoad>() == 72);
    assert!(size_of::<LinkCreate>() == 16);
    assert!(size_of::<GetFdById>() == 12);
    assert!(size_of::<ObjInfo>() == 16);
    assert!(size_of::<ProgInfo>() == 80);
    assert!(size_of::<EthtoolChannels>() == 36);
};
