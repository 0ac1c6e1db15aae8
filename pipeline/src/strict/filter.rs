//! The filter: which calls the kernel executes without asking.

use std::collections::BTreeSet;

use super::names::ARCH;

/// Where `seccomp_data` has the number of the call, and the architecture.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// A program that allows these calls, and those that end a thread; everything else asks. A thread at its end must not
/// depend on anybody who answers.
pub(super) fn program(allowed: &[u32]) -> Vec<libc::sock_filter> {
    let ends = [libc::SYS_exit, libc::SYS_exit_group].map(|call| call as u32);
    let calls: BTreeSet<u32> = allowed.iter().copied().chain(ends).collect();
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![
        step(LOAD, 0, 0, ARCH_AT),
        step(JUMP_IF_EQUAL, 1, 0, ARCH),
        step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(LOAD, 0, 0, NUMBER_AT),
    ];
    for call in calls {
        program.push(step(JUMP_IF_EQUAL, 0, 1, call));
        program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    }
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::names;

    /// What the kernel's interpreter makes of the few instructions that there are.
    fn verdict(program: &[libc::sock_filter], arch: u32, call: u32) -> u32 {
        let (mut at, mut a) = (0, 0);
        loop {
            let i = &program[at];
            at += 1;
            match i.code {
                LOAD => a = if i.k == ARCH_AT { arch } else { call },
                JUMP_IF_EQUAL => at += usize::from(if a == i.k { i.jt } else { i.jf }),
                RETURN => return i.k,
                other => panic!("no such instruction: {other}"),
            }
        }
    }

    #[test]
    fn what_is_listed_is_allowed_and_nothing_else() {
        let number = |name| names::number_of(name).unwrap();
        let program = program(&[number("sendto"), number("read"), number("sendto")]);
        for name in names::all() {
            let allowed = ["sendto", "read", "exit", "exit_group"].contains(&name);
            let expected = if allowed { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_USER_NOTIF };
            assert_eq!(verdict(&program, ARCH, number(name)), expected, "{name}");
        }
    }

    #[test]
    fn numbers_of_other_architectures_mean_nothing() {
        let sendto = names::number_of("sendto").unwrap();
        let i386 = 0x4000_0003;
        let x32 = 0x4000_0000 | sendto;
        let program = program(&[sendto]);
        assert_eq!(verdict(&program, i386, sendto), libc::SECCOMP_RET_USER_NOTIF);
        assert_eq!(verdict(&program, ARCH, x32), libc::SECCOMP_RET_USER_NOTIF);
    }

    #[test]
    fn all_calls_fit_into_one_filter() {
        let all: Vec<u32> = names::all().filter_map(names::number_of).collect();
        // BPF_MAXINSNS of linux/bpf_common.h.
        assert!(program(&all).len() <= 4096);
    }
}
