//! Names of system calls, and their numbers.

use syscalls::Sysno;

/// `AUDIT_ARCH_X86_64` of linux/audit.h: numbers of calls mean something only together with it.
pub const ARCH: u32 = 0xC000_003E;

/// The number of a call, if there is one of this name.
#[must_use]
pub fn number_of(name: &str) -> Option<u32> {
    name.parse::<Sysno>().ok().and_then(|call| u32::try_from(call.id()).ok())
}

/// The name of a call; of one that is not known, its number.
#[must_use]
pub fn name_of(number: u64) -> String {
    known(ARCH, number).map_or_else(|| format!("call {number}"), str::to_owned)
}

/// The name of a call that was made by the numbers of `arch`, which is said if it is another one than [`ARCH`].
#[must_use]
pub fn name_in(arch: u32, number: u64) -> String {
    if arch == ARCH { name_of(number) } else { format!("call {number} of architecture {arch:#x}") }
}

/// The name of a call that was made by the numbers of `arch`, if it is known. Allocates nothing.
#[must_use]
pub fn known(arch: u32, number: u64) -> Option<&'static str> {
    let number = usize::try_from(number).ok().filter(|_| arch == ARCH)?;
    Sysno::new(number).map(|call| call.name())
}

/// All names.
pub fn all() -> impl Iterator<Item = &'static str> {
    Sysno::iter().map(|call| call.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        for (name, number) in [
            ("sendto", libc::SYS_sendto),
            ("readv", libc::SYS_readv),
            ("exit_group", libc::SYS_exit_group),
            ("getrandom", libc::SYS_getrandom),
            ("io_uring_enter", libc::SYS_io_uring_enter),
        ] {
            let number = u32::try_from(number).unwrap();
            assert_eq!(number_of(name), Some(number));
            assert_eq!(name_of(u64::from(number)), name);
        }
        assert!(all().all(|name| number_of(name).is_some()));
    }

    #[test]
    fn what_is_not_known_has_no_number_and_no_name() {
        assert_eq!(number_of("sendtoo"), None);
        assert_eq!(number_of(""), None);
        assert_eq!(name_of(100_000), "call 100000");
        assert_eq!(name_of(u64::MAX), format!("call {}", u64::MAX));
    }

    #[test]
    fn a_number_of_another_architecture_is_no_name() {
        let sendto = u64::from(number_of("sendto").unwrap());
        let i386 = 0x4000_0003;
        assert_eq!((known(ARCH, sendto), known(i386, sendto)), (Some("sendto"), None));
        assert_eq!(name_in(ARCH, sendto), "sendto");
        assert_eq!(name_in(i386, sendto), format!("call {sendto} of architecture 0x40000003"));
    }
}
