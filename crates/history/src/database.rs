//! The database: one table, one row per receipt, the receipt itself as JSON.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ToSql;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use steadfast_shell::receipt::{Outcome, Receipt};

use crate::Filter;

/// What makes each schema out of the one before. Only ever added to: a database says with
/// `user_version` how many of these it has been through.
const MIGRATIONS: &[&str] = &[
    // 1. What is asked for has columns of its own; everything else is in the document, whose fields
    // may be missing when an older daemon wrote it.
    "CREATE TABLE receipt (
        id INTEGER PRIMARY KEY,
        port TEXT NOT NULL,
        started_unix_ms INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        document TEXT NOT NULL
    ) STRICT;
    CREATE INDEX receipt_by_port ON receipt (port, id);",
    // 2. What has begun and has no receipt yet: what is here at a start, the end of a daemon has cut short.
    "CREATE TABLE attempt (id INTEGER PRIMARY KEY, document TEXT NOT NULL) STRICT;",
];

/// Marks the file as this program's: `Stdf`.
const APPLICATION: i32 = 0x5374_6466;

/// Why the history cannot be kept on disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("cannot make {}: {error}", folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error("cannot be opened: {0}")]
    File(io::Error),
    #[error("another daemon writes to it (--state DIR chooses another folder)")]
    InUse,
    #[error("it is another program's database (application id {0:#010x}); it is left alone")]
    Foreign(i32),
    #[error("its schema is {found}, this daemon knows 1 to {known}; it is left alone")]
    Newer { found: usize, known: usize },
    #[error("{0}")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> DatabaseError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseError::InUse,
            _ => DatabaseError::Sqlite(error),
        }
    }
}

/// What a database says of itself when it is opened.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) last_id: u64,
    pub(crate) stored: u64,
    /// Newest receipt of each port.
    pub(crate) last: Vec<Receipt>,
    /// What had begun when the daemon before ended.
    pub(crate) attempts: Vec<Receipt>,
}

/// The open database, locked.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    /// The write-ahead log.
    log: PathBuf,
    keep: u32,
    /// Receipts in it, where that is known: with ten thousand of them, counting takes longer than writing one.
    stored: Option<u64>,
}

impl Database {
    pub(crate) fn open(path: &Path, keep: u32) -> Result<(Database, Facts), DatabaseError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| DatabaseError::Folder { folder: folder.to_owned(), error })?;
        }
        // Made here, so that it is nobody else's to read from its first moment.
        let new = !path.exists();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        // A pipe in its place is refused, not waited for.
        let file = options.custom_flags(libc::O_NONBLOCK).open(path).map_err(DatabaseError::File)?;
        let log = PathBuf::from(format!("{}-wal", path.display()));
        let regular = file.metadata().map_err(DatabaseError::File)?.is_file();
        if !regular || log.metadata().is_ok_and(|log| !log.is_file()) {
            return Err(DatabaseError::File(io::Error::other("it is no regular file")));
        }
        drop(file);
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_millis(500))?;
        // One owner: two daemons would give the same numbers to different updates.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        migrate(&mut connection, MIGRATIONS)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // Checkpoints wait for the medium: they are made when nobody waits for them.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        let mut database = Database { connection, log, keep, stored: None };
        database.begin_log()?;
        if new && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // The names of its files survive a power cut as what is in them does.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(DatabaseError::File)?;
        }
        // A bound that was lowered holds from now on.
        database.prune()?;
        let facts = database.facts()?;
        Ok((database, facts))
    }

    fn facts(&self) -> rusqlite::Result<Facts> {
        // What has a receipt has come to an end.
        let open = "SELECT id, document FROM attempt WHERE id NOT IN (SELECT id FROM receipt) ORDER BY id";
        let newest = "SELECT id, document FROM receipt
                      WHERE id IN (SELECT max(id) FROM receipt GROUP BY port)";
        // A number that was given to an attempt is not given again.
        let last_id = "SELECT max((SELECT coalesce(max(id), 0) FROM receipt),
                                  (SELECT coalesce(max(id), 0) FROM attempt))";
        Ok(Facts {
            last_id: self.connection.query_row(last_id, [], number)?,
            stored: self.count()?,
            last: self.select(newest, &[])?,
            attempts: self.select(open, &[])?,
        })
    }

    fn count(&self) -> rusqlite::Result<u64> {
        self.connection.query_row("SELECT count(*) FROM receipt", [], number)
    }

    /// Writes receipts, all or none, and drops those that are too many. Returns how many there are.
    pub(crate) fn insert(&mut self, receipts: &[Receipt]) -> rusqlite::Result<u64> {
        let before = self.stored.take();
        let transaction = self.connection.transaction()?;
        let mut new = 0;
        {
            let mut known = transaction.prepare("SELECT count(*) FROM receipt WHERE id = ?1")?;
            let mut insert = transaction.prepare(
                "INSERT OR REPLACE INTO receipt (id, port, started_unix_ms, outcome, document)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let mut ends = transaction.prepare("DELETE FROM attempt WHERE id = ?1")?;
            for receipt in receipts {
                let document = serde_json::to_string(receipt)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                let (id, started) = (signed(receipt.id), signed(receipt.started_unix_ms));
                new += u64::from(known.query_row([id], number)? == 0);
                insert.execute(params![id, receipt.port, started, name(receipt.outcome), document])?;
                ends.execute([id])?;
            }
        }
        transaction.commit()?;
        self.stored = before.map(|before| before + new);
        self.prune()
    }

    /// Notes what begins, under the number that its receipt will have.
    pub(crate) fn note(&mut self, attempt: &Receipt) -> rusqlite::Result<()> {
        let document = serde_json::to_string(attempt)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let note = "INSERT OR REPLACE INTO attempt (id, document) VALUES (?1, ?2)";
        self.connection.execute(note, params![signed(attempt.id), document]).map(drop)
    }

    fn prune(&mut self) -> rusqlite::Result<u64> {
        let count = self.stored.take().map_or_else(|| self.count(), Ok)?;
        let surplus = count.saturating_sub(u64::from(self.keep));
        if surplus > 0 {
            let oldest = "DELETE FROM receipt WHERE id IN (SELECT id FROM receipt ORDER BY id LIMIT ?1)";
            self.connection.execute(oldest, [signed(surplus)])?;
        }
        self.stored = Some(count - surplus);
        Ok(count - surplus)
    }

    /// The newest receipts that the filter means, the newest last.
    pub(crate) fn list(&self, filter: &Filter) -> rusqlite::Result<Vec<Receipt>> {
        let mut wanted: Vec<&str> = Vec::new();
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        if let Some(port) = &filter.port {
            wanted.push("port = ?");
            values.push(Box::new(port.clone()));
        }
        if let Some(outcome) = filter.outcome {
            wanted.push("outcome = ?");
            values.push(Box::new(name(outcome)));
        }
        let marks = vec!["?"; filter.kinds.len()].join(", ");
        // Receipts from before there were kinds are of updates.
        let of_kinds = format!("coalesce(json_extract(document, '$.kind'), 'update') IN ({marks})");
        if !filter.kinds.is_empty() {
            wanted.push(&of_kinds);
            for kind in &filter.kinds {
                values.push(Box::new(kind.name()));
            }
        }
        if let Some(since) = filter.since_unix_ms {
            wanted.push("started_unix_ms >= ?");
            values.push(Box::new(signed(since)));
        }
        if filter.on_probation {
            // The text is looked for first: it is far quicker than to read every document.
            wanted.push("instr(document, 'running') > 0");
            wanted.push("json_extract(document, '$.probation.outcome') = 'running'");
        }
        let condition = if wanted.is_empty() { "1".to_owned() } else { wanted.join(" AND ") };
        values.push(Box::new(filter.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))));
        let query = format!("SELECT id, document FROM receipt WHERE {condition} ORDER BY id DESC LIMIT ?");
        let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
        let mut list = self.select(&query, &values)?;
        list.reverse();
        Ok(list)
    }

    /// The receipt of that number.
    pub(crate) fn get(&self, id: u64) -> rusqlite::Result<Option<Receipt>> {
        let query = "SELECT document FROM receipt WHERE id = ?1";
        let text =
            self.connection.query_row(query, [signed(id)], |row| row.get::<_, String>(0)).optional()?;
        Ok(text.and_then(|text| parse(id, &text)))
    }

    fn select(&self, query: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<Receipt>> {
        let mut statement = self.connection.prepare(query)?;
        let rows = statement.query_map(values, |row| Ok((number(row)?, row.get::<_, String>(1)?)))?;
        let rows: Vec<(u64, String)> = rows.collect::<rusqlite::Result<_>>()?;
        Ok(rows.iter().filter_map(|(id, text)| parse(*id, text)).collect())
    }

    /// The first write into an empty log waits for the medium, whatever is written; so it is made here,
    /// and not with the first receipt.
    fn begin_log(&self) -> rusqlite::Result<()> {
        let version: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        self.connection.pragma_update(None, "user_version", version)
    }

    /// Writes something that changes nothing, and forces it to the medium.
    pub(crate) fn probe(&self) -> rusqlite::Result<()> {
        self.begin_log()?;
        self.sync().map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }

    /// Forces what was written to the medium.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match File::open(&self.log) {
            Ok(log) => log.sync_data(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Bytes of the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// Moves what is in the log into the database.
    pub(crate) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.begin_log()
    }
}

fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), DatabaseError> {
    // The lock is taken before the first look, and kept.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let application: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || tables > 0) {
        return Err(DatabaseError::Foreign(application));
    }
    let done: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let (done, known) = (usize::try_from(done).unwrap_or(usize::MAX), migrations.len());
    if done > known {
        return Err(DatabaseError::Newer { found: done, known });
    }
    for migration in &migrations[done..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", i64::try_from(known).unwrap_or(i64::MAX))?;
    Ok(transaction.commit()?)
}

/// A document that this program cannot read was written by a newer one; the others are still of use.
fn parse(id: u64, text: &str) -> Option<Receipt> {
    serde_json::from_str(text)
        .inspect_err(|error| tracing::warn!("history: receipt {id} cannot be read: {error}"))
        .ok()
}

/// SQLite's integers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &rusqlite::Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(|number| u64::try_from(number).unwrap_or(0))
}

/// The outcome as the document has it.
fn name(outcome: Outcome) -> String {
    let text = serde_json::to_value(outcome).ok();
    text.and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::open_in_memory().expect("SQLite")
    }

    #[test]
    fn an_older_schema_is_brought_up_step_by_step() {
        let mut connection = connection();
        let steps = ["CREATE TABLE a (x)", "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)"];
        migrate(&mut connection, &steps[..2]).expect("the first two");
        migrate(&mut connection, &steps).expect("the third alone");
        migrate(&mut connection, &steps).expect("nothing is left to do");
        let sum: i64 = connection.query_row("SELECT sum(x) FROM a", [], |row| row.get(0)).expect("a sum");
        assert_eq!(sum, 3);
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let mut connection = connection();
        let error = migrate(&mut connection, &["CREATE TABLE a (x)", "nonsense"]).expect_err("nonsense");
        assert!(error.to_string().contains("nonsense"), "{error}");
        let tables = "SELECT count(*) FROM sqlite_schema";
        assert_eq!(connection.query_row(tables, [], |row| row.get::<_, i64>(0)).expect("a count"), 0);
    }

    #[test]
    fn a_newer_schema_and_another_programs_database_are_left_alone() {
        let mut newer = connection();
        migrate(&mut newer, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).expect("made");
        let error = migrate(&mut newer, &["CREATE TABLE a (x)"]).expect_err("newer");
        assert_eq!(error.to_string(), "its schema is 2, this daemon knows 1 to 1; it is left alone");
        let mut foreign = connection();
        foreign.execute_batch("CREATE TABLE theirs (x)").expect("made");
        assert!(matches!(migrate(&mut foreign, MIGRATIONS), Err(DatabaseError::Foreign(0))));
    }
}
