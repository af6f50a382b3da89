//! The configuration file of a driver's ports, `DIR/DRIVER.toml`.
//!
//! ```toml
//! [global]                         # every port of this driver
//! io_throttle = 64
//! [port.vol0]                      # this port; wins over [global]
//! io_throttle = 8
//! undefine = ["request_timeout"]   # hides what is said elsewhere: the default shows
//! ```
//! It is edited as text: the spans that the parser found say where, and all that is not touched stays to
//! the byte. After every edit the text is parsed again, and taken only if it says exactly what was meant.

mod edit;
mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::{Faults, SettingsError, disk};
use read::Content;
use std::fmt;
use std::path::{Path, PathBuf};
use steadfast_shell::manifest::check_driver_name;
use steadfast_shell::properties::{Definition, Said, Source};

pub use crate::toml_reader::Written;
pub use read::Entry;
pub(crate) use write::written;

/// Part of a driver's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// `[global]`: every port of the driver.
    Global,
    /// `[port.NAME]`: one port.
    Port(String),
}

impl Section {
    /// The section of a port.
    pub fn port(name: impl Into<String>) -> Section {
        Section::Port(name.into())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Section::Global => f.write_str("global"),
            Section::Port(name) => write!(f, "port.{name}"),
        }
    }
}

/// A driver's file: its text, and what it says.
#[derive(Clone, Debug)]
pub struct DriverFile {
    driver: String,
    path: PathBuf,
    /// As it was on disk; none where there was nothing.
    on_disk: Option<String>,
    text: String,
    content: Content,
}

impl DriverFile {
    /// Where the file of a driver is within the parameters folder.
    pub fn path_in(folder: &Path, driver: &str) -> PathBuf {
        folder.join(format!("{driver}.toml"))
    }

    /// Reads the file of a driver; one that is not there says nothing.
    ///
    /// # Errors
    /// The disk does not give it, or every fault in it.
    pub fn load(folder: &Path, driver: &str) -> Result<DriverFile, SettingsError> {
        check_driver_name(driver).map_err(|allowed| SettingsError::Name {
            what: "driver",
            name: driver.to_owned(),
            allowed,
        })?;
        let path = DriverFile::path_in(folder, driver);
        let on_disk = disk::read(&path)?;
        let mut file = DriverFile::parse(&path, driver, on_disk.as_deref().unwrap_or_default())?;
        file.on_disk = on_disk;
        Ok(file)
    }

    /// What a text would say as the file of a driver.
    ///
    /// # Errors
    /// Every fault in it.
    pub fn parse(path: &Path, driver: &str, text: &str) -> Result<DriverFile, Faults> {
        let content = Content::parse(text, path)?;
        let (driver, path) = (driver.to_owned(), path.to_owned());
        Ok(DriverFile { driver, path, on_disk: None, text: text.to_owned(), content })
    }

    /// The driver's name.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text, edits included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has edits that are not on disk.
    pub fn is_edited(&self) -> bool {
        self.on_disk.as_deref().unwrap_or_default() != self.text
    }

    /// Sections that are there, also those without an entry.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.content.sections.keys()
    }

    /// Line at which a section begins; none where it is not there.
    pub fn section_line(&self, section: &Section) -> Option<u32> {
        self.content.sections.get(section).map(|body| body.line)
    }

    /// Entries of a section, in the order of the file.
    pub fn entries(&self, section: &Section) -> &[Entry] {
        self.content.sections.get(section).map_or(&[], |body| &body.entries)
    }

    /// What a section says of one parameter.
    pub fn entry(&self, section: &Section, name: &str) -> Option<&Entry> {
        self.entries(section).iter().find(|entry| entry.name == name)
    }

    /// What a section says, as a layer of properties.
    pub fn said(&self, section: &Section) -> Vec<Said> {
        let said = |entry: &Entry| {
            let definition = entry
                .value
                .as_ref()
                .map(|value| Definition { value: value.clone(), source: self.source(entry.line) });
            (entry.name.clone(), definition)
        };
        self.entries(section).iter().map(said).collect()
    }

    /// A line of this file as a source.
    pub fn source(&self, line: u32) -> Source {
        Source::File { path: self.path.display().to_string(), line }
    }

    /// Writes it to disk, whole or not at all; says whether there was anything to write.
    ///
    /// # Errors
    /// It was changed on disk since it was read, or the disk does not take it; it is then as it was.
    pub fn save(&mut self) -> Result<bool, SettingsError> {
        if !self.is_edited() {
            return Ok(false);
        }
        disk::replace(&self.path, self.on_disk.as_deref(), &self.text)?;
        self.on_disk = Some(self.text.clone());
        Ok(true)
    }

    /// Takes back what was saved since `earlier`, an earlier state of the same file, on disk too: where there
    /// was none, there is none again.
    ///
    /// # Errors
    /// As [`DriverFile::save`].
    pub fn restore(&mut self, earlier: &DriverFile) -> Result<(), SettingsError> {
        if let (Some(text), None) = (&self.on_disk, &earlier.on_disk) {
            disk::remove(&self.path, text)?;
            *self = earlier.clone();
            return Ok(());
        }
        let on_disk = self.on_disk.take();
        *self = DriverFile { on_disk, ..earlier.clone() };
        self.save().map(drop)
    }
}
