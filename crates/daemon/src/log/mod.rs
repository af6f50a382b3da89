//! The log: lines are handed to a thread of its own, so that nothing that serves ever waits for whoever
//! reads them.
//!
//! ```text
//! any thread --(limit)--> a bounded queue --> thread `log` --> standard error
//! ```
//!
//! A queue's thread formats its line, and puts it where there is room, or counts it. What blocks or fails (a
//! full disk, a pipe that nobody reads or that is gone) does so on the log's own thread. What was not written
//! is counted, said in the log as soon as it flows again, and shown in health all the time.

mod hand_over;
mod limit;
mod line;
mod writer;

pub use line::LogFormat;

use hand_over::{Counts, HandOver};
use limit::Limiter;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use steadfast_api::LogHealth;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// How long the end of the process waits for lines that nobody has taken yet.
const FLUSH: Duration = Duration::from_secs(2);

/// The process's log; there is one.
static LOG: OnceLock<Log> = OnceLock::new();

/// What is logged, and how it looks.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// The least severe lines that are written.
    pub level: Level,
    /// How they look.
    pub format: LogFormat,
}

#[derive(Debug)]
struct Log {
    hand_over: HandOver,
    limiter: Arc<Limiter>,
    format: LogFormat,
    ansi: bool,
}

/// Begins to write the log of this process to its standard error.
///
/// # Errors
/// Standard error cannot be used, or there is no thread for it.
pub fn start(options: LogOptions) -> io::Result<()> {
    let out = io::stderr().as_fd().try_clone_to_owned()?;
    let format = options.format.resolve(out.as_fd());
    let ansi = format == LogFormat::Text && io::IsTerminal::is_terminal(&out);
    let limiter = Arc::new(Limiter::default());
    let hand_over = writer::start(out.into(), format, Arc::clone(&limiter))?;
    // A second call changes nothing.
    let log = LOG.get_or_init(|| Log { hand_over, limiter, format, ansi });
    let layer = Lines { log, level: LevelFilter::from_level(options.level) };
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    Ok(())
}

/// Waits for what was logged until now to be written, for a bounded time.
pub fn flush() {
    flush_within(FLUSH);
}

pub(crate) fn flush_within(limit: Duration) {
    if let Some(log) = LOG.get() {
        log.hand_over.flush(limit);
    }
}

/// The last thing that this process says, as it is, after everything that it has logged. It waits for a
/// bounded time where nobody reads it.
pub fn last_words(text: &str) {
    match LOG.get() {
        Some(log) => {
            log.hand_over.give(text.to_owned());
            flush();
        }
        None => {
            let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
        }
    }
}

/// Logs a line as it is, past every limit.
pub(crate) fn say(level: Level, text: &str) {
    if let Some(log) = LOG.get() {
        log.hand_over.give(line::plain(log.format, log.ansi, level, text));
    }
}

/// How the log fares.
pub(crate) fn health() -> LogHealth {
    LOG.get().map_or_else(LogHealth::default, |log| {
        let counts: &Counts = log.hand_over.counts();
        LogHealth {
            written: counts.written(),
            lost: counts.lost(),
            limited: log.limiter.limited(),
            error: counts.error(),
        }
    })
}

/// What `tracing` calls for each line.
struct Lines {
    log: &'static Log,
    level: LevelFilter,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.log.limiter.allows(event) {
            self.log.hand_over.give(line::of(self.log.format, self.log.ansi, event));
        }
    }
}
