//! Receipts on disk: what was done to which device, by whom, and how it went.
//!
//! ```text
//!  control threads                    thread `history`
//!  add ──> memory (newest, unsaved) ──nudge──> SQLite, STATE/history.sqlite
//!  list, get ────────question─────────────────> answer, or memory when the disk does not
//! ```
//!
//! The one rule: **a disk can never fail or delay an update.** A receipt is first kept in memory. One
//! thread owns the database and writes what is new; whoever adds waits for that, but only for
//! [`PATIENCE`], and not at all once the disk was found slow or broken. What could not be written stays
//! in memory (bounded), is tried again, and [`Status`] says so.
//!
//! How durable: a receipt that was added while the disk answers is in the kernel's hands when
//! [`History::add`] returns, so it outlives a daemon that is killed. It is forced to the medium within
//! about a second, so a power cut may take the last second's receipts, and never the file.
//!
//! The database is locked as long as it is open: a second daemon with the same folder keeps its
//! receipts in memory and says why.

#![forbid(unsafe_code)]

mod database;
mod memory;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use steadfast_shell::probation::ProbationOutcome;
use steadfast_shell::receipt::{Kind, Outcome, Receipt};

use memory::Memory;
use worker::{Command, Worker};

/// The database's file within its folder.
pub const FILE: &str = "history.sqlite";
/// Receipts that are kept when nobody says otherwise.
pub const KEEP: u32 = 10_000;
/// Longest that [`History::add`] waits for the disk.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Longest that what begins waits until it is noted.
const NOTING: Duration = Duration::from_millis(100);
/// Most receipts that are named when they are lost.
const NAMED: usize = 20;
/// Longest that a question waits for the disk before memory answers it.
const QUESTION: Duration = Duration::from_secs(2);
/// Longest that the first look into the database may take.
const OPENING: Duration = Duration::from_secs(5);

/// Which receipts are meant; the default is all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of this port.
    pub port: Option<String>,
    /// Only those that ended so.
    pub outcome: Option<Outcome>,
    /// Only those of these kinds; empty for all.
    pub kinds: Vec<Kind>,
    /// Only those that began then or later, milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
    /// Only those whose probation runs, as far as they tell.
    pub on_probation: bool,
}

impl Filter {
    fn takes(&self, receipt: &Receipt) -> bool {
        self.port.as_ref().is_none_or(|port| receipt.port == *port)
            && self.outcome.is_none_or(|outcome| receipt.outcome == outcome)
            && (self.kinds.is_empty() || self.kinds.contains(&receipt.kind))
            && self.since_unix_ms.is_none_or(|since| receipt.started_unix_ms >= since)
            && (!self.on_probation || runs(receipt))
    }
}

fn runs(receipt: &Receipt) -> bool {
    receipt.probation.as_ref().is_some_and(|report| report.outcome == ProbationOutcome::Running)
}

/// How the history is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The database; none when receipts are kept in memory only.
    pub path: Option<PathBuf>,
    /// Receipts on disk.
    pub stored: u64,
    /// Receipts that are in memory only.
    pub unsaved: u64,
    /// Receipts that were dropped because neither disk nor memory had room.
    pub dropped: u64,
    /// What is wrong with the disk; empty when nothing is.
    pub error: String,
}

/// A receipt that was changed, and is on its way to the disk.
#[derive(Debug)]
#[must_use = "it is waited for, so that it outlives a daemon that is killed"]
pub struct Amended {
    id: u64,
    wait: bool,
}

/// The receipts, the newest of them in memory.
#[derive(Debug)]
pub struct History {
    memory: Arc<Memory>,
    worker: Mutex<Option<JoinHandle<()>>>,
    commands: Mutex<Option<Sender<Command>>>,
}

impl History {
    /// Opens the history in `folder`, which is made when it is not there, and keeps at most `keep`
    /// receipts in it. It never fails: what is wrong is in [`status`](History::status) and in the log,
    /// and then receipts are kept in memory until it is put right.
    pub fn open(folder: &Path, keep: u32) -> History {
        let path = folder.join(FILE);
        let memory = Arc::new(Memory::new(Some(path.clone())));
        let (commands, received) = channel();
        let (ready, opened) = sync_channel(1);
        let worker = Worker::new(path, keep.max(1), Arc::clone(&memory));
        let body = move || worker.run(received, ready);
        let thread = std::thread::Builder::new().name("history".to_owned()).spawn(body);
        match thread {
            Ok(thread) => {
                if opened.recv_timeout(OPENING).is_err() {
                    memory.slow(&format!("it does not open within {} s", OPENING.as_secs()));
                }
                memory.settle_ids();
                History { memory, worker: Mutex::new(Some(thread)), commands: Mutex::new(Some(commands)) }
            }
            Err(error) => {
                memory.broken(&format!("its thread does not start: {error}"));
                memory.settle_ids();
                History { memory, worker: Mutex::default(), commands: Mutex::new(None) }
            }
        }
    }

    /// A history that ends with the process.
    pub fn in_memory() -> History {
        History { memory: Arc::new(Memory::new(None)), worker: Mutex::default(), commands: Mutex::new(None) }
    }

    /// The number of the last receipt there is; the next one is greater. When the database could not be
    /// read, it is the wall clock in seconds, which is more than any count of receipts, so that no
    /// number is given twice.
    pub fn last_id(&self) -> u64 {
        self.memory.last_id()
    }

    /// Keeps a receipt, on disk where that can be done at once.
    pub fn add(&self, receipt: &Receipt) {
        let wait = self.memory.push(receipt.clone());
        if self.send(Command::Save) && wait {
            self.memory.wait_saved(receipt.id, PATIENCE);
        }
    }

    /// Notes that something begins, under the number that its receipt will have, so that it leaves a trace
    /// although the process ends in the midst of it. [`add`](History::add) of that number ends it. A disk
    /// that does not answer is waited for once, for a tenth of a second.
    pub fn note(&self, attempt: &Receipt) {
        let wait = self.memory.is_well();
        let (noted, answer) = sync_channel(1);
        if self.send(Command::Note(Box::new(attempt.clone()), noted))
            && wait
            && answer.recv_timeout(NOTING).is_err()
        {
            self.memory.was_slow();
        }
    }

    /// What was noted and never came to an end, because the process before this one ended. They are given
    /// out once.
    pub fn take_attempts(&self) -> Vec<Receipt> {
        self.memory.take_attempts()
    }

    /// Writes what is not written yet and closes the file; what can not be written is named in the log.
    /// Does not wait for a disk that hangs. What is added afterwards is kept in memory only.
    pub fn close(&self) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(worker) = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if self.memory.wait_ended(QUESTION) {
            let _ = worker.join();
        }
        self.name_lost();
    }

    fn name_lost(&self) {
        let (lost, status) = (self.memory.unsaved(), self.memory.status());
        let count = lost.len() as u64 + status.dropped;
        if count == 0 {
            return;
        }
        let path = status.path.map(|path| path.display().to_string()).unwrap_or_default();
        tracing::error!("history {path}: receipts lost with this process: {count}: {}", status.error);
        for receipt in lost.iter().rev().take(NAMED) {
            let (id, port, from) = (receipt.id, &receipt.port, &receipt.from);
            let to = receipt
                .to
                .as_ref()
                .map_or_else(|| "?".to_owned(), |to| format!("{} {}", to.driver, to.version));
            let (kind, outcome) = (receipt.kind.name(), receipt.outcome);
            let (driver, version) = (&from.driver, &from.version);
            tracing::error!(
                "lost: receipt {id}, {kind} of port {port}, {driver} {version} -> {to}, {outcome:?}"
            );
        }
        if count > NAMED as u64 {
            tracing::error!("lost: and older ones: {}", count - NAMED as u64);
        }
    }

    /// Writes a receipt anew that was added before: what follows an update is only known later. From then
    /// on it is read as it is now; whether it is on disk, [`wait_amended`](History::wait_amended) sees to.
    pub fn amend(&self, receipt: &Receipt) -> Amended {
        let wait = self.memory.amend(receipt.clone());
        Amended { id: receipt.id, wait: self.send(Command::Save) && wait }
    }

    /// Waits until it is on disk, where that can be done at once.
    pub fn wait_amended(&self, amended: Amended) {
        if amended.wait {
            self.memory.wait_saved(amended.id, PATIENCE);
        }
    }

    /// The newest receipts that `filter` means, the newest last. Where the disk does not answer, those in
    /// memory: good enough to be shown. Who decides by it asks [`try_list`](History::try_list), or
    /// [`known`](History::known).
    pub fn list(&self, filter: &Filter) -> Vec<Receipt> {
        self.known(filter).0
    }

    /// The same, or `None` when the disk did not answer, so that there may be more than is known. A
    /// history that is in memory only always answers.
    pub fn try_list(&self, filter: &Filter) -> Option<Vec<Receipt>> {
        let (receipts, all) = self.known(filter);
        all.then_some(receipts)
    }

    /// The same as [`list`](History::list), and whether these are all. Where they are not, they are newer than
    /// every one that is missing.
    pub fn known(&self, filter: &Filter) -> (Vec<Receipt>, bool) {
        let stored = if self.memory.has_disk() { self.stored(filter) } else { Some(Vec::new()) };
        let all = stored.is_some();
        (self.memory.join(stored.unwrap_or_default(), filter), all)
    }

    fn stored(&self, filter: &Filter) -> Option<Vec<Receipt>> {
        let (reply, answer) = sync_channel(1);
        self.ask(Command::List(filter.clone(), reply), &answer).flatten()
    }

    /// The receipt of that number.
    pub fn get(&self, id: u64) -> Option<Receipt> {
        if let Some(receipt) = self.memory.get(id) {
            return Some(receipt);
        }
        let (reply, answer) = sync_channel(1);
        self.ask(Command::Get(id, reply), &answer).flatten()
    }

    /// The newest receipt of a port. Asks memory only.
    pub fn last_of(&self, port: &str) -> Option<Receipt> {
        self.memory.last_of(port)
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.memory.status()
    }

    fn ask<T>(&self, question: Command, answer: &Receiver<T>) -> Option<T> {
        if !self.memory.answers() || !self.send(question) {
            return None;
        }
        answer.recv_timeout(QUESTION).ok()
    }

    fn send(&self, command: Command) -> bool {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.as_ref().is_some_and(|commands| commands.send(command).is_ok())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.close();
    }
}
