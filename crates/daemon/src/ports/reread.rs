//! The daemon's configuration as it is now: what it says of a port's parameters counts from the next activation
//! on, as what every other file says does.

use super::absent::now_unix_ms;
use crate::config::{Config, DeviceConfig};
use crate::ports::{By, Topology};
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use steadfast_api::{Trouble, TroubleCode};
use steadfast_settings::DriverFile;
use steadfast_shell::sync::lock;

/// What changes when somebody writes to a file or puts another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Stamp {
        Stamp {
            inode: meta.ino(),
            length: meta.len(),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// The file when it was last read.
#[derive(Debug)]
pub(super) struct Reread {
    stamp: Stamp,
    /// Its devices by name; or everything that is wrong with it.
    devices: Result<BTreeMap<String, DeviceConfig>, Vec<String>>,
}

impl Reread {
    fn of(path: &Path, stamp: Stamp) -> Reread {
        let devices = match Config::read(path) {
            Ok(config) => {
                Ok(config.devices.into_iter().map(|device| (device.name.clone(), device)).collect())
            }
            Err(faults) => Err(faults.0.iter().map(ToString::to_string).collect()),
        };
        Reread { stamp, devices }
    }
}

/// A configuration, or `devices.toml`, that a rescan could not take.
#[derive(Debug)]
pub(super) struct Unread {
    faults: Vec<String>,
    since_unix_ms: u64,
}

impl Topology {
    /// What was wrong when everything that defines ports was read again; nothing is good.
    pub(super) fn note_read(&self, faults: &[String]) {
        let mut unread = lock(&self.unread);
        let since_unix_ms = unread.as_ref().map_or_else(now_unix_ms, |known| known.since_unix_ms);
        *unread = (!faults.is_empty()).then(|| Unread { faults: faults.to_vec(), since_unix_ms });
    }

    /// The configuration that could not be read again, until it can.
    pub(crate) fn unread_trouble(&self) -> Option<Trouble> {
        let unread = lock(&self.unread);
        let Unread { faults, since_unix_ms } = unread.as_ref()?;
        let detail = format!(
            "configuration: {}; what it says is not in force, and the next start would refuse it: mend it, and \
             `steadfast rescan` takes it",
            faults.join("; ")
        );
        let target = self.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let (port, code, since_unix_ms) = (String::new(), TroubleCode::Configuration, *since_unix_ms);
        Some(Trouble { port, code, target, detail, since_unix_ms })
    }

    /// A driver's file as it is now; none where it will not do. It is read anew only where it has changed.
    pub(crate) fn driver_file(&self, driver: &str) -> Option<Arc<DriverFile>> {
        let path = DriverFile::path_in(&self.settings.folder, driver);
        let stamp = fs::metadata(path).ok().as_ref().map(Stamp::from);
        let mut files = lock(&self.files);
        if let Some((_, file)) = files.get(driver).filter(|(known, _)| *known == stamp) {
            return Some(Arc::clone(file));
        }
        let file = Arc::new(self.settings.file(driver).ok()?);
        files.insert(driver.to_owned(), (stamp, Arc::clone(&file)));
        Some(file)
    }

    /// A port's definition with the parameters that the configuration gives it now. Everything else is as it
    /// was when the daemon started, and so are ports that the configuration does not define any more.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration by now.
    pub(crate) fn config_now(&self, port: &str) -> Option<Result<DeviceConfig, Vec<String>>> {
        let defined = self.defined(port)?;
        let Some(path) = self.config.as_deref().filter(|_| defined.by == By::Configuration) else {
            return Some(Ok(defined.config));
        };
        let stamp = match fs::metadata(path) {
            Ok(meta) => Stamp::from(&meta),
            Err(error) if error.kind() == ErrorKind::NotFound => return Some(Ok(defined.config)),
            Err(error) => return Some(Err(vec![format!("{}: {error}", path.display())])),
        };
        let mut reread = lock(&self.reread);
        if reread.as_ref().is_none_or(|known| known.stamp != stamp) {
            *reread = Some(Reread::of(path, stamp));
        }
        let now = match &reread.as_ref()?.devices {
            Ok(devices) => devices.get(port).cloned(),
            Err(faults) => return Some(Err(faults.clone())),
        };
        Some(Ok(match now {
            Some(now) => DeviceConfig {
                target: now.target,
                params: now.params,
                said: now.said,
                target_said: now.target_said,
                place: now.place,
                ..defined.config
            },
            None => defined.config,
        }))
    }
}
