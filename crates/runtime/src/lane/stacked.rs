//! Operations on other devices of the daemon: checked here, carried out by `stack`.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::ids::StackId;
use crate::lane::stacked_list::Stacked;
use steadfast_abi as abi;
use steadfast_abi::{Extent, block_flag, block_op, fallocate, op, op_flag};

impl Lane {
    /// Where operations on a handle go, when a device is behind it.
    pub(super) fn stack_of(&self, handle: u32) -> Option<StackId> {
        let tables = self.instance.as_ref()?.tables.get()?;
        tables.devices.get(handle as usize)?.as_ref()?.stack(self.index)
    }

    /// Whether operations of the lane may be on devices.
    pub(super) fn has_devices(&self) -> bool {
        let tables = self.instance.as_ref().and_then(|i| i.tables.get());
        tables.is_none_or(|tables| tables.devices.iter().any(Option::is_some))
    }

    /// Puts an operation on the list that the loop goes through when no driver is inside.
    ///
    /// # Safety
    /// As for `issue`; `parts` are checked.
    pub(super) unsafe fn issue_stacked(
        lane: *mut Lane,
        op: &abi::Op,
        parts: &[libc::iovec],
        stack: StackId,
        id: u32,
    ) -> Result<(), i32> {
        let bytes = parts.iter().map(|part| part.iov_len as u64).sum();
        let (code, flags) = (request_code(op, parts)?, request_flags(op)?);
        let length = if matches!(op.code, op::READ | op::WRITE) { bytes } else { op.length };
        let (offset, length) = if code == block_op::FLUSH { (0, 0) } else { (op.offset, length) };
        let request = Stacked { stack, id, op: code, flags, offset, length, parts: parts.len() };
        // SAFETY: rule 2 for `core`.
        unsafe { (*(*lane).core.as_ptr()).stacked.push(request, parts) };
        Ok(())
    }
}

fn request_code(op: &abi::Op, parts: &[libc::iovec]) -> Result<u16, i32> {
    let mode = op.arg & !fallocate::KEEP_SIZE;
    match (op.code, parts) {
        (op::READ, [_, ..]) => Ok(block_op::READ),
        (op::WRITE, [_, ..]) => Ok(block_op::WRITE),
        (op::FSYNC | op::FDATASYNC, []) => Ok(block_op::FLUSH),
        (op::FALLOCATE, []) if mode == fallocate::PUNCH_HOLE => Ok(block_op::TRIM),
        (op::FALLOCATE, []) if mode == fallocate::ZERO_RANGE => Ok(block_op::WRITE_ZEROES),
        (op::EXTENTS, [part]) if part.iov_len >= size_of::<Extent>() => Ok(block_op::STATUS),
        (op::READ | op::WRITE | op::FSYNC | op::FDATASYNC | op::EXTENTS, _) => Err(libc::EINVAL),
        _ => Err(libc::EOPNOTSUPP),
    }
}

fn request_flags(op: &abi::Op) -> Result<u16, i32> {
    let known = match op.code {
        op::WRITE => op_flag::FUA,
        op::FALLOCATE => op_flag::FUA | op_flag::NO_HOLE | op_flag::FAST_ONLY,
        _ => 0,
    };
    if op.flags & !known != 0 {
        return Err(libc::EINVAL);
    }
    let pairs = [
        (op_flag::FUA, block_flag::FUA),
        (op_flag::NO_HOLE, block_flag::NO_HOLE),
        (op_flag::FAST_ONLY, block_flag::FAST_ONLY),
    ];
    Ok(pairs.iter().filter(|(mine, _)| op.flags & mine != 0).fold(0, |all, (_, theirs)| all | theirs))
}
