//! Small blocks, by the calls of C. No device is needed.

mod common;

use std::ffi::c_void;
use std::ptr::null_mut;

use common::{clear_errno, errno, holds_in_a_child};
use warpdrive::{smm_alloc, smm_free, smm_init};

/// Memory of the heap, at a multiple of 64.
#[repr(align(64))]
struct Heap([u8; 4096]);

impl Heap {
    /// It stays, so that no test has memory that was another's.
    fn new() -> &'static mut Self {
        Box::leak(Box::new(Self([0xee; 4096])))
    }

    fn at(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// errno of freeing a block; 0 if it was one.
fn free(at: *mut c_void, block: *mut c_void) -> i32 {
    clear_errno();
    smm_free(at, block);
    errno()
}

#[test]
fn blocks_are_aligned_apart_and_as_many_as_there_is_room_for() {
    let heap = Heap::new();
    let at = heap.at();
    assert_eq!(smm_init(at, 4096, 63), 0);
    let blocks: Vec<_> =
        std::iter::from_fn(|| Some(smm_alloc(at, 100)).filter(|block| !block.is_null())).collect();
    assert_eq!((blocks.len(), errno()), (32, libc::ENOMEM));
    let mut offsets: Vec<_> = blocks.iter().map(|block| *block as usize - at as usize).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..32).map(|n| n * 128).collect::<Vec<_>>());
    assert_eq!(free(at, blocks[7]), 0);
    assert_eq!((smm_alloc(at, 129), errno()), (null_mut(), libc::ENOMEM));
    assert_eq!(smm_alloc(at, 128), blocks[7]);
    assert!(blocks.iter().all(|block| free(at, *block) == 0));
    assert_eq!(smm_alloc(at, 4096), at, "all of it in one piece again");
    assert!(heap.0.iter().all(|byte| *byte == 0xee), "nothing is written to the memory");
}

#[test]
fn what_is_no_block_is_not_freed() {
    let heap = Heap::new();
    let at = heap.at();
    assert_eq!(smm_init(at, 4096, 0), 0);
    let (a, b) = (smm_alloc(at, 10), smm_alloc(at, 10));
    assert_eq!(b as usize - a as usize, 10);
    let wrong = [a.wrapping_byte_add(1), b.wrapping_byte_add(10), at.wrapping_byte_sub(1), 8 as *mut c_void];
    assert_eq!(wrong.map(|wrong| free(at, wrong)), [libc::EINVAL; 4]);
    assert_eq!([free(at, a), free(at, a), free(at, null_mut())], [0, libc::EINVAL, 0], "twice");
    assert_eq!(smm_alloc(at, 10), a);
    assert_eq!(free(at, b), 0);
}

#[test]
fn memory_that_was_not_made_into_blocks_has_none() {
    let heap = Heap::new();
    let at = heap.at();
    assert_eq!((smm_alloc(at, 1), errno(), free(at, at)), (null_mut(), libc::EINVAL, libc::EINVAL));
    assert_eq!((smm_alloc(null_mut(), 1), errno()), (null_mut(), libc::EINVAL));
    let bad = [(null_mut(), 4096, 63), (at, 0, 63), (at, usize::MAX, 63), (at, 4096, -1), (at, 4096, 64 + 1)];
    for (at, bytes, mask) in bad {
        assert_eq!((smm_init(at, bytes, mask), errno()), (-libc::EINVAL, libc::EINVAL), "{bytes}, {mask}");
    }
    assert_eq!((smm_init(at, 32, 63), smm_init(at, 4096, i32::MAX)), (-libc::EINVAL, -libc::EINVAL));
    assert_eq!(smm_alloc(at, 1), null_mut());
}

#[test]
fn who_begins_anew_forgets_blocks_of_before() {
    let heap = Heap::new();
    let (at, middle) = (heap.at(), heap.at().wrapping_byte_add(2048));
    assert_eq!(smm_init(at, 4096, 63), 0);
    let old = smm_alloc(at, 64);
    assert_eq!((smm_init(at, 2048, 63), free(at, old)), (0, libc::EINVAL));
    assert_eq!((smm_init(middle, 2048, 63), smm_alloc(at, 2048), smm_alloc(middle, 2048)), (0, at, middle));
    // Of a part of either.
    assert_eq!(smm_init(at.wrapping_byte_add(1024), 2048, 63), 0);
    assert_eq!([free(at, at), free(middle, middle)], [libc::EINVAL; 2]);
}

#[test]
fn threads_share_blocks() {
    let heap = Heap::new();
    let at = heap.at() as usize;
    assert_eq!(smm_init(at as *mut c_void, 4096, 63), 0);
    let work = || {
        for n in 0..2000_usize {
            let block = smm_alloc(at as *mut c_void, 64 + n % 900);
            assert!(!block.is_null(), "four at most, of 4,096 bytes");
            // SAFETY: a block of its own, of this size; nobody else accesses it.
            unsafe {
                block.cast::<u8>().write_bytes(n as u8, 64);
                assert_eq!(block.cast::<u8>().add(63).read(), n as u8);
            }
            smm_free(at as *mut c_void, block);
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| _ = scope.spawn(work)));
    assert_eq!(smm_alloc(at as *mut c_void, 4096) as usize, at);
}

#[test]
fn a_child_begins_anew() {
    let heap = Heap::new();
    let at = heap.at();
    assert_eq!(smm_init(at, 4096, 63), 0);
    let block = smm_alloc(at, 64);
    assert!(holds_in_a_child(|| {
        let unknown =
            smm_alloc(at, 64).is_null() && errno() == libc::EINVAL && free(at, block) == libc::EINVAL;
        unknown && smm_init(at, 4096, 63) == 0 && smm_alloc(at, 4096) == at
    }));
    assert_eq!(free(at, block), 0, "the parent's is as it was");
}
