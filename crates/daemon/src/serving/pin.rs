//! `update --save`: the configuration names the new driver, in its own file.

use crate::app::App;
use crate::config::module_path::is_module_path;
use crate::config::{DeviceConfig, Place};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use steadfast_api::{Release, SaveRequest};
use steadfast_shell::properties::Source;
use steadfast_shell::sync::lock;
use toml_edit::{DocumentMut, Item, TableLike, value};

/// The file that a device is defined in.
///
/// # Errors
/// It is defined on the command line.
fn file_of(config: &DeviceConfig) -> Result<PathBuf, String> {
    match &config.place {
        Place::File(path) | Place::Line(path, ..) => Ok(path.clone()),
        Place::Said(Source::File { path, .. }) => Ok(PathBuf::from(path)),
        place => Err(format!("{} is defined at {place}, and in no file that could be edited", config.name)),
    }
}

/// How the driver is to be named from now on: as a file where that was asked for, else with its version.
fn text(asked: &str, to: &Release) -> String {
    if is_module_path(asked) { asked.to_owned() } else { format!("{}@{}", to.driver, to.version) }
}

/// The file's text with another driver for a device. Comments, order and everything else stay.
fn edited(path: &Path, config: &DeviceConfig, driver: &str) -> Result<String, String> {
    let named = |what: String| format!("{}: {what}", path.display());
    let text = steadfast_settings::read_text(path).map_err(|e| named(e.to_string()))?;
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| named(e.to_string()))?;
    let missing = || named(format!("device {} is not in it any more", config.name));
    let entry = entry(&mut document, config).ok_or_else(missing)?;
    match entry.get_mut("driver").and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = driver.into();
            *old.decor_mut() = decor;
        }
        None => drop(entry.insert("driver", value(driver))),
    }
    Ok(document.to_string())
}

fn entry<'a>(document: &'a mut DocumentMut, config: &DeviceConfig) -> Option<&'a mut dyn TableLike> {
    fn within<'t>(table: &'t mut dyn TableLike, key: &str) -> Option<&'t mut dyn TableLike> {
        table.get_mut(key)?.as_table_like_mut()
    }
    let root: &mut dyn TableLike = document.as_table_mut();
    let Some(adapter) = &config.adapter else {
        return within(within(root, "device")?, &config.name);
    };
    let port = config.name.strip_prefix(&adapter.name).and_then(|rest| rest.strip_prefix('-'))?.to_owned();
    within(within(within(within(root, "adapter")?, &adapter.name)?, "port")?, &port)
}

/// What `--save` is to save once the new driver is there to stay.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    /// The module, as it was asked for.
    pub(crate) asked: String,
    /// The values that came with it; none is the driver's default.
    pub(crate) params: BTreeMap<String, Option<String>>,
    /// Who asked.
    pub(crate) who: String,
}

impl App {
    /// Saves what an update with `--save` brought, driver and values; says what was done, a sentence each.
    pub(crate) fn keep_update(&self, port: &str, keep: &Keep, to: &Release) -> Vec<String> {
        let mut said = vec![self.save_driver(port, &keep.asked, to)];
        if !keep.params.is_empty() {
            said.push(self.save_values(port, keep));
        }
        said
    }

    fn save_values(&self, port: &str, keep: &Keep) -> String {
        let mut request = SaveRequest::default();
        for (name, value) in &keep.params {
            match value {
                Some(value) => drop(request.set.insert(name.clone(), value.clone())),
                None => request.undefine.push(name.clone()),
            }
        }
        let names: Vec<&str> = keep.params.keys().map(String::as_str).collect();
        let names = names.join(", ");
        match self.save_params(port, &request, &keep.who) {
            Ok(report) => format!("{} has {names} now", report.file),
            Err(problem) => format!("{names} are NOT saved: {}", problem.message),
        }
    }

    /// Whether the configuration of a port can be made to name another driver.
    ///
    /// # Errors
    /// Why not: nothing is to be done then.
    pub(crate) fn can_save(&self, port: &str) -> Result<(), String> {
        let config =
            self.topology.config_of(port).ok_or_else(|| format!("port {port} is defined nowhere"))?;
        let path = file_of(&config)?;
        edited(&path, &config, &config.driver)?;
        let writable = std::fs::OpenOptions::new().append(true).open(&path);
        writable.map(drop).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Makes the configuration name the driver that serves; says what was done.
    fn save_driver(&self, port: &str, asked: &str, to: &Release) -> String {
        let saved = || -> Result<String, String> {
            let config = self.topology.config_of(port).ok_or("it is defined nowhere")?;
            let (path, driver) = (file_of(&config)?, text(asked, to));
            let _saving = lock(self.topology.saving());
            let contents = edited(&path, &config, &driver)?;
            steadfast_settings::replace_file(&path, contents.as_bytes())
                .map_err(|e| format!("{}: {e}", path.display()))?;
            self.topology.name_driver(port, &driver);
            if let Some(serving) = self.serving() {
                serving.change(port, |served| {
                    served.named.clone_from(&driver);
                    served.meant = Some(to.clone());
                });
                serving.save();
            }
            Ok(format!("{} names `{driver}` now", path.display()))
        };
        saved().unwrap_or_else(|why| format!("the configuration does NOT name it: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_driver_is_named_in_place_and_everything_else_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("steadfast.toml");
        let before = "# mine\n[device.vol0]\ndriver = \"file@1.0.0\" # pinned\ntarget = \"/a\"\n\n[adapter.san0]\n\
                      driver = \"file@1.0.0\"\n[adapter.san0.port.a]\ntarget = \"/b\"\n";
        std::fs::write(&path, before).expect("written");
        let config = Config::read(&path).expect("good");
        let of = |name: &str| config.devices.iter().find(|d| d.name == name).expect("there").clone();
        assert_eq!(file_of(&of("vol0")), Ok(path.clone()));
        let after = edited(&path, &of("vol0"), "file@1.1.0").expect("edited");
        assert_eq!(after, before.replacen("file@1.0.0", "file@1.1.0", 1));
        let after = edited(&path, &of("san0-a"), "file@1.1.0").expect("edited");
        assert!(
            after.starts_with(before.trim_end()) && after.ends_with("driver = \"file@1.1.0\"\n"),
            "{after}"
        );
        let gone = DeviceConfig { name: "vol9".into(), ..of("vol0") };
        assert!(edited(&path, &gone, "x").is_err_and(|why| why.contains("vol9 is not in it")));
    }
}
