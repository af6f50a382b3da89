//! The thread that owns the database.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use steadfast_shell::receipt::Receipt;

use crate::Filter;
use crate::database::Database;
use crate::memory::Memory;

/// How soon what was written is forced to the medium, and what else was put off is done.
const SYNC: Duration = Duration::from_secs(1);
/// Bytes of the log that are moved into the database every second, and at once.
const CHECKPOINT: u64 = 1 << 20;
const CHECKPOINT_NOW: u64 = 32 << 20;
/// How often a database that refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);

pub(crate) enum Command {
    /// Something is in memory that is not on disk.
    Save,
    /// Something begins; what is sent back says that it is noted.
    Note(Box<Receipt>, SyncSender<()>),
    /// The newest that a filter means.
    List(Filter, SyncSender<Option<Vec<Receipt>>>),
    /// The one of that number.
    Get(u64, SyncSender<Option<Receipt>>),
}

pub(crate) struct Worker {
    path: PathBuf,
    keep: u32,
    memory: Arc<Memory>,
    database: Option<Database>,
    /// Which file it is.
    file: Option<(u64, u64)>,
    unsynced: bool,
    tried: Instant,
}

impl Worker {
    pub(crate) fn new(path: PathBuf, keep: u32, memory: Arc<Memory>) -> Worker {
        Worker { path, keep, memory, database: None, file: None, unsynced: false, tried: Instant::now() }
    }

    /// Until nobody can send any more. `ready` is told when the database was opened, or was not.
    pub(crate) fn run(mut self, commands: Receiver<Command>, ready: SyncSender<()>) {
        self.open();
        let _ = ready.try_send(());
        let mut due = Instant::now() + SYNC;
        loop {
            // By the clock, for commands may come one upon the other for as long as they like.
            if due <= Instant::now() {
                self.idle();
                due = Instant::now() + SYNC;
            }
            match commands.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Command::Save) => self.save(),
                Ok(Command::Note(attempt, noted)) => {
                    self.note(&attempt);
                    let _ = noted.try_send(());
                }
                Ok(Command::List(filter, reply)) => {
                    let list = self.read(|database| database.list(&filter));
                    let _ = reply.try_send(list);
                }
                Ok(Command::Get(id, reply)) => {
                    let _ = reply.try_send(self.read(|database| database.get(id)).flatten());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.save();
        self.sync();
        drop(self.database.take());
        self.memory.ended();
    }

    fn open(&mut self) {
        self.tried = Instant::now();
        match Database::open(&self.path, self.keep) {
            Ok((database, facts)) => {
                self.memory.opened(facts.last_id, facts.stored, facts.last, facts.attempts);
                self.file = identity(&self.path);
                self.database = Some(database);
            }
            Err(error) => self.memory.broken(&error.to_string()),
        }
    }

    fn note(&mut self, attempt: &Receipt) {
        let Some(database) = &mut self.database else { return };
        if let Err(error) = database.note(attempt) {
            self.memory.broken(&error.to_string());
        }
    }

    fn save(&mut self) {
        let unsaved = self.memory.unsaved();
        if unsaved.is_empty() {
            return;
        }
        let Some(database) = &mut self.database else { return };
        match database.insert(&unsaved) {
            Ok(stored) => {
                self.unsynced = true;
                self.memory.saved(&unsaved, stored);
                self.checkpoint(CHECKPOINT_NOW);
            }
            Err(error) => self.memory.broken(&error.to_string()),
        }
    }

    fn read<T>(&mut self, ask: impl FnOnce(&Database) -> rusqlite::Result<T>) -> Option<T> {
        match ask(self.database.as_ref()?) {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::warn!("history {}: {error}", self.path.display());
                None
            }
        }
    }

    /// What was put off.
    fn idle(&mut self) {
        if std::mem::take(&mut self.unsynced) {
            self.sync();
        }
        self.checkpoint(CHECKPOINT);
        if self.tried.elapsed() < AGAIN {
            return;
        }
        self.tried = Instant::now();
        if self.database.is_some() && identity(&self.path) != self.file {
            // What is written from now on would be in a file that nobody finds.
            self.database = None;
            self.memory.gone();
        }
        if self.database.is_none() {
            self.open();
        }
        self.save();
        self.look_again();
    }

    /// What was wrong is over when it is, not only when the next receipt comes.
    fn look_again(&mut self) {
        let Some(database) = self.database.as_ref().filter(|_| self.memory.is_ill()) else { return };
        match database.probe() {
            Ok(()) => self.memory.recovered(),
            Err(error) => self.memory.broken(&error.to_string()),
        }
    }

    fn checkpoint(&mut self, bytes: u64) {
        let Some(database) = self.database.as_ref().filter(|database| database.log_bytes() >= bytes) else {
            return;
        };
        if let Err(error) = database.checkpoint() {
            self.memory.broken(&error.to_string());
        }
    }

    fn sync(&mut self) {
        if let Some(Err(error)) = self.database.as_ref().map(Database::sync) {
            self.memory.broken(&error.to_string());
        }
    }
}

/// Device and inode of a file; none where there is none.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use crate::History;

    #[test]
    fn what_is_wrong_with_the_disk_is_over_when_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let history = History::open(folder.path(), 10);
        // A note or a checkpoint found no room, and no receipt is left to be written.
        history.memory.broken("database or disk is full");
        assert_eq!(history.status().error, "database or disk is full");
        let begin = std::time::Instant::now();
        while !history.status().error.is_empty() {
            assert!(begin.elapsed().as_secs() < 60, "{:?}", history.status());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}
