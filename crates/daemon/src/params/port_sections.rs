//! What is saved for ports that come and go: sections of drivers' files.

use crate::app::App;
use crate::params::view::file_problem;
use std::path::{Path, PathBuf};
use steadfast_runtime::PortState;
use steadfast_settings::{DriverFile, Section, lint};
use steadfast_shell::sync::lock;

impl App {
    /// Takes what is saved for a port that is gone for good out of every driver's file: a port of that name
    /// that comes later is another one. Says what was taken out, and what could not be.
    pub(crate) fn forget_saved(&self, port: &str) -> Vec<String> {
        let _editing = lock(&self.edits.editing);
        let section = Section::port(port);
        let mut notes = Vec::new();
        for (path, file) in self.files_with(port) {
            let removed = file.and_then(|mut file| {
                let entries = file.remove_section(&section).map_err(|e| file_problem(&e).message)?;
                file.save().map_err(|e| file_problem(&e).message)?;
                Ok(entries)
            });
            let path = path.display();
            notes.push(match removed {
                Ok(entries) => format!("[{section}] is taken out of {path}: {}", values(entries)),
                Err(why) => format!(
                    "[{section}] STAYS in {path}, and a port that is added as {port} will have its values: {why}"
                ),
            });
        }
        notes
    }

    /// What is saved for a port under its own name, and holds for it when it comes.
    pub(crate) fn kept_saved(&self, port: &str) -> Vec<String> {
        let section = Section::port(port);
        let files = self.files_with(port).into_iter();
        let files = files.filter_map(|(path, file)| Some((path, file.ok()?.entries(&section).len())));
        files
            .map(|(path, entries)| format!("{} of it in [{section}] of {}", values(entries), path.display()))
            .map(|what| format!("saved for it: {what}"))
            .collect()
    }

    /// Why a port that has just been added is not served; none where it is.
    pub(crate) fn down_from_the_start(&self, port: &str) -> Option<String> {
        let info = self.engine.port(port).filter(|info| info.state == PortState::Down)?;
        let said = info.properties.get("admin_state").map(|d| format!(" ({})", d.source));
        Some(format!("the port is down: admin_state=down{}", said.unwrap_or_default()))
    }

    /// Drivers' files that say something of a port, or may: those that cannot be read and have its name.
    fn files_with(&self, port: &str) -> Vec<(PathBuf, Result<DriverFile, String>)> {
        let folder = &self.topology.settings.folder;
        let names = lint::driver_names(folder);
        let file = |name: String| {
            let path = DriverFile::path_in(folder, &name);
            match DriverFile::load(folder, &name) {
                Ok(file) => file.section_line(&Section::port(port)).is_some().then_some((path, Ok(file))),
                Err(e) => mentions(&path, port).then(|| (path, Err(e.to_string()))),
            }
        };
        names.into_iter().filter_map(file).collect()
    }
}

fn mentions(path: &Path, port: &str) -> bool {
    steadfast_settings::read_text(path).is_ok_and(|text| text.contains(port))
}

fn values(count: usize) -> String {
    if count == 1 { "1 value".to_owned() } else { format!("{count} values") }
}
