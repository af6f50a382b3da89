use std::ffi::{CString, c_void};
use std::path::Path;
use std::sync::Arc;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use steadfast_abi::{BlockOps, DRIVER_SYMBOL, Driver};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::receipt::{Release, Unload};

use crate::elf::Facts;
use crate::error::{NOT_FOUND, Problem};
use crate::maps::Mapping;
use crate::staged::StagedModule;
use crate::store::ModuleCopy;
use crate::table::{self, Tables};

/// A module that is mapped. Dropping it lets it go as [`unload`](LoadedModule::unload) does, without
/// the answer.
///
/// Whoever calls an entry point of it keeps it alive meanwhile, and until nothing that the driver
/// started can call into it any more.
pub struct LoadedModule {
    manifest: Arc<Manifest>,
    release: Release,
    tables: Tables,
    /// None once it is closed.
    library: Option<Library>,
    mapping: Option<Mapping>,
    /// What it was loaded from.
    staged: Option<StagedModule>,
    /// The file that is mapped. After `library`: it goes when the mapping has gone.
    copy: ModuleCopy,
}

// SAFETY: the tables are constants: function pointers and addresses of constants of the module, which
// the ABI says may be used from any thread; the rest is `Send` itself.
unsafe impl Send for LoadedModule {}
// SAFETY: as above; nothing in it changes while it is shared.
unsafe impl Sync for LoadedModule {}

impl LoadedModule {
    pub(crate) fn map(
        copy: ModuleCopy,
        facts: &Facts,
        manifest: Arc<Manifest>,
        release: Release,
    ) -> Result<LoadedModule, Problem> {
        let mapped = Mapped::open(copy.path())?;
        let (tables, address) = mapped.tables(facts, &manifest)?;
        let mapping = Mapping::at(address as usize);
        Ok(LoadedModule { manifest, release, tables, library: Some(mapped.0), mapping, staged: None, copy })
    }

    pub(crate) fn staged_as(mut self, staged: StagedModule) -> LoadedModule {
        self.staged = Some(staged);
        self
    }

    /// What it was loaded from: an update to it takes that. Its file may have gone.
    pub fn staged(&self) -> Option<&StagedModule> {
        self.staged.as_ref()
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// BLAKE3 of its file, 64 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.release.hash
    }

    /// The release, as receipts name it.
    pub fn release(&self) -> Release {
        self.release.clone()
    }

    /// The driver's entry points: a copy of its table, with null where the driver has none. Its
    /// `class_ops` leads to [`block`](LoadedModule::block).
    pub fn driver(&self) -> &Driver {
        &self.tables.driver
    }

    /// The entry points of a block driver.
    pub fn block(&self) -> &BlockOps {
        &self.tables.block
    }

    /// The file that is mapped, for debuggers and messages.
    pub fn path(&self) -> &Path {
        self.copy.path()
    }

    /// Lets the module go and says whether it left memory.
    pub fn unload(mut self) -> Unload {
        self.close()
    }

    fn close(&mut self) -> Unload {
        let Some(library) = self.library.take() else { return Unload::None };
        // A failure leaves it mapped, and that is what is measured.
        drop(library.close());
        let left = self.mapping.as_ref().and_then(Mapping::exists);
        let pinned = left.unwrap_or_else(|| still_known(self.copy.path()));
        if pinned {
            // What is mapped stays readable for debuggers by its name.
            self.copy.keep();
            return Unload::Pinned;
        }
        Unload::Unloaded
    }
}

/// A module as the dynamic linker has mapped it.
pub(crate) struct Mapped(Library);

impl Mapped {
    /// Maps the file, which runs its constructors.
    pub(crate) fn open(path: &Path) -> Result<Mapped, Problem> {
        // SAFETY: its file was checked as far as a file can be, and it was mapped in a process of its own
        // before this one; that its code is fit to run here is what who asked for it vouches for.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        library.map(Mapped).map_err(|error| Problem::Unmappable(explain(&error, path)))
    }

    /// Its tables, held against its manifest, and where they are. `facts` are those of its file.
    pub(crate) fn tables(
        &self,
        facts: &Facts,
        manifest: &Manifest,
    ) -> Result<(Tables, *const c_void), Problem> {
        // SAFETY: the symbol is data; only its address is taken here.
        let symbol = unsafe { self.0.get::<*const c_void>(DRIVER_SYMBOL.as_bytes()) };
        let address: *const c_void = match symbol {
            Ok(symbol) => symbol.as_raw_ptr(),
            Err(_) => return Err(Problem::NoSymbol(NOT_FOUND)),
        };
        // SAFETY: the library is open, and stays so to the end of this function at least; by the caller's
        // word `facts` are those of its file.
        Ok((unsafe { table::copy(address, facts, manifest)? }, address))
    }

    /// Lets it go, which runs its destructors.
    pub(crate) fn close(self) {
        // A failure leaves it mapped.
        drop(self.0.close());
    }
}

impl Drop for LoadedModule {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for LoadedModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedModule").field("release", &self.release).field("path", &self.path()).finish()
    }
}

/// Asks the dynamic loader itself, where `/proc` is not there to be read.
fn still_known(path: &Path) -> bool {
    // SAFETY: with RTLD_NOLOAD nothing is mapped and no code runs.
    unsafe { Library::open(Some(path), RTLD_NOW | libc::RTLD_NOLOAD) }.is_ok()
}

/// The dynamic loader's message, and the cause it does not name.
fn explain(error: &libloading::Error, path: &Path) -> String {
    // It begins with the path of the copy, which says nothing to whoever named the module.
    let message = error.to_string();
    let message = message.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&message);
    if is_noexec(path) {
        return format!("{message} (the store is on a file system mounted noexec)");
    }
    message.to_owned()
}

fn is_noexec(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else { return false };
    // SAFETY: `statvfs` is plain numbers, for which zero is a value.
    let mut info: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated, `info` is writable.
    let result = unsafe { libc::statvfs(path.as_ptr(), &raw mut info) };
    result == 0 && info.f_flag & libc::ST_NOEXEC != 0
}
