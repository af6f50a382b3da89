//! The profiles that there are: those that come with Steadfast, and those in `DIR/profiles`.

use super::builtin::{self, BUILT_IN};
use super::read::{self, Raw};
use super::{Profile, ProfileValue};
use crate::driver_file::written;
use crate::names::check_profile_name;
use crate::text::toml_string;
use crate::{Fault, FaultKind, Faults, SettingsError, disk};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use steadfast_shell::params::{ParamSpec, nearest};
use steadfast_shell::properties::Source;

/// Name of the folder within the parameters folder.
const FOLDER: &str = "profiles";
/// Longest chain of profiles that extend one another.
const DEEPEST: usize = 16;

/// Where profiles are.
#[derive(Clone, Debug)]
pub struct Profiles {
    folder: PathBuf,
}

/// A profile that is to be written.
#[derive(Clone, Debug, Default)]
pub struct NewProfile {
    /// Name.
    pub name: String,
    /// What it is for; when missing, as it was.
    pub about: Option<String>,
    /// Where it comes from, for the first line of the file.
    pub from: String,
    /// Parameters, values, and what is known of each.
    pub values: Vec<(String, String, Option<ParamSpec>)>,
}

impl Profiles {
    /// The profiles of a parameters folder.
    pub fn of(parameters: &Path) -> Profiles {
        Profiles { folder: parameters.join(FOLDER) }
    }

    /// Their folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of all, those that come with Steadfast first. A file of such a name is there a second time.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, SettingsError> {
        let mut own = self.own()?;
        own.retain(|name| !BUILT_IN.contains(&name.as_str()));
        Ok(BUILT_IN.iter().map(|name| (*name).to_owned()).chain(own).collect())
    }

    /// Names of the files.
    fn own(&self) -> Result<Vec<String>, SettingsError> {
        let fail = |error| SettingsError::Read { path: self.folder.clone(), error };
        let entries = match self.folder.read_dir() {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(fail(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|e| e == "toml")
                && let Some(name) = name.filter(|name| !name.starts_with('.'))
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Where a profile's file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.toml"))
    }

    /// A profile, with all that it has from those that it extends.
    ///
    /// # Errors
    /// There is none of that name; everything that is wrong with it; a file has a built-in's name.
    pub fn get(&self, name: &str) -> Result<Profile, SettingsError> {
        check_profile_name(name).map_err(|allowed| SettingsError::Name {
            what: "profile",
            name: name.to_owned(),
            allowed,
        })?;
        let (raw, path) = self.raw(name)?.ok_or_else(|| self.none(name))?;
        self.whole(name, raw, path)
    }

    /// What a text would be as a profile of that name.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(&self, name: &str, path: &Path, text: &str) -> Result<Profile, SettingsError> {
        self.whole(name, read::read(path, text)?, Some(path.to_owned()))
    }

    fn whole(&self, name: &str, raw: Raw, path: Option<PathBuf>) -> Result<Profile, SettingsError> {
        let mut profile = Profile {
            name: name.to_owned(),
            about: raw.about.clone(),
            extends: raw.extends.as_ref().map(|(name, _)| name.clone()),
            path: path.clone(),
            values: Default::default(),
        };
        self.collect(&mut profile, name, raw, path)?;
        Ok(profile)
    }

    /// The values of a profile and of those that it extends, the last word first.
    fn collect(
        &self,
        profile: &mut Profile,
        name: &str,
        mut raw: Raw,
        mut path: Option<PathBuf>,
    ) -> Result<(), SettingsError> {
        let mut chain = vec![name.to_owned()];
        loop {
            let own = chain.last().cloned().unwrap_or_default();
            for (param, value) in raw.values {
                let source = match &path {
                    Some(path) => Source::File { path: path.display().to_string(), line: value.line },
                    None => Source::Environment { name: own.clone() },
                };
                let value = ProfileValue { value: value.value, why: value.why, source };
                profile.values.entry(param).or_insert(value);
            }
            let Some((base, line)) = raw.extends.take() else { return Ok(()) };
            let fault = |kind| {
                let path = path.clone().unwrap_or_default();
                SettingsError::from(Faults(vec![Fault { path, line, kind }]))
            };
            if chain.contains(&base) || chain.len() == DEEPEST {
                chain.push(base);
                return Err(fault(FaultKind::Circle { chain: chain.join(" -> ") }));
            }
            let found = if check_profile_name(&base).is_ok() { self.raw(&base)? } else { None };
            let Some(next) = found else {
                let hint = self.near(&base);
                return Err(fault(FaultKind::NoProfile { name: base, hint }));
            };
            (raw, path) = next;
            chain.push(base);
        }
    }

    /// What a profile says itself, and its file.
    fn raw(&self, name: &str) -> Result<Option<(Raw, Option<PathBuf>)>, SettingsError> {
        let path = self.path(name);
        let text = disk::read(&path)?;
        match (builtin::text(name), text) {
            (Some(_), Some(_)) => Err(SettingsError::BuiltIn { name: name.to_owned(), path }),
            (Some(text), None) => Ok(Some((read::read(Path::new(name), text)?, None))),
            (None, Some(text)) => Ok(Some((read::read(&path, &text)?, Some(path)))),
            (None, None) => Ok(None),
        }
    }

    fn none(&self, name: &str) -> SettingsError {
        SettingsError::NoProfile { name: name.to_owned(), hint: self.near(name) }
    }

    fn near(&self, name: &str) -> String {
        let names = self.names().unwrap_or_default();
        match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there is: {}", names.join(", ")),
        }
    }

    /// Writes a profile. Says where it is.
    ///
    /// # Errors
    /// A name that it cannot have; there is one and `replace` is not said; it cannot be written.
    pub fn save(&self, new: &NewProfile, replace: bool) -> Result<PathBuf, SettingsError> {
        let name = &new.name;
        let fail = |allowed| SettingsError::Name { what: "profile", name: name.clone(), allowed };
        check_profile_name(name).map_err(fail)?;
        let path = self.path(name);
        if BUILT_IN.contains(&name.as_str()) {
            return Err(SettingsError::BuiltIn { name: name.clone(), path });
        }
        let before = disk::read(&path)?;
        if before.is_some() && !replace {
            return Err(SettingsError::ProfileExists { name: name.clone(), path });
        }
        let old = before.as_deref().and_then(|text| read::read(&path, text).ok());
        let about = new.about.clone().or_else(|| old.map(|raw| raw.about)).unwrap_or_default();
        let text = text(new, &about);
        // What cannot be read again is not written.
        read::read(&path, &text)?;
        disk::replace(&path, before.as_deref(), &text)?;
        Ok(path)
    }
}

fn text(new: &NewProfile, about: &str) -> String {
    let mut text = format!("# {}\n", new.from.replace(char::is_control, " "));
    if !about.is_empty() {
        let _ = writeln!(text, "about = {}", toml_string(about));
    }
    text.push_str("\n[params]\n");
    for (name, value, spec) in &new.values {
        let _ = writeln!(text, "{name} = {}", written(value, spec.as_ref()).0);
    }
    text
}
