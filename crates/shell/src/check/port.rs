//! Rows about the port itself: how often its driver was replaced, its devices, its requests in flight.

use super::mode::{can_adopt, can_split};
use super::{CheckRow, Contents, ContentsSide, DeviceSide, PendingSide, Policy, Side, choose_mode};
use crate::params::show_size;
use crate::receipt::Mode;

pub(super) fn once(swaps: u64, policy: Policy) -> CheckRow {
    let times = match swaps {
        0 => "not replaced yet since the daemon started".to_owned(),
        1 => "replaced once already since the daemon started".to_owned(),
        n => format!("replaced {n} times already since the daemon started"),
    };
    let (ok, detail) = match (policy.once_per_start, swaps) {
        (false, _) => (true, format!("{times}; policy allows any number")),
        (true, 0) => (true, format!("{times}; policy allows one per start")),
        (true, _) if policy.allow_again => (true, format!("{times}; another was allowed")),
        (true, _) => (false, format!("{times}; policy allows one per start (allow again to go on)")),
    };
    CheckRow { name: "once".to_owned(), ok, detail }
}

/// What the candidate will announce is known in `connect` only, and then held against what there was.
/// What can be seen before is whether there is as much behind the device as it has.
pub(super) fn size(candidate: Side<'_>, devices: &[DeviceSide], policy: Policy) -> CheckRow {
    let row = |ok, detail| CheckRow { name: "size".to_owned(), ok, detail };
    let shrinks: Vec<String> = devices.iter().filter_map(shrinks).collect();
    let used = devices.iter().any(|device| device.shrinks_to.is_some() && device.clients > 0);
    if !shrinks.is_empty() {
        let what = shrinks.join("; ");
        return match (used, policy.allow_smaller) {
            (true, _) => row(false, format!("{what}; not while clients use it")),
            (false, false) => row(false, format!("{what}: takes --force")),
            (false, true) => row(true, format!("{what}; it was allowed")),
        };
    }
    let release = format!("{} {}", candidate.manifest.name, candidate.manifest.version);
    let known: Vec<String> = devices.iter().map(describe).collect();
    let known = if known.is_empty() { "the port has no device".to_owned() } else { known.join("; ") };
    let then = format!("what {release} announces is known in connect; less goes back, unless by force");
    row(true, format!("{known}; {then}"))
}

fn describe(device: &DeviceSide) -> String {
    let (name, size, block) = (&device.name, show_size(device.size), device.block_size);
    format!("{name} has {size} in blocks of {block}, used by {}", clients(device.clients))
}

fn clients(count: u32) -> String {
    format!("{count} {}", if count == 1 { "client" } else { "clients" })
}

fn shrinks(device: &DeviceSide) -> Option<String> {
    let to = device.shrinks_to?;
    Some(format!("{}, and becomes smaller: {to} bytes in the place of {}", describe(device), device.size))
}

/// The row of what a port's devices contain.
pub(super) const CONTENTS: &str = "contents";

/// Who uses a device must not find other contents from one request to the next, unless somebody wants it so.
pub(super) fn contents(side: ContentsSide<'_>) -> CheckRow {
    let ContentsSide { known, what, clients, used, forced } = side;
    let verdict = match known {
        Contents::Same => "the same",
        Contents::Later => "held against what it asks for before it takes over",
        Contents::Other => "other contents",
        Contents::Unknown => "not known to be the same, so other contents",
    };
    let settled = matches!(known, Contents::Same | Contents::Later);
    let (ok, under) = match clients {
        _ if settled => (true, String::new()),
        0 => (true, ", and nobody has it open".to_owned()),
        _ if forced => (true, format!("; {used}, which was forced")),
        _ => (false, format!("; {used} (force to put them there all the same)")),
    };
    CheckRow { name: CONTENTS.to_owned(), ok, detail: format!("{what}: {verdict}{under}") }
}

pub(super) fn pending(running: Side<'_>, candidate: Side<'_>, side: Option<PendingSide>) -> CheckRow {
    let Some(side) = side else {
        let detail = "nobody serves the port: requests in flight can only be adopted".to_owned();
        return CheckRow { name: "pending".to_owned(), ok: true, detail };
    };
    let (old, new) = (running.manifest, candidate.manifest);
    let adopt = can_adopt(old, new);
    let split = can_split(old, side.hands_back);
    let why = |mode: &str, reason: &Result<(), String>| match reason {
        Ok(()) => format!("{mode} would be possible"),
        Err(reason) => format!("not {mode}: {reason}"),
    };
    let (ok, detail) = match choose_mode(old, side.hands_back, new, side.wanted) {
        Err(reason) => (false, reason),
        Ok(Mode::Adopt) => (true, adopted(old.pdu.as_ref().map(|pdu| pdu.schema.to_string()))),
        Ok(Mode::Split) => {
            let what = "split: the old driver finishes what it has begun, the rest goes to the new one";
            (true, format!("{what}; {}", why("adopt", &adopt)))
        }
        Ok(Mode::Drain) => {
            let what = "drain: the old driver finishes all it has";
            (true, format!("{what}; {}; {}", why("adopt", &adopt), why("split", &split)))
        }
    };
    CheckRow { name: "pending".to_owned(), ok, detail }
}

fn adopted(schema: Option<String>) -> String {
    match schema {
        Some(schema) => {
            format!("adopt: operations in flight go on under the new driver, which knows their PDU {schema}")
        }
        None => "adopt: the old driver has no operations of its own in flight".to_owned(),
    }
}
