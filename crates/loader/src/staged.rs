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
use crate::store::{Run, hash_of};

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
        let bytes = file::read(&self.path).map_err(|problem| Problem::store(&self.path, problem))?;
        if hash_of(&bytes) != self.hash {
            return Err(Problem::store(
                &self.path,
                "its contents have changed; remove it and stage the module again",
            ));
        }
        let facts = inspect(bytes.as_slice())?;
        let copy = self.run.copy(&self.hash, &bytes)?;
        self.run.rehearse(&self.hash, copy.path())?;
        LoadedModule::map(copy, &facts, Arc::clone(&self.manifest), self.release())
    }
}
