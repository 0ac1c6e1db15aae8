//! Entries with their places in the ring: for users that know what they have sent by where it was put.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Entry, QmQueue, SPIN};
use crate::uacce::abi::{SHARE, Share, UNSHARE};
use crate::uacce::error::Lost;

impl<E: Entry> QmQueue<E> {
    /// Sends an entry and says at which place, below [`places`](Self::places). `None`: there is no room.
    ///
    /// # Errors
    /// [`Lost`].
    #[inline]
    pub fn send_placed(&mut self, entry: &E) -> Result<Option<u16>, Lost> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        if self.room() == 0 {
            return Ok(None);
        }
        let place = self.push(entry);
        self.ring()?;
        Ok(Some(place))
    }

    /// Receives an entry that is done, and its place: one at which an entry was in flight.
    ///
    /// # Errors
    /// [`Lost`].
    #[inline]
    pub fn recv_placed(&mut self) -> Result<Option<(u16, E)>, Lost> {
        let taken = self.take()?;
        self.acknowledge();
        Ok(taken)
    }

    /// As [`recv_placed`](Self::recv_placed), waiting up to `timeout` for it. `None` at once when nothing is in flight.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn recv_placed_sync(&mut self, timeout: Duration) -> Result<Option<(u16, E)>, Lost> {
        let begun = Instant::now();
        loop {
            if let Some(taken) = self.recv_placed()? {
                return Ok(Some(taken));
            }
            let waited = begun.elapsed();
            if self.in_flight() == 0 || waited >= timeout {
                return Ok(None);
            }
            if waited < SPIN {
                std::hint::spin_loop();
            } else {
                self.wait(timeout - waited)?;
            }
        }
    }

    /// Tells the device of everything that was sent.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn flush(&mut self) -> Result<(), Lost> {
        self.ring()
    }

    /// The queue's file, to be polled. It is closed with the queue.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }

    /// Gives the device memory to work on.
    ///
    /// # Errors
    /// What the call says; `EPERM` in a child of the queue's process.
    pub fn share(&self, share: &Share) -> Result<(), Errno> {
        self.call(SHARE, &mut share.bytes())
    }

    /// Takes memory back that was given at this address, once for each time that it was. When it returns, the device does not
    /// touch it any more.
    ///
    /// # Errors
    /// As [`share`](Self::share): `ENOENT` if there was none.
    pub fn unshare(&self, address: u64) -> Result<(), Errno> {
        self.call(UNSHARE, &mut Share { address, ..Share::default() }.bytes())
    }

    fn call(&self, command: u32, argument: &mut [u8]) -> Result<(), Errno> {
        if self.dus.is_left() { Err(Errno::PERM) } else { self.file.call(command, argument).map(|_| ()) }
    }
}
