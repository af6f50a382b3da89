//! What a configuration names, looked at before anything is served from it.
//!
//! `serve --check` opens it to see whether it can be. Nothing is locked, so that the check can be made beside a daemon that
//! serves the same. And nothing is attached to a file whose file system does not answer: it is waited for two seconds, by
//! the start for all of them at once.

use crate::config::ConfigError;
use crate::config::module_path::target_param;
use crate::ports::prepare::{Prepared, below};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use steadfast_runtime::{ask_file, is_stuck};
use steadfast_shell::params::ParamKind;
use steadfast_shell::quote::quoted;

/// So many look at the same time.
const LOOKERS: usize = 64;
/// What is wrong with what nothing is heard of.
const STUCK: &str = "it does not answer: its file system is frozen, or its server does not serve it";

/// Everything that keeps one of these from coming up, as far as can be seen from here.
pub(crate) fn examine(devices: &[Prepared]) -> Vec<ConfigError> {
    let mut wrong: Vec<(String, ConfigError)> = Vec::new();
    for (device, why) in devices.iter().zip(at_once(devices, target)) {
        wrong.extend(why.err().map(|why| (device.config.name.clone(), error(device, &why))));
    }
    // What lies over one that cannot come up cannot either.
    loop {
        let away = |name: &String| wrong.iter().any(|(known, _)| known == name);
        let next = devices.iter().filter(|device| !away(&device.config.name)).find_map(|device| {
            below(device).into_iter().find(|name| *name != device.config.name && away(name)).map(|name| {
                (device.config.name.clone(), error(device, &format!("it lies over `{name}`, see there")))
            })
        });
        match next {
            Some(one) => wrong.push(one),
            None => return wrong.into_iter().map(|(_, error)| error).collect(),
        }
    }
}

fn error(device: &Prepared, why: &str) -> ConfigError {
    let config = &device.config;
    let place = target_param(&device.staged.manifest)
        .and_then(|spec| device.sources.get(&spec.name))
        .map_or_else(|| config.place.clone(), |source| crate::config::Place::Said(source.clone()));
    let text = format!("device `{}`: {why}", config.name);
    let text = if config.is_required() { text } else { format!("{text} (it would be absent)") };
    ConfigError::new(place, text)
}

/// Does it for all devices, several at a time; what came of it, in their order.
fn at_once<T: Send>(devices: &[Prepared], look: impl Fn(&Prepared) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let one = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        devices.get(at).map(|device| (at, look(device)))
    };
    let some = || std::iter::from_fn(one).collect::<Vec<(usize, T)>>();
    let mut all = std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().name("look".into()).spawn_scoped(scope, some).ok();
        let others: Vec<_> = (1..LOOKERS.min(devices.len())).filter_map(start).collect();
        let mut all = some();
        all.extend(others.into_iter().flat_map(|other| other.join().unwrap_or_default()));
        all
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, found)| found).collect()
}

/// The path of the file or block device behind a device, if it has one.
fn path(device: &Prepared) -> Option<&String> {
    let spec = target_param(&device.staged.manifest).filter(|spec| spec.kind == ParamKind::Path)?;
    device.params.get(&spec.name).filter(|path| !path.is_empty())
}

fn is_read_only(device: &Prepared) -> bool {
    device.params.get("read_only").is_some_and(|value| value == "true")
}

/// Finds out which of these do not answer, so that nobody waits for one after the other.
pub(crate) fn look_ahead(devices: &[Prepared]) {
    at_once(devices, |device| answers(device).is_ok());
}

/// Whether a device can be attached without waiting for a file that hangs.
///
/// # Errors
/// It hangs.
pub(crate) fn answers(device: &Prepared) -> Result<(), String> {
    let down = device.params.get("admin_state").is_some_and(|value| value == "down");
    match path(device).filter(|path| !down && is_stuck(path, !is_read_only(device))) {
        Some(path) => Err(format!("{path}: {STUCK}")),
        None => Ok(()),
    }
}

/// What to do about a device that does not come up, as far as what is behind it says so; may be empty.
pub(crate) fn hint(device: &Prepared) -> String {
    let Some(path) = path(device) else { return String::new() };
    let target = PathBuf::from(path);
    ask_file(path, move || hint_about(&target)).unwrap_or_default()
}

fn hint_about(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => "name the file or block device, not its folder".to_owned(),
        Ok(meta) if meta.is_file() && meta.len() == 0 => {
            format!("`truncate -s 10G {}` gives it a size", quoted(&path.display().to_string()))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let missing = path.ancestors().skip(1).take_while(|folder| !folder.exists()).last();
            match missing.filter(|folder| !folder.as_os_str().is_empty()) {
                Some(folder) => format!("there is no folder {}", folder.display()),
                None => {
                    let path = quoted(&path.display().to_string());
                    format!("`truncate -s 10G {path}` makes an empty disk of that size")
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            format!("the daemon runs as user {} and may not get there", crate::files::user::effective_uid())
        }
        _ => String::new(),
    }
}

/// Opens the file or block device behind a device.
fn target(device: &Prepared) -> Result<(), String> {
    let Some(path) = path(device) else { return Ok(()) };
    let read_only = is_read_only(device);
    let target = path.clone();
    let opened = ask_file(path, move || open(Path::new(&target), !read_only));
    let unknown = || Err(format!("{STUCK}; or too many others do not answer, and it was not asked"));
    opened.unwrap_or_else(unknown).map_err(|e| format!("{path}: {e}"))
}

fn open(path: &Path, write: bool) -> Result<(), String> {
    let said = |e: io::Error| e.to_string();
    // A pipe is not waited for, and a terminal not taken.
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let meta = std::fs::metadata(path).map_err(said)?;
    if meta.is_dir() {
        return Err("it is a folder (a file or a block device)".to_owned());
    }
    let kind = meta.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        // What else a driver may take is its own to judge.
        return Ok(());
    }
    if kind.is_file() && meta.len() == 0 {
        return Err("it is empty (0 bytes)".to_owned());
    }
    options.write(write).open(path).map(drop).map_err(said)
}
