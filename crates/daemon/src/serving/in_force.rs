//! With which set of parameters a port comes up, carried out: the saved one, unless that would make a device smaller or
//! put other contents there; and what is said of it.

use super::{Comes, Serving};
use crate::app::App;
use crate::config::DeviceConfig;
use crate::config::module_path::target_param;
use crate::receipts::Receipts;
use std::collections::{BTreeMap, BTreeSet};
use steadfast_api::{Cause, Kind, Outcome, PortState, Requester, ValueChange};
use steadfast_runtime::{Engine, identity_of};
use steadfast_shell::comeback::{Difference, InForce, differences, steps, values};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ParamSpec, Value, is_shells, resolve};
use steadfast_shell::properties::{Definition, Definitions, Source, values_of};
use steadfast_shell::receipt::PropertiesReport;

/// Under what the target is noted of a configuration.
const TARGET: &str = "(target)";

/// The set that served last, for when the saved one may not be taken.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) sources: BTreeMap<String, Source>,
    /// Bytes that each device had.
    pub(crate) at_least: BTreeMap<u32, u64>,
}

/// What is saved and what was in force, of a port that is to come up.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    was: Definitions,
    saved: Definitions,
    /// Why the saved set is not taken, where that is known before anything runs.
    waits: Option<String>,
}

type Text = BTreeMap<String, String>;

fn text(values: &BTreeMap<String, Value>) -> Text {
    values.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}

/// Values of a set under a table; as they are written where they will not do.
fn resolved(table: &[ParamSpec], definitions: &Definitions) -> Text {
    let known = |name: &String| table.iter().any(|spec| spec.name == *name);
    let mut given = values_of(definitions);
    given.retain(|name, _| known(name));
    resolve(table, &given).map_or(given, |values| text(&values))
}

fn given(config: &DeviceConfig) -> BTreeMap<String, String> {
    let target = config.target.iter().map(|target| (TARGET.to_owned(), target.clone()));
    config.params.clone().into_iter().chain(target).collect()
}

/// Whether the daemon's configuration says something else of a parameter than it did: somebody has edited it.
fn edited(name: &str, was: &Text, config: &DeviceConfig, manifest: &Manifest) -> bool {
    let is = given(config);
    let other = |key: &str| was.get(key) != is.get(key);
    other(name) || (target_param(manifest).is_some_and(|spec| spec.name == name) && other(TARGET))
}

/// Which set a port comes up with: the saved one with `last` to fall back on, or the last one at once.
pub(crate) fn weigh(
    config: &DeviceConfig,
    manifest: &Manifest,
    table: &[ParamSpec],
    saved: Definitions,
    comes: &mut Comes,
) -> (Definitions, Option<Last>) {
    let record = comes.serving.as_ref().and_then(|serving| serving.of(&config.name)?.in_force);
    let Some(InForce { set: was, given, sizes, behind }) = record else { return (saved, None) };
    comes.sets = Some(Sets { was: was.clone(), saved: saved.clone(), waits: None });
    let all = differences(&resolved(table, &was), &resolved(table, &saved));
    let asks = |d: &Difference| !edited(&d.name, &given, config, manifest);
    let unsaid: Vec<Difference> = all.iter().filter(|d| asks(d)).cloned().collect();
    // What goes back from a probation goes back to what was there before it.
    if unsaid.is_empty() || comes.goes_back {
        return (saved, None);
    }
    let mut last = saved.clone();
    for Difference { name, .. } in &unsaid {
        match was.get(name) {
            Some(definition) => drop(last.insert(name.clone(), definition.clone())),
            None => drop(last.remove(name)),
        }
    }
    let known = InForce { behind, ..InForce::default() };
    if let Some(why) = known.other_contents(&unsaid, identity_of) {
        comes.sets = Some(Sets { was, saved, waits: Some(why) });
        return (last, None);
    }
    // What somebody edited may be what makes it smaller, and is meant.
    let meant = unsaid.len() < all.len();
    let last = Last {
        params: values_of(&last),
        sources: last.into_iter().map(|(name, d)| (name, d.source)).collect(),
        at_least: sizes,
    };
    (saved, (!meant).then_some(last))
}

impl Serving {
    /// Notes what is in force on a port that serves.
    pub(crate) fn note_in_force(&self, engine: &Engine, config: &DeviceConfig) {
        let Some(port) = engine.port(&config.name) else { return };
        let down = crate::app::state(&port) == PortState::Down;
        if port.driver.is_none() && !down {
            return;
        }
        let sizes = port.devices.iter().map(|device| (device.number, device.size)).collect();
        let mut now = InForce {
            set: port.properties.clone(),
            given: given(config),
            sizes,
            behind: engine.behind(&config.name),
        };
        self.change(&config.name, |served| {
            // What is down is to come up with what it had.
            if let Some(before) = served.in_force.take().filter(|_| down) {
                (now.sizes, now.behind) = (before.sizes, before.behind);
            }
            served.in_force = Some(now);
        });
    }

    /// What was in force counts for nothing: another set is meant.
    pub(crate) fn forget_in_force(&self, port: &str) {
        self.change(port, |served| served.in_force = None);
    }
}

impl Comes {
    /// What the start took of what is saved, and what it did not, is on record and in the log.
    pub(super) fn tell_set(&self, engine: &Engine, receipts: &Receipts, config: &DeviceConfig) {
        let (Some(sets), Some((table, now))) = (&self.sets, engine.parameters(&config.name)) else { return };
        let port = &config.name;
        let (was, now, saved) = (resolved(&table, &sets.was), text(&now), resolved(&table, &sets.saved));
        let (taken, waits) = (differences(&was, &now), differences(&now, &saved));
        if taken.is_empty() && waits.is_empty() {
            return;
        }
        let by = Requester { cause: Cause::Start, who: String::new() };
        let mut receipt = engine.begin_receipt(port, Kind::Activation, &by, "what is saved");
        receipt.to = Some(receipt.from.clone());
        let report = |changes: &[Difference], after: &Definitions| PropertiesReport {
            changes: table.iter().filter_map(|spec| change(spec, changes)).collect(),
            before: sets.was.clone(),
            after: after.clone(),
            ..PropertiesReport::default()
        };
        let note = if !waits.is_empty() {
            let smaller = || "a device becomes smaller".to_owned();
            let why = sets.waits.clone().unwrap_or_else(smaller);
            receipt.reason = format!(
                "port {port} comes up with what served last; what is saved waits ({}): {why}; \
                 `steadfast activate --force {port}` takes it",
                steps(&waits)
            );
            receipt.properties = Some(report(&waits, &sets.saved));
            receipt.reason.clone()
        } else {
            let note =
                format!("comes up with what is saved, which was not in force before: {}", steps(&taken));
            receipt.outcome = Outcome::Done;
            receipt.properties = Some(report(&taken, &sets.saved));
            receipt.notes.push(note.clone());
            note
        };
        tracing::warn!(port, "{note}");
        receipts.add(receipt);
    }
}

fn change(spec: &ParamSpec, changes: &[Difference]) -> Option<ValueChange> {
    let Difference { name, was, is } = changes.iter().find(|change| change.name == spec.name)?;
    Some(ValueChange { name: name.clone(), before: was.clone(), after: is.clone(), class: spec.class })
}

impl App {
    /// Notes what is in force on a port, for the next start.
    pub(crate) fn note_in_force(&self, port: &str) {
        if let (Some(serving), Some(config)) = (self.serving(), self.topology.config_of(port)) {
            let config = match self.topology.config_now(port) {
                Some(Ok(now)) => now,
                _ => config,
            };
            serving.note_in_force(&self.engine, &config);
        }
    }

    /// The same for every port, as the daemon stops.
    pub(crate) fn note_all_in_force(&self) {
        for port in self.engine.ports() {
            self.note_in_force(&port.name);
        }
        self.serving().iter().for_each(|serving| serving.save());
    }

    /// What is saved for a port with what came with its driver, and where it is defined; none where it cannot be known.
    fn saved_now(&self, port: &str) -> Option<(Definitions, Manifest, DeviceConfig)> {
        let settings = &self.topology.settings;
        let manifest = self.engine.module_of(port)?.manifest().clone();
        let config = self.topology.config_now(port)?.ok()?;
        let file = self.topology.driver_file(&manifest.name)?;
        let saved = settings.saved(&config, &manifest, &file).ok()?;
        let mut saved = settings.absolute(&config, &manifest, &saved);
        let served = self.serving()?.of(port)?;
        for (name, value) in served.unproven.as_ref().map_or(&served.params, |unproven| &unproven.params) {
            match value {
                Some(value) => {
                    let source = Source::Command { who: "the update".to_owned() };
                    saved.insert(name.clone(), Definition { value: value.clone(), source });
                }
                None => drop(saved.remove(name)),
            }
        }
        Some((saved, manifest, config))
    }

    /// What the next start of the daemon does about a port's parameters, where they are not those in force; none where
    /// what is saved cannot be known.
    pub(super) fn next_set(&self, port: &str) -> Option<String> {
        let (definitions, manifest, config) = self.saved_now(port)?;
        let (table, now) = self.engine.parameters(port)?;
        let (now, saved) = (text(&now), resolved(&table, &definitions));
        let all = differences(&now, &saved);
        if all.is_empty() {
            return None;
        }
        let record = self.serving()?.of(port)?.in_force.unwrap_or_default();
        let unsaid: Vec<Difference> =
            all.iter().filter(|d| !edited(&d.name, &record.given, &config, &manifest)).cloned().collect();
        let behind = InForce { behind: self.engine.behind(port), ..InForce::default() };
        let changes = unsaid.iter().map(|d| (d.name.clone(), d.is.clone())).collect();
        let why = behind.other_contents(&unsaid, identity_of).or_else(|| {
            let shrink = self.engine.shrinks(port, &changes)?;
            Some(format!(
                "{} makes the device smaller, {} bytes in the place of {}",
                shrink.param, shrink.to, shrink.from
            ))
        });
        if let Some(why) = why {
            return Some(format!(
                "the next start comes up with what serves now; what is saved waits ({}): {why}; \
                 `steadfast activate --force {port}` takes it",
                steps(&all)
            ));
        }
        let own: BTreeSet<&str> = unsaid.iter().map(|d| d.name.as_str()).filter(|n| !is_shells(n)).collect();
        let unless = if own.is_empty() { "" } else { ", unless that makes a device smaller" };
        Some(format!(
            "the next start comes up with {}, as is saved and not in force{unless}; `steadfast activate {port}` puts \
             it in force now",
            values(&all)
        ))
    }
}
