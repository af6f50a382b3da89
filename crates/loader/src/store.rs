//! The module store: modules by the hash of their contents, for several processes at once.

mod collect;
mod needs;
mod run;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steadfast_shell::check::Libraries;
use steadfast_shell::manifest::Manifest;

use crate::elf::read_manifest;
use crate::error::{LoadError, Problem};
use crate::file;
use crate::guard::check_guarded;
use crate::known::{Known, Read};
use crate::linkage::verify_linkage;
use crate::staged::StagedModule;
use crate::trust::{Trust, signature_file};
pub use collect::Collected;
pub(crate) use run::{InUse, ModuleCopy, Run};

/// A folder of modules. Cloning it gives another handle on the same open store.
#[derive(Clone, Debug)]
pub struct ModuleStore {
    dir: PathBuf,
    run: Arc<Run>,
    trust: Arc<Trust>,
}

/// A module that lies in the store.
#[derive(Clone, Debug)]
pub struct StoredModule {
    /// What it says of itself.
    pub manifest: Manifest,
    /// BLAKE3 of its file, 64 hexadecimal digits.
    pub hash: String,
    /// The file.
    pub path: PathBuf,
}

impl ModuleStore {
    /// Opens the store in `dir`, which is made when it is not there, and removes what dead processes
    /// left in it.
    ///
    /// # Errors
    /// The folder cannot be made, written to or locked.
    pub fn open(dir: impl AsRef<Path>) -> Result<ModuleStore, LoadError> {
        let asked = dir.as_ref();
        let failed = |error: io::Error| LoadError::new(asked, Problem::store(asked, error));
        DirBuilder::new().recursive(true).mode(0o700).create(asked).map_err(failed)?;
        // The dynamic loader and /proc/self/maps speak of whole paths.
        let dir = asked.canonicalize().map_err(failed)?;
        let open = |why: String| LoadError::new(asked, Problem::store(asked, why));
        check_guarded(asked).map_err(open)?;
        let run = Run::start(&dir).map_err(|problem| LoadError::new(asked, problem))?;
        Ok(ModuleStore { dir, run: Arc::new(run), trust: Arc::default() })
    }

    /// The same store, for modules that `trust` allows.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> ModuleStore {
        ModuleStore { trust: Arc::new(trust), ..self }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of this process's own copies, `STORE/run/<pid>-<n>`.
    pub fn run_dir(&self) -> &Path {
        self.run.dir()
    }

    /// Takes a module into the store: reads the file, checks it and copies it under the hash of its
    /// contents. A module that is in the store already is not written again; one whose signature does
    /// not allow it, or that needs what modules may not need, is not written at all, and cannot be loaded.
    ///
    /// # Errors
    /// The file cannot be read, or is no module that this machine can run; the store cannot be
    /// written to.
    pub fn stage(&self, path: impl AsRef<Path>) -> Result<StagedModule, LoadError> {
        let source = path.as_ref();
        self.try_stage(source).map_err(|problem| LoadError::new(source, problem))
    }

    fn try_stage(&self, source: &Path) -> Result<StagedModule, Problem> {
        let known = self.run.known.staged_from(source);
        let (staged, signature) = match &known {
            Some(known) => self.look_again(source, known),
            None => {
                let read = file::read_to_know(source)?;
                let (staged, signature) = self.look(source, &read.bytes)?;
                if staged.refusal().is_none() {
                    let stored = self.publish(&staged.path, &staged.hash, &read.bytes)?;
                    self.remember(&staged, stored.as_ref(), Some(&read));
                }
                (staged, signature)
            }
        };
        if staged.refusal().is_none()
            && let Some(signature) = signature
        {
            self.keep_signature(&staged.path, &staged.hash, &signature)?;
        }
        Ok(staged)
    }

    /// Reads and checks a module as [`stage`](ModuleStore::stage) does, and writes nothing: what comes
    /// of it can be compared, but not loaded unless the store has it already.
    ///
    /// # Errors
    /// The file cannot be read, or is no module that this machine can run.
    pub fn examine(&self, path: impl AsRef<Path>) -> Result<StagedModule, LoadError> {
        let source = path.as_ref();
        let examined = file::read(source).and_then(|bytes| self.look(source, &bytes));
        examined.map(|(staged, _)| staged).map_err(|problem| LoadError::new(source, problem))
    }

    /// Maps a module in a process of its own, where this program can be started for that, whether the store
    /// has it or not.
    ///
    /// # Errors
    /// It may not be loaded, or cannot be mapped; its file is not what it was; a copy cannot be written.
    pub fn try_out(&self, staged: &StagedModule) -> Result<(), LoadError> {
        if let Some(refusal) = staged.refusal() {
            return Err(refusal);
        }
        let tried = || {
            let bytes = file::read(&staged.source)?;
            if hash_of(&bytes) != staged.hash {
                return Err(Problem::Rewritten);
            }
            let copy = self.run.copy_anywhere(&staged.hash, &bytes)?;
            self.run.rehearse(&staged.hash, copy.path())
        };
        tried().map_err(|problem| LoadError::new(&staged.source, problem))
    }

    /// What there is to know of a module's bytes, and its signature when it is good.
    fn look(&self, source: &Path, bytes: &[u8]) -> Result<(StagedModule, Option<Vec<u8>>), Problem> {
        let manifest = Arc::new(read_manifest(bytes)?);
        let hash = hash_of(bytes);
        let libraries = verify_linkage(bytes)?;
        Ok(self.judge(source, bytes, (hash, manifest, libraries)))
    }

    /// The same of bytes that were looked at before. Whose they are is looked at each time: keys come and go.
    fn look_again(&self, source: &Path, known: &Known) -> (StagedModule, Option<Vec<u8>>) {
        let facts = (known.hash.clone(), Arc::clone(&known.manifest), known.libraries.clone());
        self.judge(source, &known.bytes, facts)
    }

    fn judge(
        &self,
        source: &Path,
        bytes: &[u8],
        (hash, manifest, libraries): (String, Arc<Manifest>, Libraries),
    ) -> (StagedModule, Option<Vec<u8>>) {
        let (signature, contents) = self.trust.judge(source, bytes);
        let (run, path, source) = (Arc::clone(&self.run), self.path_of(&hash), source.to_owned());
        let (_in_use, held) = (run.in_use(&hash), None);
        let staged = StagedModule { manifest, hash, path, source, signature, libraries, run, _in_use, held };
        (staged, contents)
    }

    fn remember(&self, staged: &StagedModule, stored: Option<&Read>, source: Option<&Read>) {
        if let Some(stored) = stored {
            let facts = (staged.hash.as_str(), &staged.manifest, &staged.libraries);
            self.run.known.remember(facts, (&staged.path, stored), source);
        }
    }

    /// Puts the signature beside its module. It may replace an older one: both are good.
    fn keep_signature(&self, module: &Path, hash: &str, contents: &[u8]) -> Result<(), Problem> {
        let path = signature_file(module);
        if file::read(&path).is_ok_and(|stored| stored == contents) {
            return Ok(());
        }
        let mut temporary = self.run.durable_copy(hash, contents)?;
        fs::rename(temporary.path(), &path).map_err(|error| Problem::store(&path, error))?;
        temporary.keep();
        Ok(())
    }

    /// A module that was staged before, by its hash: to go back to a driver whose file is not there
    /// any more. Its signature is the one it came with, verified anew with the keys of now.
    ///
    /// # Errors
    /// It is not in the store, or not whole.
    pub fn get(&self, hash: &str) -> Result<StagedModule, LoadError> {
        let path = self.path_of(hash);
        // From before it is looked for, so that it does not leave meanwhile.
        let _in_use = self.run.in_use(hash);
        if !is_hash(hash) || !path.exists() {
            return Err(LoadError::new(&self.dir, Problem::NoSuchHash(hash.to_owned())));
        }
        if let Some(known) = self.run.known.of_hash(hash) {
            return Ok(self.look_again(&path, &known).0);
        }
        let read = || {
            let bytes = file::read(&path)?;
            if hash_of(&bytes) != hash {
                return Err(changed(&path));
            }
            self.look(&path, &bytes)
        };
        read().map(|(staged, _)| staged).map_err(|problem| LoadError::new(&path, problem))
    }

    /// The modules in the store, by name and version.
    ///
    /// # Errors
    /// The folder cannot be read. A file in it that is no whole module is passed over.
    pub fn list(&self) -> Result<Vec<StoredModule>, LoadError> {
        let failed = |error: io::Error| LoadError::new(&self.dir, Problem::store(&self.dir, error));
        let mut modules = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(hash) = stem.filter(|stem| is_hash(stem)).map(str::to_owned) else { continue };
            if let Ok(manifest) = crate::discover::read_manifest_of(&path) {
                modules.push(StoredModule { manifest, hash, path });
            }
        }
        modules.sort_by(|a, b| {
            let key =
                |m: &StoredModule| (m.manifest.name.clone(), m.manifest.version.clone(), m.hash.clone());
            key(a).cmp(&key(b))
        });
        Ok(modules)
    }

    /// Takes a module out of the store. What is mapped of it stays mapped; a module that is staged but
    /// not loaded has to be staged again.
    ///
    /// # Errors
    /// It is not there, or cannot be removed.
    pub fn remove(&self, hash: &str) -> Result<(), LoadError> {
        let path = self.path_of(hash);
        if !is_hash(hash) || !path.exists() {
            return Err(LoadError::new(&self.dir, Problem::NoSuchHash(hash.to_owned())));
        }
        fs::remove_file(&path).map_err(|error| LoadError::new(&path, Problem::store(&path, error)))?;
        // Most have none.
        let _ = fs::remove_file(signature_file(&path));
        Ok(())
    }

    /// Gives this process's folder in the store up, which also happens by itself when the last of this
    /// store and its modules is dropped.
    ///
    /// # Errors
    /// Modules of this store, or other handles on it, are still there; the folder cannot be removed.
    pub fn release_dir(self) -> Result<(), LoadError> {
        let dir = self.dir;
        let failed = |what: &str| LoadError::new(&dir, Problem::store(&dir, what));
        match Arc::try_unwrap(self.run) {
            Ok(run) => run.end().map_err(|error| failed(&error.to_string())),
            Err(_) => Err(failed("modules of this store are still in use")),
        }
    }

    fn path_of(&self, hash: &str) -> PathBuf {
        self.dir.join(format!("{hash}.so"))
    }

    /// Puts the bytes under their final name: written under another name and made durable first, then
    /// renamed, and never over what is there, for that is either the same or needs a look. Returns what was there.
    fn publish(&self, path: &Path, hash: &str, bytes: &[u8]) -> Result<Option<Read>, Problem> {
        if !path.exists() {
            let mut temporary = self.run.durable_copy(hash, bytes)?;
            match rename_new(temporary.path(), path) {
                Ok(()) => {
                    temporary.keep();
                    let dir = File::open(&self.dir).and_then(|dir| dir.sync_all());
                    return dir.map(|()| None).map_err(|error| Problem::store(&self.dir, error));
                }
                // Another process was quicker.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Problem::store(path, error)),
            }
        }
        let stored = file::read_to_know(path).map_err(|problem| Problem::store(path, problem))?;
        if stored.bytes.as_slice() == bytes { Ok(Some(stored)) } else { Err(changed(path)) }
    }
}

fn changed(path: &Path) -> Problem {
    Problem::store(path, "its contents are not those of its name; remove it and stage the module again")
}

pub(crate) fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

/// Renames without ever replacing. A file system that cannot promise that gets a plain rename: what it
/// may replace then has the same name, and so the same contents.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let c = |path: &Path| std::ffi::CString::new(path.as_os_str().as_encoded_bytes());
    let (from_c, to_c) = (c(from)?, c(to)?);
    // SAFETY: both are NUL-terminated strings that live through the call; `renameat2` of 5 arguments
    // keeps none of them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from_c.as_ptr(),
            libc::AT_FDCWD,
            to_c.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS) => fs::rename(from, to),
        _ => Err(error),
    }
}
