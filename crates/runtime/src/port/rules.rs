//! What an operator says of one port beside its parameters, and what the checks before an update want
//! to know of the port.

use crate::info::Shrink;
use crate::port::{Device, Port, PortInner};
use std::collections::BTreeMap;
use steadfast_abi::handle_kind;
use steadfast_shell::check::{DeviceSide, Hardware};
use steadfast_shell::properties::{Definition, Definitions, Source};
use steadfast_shell::sync::lock;

/// Hardware, as manifests name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareId {
    /// `bus:id`, such as `file:regular` or `pci:1af4:1042`.
    pub hwid: String,
    /// Revision; 0 where there is none.
    pub revision: u32,
}

/// What an operator says of one port beside its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortRules {
    /// The hardware behind it. Where nothing is said, it is what the port's first open handle is:
    /// `file:regular` or `file:block`.
    pub hardware: Option<HardwareId>,
    /// Its driver may be replaced once between two starts.
    pub once_per_start: bool,
    /// A later release must say the oldest version that it can update from.
    pub require_min_from: bool,
    /// Bytes that are kept ready for the memory of later drivers, for the port and for each of its queues.
    /// Where nothing is said none are, and a later driver may have as much as the engine's
    /// `arena_reserve`.
    pub reserve: Option<u64>,
    /// Where the port's parameters were said, as far as it is known.
    pub sources: BTreeMap<String, Source>,
    /// Bytes that devices have to have at least, by number: else the port does not come. Of others nothing is asked.
    pub at_least: BTreeMap<u32, u64>,
}

impl PortRules {
    /// Parameters with where they were said.
    pub(crate) fn definitions(&self, params: &BTreeMap<String, String>) -> Definitions {
        let unknown = || Source::Option { text: "the daemon's start".to_owned() };
        let define = |(name, value): (&String, &String)| {
            let source = self.sources.get(name).cloned().unwrap_or_else(unknown);
            (name.clone(), Definition { value: value.clone(), source })
        };
        params.iter().map(define).collect()
    }
}

impl HardwareId {
    pub(crate) fn side(&self) -> Hardware<'_> {
        Hardware { hwid: &self.hwid, revision: self.revision }
    }
}

impl Port {
    /// The hardware behind the port, as far as it is known.
    pub(crate) fn hardware(&self) -> Option<HardwareId> {
        lock(&self.inner).hardware()
    }
}

impl PortInner {
    pub(crate) fn hardware(&self) -> Option<HardwareId> {
        if self.rules.hardware.is_some() {
            return self.rules.hardware.clone();
        }
        let first = self.handles.iter().flatten().next()?;
        let hwid = match first.info.kind {
            handle_kind::REGULAR => "file:regular",
            handle_kind::BLOCK => "file:block",
            _ => return None,
        };
        Some(HardwareId { hwid: hwid.to_owned(), revision: 0 })
    }

    /// The port's devices as a check sees them.
    pub(crate) fn device_sides(&self, port: &str, shrinks: Option<&Shrink>) -> Vec<DeviceSide> {
        let side = |device: &Device| DeviceSide {
            name: if device.number == 0 { port.to_owned() } else { format!("{port}.{}", device.number) },
            size: device.size,
            block_size: device.block_size,
            clients: self.offers.get(&device.number).map_or(0, |offers| offers.clients),
            shrinks_to: shrinks.map(|shrink| shrink.to),
        };
        self.devices.iter().map(side).collect()
    }
}
