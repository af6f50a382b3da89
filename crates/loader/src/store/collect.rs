//! Which modules nobody needs any more.
//!
//! Several daemons may have one store, and one that does not run now needs its modules at its next start. So
//! each says under its own name, in `STORE/needs`, what it needs; what is in nobody's list goes.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{ModuleStore, hash_of, is_hash};
use crate::error::{LoadError, Problem};

const FOLDER: &str = "needs";
/// While another process has the store open, what was written less long ago than this may be on its way to be
/// used there.
const YOUNG: Duration = Duration::from_secs(3600);

impl ModuleStore {
    /// Notes that `owner`, a folder that is there as long as its owner is, needs the modules of these hashes, and
    /// removes those that nobody needs: none of those that are staged or loaded here or elsewhere. The hashes of
    /// what was removed. A list that cannot be written, because there is no room, frees it all the same.
    ///
    /// # Errors
    /// The store cannot be read or locked.
    pub fn keep_only(&self, owner: &Path, needed: &BTreeSet<String>) -> Result<Vec<String>, LoadError> {
        let failed = |error: io::Error| LoadError::new(&self.dir, Problem::store(&self.dir, error));
        let _lock = self.run.lock_store(&self.dir).map_err(|problem| LoadError::new(&self.dir, problem))?;
        let unwritten = self.note_needs(owner, needed).err();
        let mut keep = needed.clone();
        keep.extend(self.run.used());
        keep.extend(self.needs_of_all());
        let (elsewhere, others) = self.run.elsewhere(&self.dir);
        keep.extend(elsewhere);
        let mut removed = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)?.flatten() {
            let path = entry.path();
            let hash =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".so"));
            let Some(hash) = hash.filter(|hash| is_hash(hash) && !keep.contains(*hash)) else { continue };
            let age = entry
                .metadata()
                .and_then(|m| m.modified())
                .map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            let young = age.is_ok_and(|age| age < YOUNG);
            // Who stages it meanwhile does so before this, and it stays, or after it, and writes it anew.
            let gone = !(others && young) && self.run.unless_used(hash, || self.remove(hash).is_ok());
            if gone {
                removed.push(hash.to_owned());
            }
        }
        match unwritten {
            // Now there may be room.
            Some(_) if !removed.is_empty() => drop(self.note_needs(owner, needed)),
            _ => {}
        }
        Ok(removed)
    }

    fn note_needs(&self, owner: &Path, needed: &BTreeSet<String>) -> io::Result<()> {
        let folder = self.dir.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let owner = owner.canonicalize()?;
        let path = folder.join(&hash_of(owner.as_os_str().as_encoded_bytes())[..16]);
        let mut text = format!("{}\n", owner.display());
        for hash in needed {
            text.push_str(&format!("{hash}\n"));
        }
        if fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&folder)?.sync_all()
    }

    /// What everybody needs whose folder is still there.
    fn needs_of_all(&self) -> BTreeSet<String> {
        let mut needs = BTreeSet::new();
        for entry in fs::read_dir(self.dir.join(FOLDER)).into_iter().flatten().flatten() {
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            let mut lines = text.lines();
            let owner = lines.next().map(PathBuf::from);
            if owner.is_some_and(|owner| owner.exists()) {
                needs.extend(lines.map(str::to_owned));
            } else {
                let _ = fs::remove_file(entry.path());
            }
        }
        needs
    }
}
