//! Whether code takes the same way through code and memory whatever the secret: two processes that differ in the secret
//! alone are stepped side by side, an instruction at a time. Before each, the next instruction and the addresses that it
//! accesses must be the same in both, and so must what it divides.
//!
//! Sharper than a measurement of time, as one branch in a million instructions is found. But it sees only what runs, so it
//! says nothing of secrets that were not tried; and it takes the cpu's word for the time of all other instructions.

#![allow(unsafe_code, reason = "fork, ptrace, and an instruction that stops")]

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use libc::{c_void, pid_t, user_regs_struct};

/// How far two ways were the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// To the end: so many instructions.
    Same(u64),
    /// They part after so many, here (as `addr2line` takes it).
    Differs { after: u64, at: u64 },
}

/// Says that it is not a number which code under test would have.
const END: u64 = 0x5eed_0f00_dead_beef;
/// No instruction is longer.
const LONGEST: usize = 15;

/// A stop of the debugged process; `rax` tells which.
#[inline(never)]
fn stop(rax: u64) {
    // SAFETY: stops the process for its tracer, and changes nothing.
    unsafe { core::arch::asm!("int3", in("rax") rax) };
}

/// Steps `work` after `prepare` with 0, and after `prepare` with 1, which puts one secret or the other into the same
/// memory. `None`, and says so, where a process may not be traced.
///
/// Both must do without locks and without other threads: they run in copies of a process that may have some.
pub(super) fn compare<T>(
    state: &mut T,
    prepare: impl Fn(&mut T, usize),
    work: impl Fn(&mut T),
) -> Option<Outcome> {
    let mut start = |which| {
        // SAFETY: the child does only what is said above, and ends here.
        match unsafe { libc::fork() } {
            0 => {
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    prepare(state, which);
                    // SAFETY: asks to be traced by the parent, which follows at the first stop.
                    if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } == 0 {
                        stop(0);
                        work(state);
                        stop(END);
                    }
                }));
                // SAFETY: ends the child, without destructors.
                unsafe { libc::_exit(0) }
            }
            pid => Traced(pid),
        }
    };
    let mut pair = [start(0), start(1)];
    if !pair.iter_mut().all(Traced::is_stopped) {
        println!("skipped: a process may not be traced here");
        return None;
    }
    let mut code = Code::default();
    for steps in 0.. {
        let [a, b] = pair.each_mut().map(Traced::registers);
        if a.rip != b.rip || !code.at(a.rip).does_the_same(&a, &b) {
            // SAFETY: reads a number: where the program's headers are, in its first page.
            let base = unsafe { libc::getauxval(libc::AT_PHDR) } & !0xfff;
            return Some(Outcome::Differs { after: steps, at: a.rip.wrapping_sub(base) });
        }
        if a.rax == END {
            return Some(Outcome::Same(steps));
        }
        if !pair.iter_mut().all(Traced::step) {
            break;
        }
    }
    panic!("the traced process ended before its end");
}

/// Instructions by address, decoded once.
#[derive(Default)]
struct Code(HashMap<u64, Step>);

impl Code {
    /// The children's code is ours, at the same place.
    fn at(&mut self, rip: u64) -> &Step {
        self.0.entry(rip).or_insert_with(|| {
            let mut bytes = [0; LONGEST];
            // The page behind the code may not be there.
            let len = LONGEST.min(4096 - rip as usize % 4096);
            let read = |len: usize, bytes: &mut [u8; LONGEST]| {
                // SAFETY: the instruction is there, and begins before the end of its page.
                unsafe { std::ptr::copy_nonoverlapping(rip as *const u8, bytes.as_mut_ptr(), len) }
            };
            read(len, &mut bytes);
            let decode = |bytes: &[u8]| Decoder::with_ip(64, bytes, rip, DecoderOptions::NONE).decode();
            let mut instruction = decode(&bytes[..len]);
            if instruction.is_invalid() {
                // It goes on in the next page, so that is there too.
                read(LONGEST, &mut bytes);
                instruction = decode(&bytes);
            }
            assert!(!instruction.is_invalid(), "no instruction at {rip:x}");
            Step(instruction)
        })
    }
}

struct Step(Instruction);

impl Step {
    fn does_the_same(&self, a: &user_regs_struct, b: &user_regs_struct) -> bool {
        let instruction = &self.0;
        // The time of a division depends on its numbers.
        let divides = matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv);
        if divides && (a.rax, a.rdx) != (b.rax, b.rdx) {
            return false;
        }
        // These only compute with addresses.
        if matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop) {
            return a.rsp == b.rsp;
        }
        let operands = 0..instruction.op_count();
        a.rsp == b.rsp
            && operands.into_iter().all(|i| match instruction.op_kind(i) {
                OpKind::Register if divides => {
                    let divisor = instruction.op_register(i);
                    value(a, divisor) == value(b, divisor)
                }
                OpKind::Register
                | OpKind::NearBranch64
                | OpKind::Immediate8
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate16
                | OpKind::Immediate32
                | OpKind::Immediate32to64
                | OpKind::Immediate64 => true,
                // An address by a vector has none, which is no better than one that differs.
                _ => address(instruction, i, a).is_some_and(|at| Some(at) == address(instruction, i, b)),
            })
    }
}

fn address(instruction: &Instruction, operand: u32, registers: &user_regs_struct) -> Option<u64> {
    instruction.virtual_address(operand, 0, |register, _, _| value(registers, register))
}

fn value(r: &user_regs_struct, register: Register) -> Option<u64> {
    Some(match register.full_register() {
        Register::RAX => r.rax,
        Register::RBX => r.rbx,
        Register::RCX => r.rcx,
        Register::RDX => r.rdx,
        Register::RSI => r.rsi,
        Register::RDI => r.rdi,
        Register::RBP => r.rbp,
        Register::RSP => r.rsp,
        Register::R8 => r.r8,
        Register::R9 => r.r9,
        Register::R10 => r.r10,
        Register::R11 => r.r11,
        Register::R12 => r.r12,
        Register::R13 => r.r13,
        Register::R14 => r.r14,
        Register::R15 => r.r15,
        Register::FS => r.fs_base,
        Register::CS | Register::DS | Register::ES | Register::SS => 0,
        _ => return None,
    })
}

/// A child that is traced. Dropping it ends it.
struct Traced(pid_t);

impl Traced {
    /// Waits until it has stopped. False if it has ended.
    fn is_stopped(&mut self) -> bool {
        let mut status = 0;
        // SAFETY: waits for our own child.
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        waited == self.0 && libc::WIFSTOPPED(status)
    }

    fn step(&mut self) -> bool {
        // SAFETY: it is stopped, and we are its tracer.
        let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, 0) };
        stepped == 0 && self.is_stopped()
    }

    fn registers(&mut self) -> user_regs_struct {
        // SAFETY: zeros are numbers.
        let mut registers: user_regs_struct = unsafe { std::mem::zeroed() };
        let to: *mut c_void = std::ptr::from_mut(&mut registers).cast();
        // SAFETY: it is stopped, and there is room for what is written.
        let got = unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.0, 0, to) };
        assert_eq!(got, 0, "registers of a stopped process");
        registers
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: our own child, which was not waited for to its end yet.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

mod tests {
    use super::*;
    use std::hint::black_box;
    use subtle::{ConditionallySelectable, ConstantTimeEq};

    /// Whether a way is the same for both secrets.
    fn same(work: impl Fn(u8)) -> Option<bool> {
        let prepare = |secret: &mut u8, which| *secret = black_box([7, 8][which]);
        let outcome = compare(&mut 0, prepare, |secret| work(black_box(*secret)))?;
        Some(matches!(outcome, Outcome::Same(steps) if steps > 1))
    }

    #[test]
    fn branches_addresses_and_divisions_are_found_and_a_selection_is_none() {
        let table: [u8; 256] = std::array::from_fn(|i| i as u8);
        let branch = same(|secret| {
            if secret == 7 {
                black_box([0u8; 64]);
            }
        });
        let Some(branch) = branch else { return };
        let lookup = same(|secret| {
            black_box(black_box(&table)[usize::from(secret)]);
        });
        let division = same(|secret| {
            black_box(black_box(1000) / u32::from(secret));
        });
        let remainder = same(|secret| {
            black_box(u32::from(secret) % black_box(3));
        });
        assert_eq!((branch, lookup, division, remainder), (false, Some(false), Some(false), Some(false)));
        let selection = same(|secret| {
            black_box(u8::conditional_select(&3, &4, secret.ct_eq(&7)));
        });
        assert_eq!(selection, Some(true));
    }
}
