//! Reading a small file whole, whatever is in its place and whatever its file system does.
//!
//! Who reads may hold locks that others wait for, so that a read must end. What is no regular file is refused before it
//! is opened: opening a named pipe waits for a writer, and a device may have no end. A read that its file system keeps
//! is left to itself after [`PATIENCE`]; until it has returned, whoever wants that file is told so at once.

use std::collections::HashMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf, absolute};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Largest file that is read, bytes; far more than thousands of ports need.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// Longest that a file is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most reads that nobody waits for any more.
const MAX_LEFT: usize = 64;

/// Reads that nobody waits for any more, by file, and when each began.
static LEFT: LazyLock<Mutex<HashMap<PathBuf, Instant>>> = LazyLock::new(Mutex::default);

fn left() -> MutexGuard<'static, HashMap<PathBuf, Instant>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file's text.
///
/// # Errors
/// The system's; also where it is no regular file, no UTF-8 text, has more than [`MAX_FILE_BYTES`], or its file system does
/// not give it in time (`TimedOut`).
pub fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_bytes(path)?);
    text.map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// A file's bytes.
///
/// # Errors
/// As [`read_text`], whatever is in it.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let path = absolute(path)?;
    within(path.clone(), PATIENCE, move || whole(&path))
}

/// What `read` finds, on a thread of its own where that is to be had.
fn within(
    path: PathBuf,
    patience: Duration,
    read: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    {
        let left = left();
        if let Some(since) = left.get(&path) {
            return Err(hangs(*since));
        }
        if left.len() >= MAX_LEFT {
            let message = format!("busy: {MAX_LEFT} files have not been read yet: their file systems hang");
            return Err(io::Error::new(ErrorKind::TimedOut, message));
        }
    }
    let (tx, rx) = sync_channel(0);
    let name = path.clone();
    let body = move || {
        // Nobody takes it any more: then it has been noted as left.
        if tx.send(read()).is_err() {
            left().remove(&name);
        }
    };
    std::thread::Builder::new().name("read".to_owned()).spawn(body)?;
    match rx.recv_timeout(patience) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("it was not read")),
        Err(RecvTimeoutError::Timeout) => {
            let mut left = left();
            // It may have come at the last moment; from here on it cannot.
            if let Ok(result) = rx.try_recv() {
                return result;
            }
            left.insert(path, begun);
            drop(rx);
            Err(hangs(begun))
        }
    }
}

fn hangs(since: Instant) -> io::Error {
    let seconds = since.elapsed().as_secs();
    let message = format!("busy: it has been read for {seconds} s, its file system does not answer");
    io::Error::new(ErrorKind::TimedOut, message)
}

fn whole(path: &Path) -> io::Result<Vec<u8>> {
    regular(&fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    // Should the name change hands in between, a pipe keeps nobody all the same.
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    regular(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::other("it is no regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("run").success());
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero"), Path::new("/dev/full")] {
            let refused = read_bytes(path).expect_err("no file").to_string();
            assert_eq!(refused, "it is no regular file", "{}", path.display());
        }
        let missing = read_text(&folder.path().join("missing")).expect_err("not there");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_has_more_than_may_be_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("large");
        let file = fs::File::create(&path).expect("made");
        file.set_len(MAX_FILE_BYTES).expect("grown");
        assert_eq!(read_bytes(&path).expect("read").len() as u64, MAX_FILE_BYTES);
        file.set_len(1 << 40).expect("grown");
        assert!(read_bytes(&path).expect_err("too large").to_string().contains("more than"));
    }

    #[test]
    fn a_read_that_hangs_is_left_and_told_until_it_returns() {
        let (answer, waits) = channel::<()>();
        let slow = PathBuf::from("/hangs/a");
        let hang = move || {
            let _ = waits.recv();
            Ok(Vec::new())
        };
        let patience = Duration::from_millis(10);
        let late = within(slow.clone(), patience, hang).expect_err("late");
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        let busy = within(slow.clone(), Duration::MAX, || panic!("no second one")).expect_err("busy");
        assert!(busy.to_string().starts_with("busy: it has been read for"), "{busy}");
        let other = within("/hangs/b".into(), Duration::from_secs(60), || Ok(vec![1]));
        assert_eq!(other.expect("others go on"), [1]);
        drop(answer);
        while left().contains_key(&slow) {
            std::thread::yield_now();
        }
        assert!(within(slow, Duration::from_secs(60), || Ok(Vec::new())).is_ok());
    }
}
