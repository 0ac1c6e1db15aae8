//! Names of system calls, and their numbers.

use syscalls::Sysno;

/// The number of a call, if there is one of this name.
#[must_use]
pub fn number_of(name: &str) -> Option<u32> {
    name.parse::<Sysno>().ok().and_then(|call| u32::try_from(call.id()).ok())
}

/// The name of a call; of one that is not known, its number.
#[must_use]
pub fn name_of(number: u64) -> String {
    known(number).map_or_else(|| format!("call {number}"), str::to_owned)
}

/// The name of a call, if it is known.
#[must_use]
pub fn known(number: u64) -> Option<&'static str> {
    usize::try_from(number).ok().and_then(Sysno::new).map(|call| call.name())
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
}
