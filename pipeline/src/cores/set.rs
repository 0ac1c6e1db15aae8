//! A set of cpus.

use std::fmt;

use super::CoreError;

/// Cpu and lcore numbers are below this: the size of the kernel's `cpu_set_t` in glibc.
///
/// `core_affinity` indexes that array with whatever it is given and panics beyond, so no greater number may reach it.
pub const MAX_CPUS: usize = libc::CPU_SETSIZE as usize;

const WORDS: usize = MAX_CPUS / 64;

/// Cpu numbers, each below [`MAX_CPUS`]. Displayed as DPDK writes them: `0,2-3`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// The set of no cpu.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; WORDS])
    }

    /// The set of the given cpus.
    ///
    /// # Errors
    /// [`CoreError::OutOfRange`] when one is [`MAX_CPUS`] or more.
    pub fn of(cpus: &[usize]) -> Result<Self, CoreError> {
        let mut set = Self::new();
        for &cpu in cpus {
            set.insert(cpu)?;
        }
        Ok(set)
    }

    /// Adds a cpu.
    ///
    /// # Errors
    /// [`CoreError::OutOfRange`] when it is [`MAX_CPUS`] or more.
    pub fn insert(&mut self, cpu: usize) -> Result<(), CoreError> {
        let word = self.0.get_mut(cpu / 64).ok_or(CoreError::OutOfRange { cpu })?;
        *word |= 1 << (cpu % 64);
        Ok(())
    }

    /// Whether the cpu is in the set.
    #[must_use]
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.get(cpu / 64).is_some_and(|word| word & (1 << (cpu % 64)) != 0)
    }

    /// How many cpus there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// The cpus, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..MAX_CPUS).filter(|&cpu| self.contains(cpu))
    }

    /// The cpu, if there is exactly one.
    #[must_use]
    pub fn only(&self) -> Option<usize> {
        let mut cpus = self.iter();
        let first = cpus.next();
        if cpus.next().is_none() { first } else { None }
    }

    /// The cpus of this set that are not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = *self;
        for (word, theirs) in left.0.iter_mut().zip(other.0) {
            *word &= !theirs;
        }
        left
    }

    /// The cpus of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = *self;
        for (word, theirs) in all.0.iter_mut().zip(other.0) {
            *word |= theirs;
        }
        all
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut cpus = self.iter().peekable();
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|&next| next == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                1 => write!(f, "{separator}{first},{last}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_show_as_numbers_and_ranges() {
        let set = CpuSet::of(&[9, 0, 2, 3, 4, 63, 64, 1023, 9]).unwrap();
        assert_eq!(set.to_string(), "0,2-4,9,63,64,1023");
        assert_eq!(set.len(), 8);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 2, 3, 4, 9, 63, 64, 1023]);
        assert!(set.contains(64) && !set.contains(65) && !set.contains(1 << 40));
        assert_eq!(CpuSet::new().to_string(), "");
    }

    #[test]
    fn a_cpu_beyond_the_kernels_set_is_refused() {
        let e = CpuSet::of(&[1024]).unwrap_err();
        assert!(e.to_string().contains("1024") && e.to_string().contains("0 to 1023"), "{e}");
        assert!(CpuSet::new().insert(usize::MAX).is_err());
    }

    #[test]
    fn one_is_only_one() {
        assert_eq!(CpuSet::new().only(), None);
        assert_eq!(CpuSet::of(&[7]).unwrap().only(), Some(7));
        assert_eq!(CpuSet::of(&[7, 8]).unwrap().only(), None);
    }

    #[test]
    fn set_arithmetic() {
        let (a, b) = (CpuSet::of(&[0, 1, 100]).unwrap(), CpuSet::of(&[1, 2]).unwrap());
        assert_eq!(a.minus(&b), CpuSet::of(&[0, 100]).unwrap());
        assert_eq!(a.union(&b), CpuSet::of(&[0, 1, 2, 100]).unwrap());
    }
}
