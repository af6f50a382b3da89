use std::cmp::Ordering;
use std::collections::BTreeMap;

use steadfast_abi::{ABI_MAJOR, ABI_MINOR};

use super::{CheckRow, Hardware, Policy, Side, common_state_schema};
use crate::manifest::{Manifest, Schema, feature_names};
use crate::params::{ShellDefaults, resolve, table};

fn row(name: &str, ok: bool, detail: String) -> CheckRow {
    CheckRow { name: name.to_owned(), ok, detail }
}

fn release(manifest: &Manifest) -> String {
    format!("{} {}", manifest.name, manifest.version)
}

/// A list for people; "nothing" when there is none.
fn list<T: ToString>(items: &[T]) -> String {
    match items {
        [] => "nothing".to_owned(),
        items => items.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}

pub(super) fn abi(candidate: &Manifest) -> CheckRow {
    let (major, minor) = candidate.abi;
    let detail = format!(
        "{} was built against ABI {major}.{minor}, the shell has {ABI_MAJOR}.{ABI_MINOR}",
        release(candidate)
    );
    row("abi", major == ABI_MAJOR, detail)
}

pub(super) fn hardware(candidate: &Manifest, hardware: Option<Hardware<'_>>) -> CheckRow {
    let served = if candidate.hwids.is_empty() { "any hardware".to_owned() } else { list(&candidate.hwids) };
    let Some(hardware) = hardware else {
        let detail = format!("{} serves {served}, what the port has is not known yet", release(candidate));
        return row("hardware", true, detail);
    };
    let detail = format!(
        "{} serves {served}, the port has {} revision {}",
        release(candidate),
        hardware.hwid,
        hardware.revision
    );
    row("hardware", candidate.serves(hardware.hwid, hardware.revision), detail)
}

pub(super) fn class(running: &Manifest, candidate: &Manifest) -> CheckRow {
    let detail = format!(
        "{} is a {} driver, the running {} is a {} driver",
        release(candidate),
        candidate.class.name(),
        release(running),
        running.class.name()
    );
    row("class", candidate.class == running.class, detail)
}

/// Another driver may take over only where a state schema of both says that it knows what it gets;
/// two drivers without state would otherwise replace each other's data silently.
pub(super) fn driver(running: Side<'_>, candidate: Side<'_>, policy: Policy) -> CheckRow {
    let (old, new) = (running.manifest, candidate.manifest);
    let names = format!("{} replaces {}", release(new), release(old));
    let (ok, how) = if running.hash == candidate.hash {
        (true, "the same module again".to_owned())
    } else if old.name == new.name {
        (true, "the same driver".to_owned())
    } else if let Some(schema) = common_state_schema(old, new) {
        (true, format!("another driver that reads its state {schema}"))
    } else if policy.allow_other {
        (true, "another driver without its state, which policy allows".to_owned())
    } else {
        (false, "another driver, and no state schema that both know".to_owned())
    };
    row("driver", ok, format!("{names}: {how}"))
}

pub(super) fn state(running: &Manifest, candidate: &Manifest, policy: Policy) -> CheckRow {
    let written: &[Schema] = &running.state_write;
    let sides = format!(
        "state schema {} written by the running {}; {} reads {}",
        list(written),
        release(running),
        release(candidate),
        list(&candidate.state_read)
    );
    match common_state_schema(running, candidate) {
        Some(schema) => row("state", true, format!("{sides}: {schema} is handed on")),
        None if written.is_empty() => row("state", true, format!("{sides}: there is none to hand on")),
        None if running.name != candidate.name && policy.allow_other => {
            row("state", true, format!("{sides}: state is lost, which policy allows"))
        }
        None => row("state", false, format!("{sides}: none in common")),
    }
}

pub(super) fn version(running: &Manifest, candidate: &Manifest, policy: Policy) -> CheckRow {
    if running.name != candidate.name {
        return row("version", true, "versions of two drivers are not compared".to_owned());
    }
    let (old, new) = (&running.version, &candidate.version);
    match new.cmp_precedence(old) {
        Ordering::Greater => row("version", true, format!("{new} is newer than the running {old}")),
        Ordering::Equal => row("version", true, format!("{new} as the running {old}")),
        Ordering::Less if policy.allow_older => {
            row("version", true, format!("{new} is older than the running {old}, which was allowed"))
        }
        Ordering::Less => {
            row("version", false, format!("{new} is older than the running {old} (allow older to go back)"))
        }
    }
}

pub(super) fn min_from(running: &Manifest, candidate: &Manifest, policy: Policy) -> CheckRow {
    if running.name != candidate.name {
        return row("min_from", true, "versions of two drivers are not compared".to_owned());
    }
    let (old, new) = (&running.version, &candidate.version);
    match &candidate.min_from {
        Some(from) => {
            let sides = format!("{new} updates from {from} on, {old} is running");
            match old.cmp_precedence(from) {
                Ordering::Less if policy.allow_skip => {
                    row("min_from", true, format!("{sides}; the skip was allowed"))
                }
                Ordering::Less => row(
                    "min_from",
                    false,
                    format!("{sides}: update to a release between the two first (or allow the skip)"),
                ),
                _ => row("min_from", true, sides),
            }
        }
        None if policy.require_min_from && policy.allow_skip => row(
            "min_from",
            true,
            format!("{new} does not say from which version it updates; going there was allowed all the same"),
        ),
        None if policy.require_min_from => row(
            "min_from",
            false,
            format!(
                "{new} does not say from which version it updates, which policy requires (or allow the skip)"
            ),
        ),
        None => row("min_from", true, format!("{new} updates from any version, {old} is running")),
    }
}

pub(super) fn features(candidate: &Manifest, offered: u64) -> CheckRow {
    let lacking = offered & !candidate.features;
    let sides = format!(
        "clients rely on {}, {} has {}",
        list(&names(offered)),
        release(candidate),
        list(&names(candidate.features))
    );
    match lacking {
        0 => row("features", true, sides),
        _ => row("features", false, format!("{sides}: it lacks {}", list(&names(lacking)))),
    }
}

/// Names of features; bits without a name as they are.
fn names(features: u64) -> Vec<String> {
    let named = steadfast_abi::block_feature::NAMES.len();
    let mut names: Vec<String> = feature_names(features).into_iter().map(str::to_owned).collect();
    names.extend((named..64).filter(|bit| features >> bit & 1 == 1).map(|bit| format!("bit {bit}")));
    names
}

pub(super) fn pdu(candidate: &Manifest, limit: u32) -> CheckRow {
    let size = candidate.pdu.as_ref().map_or(0, |pdu| pdu.size);
    let has = match limit {
        u32::MAX => "no port sets a limit".to_owned(),
        bytes => format!("the shell has {bytes}"),
    };
    let detail = format!("{} needs {size} bytes per request, {has}", release(candidate));
    row("pdu", size <= limit, detail)
}

/// The driver's own parameters, and those that the shell carries out under it.
pub(super) fn parameters(
    candidate: &Manifest,
    properties: &BTreeMap<String, String>,
    shell: ShellDefaults,
) -> CheckRow {
    match resolve(&table(&candidate.params, shell), properties) {
        Ok(_) => row(
            "parameters",
            true,
            format!("{} takes all {} properties that are set", release(candidate), properties.len()),
        ),
        Err(errors) => {
            let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
            row("parameters", false, format!("{} refuses: {}", release(candidate), reasons.join("; ")))
        }
    }
}
