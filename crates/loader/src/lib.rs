//! Module store, manifest reader and loader: the only place of the host where a driver's file is
//! read, mapped and let go.
//!
//! A module goes through three hands:
//!
//! 1. [`ModuleStore::stage`] reads the file, checks it without running it (ELF, architecture, not cut
//!    off, manifest, symbol) and keeps it in the store under the hash of its contents;
//! 2. [`StagedModule::load`] maps it, from a path of its own so that the dynamic loader cannot hand
//!    out a module that is mapped already, and holds its table against its manifest;
//! 3. [`LoadedModule::unload`] lets it go and reads in `/proc/self/maps` whether it really left.
//!
//! [`find_modules`] and [`locate`] find modules in directories by reading manifests only.
//!
//! ```no_run
//! use steadfast_loader::{ModuleStore, locate};
//!
//! # fn main() -> Result<(), steadfast_loader::LoadError> {
//! let store = ModuleStore::open("/var/lib/steadfast/modules")?;
//! let staged = store.stage(locate("file@1.1", &["/usr/lib/steadfast/modules"])?)?;
//! println!("{} {} has {:?}", staged.manifest.name, staged.manifest.version, staged.manifest.feature_names());
//! let module = staged.load()?;
//! assert!(module.driver().connect.is_some());
//! println!("{:?}", module.unload());
//! # Ok(())
//! # }
//! ```
//!
//! # What is trusted
//!
//! Before a module is mapped, its bytes are not trusted at all: whatever they are, the answer is a
//! [`LoadError`]. From the moment it is mapped its code runs with the rights of this process; the
//! checks of its table are then against mistakes, not against malice.
//!
//! With a folder of trusted keys ([`Trust`]) the signature beside a module, `MODULE.so.minisig`, is verified
//! over the bytes that were read, before anything of it is stored or mapped.
//!
//! # The store on disk
//!
//! ```text
//! STORE/lock               held for a moment while a store is opened
//! STORE/<hash>.so          a module; appears whole or not at all, is never changed
//! STORE/<hash>.so.minisig  its signature, when it had a good one
//! STORE/needs/<name>       what one daemon needs: its folder, then hashes
//! STORE/run/<pid>-<n>/     one per open store of a live process
//!       lock               held (flock) as long as that process uses the store
//!       <n>-<hash>.so      the copy that one load maps
//! ```
//!
//! Several processes may use one store. Opening it removes the `run` folders whose lock nobody holds
//! any more: the kernel gives a lock back when its process dies, however it dies, and that also holds
//! between containers, where process numbers say nothing.

mod discover;
mod elf;
mod error;
mod file;
mod guard;
mod image;
mod known;
mod linkage;
mod loaded;
mod maps;
mod rehearsal;
mod staged;
mod store;
mod table;
mod trust;

pub use discover::{Found, FoundModule, ModuleName, find_modules, locate, resolve};
pub use elf::read_manifest;
pub use error::{LoadError, LoadErrorKind, Problem};
pub use file::MAX_MODULE_BYTES;
pub use guard::{check_guarded, check_owner};
pub use linkage::verify_linkage;
pub use loaded::LoadedModule;
pub use rehearsal::answer_rehearsals;
pub use staged::StagedModule;
pub use store::{Collected, ModuleStore, StoredModule};
pub use trust::{Trust, judge_signature};
