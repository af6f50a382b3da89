//! Regions: memory by name, which stays with the port.

use crate::info::RegionSummary;
use crate::resources::mapping::Mapping;

/// A region of memory by name.
#[derive(Debug)]
pub(crate) struct RegionMemory {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) map: Mapping,
}

impl RegionMemory {
    /// The same contents at another address, which changes leave as they are here.
    pub(crate) fn private_copy(&self) -> std::io::Result<RegionMemory> {
        Ok(RegionMemory { name: self.name.clone(), size: self.size, map: self.map.private_copy()? })
    }

    pub(crate) fn summary(&self) -> RegionSummary {
        RegionSummary { name: self.name.clone(), size: self.size }
    }
}
