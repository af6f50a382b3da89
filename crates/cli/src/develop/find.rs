//! Which module a path means, and when a project's sources have changed.

use crate::failure::Failure;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs::{self, DirEntry, Metadata};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most files of a project that are looked at.
const MAX_FILES: usize = 20_000;
/// Folders with nothing in them that somebody wrote.
const BUILT: &[&str] = &["target", "build", "node_modules"];
/// Ends of names of what a build makes.
const MADE: &[&str] = &["so", "o", "part", "d", "rlib", "rmeta", "lock"];

/// A module file, or a project's folder.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// Where cargo builds, from the project's folder.
    target: PathBuf,
}

impl Place {
    pub(crate) fn new(path: &Path) -> Result<Place, Failure> {
        let path = std::path::absolute(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        Ok(Place { path, target })
    }

    /// The project's folder; of a module file, the one that the command runs in.
    pub(crate) fn folder(&self) -> &Path {
        if self.path.is_dir() { &self.path } else { Path::new(".") }
    }

    /// The module and what the file system says of it: of a project, the newest in the folder itself or
    /// where cargo leaves this project's. `None` while there is none.
    pub(crate) fn module(&self) -> Option<(PathBuf, Metadata)> {
        let meta = fs::metadata(&self.path).ok()?;
        if !meta.is_dir() {
            return Some((self.path.clone(), meta));
        }
        let target = self.path.join(&self.target);
        let built = library(&self.path).into_iter().flat_map(|name| {
            // Other projects may share the target folder.
            ["debug", "release"].map(|profile| target.join(profile).join(format!("lib{name}.so")))
        });
        let newest = modules(&self.path).chain(built.filter_map(file));
        newest.max_by_key(|(_, meta)| meta.modified().unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

/// The name of the library that the project's `Cargo.toml` describes.
fn library(folder: &Path) -> Option<String> {
    let text = steadfast_daemon::read_text(&folder.join("Cargo.toml")).ok()?;
    let (mut section, mut package, mut lib) = ("", None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let name = line.strip_prefix("name").and_then(|rest| rest.trim_start().strip_prefix('='));
        let Some(name) = name.and_then(|rest| rest.split('"').nth(1)) else { continue };
        match section {
            "[package]" => package = Some(name),
            "[lib]" => lib = Some(name),
            _ => {}
        }
    }
    lib.or(package).map(|name| name.replace('-', "_"))
}

fn file(path: PathBuf) -> Option<(PathBuf, Metadata)> {
    let meta = fs::metadata(&path).ok()?;
    meta.is_file().then_some((path, meta))
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

fn modules(folder: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let paths = entries(folder).map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "so")).filter_map(file)
}

/// The sources of a project: for each file a number that is another one when it has changed.
pub(crate) type Sources = BTreeMap<PathBuf, u64>;

/// The sources of the project in `folder`.
///
/// # Errors
/// There are more files than a project has.
pub(crate) fn sources(folder: &Path) -> Result<Sources, Failure> {
    let (mut folders, mut sources) = (vec![folder.to_owned()], Sources::new());
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder) {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            let end = Path::new(&*name).extension().and_then(|e| e.to_str());
            if name.starts_with('.') || end.is_some_and(|end| MADE.contains(&end)) {
                continue;
            }
            if kind.is_dir() {
                if !BUILT.contains(&&*name) {
                    folders.push(entry.path());
                }
                continue;
            }
            if sources.len() >= MAX_FILES {
                let text = format!("{}: more than {MAX_FILES} files", folder.display());
                return Err(Failure::new(text).hint("name the folder of one driver's project"));
            }
            sources.insert(entry.path(), print(&entry));
        }
    }
    Ok(sources)
}

fn print(entry: &DirEntry) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Ok(meta) = entry.metadata() {
        (meta.len(), meta.modified().ok()).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::write;

    #[test]
    fn a_project_is_its_newest_module() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { path: folder.path().to_owned(), target: "target".into() };
        let at = |name: &str| folder.path().join(name);
        assert!(place.module().is_none());
        write(at("a.so"), "1").expect("written");
        write(at("a.c"), "1").expect("written");
        assert!(place.module().expect("one").0.ends_with("a.so"));
        write(at("Cargo.toml"), "[package]\nname = \"my-b\"\nversion = \"1\"\n").expect("written");
        fs::create_dir_all(at("target/debug")).expect("made");
        for name in ["libmy_b.so", "libother.so"] {
            let time = SystemTime::now() + std::time::Duration::from_secs(5);
            let path = at("target/debug").join(name);
            write(&path, "2").expect("written");
            fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(time)).expect("set");
        }
        assert!(place.module().expect("its own").0.ends_with("libmy_b.so"));
        write(at("Cargo.toml"), "[package]\nname = \"x\"\n[lib]\nname = \"other\"\n").expect("written");
        assert!(place.module().expect("named").0.ends_with("libother.so"));
    }

    #[test]
    fn a_change_of_a_source_shows_and_one_of_a_product_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("src")).expect("made");
        fs::create_dir_all(at("target")).expect("made");
        write(at("src/lib.rs"), "1").expect("written");
        let before = sources(folder.path()).expect("few files");
        write(at("target/x"), "1").expect("written");
        write(at("driver.so"), "1").expect("written");
        assert_eq!(sources(folder.path()).expect("few files"), before);
        write(at("src/lib.rs"), "22").expect("written");
        assert_ne!(sources(folder.path()).expect("few files"), before);
    }
}
