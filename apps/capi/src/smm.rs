//! Small blocks of a large piece of memory. The comments of the calls are those of the header.
//!
//! The books are kept here and not in the memory, which a device may write to. They are found by the memory's address, under a lock.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::io::Errno;
use warpdrive_mempool::{Ledger, SmmError, Va};
use warpdrive_pmd::uacce::Lineage;

use crate::border::{Failure, guarded, number, telling};
use crate::memory::Reserve;

/// Books of one piece of memory.
struct Piece {
    bytes: usize,
    ledger: Ledger,
    /// The reserved memory that it is of, if so: it goes with that.
    of: Option<Weak<Reserve>>,
}

#[derive(Default)]
struct Books {
    /// By their addresses. No two overlap.
    pieces: BTreeMap<usize, Piece>,
    reserved: Vec<Weak<Reserve>>,
}

/// The books of one process. A child finds its parent's, whose lock may be held for ever, and begins its own.
struct Owned {
    lineage: Lineage,
    books: Mutex<Books>,
}

static BOOKS: AtomicPtr<Owned> = AtomicPtr::new(null_mut());

fn books() -> Result<MutexGuard<'static, Books>, Failure> {
    loop {
        let now = BOOKS.load(Ordering::Acquire);
        // SAFETY: NULL, or made below of a box that is never freed.
        if let Some(owned) = unsafe { now.as_ref() }
            && !owned.lineage.is_left()
        {
            return Ok(owned.books.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let lineage = Lineage::of_this_process().map_err(|cause| {
            Failure::new(Errno::NOMEM, format!("smm: cannot tell children apart: {cause}"))
        })?;
        let new = Box::into_raw(Box::new(Owned { lineage, books: Mutex::default() }));
        if BOOKS.compare_exchange(now, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

/// Blocks of this memory are to be in one piece for its devices, and to go with it.
pub(crate) fn remember(reserve: &Arc<Reserve>) {
    if let Ok(mut books) = books() {
        books.clean();
        books.reserved.push(Arc::downgrade(reserve));
    }
}

impl Books {
    /// Forgets memory that is no more.
    fn clean(&mut self) {
        let is_there = |of: &Weak<Reserve>| of.strong_count() > 0;
        self.reserved.retain(is_there);
        self.pieces.retain(|_, piece| piece.of.as_ref().is_none_or(is_there));
    }

    fn init(&mut self, address: usize, bytes: usize, align: usize) -> Result<(), SmmError> {
        self.clean();
        let ledger = Ledger::new(Va(address), bytes, align)?;
        let end = address + bytes;
        self.pieces.retain(|start, piece| *start >= end || start + piece.bytes <= address);
        let holds = |of: &&Weak<Reserve>| {
            of.upgrade().is_some_and(|reserve| {
                reserve.address() <= address && end <= reserve.address() + reserve.bytes()
            })
        };
        let of = self.reserved.iter().find(holds).cloned();
        self.pieces.insert(address, Piece { bytes, ledger, of });
        Ok(())
    }

    fn piece(&mut self, address: usize) -> Result<&mut Piece, Failure> {
        self.clean();
        let unknown =
            || Failure::new(Errno::INVAL, "smm: nothing of this address. Remedy: smm_init, in this process");
        self.pieces.get_mut(&address).ok_or_else(unknown)
    }
}

impl Piece {
    fn alloc(&mut self, bytes: usize) -> Result<Va, SmmError> {
        match self.of.as_ref().and_then(Weak::upgrade) {
            Some(reserve) => {
                self.ledger.alloc(bytes, reserve.step(), |va, len| reserve.dma_of(va.0, len).is_some())
            }
            None => self.ledger.alloc(bytes, 1, |_, _| true),
        }
    }
}

fn failure(error: SmmError) -> Failure {
    let errno = if let SmmError::Exhausted { .. } = error { Errno::NOMEM } else { Errno::INVAL };
    Failure::new(errno, format!("smm: {error}"))
}

/// Makes small blocks of `size` bytes at `pt_addr`, which are aligned to `align_mask + 1` bytes, a power of two. Blocks of an earlier
/// `smm_init` of any of these bytes are forgotten. The memory itself is not touched. If it was reserved with a queue, blocks are in one
/// piece for devices, and go when it goes.
///
/// These calls may be made by any thread.
///
/// Returns 0; -EINVAL: no memory, no such alignment.
///
/// `pt_addr` is only looked at as a number.
#[unsafe(no_mangle)]
pub extern "C" fn smm_init(pt_addr: *mut c_void, size: usize, align_mask: c_int) -> c_int {
    let init = || {
        let bad =
            || Failure::new(Errno::INVAL, "smm_init: no memory, or no alignment: a power of two, less 1");
        let align = usize::try_from(align_mask).ok().and_then(|mask| mask.checked_add(1)).ok_or_else(bad)?;
        let address = pt_addr as usize;
        if address == 0 || size == 0 || address.checked_add(size).is_none() {
            return Err(bad());
        }
        books()?.init(address, size, align).map_err(failure)
    };
    number(guarded(init))
}

/// Allocates a block of `size` bytes.
///
/// Returns its address. NULL with errno: ENOMEM: there is no such piece left; EINVAL: `pt_addr` is not that of an `smm_init` of this
/// process, or its memory has gone with its queue.
///
/// `pt_addr` is only looked at as a number.
#[unsafe(no_mangle)]
pub extern "C" fn smm_alloc(pt_addr: *mut c_void, size: usize) -> *mut c_void {
    let alloc = || {
        let va = books()?.piece(pt_addr as usize)?.alloc(size).map_err(failure)?;
        // The caller's own memory: with the provenance of the pointer that it has for it.
        Ok(pt_addr.wrapping_byte_add(va.0 - pt_addr as usize))
    };
    guarded(alloc).unwrap_or(null_mut())
}

/// Frees a block. NULL is none, and nothing happens. What is no block, or was freed before, is left alone; errno is EINVAL then.
///
/// `pt_addr` and `ptr` are only looked at as numbers.
#[unsafe(no_mangle)]
pub extern "C" fn smm_free(pt_addr: *mut c_void, ptr: *mut c_void) {
    let free = || {
        if ptr.is_null() {
            return Ok(());
        }
        books()?.piece(pt_addr as usize)?.ledger.free(Va(ptr as usize)).map_err(failure)
    };
    telling(free);
}
