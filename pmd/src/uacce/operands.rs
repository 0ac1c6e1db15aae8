//! What the addresses of a request are in this process, checked as a device of this process would check them.
//!
//! Drivers read messages to pad them, and write headers; and an address that is not mapped is answered here already.

use warpdrive_mempool::DomainView;

use crate::device::{Request, Segment, Status};
use crate::engine::overlap;

/// The bytes of a request.
pub(super) struct Operands<'a> {
    /// The input.
    pub(super) src: &'a [u8],
    /// The second input.
    pub(super) aux: &'a [u8],
    /// Where the output goes.
    pub(super) dst: &'a mut [u8],
}

/// Looks at what a request names: all of it mapped, permitted, and the output apart from the inputs.
///
/// To be called while no device works on the request: before it is sent, or when it is done.
#[inline]
pub(super) fn resolve<'a>(view: &'a mut DomainView, request: &'a Request) -> Result<Operands<'a>, Status> {
    if request.is_chained() {
        return Err(Status::NotContiguous);
    }
    let mut get = |segment: Segment, write: bool| match segment.len {
        0 => Ok(None),
        len => view.resolve(segment.iova, len as usize, write).map(Some).map_err(Status::Fault),
    };
    let src = get(request.src(), false)?;
    let aux = get(request.aux(), false)?;
    let dst = get(request.dst(), true)?;
    let is_in = |input| dst.zip(input).is_some_and(|(dst, input)| overlap(dst, input));
    if is_in(src) || is_in(aux) {
        return Err(Status::Overlap);
    }
    // SAFETY: the request owns the packets the addresses point into (or its maker promised exclusive use, see
    // Request::raw); it is borrowed for as long as the slices live, and so is the view, which keeps the regions mapped. No
    // device has the request. The output does not overlap the inputs.
    unsafe {
        let (src, aux) = (src.map_or(&[][..], |s| s.as_slice()), aux.map_or(&[][..], |s| s.as_slice()));
        Ok(Operands { src, aux, dst: dst.map_or(&mut [][..], |s| s.as_mut_slice()) })
    }
}
