//! Memory of devices that reach all of it, and of devices that do not, by the calls of C.

mod common;

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Queue, Served, clear_errno, errno, far, last_error, send};
use warpdrive::*;
use warpdrive_mempool::{DmaMode, Mapping, PageChoice, PageSize, Sharing};
use warpdrive_pmd::uacce::serve::{DeviceConfig, Function};

const RW: i32 = WD_MEM_READ | WD_MEM_WRITE;

fn reserve(queue: &mut Queue, bytes: usize) -> *mut u8 {
    // SAFETY: a wd_queue; here and in what follows.
    unsafe { wd_reserve_mem(queue.as_ptr(), bytes) }.cast()
}

fn dma_of(queue: &mut Queue, at: *mut u8) -> usize {
    // SAFETY: a wd_queue.
    unsafe { wd_get_dma_from_va(queue.as_ptr(), at.cast()) as usize }
}

fn join(queue: &mut Queue, target: &mut Queue) -> i32 {
    // SAFETY: wd_queues.
    unsafe { wd_share_reserved_memory(queue.as_ptr(), target.as_ptr()) }
}

fn give(queue: &mut Queue, at: *const u8, bytes: usize, flags: i32) -> i32 {
    // SAFETY: a wd_queue.
    unsafe { wd_mem_share(queue.as_ptr(), at.cast(), bytes, flags) }
}

/// errno of taking memory back; 0 if it was.
fn take_back(queue: &mut Queue, at: *const u8, bytes: usize) -> i32 {
    clear_errno();
    // SAFETY: a wd_queue.
    unsafe { wd_mem_unshare(queue.as_ptr(), at.cast(), bytes) };
    errno()
}

/// Compresses what is at `src` to `dst`: the status of the request, or why it was not sent.
fn compress(queue: &mut Queue, src: *mut u8, dst: *mut u8) -> i32 {
    let mut request = wd_zip_req {
        format: WD_ZIP_ZLIB,
        level: 0,
        src: src.cast(),
        src_len: 1000,
        dst_len: 1000,
        dst: dst.cast(),
        consumed: 0,
        produced: 0,
        checksum: 0,
        status: 0,
        user: null_mut(),
    };
    match send(queue, &mut request) {
        0 => {
            assert_eq!(common::recv(queue), Ok((&raw mut request).cast()));
            request.status
        }
        error => error,
    }
}

fn shared(pages: usize) -> Mapping {
    Mapping::new(pages * 4096, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap()
}

fn devices(mode: DmaMode, reserve: usize) -> Option<Served> {
    let zip = |name| far(name, Function::Zip, mode, reserve);
    Served::with(vec![zip("hisi_zip-0"), zip("hisi_zip-1"), DeviceConfig::new("hisi_zip-2", Function::Zip)])
}

#[test]
fn with_shared_virtual_addressing_any_memory_will_do() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    let mut heap = vec![7_u8; 2000];
    let (src, dst) = (heap.as_mut_ptr(), heap[1000..].as_mut_ptr());
    assert_eq!((compress(&mut queue, src, dst), dma_of(&mut queue, src)), (0, src as usize));
    // There is nothing to share, and it can be taken back as often.
    assert_eq!([give(&mut queue, src, 2000, RW), give(&mut queue, src, 2000, WD_MEM_READ)], [0; 2]);
    let back = [2000, 1999, 2000, 2000].map(|bytes| take_back(&mut queue, src, bytes));
    assert_eq!(back, [0, libc::ENOENT, 0, libc::ENOENT]);
    assert_eq!(compress(&mut queue, src, dst), 0, "it is memory like any other");
    // What is reserved is for speed.
    let memory = reserve(&mut queue, 5000);
    assert_eq!((queue.get().ss_va, queue.get().ss_dma), (memory.cast(), memory.cast()));
    // SAFETY: reserved, of whole pages, and the device does nothing.
    let (zeros, behind) = unsafe { ([0, 4999, 8191].map(|at| memory.add(at).read()), memory.add(4000)) };
    assert_eq!((zeros, compress(&mut queue, memory, behind)), ([0; 3], 0));
    assert!(reserve(&mut queue, 5000).is_null());
    assert_eq!(errno(), libc::EEXIST);
    let mut other = served.queue("hisi_zip-0", WD_COMPRESS);
    assert!(reserve(&mut other, 0).is_null());
    assert_eq!((errno(), dma_of(&mut other, null_mut()), errno()), (libc::EINVAL, 0, libc::EFAULT));
}

#[test]
fn flags_limit_what_a_device_does_to_memory_that_was_given() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    let (input, output) = (shared(2), shared(2));
    let (src, dst) = (input.as_ptr(), output.as_ptr());
    assert_eq!((give(&mut queue, src, 8192, WD_MEM_READ), give(&mut queue, dst, 8192, WD_MEM_WRITE)), (0, 0));
    assert_eq!(compress(&mut queue, src, dst), 0);
    assert_eq!(compress(&mut queue, dst, src), -libc::EFAULT);
    assert_eq!(compress(&mut queue, src, src.wrapping_add(4096)), -libc::EFAULT, "to be read only");
    assert_eq!(compress(&mut queue, dst, dst.wrapping_add(4096)), -libc::EFAULT, "to be written only");
    // Counted, and with the same flags for everybody.
    assert_eq!(give(&mut queue, src, 8192, WD_MEM_READ), 0);
    assert_eq!(give(&mut queue, src, 8192, RW), -libc::EEXIST);
    assert_eq!([(); 3].map(|()| take_back(&mut queue, src, 8192)), [0, 0, libc::ENOENT]);
    assert_eq!(give(&mut queue, src, 8192, RW), 0);
    let cases = [
        (src, 0, RW),
        (src, 8192, 0),
        (src, 8192, 4),
        (src, 8192, -1),
        (null_mut(), 8192, RW),
        (src, usize::MAX, RW),
        (src, 100, RW),
        (src.wrapping_add(8), 4096, RW),
    ];
    for (at, bytes, flags) in cases {
        assert_eq!(give(&mut queue, at, bytes, flags), -libc::EINVAL, "{at:?}, {bytes}, {flags}");
    }
}

#[test]
fn in_a_share_domain_devices_reach_what_they_are_given_and_nothing_else() {
    let Some(served) = devices(DmaMode::ShareDomain, 0) else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    // SAFETY: valid until the queue is released.
    assert_eq!(unsafe { (*queue.get().dev_info).iommu_type }, WD_SHARE_DOMAIN);
    let mut heap = vec![7_u8; 8192];
    let at = heap.as_mut_ptr();
    assert_eq!(compress(&mut queue, at, at.wrapping_add(4096)), -libc::EFAULT);
    assert_eq!((dma_of(&mut queue, at), errno()), (0, libc::EFAULT));
    assert_eq!(give(&mut queue, at, 4096, RW), -libc::EOPNOTSUPP, "{}", last_error());

    let memory = shared(3);
    let first = memory.as_ptr();
    assert_eq!(give(&mut queue, first, 3 * 4096, RW), 0, "{}", last_error());
    let middle = first.wrapping_add(4096);
    assert_eq!(give(&mut queue, middle, 4096, WD_MEM_READ), -libc::EEXIST, "with other flags");
    assert_eq!(compress(&mut queue, first, middle), 0);
    let dma = dma_of(&mut queue, first);
    assert!(dma != 0 && dma != first as usize && dma_of(&mut queue, first.wrapping_add(9000)) == dma + 9000);
    assert_eq!(dma_of(&mut queue, first.wrapping_add(3 * 4096)), 0, "behind it");
    assert_eq!(
        compress(&mut queue, first.wrapping_add(3 * 4096 - 999), first),
        -libc::EFAULT,
        "one byte is not"
    );
    // By the device's addresses, in an entry of our own: taken back, they are nobody's.
    let mut entry = [0_u32; 32];
    let mut raw = |queue: &mut Queue| {
        (entry[4], entry[7], entry[9], entry[14]) = (1000, 0x3200_0000, 0x4001, 1000);
        (entry[18], entry[19]) = (dma as u32, (dma >> 32) as u32);
        (entry[20], entry[21]) = ((dma + 4096) as u32, (dma >> 32) as u32);
        let at = (&raw mut entry).cast::<c_void>();
        // SAFETY: an entry that is received before it goes.
        assert_eq!(unsafe { wd_send_raw(queue.as_ptr(), at) }, 0);
        assert_eq!(common::recv(queue), Ok(at));
        entry[3] & 0xff
    };
    assert_eq!(raw(&mut queue), 0);
    assert_eq!(take_back(&mut queue, first, 3 * 4096), 0);
    assert_eq!(raw(&mut queue), 5, "an address error");
    assert_eq!(compress(&mut queue, first, first.wrapping_add(4096)), -libc::EFAULT);
}

#[test]
fn memory_may_be_the_callers_own_memfd_whose_descriptor_is_closed() {
    let Some(served) = devices(DmaMode::ShareDomain, 0) else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    // SAFETY: a new memfd, mapped where nothing is, and unmapped by nobody before the end of the test.
    let at = unsafe {
        let fd = libc::memfd_create(c"a caller's".as_ptr(), libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC);
        assert_eq!(libc::ftruncate(fd, 8192), 0);
        let at = libc::mmap(null_mut(), 8192, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0);
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(give(&mut queue, at.cast(), 8192, RW), -libc::EINVAL, "it could shrink");
        assert_eq!(libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK), 0);
        libc::close(fd);
        at.cast::<u8>()
    };
    assert_eq!(give(&mut queue, at, 8192, RW), 0, "{}", last_error());
    assert_eq!(compress(&mut queue, at, at.wrapping_add(4096)), 0);
    drop(queue);
    // SAFETY: mapped above.
    unsafe { libc::munmap(at.cast(), 8192) };
}

/// A process reserves memory of a device once: tests that do take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn reserved_memory_serves_several_queues_and_lasts_as_long_as_one_of_them() {
    let _turn = turn();
    for (mode, bytes) in [(DmaMode::ShareDomain, 0), (DmaMode::ShareDomain, 64 << 10), (DmaMode::NoIommu, 0)]
    {
        let Some(served) = devices(mode, bytes) else { return };
        let what = format!("{mode}, {bytes} bytes reserved by the device");
        let mut a = served.queue("hisi_zip-0", WD_COMPRESS);
        let (mut b, mut c) =
            (served.queue("hisi_zip-1", WD_COMPRESS), served.queue("hisi_zip-2", WD_COMPRESS));
        assert_eq!(join(&mut a, &mut b), -libc::EINVAL, "nothing is reserved: {what}");
        let memory = reserve(&mut a, 32 << 10);
        if memory.is_null() && mode == DmaMode::NoIommu {
            eprintln!("skipped: {}", last_error());
            return;
        }
        assert!(!memory.is_null(), "{what}: {}", last_error());
        let (src, dst) = (memory, memory.wrapping_add(16 << 10));
        assert_eq!(compress(&mut a, src, dst), 0, "{what}");
        let dma = dma_of(&mut a, src);
        assert_eq!(a.get().ss_dma as usize, dma);
        if mode == DmaMode::ShareDomain {
            assert_eq!(dma_of(&mut a, dst) - dma, 16 << 10);
            // A server's own addresses begin there.
            assert_eq!(dma >= 1 << 40, bytes > 0, "{dma:#x}, {what}");
        }
        assert_eq!(compress(&mut b, src, dst), -libc::EFAULT, "not shared yet: {what}");
        assert_eq!(join(&mut a, &mut b), 0, "{what}: {}", last_error());
        assert_eq!((b.get().ss_va, b.get().ss_dma), (a.get().ss_va, a.get().ss_dma));
        assert_eq!([join(&mut a, &mut b), join(&mut b, &mut a)], [-libc::EEXIST; 2]);
        let same = a.as_ptr();
        // SAFETY: a wd_queue.
        assert_eq!(unsafe { wd_share_reserved_memory(same, same) }, -libc::EINVAL);
        assert_eq!((join(&mut a, &mut c), c.get().ss_va), (-libc::EXDEV, null_mut()), "of another mode");
        drop(a);
        assert_eq!(compress(&mut b, src, dst), 0, "after the first is released: {what}");
        // SAFETY: still mapped, and no device works on it.
        assert_eq!(unsafe { dst.read() }, 0x78);
        drop(b);
        assert!(!is_mapped(memory), "{what}");
        assert_eq!(served.attribute("hisi_zip-0", "available_instances"), "256");
    }
}

#[test]
fn memory_of_one_server_is_not_that_of_another() {
    let _turn = turn();
    let Some(here) = devices(DmaMode::ShareDomain, 64 << 10) else { return };
    let Some(there) = devices(DmaMode::ShareDomain, 64 << 10) else { return };
    let (mut a, mut b) = (here.queue("hisi_zip-0", 0), there.queue("hisi_zip-0", 0));
    assert!(!reserve(&mut a, 64 << 10).is_null(), "{}", last_error());
    assert_eq!((join(&mut a, &mut b), b.get().ss_va), (-libc::EXDEV, null_mut()));
    // Of this process, it can be given to either.
    let memory = reserve(&mut b, 64 << 10);
    assert!(!memory.is_null(), "{}", last_error());
    let mut c = here.queue("hisi_zip-1", 0);
    assert_eq!(join(&mut b, &mut c), 0, "{}", last_error());
    assert_eq!(
        [
            compress(&mut b, memory, memory.wrapping_add(4096)),
            compress(&mut c, memory, memory.wrapping_add(4096))
        ],
        [0; 2]
    );
}

fn is_mapped(at: *mut u8) -> bool {
    let mut resident = 0;
    // SAFETY: asks only.
    unsafe { libc::mincore(at.cast(), 4096, &raw mut resident) == 0 }
}

#[test]
fn what_a_device_has_not_reserved_is_of_the_process() {
    let _turn = turn();
    let Some(served) = devices(DmaMode::ShareDomain, 64 << 10) else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    // Behind the end of a file there is nothing to be touched.
    let memory = reserve(&mut queue, (64 << 10) + 1);
    assert!(!memory.is_null() && dma_of(&mut queue, memory) < 1 << 40, "{}", last_error());
    let last = memory.wrapping_add(64 << 10);
    assert_eq!(compress(&mut queue, memory, last), 0);
    // SAFETY: reserved, and no device works on it.
    assert_eq!(unsafe { last.read() }, 0x78);
    let mut other = served.queue("hisi_zip-0", WD_COMPRESS);
    let memory = reserve(&mut other, 64 << 10);
    assert!(!memory.is_null() && dma_of(&mut other, memory) >= 1 << 40, "{}", last_error());
}

#[test]
fn without_an_iommu_memory_is_reserved_and_not_given() {
    let _turn = turn();
    let Some(served) = devices(DmaMode::NoIommu, 0) else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    let memory = shared(1);
    assert_eq!(give(&mut queue, memory.as_ptr(), 4096, RW), -libc::EOPNOTSUPP);
    let first = reserve(&mut queue, 16 << 10);
    if first.is_null() {
        eprintln!("skipped: {}", last_error());
        return;
    }
    assert_eq!(compress(&mut queue, first, first.wrapping_add(4096)), 0);
    // Blocks are in one piece for the device, wherever pages are.
    assert_eq!(smm_init(first.cast(), 16 << 10, 63), 0);
    while let block @ 1.. = smm_alloc(first.cast(), 1500) as usize {
        let dma = |at: usize| dma_of(&mut queue, at as *mut u8);
        let ends = [block, block + 1499];
        let [begin, end] = ends.map(dma);
        assert_eq!(end - begin, 1499);
    }
    drop(queue);
    assert!(smm_alloc(first.cast(), 1).is_null());
    assert_eq!(errno(), libc::EINVAL, "blocks have gone with their memory");
}

#[test]
fn what_a_queue_was_given_is_given_back_with_it() {
    let Some(served) = Served::new() else { return };
    let mut keeper = served.queue("hisi_zip-0", WD_COMPRESS);
    let memory = shared(2);
    let first = memory.as_ptr();
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    assert_eq!(give(&mut queue, first, 8192, WD_MEM_READ), 0);
    assert_eq!(compress(&mut keeper, first, first.wrapping_add(4096)), -libc::EFAULT, "of all queues");
    drop(queue);
    assert_eq!(compress(&mut keeper, first, first.wrapping_add(4096)), 0, "memory like any other again");
}
