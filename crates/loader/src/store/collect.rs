//! Which modules nobody needs any more.
//!
//! Several daemons may have one store, and one that does not run now needs its modules at its next start. So
//! each says under its own name, in `STORE/needs`, what it needs; what is in nobody's list goes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{ModuleStore, is_hash, needs};
use crate::error::{LoadError, Problem};

/// While another process has the store open, what was written less long ago than this may be on its way to be
/// used there.
const YOUNG: Duration = Duration::from_secs(3600);

/// What became of the store when it was looked through.
#[derive(Debug, Default)]
pub struct Collected {
    /// Hashes of the modules that were removed.
    pub removed: Vec<String>,
    /// Folders of owners that have been missing for so long that they need nothing any more.
    pub forgotten: Vec<PathBuf>,
    /// What could not be written or removed: it costs room, and nothing else.
    pub failed: Vec<LoadError>,
}

impl ModuleStore {
    /// Notes that `owner`, a folder that is there as long as its owner is, needs the modules of these hashes, and
    /// removes those that nobody needs: none of those that are staged or loaded here or elsewhere, and none that an owner
    /// needs whose folder is not there now, unless it has been missing for 30 days. A list that cannot be written,
    /// because there is no room, frees it all the same.
    ///
    /// # Errors
    /// The store cannot be read or locked; nothing was removed.
    pub fn keep_only(&self, owner: &Path, needed: &BTreeSet<String>) -> Result<Collected, LoadError> {
        let failed = |error: io::Error| LoadError::new(&self.dir, Problem::store(&self.dir, error));
        let _lock = self.run.lock_store(&self.dir).map_err(|problem| LoadError::new(&self.dir, problem))?;
        let unwritten = needs::note(&self.dir, owner, needed).err();
        let mut keep = needed.clone();
        keep.extend(self.run.used());
        let (elsewhere, others) = self.run.elsewhere(&self.dir).map_err(failed)?;
        keep.extend(elsewhere);
        let all = needs::of_all(&self.dir, SystemTime::now())?;
        keep.extend(all.hashes);
        let mut collected = Collected { removed: Vec::new(), forgotten: all.forgotten, failed: all.failed };
        for entry in fs::read_dir(&self.dir).map_err(failed)?.flatten() {
            let path = entry.path();
            let hash =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".so"));
            let Some(hash) = hash.filter(|hash| is_hash(hash) && !keep.contains(*hash)) else { continue };
            let age = entry
                .metadata()
                .and_then(|m| m.modified())
                .map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            if others && age.map_or(true, |age| age < YOUNG) {
                continue;
            }
            // Who stages it meanwhile does so before this, and it stays, or after it, and writes it anew.
            self.run.unless_used(hash, || match self.remove(hash) {
                Ok(()) => {
                    collected.removed.push(hash.to_owned());
                    true
                }
                Err(e) => {
                    collected.failed.push(e);
                    false
                }
            });
        }
        // Now there may be room.
        if let Some(e) = unwritten
            && (collected.removed.is_empty() || needs::note(&self.dir, owner, needed).is_err())
        {
            collected.failed.push(failed(e));
        }
        Ok(collected)
    }
}
