//! Activations that wait to be confirmed, on disk, so that a daemon which is killed meanwhile goes back
//! when it starts: what made it end may well be what was activated.
//!
//! The note of one is there before its activation begins, and goes when it is confirmed or has gone back.

use super::saved::{Saving, file_problem, judge};
use crate::config::DeviceConfig;
use crate::receipts::Receipts;
use crate::settings::Settings;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use steadfast_api::{Cause, Kind, Outcome, Requester, ValueChange};
use steadfast_history::Filter;
use steadfast_loader::StagedModule;
use steadfast_runtime::Engine;
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::ParamSpec;
use steadfast_shell::properties::Definitions;
use steadfast_shell::receipt::PropertiesReport;

/// The folder of the notes within the state folder: `PORT.json`, what was in force on the port before.
const FOLDER: &str = "unconfirmed";
/// Receipts that are looked through for the activation that was not confirmed.
const LOOK_BACK: usize = 1000;

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
    pub(super) fn write(&self, port: &str, before: &Definitions) -> Result<(), String> {
        let path = self.path(port);
        self.try_write(&path, before)
            .map_err(|e| format!("{}: {e}: it could not go back after a crash", path.display()))
    }

    fn try_write(&self, path: &Path, before: &Definitions) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut new = tempfile::NamedTempFile::new_in(&self.folder)?;
        new.write_all(&serde_json::to_vec_pretty(before)?)?;
        new.as_file().sync_all()?;
        new.persist(path).map_err(|e| e.error)?;
        File::open(&self.folder)?.sync_all()
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
    fn read(&self) -> BTreeMap<String, Definitions> {
        let Ok(folder) = fs::read_dir(&self.folder) else { return BTreeMap::new() };
        let mut notes = BTreeMap::new();
        for path in folder.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(port) = name.strip_suffix(".json").filter(|port| !port.starts_with('.')) else {
                continue;
            };
            let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            match read {
                Ok(before) => drop(notes.insert(port.to_owned(), before)),
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

/// Puts back what is saved for every port whose last activation was not confirmed before the daemon ended.
/// Nothing runs yet. Where it cannot be done it stays as it is saved, and the log says so.
pub(crate) fn go_back<'a>(
    notes: &Notes,
    devices: impl Iterator<Item = &'a DeviceConfig>,
    settings: &Settings,
    mut locate: impl FnMut(&DeviceConfig) -> Result<StagedModule, String>,
) -> Vec<WentBack> {
    let unconfirmed = notes.read();
    let mut gone_back = Vec::new();
    for config in devices.filter(|config| unconfirmed.contains_key(&config.name)) {
        let (port, before) = (&config.name, &unconfirmed[&config.name]);
        let done = locate(config).and_then(|staged| put_back(config, &staged.manifest, settings, before));
        match done {
            Ok(report) => {
                tracing::warn!(
                    port,
                    "what was activated was not confirmed before the daemon ended: it goes back"
                );
                gone_back.push(WentBack { port: port.clone(), report });
            }
            Err(why) => {
                tracing::error!(
                    port,
                    "what was activated was not confirmed before the daemon ended, and does not go back: {why}"
                );
            }
        }
        notes.remove(port);
    }
    gone_back
}

fn put_back(
    config: &DeviceConfig,
    manifest: &Manifest,
    settings: &Settings,
    before: &Definitions,
) -> Result<PropertiesReport, String> {
    let saving = Saving { settings, config, manifest };
    let mut file = settings.file(&manifest.name).map_err(|e| e.to_string())?;
    let table = settings.table(manifest);
    let saved = saving.set_in(&file).map_err(|e| e.message)?;
    saving.save_as(&mut file, &table, before).map_err(|e| e.message)?;
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
        let activations = Filter {
            port: Some(port.clone()),
            kinds: vec![Kind::Activation],
            limit: Some(LOOK_BACK),
            ..Filter::default()
        };
        let open = receipts.list(&activations).into_iter().rev().find(|receipt| {
            let report = receipt.properties.as_ref();
            report.is_some_and(|r| r.confirm_until_unix_ms.is_some() && r.confirmed.is_none())
        });
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
