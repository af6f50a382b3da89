//! The control plane's handle on everything: queues, ports, devices.

#![allow(unsafe_code)] // resource limits

mod changes;
pub(crate) mod growth;
pub(crate) mod metrics;
pub(crate) mod modules;
pub(crate) mod port_info;
pub(crate) mod stop;
pub(crate) mod stuck;

use crate::control::Control;
use crate::engine::port_info::{PortGlance, port_glance, port_info};
use crate::error::{EngineError, ErrorKind};
use crate::helpers::Foreman;
use crate::info::{DeviceInfo, PortInfo};
use crate::port::claim::DeviceClaim;
use crate::port::config::EngineConfig;
use crate::port::directory::Directory;
use crate::queue::Reactor;
use crate::queue::queues::Queues;
use crate::queue::remote::{Remote, Task};
use std::sync::{Arc, Mutex, mpsc};
use steadfast_shell::sync::lock;

/// Most files in the rings' tables.
const FILES: u64 = 16 * 1024;

/// The engine. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) control: Control,
}

impl Engine {
    /// Starts the queues' threads.
    ///
    /// # Errors
    /// `Unsupported` where io_uring is missing, forbidden or too old, or where the process may not have the
    /// memory of one port (the message says what to do); `Invalid` for a configuration out of range.
    pub fn start(config: EngineConfig) -> Result<Engine, EngineError> {
        config.check()?;
        config.check_memory()?;
        let files = raise_file_limit().min(FILES) as u32;
        let remotes =
            (0..config.queues).map(|_| Remote::new().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let (look_now, looks) = mpsc::sync_channel(1);
        let directory = Arc::new(Directory::new(config, files, look_now));
        let queues = Arc::new(Queues { remotes, threads: Mutex::default(), foreman: Mutex::default() });
        let engine = Engine { control: Control { directory, queues } };
        engine.control.directory.start_looking(looks);
        let bells: Vec<_> = engine.control.queues.remotes.iter().map(|remote| remote.bell.clone()).collect();
        let foreman = Foreman::start(&bells)?;
        lock(&engine.control.queues.foreman).replace(foreman.clone());
        for (index, remote) in engine.control.queues.remotes.iter().enumerate() {
            engine.start_queue(index, remote.clone(), foreman.clone(), files)?;
        }
        Ok(engine)
    }

    fn start_queue(
        &self,
        index: usize,
        remote: Arc<Remote>,
        foreman: Arc<Foreman>,
        files: u32,
    ) -> Result<(), EngineError> {
        let (tx, rx) = mpsc::sync_channel(1);
        let directory = self.control.directory.clone();
        let body = move || match Reactor::new(index, directory, remote, foreman, files) {
            Ok(reactor) => {
                let _ = tx.send(Ok(()));
                reactor.run();
            }
            Err(e) => {
                let _ = tx.send(Err(e));
            }
        };
        let thread = std::thread::Builder::new().name(format!("queue-{index}")).spawn(body);
        let thread = thread.map_err(|e| EngineError::new(ErrorKind::Unsupported, format!("thread: {e}")))?;
        lock(&self.control.queues.threads).push(thread);
        let died = || EngineError::new(ErrorKind::Unsupported, "a queue's thread ended at its start");
        rx.recv().map_err(|_| died())?
    }

    /// Number of queues.
    pub fn queues(&self) -> usize {
        self.control.queues.remotes.len()
    }

    /// Runs `task` on the thread of queue `queue`, soon. A number that does not exist is dropped.
    pub fn post(&self, queue: usize, task: Task) {
        if let Some(remote) = self.control.queues.remotes.get(queue) {
            remote.post(task);
        }
    }

    /// All devices, by the name of their port.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        self.control.directory.devices()
    }

    /// Devices of up to `most` ports whose names come after `after`, and the last of these ports where there may be more:
    /// for whoever must not take long.
    pub fn devices_after(&self, after: &str, most: usize) -> (Vec<DeviceInfo>, Option<String>) {
        self.control.directory.devices_after(after, most)
    }

    /// A device, by its name.
    pub fn device(&self, name: &str) -> Option<DeviceInfo> {
        self.control.directory.device(name)
    }

    /// Claims a device for a client, and chooses the queue to serve that client.
    pub fn open_device(&self, name: &str) -> Option<DeviceClaim> {
        self.control.directory.open_device(name)
    }

    /// Names of all ports, in their order. Unlike [`ports`](Engine::ports) it asks no queue.
    pub fn port_names(&self) -> Vec<String> {
        self.control.directory.port_names()
    }

    /// The lowest number that a new port of an adapter can have.
    pub fn free_port_number(&self, adapter: &str) -> u32 {
        self.control.directory.free_port_number(adapter)
    }

    /// A port.
    pub fn port(&self, name: &str) -> Option<PortInfo> {
        self.control.find(name).map(|p| port_info(&p))
    }

    /// What is known of a port without asking its queues. Unlike [`port`](Engine::port) it wakes nobody.
    pub fn glance(&self, name: &str) -> Option<PortGlance> {
        self.control.find(name).map(|p| port_glance(&p))
    }

    /// What is under way on a port, an update for example; `None` when nothing is, or there is no such
    /// port.
    pub fn under_way(&self, name: &str) -> Option<String> {
        self.control.find(name).and_then(|p| p.turns.doing())
    }

    /// All ports, by name.
    pub fn ports(&self) -> Vec<PortInfo> {
        self.control.all_ports().iter().map(|p| port_info(p)).collect()
    }
}

/// Raises the limit of open files as far as it may be raised; returns it.
fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for the answer, and then the same place as the question.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        if limit.rlim_cur < limit.rlim_max {
            let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
                limit = wanted;
            }
        }
    }
    limit.rlim_cur
}
