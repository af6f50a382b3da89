//! How an engine and its ports are set up.

use crate::error::{EngineError, ErrorKind};
use crate::handle::lost_writes::{LossBook, Lost};
use crate::port::adapters::AdapterRef;
use crate::resources::limits::slots_per_queue;
use crate::resources::slot_memory::SlotMemory;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use steadfast_loader::LoadedModule;
use steadfast_shell::earned::CallTimes;
use steadfast_shell::params::ShellDefaults;

/// Longest time that the control plane waits for a queue to answer a question.
pub(crate) const ANSWER: Duration = Duration::from_millis(500);

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Queues: threads, each with a ring. At least 1.
    pub queues: usize,
    /// Request slots of a port, over all its queues. 128 to 10240.
    pub slots_per_port: u32,
    /// Largest request that is passed to a driver, bytes. 131072 to 1388544.
    pub max_transfer: u32,
    /// Most memory that a driver may have per port, and per queue of it, bytes, when it comes to a port
    /// that is in use and has no reserve of its own.
    pub arena_reserve: u64,
    /// Number of the last receipt that was written before; the first one here is the next.
    pub last_receipt: u64,
    /// Queues look for work without ever sleeping: a processor each, for the shortest latency.
    pub busy_poll: bool,
    /// Lost writes that an earlier daemon has noted and nobody has accepted.
    pub lost: Vec<Lost>,
    /// What notes lost writes for a later daemon.
    pub loss_book: Option<Arc<dyn LossBook>>,
    /// What earlier daemons have found out about drivers' calls, the oldest first.
    pub calls: Vec<CallTimes>,
    /// How long a slot that nobody uses keeps the memory of its buffer at least; after twice as long it has none.
    pub keep_idle: Duration,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            queues: 1,
            slots_per_port: 1024,
            max_transfer: 339_968,
            arena_reserve: 64 << 20,
            last_receipt: 0,
            busy_poll: false,
            lost: Vec::new(),
            loss_book: None,
            calls: Vec::new(),
            keep_idle: Duration::from_secs(5),
        }
    }
}

impl EngineConfig {
    /// What the shell's own parameters are where nobody says it.
    pub fn shell_defaults(&self) -> ShellDefaults {
        ShellDefaults { io_slots: self.slots_per_port, max_transfer: self.max_transfer }
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let range = |name: &str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            let what = format!("{name}: {value} is out of range (allowed {min} to {max})");
            Err(EngineError::new(ErrorKind::Invalid, what))
        };
        range("queues", self.queues as u64, 1, 256)?;
        range("slots", u64::from(self.slots_per_port), 128, 10_240)?;
        range("max_transfer", u64::from(self.max_transfer), 131_072, 1_388_544)
    }

    /// Whether this process may have the memory of a port: a limit that leaves no room for any is better met
    /// at the start than by each.
    ///
    /// # Errors
    /// `Unsupported`: it may not; the message says what to do.
    pub fn check_memory(&self) -> Result<(), EngineError> {
        let count = slots_per_queue(self.slots_per_port, self.queues.min(4));
        let made = SlotMemory::exactly("start", count, self.max_transfer).map(drop);
        made.map_err(|e| {
            let what = format!("memory for {count} slots of {} bytes: {e}", self.max_transfer);
            EngineError::new(ErrorKind::Unsupported, what)
        })
    }
}

/// What to attach.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// Name of the port and of its device 0.
    pub name: String,
    /// The driver.
    pub module: Arc<LoadedModule>,
    /// Parameters as given; checked against the driver's manifest.
    pub params: BTreeMap<String, String>,
    /// Queues to spread it over; `None`: up to 4 of the engine's.
    pub queues: Option<usize>,
    /// The adapter that it is a port of; `None`: one of its own, of the port's name.
    pub adapter: Option<AdapterRef>,
}

type Names = dyn Fn(&str) -> Vec<String> + Send + Sync;

/// The clients of the port of that name, as people know them.
pub struct ClientNames(Box<Names>);

impl ClientNames {
    /// Who says it; it is called without a lock, and does not wait for a queue.
    pub fn new(names: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> ClientNames {
        ClientNames(Box::new(names))
    }

    pub(crate) fn of(&self, port: &str) -> Vec<String> {
        (self.0)(port)
    }
}

impl fmt::Debug for ClientNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientNames")
    }
}
