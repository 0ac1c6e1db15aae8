//! What lies in several segments.

use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use warpdrive_mempool::*;
use warpdrive_pmd::device::*;

use crate::{Bench, Makers, PLACEMENTS, Tape, bytes, chain, pool, room};

/// Two ranges of a number of bytes, apart from each other.
fn ranges(total: usize, ends: [usize; 4]) -> [std::ops::Range<usize>; 2] {
    let mut ends = ends.map(|end| end % (total + 1));
    ends.sort_unstable();
    [ends[0]..ends[1], ends[2]..ends[3]]
}

#[test]
fn any_range_of_any_chain_is_read_and_written_in_order() {
    let len = || prop_oneof![Just(0_usize), 1..4_usize, 4..400_usize];
    let strategy =
        (proptest::collection::vec(len(), 1..64), any::<[usize; 4]>(), any::<bool>(), any::<bool>());
    let benches =
        PLACEMENTS.map(|placement| RefCell::new(Bench::<Tape<true>>::new(placement, Makers::default())));
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) }, |((lens, ends, swap, core) in strategy)| {
        let mut bench = benches[usize::from(core)].borrow_mut();
        let total: usize = lens.iter().sum();
        let before: Vec<u8> = (0..total).map(|n| b'a' + (n % 23) as u8).collect();
        let mut at = 0;
        let pieces: Vec<&[u8]> = lens.iter().map(|len| { at += len; &before[at - len..at] }).collect();
        let [mut src, mut dst] = ranges(total, ends);
        if swap {
            (src, dst) = (dst, src);
        }
        let mut request = Request::new(bench.session, chain(&bench.pool, &pieces));
        request.set_src(src.clone()).unwrap();
        request.set_dst(dst.clone()).unwrap();
        assert_eq!((request.src_len() as usize, request.dst_len() as usize), (src.len(), dst.len()));
        let done = bench.run(request);
        let n = src.len().min(dst.len());
        let status = if src.len() > n { Status::OutputFull } else { Status::Ok };
        assert_eq!((done.status, done.produced as usize, done.consumed as usize), (status, n, n));
        let mut after = before.clone();
        after[dst.start..dst.start + n].copy_from_slice(&before[src.start..src.start + n]);
        assert_eq!(bytes(&done.request.into_packets().0.unwrap()), after);
    });
    benches.iter().for_each(|bench| assert_eq!(bench.borrow().pool.stats().in_use, 0));
}

#[test]
fn sixty_four_segments_are_taken_and_not_one_more() {
    for placement in PLACEMENTS {
        let mut bench = Bench::<Tape<true>>::new(placement, Makers::default());
        let many = |n| vec![&b"piece"[..]; n];
        // Empty ones do not count.
        let mut with_empty = many(MAX_SEGMENTS);
        (0..20).for_each(|i| with_empty.insert(3 * i, b""));
        let total = 5 * MAX_SEGMENTS;
        let cases: [(Vec<&[u8]>, Vec<usize>, Status); 5] = [
            (many(MAX_SEGMENTS), vec![5; MAX_SEGMENTS], Status::Ok),
            (with_empty, vec![total], Status::Ok),
            (many(MAX_SEGMENTS + 1), vec![total + 5], Status::TooManySegments),
            (many(1), vec![5; MAX_SEGMENTS + 1], Status::TooManySegments),
            (many(200), vec![2; 200], Status::TooManySegments),
        ];
        // In one batch: what is refused costs its neighbours nothing.
        let wanted: Vec<_> = cases.iter().map(|case| case.2).collect();
        let mut requests: Vec<_> = cases.iter().map(|(src, dst, _)| bench.request(src, dst)).collect();
        requests.iter_mut().zip(0..).for_each(|(request, tag)| request.tag = tag);
        assert_eq!(bench.queue.send_burst(&mut requests), 5);
        for _ in 0..5 {
            let done = bench.queue.recv_sync(Duration::from_secs(30)).unwrap();
            let case = done.request.tag as usize;
            assert_eq!(done.status, wanted[case], "case {case}");
            if done.status == Status::Ok {
                assert_eq!(bytes(&done.request.into_packets().1.unwrap()), b"piece".repeat(MAX_SEGMENTS));
            }
        }
    }
}

#[test]
fn an_engine_that_wants_one_piece_refuses_more_but_takes_any_one_of_a_chain() {
    for placement in PLACEMENTS {
        let mut bench = Bench::<Tape<false>>::new(placement, Makers::default());
        for (src, dst) in [(&[&b"two"[..], b"pieces"][..], &[9][..]), (&[&b"one"[..]], &[1, 2])] {
            let request = bench.request(src, dst);
            assert!(request.is_chained());
            let done = bench.run(request);
            assert_eq!((done.status, done.produced), (Status::NotContiguous, 0));
        }
        let mut request =
            Request::new(bench.session, chain(&bench.pool, &[b"first", b"", b"second", b"......"]));
        request.set_src(5..11).unwrap();
        request.set_dst(11..17).unwrap();
        let done = bench.run(request);
        assert_eq!(done.status, Status::Ok);
        assert_eq!(bytes(&done.request.into_packets().0.unwrap()), b"firstsecondsecond");
    }
}

#[test]
fn output_that_overlaps_input_in_any_piece_is_refused() {
    let mut bench = Bench::<Tape<true>>::new(PLACEMENTS[0], Makers::default());
    let pieces = [&[b'x'; 10][..]; 6];
    // First and first, first and rest, rest and first, rest and rest; then side by side.
    for (src, dst, wanted) in [
        (0..10, 9..12, Status::Overlap),
        (0..25, 24..28, Status::Overlap),
        (34..38, 11..35, Status::Overlap),
        (0..30, 25..55, Status::Overlap),
        (0..60, 0..60, Status::Overlap),
        (0..25, 25..50, Status::Ok),
        (35..60, 0..35, Status::Ok),
    ] {
        let mut request = Request::new(bench.session, chain(&bench.pool, &pieces));
        request.set_src(src.clone()).unwrap();
        request.set_dst(dst.clone()).unwrap();
        assert_eq!(bench.run(request).status, wanted, "{src:?} to {dst:?}");
    }
    // Input that no packet stands for, in the last piece of the output.
    let output = room(&bench.pool, &[5, 5, 5]);
    let last = Segment { iova: output.segments().last().unwrap().iova(), len: 5 };
    let none = Segment::default();
    // SAFETY: nobody but the request has the output's memory.
    let mut request = unsafe { Request::raw(bench.session, last, none, none) };
    request.set_output(output, 0..15).unwrap();
    assert_eq!(bench.run(request).status, Status::Overlap);
}

#[test]
fn a_piece_that_is_not_mapped_is_a_fault_and_leaves_the_stream_as_it_was() {
    for placement in PLACEMENTS {
        let mut bench = Bench::<Tape<true>>::new(placement, Makers::default());
        let foreign = pool(&Domain::new(DmaMode::Sva));
        let (status, turn, mut stream) = bench.step(bench.stream(), b"first", Flush::None);
        assert_eq!((status, turn), (Status::Ok, 100));
        let mut input = chain(&bench.pool, &[b"mine"]);
        input.chain(chain(&foreign, &[b"not mine"]));
        let mut output = room(&bench.pool, &[4]);
        output.chain(room(&foreign, &[4]));
        let (src, dst) = (chain(&bench.pool, &[b"12345678"]), room(&bench.pool, &[12]));
        for (src, from, dst, to) in [(input, 12, dst, 12), (src, 8, output, 8)] {
            let mut request = Request::new(bench.session, src);
            request.set_src(0..from).unwrap();
            request.set_output(dst, 0..to).unwrap();
            request.set_stream(stream, Flush::None);
            let mut done = bench.run(request);
            assert!(matches!(done.status, Status::Fault(_)), "{:?}", done.status);
            stream = done.request.take_stream().unwrap();
            assert!(!stream.is_broken());
            let (_, output) = done.request.into_packets();
            assert!(
                bytes(&output.unwrap()).iter().all(|b| *b == 0),
                "nothing is written, also not before it"
            );
        }
        let (status, turn, _) = bench.step(stream, b"second", Flush::None);
        assert_eq!((status, turn), (Status::Ok, 200));
    }
}

#[test]
fn ranges_are_those_of_the_whole_chain_also_the_empty_ones() {
    let mut bench = Bench::<Tape<true>>::new(PLACEMENTS[0], Makers::default());
    let mut request = bench.request(&[b"four", b"", b"more"], &[4, 4]);
    for at in 0..=8 {
        assert_eq!(request.set_src(at..at), Ok(()), "what is left when all is read");
        assert_eq!((request.src_len(), request.is_chained()), (0, true), "the output still is");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "it is to be refused")]
    let bad = [0..9, 8..9, 9..9, 5..4, 3..2, usize::MAX..usize::MAX, 0..usize::MAX];
    for range in bad {
        let error = request.set_src(range.clone()).unwrap_err();
        assert_eq!(error, OutOfPacket { range, len: 8 });
    }
    assert!(request.set_aux(3..5).is_err() && request.set_aux(4..8).is_ok(), "in one segment only");
    // Output in the first packet, after one in a second.
    let mut request = bench.request(&[b"ab", b"cd", b"..", b".."], &[2, 2]);
    request.set_src(0..4).unwrap();
    request.set_dst(4..8).unwrap();
    let done = bench.run(request);
    assert_eq!((done.status, done.produced), (Status::Ok, 4));
    let (packet, output) = done.request.into_packets();
    assert_eq!((bytes(&packet.unwrap()), bytes(&output.unwrap())), (b"abcdabcd".to_vec(), vec![0; 4]));
}
