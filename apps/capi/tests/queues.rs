//! Queues of plain memory, by the calls of C.

mod common;

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{null, null_mut};

use common::{Queue, Served, clear_errno, errno, holds_in_a_child, last_error, recv, run, send, zeroed};
use warpdrive::*;
use warpdrive_pmd::uacce::serve::{DeviceConfig, Function};

fn zip_request(format: u32, src: &[u8], dst: &mut [u8]) -> wd_zip_req {
    wd_zip_req {
        format,
        level: 0,
        src: src.as_ptr().cast(),
        src_len: src.len() as u32,
        dst_len: dst.len() as u32,
        dst: dst.as_mut_ptr().cast(),
        consumed: 0,
        produced: 0,
        checksum: 0,
        status: 0,
        user: null_mut(),
    }
}

fn null_request() -> wd_rsa_req {
    wd_rsa_req {
        op: WD_RSA_NULL,
        bytes: 0,
        key: null(),
        src: null(),
        dst: null_mut(),
        status: 1,
        user: null_mut(),
    }
}

/// `base ^ exponent mod 2^2048-1`, all powers of two: exponents add up modulo 2048.
struct Power {
    key: Box<[u8; 512]>,
    src: Box<[u8; 256]>,
    dst: Box<[u8; 256]>,
}

impl Power {
    fn new(exponent: u32, bit: usize) -> Self {
        let (mut key, mut src) = (Box::new([0xff; 512]), Box::new([0; 256]));
        key[..256].fill(0);
        key[252..256].copy_from_slice(&exponent.to_be_bytes());
        src[255 - bit / 8] = 1 << (bit % 8);
        Self { key, src, dst: Box::new([0xee; 256]) }
    }

    fn request(&mut self) -> wd_rsa_req {
        wd_rsa_req {
            op: WD_RSA_NOCRT,
            bytes: 256,
            key: self.key.as_ptr().cast(),
            src: self.src.as_ptr().cast(),
            dst: self.dst.as_mut_ptr().cast(),
            ..null_request()
        }
    }

    /// Which bit of the result is set, if it is one.
    fn bit(&self) -> Option<usize> {
        let mut set = (0..2048).filter(|bit| self.dst[255 - bit / 8] & 1 << (bit % 8) != 0);
        set.next().filter(|_| set.next().is_none())
    }
}

fn text(bytes: usize) -> Vec<u8> {
    b"a queue has one owner; ".iter().copied().cycle().take(bytes).collect()
}

#[test]
fn what_was_compressed_comes_back_in_all_formats() {
    let Some(served) = Served::new() else { return };
    let mut shrink = served.queue("hisi_zip-0", WD_COMPRESS);
    let mut grow = served.queue("hisi_zip-0", WD_DECOMPRESS);
    for format in [WD_ZIP_DEFLATE, WD_ZIP_ZLIB, WD_ZIP_GZIP] {
        for bytes in [0, 1, 1000, 100_000] {
            let (plain, mut small, mut again) = (text(bytes), vec![0; 100_100], vec![0; bytes + 1]);
            let mut to = zip_request(format, &plain, &mut small);
            to.level = 6;
            run(&mut shrink, &mut to);
            assert_eq!((to.status, to.consumed), (0, bytes as u32), "format {format}, {bytes} bytes");
            // With bytes behind that are not of it.
            let wrapped = &small[..to.produced as usize + 5];
            let mut from = zip_request(format, wrapped, &mut again);
            run(&mut grow, &mut from);
            assert_eq!(
                (from.status, from.produced, from.consumed),
                (0, bytes as u32, to.produced),
                "{format}"
            );
            assert_eq!((&again[..bytes], from.checksum), (&plain[..], to.checksum));
            assert!(bytes < 1000 || to.produced < bytes as u32 / 5);
        }
    }
    let (plain, mut small) = (b"123456789", [0; 64]);
    for (format, checksum) in [(WD_ZIP_ZLIB, 0x091e_01de), (WD_ZIP_GZIP, 0xcbf4_3926), (WD_ZIP_DEFLATE, 0)] {
        let mut to = zip_request(format, plain, &mut small);
        run(&mut shrink, &mut to);
        assert_eq!((to.status, to.checksum), (0, checksum), "as RFC 1950 and RFC 1952 have it");
    }
}

#[test]
fn statuses_say_why_a_piece_is_not_compressed() {
    let Some(served) = Served::new() else { return };
    let mut shrink = served.queue("hisi_zip-0", WD_COMPRESS);
    let mut grow = served.queue("hisi_zip-0", WD_DECOMPRESS);
    let (plain, mut small, mut again) = (text(5000), vec![0; 6000], vec![0; 30_000]);
    let mut to = zip_request(WD_ZIP_GZIP, &plain, &mut small[..30]);
    run(&mut shrink, &mut to);
    assert_eq!((to.status, to.produced), (-libc::ENOSPC, 0));
    to = zip_request(WD_ZIP_GZIP, &plain, &mut small);
    run(&mut shrink, &mut to);
    let n = to.produced as usize;
    let mut grown = |bytes: &[u8], room: usize| {
        let mut from = zip_request(WD_ZIP_GZIP, bytes, &mut again[..room]);
        run(&mut grow, &mut from);
        from.status
    };
    assert_eq!(grown(&small[..n], 5000), 0);
    assert_eq!(grown(&small[..n], 4999), -libc::ENOSPC);
    for cut in [1, 9] {
        // Bits of a block that are missing are taken for zeros, and there is room for what these could be.
        let status = grown(&small[..n - cut], 30_000);
        assert!([-libc::ENODATA, -libc::EBADMSG].contains(&status), "{cut} bytes are missing: {status}");
    }
    let mut bad = small[..n].to_vec();
    bad[n - 5] ^= 1;
    assert_eq!(grown(&bad, 5000), -libc::EBADMSG, "the checksum");
    bad[10] = 0xff;
    assert_eq!(grown(&bad, 5000), -libc::EBADMSG, "a block of no kind");
    // Where nothing is: with shared virtual addressing the device is who finds out.
    let mut nowhere = zip_request(WD_ZIP_DEFLATE, &plain, &mut small);
    nowhere.src = 0x1000 as *const c_void;
    run(&mut shrink, &mut nowhere);
    assert_eq!(nowhere.status, -libc::EFAULT);
}

#[test]
fn requests_that_make_no_sense_are_not_sent() {
    let Some(served) = Served::new() else { return };
    let mut shrink = served.queue("hisi_zip-0", WD_COMPRESS);
    let mut grow = served.queue("hisi_zip-0", WD_DECOMPRESS);
    let (plain, mut small) = (text(100), vec![0; 200]);
    let (src, dst) = (plain.as_ptr().cast::<c_void>(), small.as_mut_ptr().cast::<c_void>());
    let good = || wd_zip_req { dst, dst_len: 200, ..zip_request(WD_ZIP_GZIP, &plain, &mut []) };
    let cases = [
        (wd_zip_req { format: 4, ..good() }, -libc::EINVAL),
        (wd_zip_req { level: 13, ..good() }, -libc::EINVAL),
        (wd_zip_req { src: null(), ..good() }, -libc::EINVAL),
        (wd_zip_req { dst: null_mut(), ..good() }, -libc::EINVAL),
        (wd_zip_req { dst_len: 0, ..good() }, -libc::EINVAL),
        (wd_zip_req { dst_len: 9, ..good() }, -libc::ENOSPC),
        (wd_zip_req { src_len: (8 << 20) + 1, ..good() }, -libc::EMSGSIZE),
    ];
    for (at, (mut request, error)) in cases.into_iter().enumerate() {
        assert_eq!(
            (send(&mut shrink, &mut request), errno(), request.status),
            (error, -error, 0),
            "case {at}"
        );
    }
    let headers =
        [(&b"PK"[..], -libc::EBADMSG), (&b"\x1f\x8b\x08"[..], -libc::ENODATA), (&[], -libc::ENODATA)];
    for (header, error) in headers {
        let mut request = zip_request(WD_ZIP_GZIP, header, &mut []);
        (request.dst, request.dst_len) = (dst, 200);
        if header.is_empty() {
            request.src = src;
        }
        assert_eq!(send(&mut grow, &mut request), error);
    }
    let mut rsa = served.queue("rsa", 0);
    let mut power = Power::new(65539, 1);
    for (op, bytes) in [(2, 256), (WD_RSA_CRT, 255), (WD_RSA_NOCRT, 0), (WD_RSA_NOCRT, 1024)] {
        let mut request = wd_rsa_req { op, bytes, ..power.request() };
        assert_eq!(send(&mut rsa, &mut request), -libc::EINVAL, "{op}, {bytes}");
    }
    let mut request = wd_rsa_req { key: null(), ..power.request() };
    assert_eq!(send(&mut rsa, &mut request), -libc::EFAULT);
    for queue in [&mut shrink, &mut grow, &mut rsa] {
        assert_eq!(recv(queue), Err(-libc::EAGAIN), "nothing was sent");
        // SAFETY: a wd_queue; NULL is refused.
        let errors = unsafe { [wd_send(queue.as_ptr(), null_mut()), wd_recv(queue.as_ptr(), null_mut())] };
        assert_eq!(errors, [-libc::EINVAL; 2]);
    }
}

#[test]
fn numbers_are_raised_to_powers_and_come_back_by_their_pointers() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.queue("hisi_hpre-0", 0);
    // 65537 is 1 modulo 2048.
    let cases = [(65539, 1, 3), (65537, 7, 7), (3, 1000, 3000 - 2048), (3, 683, 1)];
    let mut powers = cases.map(|(exponent, bit, _)| Power::new(exponent, bit));
    let mut requests = powers.each_mut().map(Power::request);
    for (at, request) in requests.iter_mut().enumerate() {
        request.user = at as *mut c_void;
        assert_eq!((send(&mut queue, request), request.status), (0, -libc::EINPROGRESS));
    }
    let mut seen = [false; 4];
    for _ in &cases {
        let done = recv(&mut queue).unwrap().cast::<wd_rsa_req>();
        // SAFETY: one of those that were sent.
        let (at, status) = unsafe { ((*done).user as usize, (*done).status) };
        assert_eq!((status, std::mem::replace(&mut seen[at], true)), (0, false));
    }
    for (power, (_, _, bit)) in powers.iter().zip(cases) {
        assert_eq!(power.bit(), Some(bit));
    }
    assert_eq!(recv(&mut queue), Err(-libc::EAGAIN));

    let mut power = Power::new(65538, 1);
    let mut request = power.request();
    run(&mut queue, &mut request);
    assert_eq!((request.status, power.dst[0]), (-libc::EINVAL, 0xee), "an even exponent");
    let mut power = Power::new(65539, 1);
    let mut request = wd_rsa_req { dst: 0x1000 as *mut c_void, ..power.request() };
    run(&mut queue, &mut request);
    assert_eq!(request.status, -libc::EFAULT);
}

#[test]
fn a_full_queue_says_so_and_loses_nothing() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.ask("hisi_hpre-0", 0).with_depth(7);
    assert_eq!(queue.request(), 0);
    let mut requests: Vec<_> = (0..7).map(|_| null_request()).collect();
    for request in &mut requests {
        assert_eq!(send(&mut queue, request), 0);
    }
    clear_errno();
    assert_eq!((send(&mut queue, &mut null_request()), errno()), (-libc::EBUSY, libc::EBUSY));
    let mut seen: Vec<_> = (0..7).map(|_| recv(&mut queue).unwrap().cast::<wd_rsa_req>()).collect();
    seen.sort_unstable();
    assert_eq!(seen, requests.iter_mut().map(|request| &raw mut *request).collect::<Vec<_>>());
    assert!(requests.iter().all(|request| request.status == 0));
    run(&mut queue, &mut null_request());
}

#[test]
fn entries_of_the_callers_own_go_there_and_back() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.queue("hisi_hpre-0", 0);
    // An operation that does nothing, with a tag.
    let mut entry = [0_u32; 16];
    (entry[0], entry[8], entry[15]) = (0x4000_001f, 77, 99);
    let at = (&raw mut entry).cast::<c_void>();
    // SAFETY: an entry that stays until it is received.
    let sent = unsafe { wd_send_raw(queue.as_ptr(), at) };
    assert_eq!((sent, recv(&mut queue)), (0, Ok(at)));
    assert_eq!((entry[0], entry[8], entry[15]), (0xc000_001f, 77, 99), "done");
    // SAFETY: refused before anything is read.
    let refused =
        unsafe { [wd_send_raw(queue.as_ptr(), null_mut()), wd_send_raw(queue.as_ptr(), at.byte_add(2))] };
    assert_eq!(refused, [-libc::EINVAL; 2]);
}

#[test]
fn a_queue_tells_what_it_is() {
    let Some(served) = Served::new() else { return };
    let queue = served.queue("deflate", WD_DECOMPRESS);
    let q = queue.get();
    // SAFETY: valid until the queue is released; texts end with a zero.
    let (info, path) = unsafe { (&*q.dev_info, CStr::from_ptr(q.dev_path.as_ptr())) };
    // SAFETY: as above.
    let texts = [&info.name[..], &info.api, &info.algs].map(|text| unsafe { CStr::from_ptr(text.as_ptr()) });
    assert_eq!(texts, [c"hisi_zip-0", c"hisi_qm_v1", c"deflate zlib gzip"]);
    assert_eq!(path.to_str().unwrap(), served.path().join("dev/hisi_zip-0").to_str().unwrap());
    assert_eq!((info.iommu_type, info.flags, info.node_id), (WD_SVA, 1, 0));
    assert_eq!(info.extensions, WD_EXT_SERVED | WD_EXT_SHARE | WD_EXT_LEVEL);
    assert_eq!((info.available_instances, info.qfrs_offset), (256, [0, 4096, 8192]));
    assert_eq!(served.attribute("hisi_zip-0", "available_instances"), "255");
    // SAFETY: asks only.
    assert!(q.fd >= 0 && unsafe { libc::fcntl(q.fd, libc::F_GETFD) } & libc::FD_CLOEXEC != 0);
    assert!((q.ss_va, q.ss_dma) == (null_mut(), null_mut()) && q.handle != 0);
}

#[test]
fn queues_that_cannot_be_had_say_why() {
    let mut zeros = zeroed();
    // SAFETY: NULL, and a structure of zeros.
    let errors = unsafe { [wd_request_queue(null_mut()), wd_request_queue(&raw mut zeros)] };
    assert_eq!(errors, [-libc::EINVAL; 2]);
    let nowhere = tempfile::tempdir().unwrap();
    let mut queue = Queue::ask(Some(nowhere.path()), "rsa", 0);
    assert_eq!((queue.request(), queue.get().handle), (-libc::ENODEV, 0));
    assert!(last_error().contains("Remedy") && last_error().contains("class/uacce"), "{}", last_error());

    let few = DeviceConfig { queues_per_process: 2, ..DeviceConfig::new("hisi_hpre-0", Function::Hpre) };
    let Some(served) = Served::with(vec![few, DeviceConfig::new("hisi_zip-0", Function::Zip)]) else {
        return;
    };
    let mut asked = served.ask("sm2", 0);
    assert_eq!(asked.request(), -libc::ENODEV);
    assert!(last_error().contains("hisi_hpre-0 (rsa)"), "{}", last_error());
    for (device, kind) in [("rsa", 1), ("hisi_zip-0", 2), ("hisi_zip-0", 65_536)] {
        assert_eq!(served.ask(device, kind).request(), -libc::EINVAL, "{device} of kind {kind}");
    }
    for depth in [1024, 70_000] {
        assert_eq!(served.ask("rsa", 0).with_depth(depth).request(), -libc::EINVAL);
    }
    let (mut first, _second) = (served.queue("rsa", 0), served.queue("rsa", 0));
    let mut third = served.ask("hisi_hpre-0", 0);
    assert_eq!(third.request(), -libc::EBUSY);
    assert_eq!((first.request(), errno()), (-libc::EEXIST, libc::EEXIST), "it has one");
    run(&mut first, &mut null_request());
    drop(first);
    assert_eq!(third.request(), 0);
}

#[test]
fn queues_that_are_no_more_are_errors_and_nothing_else() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.queue("hisi_hpre-0", 0);
    let mut copy = queue.copied();
    // SAFETY: a wd_queue that was requested.
    unsafe { wd_release_queue(queue.as_ptr()) };
    assert_eq!((queue.get().handle, queue.get().fd, queue.get().dev_info), (0, -1, null()));
    assert_eq!(served.attribute("hisi_hpre-0", "available_instances"), "256");
    // A slot that is used again is another queue's.
    let mut other = served.queue("hisi_hpre-0", 0);
    for q in [null_mut(), queue.as_ptr(), &raw mut copy] {
        let error = if q.is_null() { libc::EINVAL } else { libc::EBADF };
        let (mut request, mut done) = (null_request(), null_mut());
        let (request, done) = ((&raw mut request).cast(), &raw mut done);
        let other_q = other.as_ptr();
        // SAFETY: NULL or a wd_queue, and what the calls ask for besides; here and below.
        let of_int: [&dyn Fn() -> c_int; 6] = unsafe {
            [
                &|| wd_send(q, request),
                &|| wd_send_raw(q, request),
                &|| wd_recv(q, done),
                &|| wd_recv_sync(q, done, 1),
                &|| wd_share_reserved_memory(q, other_q),
                &|| wd_mem_share(q, request, 8, WD_MEM_READ),
            ]
        };
        for (at, call) in of_int.iter().enumerate() {
            clear_errno();
            assert_eq!((call(), errno()), (-error, error), "call {at}");
        }
        // SAFETY: as above.
        let of_nothing: [&dyn Fn(); 5] = unsafe {
            [
                &|| wd_release_queue(q),
                &|| wd_flush(q),
                &|| wd_mem_unshare(q, request, 8),
                &|| assert!(wd_reserve_mem(q, 8).is_null()),
                &|| assert!(wd_get_dma_from_va(q, request).is_null()),
            ]
        };
        for (at, call) in of_nothing.iter().enumerate() {
            clear_errno();
            call();
            assert_eq!(errno(), error, "call {at}");
        }
    }
    run(&mut other, &mut null_request());
}

#[test]
fn a_release_waits_for_what_is_in_flight() {
    let Some(served) = Served::new() else { return };
    for _ in 0..20 {
        let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
        let plain = text(1 << 20);
        let mut small = vec![vec![0; 1 << 19]; 4];
        let mut requests: Vec<_> =
            small.iter_mut().map(|small| zip_request(WD_ZIP_ZLIB, &plain, small)).collect();
        for request in &mut requests {
            assert_eq!(send(&mut queue, request), 0);
        }
        drop(queue);
        let then = small.clone();
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert!(small == then, "nobody writes to what is the caller's again");
        assert!(requests.iter().all(|request| request.status == -libc::EINPROGRESS), "nor to requests");
    }
    assert_eq!(served.attribute("hisi_zip-0", "available_instances"), "256");
}

#[test]
fn nothing_comes_of_nothing_and_in_time() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    let mut done = null_mut();
    // SAFETY: a wd_queue and a place for a pointer; here and below.
    let errors = unsafe {
        [wd_recv(queue.as_ptr(), &raw mut done), wd_recv_sync(queue.as_ptr(), &raw mut done, 9999)]
    };
    assert_eq!((errors, errno()), ([-libc::EAGAIN; 2], libc::EAGAIN));
    // SAFETY: as above.
    unsafe { wd_flush(queue.as_ptr()) };
    // Noise at the highest level takes more than a millisecond.
    let noise: Vec<u8> =
        (0..2 << 20_u32).map(|n: u32| (n.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    let mut small = vec![0; 4 << 20];
    let mut request = wd_zip_req { level: 12, ..zip_request(WD_ZIP_DEFLATE, &noise, &mut small) };
    // Whoever has no cpu meanwhile looks too late: then once more.
    let early = (0..20).any(|_| {
        assert_eq!(send(&mut queue, &mut request), 0);
        done = null_mut();
        // SAFETY: as above.
        let early = unsafe {
            [wd_recv(queue.as_ptr(), &raw mut done), wd_recv_sync(queue.as_ptr(), &raw mut done, 1)]
        };
        let in_time = early == [-libc::EAGAIN, -libc::ETIMEDOUT];
        assert!(done.is_null() == in_time, "{early:?}");
        if in_time {
            assert_eq!(recv(&mut queue).unwrap(), (&raw mut request).cast());
        }
        assert_eq!(request.status, 0);
        in_time
    });
    assert!(early, "it was not waited for");
}

#[test]
fn a_queue_has_one_owner_at_a_time() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    let (noise, mut small) = (vec![0xa5; 8 << 20], vec![0; 1 << 20]);
    let mut request = wd_zip_req { level: 12, ..zip_request(WD_ZIP_DEFLATE, &noise, &mut small) };
    assert_eq!(send(&mut queue, &mut request), 0);
    let q = queue.as_ptr() as usize;
    let waiting = std::sync::atomic::AtomicBool::new(true);
    let begin = std::sync::Barrier::new(2);
    let busy = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let (mut done, mut busy) = (null_mut(), false);
            begin.wait();
            while waiting.load(std::sync::atomic::Ordering::Acquire) {
                // SAFETY: a wd_queue, and a place that is written to if it has something.
                match unsafe { wd_recv(q as *mut wd_queue, &raw mut done) } {
                    error if error == -libc::EALREADY => busy = true,
                    0 => return (busy, 1),
                    _ => {}
                }
            }
            (busy, 0)
        });
        let (mut own, mut done, mut refused) = (0, null_mut(), false);
        begin.wait();
        let begun = std::time::Instant::now();
        while own == 0 && !other.is_finished() && begun.elapsed().as_secs() < 20 {
            // SAFETY: as above.
            let result = unsafe { wd_recv_sync(q as *mut wd_queue, &raw mut done, 20) };
            refused |= result == -libc::EALREADY;
            own = i32::from(result == 0);
        }
        waiting.store(false, std::sync::atomic::Ordering::Release);
        let (busy, others) = other.join().unwrap();
        assert_eq!(own + others, 1, "one of them has received it");
        busy || refused
    });
    assert!(busy, "one of them was refused meanwhile");
    assert_eq!(request.status, 0);
}

#[test]
fn a_child_has_no_queue_and_its_parent_keeps_its_own() {
    let Some(served) = Served::new() else { return };
    let mut queue = served.queue("hisi_hpre-0", 0);
    let mut request = null_request();
    assert_eq!(send(&mut queue, &mut request), 0);
    let memory = {
        // SAFETY: a wd_queue.
        unsafe { wd_reserve_mem(queue.as_ptr(), 4096) }
    };
    assert!(!memory.is_null());
    let q = queue.as_ptr();
    assert!(holds_in_a_child(|| {
        let (mut request, mut done) = (null_request(), null_mut());
        let request = (&raw mut request).cast();
        // SAFETY: a wd_queue of the parent, and what the calls ask for besides.
        let errors = unsafe {
            [
                wd_send(q, request),
                wd_send_raw(q, request),
                wd_recv(q, &raw mut done),
                wd_recv_sync(q, &raw mut done, 1),
                wd_mem_share(q, request, 8, WD_MEM_READ),
            ]
        };
        // SAFETY: as above.
        let nothing: [&dyn Fn(); 5] = unsafe {
            [
                &|| wd_release_queue(q),
                &|| wd_flush(q),
                &|| wd_mem_unshare(q, request, 8),
                &|| assert!(wd_reserve_mem(q, 8).is_null()),
                &|| assert!(wd_get_dma_from_va(q, request).is_null()),
            ]
        };
        let refused = nothing.iter().all(|call| {
            clear_errno();
            call();
            errno() == libc::EPERM
        });
        // What a child requests is its own.
        let mut own = served.queue("hisi_hpre-0", 0);
        // SAFETY: as above.
        let shared = unsafe { wd_share_reserved_memory(q, own.as_ptr()) };
        run(&mut own, &mut null_request());
        drop(own);
        errors == [-libc::EPERM; 5] && refused && shared == -libc::EPERM
    }));
    assert_eq!((recv(&mut queue), request.status), (Ok((&raw mut request).cast()), 0));
    run(&mut queue, &mut null_request());
    // SAFETY: reserved, and no device works on it.
    unsafe { memory.cast::<u8>().write(1) };
    assert_eq!(served.attribute("hisi_hpre-0", "available_instances"), "255");
}

#[test]
fn what_a_server_had_comes_back_cancelled_when_it_goes() {
    let Some(mut served) = Served::new() else { return };
    let mut queue = served.queue("hisi_zip-0", WD_COMPRESS);
    // So much that it is not done by the time the server stops.
    let (plain, mut small) = (vec![0x5a; 8 << 20], vec![vec![0; 1 << 20]; 40]);
    let mut requests: Vec<_> = small
        .iter_mut()
        .map(|small| wd_zip_req { level: 12, ..zip_request(WD_ZIP_DEFLATE, &plain, small) })
        .collect();
    for request in &mut requests {
        assert_eq!(send(&mut queue, request), 0);
    }
    served.stop();
    let mut seen = Vec::new();
    let end = loop {
        match recv(&mut queue) {
            Ok(request) => seen.push(request.cast::<wd_zip_req>()),
            Err(error) => break error,
        }
    };
    seen.sort_unstable();
    assert_eq!(seen, requests.iter_mut().map(|request| &raw mut *request).collect::<Vec<_>>(), "each once");
    let statuses: Vec<_> = requests.iter().map(|request| request.status).collect();
    assert!(statuses.iter().all(|status| [0, -libc::ECANCELED].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&-libc::ECANCELED), "{statuses:?}");
    assert_eq!((end, send(&mut queue, &mut requests[0])), (-libc::ENODEV, -libc::ENODEV));
    assert!(last_error().contains("Remedy"), "{}", last_error());
}
