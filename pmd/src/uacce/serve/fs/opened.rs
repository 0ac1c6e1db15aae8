//! What is open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackingId, FileHandle};

use crate::uacce::serve::QueueFile;

/// A queue file that is open.
pub(super) struct Queue {
    /// The number of its node.
    pub(super) node: u64,
    /// Bytes of its memory.
    pub(super) bytes: u64,
    /// What is behind it.
    pub(super) file: Box<dyn QueueFile>,
    /// The kernel's name of the memory. It must last as long as the file is open.
    pub(super) backing: BackingId,
}

/// An attribute that is open: who reads it in pieces gets pieces of one value.
#[derive(Default)]
pub(super) struct Reading(Mutex<Option<Arc<str>>>);

impl Reading {
    /// The value to read from at `offset`: as sysfs, a new one at the start of the file, else the last one.
    pub(super) fn value<E>(
        &self,
        offset: u64,
        now: impl FnOnce() -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        let mut last = taken(&self.0);
        match &*last {
            Some(value) if offset != 0 => Ok(Arc::clone(value)),
            _ => Ok(Arc::clone(last.insert(now()?.into()))),
        }
    }
}

/// Open files by the handles that the kernel calls them by.
pub(super) struct Table<T>(Mutex<HashMap<u64, Arc<T>>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Table<T> {
    pub(super) fn insert(&self, handle: FileHandle, file: Arc<T>) {
        taken(&self.0).insert(handle.0, file);
    }

    pub(super) fn get(&self, handle: FileHandle) -> Option<Arc<T>> {
        taken(&self.0).get(&handle.0).cloned()
    }

    /// Takes it out. The lock is free when the caller drops it.
    pub(super) fn remove(&self, handle: FileHandle) -> Option<Arc<T>> {
        taken(&self.0).remove(&handle.0)
    }

    pub(super) fn find<U>(&self, of: impl Fn(&T) -> Option<U>) -> Option<U> {
        taken(&self.0).values().find_map(|file| of(file))
    }
}

/// Handles, none of them 0 or twice.
pub(super) struct Handles(AtomicU64);

impl Default for Handles {
    fn default() -> Self {
        Self(AtomicU64::new(1))
    }
}

impl Handles {
    pub(super) fn next(&self) -> FileHandle {
        FileHandle(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// A lock whose holder has panicked is as good as any: what it guards is whole between any two statements.
fn taken<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_of_one_value() {
        let reading = Reading::default();
        let mut values = ["1000\n", "9\n", "10\n"].into_iter();
        let mut at = |offset| reading.value(offset, || values.next().map(str::to_owned).ok_or(())).unwrap();
        // The first is taken wherever it is read from.
        assert_eq!(
            [at(3), at(3), at(0), at(2), at(0)].map(|v| v.to_string()),
            ["1000\n", "1000\n", "9\n", "9\n", "10\n"]
        );
    }

    #[test]
    fn a_failure_is_not_kept() {
        let reading = Reading::default();
        assert_eq!(reading.value(0, || Err(5)), Err(5));
        assert_eq!(reading.value(1, || Ok::<_, ()>("a\n".to_owned())).as_deref(), Ok("a\n"));
    }
}
