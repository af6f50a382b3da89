//! What every change works with: the ports, and the queues that serve them.

mod make_port;

use crate::error::{EngineError, ErrorKind};
use crate::port::Port;
use crate::port::directory::Directory;
use crate::queue::queues::Queues;
use std::sync::Arc;

/// The control plane's hold on ports and queues. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) directory: Arc<Directory>,
    pub(crate) queues: Arc<Queues>,
}

impl Control {
    /// A port, by its name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Port>> {
        self.directory.find(name)
    }

    /// All ports, by name.
    pub(crate) fn all_ports(&self) -> Vec<Arc<Port>> {
        self.directory.all_ports()
    }

    pub(crate) fn not_found(&self, name: &str) -> EngineError {
        let known: Vec<String> = self.all_ports().iter().map(|p| p.name.clone()).collect();
        let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
        EngineError::new(ErrorKind::NotFound, format!("no device {name} (devices: {known})"))
    }

    /// Names of the ports that run a module, or are to run it once they come up, by its hash.
    pub(crate) fn ports_of(&self, hash: &str) -> Vec<String> {
        let runs = |port: &Arc<Port>| port.module().is_some_and(|m| m.hash() == hash);
        self.all_ports().into_iter().filter(runs).map(|port| port.name.clone()).collect()
    }
}
