//! That no request is forgotten.
//!
//! A request that was submitted and not answered is with the driver, or it is held: there is no third
//! place. The lane counts those that are unanswered, and the slots count the others; as long as every step
//! is right, the numbers are the same. They are compared after every turn in builds for tests, which end at
//! the first difference, and otherwise with each tick. What is found then is answered with an error, so
//! that nobody waits for it, counted and written to the log: it is a fault of the shell's own.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::ids::{FrontendId, LaneId, Tag};
use crate::lane::core::Done;
use crate::queue::Reactor;
use std::fmt;
use steadfast_shell::slots::Owner;

/// Faults of the shell's own that a lane writes to the log.
const MOST_LOGGED: u64 = 16;

impl Lane {
    /// Every request that is unanswered is with the driver or held.
    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.unanswered == self.slots.issued() + self.slots.held()
    }

    /// Requests of one frontend that it waits for.
    pub(crate) fn waits_for(&self, frontend: FrontendId) -> bool {
        self.users.iter().any(|user| user.open && user.frontend == frontend)
    }

    /// Counts a step that was not to be: a fault of the shell's own, or of a frontend.
    #[cold]
    pub(crate) fn wrong(&mut self, what: &str, why: &dyn fmt::Display) {
        let before = self.counters.shell_faults;
        self.counters.shell_faults += 1;
        if before < MOST_LOGGED {
            tracing::error!(port = self.port.name, queue = self.index, "fault of the shell: {what}: {why}");
        }
    }

    /// Ends a request that its driver has no say in any more. That it cannot be ended is a fault of the shell's own;
    /// whoever waits for it is answered by the audit.
    ///
    /// # Safety
    /// As for `finish`.
    pub(super) unsafe fn end(lane: *mut Lane, tag: Tag, result: i32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if !Lane::finish(lane, tag, result) {
                let why = format!("slot {} is {:?}", tag.0, (*lane).slots.owner(tag));
                (*lane).wrong("end a request", &why);
            }
        }
    }

    /// Answers what was forgotten.
    ///
    /// # Safety
    /// As for `submit`.
    #[cold]
    unsafe fn find_forgotten(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let count = (*lane).users.len() as u32;
            for tag in (0..count).map(Tag) {
                let owner = (*lane).slots.owner(tag);
                let there = matches!(owner, Owner::Held | Owner::Issued | Owner::Aborting);
                if there || !(&(*lane).users)[tag.0 as usize].open {
                    continue;
                }
                let request = (*lane).request(tag);
                let (op, offset, length) =
                    (crate::lane::timeout::name(request.op), request.offset, request.length);
                let why = format!("slot {} is {owner:?}: {op} at {offset}, {length} bytes", tag.0);
                (*lane).wrong("a request was forgotten, and ends with an error", &why);
                Lane::answer(lane, tag, -libc::EIO);
            }
            if !(*lane).is_complete() {
                let slots = (*lane).slots.issued() + (*lane).slots.held();
                let why = format!("{} are unanswered, and {slots} under way", (*lane).unanswered);
                (*lane).wrong("requests do not add up", &why);
                (*lane).unanswered = slots;
            }
        }
    }
}

impl Reactor {
    /// Looks whether every request is where it can be.
    pub(crate) fn audit(&mut self) {
        for lane in self.lanes() {
            // SAFETY: this thread's lane, and nobody is inside its driver.
            unsafe {
                if !(*lane.as_ptr()).is_complete() {
                    Lane::find_forgotten(lane.as_ptr());
                }
            }
        }
    }

    /// The same where a difference must not be lived with.
    #[cfg(debug_assertions)]
    pub(crate) fn must_add_up(&self) {
        for lane in self.lanes() {
            // SAFETY: as in `audit`.
            let lane = unsafe { &*lane.as_ptr() };
            let (issued, held) = (lane.slots.issued(), lane.slots.held());
            assert!(
                lane.is_complete(),
                "port {}: {} requests are unanswered, {issued} issued and {held} held",
                lane.port.name,
                lane.unanswered
            );
        }
    }

    /// Whether anything is still to come to a frontend from the ports.
    pub(crate) fn is_waited_for(&self, frontend: FrontendId) -> bool {
        // SAFETY: as in `audit`.
        self.lanes().any(|lane| unsafe { (*lane.as_ptr()).waits_for(frontend) })
            || self.is_on_its_way(frontend)
    }

    /// A request completed whose frontend has gone: its slot is nobody's.
    #[cold]
    pub(crate) fn bring_home(&mut self, done: &Done) {
        let LaneId(port) = done.lane;
        tracing::warn!(port, slot = done.tag.0, "a request completed after its frontend had gone");
        self.free(done.lane, done.tag);
    }
}

#[cfg(test)]
mod tests {
    use crate::Engine;
    use crate::ids::{BlockRequest, FrontendId, LaneId, Tag};
    use crate::port::config::{EngineConfig, PortSpec};
    use crate::queue::Reactor;
    use crate::queue::frontend::Frontend;
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;
    use steadfast_abi::block_op;
    use steadfast_loader::ModuleStore;

    struct Waiter(Sender<i32>);

    impl Frontend for Waiter {
        fn ring(&mut self, _: &mut Reactor, _: FrontendId, _: u32, _: i32, _: u32) {}
        fn completed(
            &mut self,
            rt: &mut Reactor,
            _: FrontendId,
            lane: LaneId,
            tag: Tag,
            _: u64,
            result: i32,
        ) {
            rt.free(lane, tag);
            let _ = self.0.send(result);
        }
        fn slots_available(&mut self, _: &mut Reactor, _: FrontendId) {}
        fn flush(&mut self, _: &mut Reactor, _: FrontendId) {}
        fn stop(&mut self, _: &mut Reactor, _: FrontendId) {}
    }

    /// A port with a driver whose requests take a minute.
    fn engine(folder: &Path) -> Engine {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let module = folder.join("count.so");
        let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
        cc.args(["-shared", "-fPIC", "-D_GNU_SOURCE", "-fvisibility=hidden", "-I"])
            .arg(here.join("../abi/include"))
            .arg(here.join("tests/count.c"))
            .arg("-o")
            .arg(&module);
        assert!(cc.status().expect("the C compiler").success());
        let store = ModuleStore::open(folder.join("store")).expect("store");
        let module = Arc::new(store.stage(&module).expect("staged").load().expect("loaded"));
        let engine = Engine::start(EngineConfig { queues: 1, ..EngineConfig::default() }).expect("engine");
        let params = BTreeMap::from([("delay".to_owned(), "60000000000".to_owned())]);
        let spec = PortSpec { name: "vol0".into(), module, params, queues: None, adapter: None };
        engine.attach(spec).expect("attached");
        engine
    }

    #[test]
    fn a_request_that_was_forgotten_is_found_and_answered() {
        let folder = tempfile::tempdir().expect("folder");
        let engine = engine(folder.path());
        let claim = engine.open_device("vol0").expect("device");
        let (tx, rx) = channel();
        let port = claim.port;
        let forget = move |rt: &mut Reactor| {
            let lane = rt.lane(port).expect("lane");
            let me = rt.add_frontend(Box::new(Waiter(tx)));
            for n in 0..2 {
                let tag = rt.alloc(lane).expect("a slot");
                let request =
                    BlockRequest { op: block_op::READ, flags: 0, device: 0, offset: n * 4096, length: 4096 };
                rt.submit(lane, tag, me, n, request);
            }
            let lane = rt.lane_ptr(lane).expect("lane");
            // SAFETY: this thread's lane, and nobody is inside its driver.
            unsafe {
                assert!((*lane.as_ptr()).is_complete());
                // A step that tells nobody: the request is neither here nor there.
                (*lane.as_ptr()).slots.complete(Tag(0)).expect("issued");
                assert!(!(*lane.as_ptr()).is_complete());
                rt.audit();
                assert!((*lane.as_ptr()).is_complete());
                rt.audit();
            }
        };
        engine.post(claim.queue, Box::new(forget));
        assert_eq!(rx.recv_timeout(Duration::from_secs(60)), Ok(-libc::EIO));
        let info = engine.port("vol0").expect("port");
        assert_eq!((info.shell_faults, info.in_flight), (1, 1), "the other one is where it belongs");
        engine.stop(Duration::from_millis(100));
    }
}
