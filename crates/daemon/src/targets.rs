//! What a configuration names, opened to see whether it can be: for `serve --check`, which serves nothing.
//!
//! Nothing is locked, so that the check can be made beside a daemon that serves the same.

use crate::config::ConfigError;
use crate::devices::{Prepared, below};
use crate::modules::target_param;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use steadfast_shell::params::ParamKind;

/// Everything that keeps one of these from coming up, as far as can be seen from here.
pub(crate) fn examine(devices: &[Prepared]) -> Vec<ConfigError> {
    let mut wrong: Vec<(String, ConfigError)> = Vec::new();
    for device in devices {
        wrong.extend(target(device).err().map(|why| (device.config.name.clone(), error(device, &why))));
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

/// Opens the file or block device behind a device.
fn target(device: &Prepared) -> Result<(), String> {
    let Some(spec) = target_param(&device.staged.manifest).filter(|spec| spec.kind == ParamKind::Path) else {
        return Ok(());
    };
    let Some(path) = device.params.get(&spec.name).filter(|path| !path.is_empty()) else { return Ok(()) };
    let read_only = device.params.get("read_only").is_some_and(|value| value == "true");
    open(Path::new(path), !read_only).map_err(|e| format!("{path}: {e}"))
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
