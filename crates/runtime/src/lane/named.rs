//! Memory that an operation names: which it may, and for how long it is in use.
//!
//! An operation of a request reads into or writes from that request's own memory, or from a region. A driver
//! that gathers requests has one operation for several: then it names the data of the others too, each
//! within what that request asked for and in its direction. The operation counts for every request that it
//! names: none of them goes back to its frontend, nor to another driver, before the kernel has let go of its
//! buffer.
//!
//! Whatever else an operation names is not the driver's to name: it is refused, and a fault of the driver.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::ids::Tag;
use crate::lane::in_flight::OpEntry;
use crate::lane::shell_calls::fault;
use crate::resources::slot_memory::PDU_STRIDE;
use std::mem::MaybeUninit;
use std::ptr;
use steadfast_abi as abi;
use steadfast_abi::{block_op, memory, op};
use steadfast_shell::slots::Owner;

/// What segments turn out to be.
pub(super) struct Resolved<'p> {
    pub(super) parts: &'p [libc::iovec],
    /// Some of them are of other requests than the operation's own.
    pub(super) names_others: bool,
}

impl Lane {
    /// Turns segments into addresses, checking that each lies in memory that the driver may use.
    ///
    /// # Safety
    /// `op.segs` points to `op.seg_count` segments, or is null.
    #[inline]
    pub(super) unsafe fn resolve<'p>(
        &self,
        op: &abi::Op,
        parts: &'p mut [MaybeUninit<libc::iovec>; abi::MAX_SEGS],
    ) -> Result<Resolved<'p>, i32> {
        if op.tag != abi::NO_TAG {
            self.may_work_on(op.tag)
                .map_err(|errno| if errno == libc::EFAULT { libc::EINVAL } else { errno })?;
        }
        let count = op.seg_count as usize;
        if count > abi::MAX_SEGS || (count > 0 && op.segs.is_null()) {
            return Err(libc::EINVAL);
        }
        let mut names_others = false;
        let parts = &mut parts[..count];
        for (i, part) in parts.iter_mut().enumerate() {
            // SAFETY: as promised, `count` segments are readable.
            let seg = unsafe { op.segs.add(i).read() };
            let (base, size) = self.locate(op, &seg)?;
            names_others |= is_of_other(op, &seg);
            match seg.offset.checked_add(seg.length) {
                Some(end) if seg.length > 0 && end <= size => {}
                _ => return Err(libc::EFAULT),
            }
            let address = base.wrapping_add(seg.offset as usize);
            part.write(libc::iovec { iov_base: address.cast(), iov_len: seg.length as usize });
        }
        // SAFETY: each of them has been written.
        let parts = unsafe { &*(&raw const *parts as *const [libc::iovec]) };
        Ok(Resolved { parts, names_others })
    }

    /// The request is the driver's, which has not completed it, nor been asked to give it up.
    #[inline]
    fn may_work_on(&self, tag: u32) -> Result<(), i32> {
        match self.slots.owner(Tag(tag)) {
            Owner::Issued if self.users.get(tag as usize).is_some_and(|user| user.late.is_none()) => Ok(()),
            Owner::Aborting | Owner::GivenUp | Owner::Lost => Err(libc::ECANCELED),
            _ => Err(libc::EFAULT),
        }
    }

    #[inline]
    fn locate(&self, op: &abi::Op, seg: &abi::Seg) -> Result<(*mut u8, u64), i32> {
        match seg.memory {
            memory::DATA if !is_of_other(op, seg) => {
                Ok((self.data(Tag(op.tag)), u64::from(self.most_data())))
            }
            memory::DATA => self.data_of_other(op.code, seg.index),
            memory::PDU => {
                self.may_work_on(seg.index)?;
                Ok((self.pdu(seg.index), PDU_STRIDE as u64))
            }
            memory::REGION => {
                let tables = self.instance.as_ref().and_then(|i| i.tables.get()).ok_or(libc::EFAULT)?;
                let (base, size) = *tables.regions.get(seg.index as usize).ok_or(libc::EFAULT)?;
                Ok((ptr::with_exposed_provenance_mut(base), size))
            }
            memory::EXTERNAL => Err(libc::EOPNOTSUPP),
            _ => Err(libc::EINVAL),
        }
    }

    /// The data of a request that is not the operation's own: as much as it asked for, in its direction.
    fn data_of_other(&self, code: u16, tag: u32) -> Result<(*mut u8, u64), i32> {
        self.may_work_on(tag)?;
        let request = self.request(Tag(tag));
        let same = match request.op {
            block_op::READ => matches!(code, op::READ | op::RECV),
            block_op::WRITE => matches!(code, op::WRITE | op::SEND),
            _ => false,
        };
        if !same {
            return Err(libc::EFAULT);
        }
        Ok((self.data(Tag(tag)), request.length.min(self.most_data().into())))
    }

    /// The driver named memory that is not its request's.
    #[cold]
    pub(super) fn blame_for_memory(&self, op: &abi::Op) {
        if let Some(instance) = &self.instance {
            let whose = match op.tag {
                abi::NO_TAG => "no request".to_owned(),
                tag => format!("request {tag}"),
            };
            fault(instance, &format!("an operation of {whose} names memory that is not its own: refused"));
        }
    }

    /// Counts an operation, which has been issued, for the other requests that it names.
    ///
    /// # Safety
    /// As for `issue`; the segments have been resolved.
    #[cold]
    pub(super) unsafe fn count_for_others(lane: *mut Lane, op: &abi::Op, id: u32) {
        // SAFETY: rules 1 and 2; `seg_count` segments are readable.
        unsafe {
            let ops = &raw mut (*(*lane).core.as_ptr()).ops;
            for i in 0..op.seg_count as usize {
                let seg = op.segs.add(i).read();
                let users = &mut (*lane).users;
                if is_of_other(op, &seg)
                    && let Some(user) = users.get_mut(seg.index as usize)
                {
                    user.ops += 1;
                    (*ops).name(id, seg.index);
                }
            }
        }
    }

    /// An operation has ended: the other requests that it named may go on.
    ///
    /// # Safety
    /// As for `submit`.
    #[cold]
    pub(super) unsafe fn others_go_on(lane: *mut Lane, entry: &mut OpEntry) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let ops = &raw mut (*(*lane).core.as_ptr()).ops;
            while let Some(tag) = (*ops).next_named(entry) {
                let users = &mut (*lane).users;
                let Some(user) = users.get_mut(tag as usize) else { continue };
                user.ops -= 1;
                if user.ops == 0
                    && let Some(result) = user.late
                {
                    Lane::finish(lane, Tag(tag), result);
                }
            }
        }
    }
}

/// Whether a segment is the memory of another request than the operation's own.
#[inline]
fn is_of_other(op: &abi::Op, seg: &abi::Seg) -> bool {
    matches!(seg.memory, memory::DATA | memory::PDU) && (seg.index != op.tag || op.tag == abi::NO_TAG)
}
