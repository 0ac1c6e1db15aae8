//! Sessions come and go while requests are under way.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use warpdrive_mempool::*;
use warpdrive_pmd::device::{Device, DeviceError, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Engine, Job, MAX_SESSIONS, NoStream, Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

const PLACEMENTS: [Placement; 2] = [Placement::Inline, Placement::Core { cpu: 0, idle: IdlePolicy::Sleep }];

/// Writes the number of the session. `TEST` keeps the counts of tests apart.
struct Numbered<const TEST: usize>;

static MADE: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static DROPPED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

struct Number<const TEST: usize>(u32);

impl<const TEST: usize> Drop for Number<TEST> {
    fn drop(&mut self) {
        DROPPED[TEST].fetch_add(1, Ordering::Relaxed);
    }
}

impl<const TEST: usize> Engine for Numbered<TEST> {
    type Session = Number<TEST>;
    type Stream = NoStream;
    type Options = ();
    const BATCH: usize = 4;
    const KIND: &'static str = "ZIP";
    const DRIVER: &'static str = "numbered";

    fn new((): &()) -> Self {
        Self
    }

    fn session(_: SessionSpec) -> Result<Number<TEST>, SessionSpec> {
        Ok(Number(MADE[TEST].fetch_add(1, Ordering::Relaxed)))
    }

    fn run(&mut self, jobs: &mut [Job<'_, Number<TEST>>]) {
        for job in jobs {
            job.dst.copy_from_slice(&job.session.0.to_le_bytes());
            job.result = Ok(4);
        }
    }

    fn describe((): &()) -> (Vec<&'static str>, String) {
        (Vec::new(), String::new())
    }
}

fn spec() -> SessionSpec {
    SessionSpec::Zip(ZipSession::new(ZipOp::Compress, ZipFormat::Deflate, 1).unwrap())
}

fn pool(domain: &Domain) -> Mempool {
    let pages = PageChoice::Exactly(PageSize::Size4K);
    Mempool::new(&PoolConfig { buffers: 64, pages, ..PoolConfig::default() }, domain).unwrap()
}

fn request(pool: &Mempool, session: SessionId) -> Request {
    let mut packet = pool.alloc().unwrap();
    packet.append(4).unwrap();
    let mut request = Request::new(session, packet).with_tag(u64::from(session.0));
    request.set_dst(0..4).unwrap();
    request
}

#[test]
fn all_sessions_can_be_made_removed_and_made_again_and_old_ids_stay_dead() {
    for placement in PLACEMENTS {
        let domain = Domain::new(DmaMode::Sva);
        let pool = pool(&domain);
        let device = SoftDevice::<Numbered<0>>::open("numbered", placement, &domain).unwrap();
        let mut queue = device.request_queue(4).unwrap();
        let mut status = |session| {
            queue.send(request(&pool, session)).unwrap();
            let c = queue.recv_sync(Duration::from_secs(30)).unwrap();
            let number = c.request.into_packets().0.unwrap().data().try_into().map(u32::from_le_bytes);
            (c.status, number.unwrap())
        };
        let first = MADE[0].load(Ordering::Relaxed);
        let dropped = DROPPED[0].load(Ordering::Relaxed);
        let ids: Vec<_> = (0..MAX_SESSIONS).map(|_| device.create_session(spec()).unwrap()).collect();
        assert_eq!(device.session_count(), MAX_SESSIONS);
        assert!(matches!(device.create_session(spec()), Err(DeviceError::Sessions { .. })));
        assert_eq!(status(ids[1000]), (Status::Ok, first + 1000));
        for id in &ids {
            assert!(device.remove_session(*id) && !device.remove_session(*id));
        }
        assert_eq!((device.session_count(), status(ids[1000]).0), (0, Status::NoSession));
        // The one that was refused, and all others: nobody uses them. An engine core looks again at once.
        let deadline = Instant::now() + Duration::from_secs(30);
        while DROPPED[0].load(Ordering::Relaxed) < dropped + MAX_SESSIONS + 1 {
            assert!(Instant::now() < deadline, "removed sessions are kept");
        }
        let newer: Vec<_> = (0..MAX_SESSIONS).map(|_| device.create_session(spec()).unwrap()).collect();
        assert_eq!(status(newer[3]), (Status::Ok, first + MAX_SESSIONS as u32 + 1 + 3));
        for id in ids {
            assert!(!newer.contains(&id) && !device.remove_session(id));
            assert_eq!(status(id).0, Status::NoSession);
        }
        assert!(!device.remove_session(SessionId(u32::MAX)));
        assert_eq!(device.session_count(), MAX_SESSIONS);
    }
}

#[test]
fn sessions_removed_under_way_never_become_others_and_every_request_is_answered() {
    const ROUNDS: u32 = 300;
    /// Slots that are used in turn; the others are taken.
    const FREE: u32 = 8;
    let mut both = (0, 0);
    for placement in PLACEMENTS {
        let domain = Domain::new(DmaMode::Sva);
        let pool = pool(&domain);
        let device = SoftDevice::<Numbered<1>>::open("numbered", placement, &domain).unwrap();
        let others: Vec<_> =
            (FREE..MAX_SESSIONS as u32).map(|_| device.create_session(spec()).unwrap()).collect();
        let first = MADE[1].load(Ordering::Relaxed);
        let newest = AtomicU32::new(u32::MAX);
        let (over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let id = device.create_session(spec()).unwrap();
                    newest.store(id.0, Ordering::Relaxed);
                    let seen = answered.load(Ordering::Relaxed);
                    while answered.load(Ordering::Relaxed) == seen {
                        std::thread::yield_now();
                    }
                    assert!(device.remove_session(id));
                }
                over.store(true, Ordering::Relaxed);
            });
            let mut queue = device.request_queue(32).unwrap();
            let mut out = Vec::with_capacity(8);
            loop {
                let last = over.load(Ordering::Relaxed);
                // May be gone by now.
                let id = SessionId(newest.load(Ordering::Relaxed));
                if !last && queue.room() > 0 && pool.stats().in_use < 48 {
                    queue.send(request(&pool, id)).unwrap();
                }
                if queue.recv_burst(&mut out, 8) == 0 {
                    std::thread::yield_now();
                }
                for c in out.drain(..) {
                    answered.fetch_add(1, Ordering::Relaxed);
                    let session = c.request.tag as u32;
                    match c.status {
                        Status::Ok => {
                            both.0 += 1;
                            let packet = c.request.into_packets().0.unwrap();
                            let number = u32::from_le_bytes(packet.data().try_into().unwrap());
                            // Free slots are used in turn, so an id says how many were made before.
                            let place = session % 1024 - others.len() as u32;
                            assert_eq!(number - first, place + FREE * (session >> 10));
                        }
                        Status::NoSession => both.1 += 1,
                        other => panic!("{other:?}"),
                    }
                }
                if last && queue.in_flight() == 0 {
                    break;
                }
            }
        });
        assert_eq!((device.session_count(), pool.stats().in_use), ((1024 - FREE) as usize, 0));
    }
    assert!(both.0 > 0 && both.1 > 0, "{both:?}: done, and too late");
}
