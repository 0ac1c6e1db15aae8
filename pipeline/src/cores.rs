//! Which cpus work: the core choice of DPDK's EAL (`-c 0x3`, `-l 0,2-3`, `--lcores '(0-1)@(2,3)'`) and pinning.
//!
//! An **lcore** is a number the configuration speaks of; a **cpu** is what the kernel schedules on. [`LcoreMap`] says
//! which lcore runs on which cpus.
//!
//! ```
//! use warpdrive_pipeline::cores;
//!
//! let map = cores::parse_lcores("0@1,(2,3)@(0-1)")?;
//! map.validate(&[0, 1])?; // in earnest: cores::allowed(), taken once before any thread is pinned
//! assert_eq!(map.get(3).map(|cpus| cpus.to_string()), Some("0,1".to_owned()));
//! assert!(cores::parse_list("0,2-").unwrap_err().to_string().contains("expected an lcore number"));
//! # Ok::<(), cores::CoreError>(())
//! ```

mod error;
mod parse;
mod set;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use core_affinity::CoreId;

pub use error::{CoreError, SyntaxError};
pub use parse::{parse_lcores, parse_list, parse_mask};
pub use set::{CpuSet, MAX_CPUS};

/// Which cpus each lcore may run on, in the order of the lcore ids. Never empty, no cpu set in it is.
///
/// Displayed in the syntax of `--lcores`; parsing that gives the same map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LcoreMap(BTreeMap<usize, CpuSet>);

impl LcoreMap {
    /// How many lcores there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a map is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The cpus of an lcore, if it is in the map.
    #[must_use]
    pub fn get(&self, lcore: usize) -> Option<&CpuSet> {
        self.0.get(&lcore)
    }

    /// Lcores with their cpus, lowest lcore first.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &CpuSet)> {
        self.0.iter().map(|(&lcore, cpus)| (lcore, cpus))
    }

    /// Every cpu that some lcore may run on.
    #[must_use]
    pub fn cpus(&self) -> CpuSet {
        self.0.values().fold(CpuSet::new(), |all, cpus| all.union(cpus))
    }

    /// The cpus that more than one lcore may run on: two poll loops there take each other's time.
    #[must_use]
    pub fn contended(&self) -> CpuSet {
        let all = self.cpus();
        let once = all.iter().filter(|&cpu| self.0.values().filter(|cpus| cpus.contains(cpu)).count() == 1);
        once.fold(all, |left, cpu| left.minus(&single(cpu)))
    }

    /// Checks that every cpu is one of `allowed`, the snapshot of [`allowed`] taken before any thread was pinned.
    ///
    /// # Errors
    /// [`CoreError::NotAllowed`] names the lcore, its cpus that are not, and those that are.
    pub fn validate(&self, allowed: &[usize]) -> Result<(), CoreError> {
        let allowed = known(allowed);
        for (lcore, cpus) in self.iter() {
            let missing = cpus.minus(&allowed);
            if !missing.is_empty() {
                return Err(CoreError::NotAllowed {
                    lcore,
                    missing: missing.into(),
                    allowed: allowed.into(),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for LcoreMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = |lcore: usize, cpus: &CpuSet| cpus.only() == Some(lcore);
        let mut separator = "";
        let mut entries = self.iter().peekable();
        while let Some((first, cpus)) = entries.next() {
            let identity = own(first, cpus);
            let mut ids = single(first);
            while let Some((lcore, _)) =
                entries.next_if(|&(l, c)| if identity { own(l, c) } else { !own(l, c) && c == cpus })
            {
                ids = ids.union(&single(lcore));
            }
            let group = |set: &CpuSet| set.only().map_or_else(|| format!("({set})"), |one| one.to_string());
            if identity {
                write!(f, "{separator}{ids}")?;
            } else {
                write!(f, "{separator}{}@{}", group(&ids), group(cpus))?;
            }
            separator = ",";
        }
        Ok(())
    }
}

/// The choice of the command line: one of `-c`, `-l`, `--lcores`, or none of them.
///
/// # Errors
/// [`CoreError::MoreThanOne`] when two are given, else what the option's parser says.
pub fn choose(
    mask: Option<&str>,
    list: Option<&str>,
    lcores: Option<&str>,
) -> Result<Option<LcoreMap>, CoreError> {
    match (mask, list, lcores) {
        (None, None, None) => Ok(None),
        (Some(mask), None, None) => parse_mask(mask).map(Some),
        (None, Some(list), None) => parse_list(list).map(Some),
        (None, None, Some(lcores)) => parse_lcores(lcores).map(Some),
        (Some(_), Some(_), _) => Err(CoreError::MoreThanOne { first: "-c", second: "-l" }),
        (Some(_), None, Some(_)) => Err(CoreError::MoreThanOne { first: "-c", second: "--lcores" }),
        (None, Some(_), Some(_)) => Err(CoreError::MoreThanOne { first: "-l", second: "--lcores" }),
    }
}

/// One lcore on each allowed cpu, of the same number: what runs when nobody chose.
///
/// # Errors
/// [`CoreError::Empty`] when no cpu is allowed.
pub fn auto(allowed: &[usize]) -> Result<LcoreMap, CoreError> {
    let map: BTreeMap<_, _> = known(allowed).iter().map(|cpu| (cpu, single(cpu))).collect();
    if map.is_empty() { Err(CoreError::Empty) } else { Ok(LcoreMap(map)) }
}

/// The cpus this process may use. To be taken once, in `main`: afterwards a pinned thread would see its own cpu only.
///
/// # Errors
/// [`CoreError::Unknown`] when the kernel does not say, as on a machine of more than [`MAX_CPUS`] cpus.
pub fn allowed() -> Result<Vec<usize>, CoreError> {
    match core_affinity::get_core_ids() {
        Some(ids) => Ok(ids.into_iter().map(|core| core.id).collect()),
        None => Err(CoreError::Unknown(io::Error::last_os_error())),
    }
}

/// Pins the calling thread to the cpus, and asks the kernel whether it is so.
///
/// # Errors
/// [`CoreError::Pin`] when the kernel refuses, [`CoreError::PinnedElsewhere`] when a cgroup cuts the set down.
pub fn pin_current(cpus: &CpuSet) -> Result<(), CoreError> {
    let pinned = match cpus.only() {
        None if cpus.is_empty() => return Err(CoreError::Empty),
        Some(id) => core_affinity::set_for_current(CoreId { id }),
        None => {
            let set = to_kernel(cpus);
            // SAFETY: the set is a valid cpu_set_t of the size that is given; 0 is the calling thread.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0 }
        }
    };
    if !pinned {
        return Err(CoreError::Pin { cpus: (*cpus).into(), cause: io::Error::last_os_error() });
    }
    let got = current()?;
    if got == *cpus {
        Ok(())
    } else {
        Err(CoreError::PinnedElsewhere { wanted: (*cpus).into(), got: got.into() })
    }
}

/// The cpus the calling thread may run on now.
///
/// # Errors
/// [`CoreError::Unknown`] when the kernel does not say.
pub fn current() -> Result<CpuSet, CoreError> {
    let mut set = to_kernel(&CpuSet::new());
    // SAFETY: the kernel writes at most the given size into the set; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Err(CoreError::Unknown(io::Error::last_os_error()));
    }
    let mut cpus = CpuSet::new();
    for cpu in 0..MAX_CPUS {
        // SAFETY: the number is below CPU_SETSIZE, the bits of a cpu_set_t.
        if unsafe { libc::CPU_ISSET(cpu, &set) } {
            cpus.insert(cpu)?;
        }
    }
    Ok(cpus)
}

fn to_kernel(cpus: &CpuSet) -> libc::cpu_set_t {
    // SAFETY: all-zero bits are the empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.iter() {
        // SAFETY: a CpuSet holds numbers below CPU_SETSIZE only.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}

/// The set of one cpu whose number came out of a `CpuSet` or the keys of an `LcoreMap`, hence is in range.
fn single(cpu: usize) -> CpuSet {
    known(&[cpu])
}

/// The cpus that a `CpuSet` can hold; others cannot be used anyway.
fn known(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        let _ = set.insert(cpu);
    }
    set
}
