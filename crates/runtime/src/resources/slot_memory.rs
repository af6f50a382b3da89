//! The memory of a port's slots: headers, private bytes, data buffers.

use crate::resources::limits::slots_per_queue;
use crate::resources::mapping::{Mapping, pages};
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};
use steadfast_shell::params::{IO_SLOTS, MAX_TRANSFER, ShellParams};

/// Bytes from one request header to the next.
pub(crate) const SLOT_STRIDE: usize = 64;
/// Bytes from one PDU to the next, and so the most that a driver can have.
pub(crate) const PDU_STRIDE: usize = 256;
/// Bytes before each data buffer that are not the driver's: room for a frontend's reply header, and
/// a page so that the buffer stays page-aligned.
pub(crate) const DATA_LEAD: usize = 4096;

/// The slots of one port on one queue, in memory.
///
/// Their addresses stay what they are when a port comes to have more of them, or larger ones: it is mapped
/// for as many and as large ones as there can be, and what nobody has touched takes no memory.
#[derive(Debug)]
pub(crate) struct SlotMemory {
    map: Mapping,
    /// Most slots that there is room for.
    pub(crate) room: u32,
    /// Most bytes of data in one that there is room for.
    pub(crate) data_room: u32,
    /// Most bytes that a request has ever been allowed to have: there may be one of them yet.
    most_data: AtomicU32,
    pdus: usize,
    data: usize,
    pub(crate) data_stride: usize,
}

impl SlotMemory {
    /// For whatever the port's parameters can become; where the process may not map that much, for what
    /// they are now.
    pub(crate) fn new(port: &str, queues: usize, params: &ShellParams) -> std::io::Result<SlotMemory> {
        let (count, data_size) = (slots_per_queue(params.io_slots, queues), params.max_transfer);
        let most = slots_per_queue(*IO_SLOTS.end() as u32, queues);
        let memory = SlotMemory::exactly(port, most, *MAX_TRANSFER.end() as u32);
        let memory = memory.or_else(|_| SlotMemory::exactly(port, count, data_size))?;
        memory.most_data.store(data_size, Ordering::Relaxed);
        Ok(memory)
    }

    /// For so many slots of that size and no others.
    pub(crate) fn exactly(port: &str, count: u32, data_size: u32) -> std::io::Result<SlotMemory> {
        let n = count as usize;
        let pdus = pages(n * SLOT_STRIDE);
        let data = pdus + pages(n * PDU_STRIDE);
        let data_stride = DATA_LEAD + pages(data_size as usize);
        let name = CString::new(format!("steadfast-slots-{port}")).unwrap_or_default();
        let map = Mapping::new(&name, data + n * data_stride)?;
        map.leave_out_of_dumps();
        let most_data = AtomicU32::new(data_size);
        Ok(SlotMemory { map, room: count, data_room: data_size, most_data, pdus, data, data_stride })
    }

    /// Most bytes that a request can have, those included that were made under a larger `max_transfer`.
    pub(crate) fn most_data(&self) -> u32 {
        self.most_data.load(Ordering::Acquire)
    }

    /// Requests may have so many bytes from here on.
    pub(crate) fn allow_data(&self, bytes: u32) {
        self.most_data.fetch_max(bytes.min(self.data_room), Ordering::AcqRel);
    }

    pub(crate) fn slots(&self) -> *mut u8 {
        self.map.base()
    }

    pub(crate) fn pdus(&self) -> *mut u8 {
        self.map.base().wrapping_add(self.pdus)
    }

    /// The data buffer of slot 0.
    pub(crate) fn data(&self) -> *mut u8 {
        self.map.base().wrapping_add(self.data + DATA_LEAD)
    }
}
