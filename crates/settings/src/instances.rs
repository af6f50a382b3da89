//! Numbers of ports within their drivers: `file0` of the classic form is the port of the driver `file`
//! that has number 0.
//!
//! ```toml
//! [file]
//! 0 = "vol0"
//! 1 = "san0-a"
//! ```
//! A port keeps its number across starts, and while it is away: only who says that it is gone for good
//! gives the number free. A new port gets the lowest free one.

use crate::names::{PORT_NAME, check_port_name};
use crate::toml_reader::{Key, Reader, Value};
use crate::{FaultKind, SettingsError, disk};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use steadfast_shell::manifest::check_driver_name;
use toml::de::{DeTable, DeValue};

/// The file's name in the parameters folder.
pub const INSTANCES: &str = "instances.toml";
const HEAD: &str = "\
# Numbers of ports within their drivers, as the classic form of a configuration names them. Written by
# steadfast; a port keeps its number for as long as it is here.
";
const NUMBER: &str = "a number from 0 to 65535, without zeros in front";
/// Numbers that there are.
const MOST: u32 = 65_536;

/// The numbers of all ports.
#[derive(Clone, Debug)]
pub struct Instances {
    path: PathBuf,
    on_disk: Option<String>,
    drivers: BTreeMap<String, BTreeMap<u32, String>>,
    changed: bool,
}

impl Instances {
    /// Reads the file of the parameters folder. One that is not there has no numbers in it.
    ///
    /// # Errors
    /// Everything that is wrong with it, with file and line; that it cannot be read.
    pub fn load(folder: &Path) -> Result<Instances, SettingsError> {
        let path = folder.join(INSTANCES);
        let on_disk = disk::read(&path)?;
        let drivers = Reader::read(&path, on_disk.as_deref().unwrap_or_default(), drivers)?;
        Ok(Instances { path, on_disk, drivers, changed: false })
    }

    /// The number of a driver's port, if it has one.
    pub fn number(&self, driver: &str, port: &str) -> Option<u32> {
        let ports = self.drivers.get(driver)?;
        ports.iter().find(|(_, name)| *name == port).map(|(number, _)| *number)
    }

    /// Drivers that have a port with a number.
    pub fn drivers(&self) -> impl Iterator<Item = &str> {
        self.drivers.keys().map(String::as_str)
    }

    /// The ports of a driver by number.
    pub fn ports(&self, driver: &str) -> BTreeMap<u32, String> {
        self.drivers.get(driver).cloned().unwrap_or_default()
    }

    /// The number of a driver's port: its own, or else the lowest that is free.
    ///
    /// # Errors
    /// A name that cannot stand in the file; there is no number left.
    pub fn assign(&mut self, driver: &str, port: &str) -> Result<u32, SettingsError> {
        let fail = |what, name: &str, allowed| SettingsError::Name { what, name: name.to_owned(), allowed };
        check_driver_name(driver).map_err(|allowed| fail("driver", driver, allowed))?;
        check_port_name(port).map_err(|allowed| fail("port", port, allowed))?;
        if let Some(number) = self.number(driver, port) {
            return Ok(number);
        }
        let ports = self.drivers.entry(driver.to_owned()).or_default();
        let gap = ports.keys().zip(0..).find(|(taken, number)| *taken != number).map(|(_, number)| number);
        let free = gap.or(u32::try_from(ports.len()).ok()).filter(|number| *number < MOST);
        let number = free.ok_or_else(|| fail("port", port, "65536 ports of one driver; none is free"))?;
        ports.insert(number, port.to_owned());
        self.changed = true;
        Ok(number)
    }

    /// Gives the number of a port that is gone for good free. Returns whether it had one.
    pub fn forget(&mut self, driver: &str, port: &str) -> bool {
        let Some(number) = self.number(driver, port) else { return false };
        if let Some(ports) = self.drivers.get_mut(driver) {
            ports.remove(&number);
            if ports.is_empty() {
                self.drivers.remove(driver);
            }
        }
        self.changed = true;
        true
    }

    /// Writes what was changed, as a whole.
    ///
    /// # Errors
    /// Somebody else changed the file meanwhile; it cannot be written. Either way it is as it was.
    pub fn save(&mut self) -> Result<(), SettingsError> {
        if !self.changed {
            return Ok(());
        }
        let mut text = HEAD.to_owned();
        for (driver, ports) in &self.drivers {
            let _ = writeln!(text, "\n[{driver}]");
            for (number, port) in ports {
                let _ = writeln!(text, "{number} = \"{port}\"");
            }
        }
        disk::replace(&self.path, self.on_disk.as_deref(), &text)?;
        self.on_disk = Some(text);
        self.changed = false;
        Ok(())
    }
}

type Drivers = BTreeMap<String, BTreeMap<u32, String>>;

fn drivers(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Drivers {
    let mut drivers = Drivers::new();
    for (driver, value) in root.iter() {
        let name: &str = driver.get_ref();
        let DeValue::Table(table) = value.get_ref() else {
            reader.wrong(name, value, "a section for each driver: [DRIVER]");
            continue;
        };
        let mut ports = BTreeMap::new();
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            ports.extend(port(reader, key, value, &ports));
        }
        drivers.insert(name.to_owned(), ports);
    }
    drivers
}

/// One line: a number and the port that has it.
fn port(
    reader: &mut Reader<'_>,
    key: &Key<'_>,
    value: &Value<'_>,
    others: &BTreeMap<u32, String>,
) -> Option<(u32, String)> {
    let text: &str = key.get_ref();
    let Some(number) = text.parse().ok().filter(|n: &u32| *n < MOST && n.to_string() == text) else {
        reader.unknown(key, &[], NUMBER);
        return None;
    };
    match value.get_ref() {
        DeValue::String(port) if check_port_name(port).is_ok() => {
            if others.values().any(|other| other == port) {
                reader.fault(value.span().start, FaultKind::Duplicate { name: port.to_string() });
                return None;
            }
            Some((number, port.to_string()))
        }
        _ => {
            reader.wrong(text, value, PORT_NAME);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_new_port_gets_the_lowest_free_number_and_keeps_it() {
        let folder = tempfile::tempdir().expect("folder");
        let mut instances = Instances::load(folder.path()).expect("none yet");
        for (port, number) in [("vol0", 0), ("vol1", 1), ("san0-a", 2), ("vol1", 1)] {
            assert_eq!(instances.assign("file", port).expect("free"), number);
        }
        assert_eq!(instances.assign("ram", "vol0").expect("free"), 0, "each driver counts for itself");
        assert!(instances.forget("file", "vol1") && !instances.forget("file", "vol1"));
        instances.save().expect("saved");
        let mut again = Instances::load(folder.path()).expect("there");
        assert_eq!(again.number("file", "san0-a"), Some(2), "the others keep theirs");
        assert_eq!(again.assign("file", "new").expect("free"), 1);
        again.save().expect("saved");
        let ports = Instances::load(folder.path()).expect("there").ports("file");
        assert_eq!(
            ports.into_iter().collect::<Vec<_>>(),
            [(0, "vol0".to_owned()), (1, "new".to_owned()), (2, "san0-a".to_owned())]
        );
        assert!(matches!(instances.assign("file", "a b"), Err(SettingsError::Name { .. })));
    }

    #[test]
    fn of_two_who_give_numbers_the_second_is_told() {
        let folder = tempfile::tempdir().expect("folder");
        let (mut one, mut two) = (
            Instances::load(folder.path()).expect("none yet"),
            Instances::load(folder.path()).expect("none yet"),
        );
        one.assign("file", "vol0").expect("free");
        two.assign("file", "vol1").expect("free");
        one.save().expect("saved");
        assert!(matches!(two.save(), Err(SettingsError::Changed { .. })));
    }

    #[test]
    fn every_fault_has_its_line() {
        let folder = tempfile::tempdir().expect("folder");
        let text = "[file]\n0 = \"a\"\n01 = \"b\"\n2 = 3\n3 = \"a\"\n65536 = \"c\"\n";
        fs::write(folder.path().join(INSTANCES), text).expect("written");
        let faults = Instances::load(folder.path()).expect_err("wrong").to_string();
        let lines: Vec<&str> =
            faults.lines().map(|l| l.split("instances.toml:").nth(1).expect("its place")).collect();
        assert_eq!(lines.len(), 4, "{faults}");
        assert!(lines[0].starts_with("3: unknown: 01"), "{faults}");
        assert!(lines[1].starts_with("4: 2=3 is not allowed"), "{faults}");
        assert!(lines[2].starts_with("5: a is defined twice"), "{faults}");
        assert!(lines[3].starts_with("6: unknown: 65536"), "{faults}");
    }
}
