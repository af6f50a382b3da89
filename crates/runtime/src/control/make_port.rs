//! Ports are made with their memory.

use crate::control::Control;
use crate::driver::background_calls::Calls;
use crate::error::{EngineError, ErrorKind};
use crate::port::adapters::AdapterRef;
use crate::port::busy::Turns;
use crate::port::config::PortSpec;
use crate::port::rules::PortRules;
use crate::port::{Port, PortInner};
use crate::resources::arena::Arenas;
use crate::resources::limits::Limits;
use crate::resources::slot_memory::SlotMemory;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use steadfast_shell::params::ShellParams;
use steadfast_shell::properties::Properties;
use steadfast_shell::sync::lock;

impl Control {
    /// Makes a port with its memory, and lanes on its queues; no driver yet.
    /// `params`: what the shell is to observe until the driver serves; `within`: the queues that it can be
    /// on.
    pub(crate) fn make_port(
        &self,
        spec: &PortSpec,
        rules: &PortRules,
        params: &ShellParams,
        within: &[usize],
    ) -> Result<Arc<Port>, EngineError> {
        Port::check_name(&spec.name)?;
        spec.adapter.as_ref().map_or(Ok(()), |adapter| Port::check_name(&adapter.name))?;
        let all = within.len();
        let count = spec.queues.unwrap_or_else(|| all.min(4));
        if count == 0 || count > all {
            let what = format!("port {}: queues: {count} is out of range (allowed 1 to {all})", spec.name);
            return Err(EngineError::new(ErrorKind::Invalid, what));
        }
        let first = self.directory.next_queue.fetch_add(count, Ordering::Relaxed);
        let queues: Vec<usize> = (0..count).map(|i| within[(first + i) % all]).collect();
        let config = &self.directory.config;
        let memory = |_| SlotMemory::new(&spec.name, count, params);
        let memory = (0..count).map(memory).collect::<Result<Vec<_>, _>>().map_err(|e| {
            let what = format!("port {}: memory for {} slots: {e}", spec.name, params.io_slots);
            EngineError::new(ErrorKind::Unsupported, what)
        })?;
        let arenas = Arenas::new(rules.reserve, config.arena_reserve, count).map_err(|e| {
            let reserve = rules.reserve.unwrap_or_default();
            let what = format!("port {}: reserve of {reserve} bytes, {} times: {e}", spec.name, count + 1);
            EngineError::new(ErrorKind::Unsupported, what)
        })?;
        arenas.start_with(spec.module.manifest());
        let alone = || AdapterRef { name: spec.name.clone(), number: 0 };
        let seat = self.directory.adapters.take(&spec.name, spec.adapter.clone().unwrap_or_else(alone))?;
        let generation = lock(&self.directory.generations).get(&spec.name).copied().unwrap_or(0);
        Ok(Arc::new(Port {
            arenas,
            seat,
            id: self.directory.next_port_id(),
            name: spec.name.clone(),
            remotes: queues.iter().map(|q| self.queues.remotes[*q].clone()).collect(),
            queues,
            memory,
            files: self.directory.files.clone(),
            directory: Arc::downgrade(&self.directory),
            generation: AtomicU64::new(generation),
            epoch_unix_ms: AtomicU64::new(0),
            next_queue: AtomicU64::new(0),
            inner: Mutex::new(PortInner {
                properties: Properties::loaded(rules.definitions(&spec.params)),
                rules: rules.clone(),
                ..PortInner::default()
            }),
            turns: Turns::default(),
            outside: Calls::default(),
            shell: config.shell_defaults(),
            limits: Limits::new(count, params),
            shadow: None,
        }))
    }
}
