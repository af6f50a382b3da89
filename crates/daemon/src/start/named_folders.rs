//! Folders that the configuration names: what is none is said by the key that names it, not by the files it would have.

use crate::config::{Config, ConfigError, Place};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// What of them is no folder. One that is not there yet is made where that is the daemon's to do.
pub(crate) fn wrong(config: &Config) -> Vec<ConfigError> {
    named(config).filter_map(|named| named.not_a_folder()).collect()
}

/// The same, for a check: also those to be written to that nothing can be written to.
pub(crate) fn wrong_or_closed(config: &Config) -> Vec<ConfigError> {
    named(config).filter_map(|named| named.not_a_folder().or_else(|| named.closed())).collect()
}

struct Named<'c> {
    key: &'static str,
    path: &'c Path,
    written: bool,
    config: &'c Config,
}

fn named(config: &Config) -> impl Iterator<Item = Named<'_>> {
    let own = [
        ("store", config.store.as_deref(), true),
        ("state", config.state.as_deref(), true),
        ("parameters", config.parameters.as_deref(), true),
        ("trusted_keys", config.trusted_keys.as_deref(), false),
    ];
    let own = own.into_iter().filter_map(|(key, path, written)| Some((key, path?, written)));
    let modules = config.modules.iter().map(|path| ("modules", path.as_path(), false));
    own.chain(modules).map(move |(key, path, written)| Named { key, path, written, config })
}

impl Named<'_> {
    fn not_a_folder(&self) -> Option<ConfigError> {
        match fs::metadata(self.path) {
            Ok(meta) if meta.is_dir() => None,
            Ok(_) => Some(self.error("it is no folder")),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => Some(self.error(&e.to_string())),
        }
    }

    /// Why nothing can be written to it, or to where it would be made.
    fn closed(&self) -> Option<ConfigError> {
        if !self.written {
            return None;
        }
        let whole = std::path::absolute(self.path).ok()?;
        let there = whole.ancestors().find(|folder| folder.exists())?;
        // It has no name, and has gone when this returns.
        let written = tempfile::tempfile_in(there);
        written.err().map(|e| self.error(&format!("nothing can be written to it: {e}")))
    }

    fn error(&self, why: &str) -> ConfigError {
        ConfigError::new(self.place(), format!("{}: {}: {why}", self.key, self.path.display()))
    }

    /// The line of the file, or the key of the command line's option.
    fn place(&self) -> Place {
        let option = || Place::Option(format!("--{}", self.key.replace('_', "-")));
        let Some(source) = &self.config.source else { return option() };
        let Ok(text) = steadfast_settings::read_text(source) else { return option() };
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let says = |line: &str| {
            line.split_once('=').is_some_and(|(key, value)| key.trim() == self.key && value.contains(name))
        };
        let line = text.lines().take_while(|line| !line.starts_with('[')).position(says);
        line.map_or_else(option, |line| Place::Line(source.clone(), line + 1, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_folder_is_said_by_the_key_that_names_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("c.toml");
        let text = "store = \"/dev/null\"\nstate = \"/proc\"\ntrusted_keys = \"/dev/null\"\nmodules = [\"/dev/zero\"]\n";
        fs::write(&file, text).expect("written");
        let config = Config::read_whole(&file).expect("toml");
        let said = |wrong: Vec<ConfigError>| wrong.iter().map(ToString::to_string).collect::<Vec<_>>();
        let at = |line, what: &str| format!("{}:{line}:1: {what}", file.display());
        let none = [
            at(1, "store: /dev/null: it is no folder"),
            at(3, "trusted_keys: /dev/null: it is no folder"),
            at(4, "modules: /dev/zero: it is no folder"),
        ];
        assert_eq!(said(wrong(&config)), none);
        let all = said(wrong_or_closed(&config));
        assert!(
            all.len() == 4 && all[1].starts_with(&at(2, "state: /proc: nothing can be written")),
            "{all:?}"
        );
        // What was given instead of it is not the file's.
        let other = Config { store: Some("/dev/full".into()), ..config };
        assert_eq!(said(wrong(&other))[0], "--store: store: /dev/full: it is no folder");
        let new = Config { state: Some(dir.path().join("a/b")), ..Config::default() };
        assert!(wrong_or_closed(&new).is_empty(), "it is made");
    }
}
