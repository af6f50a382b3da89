//! `devices.toml`: what was added while the daemon ran. Comments and order are kept, and the file is
//! replaced as a whole, so that there is never half of it.

use crate::config::{Config, ConfigError, ConfigErrors, DeviceConfig, Place};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table, value};

/// The file's name.
pub(crate) const FILE: &str = "devices.toml";
const HEAD: &str = "\
# Devices that were added while the daemon ran, as `steadfast device add` and `steadfast adapter add` wrote
# them. They come up with the daemon, after those of its own configuration. Comments are kept.

";

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// The devices that are in the file; none where there is no file.
///
/// # Errors
/// Everything that is wrong with it, with file and line.
pub(crate) fn read(folder: &Path) -> Result<Vec<DeviceConfig>, ConfigErrors> {
    let path = path(folder);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let config = Config::read(&path)?;
    let document = open(&path).map_err(|e| ConfigError::new(Place::File(path.clone()), e))?;
    let stray = document.iter().map(|(key, _)| key).find(|key| !matches!(*key, "device" | "adapter"));
    if let Some(key) = stray {
        let message = format!("`{key}` is for the daemon's own configuration; here are devices and adapters");
        return Err(ConfigError::new(Place::File(path), message).into());
    }
    Ok(config.devices)
}

/// Writes devices into the file.
///
/// # Errors
/// Why it could not be written; it is as it was then.
pub(crate) fn add(folder: &Path, devices: &[DeviceConfig]) -> Result<(), String> {
    edit(folder, |document| {
        for device in devices {
            let entry = entry(document, device)?;
            let driver = value(device.driver.as_str());
            let port = match &device.adapter {
                Some(adapter) => {
                    // What the adapter says holds for its other ports too.
                    let all = entry["driver"].or_insert(driver.clone()).as_str().map(str::to_owned);
                    entry["port"].or_insert(implicit());
                    let port = entry["port"][port_of(&adapter.name, &device.name)].or_insert(table());
                    port["number"] = value(i64::from(adapter.number));
                    if all.as_deref() != Some(device.driver.as_str()) {
                        port["driver"] = driver;
                    }
                    port
                }
                None => {
                    entry["driver"] = driver;
                    entry
                }
            };
            if let Some(target) = &device.target {
                port["target"] = value(target.as_str());
            }
            if let Some(queues) = device.queues {
                port["queues"] = value(queues as i64);
            }
            if let Some(hardware) = &device.hardware {
                port["hardware"] = value(hardware.hwid.as_str());
                port["revision"] = value(i64::from(hardware.revision));
            }
            if let Some(once) = device.once_per_start {
                port["once_per_start"] = value(once);
            }
            if let Some(reserve) = device.reserve {
                port["reserve"] = value(reserve as i64);
            }
            if let Some(required) = device.required {
                port["required"] = value(required);
            }
            if let Some(retry) = device.retry {
                port["retry"] = value(retry.to_string());
            }
            if !device.params.is_empty() {
                let params = port["params"].or_insert(table());
                for (name, text) in &device.params {
                    params[name.as_str()] = value(text.as_str());
                }
            }
        }
        Ok(())
    })
}

/// Takes devices out of the file; those that are not in it are passed over.
///
/// # Errors
/// As [`add`].
pub(crate) fn remove(folder: &Path, devices: &[DeviceConfig]) -> Result<(), String> {
    edit(folder, |document| {
        for device in devices {
            let Some(adapter) = &device.adapter else {
                take(document.as_table_mut(), "device", &device.name);
                continue;
            };
            let Some(adapters) = document.get_mut("adapter").and_then(Item::as_table_mut) else { continue };
            let Some(entry) = adapters.get_mut(&adapter.name).and_then(Item::as_table_mut) else { continue };
            take(entry, "port", port_of(&adapter.name, &device.name));
            if !entry.contains_key("port") {
                take(document.as_table_mut(), "adapter", &adapter.name);
            }
        }
        Ok(())
    })
}

/// What a port of an adapter is called there.
fn port_of<'a>(adapter: &str, name: &'a str) -> &'a str {
    name.strip_prefix(adapter).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name)
}

/// The table of the device, or of its adapter.
fn entry<'a>(document: &'a mut DocumentMut, device: &DeviceConfig) -> Result<&'a mut Item, String> {
    let (kind, name) = match &device.adapter {
        Some(adapter) => ("adapter", adapter.name.as_str()),
        None => ("device", device.name.as_str()),
    };
    let all = document.as_table_mut().entry(kind).or_insert(implicit());
    let all = all.as_table_mut().ok_or_else(|| format!("`{kind}` is not a table"))?;
    Ok(all.entry(name).or_insert(table()))
}

/// Removes `name` from the table `kind`, and that with its last entry.
fn take(within: &mut Table, kind: &str, name: &str) {
    let Some(all) = within.get_mut(kind).and_then(Item::as_table_like_mut) else { return };
    all.remove(name);
    if all.is_empty() {
        within.remove(kind);
    }
}

fn table() -> Item {
    Item::Table(Table::new())
}

/// A table that has no line of its own.
fn implicit() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

fn open(path: &Path) -> Result<DocumentMut, String> {
    match steadfast_settings::read_text(path) {
        Ok(text) => text.parse::<DocumentMut>().map_err(|e| e.to_string()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(DocumentMut::new()),
        Err(e) => Err(e.to_string()),
    }
}

fn edit(folder: &Path, change: impl FnOnce(&mut DocumentMut) -> Result<(), String>) -> Result<(), String> {
    let path = path(folder);
    let named = |e: String| format!("{}: {e}", path.display());
    let mut document = open(&path).map_err(named)?;
    change(&mut document).map_err(named)?;
    replace(folder, &path, &document.to_string()).map_err(|e| named(e.to_string()))
}

/// Puts a file in the place of the one that is there, once it is on the disk.
fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    steadfast_settings::make_folder(folder, 0o700)?;
    let mut file = tempfile::Builder::new()
        .prefix(steadfast_settings::NEW.0)
        .suffix(steadfast_settings::NEW.1)
        .tempfile_in(folder)?;
    match fs::metadata(path) {
        Ok(old) => file.as_file().set_permissions(old.permissions())?,
        Err(_) => file.write_all(HEAD.as_bytes())?,
    }
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{parse_device, parse_port};
    use steadfast_runtime::AdapterRef;

    fn port(number: u32, text: &str) -> DeviceConfig {
        let adapter = Some(AdapterRef { name: "san0".into(), number });
        DeviceConfig { adapter, ..parse_port("san0", "file", text).expect("valid") }
    }

    #[test]
    fn what_is_added_is_read_again_and_what_is_removed_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("parameters");
        assert_eq!(read(&dir).expect("no file").len(), 0);
        let vol = parse_device(
            "vol1=file@1.0:/d.img,direct=true,queues=2,hardware=a:b,revision=2,once_per_start=true,reserve=64K,\
             required=false,retry=90s",
        );
        let vol = vol.expect("valid");
        let (a, b) = (port(0, "a:/a.img"), port(3, "b:/b.img,direct=true"));
        let b = DeviceConfig { driver: "file@1.1".into(), ..b };
        add(&dir, &[vol.clone(), a.clone(), b.clone()]).expect("written");
        let text = fs::read_to_string(path(&dir)).expect("there");
        assert!(
            text.starts_with("# Devices that were added") && text.contains("\n\n[device.vol1]"),
            "{text}"
        );
        let devices = read(&dir).expect("read");
        let same = |found: &DeviceConfig, wanted: &DeviceConfig| {
            let key = |d: &DeviceConfig| {
                // Where it was said is not what was said.
                let (place, base) = (Place::Option(String::new()), PathBuf::new());
                let (said, target_said) = (Default::default(), None);
                format!("{:?}", DeviceConfig { place, base, said, target_said, ..d.clone() })
            };
            assert_eq!(key(found), key(wanted));
        };
        for wanted in [&vol, &a, &b] {
            same(devices.iter().find(|d| d.name == wanted.name).expect("it is there"), wanted);
        }
        remove(&dir, std::slice::from_ref(&a)).expect("written");
        assert_eq!(read(&dir).expect("read").len(), 2);
        remove(&dir, &[vol, b]).expect("written");
        let text = fs::read_to_string(path(&dir)).expect("there");
        assert!(read(&dir).expect("read").is_empty() && !text.contains('['), "{text}");
    }

    #[test]
    fn comments_stay_and_what_is_wrong_has_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let mine = "# mine\n[device.vol0] # the first\ndriver = \"null\" # no data\n";
        fs::write(path(folder.path()), mine).expect("written");
        let vol = parse_device("vol1=null:1M").expect("valid");
        add(folder.path(), std::slice::from_ref(&vol)).expect("written");
        let text = fs::read_to_string(path(folder.path())).expect("there");
        assert!(text.starts_with(mine) && text.contains("[device.vol1]"), "{text}");
        remove(folder.path(), std::slice::from_ref(&vol)).expect("written");
        assert_eq!(fs::read_to_string(path(folder.path())).expect("there").trim_end(), mine.trim_end());
        fs::write(path(folder.path()), "[device.vol0]\ntarget = 1\n").expect("written");
        let error = read(folder.path()).expect_err("wrong").to_string();
        assert!(error.contains("devices.toml:1") && error.contains("devices.toml:2"), "{error}");
        fs::write(path(folder.path()), "queues = 2\n").expect("written");
        assert!(
            read(folder.path()).expect_err("stray").to_string().contains("`queues` is for the daemon's own")
        );
        let error = add(&folder.path().join("devices.toml"), &[]).expect_err("no folder");
        assert!(error.contains("devices.toml"), "{error}");
    }
}
