//! What the control plane is told of a port: what is known of it, and the numbers of its queues.

use crate::engine::stuck;
use crate::handle::Handle;
use crate::ids::LaneId;
use crate::info::{Abandoned, HandleSummary, PortInfo, PortState, Trouble};
use crate::lane::Lane;
use crate::lane::counters::Counters;
use crate::port::config::ANSWER;
use crate::port::{Port, PortInner};
use crate::queue::remote::Remote;
use crate::resources::regions::RegionMemory;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use steadfast_abi::block_op;
use steadfast_shell::gate::Entry;
use steadfast_shell::histogram::Histogram;
use steadfast_shell::receipt::Release;
use steadfast_shell::sync::lock;

/// Numbers that a lane's own thread reads for the control plane.
#[derive(Debug, Default)]
struct LaneNumbers {
    in_flight: u32,
    held: u32,
    waiting: u32,
    lost: u32,
    open: bool,
    counters: Counters,
    entered: [u64; Entry::ALL.len()],
    inside: [u32; Entry::ALL.len()],
    oldest_ns: u64,
}

fn read_lane(lane: &Lane) -> LaneNumbers {
    LaneNumbers {
        in_flight: lane.slots.issued(),
        held: lane.held(),
        waiting: lane.waiting_in_line(),
        lost: lane.slots.lost(),
        open: lane.gate.is_open() || lane.reopens(),
        counters: lane.counters.clone(),
        entered: Entry::ALL.map(|e| lane.gate.entered(e)),
        inside: Entry::ALL.map(|e| lane.gate.inside(e)),
        oldest_ns: lane.oldest_ns(),
    }
}

fn troubles(port: &Port, inner: &PortInner) -> Vec<Trouble> {
    let lost = port.losses(&inner.behind()).into_iter().map(Trouble::from);
    let sights = inner.handles.iter().flatten().filter_map(|handle| handle.sight.as_ref()?.seen());
    let unanswered = |handle: &Handle| handle.sight.as_ref()?.unanswered();
    let hangs = |handle: &Handle| Trouble::that_hangs(handle).or_else(|| unanswered(handle));
    lost.chain(sights).chain(inner.handles.iter().flatten().filter_map(hangs)).collect()
}

/// What is known of a port without asking its queues.
#[derive(Clone, Debug)]
pub struct PortGlance {
    /// The driver that serves it.
    pub driver: Option<Release>,
    /// Mistakes of its drivers.
    pub driver_faults: u64,
    /// Values that are given to its driver.
    pub params: BTreeMap<String, String>,
    /// Drivers that were left to themselves.
    pub abandoned: Vec<Abandoned>,
}

pub(crate) fn port_glance(port: &Port) -> PortGlance {
    let inner = lock(&port.inner);
    PortGlance {
        driver: inner.serving.as_ref().map(|i| i.module.release()),
        driver_faults: driver_faults(&inner),
        params: inner.properties.given(),
        abandoned: abandoned(&inner),
    }
}

fn driver_faults(inner: &PortInner) -> u64 {
    inner.driver_faults + inner.serving.as_ref().map_or(0, |i| i.faults.load(Ordering::Relaxed))
}

fn abandoned(inner: &PortInner) -> Vec<Abandoned> {
    inner.abandoned.iter().map(|pinned| pinned.shown.clone()).collect()
}

/// What can be told of a port: asks its queues, each for a while.
pub(crate) fn port_info(port: &Port) -> PortInfo {
    let id = LaneId(port.id.0);
    let ask = |r: &Arc<Remote>| r.look(ANSWER, move |rt| rt.inspect_lane(id, read_lane)).flatten();
    let lanes: Vec<Option<LaneNumbers>> = port.remotes.iter().map(ask).collect();
    let silent = lanes.iter().enumerate().filter(|(_, lane)| lane.is_none());
    let silent: Vec<Trouble> =
        silent.map(|(i, _)| stuck::on_queue(port, port.queues[i], &port.remotes[i])).collect();
    let known = || lanes.iter().flatten();
    let down = port.waiting_module();
    let parameters_down = down.as_ref().map(|module| port.parameters_down(module));
    let inner = lock(&port.inner);
    let inside = inner.unfinished.as_ref().is_some_and(|job| !job.is_over())
        || inner.visit.as_ref().is_some_and(|visit| !visit.is_over())
        || port.outside.late().is_some();
    let stuck = stuck::that_is_waited_for(port, &inner);
    let state = if inside || lanes.iter().any(Option::is_none) {
        PortState::Unresponsive
    } else if inner.down.is_some() {
        PortState::Down
    } else if inner.serving.is_none() {
        PortState::Stranded
    } else if known().all(|l| l.open) {
        PortState::Running
    } else {
        PortState::Held
    };
    let mut latency = Histogram::default();
    known().for_each(|l| latency.add(l.counters.latency()));
    let by_entry = |e: Entry| (e.name().to_owned(), known().map(|l| l.entered[e as usize]).sum());
    let inside = |e: Entry| (e.name().to_owned(), known().map(|l| l.inside[e as usize]).sum());
    let handle = |(i, h): (usize, &Option<Handle>)| {
        let h = h.as_ref()?;
        Some(HandleSummary { number: i as u32, key: h.key.clone(), target: h.spec.target.clone() })
    };
    PortInfo {
        name: port.name.clone(),
        adapter: port.seat.adapter.name.clone(),
        number: port.seat.adapter.number,
        driver: inner.serving.as_ref().map(|i| i.module.release()),
        module: inner.serving.as_ref().map(|i| &i.module).or(inner.down.as_ref()).map(|m| m.release()),
        state,
        generation: port.generation(),
        epoch_unix_ms: port.epoch_unix_ms.load(Ordering::Acquire),
        swaps: inner.swaps,
        queues: port.queues.clone(),
        slots: port.limits.slots() * port.queues.len() as u32,
        in_flight: known().map(|l| l.in_flight).sum(),
        held: known().map(|l| l.held).sum(),
        waiting: known().map(|l| l.waiting).sum(),
        lost: known().map(|l| l.lost).sum(),
        requests: known().map(|l| l.counters.total().requests).sum(),
        errors: known().map(|l| l.counters.total().errors).sum(),
        bytes_read: known().map(|l| l.counters.bytes(block_op::READ)).sum(),
        bytes_written: known().map(|l| l.counters.bytes(block_op::WRITE)).sum(),
        latency: latency.quantiles(),
        oldest_ns: known().map(|l| l.oldest_ns).max().unwrap_or(0),
        held_total: known().map(|l| l.counters.held).sum(),
        entered: Entry::ALL.into_iter().map(by_entry).collect(),
        inside: Entry::ALL.into_iter().map(inside).collect(),
        clients: inner.clients(),
        driver_faults: driver_faults(&inner),
        shell_faults: known().map(|l| l.counters.shell_faults).sum(),
        params: inner.properties.given(),
        properties: inner.properties.in_force(),
        load_time: inner.properties.load_time().clone(),
        parameters: match &inner.serving {
            Some(serving) => serving.parameters(&inner.properties.given()),
            None => parameters_down.unwrap_or_default(),
        },
        handles: inner.handles.iter().enumerate().filter_map(handle).collect(),
        troubles: stuck.into_iter().chain(silent).chain(troubles(port, &inner)).collect(),
        over: inner.handles.iter().flatten().filter_map(|h| Some(h.device.as_ref()?.name())).collect(),
        regions: inner.regions.iter().flatten().map(RegionMemory::summary).collect(),
        devices: inner.devices.iter().filter(|_| inner.down.is_none()).map(|d| port.device_info(d)).collect(),
        memory: inner.serving.as_ref().map(|i| i.granted).unwrap_or_default(),
        reduced: inner.serving.as_ref().map(|i| lock(&i.reduced).clone()).unwrap_or_default(),
        last_receipt: inner.last_receipt.clone(),
        abandoned: abandoned(&inner),
        shadow: inner.trial.as_ref().map(|trial| trial.info()),
    }
}
