//! Lost writes, on disk: a daemon that starts again knows which media have lost writes that were acknowledged, until
//! somebody accepts it.
//!
//! One file, `lost.json` in the state folder. While it cannot be written, what was lost is known in memory alone, and
//! health says so.

use crate::files::kept::Kept;
use std::path::Path;
use std::sync::Arc;
use steadfast_runtime::{LossBook, Lost};

const FILE: &str = "lost.json";
/// What it means that the file is not as it should be.
const OTHERWISE: &str = "which media have lost writes is not known after a restart";
/// Most media that are kept; the oldest go first, and it is said.
const MOST: usize = 1024;

/// The media that have lost writes.
#[derive(Debug)]
pub(crate) struct LostMedia(Arc<Kept<Vec<Lost>>>);

impl LostMedia {
    /// Those in the state folder, and the thread that writes them there.
    pub(crate) fn open(state: &Path) -> Arc<LostMedia> {
        let kept = Arc::new(Kept::open(state.join(FILE), OTHERWISE));
        if !kept.unread().is_empty() {
            tracing::error!("{}", unread(&kept));
        }
        kept.write_from_now_on("lost");
        Arc::new(LostMedia(kept))
    }

    /// What nobody has accepted.
    pub(crate) fn all(&self) -> Vec<Lost> {
        self.0.now().clone()
    }

    /// What is wrong with what is kept; empty when nothing is.
    pub(crate) fn problem(&self) -> String {
        let problem = self.0.problem();
        match (problem.is_empty(), self.0.unread().is_empty()) {
            (true, true) => problem,
            (true, false) => unread(&self.0),
            (false, _) => format!("{problem}: {OTHERWISE}"),
        }
    }

    /// The last time, at the stop.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

fn unread(kept: &Kept<Vec<Lost>>) -> String {
    let path = kept.path().display();
    format!(
        "{path}: {}: media that earlier daemons have noted as having lost writes are not known",
        kept.unread()
    )
}

impl LossBook for LostMedia {
    fn lost(&self, lost: &Lost) {
        self.0.change(|all| {
            all.retain(|known| known.medium != lost.medium);
            all.push(lost.clone());
            while all.len() > MOST {
                let oldest = all.remove(0);
                tracing::error!("{FILE}: full; after a restart it is not known any more: {}", oldest.why());
            }
        });
        self.0.save_soon();
    }

    fn accepted(&self, lost: &Lost) {
        self.0.change(|all| all.retain(|known| known.medium != lost.medium));
        self.0.save_soon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_runtime::MediumId;

    fn lost(inode: u64) -> Lost {
        let medium = MediumId { block: false, device: 1, inode, stamp: 3, boot: "b".into() };
        Lost { target: format!("/{inode}"), errno: 5, told: "x".into(), since_unix_ms: 1, medium }
    }

    #[test]
    fn what_was_lost_is_known_again_until_it_is_accepted() {
        let state = tempfile::tempdir().expect("folder");
        let media = LostMedia::open(state.path());
        media.lost(&lost(1));
        media.lost(&lost(2));
        media.lost(&lost(1));
        media.0.save();
        assert_eq!(media.problem(), "");
        let again = LostMedia::open(state.path());
        assert_eq!(again.all(), [lost(2), lost(1)]);
        again.accepted(&lost(1));
        again.0.save();
        assert_eq!(LostMedia::open(state.path()).all(), [lost(2)]);
    }

    #[test]
    fn a_file_that_is_broken_or_cannot_be_written_is_told_of() {
        let state = tempfile::tempdir().expect("folder");
        std::fs::write(state.path().join(FILE), "[{").expect("written");
        assert!(LostMedia::open(state.path()).problem().contains("are not known"));
        let nowhere = LostMedia::open(&state.path().join(FILE));
        nowhere.lost(&lost(1));
        nowhere.0.save();
        assert!(nowhere.problem().contains(OTHERWISE), "{}", nowhere.problem());
        assert_eq!(nowhere.all(), [lost(1)], "it is known in memory");
    }

    #[test]
    fn their_number_is_bounded() {
        let state = tempfile::tempdir().expect("folder");
        let media = LostMedia::open(state.path());
        (0..=MOST as u64).for_each(|inode| media.lost(&lost(inode)));
        let all = media.all();
        assert_eq!((all.len(), all[0].medium.inode), (MOST, 1));
    }
}
