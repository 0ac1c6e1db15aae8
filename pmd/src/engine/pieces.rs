//! Input and output that lie in several segments.

use std::marker::PhantomData;
use std::ops::Range;

use warpdrive_mempool::{DmaSlice, DomainView};

use super::MAX_BATCH;
use crate::device::{MAX_SEGMENTS, Request, Segment, Status};

/// The pieces of a job's input behind the first.
#[derive(Clone, Copy, Default)]
pub struct Gather<'a> {
    rest: &'a [DmaSlice],
}

impl<'a> Gather<'a> {
    /// The pieces in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // SAFETY: for 'a nobody writes to them: by the maker of the job (exec.rs), who alone makes a Gather.
        self.rest.iter().map(|piece| unsafe { piece.as_slice() })
    }

    /// Takes the first piece out.
    pub fn take_first(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        // SAFETY: as in `iter`.
        Some(unsafe { first.as_slice() })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The pieces of a job's output behind the first.
#[derive(Default)]
pub struct Scatter<'a> {
    rest: &'a [DmaSlice],
    exclusive: PhantomData<&'a mut [u8]>,
}

impl<'a> Scatter<'a> {
    /// The pieces in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        // SAFETY: for 'a nobody else accesses them, and no two overlap: by the maker of the job (exec.rs), who alone makes
        // a Scatter. The iterator borrows it, so there is one set of references at a time.
        self.rest.iter().map(|piece| unsafe { piece.as_mut_slice() })
    }

    /// Takes the first piece out.
    pub fn take_first(&mut self) -> Option<&'a mut [u8]> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        // SAFETY: as in `iter_mut`; what was taken out is not given again.
        Some(unsafe { first.as_mut_slice() })
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rest.iter().map(|piece| piece.len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Where the pieces of one request are among those of the batch.
#[derive(Clone, Default)]
pub(super) struct Spread {
    src: Range<usize>,
    dst: Range<usize>,
}

/// The pieces of a batch, behind the first of each request.
pub(super) struct Pieces {
    all: Vec<DmaSlice>,
}

// SAFETY: pointers that are followed only between the resolving of a batch and its end, all on one thread.
unsafe impl Send for Pieces {}

impl Pieces {
    /// Room for any batch, if the engine takes chained requests at all.
    pub(super) fn new(chains: bool) -> Self {
        Self { all: Vec::with_capacity(if chains { 2 * MAX_BATCH * MAX_SEGMENTS } else { 0 }) }
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// Resolves the pieces of a request.
    pub(super) fn add(&mut self, view: &mut DomainView, request: &Request) -> Result<Spread, Status> {
        let src = self.add_all(view, request.src_rest(), false)?;
        let dst = self.add_all(view, request.dst_rest(), true)?;
        Ok(Spread { src, dst })
    }

    fn add_all(
        &mut self,
        view: &mut DomainView,
        segments: impl Iterator<Item = Segment>,
        write: bool,
    ) -> Result<Range<usize>, Status> {
        let start = self.all.len();
        for segment in segments.filter(|s| s.len > 0) {
            // With the first there are as many as there may be.
            if self.all.len() - start == MAX_SEGMENTS - 1 {
                return Err(Status::TooManySegments);
            }
            self.all.push(view.resolve(segment.iova, segment.len as usize, write).map_err(Status::Fault)?);
        }
        Ok(start..self.all.len())
    }

    /// Whether any output piece shares a byte with an input or with another output piece.
    pub(super) fn overlap(
        &self,
        spread: &Spread,
        first_src: Option<DmaSlice>,
        aux: Option<DmaSlice>,
        first_dst: Option<DmaSlice>,
    ) -> bool {
        let inputs = || first_src.into_iter().chain(aux).chain(self.all[spread.src.clone()].iter().copied());
        let outputs = || first_dst.into_iter().chain(self.all[spread.dst.clone()].iter().copied());
        outputs().enumerate().any(|(i, dst)| {
            inputs().any(|src| overlap(src, dst)) || outputs().skip(i + 1).any(|other| overlap(other, dst))
        })
    }

    /// The pieces of a request, to be read.
    ///
    /// # Safety
    /// For as long as the result lives, nobody writes to them.
    pub(super) unsafe fn gather(&self, spread: &Spread) -> Gather<'_> {
        Gather { rest: &self.all[spread.src.clone()] }
    }

    /// The pieces of a request, to be written.
    ///
    /// # Safety
    /// For as long as the result lives, nobody else accesses them, and they do not overlap. Called once a request.
    pub(super) unsafe fn scatter(&self, spread: &Spread) -> Scatter<'_> {
        Scatter { rest: &self.all[spread.dst.clone()], exclusive: PhantomData }
    }
}

pub(crate) fn overlap(a: DmaSlice, b: DmaSlice) -> bool {
    let (a0, b0) = (a.ptr.addr().get(), b.ptr.addr().get());
    a0 < b0 + b.len && b0 < a0 + a.len
}
