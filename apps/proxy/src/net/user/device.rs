//! Queues of a port as the TCP stack sees them: a frame that has come, and room for one that goes.

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use warpdrive_mempool::{BURST, Burst, Mempool, Packet};
use warpdrive_pmd::port::{RxQueue, TxQueue};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// The two queues of one worker.
pub(super) struct Wire {
    rx: Box<dyn RxQueue>,
    tx: Box<dyn TxQueue>,
    pool: Mempool,
    capabilities: DeviceCapabilities,
    came: Burst,
    goes: Burst,
    /// The frame that the stack is given next.
    frame: Option<Packet>,
    /// Frames that were written since the beginning.
    pub(super) written: u64,
    /// Times that there was no buffer for a frame, or no room for it in the queue.
    pub(super) exhausted: u64,
}

impl Wire {
    /// The queues of a port that carries packets of `mtu` bytes.
    pub(super) fn new(rx: Box<dyn RxQueue>, tx: Box<dyn TxQueue>, pool: Mempool, mtu: usize) -> Self {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = mtu.min(pool.data_capacity() - ETHERNET) + ETHERNET;
        Self {
            rx,
            tx,
            pool,
            capabilities,
            came: Burst::new(),
            goes: Burst::new(),
            frame: None,
            written: 0,
            exhausted: 0,
        }
    }

    /// Receives a burst.
    pub(super) fn receive(&mut self) -> Burst {
        let mut came = std::mem::take(&mut self.came);
        self.rx.rx_burst(&mut came, BURST);
        came
    }

    /// Gives the burst back, when all of it has been taken.
    pub(super) fn give_back(&mut self, came: Burst) {
        self.came = came;
    }

    /// The stack is to be given this frame next.
    pub(super) fn offer(&mut self, frame: Packet) {
        self.frame = Some(frame);
    }

    /// Sends what was written.
    pub(super) fn flush(&mut self) {
        if !self.goes.is_empty() {
            self.tx.tx_burst(&mut self.goes);
        }
        self.tx.flush();
    }

    /// Whether there is room for another frame.
    fn has_room(&mut self) -> bool {
        if self.goes.len() == BURST {
            self.tx.tx_burst(&mut self.goes);
        }
        self.goes.len() < BURST
    }
}

/// A frame that has come.
pub(super) struct Came(Packet);

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0.data())
    }
}

/// Room for a frame. It may turn out that there is none.
pub(super) struct Goes<'a>(&'a mut Burst, &'a Mempool, &'a mut u64, &'a mut u64);

impl TxToken for Goes<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let Self(goes, pool, written, exhausted) = self;
        if goes.len() < BURST
            && let Some(mut packet) = pool.alloc()
            && let Ok(bytes) = packet.append(len)
        {
            let result = write(bytes);
            if goes.push(packet).is_ok() {
                *written += 1;
            }
            return result;
        }
        // The stack takes it for sent. It is sent again when nobody says that it came.
        *exhausted += 1;
        write(&mut vec![0; len])
    }
}

impl Device for Wire {
    type RxToken<'a> = Came;
    type TxToken<'a> = Goes<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Came, Goes<'_>)> {
        let frame = self.frame.take()?;
        self.has_room();
        Some((Came(frame), Goes(&mut self.goes, &self.pool, &mut self.written, &mut self.exhausted)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Goes<'_>> {
        if !self.has_room() {
            self.exhausted += 1;
            return None;
        }
        Some(Goes(&mut self.goes, &self.pool, &mut self.written, &mut self.exhausted))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}
