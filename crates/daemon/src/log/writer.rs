//! The log's thread: the only place that writes to the log's descriptor, which may block or fail.

use super::hand_over::{Counts, HandOver, Message};
use super::limit::Limiter;
use super::line::{LogFormat, plain};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::Builder;
use std::time::Duration;
use tracing::Level;

/// How long after a line it is said what was held back since.
const QUIET: Duration = Duration::from_secs(5);

/// Starts the thread that writes to `out`.
pub(super) fn start(out: File, format: LogFormat, limiter: Arc<Limiter>) -> io::Result<HandOver> {
    let (give, taken) = HandOver::new();
    let counts = Arc::clone(give.counts());
    let mut writer = Writer { out, format, counts, limiter, torn: false, said: 0, since: 0 };
    Builder::new().name("log".to_owned()).spawn(move || writer.run(&taken))?;
    Ok(give)
}

struct Writer {
    out: File,
    format: LogFormat,
    counts: Arc<Counts>,
    limiter: Arc<Limiter>,
    /// The last line was written in part.
    torn: bool,
    /// Lost lines that the log has been told of.
    said: u64,
    /// Lines that came since it was said what was held back.
    since: u64,
}

impl Writer {
    fn run(&mut self, taken: &Receiver<Message>) {
        loop {
            let message = match self.since {
                0 => taken.recv().map_err(|_| RecvTimeoutError::Disconnected),
                _ => taken.recv_timeout(QUIET),
            };
            match message {
                Ok(Message::Line(line)) => {
                    self.counts.taken(&line);
                    self.since += 1;
                    if self.since >= 1024 {
                        self.say_limited();
                    }
                    self.line(&line);
                }
                Ok(Message::Flush(done)) => {
                    self.say_limited();
                    self.say_lost();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.since = 0;
                    self.say_limited();
                    self.say_lost();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes one line; before it, what is missing.
    fn line(&mut self, line: &str) {
        self.say_lost();
        match self.write(line) {
            Ok(()) => self.counts.wrote(),
            Err(e) => self.counts.lose(e.to_string()),
        }
    }

    /// Says how many lines are missing here, once it can be said.
    fn say_lost(&mut self) {
        let lost = self.counts.lost();
        if lost == self.said {
            return;
        }
        let count = lost - self.said;
        let why = match self.counts.error() {
            why if why.is_empty() => "nobody took them".to_owned(),
            why => why,
        };
        let lines = if count == 1 { "1 line is" } else { &format!("{count} lines are") };
        let text = plain(self.format, false, Level::WARN, &format!("log: {lines} missing here: {why}"));
        if self.write(&text).is_ok() {
            self.said = lost;
        }
    }

    /// Says whose lines were held back since this was said last.
    fn say_limited(&mut self) {
        for (whose, count) in self.limiter.take() {
            let lines = if count == 1 { "1 line" } else { &format!("{count} lines") };
            let text = format!("log: {lines} of {whose} not written: too many in a short time");
            self.line(&plain(self.format, false, Level::WARN, &text));
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.torn {
            self.all(b"\n")?;
            self.torn = false;
        }
        self.all(line.as_bytes())
    }

    /// Writes all bytes; a descriptor that somebody has made non-blocking is waited for.
    fn all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait_for_room(&self.out),
                Err(e) => {
                    self.torn |= bytes.len() < whole;
                    return Err(e);
                }
            }
        }
        Ok(())
    }
}

/// Waits until something can be written.
fn wait_for_room(out: &File) {
    let mut poll = libc::pollfd { fd: out.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid entry for the length of the call.
    if unsafe { libc::poll(&raw mut poll, 1, 1000) } < 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::{FromRawFd, OwnedFd};

    /// A pipe: the end that is read, the end that is written.
    fn pipe() -> (File, File) {
        let mut ends = [0; 2];
        // SAFETY: a place for two descriptors, which are nobody else's.
        unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            (OwnedFd::from_raw_fd(ends[0]).into(), OwnedFd::from_raw_fd(ends[1]).into())
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_and_says_so_when_it_flows_again() {
        let (mut read, write) = pipe();
        let give = start(write, LogFormat::Journal, Arc::default()).expect("a thread");
        let line = format!("{}\n", "x".repeat(1000));
        for _ in 0..10_000 {
            give.give(line.clone());
        }
        let lost = give.counts().lost();
        assert!(lost > 1000, "{lost} of 10000 lost");
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).map(|_| text)
        });
        give.flush(Duration::from_secs(60));
        give.give("after\n".to_owned());
        give.flush(Duration::from_secs(60));
        assert_eq!(give.counts().lost(), lost);
        drop(give);
        let text = reader.join().expect("read").expect("text");
        // Some may be told of before the pipe is full, where the thread was slow.
        let said = text.lines().filter_map(|line| line.split_once("log: ")?.1.split_once(" missing here"));
        let said = said.filter_map(|(count, _)| count.split(' ').next()?.parse::<u64>().ok());
        assert_eq!(said.sum::<u64>(), lost, "each is told of once, when it can be");
        assert!(text.ends_with("after\n"));
    }

    #[test]
    fn a_log_that_cannot_be_written_is_counted_with_its_reason() {
        let full = File::options().write(true).open("/dev/full").expect("there is one");
        let give = start(full, LogFormat::Text, Arc::default()).expect("a thread");
        give.give("one\n".to_owned());
        give.give("two\n".to_owned());
        give.flush(Duration::from_secs(60));
        assert_eq!((give.counts().lost(), give.counts().written()), (2, 0));
        assert!(give.counts().error().contains("No space left"), "{}", give.counts().error());
    }
}
