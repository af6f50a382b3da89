//! What modelled drivers say of themselves, in real manifests, and what the real check makes of it.

use crate::control::passes;
use crate::plan::Spec;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use steadfast_shell::check::{self, CheckInput, Limits, Policy, PortSide, Side};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::ShellDefaults;
use steadfast_shell::receipt::Mode;

type Key = (u8, u8, bool, u8);

thread_local! {
    static KNOWN: RefCell<HashMap<Key, Rc<Manifest>>> = RefCell::default();
}

/// The manifest of a driver; made once for each that differs.
fn manifest(spec: &Spec) -> Rc<Manifest> {
    let key = (spec.version, spec.pdu, spec.adopts_other, spec.states);
    KNOWN.with_borrow_mut(|known| known.entry(key).or_insert_with(|| Rc::new(make(spec))).clone())
}

fn make(spec: &Spec) -> Manifest {
    let mut text = vec!["manifest=1".to_owned(), "name=model".to_owned(), "class=block".to_owned()];
    text.push("abi=1.0".to_owned());
    text.push(format!("version=1.{}.0", spec.version));
    text.push(format!("pdu=model/{}:8", spec.pdu));
    text.push("ops=1".to_owned());
    if spec.adopts_other {
        text.push(format!("pdu.adopt=model/{}", 3 - spec.pdu));
    }
    for schema in (1..=2).filter(|s| spec.states & s != 0) {
        text.push(format!("state.write=model/{schema}"));
        text.push(format!("state.read=model/{schema}"));
    }
    let section: String = text.iter().map(|entry| format!("{entry}\0")).collect();
    match Manifest::parse(section.as_bytes()) {
        Ok(manifest) => manifest,
        Err(e) => panic!("the simulator's manifest: {e}"),
    }
}

/// How requests in flight are treated.
pub(crate) fn choose(running: &Spec, candidate: &Spec, wanted: Option<Mode>) -> Result<Mode, String> {
    check::choose_mode(&manifest(running), running.hand_back, &manifest(candidate), wanted)
}

/// The check of a candidate.
pub(crate) fn check(running: &Spec, candidate: &Spec) -> Result<(), String> {
    let (running, candidate) = (manifest(running), manifest(candidate));
    let properties = BTreeMap::new();
    passes(&check::check(&CheckInput {
        running: Some(Side { manifest: &running, hash: "1" }),
        candidate: Side { manifest: &candidate, hash: "2" },
        offered_features: 0,
        limits: Limits::NONE,
        properties: &properties,
        shell: ShellDefaults::default(),
        hardware: None,
        port: PortSide::default(),
        signature: None,
        libraries: None,
        policy: Policy::default(),
    }))
}
