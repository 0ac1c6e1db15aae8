//! Flows and their streams: what packets that belong together share.

use std::collections::HashMap;

use warpdrive_pmd::device::{Device, DeviceError, SessionId, Stream};

use crate::wire::{L3, Udp, ip, l3};

/// Who talks to whom: addresses and ports of a UDP datagram.
pub type FlowKey = (std::net::IpAddr, std::net::IpAddr, u32);

/// The flow of a datagram.
#[must_use]
pub fn key(frame: &[u8], udp: &Udp) -> Option<FlowKey> {
    let L3 { ethertype, at, .. } = l3(frame)?;
    let header = ip(frame, ethertype, at)?;
    let ports = frame.get(usize::from(udp.l4)..)?.first_chunk()?;
    Some((header.src, header.dst, u32::from_be_bytes(*ports)))
}

/// A flow.
pub struct Flow {
    key: Option<FlowKey>,
    /// Here, unless a request has it.
    stream: Option<Stream>,
    /// Packets that were prepared and are not back.
    pub busy: u32,
    /// When it was used last.
    used: u64,
    /// Packets since the stream began; `None` if it is to begin with the next.
    pub age: Option<u32>,
    /// The number of the next packet.
    pub sequence: u8,
    /// Changes with every beginning that comes.
    pub turn: bool,
}

/// As many flows as there are streams. All memory is taken at the start.
pub struct Flows {
    slots: Vec<Flow>,
    by_key: HashMap<FlowKey, u16>,
    now: u64,
}

/// The most flows of one stage.
pub const MAX_FLOWS: usize = 4096;

impl Flows {
    /// `n` flows, up to [`MAX_FLOWS`], with streams of a session.
    ///
    /// # Errors
    /// [`DeviceError`] of the device.
    pub fn new(device: &dyn Device, session: SessionId, n: usize) -> Result<Self, DeviceError> {
        let slots = (0..n.clamp(1, MAX_FLOWS)).map(|_| {
            let stream = device.create_stream(session)?;
            Ok(Flow {
                key: None,
                stream: Some(stream),
                busy: 0,
                used: 0,
                age: None,
                sequence: 0,
                turn: false,
            })
        });
        let slots = slots.collect::<Result<Vec<_>, DeviceError>>()?;
        // Removed keys leave places that are not free; with this much room they are cleared without allocation.
        let by_key = HashMap::with_capacity(2 * slots.len());
        Ok(Self { slots, by_key, now: 0 })
    }

    /// The slot of a flow; that of the flow which was idle longest if it is a new one. `None` if all are busy.
    pub fn find(&mut self, key: FlowKey) -> Option<u16> {
        self.now += 1;
        if let Some(slot) = self.by_key.get(&key) {
            self.slots[usize::from(*slot)].used = self.now;
            return Some(*slot);
        }
        let idle = self.slots.iter().enumerate().filter(|(_, flow)| flow.busy == 0);
        let (slot, _) = idle.min_by_key(|(_, flow)| flow.used)?;
        let flow = &mut self.slots[slot];
        if let Some(old) = flow.key.replace(key) {
            self.by_key.remove(&old);
        }
        (flow.used, flow.age) = (self.now, None);
        self.by_key.insert(key, slot as u16); // there are no more than MAX_FLOWS
        Some(slot as u16)
    }

    /// A flow.
    pub fn get(&mut self, slot: u16) -> Option<&mut Flow> {
        self.slots.get_mut(usize::from(slot))
    }
}

impl Flow {
    /// Takes the stream for a request, to begin anew if `fresh`. `None` while another request has it.
    pub fn take(&mut self, fresh: bool) -> Option<Stream> {
        let mut stream = self.stream.take()?;
        if fresh {
            stream.restart();
        }
        Some(stream)
    }

    /// Whether the stream is here.
    #[must_use]
    pub fn has_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// Gives the stream back.
    pub fn give(&mut self, stream: Option<Stream>) {
        self.stream = stream;
    }
}
