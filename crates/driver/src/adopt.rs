//! Taking over what another driver has in flight.

use crate::{Block, Errno, Pdu, Request};
use std::mem::ManuallyDrop;

/// A request in flight that another driver issued: its PDU is to be converted.
pub struct Adopted<'q, D: Block> {
    // Adoption does not answer the request, so the token must not be dropped.
    request: ManuallyDrop<Request<'q, D>>,
}

impl<'q, D: Block> Adopted<'q, D> {
    pub(crate) fn new(request: Request<'q, D>) -> Self {
        Adopted { request: ManuallyDrop::new(request) }
    }

    /// The request. It is answered later, by the event that it waits for.
    pub fn request(&self) -> &Request<'q, D> {
        &self.request
    }

    /// The PDU as the other driver left it.
    pub fn old<P: Pdu>(&self) -> Result<P, Errno> {
        let stride = self.request.q().pdu_stride as usize;
        if size_of::<P>() > stride || align_of::<P>() > 64 {
            return Err(Errno::INVAL);
        }
        // SAFETY: a slot has `pdu_stride` bytes of PDU, aligned to 64; any bytes are a valid `P`.
        Ok(unsafe { self.request.pdu_ptr().cast::<P>().read() })
    }

    /// Sets the PDU in this driver's form.
    pub fn convert(&self, pdu: D::Pdu) {
        self.request.pdu().set(pdu);
    }
}
