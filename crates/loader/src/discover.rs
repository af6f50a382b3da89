//! Finding modules in folders, by reading manifests only.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use object::ReadCache;
use semver::{Version, VersionReq};
use steadfast_shell::manifest::Manifest;

use crate::elf::inspect;
use crate::error::{LoadError, Problem};
use crate::file;

/// What is in some folders.
#[derive(Debug, Default)]
pub struct Found {
    /// The modules, by name, newest version first; of equal ones that of the earlier folder first.
    pub modules: Vec<FoundModule>,
    /// Files that are to be modules, by their names or manifests, and cannot be used; and folders that
    /// cannot be read.
    pub refused: Vec<LoadError>,
}

/// A module that was found.
#[derive(Clone, Debug)]
pub struct FoundModule {
    /// The file.
    pub path: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Place of its folder in the list of folders that were searched.
    pub folder: usize,
    /// When the file was last written.
    pub modified: SystemTime,
}

/// Looks through the `.so` files of some folders. A folder that does not exist is an empty one; a
/// shared object that is no driver at all is passed over.
pub fn find_modules<P: AsRef<Path>>(folders: &[P]) -> Found {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    for (number, folder) in folders.iter().enumerate() {
        let folder = folder.as_ref();
        let files = match shared_objects(folder) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                found.refused.push(LoadError::new(folder, Problem::Unreadable(error)));
                continue;
            }
        };
        for path in files {
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                continue;
            }
            match read_manifest_of(&path) {
                Ok(manifest) => {
                    let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
                    let modified = written.unwrap_or(SystemTime::UNIX_EPOCH);
                    found.modules.push(FoundModule { path, manifest, folder: number, modified });
                }
                Err(problem) if is_meant_as_module(&path, &problem) => {
                    found.refused.push(LoadError::new(&path, problem));
                }
                Err(_) => {}
            }
        }
    }
    found.modules.sort_by(|a, b| a.order().cmp(&b.order()));
    found
}

impl FoundModule {
    fn order(&self) -> (&str, Reverse<&Version>, usize, Reverse<SystemTime>, &Path) {
        let Manifest { name, version, .. } = &self.manifest;
        (name, Reverse(version), self.folder, Reverse(self.modified), &self.path)
    }
}

fn shared_objects(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "so") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads only what it takes of the file, which may be long: headers, manifest, symbols.
pub(crate) fn read_manifest_of(path: &Path) -> Result<Manifest, Problem> {
    let (file, _) = file::open(path)?;
    let cache = ReadCache::new(file);
    Ok(Manifest::parse(&inspect(&cache)?.manifest)?)
}

/// Build folders are full of shared objects that are no drivers, some with names like drivers'
/// (macros are shared objects too); a driver that is broken is still to be told.
fn is_meant_as_module(path: &Path, problem: &Problem) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match problem {
        Problem::NoManifest => false,
        Problem::Manifest(_) | Problem::NoSymbol(_) => true,
        _ => name.starts_with("libsteadfast_driver_"),
    }
}

/// A driver by name, `NAME` or `NAME@VERSION`. A whole version means exactly that one; `1.1` means
/// the newest 1.1.x, `1` the newest 1.x; comparisons (`>=1.1, <3`) work too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleName {
    /// Driver name.
    pub name: String,
    /// Versions that are meant; any when none.
    pub version: Option<VersionReq>,
}

impl FromStr for ModuleName {
    type Err = String;

    fn from_str(text: &str) -> Result<ModuleName, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(requirement(version)?)),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(format!("{text:?} names no driver (NAME or NAME@VERSION)"));
        }
        Ok(ModuleName { name: name.to_owned(), version })
    }
}

/// A bare version means itself, and not what Cargo makes of it.
fn requirement(text: &str) -> Result<VersionReq, String> {
    let bare = text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(',');
    let text = match (bare, Version::parse(text)) {
        (true, Ok(_)) => format!("={text}"),
        (true, Err(_)) => format!("~{text}"),
        (false, _) => text.to_owned(),
    };
    VersionReq::parse(&text).map_err(|error| format!("{text:?} is no version: {error}"))
}

impl std::fmt::Display for ModuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(version) = &self.version else { return f.write_str(&self.name) };
        let text = version.to_string();
        // As a user writes it, where that means the same.
        let bare = text.trim_start_matches(['=', '~']);
        let same = requirement(bare).is_ok_and(|again| again == *version);
        write!(f, "{}@{}", self.name, if same { bare } else { &text })
    }
}

/// The best module of that name in the folders: the newest version that is meant, released ones before
/// pre-releases.
///
/// # Errors
/// There is none; the error says what there is.
pub fn resolve<P: AsRef<Path>>(wanted: &ModuleName, folders: &[P]) -> Result<FoundModule, LoadError> {
    let found = find_modules(folders);
    let meant = |m: &&FoundModule| {
        m.manifest.name == wanted.name
            && wanted.version.as_ref().is_none_or(|version| version.matches(&m.manifest.version))
    };
    let released = |m: &&FoundModule| m.manifest.version.pre.is_empty();
    let fitting = || found.modules.iter().filter(meant);
    if let Some(module) = fitting().find(released).or_else(|| fitting().next()) {
        return Ok(module.clone());
    }
    let there: BTreeSet<String> =
        found.modules.iter().map(|m| format!("{}@{}", m.manifest.name, m.manifest.version)).collect();
    let there = if there.is_empty() {
        "no driver".to_owned()
    } else {
        there.into_iter().collect::<Vec<_>>().join(", ")
    };
    let searched: Vec<String> = folders.iter().map(|f| f.as_ref().display().to_string()).collect();
    let searched = if searched.is_empty() { "no folder".to_owned() } else { searched.join(", ") };
    let what = format!("there is {there} (searched {searched})");
    Err(LoadError::new(Path::new(&wanted.to_string()), Problem::NotFound(what)))
}

/// The file that a user means by `text`: a path when it has a `/` in it or ends in `.so`, else the name
/// of a driver in the folders.
///
/// # Errors
/// There is no such driver. Whether a path leads to a module is seen when it is staged.
pub fn locate<P: AsRef<Path>>(text: &str, folders: &[P]) -> Result<PathBuf, LoadError> {
    if text.contains('/') || text.ends_with(".so") {
        return Ok(PathBuf::from(text));
    }
    let name: ModuleName =
        text.parse().map_err(|what| LoadError::new(Path::new(text), Problem::NotFound(what)))?;
    Ok(resolve(&name, folders)?.path)
}
