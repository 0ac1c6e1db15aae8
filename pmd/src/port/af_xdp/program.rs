//! The XDP program: which frames go to our sockets. Assembled here, so that nothing but a kernel is needed to run it.
//!
//! A frame that is not taken, or whose queue has no socket, is passed to the kernel stack as if nothing were here.

use super::abi::{BPF_FUNC_REDIRECT_MAP, BPF_PSEUDO_MAP_FD, Insn};

/// Which frames a port takes from its queues.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter<'a> {
    /// Ethernet types. With none here and none below all frames are taken.
    pub ethertypes: &'a [u16],
    /// UDP destination ports.
    pub udp_ports: &'a [u16],
    /// Longer frames are passed to the kernel stack: they would not fit a buffer.
    pub max_frame: Option<usize>,
}

#[derive(Clone, Copy)]
enum Reg {
    /// Result of the program and of helpers.
    R0 = 0,
    /// The context at entry; first argument of a helper.
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    /// Kept over calls: our context.
    R6 = 6,
    /// Our first byte of the frame.
    R7 = 7,
    /// Our end of the frame.
    R8 = 8,
}
use Reg::{R0, R1, R2, R3, R4, R6, R7, R8};

#[derive(Clone, Copy)]
enum Width {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
}

/// A place to jump to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Ipv4,
    Ipv6,
    Ports,
    Take,
    Pass,
}

/// Collects instructions, and sets the jumps right at the end. Opcodes: Documentation/bpf/standardization.
#[derive(Default)]
struct Assembler {
    insns: Vec<Insn>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl Assembler {
    fn push(&mut self, code: u8, dst: Reg, src: Reg, off: i16, imm: i32) {
        self.insns.push(Insn { code, regs: (src as u8) << 4 | dst as u8, off, imm });
    }
    fn mov(&mut self, dst: Reg, src: Reg) {
        self.push(0xbf, dst, src, 0, 0);
    }
    fn mov_imm(&mut self, dst: Reg, imm: u32) {
        self.push(0xb4, dst, R0, 0, imm as i32);
    }
    fn add(&mut self, dst: Reg, src: Reg) {
        self.push(0x0f, dst, src, 0, 0);
    }
    fn add_imm(&mut self, dst: Reg, imm: i32) {
        self.push(0x07, dst, R0, 0, imm);
    }
    fn and_imm(&mut self, dst: Reg, imm: i32) {
        self.push(0x57, dst, R0, 0, imm);
    }
    fn shift_left_imm(&mut self, dst: Reg, bits: i32) {
        self.push(0x67, dst, R0, 0, bits);
    }
    /// `dst = *(src + off)`, zero-extended, in host byte order.
    fn load(&mut self, width: Width, dst: Reg, src: Reg, off: i16) {
        self.push(0x61 | width as u8, dst, src, off, 0);
    }
    /// Two instructions' worth of one 64-bit value: the address of a map, which the kernel puts in for its fd.
    fn load_map(&mut self, dst: Reg, map_fd: i32) {
        self.insns.push(Insn { code: 0x18, regs: BPF_PSEUDO_MAP_FD << 4 | dst as u8, off: 0, imm: map_fd });
        self.push(0x00, R0, R0, 0, 0);
    }
    fn call(&mut self, helper: i32) {
        self.push(0x85, R0, R0, 0, helper);
    }
    fn exit(&mut self) {
        self.push(0x95, R0, R0, 0, 0);
    }
    fn jump_if(&mut self, code: u8, dst: Reg, src: Reg, imm: i32, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(code, dst, src, 0, imm);
    }
    fn jump(&mut self, to: Label) {
        self.jump_if(0x05, R0, R0, 0, to);
    }
    /// Unsigned, 64 bits.
    fn jump_if_greater(&mut self, a: Reg, b: Reg, to: Label) {
        self.jump_if(0x2d, a, b, 0, to);
    }
    fn jump_if_below_imm(&mut self, a: Reg, imm: i32, to: Label) {
        self.jump_if(0xa5, a, R0, imm, to);
    }
    fn jump_if_equal_imm(&mut self, a: Reg, imm: i32, to: Label) {
        self.jump_if(0x15, a, R0, imm, to);
    }
    fn jump_if_not_equal_imm(&mut self, a: Reg, imm: i32, to: Label) {
        self.jump_if(0x55, a, R0, imm, to);
    }
    fn jump_if_any_bit_imm(&mut self, a: Reg, imm: i32, to: Label) {
        self.jump_if(0x45, a, R0, imm, to);
    }
    fn label(&mut self, label: Label) {
        self.labels.push((label, self.insns.len()));
    }

    fn finish(mut self) -> Vec<Insn> {
        for (at, to) in self.jumps {
            let target = self.labels.iter().find(|(label, _)| *label == to);
            let (_, target) = target.expect("every label that is jumped to is set below");
            // A jump counts from the instruction behind it. MAX_FILTER keeps the program far below 32,768.
            self.insns[at].off = (*target as isize - at as isize - 1) as i16;
        }
        self.insns
    }
}

/// A 16-bit field of a frame as a load in host order sees it.
fn wire(value: u16) -> i32 {
    i32::from(value.to_be())
}

const ETHERTYPE: i16 = 12;
const IP: i16 = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const IPV6_HEADER: i16 = 40;
const UDP: i32 = 17;
const UDP_HEADER: i16 = 8;
const DESTINATION_PORT: i16 = 2;

/// The program. `missing` is what becomes of a frame that is taken but whose queue has no socket in the map.
pub(super) fn assemble(filter: &Filter<'_>, map_fd: i32, missing: u32) -> Vec<Insn> {
    let mut a = Assembler::default();
    a.mov(R6, R1);
    a.load(Width::Word, R7, R6, 0); // xdp_md.data
    a.load(Width::Word, R8, R6, 4); // xdp_md.data_end
    if let Some(max) = filter.max_frame {
        a.mov(R2, R7);
        a.add_imm(R2, max as i32 + 1);
        // More than `max` bytes: the verifier sees a bounds check, of which nothing is made.
        a.jump_if(0xbd, R2, R8, 0, Label::Pass); // R2 <= R8
    }
    if !filter.ethertypes.is_empty() || !filter.udp_ports.is_empty() {
        within(&mut a, IP);
        a.load(Width::Half, R3, R7, ETHERTYPE);
        for ethertype in filter.ethertypes {
            a.jump_if_equal_imm(R3, wire(*ethertype), Label::Take);
        }
        if !filter.udp_ports.is_empty() {
            a.jump_if_equal_imm(R3, wire(IPV4), Label::Ipv4);
            a.jump_if_equal_imm(R3, wire(IPV6), Label::Ipv6);
        }
        a.jump(Label::Pass);
        if !filter.udp_ports.is_empty() {
            udp(&mut a, filter.udp_ports);
        }
    }
    a.label(Label::Take);
    a.load(Width::Word, R2, R6, 16); // xdp_md.rx_queue_index
    a.load_map(R1, map_fd);
    a.mov_imm(R3, missing);
    a.call(BPF_FUNC_REDIRECT_MAP);
    a.exit();
    // The verifier wants no instruction that cannot be reached.
    if a.jumps.iter().any(|(_, to)| *to == Label::Pass) {
        a.label(Label::Pass);
        a.mov_imm(R0, super::abi::XDP_PASS);
        a.exit();
    }
    a.finish()
}

/// Passes frames that are shorter than `bytes`, so that the verifier lets us read these.
fn within(a: &mut Assembler, bytes: i16) {
    a.mov(R2, R7);
    a.add_imm(R2, i32::from(bytes));
    a.jump_if_greater(R2, R8, Label::Pass);
}

/// Takes UDP to the given ports. Fragments are passed, the first ones too, so that one party has all of a datagram;
/// so is IPv6 with extension headers.
fn udp(a: &mut Assembler, ports: &[u16]) {
    a.label(Label::Ipv4); // RFC 791
    within(a, IP + 20 + UDP_HEADER);
    a.load(Width::Byte, R4, R7, IP + 9); // protocol
    a.jump_if_not_equal_imm(R4, UDP, Label::Pass);
    a.load(Width::Half, R4, R7, IP + 6); // more fragments, offset
    a.jump_if_any_bit_imm(R4, wire(0x3fff), Label::Pass);
    a.load(Width::Byte, R4, R7, IP); // version and header length in words
    a.and_imm(R4, 0x0f);
    a.shift_left_imm(R4, 2);
    a.jump_if_below_imm(R4, 20, Label::Pass);
    a.add(R4, R7);
    a.mov(R2, R4);
    a.add_imm(R2, i32::from(IP + UDP_HEADER));
    a.jump_if_greater(R2, R8, Label::Pass);
    a.load(Width::Half, R3, R4, IP + DESTINATION_PORT);
    a.jump(Label::Ports);

    a.label(Label::Ipv6); // RFC 8200
    within(a, IP + IPV6_HEADER + UDP_HEADER);
    a.load(Width::Byte, R4, R7, IP + 6); // next header
    a.jump_if_not_equal_imm(R4, UDP, Label::Pass);
    a.load(Width::Half, R3, R7, IP + IPV6_HEADER + DESTINATION_PORT);

    a.label(Label::Ports);
    for port in ports {
        a.jump_if_equal_imm(R3, wire(*port), Label::Take);
    }
    a.jump(Label::Pass);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::abi::{XDP_DROP, XDP_PASS};
    use super::super::bpf;
    use super::*;

    /// Runs the program in the kernel over each frame, with an empty map, so that "taken" shows as a drop. `None`
    /// where bpf(2) is not for us.
    fn taken(filter: &Filter<'_>, frames: &[Vec<u8>]) -> Option<Vec<bool>> {
        let map = match bpf::create_xskmap(4) {
            Ok(map) => map,
            Err(e) => {
                eprintln!("skipped: bpf(2) needs root or CAP_BPF and CAP_NET_ADMIN: {e}");
                return None;
            }
        };
        let insns = assemble(filter, std::os::fd::AsRawFd::as_raw_fd(&map), XDP_DROP);
        let program = bpf::load_xdp(&insns).unwrap_or_else(|e| panic!("{e}"));
        let run = |frame: &Vec<u8>| match bpf::test_run(&program, frame).unwrap() {
            XDP_DROP => true,
            XDP_PASS => false,
            other => panic!("action {other}"),
        };
        Some(frames.iter().map(run).collect())
    }

    fn frame(ethertype: u16, rest: &[&[u8]]) -> Vec<u8> {
        let mut f = vec![2; 12];
        f.extend(ethertype.to_be_bytes());
        rest.iter().for_each(|part| f.extend(*part));
        f.resize(f.len().max(60), 0);
        f
    }

    fn ipv4(words: u8, protocol: u8, fragment: u16) -> Vec<u8> {
        let mut h = vec![0; usize::from(words) * 4];
        h[0] = 0x40 | words;
        h[6..8].copy_from_slice(&fragment.to_be_bytes());
        h[9] = protocol;
        h
    }

    fn ipv6(next: u8) -> Vec<u8> {
        let mut h = vec![0; 40];
        (h[0], h[6]) = (0x60, next);
        h
    }

    fn to_port(port: u16) -> Vec<u8> {
        let [a, b] = port.to_be_bytes();
        vec![0x30, 0x39, a, b, 0, 8, 0, 0]
    }

    #[test]
    fn without_a_filter_every_frame_is_taken() {
        let frames = [frame(0x0806, &[]), frame(0xffff, &[&[7; 400]])];
        let Some(taken) = taken(&Filter::default(), &frames) else { return };
        assert_eq!(taken, [true, true]);
    }

    #[test]
    fn ethertypes_are_taken_and_others_passed() {
        let filter = Filter { ethertypes: &[0x0806, 0x88f7], ..Filter::default() };
        let frames = [frame(0x0806, &[]), frame(0x88f7, &[]), frame(0x0800, &[]), frame(0x0608, &[])];
        let Some(taken) = taken(&filter, &frames) else { return };
        assert_eq!(taken, [true, true, false, false]);
    }

    #[test]
    fn udp_ports_are_taken_over_both_protocols_and_nothing_else_is() {
        let filter = Filter { udp_ports: &[4433, 53], ..Filter::default() };
        let cases = [
            (frame(0x0800, &[&ipv4(5, 17, 0), &to_port(4433)]), true, "IPv4"),
            (frame(0x0800, &[&ipv4(5, 17, 0x4000), &to_port(53)]), true, "do not fragment"),
            (frame(0x0800, &[&ipv4(15, 17, 0), &to_port(4433)]), true, "the most options"),
            (frame(0x86dd, &[&ipv6(17), &to_port(4433)]), true, "IPv6"),
            (frame(0x0800, &[&ipv4(5, 17, 0), &to_port(4434)]), false, "another port"),
            (frame(0x0800, &[&ipv4(5, 6, 0), &to_port(4433)]), false, "TCP"),
            (frame(0x0800, &[&ipv4(5, 17, 0x2000), &to_port(4433)]), false, "first fragment"),
            (frame(0x0800, &[&ipv4(5, 17, 0x0001), &to_port(4433)]), false, "later fragment"),
            (
                frame(
                    0x0800,
                    &[
                        &{
                            let mut h = ipv4(5, 17, 0);
                            h[0] = 0x44;
                            h
                        },
                        &to_port(4433),
                    ],
                ),
                false,
                "short header",
            ),
            (
                frame(
                    0x0800,
                    &[
                        &{
                            let mut h = ipv4(5, 17, 0);
                            h[0] = 0x4f;
                            h
                        },
                        &to_port(4433),
                    ],
                ),
                false,
                "options cut off",
            ),
            (frame(0x86dd, &[&ipv6(44), &to_port(4433)]), false, "IPv6 fragment"),
            (frame(0x86dd, &[&ipv6(6), &to_port(4433)]), false, "TCP over IPv6"),
            (frame(0x0806, &[&ipv4(5, 17, 0), &to_port(4433)]), false, "ARP"),
            (frame(0x8100, &[&[0, 1, 8, 0], &ipv4(5, 17, 0), &to_port(4433)]), false, "VLAN tag"),
        ];
        let frames: Vec<_> = cases.iter().map(|c| c.0.clone()).collect();
        let Some(taken) = taken(&filter, &frames) else { return };
        for ((_, expected, what), taken) in cases.iter().zip(taken) {
            assert_eq!(taken, *expected, "{what}");
        }
    }

    #[test]
    fn frames_that_do_not_fit_a_buffer_are_passed() {
        let filter = Filter { max_frame: Some(1000), ..Filter::default() };
        let frames = [vec![0; 60], vec![0; 1000], vec![0; 1001]];
        let Some(taken) = taken(&filter, &frames) else { return };
        assert_eq!(taken, [true, true, false]);
    }
}
