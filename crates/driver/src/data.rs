//! The data buffer of a request.

use crate::{Errno, Region};
use std::marker::PhantomData;

/// Part of a device.
pub type Extent = steadfast_abi::Extent;

/// The data buffer of a request. It is memory that the ring or another process may write to, so it
/// is copied from and to, never borrowed.
#[derive(Clone, Copy)]
pub struct Data<'r> {
    ptr: *mut u8,
    len: u64,
    life: PhantomData<&'r ()>,
}

impl Data<'_> {
    /// # Safety
    /// `len` bytes at `ptr` are a data buffer, live and the driver's for the lifetime that the caller
    /// gives the result.
    #[inline(always)]
    pub(crate) unsafe fn new(ptr: *mut u8, len: u64) -> Self {
        Data { ptr, len, life: PhantomData }
    }

    /// Bytes.
    #[inline(always)]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// No bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn at(&self, offset: u64, len: u64) -> Result<*mut u8, Errno> {
        match offset.checked_add(len) {
            // SAFETY: `offset` is within the buffer, by the test.
            Some(end) if end <= self.len => Ok(unsafe { self.ptr.add(offset as usize) }),
            _ => Err(Errno::INVAL),
        }
    }

    /// Fills all of it with `byte`.
    #[inline(always)]
    pub fn fill(&self, byte: u8) {
        // SAFETY: `len` bytes at `ptr` are the buffer.
        unsafe { std::ptr::write_bytes(self.ptr, byte, self.len as usize) };
    }

    /// Fills all of it from `region`, from `offset` on; refused where the region ends before that.
    #[inline(always)]
    pub fn copy_from(&self, region: &Region, offset: u64) -> Result<(), Errno> {
        let from = region.at(offset, self.len)?;
        // SAFETY: both ranges hold `len` bytes, and a region never overlaps a data buffer.
        unsafe { std::ptr::copy_nonoverlapping(from, self.ptr, self.len as usize) };
        Ok(())
    }

    /// Copies all of it into `region`, from `offset` on; refused where the region ends before that.
    #[inline(always)]
    pub fn copy_to(&self, region: &Region, offset: u64) -> Result<(), Errno> {
        let to = region.at(offset, self.len)?;
        // SAFETY: both ranges hold `len` bytes, and a region never overlaps a data buffer.
        unsafe { std::ptr::copy_nonoverlapping(self.ptr, to, self.len as usize) };
        Ok(())
    }

    /// Copies bytes out, from `offset` on.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), Errno> {
        let from = self.at(offset, to.len() as u64)?;
        // SAFETY: `at` checked the range; `to` is a buffer of the driver's own.
        unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies bytes in, from `offset` on.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), Errno> {
        let to = self.at(offset, from.len() as u64)?;
        // SAFETY: `at` checked the range; `from` is a buffer of the driver's own.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// Writes extent number `index` of a STATUS answer; refused where the buffer is full.
    pub fn put_extent(&self, index: u32, extent: Extent) -> Result<(), Errno> {
        let at = u64::from(index) * size_of::<Extent>() as u64;
        self.write(at, &extent.length.to_ne_bytes())?;
        self.write(at + 8, &extent.flags.to_ne_bytes())
    }
}
