//! The device under the drivers: a volatile write cache over a medium.
//!
//! A write that has completed is in the cache; only a flush, or the write's own FUA, brings it to the
//! medium. A flush covers what was in the cache when it began. A power loss leaves the medium alone.

/// Blocks of the device.
pub(crate) const BLOCKS: usize = 8;

/// What a block holds: the number of the write that wrote it, 0 for none.
pub(crate) type Version = u16;

/// What every block holds.
pub(crate) type Image = [Version; BLOCKS];

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpCode {
    Read { block: u8 },
    Write { block: u8, version: Version, fua: bool },
    Flush,
}

/// The device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    pub(crate) cache: Image,
    pub(crate) medium: Image,
}

impl Device {
    /// What a flush that begins now must bring to the medium.
    pub(crate) fn begin(&self, op: OpCode) -> Image {
        if op == OpCode::Flush { self.cache } else { Image::default() }
    }

    /// The operation takes effect; `covered` is what [`begin`](Device::begin) said. What a read finds.
    pub(crate) fn complete(&mut self, op: OpCode, covered: &Image) -> Version {
        match op {
            OpCode::Read { block } => self.cache[usize::from(block)],
            OpCode::Write { block, version, fua } => {
                let block = usize::from(block);
                self.cache[block] = version;
                if fua {
                    self.medium[block] = version;
                }
                0
            }
            OpCode::Flush => {
                for (medium, covered) in self.medium.iter_mut().zip(covered) {
                    *medium = (*medium).max(*covered);
                }
                0
            }
        }
    }

    /// The cache writes a block back by itself, as caches do.
    pub(crate) fn write_back(&mut self, block: usize) {
        self.medium[block] = self.medium[block].max(self.cache[block]);
    }
}
