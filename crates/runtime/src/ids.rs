//! What ports, lanes, frontends and requests are called by.

pub use steadfast_shell::slots::Tag;

/// A port, by its number in the engine; never used twice while the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u32);

/// A port on one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub(crate) u32);

/// A frontend on one queue; used again after the frontend was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendId(pub(crate) u32);

/// A request to a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// One of [`block_op`](steadfast_abi::block_op).
    pub op: u16,
    /// Bits of [`block_flag`](steadfast_abi::block_flag).
    pub flags: u16,
    /// Device within the port.
    pub device: u32,
    /// First byte; aligned to the device's block size.
    pub offset: u64,
    /// Bytes; aligned likewise, at most [`Reactor::data_size`](crate::queue::Reactor::data_size) where data is moved.
    pub length: u64,
}

/// A [`Stack`](crate::stack::queue::Stack) on its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackId(pub(crate) u32);
