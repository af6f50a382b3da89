//! Activations that wait to be confirmed, on disk, so that a daemon which is killed meanwhile goes back
//! when it starts: what made it end may well be what was activated.
//!
//! The note of one is there before its activation begins, and goes when it is confirmed or has gone back.

use super::show::is_unsaved;
use crate::config::DeviceConfig;
use crate::params::saved_set::Settings;
use crate::params::view::{Saving, file_problem, judge};
use crate::receipts::Receipts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use steadfast_api::{Cause, Kind, Outcome, Receipt, Requester, ValueChange};
use steadfast_history::Filter;
use steadfast_loader::StagedModule;
use steadfast_runtime::Engine;
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::ParamSpec;
use steadfast_shell::properties::Definitions;
use steadfast_shell::receipt::PropertiesReport;

/// The folder of the notes within the state folder: `PORT.json`, a [`Note`].
const FOLDER: &str = "unconfirmed";
/// Receipts that are looked through for the activation that was not confirmed.
const LOOK_BACK: usize = 1000;

/// An activation that is to be confirmed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Note {
    /// What was in force before.
    pub(super) before: Definitions,
    /// What it put in force.
    pub(super) after: Definitions,
}

impl Note {
    /// Values that were in force and never saved: they come back in force, and what was saved beside them stays.
    pub(super) fn temporary(&self) -> Definitions {
        temporary(&self.before, &self.after)
    }

    /// What is saved, without what the activation changed.
    pub(super) fn undone(&self, saved: &Definitions) -> Definitions {
        let mut undone = saved.clone();
        let value = |set: &Definitions, name: &str| set.get(name).map(|definition| definition.value.clone());
        for name in self.before.keys().chain(self.after.keys()) {
            if value(&self.before, name) == value(&self.after, name) {
                continue;
            }
            if is_unsaved(self.before.get(name)) {
                continue;
            }
            match self.before.get(name) {
                Some(definition) => drop(undone.insert(name.clone(), definition.clone())),
                None => drop(undone.remove(name)),
            }
        }
        undone
    }
}

/// Of values that an activation put others in the place of: those that were in force without being saved.
pub(super) fn temporary(before: &Definitions, after: &Definitions) -> Definitions {
    let other = |name: &String, value: &String| after.get(name).is_none_or(|after| after.value != *value);
    let unsaved = before.iter().filter(|(name, d)| is_unsaved(Some(d)) && other(name, &d.value));
    unsaved.map(|(name, definition)| (name.clone(), definition.clone())).collect()
}

/// Notes of what is to come back unless it is confirmed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    folder: PathBuf,
}

impl Notes {
    /// Those of a daemon whose history is in `state`.
    pub(crate) fn within(state: &Path) -> Notes {
        Notes { folder: state.join(FOLDER) }
    }

    /// Notes what comes back unless somebody confirms, before anything is done.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(super) fn write(&self, port: &str, note: &Note) -> Result<(), String> {
        let path = self.path(port);
        self.try_write(&path, note)
            .map_err(|e| format!("{}: {e}: it could not go back after a crash", path.display()))
    }

    fn try_write(&self, path: &Path, note: &Note) -> io::Result<()> {
        steadfast_settings::make_folder(&self.folder, 0o700)?;
        steadfast_settings::replace_file(path, &serde_json::to_vec_pretty(note)?)
    }

    /// Takes away what a daemon has left that was killed while it wrote one. Returns how many files.
    pub(crate) fn clear_unfinished(&self) -> usize {
        // Daemons before this one gave them other names.
        let older = |entry: &fs::DirEntry| {
            let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(".tmp"));
            ours && entry.metadata().is_ok_and(|m| m.is_file())
        };
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let older = entries.filter(older).filter(|entry| fs::remove_file(entry.path()).is_ok()).count();
        older + steadfast_settings::clear_unfinished(&self.folder)
    }

    /// Nothing of the port is to come back any more.
    pub(super) fn remove(&self, port: &str) {
        let path = self.path(port);
        match fs::remove_file(&path).and_then(|()| File::open(&self.folder)?.sync_all()) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                tracing::error!("{}: {e}: the port goes back when the daemon starts again", path.display());
            }
            _ => {}
        }
    }

    fn path(&self, port: &str) -> PathBuf {
        self.folder.join(format!("{port}.json"))
    }

    /// By port. What cannot be read is said in the log.
    pub(super) fn read(&self) -> BTreeMap<String, Note> {
        let Ok(folder) = fs::read_dir(&self.folder) else { return BTreeMap::new() };
        let mut notes = BTreeMap::new();
        for path in folder.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(port) = name.strip_suffix(".json").filter(|port| !port.starts_with('.')) else {
                continue;
            };
            let read =
                steadfast_settings::read_bytes(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            match read {
                Ok(note) => drop(notes.insert(port.to_owned(), note)),
                Err(e) => tracing::error!("{}: {e}: port {port} does not go back", path.display()),
            }
        }
        notes
    }
}

/// A port whose saved set went back when the daemon started.
#[derive(Debug)]
pub(crate) struct WentBack {
    port: String,
    report: PropertiesReport,
}

impl WentBack {
    pub(crate) fn port(&self) -> &str {
        &self.port
    }
}

/// Puts back what is saved for every port whose last activation was not confirmed before the daemon ended.
/// Nothing runs yet. Where it cannot be done the log says so and the note stays: [`Confirms::resume`] goes on
/// from there.
///
/// [`Confirms::resume`]: super::Confirms::resume
pub(crate) fn go_back<'a>(
    notes: &Notes,
    devices: impl Iterator<Item = &'a DeviceConfig>,
    settings: &Settings,
    mut locate: impl FnMut(&DeviceConfig) -> Result<StagedModule, String>,
) -> Vec<WentBack> {
    let unconfirmed = notes.read();
    let mut gone_back = Vec::new();
    for config in devices.filter(|config| unconfirmed.contains_key(&config.name)) {
        let (port, note) = (&config.name, &unconfirmed[&config.name]);
        let done = locate(config).and_then(|staged| put_back(config, &staged.manifest, settings, note));
        match done {
            Ok(report) => {
                tracing::warn!(
                    port,
                    "what was activated was not confirmed before the daemon ended: it goes back"
                );
                gone_back.push(WentBack { port: port.clone(), report });
                notes.remove(port);
            }
            Err(why) => {
                tracing::error!(
                    port,
                    "what was activated was not confirmed before the daemon ended, and does not go back: {why}"
                );
            }
        }
    }
    gone_back
}

fn put_back(
    config: &DeviceConfig,
    manifest: &Manifest,
    settings: &Settings,
    note: &Note,
) -> Result<PropertiesReport, String> {
    let saving = Saving { settings, config, manifest };
    let mut file = settings.file(&manifest.name).map_err(|e| e.to_string())?;
    let table = settings.table(manifest);
    let saved = saving.set_in(&file).map_err(|e| e.message)?;
    saving.save_as(&mut file, &table, &note.undone(&saved)).map_err(|e| e.message)?;
    let after = saving.set_in(&file).map_err(|e| e.message)?;
    let values = judge(&table, &after).map_err(|e| e.message)?;
    file.save().map_err(|e| file_problem(&e).message)?;
    // What was saved may be good for nothing.
    let were = judge(&table, &saved).unwrap_or_default();
    let change = |spec: &ParamSpec| {
        let (was, is) = (were.get(&spec.name), values.get(&spec.name));
        (was != is).then(|| ValueChange {
            name: spec.name.clone(),
            before: was.map(ToString::to_string),
            after: is.map(ToString::to_string),
            class: spec.class,
        })
    };
    let changes = table.iter().filter_map(change).collect();
    Ok(PropertiesReport { changes, before: saved, after, ..PropertiesReport::default() })
}

/// Leaves receipts of it, once there are receipts and the ports are attached.
pub(crate) fn tell(gone_back: Vec<WentBack>, engine: &Engine, receipts: &Receipts) {
    for WentBack { port, report } in gone_back {
        let open = waiting(&port, receipts);
        let mut source = "the daemon ended before it was confirmed".to_owned();
        if let Some(open) = open {
            source = format!("the daemon ended before receipt {} was confirmed", open.id);
            receipts.say_confirmed(open.id, false);
        }
        let by = Requester { cause: Cause::Unconfirmed, who: String::new() };
        let mut receipt = engine.begin_receipt(&port, Kind::Activation, &by, &source);
        receipt.to = Some(receipt.from.clone());
        receipt.outcome = Outcome::Done;
        receipt.properties = Some(report);
        receipts.add(receipt);
    }
}

/// The port's activation that was to be confirmed, and neither was nor went back.
pub(super) fn waiting(port: &str, receipts: &Receipts) -> Option<Receipt> {
    let activations = Filter {
        port: Some(port.to_owned()),
        kinds: vec![Kind::Activation],
        limit: Some(LOOK_BACK),
        ..Filter::default()
    };
    receipts.list(&activations).into_iter().rev().find(|receipt| {
        let report = receipt.properties.as_ref();
        report.is_some_and(|r| r.confirm_until_unix_ms.is_some() && r.confirmed.is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_note_that_was_cut_short_has_left_is_cleared_and_notes_stay() {
        let state = tempfile::tempdir().expect("a folder");
        let notes = Notes::within(state.path());
        assert_eq!(notes.clear_unfinished(), 0, "there is no folder yet");
        notes.write("vol0", &Note::default()).expect("written");
        for name in [".tmpAb12Cd", ".steadfast-Ab12Cd.new"] {
            fs::write(notes.folder.join(name), "{").expect("written");
        }
        assert_eq!(notes.clear_unfinished(), 2);
        assert_eq!(notes.read().len(), 1);
        assert_eq!(fs::read_dir(&notes.folder).expect("there").count(), 1);
    }
}
