use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use steadfast_abi::ABI_MAJOR;
use steadfast_shell::check::{Libraries, Signed};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::receipt::Release;

use crate::elf::inspect;
use crate::error::{LoadError, Problem};
use crate::file;
use crate::loaded::LoadedModule;
use crate::store::{InUse, Run, hash_of};

/// A module in the store: read and checked, not mapped.
#[derive(Clone, Debug)]
pub struct StagedModule {
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// BLAKE3 of its file, 64 hexadecimal digits.
    pub hash: String,
    /// The file in the store.
    pub path: PathBuf,
    /// The file it was staged from; in messages.
    pub source: PathBuf,
    /// What became of its signature.
    pub signature: Signed,
    /// What it would have loaded beside itself.
    pub libraries: Libraries,
    pub(crate) run: Arc<Run>,
    /// As long as it is there the module stays in the store.
    pub(crate) _in_use: Arc<InUse>,
    /// The file in the store, open: it can be loaded although its name has gone.
    pub(crate) held: Option<Arc<File>>,
}

impl StagedModule {
    /// The release, as receipts name it.
    pub fn release(&self) -> Release {
        Release {
            driver: self.manifest.name.clone(),
            version: self.manifest.version.to_string(),
            hash: self.hash.clone(),
        }
    }

    /// Why it may not be loaded, whatever it is; none when it may. The rows of a check say the same.
    pub fn refusal(&self) -> Option<LoadError> {
        self.refused().map(|problem| LoadError::new(&self.source, problem))
    }

    fn refused(&self) -> Option<Problem> {
        if !self.signature.allows() {
            return Some(Problem::Untrusted(self.signature.detail(&self.source)));
        }
        self.libraries.refusal().map(Problem::Libraries)
    }

    /// Maps the module. Each load maps a copy of its own, so that the module's statics are this
    /// load's alone, and unloading it depends on nobody else.
    ///
    /// The module's constructors run; none of its entry points is called.
    ///
    /// # Errors
    /// Its signature does not allow it; it needs what modules may not need; the file in the store is not what was staged; the ABI is another one; the dynamic loader
    /// refuses it; its table contradicts its manifest. Nothing of it stays mapped then.
    pub fn load(&self) -> Result<LoadedModule, LoadError> {
        self.try_load().map_err(|problem| LoadError::new(&self.source, problem))
    }

    fn try_load(&self) -> Result<LoadedModule, Problem> {
        // A check before this one has said so already, or has been forgotten.
        if let Some(problem) = self.refused() {
            return Err(problem);
        }
        if self.manifest.abi.0 != ABI_MAJOR {
            return Err(Problem::WrongAbi(self.manifest.abi));
        }
        let bytes = self.bytes()?;
        let facts = inspect(bytes.as_slice())?;
        let copy = self.run.copy_anywhere(&self.hash, &bytes)?;
        self.run.rehearse(&self.hash, copy.path())?;
        let module = LoadedModule::map(copy, &facts, Arc::clone(&self.manifest), self.release())?;
        Ok(module.staged_as(self.clone()))
    }

    /// Opens its file in the store, so that it can be loaded as long as this is there, whatever becomes of
    /// the file's name.
    ///
    /// # Errors
    /// It cannot be opened, or is not what was staged.
    pub fn hold(&self) -> Result<StagedModule, LoadError> {
        let failed = |error: std::io::Error| LoadError::new(&self.path, Problem::store(&self.path, error));
        let file = Arc::new(File::open(&self.path).map_err(failed)?);
        let held = StagedModule { held: Some(file), ..self.clone() };
        held.bytes().map_err(|problem| LoadError::new(&self.path, problem))?;
        Ok(held)
    }

    /// Its bytes: those of the file in the store, which need not be read again while it is as it was, or of the
    /// one that is held.
    fn bytes(&self) -> Result<Arc<Vec<u8>>, Problem> {
        if let Some(known) = self.run.known.of_hash(&self.hash) {
            return Ok(known.bytes);
        }
        let changed =
            || Problem::store(&self.path, "its contents have changed; remove it and stage the module again");
        let whole =
            |bytes: Vec<u8>| if hash_of(&bytes) == self.hash { Ok(Arc::new(bytes)) } else { Err(changed()) };
        let stored =
            file::read(&self.path).map_err(|problem| Problem::store(&self.path, problem)).and_then(whole);
        match (&stored, &self.held) {
            (Err(_), Some(held)) => {
                let path = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
                let held = file::read(&path).map_err(|problem| Problem::store(&self.path, problem));
                held.and_then(whole).or(stored)
            }
            _ => stored,
        }
    }
}
