//! Updates that nobody asks for: which of the modules in a watched folder a device is to get, and
//! which ones it is not to get again.
//!
//! Both are decided from what is given: the modules that are there, and the receipts of what was done.

use crate::probation::{ProbationOutcome, ProbationReport};
use crate::receipt::{Cause, Kind, Outcome, Receipt, Release};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// What a device does when a newer module is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoUpdate {
    /// Nothing.
    Off,
    /// It says so.
    #[default]
    Notify,
    /// It takes it, on probation.
    Auto,
}

impl AutoUpdate {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            AutoUpdate::Off => "off",
            AutoUpdate::Notify => "notify",
            AutoUpdate::Auto => "auto",
        }
    }
}

impl fmt::Display for AutoUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AutoUpdate {
    type Err = String;

    fn from_str(text: &str) -> Result<AutoUpdate, String> {
        let all = [AutoUpdate::Off, AutoUpdate::Notify, AutoUpdate::Auto];
        let found = all.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| format!("`{text}` is not allowed (off, notify or auto)"))
    }
}

/// A module that is there: a release, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it is.
    pub release: Release,
    /// The file.
    pub path: String,
}

/// What was found for a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The newest module that may be taken.
    pub take: Option<&'a Offer>,
    /// Newer than `take` and what runs, and not taken: the newest of them, and why.
    pub passed_over: Option<(&'a Offer, String)>,
}

/// Chooses among `offers` for a device that runs `running`: the same driver, a newer version that fits
/// the requirement, the newest of those that `bad` has no word against. Without a requirement it is
/// what semantic versioning calls compatible: the same major version.
pub fn choose<'a>(
    running: &Release,
    requirement: Option<&VersionReq>,
    offers: &'a [Offer],
    bad: impl Fn(&str) -> Option<String>,
) -> Choice<'a> {
    let Ok(now) = Version::parse(&running.version) else { return Choice::default() };
    let compatible = VersionReq::parse(&format!("^{now}")).ok();
    let Some(requirement) = requirement.or(compatible.as_ref()) else { return Choice::default() };
    let mut fitting: Vec<(Version, &Offer)> = offers
        .iter()
        .filter(|offer| offer.release.driver == running.driver)
        .filter_map(|offer| Some((Version::parse(&offer.release.version).ok()?, offer)))
        .filter(|(version, _)| *version > now && requirement.matches(version))
        .collect();
    // The newest first; of equal ones that whose name comes first, so that the choice is the same
    // every time.
    fitting.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.path.cmp(&right.path)));
    let mut choice = Choice::default();
    for (_, offer) in fitting {
        match bad(&offer.release.hash) {
            None => {
                choice.take = Some(offer);
                break;
            }
            Some(why) => drop(choice.passed_over.get_or_insert((offer, why))),
        }
    }
    choice
}

/// Why a module is not to be tried by itself on a port that runs `running`; `None` when it may be.
/// `receipts` are those of all ports, the newest first; for each port the newest that concerns the
/// module decides.
///
/// - It was refused on this port when it was tried by itself, and what ran was what runs now: from
///   another module the step may be allowed.
/// - This port went back from it, whoever asked for that.
/// - It went back on any port, when it was tried by itself: the others are spared. A person who goes
///   back before the probation is over has found what the probation was to find.
/// - The daemon ended without a stop in the midst of an update to it or of its probation: a driver that
///   crashes takes the daemon with it. A stop that somebody asked for says nothing of the module.
pub fn objection<'a>(
    receipts: impl IntoIterator<Item = &'a Receipt>,
    port: &str,
    running: &str,
    hash: &str,
) -> Option<String> {
    let mut decided = BTreeSet::new();
    // Ports that a person took back: how the module came there says whether that spares the others.
    let mut by_hand = BTreeMap::new();
    for receipt in receipts {
        let name = receipt.port.as_str();
        if decided.contains(name) {
            continue;
        }
        let Some(said) = says(receipt, hash) else { continue };
        if let Some(why) = by_hand.remove(name) {
            if cut_short(receipt, hash) {
                return Some(why);
            }
            decided.insert(name);
            continue;
        }
        let here = name == port;
        match said {
            Said::Refused(why) if here && receipt.from.hash == running => return Some(why),
            Said::Refused(_) => {}
            Said::WentBack { why, by_itself } if here || by_itself => return Some(why),
            Said::WentBack { why, .. } => drop(by_hand.insert(name, why)),
            Said::Good => drop(decided.insert(name)),
        }
    }
    None
}

/// The module came by itself, and its probation was not over when somebody ended it.
fn cut_short(receipt: &Receipt, hash: &str) -> bool {
    receipt.outcome == Outcome::Done
        && receipt.by.cause == Cause::Folder
        && receipt.to.as_ref().is_some_and(|to| to.hash == hash)
        && receipt.probation.as_ref().is_some_and(|p| p.outcome == ProbationOutcome::Ended)
}

/// What a receipt says of a module.
enum Said {
    Good,
    Refused(String),
    WentBack { why: String, by_itself: bool },
}

fn says(receipt: &Receipt, hash: &str) -> Option<Said> {
    // Of its properties, not of its module.
    if matches!(receipt.kind, Kind::Activation | Kind::Live) {
        return None;
    }
    let by_itself = receipt.by.cause == Cause::Folder;
    let is_to = receipt.to.as_ref().is_some_and(|to| to.hash == hash);
    let is_from = receipt.from.hash == hash;
    let (id, port) = (receipt.id, &receipt.port);
    match receipt.outcome {
        Outcome::Busy => None,
        // What a start does follows from what was done before it.
        Outcome::Done if receipt.by.cause == Cause::Start => None,
        Outcome::Done if is_to => Some(match receipt.probation.as_ref().map(|p| (p.outcome, &p.reason)) {
            Some((ProbationOutcome::Reverted | ProbationOutcome::NotReverted, reason)) => Said::WentBack {
                why: format!("{port} went back from it: {reason} (receipt {id})"),
                by_itself,
            },
            Some((ProbationOutcome::Killed, _)) => Said::WentBack {
                why: format!(
                    "the daemon was killed or crashed while {port} had it on probation (receipt {id})"
                ),
                by_itself,
            },
            _ => Said::Good,
        }),
        Outcome::Done if is_from => Some(left(receipt)),
        Outcome::Refused if is_to && by_itself => {
            Some(Said::Refused(format!("{port} refused it: {} (receipt {id})", receipt.reason)))
        }
        Outcome::RolledBack | Outcome::Stranded if is_to && by_itself => {
            let why = format!("it failed on {port}: {} (receipt {id})", receipt.reason);
            Some(Said::WentBack { why, by_itself })
        }
        // Whoever asked for it: it may be what ended the daemon.
        Outcome::Interrupted if is_to => {
            let why = format!("the daemon ended in the midst of an update of {port} to it (receipt {id})");
            Some(Said::WentBack { why, by_itself })
        }
        _ => None,
    }
}

/// A port went from the module to another one: on, or back?
fn left(receipt: &Receipt) -> Said {
    let (id, port) = (receipt.id, &receipt.port);
    let Some(to) = &receipt.to else { return Said::Good };
    let parse = |release: &Release| Version::parse(&release.version).ok();
    let back = to.driver != receipt.from.driver || parse(to) < parse(&receipt.from);
    let by_itself = receipt.by.cause == Cause::Probation;
    match back || matches!(receipt.by.cause, Cause::Probation | Cause::Revert) {
        false => Said::Good,
        true => {
            let reason = receipt.probation.as_ref().map_or("", |p| p.reason.as_str());
            let colon = if reason.is_empty() { "" } else { ": " };
            let why = format!("{port} went back from it to {}{colon}{reason} (receipt {id})", to.version);
            Said::WentBack { why, by_itself }
        }
    }
}

/// Where going back leads from `running`, or why it leads nowhere. `receipts` are the port's, the newest
/// first; `all` says that none that is older is missing.
pub fn back<'a>(receipts: &[&'a Receipt], running: &Release, all: bool) -> Result<&'a Release, String> {
    // What else was done to the port, such as to its properties, led nowhere.
    let updated = |receipt: &&Receipt| receipt.kind == Kind::Update && receipt.outcome == Outcome::Done;
    let done = || receipts.iter().copied().filter(updated);
    let came = |receipt: &Receipt, hash: &str| receipt.to.as_ref().is_some_and(|to| to.hash == hash);
    let unknown = "what ran before is not known: the history does not answer, and the newest receipts do not tell; \
                   `steadfast update` with a module's name puts it there";
    let Some(found) = before(done(), &running.hash) else {
        if !all {
            return Err(unknown.into());
        }
        return Err(
            "nothing to go back to: no other module has served it, as far as the receipts tell".into()
        );
    };
    let brought = done().find(|receipt| came(receipt, &found.hash)).map(|receipt| receipt.id);
    if let Some(why) = done().find_map(|receipt| rejected(receipt, found, brought)).flatten() {
        return Err(why);
    }
    // A port's name may have had another life, with another driver.
    let step = |receipt: &Receipt, from: &str, to: &str| receipt.from.hash == from && came(receipt, to);
    let linked = |receipt: &Receipt| {
        step(receipt, &found.hash, &running.hash) || step(receipt, &running.hash, &found.hash)
    };
    if !running.hash.is_empty() && found.driver != running.driver && !done().any(linked) {
        if !all {
            return Err(unknown.into());
        }
        return Err(format!(
            "what ran before, {} {}, is another driver, and no update led from it to {} {}; `steadfast update \
             --allow-other` puts it there all the same",
            found.driver, found.version, running.driver, running.version
        ));
    }
    Ok(found)
}

/// What a receipt says of how a port came away from `release`, and `None` when it says nothing of it. It has
/// gone back from there by itself: why going back does not lead there again. `brought` is the receipt that had
/// brought it there.
fn rejected(receipt: &Receipt, release: &Release, brought: Option<u64>) -> Option<Option<String>> {
    let Release { driver, version, hash } = release;
    let is_to = receipt.to.as_ref().is_some_and(|to| to.hash == *hash);
    let (id, port) = (receipt.id, &receipt.port);
    let meant = || match brought {
        Some(id) => format!(
            "once more would be forward: `steadfast update --revert {port} --to {id}` does that if it is meant"
        ),
        None => "once more would be forward: `steadfast update` with the module's name does that".to_owned(),
    };
    if receipt.from.hash == *hash && !is_to {
        return Some(receipt.went_back_by_itself().then(|| {
            let meant = meant();
            format!("it has gone back from {driver} {version} by itself already (receipt {id}); {meant}")
        }));
    }
    // It is not what runs, so the start has gone back from it.
    let cut = |p: &ProbationReport| matches!(p.outcome, ProbationOutcome::Killed | ProbationOutcome::Stopped);
    let killed = receipt.probation.as_ref().is_some_and(cut);
    is_to.then(|| {
        killed.then(|| {
            let meant = meant();
            format!(
                "the daemon ended in the midst of the probation of {driver} {version}, and what ran before serves \
                 again (receipt {id}); {meant}"
            )
        })
    })
}

/// The module that ran on a port before the one that runs now: `receipts` are the port's, the newest
/// first. What was loaded anew in the same version does not count as another.
pub fn before<'a>(receipts: impl IntoIterator<Item = &'a Receipt>, running: &str) -> Option<&'a Release> {
    receipts
        .into_iter()
        .filter(|receipt| receipt.outcome == Outcome::Done)
        .flat_map(|receipt| receipt.to.iter().chain([&receipt.from]))
        .find(|release| !release.hash.is_empty() && release.hash != running)
}

#[cfg(test)]
mod tests;
