use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use steadfast_abi::{ABI_MAJOR, ABI_MINOR, DRIVER_SYMBOL, MANIFEST_SECTION};
use steadfast_shell::manifest::ManifestError;
use thiserror::Error;

use crate::file::MAX_MODULE_BYTES;

/// How a symbol is missing that is in the file.
pub(crate) const NOT_FOUND: &str = " that the dynamic loader finds";

/// Why a module cannot be used: the file, and what is wrong with it.
#[derive(Debug)]
pub struct LoadError {
    /// The file that was asked for.
    pub file: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            // The store's own folder, or a file of it, is what was asked for: once is enough.
            Problem::Store { path, what } if *path == self.file => {
                write!(f, "module store: {}: {what}", path.display())
            }
            problem => write!(f, "{}: {problem}", self.file.display()),
        }
    }
}

// No source: the message has all of it already, and who prints a chain would print it twice.
impl std::error::Error for LoadError {}

impl LoadError {
    pub(crate) fn new(file: &Path, problem: impl Into<Problem>) -> LoadError {
        LoadError { file: file.to_owned(), problem: problem.into() }
    }

    /// The kind of problem, for control flow.
    pub fn kind(&self) -> LoadErrorKind {
        self.problem.kind()
    }
}

/// Kinds of [`LoadError`]. Their names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// There is no such file or driver.
    NotFound,
    /// It cannot be read.
    Unreadable,
    /// It is something else than a driver module.
    NotAModule,
    /// It is a module, but not a whole one.
    Damaged,
    /// It was built for another kind of machine.
    WrongMachine,
    /// It was built against another ABI.
    WrongAbi,
    /// Its manifest is wrong.
    BadManifest,
    /// The dynamic loader refuses it.
    Unmappable,
    /// What it does is not what its manifest says.
    Contradiction,
    /// Its signature is missing or wrong.
    Untrusted,
    /// It would have other files loaded.
    Libraries,
    /// The store fails.
    Store,
}

impl LoadErrorKind {
    /// The kind's name in JSON and logs.
    pub const fn name(self) -> &'static str {
        match self {
            LoadErrorKind::NotFound => "not_found",
            LoadErrorKind::Unreadable => "unreadable",
            LoadErrorKind::NotAModule => "not_a_module",
            LoadErrorKind::Damaged => "damaged",
            LoadErrorKind::WrongMachine => "wrong_machine",
            LoadErrorKind::WrongAbi => "wrong_abi",
            LoadErrorKind::BadManifest => "bad_manifest",
            LoadErrorKind::Unmappable => "unmappable",
            LoadErrorKind::Contradiction => "contradiction",
            LoadErrorKind::Untrusted => "untrusted",
            LoadErrorKind::Libraries => "libraries",
            LoadErrorKind::Store => "store",
        }
    }
}

/// What is wrong with a module.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// No module of that name is in the search path.
    #[error("no such driver: {0}")]
    NotFound(String),
    /// No module of that hash is in the store.
    #[error("module store: no module of hash {0:?}")]
    NoSuchHash(String),
    /// It is not a regular file.
    #[error("not a driver module: {0}, not a regular file")]
    NotRegular(&'static str),
    /// It has no bytes.
    #[error("not a driver module: the file is empty")]
    Empty,
    /// It has too many bytes.
    #[error("not a driver module: {bytes} bytes long (allowed 1..={MAX_MODULE_BYTES})")]
    TooLarge {
        /// Bytes.
        bytes: u64,
    },
    /// Somebody writes to it.
    #[error("it is being written to; try again when that is done")]
    Rewritten,
    /// It is not ELF.
    #[error("not a driver module: no ELF header")]
    NotElf,
    /// It is ELF, but no shared object.
    #[error("not a driver module: {0}, not a shared object")]
    NotShared(String),
    /// It is ELF for another machine.
    #[error("built for {found}, this machine is {}", crate::elf::HOST)]
    WrongMachine {
        /// What it was built for.
        found: String,
    },
    /// The end is missing.
    #[error("cut off: {bytes} bytes long, its headers speak of {expected}")]
    CutOff {
        /// Bytes that are there.
        bytes: u64,
        /// Bytes that should be there.
        expected: u64,
    },
    /// Its headers make no sense.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It has no manifest.
    #[error("not a driver module: no section {MANIFEST_SECTION}")]
    NoManifest,
    /// Its manifest is wrong.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// It exports no driver.
    #[error("exports no data symbol {DRIVER_SYMBOL}{0}")]
    NoSymbol(&'static str),
    /// It was built against another ABI.
    #[error("built against driver ABI {}.{}, this is {ABI_MAJOR}.{ABI_MINOR}", .0.0, .0.1)]
    WrongAbi((u16, u16)),
    /// The dynamic loader refuses it.
    #[error("cannot be mapped: {0}")]
    Unmappable(String),
    /// Its table is not what its manifest says, or makes no sense.
    #[error("contradicts itself: {0}")]
    Contradiction(String),
    /// Its signature is missing or wrong.
    #[error("signature: {0}")]
    Untrusted(String),
    /// It would have files loaded that no module may need.
    #[error("libraries: {0}")]
    Libraries(String),
    /// The store fails.
    #[error("module store: {path}: {what}", path = path.display())]
    Store {
        /// The file or folder of the store.
        path: PathBuf,
        /// What failed.
        what: String,
    },
}

impl Problem {
    pub(crate) fn store(path: &Path, what: impl ToString) -> Problem {
        Problem::Store { path: path.to_owned(), what: what.to_string() }
    }

    /// What another process is to be told of it; none where it is not found by mapping.
    pub(crate) fn as_told(&self) -> Option<String> {
        Some(match self {
            Problem::Unmappable(why) => format!("unmappable {why}"),
            Problem::Contradiction(why) => format!("contradiction {why}"),
            Problem::NoSymbol(_) => "symbol".to_owned(),
            Problem::WrongAbi((major, minor)) => format!("abi {major} {minor}"),
            _ => return None,
        })
    }

    /// The problem that another process has told of.
    pub(crate) fn told(text: &str) -> Problem {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        let abi = || {
            let (major, minor) = rest.split_once(' ')?;
            Some(Problem::WrongAbi((major.parse().ok()?, minor.parse().ok()?)))
        };
        match kind {
            "contradiction" => Problem::Contradiction(rest.to_owned()),
            "symbol" => Problem::NoSymbol(NOT_FOUND),
            "abi" => abi().unwrap_or_else(|| Problem::Unmappable(text.to_owned())),
            _ => Problem::Unmappable(rest.to_owned()),
        }
    }

    /// The kind of problem, for control flow.
    pub fn kind(&self) -> LoadErrorKind {
        match self {
            Problem::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => LoadErrorKind::NotFound,
            Problem::Unreadable(_) | Problem::Rewritten => LoadErrorKind::Unreadable,
            Problem::NotFound(_) | Problem::NoSuchHash(_) => LoadErrorKind::NotFound,
            Problem::NotRegular(_)
            | Problem::Empty
            | Problem::TooLarge { .. }
            | Problem::NotElf
            | Problem::NotShared(_)
            | Problem::NoManifest
            | Problem::NoSymbol(_) => LoadErrorKind::NotAModule,
            Problem::WrongMachine { .. } => LoadErrorKind::WrongMachine,
            Problem::CutOff { .. } | Problem::Damaged(_) => LoadErrorKind::Damaged,
            Problem::Manifest(_) => LoadErrorKind::BadManifest,
            Problem::WrongAbi(_) => LoadErrorKind::WrongAbi,
            Problem::Unmappable(_) => LoadErrorKind::Unmappable,
            Problem::Contradiction(_) => LoadErrorKind::Contradiction,
            Problem::Untrusted(_) => LoadErrorKind::Untrusted,
            Problem::Libraries(_) => LoadErrorKind::Libraries,
            Problem::Store { .. } => LoadErrorKind::Store,
        }
    }
}
