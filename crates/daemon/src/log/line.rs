//! How a line looks.

use serde_json::{Map, Value};
use std::fmt::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::str::FromStr;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Longest line, bytes; the rest is cut off.
const LONGEST: usize = 8192;

/// What lines of the log look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// As the journal takes it where the journal reads it, else as text.
    #[default]
    Auto,
    /// Time, level, message, fields.
    Text,
    /// The level as the journal reads it from standard error (`sd-daemon(3)`), message, fields. The journal
    /// has a time of its own.
    Journal,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "journal" => Ok(LogFormat::Journal),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("`{other}` is not allowed (auto, text, journal, json)")),
        }
    }
}

impl LogFormat {
    /// What `auto` means for this descriptor. `JOURNAL_STREAM` says which one the journal reads
    /// (`systemd.exec(5)`).
    pub(super) fn resolve(self, out: BorrowedFd<'_>) -> LogFormat {
        match self {
            LogFormat::Auto if is_journal(out) => LogFormat::Journal,
            LogFormat::Auto => LogFormat::Text,
            other => other,
        }
    }
}

fn is_journal(out: BorrowedFd<'_>) -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: an open descriptor and a place for the answer.
    if unsafe { libc::fstat(out.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so that it was filled in.
    let stat = unsafe { stat.assume_init() };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// The line for an event.
pub(super) fn of(format: LogFormat, ansi: bool, event: &Event<'_>) -> String {
    let level = *event.metadata().level();
    if format == LogFormat::Json {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        return object(level, fields.0);
    }
    let mut text = Text::default();
    event.record(&mut text);
    plain(format, ansi, level, &format!("{}{}", text.message, text.fields))
}

/// The line for a level and a text.
pub(super) fn plain(format: LogFormat, ansi: bool, level: Level, text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 48);
    match format {
        LogFormat::Json => {
            return object(level, Map::from_iter([("message".to_owned(), text.into())]));
        }
        LogFormat::Journal => {
            let _ = write!(line, "<{}>", severity(level));
        }
        LogFormat::Text | LogFormat::Auto => {
            let (dim, colour, off) = if ansi { ("\x1b[2m", colour(level), "\x1b[0m") } else { ("", "", "") };
            let _ = write!(line, "{dim}{}{off} {colour}{level:>5}{off} ", time());
        }
    }
    push(&mut line, text);
    line.push('\n');
    line
}

/// Appends a text that stays one line, shows no control character and has a limit.
fn push(line: &mut String, text: &str) {
    for c in text.chars() {
        if line.len() >= LONGEST {
            line.push('…');
            return;
        }
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if c.is_control() => {
                let _ = write!(line, "{}", c.escape_default());
            }
            c => line.push(c),
        }
    }
}

/// A JSON object on one line.
fn object(level: Level, fields: Map<String, Value>) -> String {
    let level = level.as_str().to_ascii_lowercase();
    let mut all = Map::from_iter([("time".to_owned(), time().into()), ("level".to_owned(), level.into())]);
    let cut = |value: Value| match value {
        Value::String(text) if text.len() > LONGEST => {
            let mut short = String::new();
            push(&mut short, &text);
            Value::String(short)
        }
        other => other,
    };
    all.extend(fields.into_iter().map(|(name, value)| (name, cut(value))));
    let mut line = Value::Object(all).to_string();
    line.push('\n');
    line
}

/// Now, as RFC 3339 has it, in UTC.
fn time() -> String {
    let mut text = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// As `syslog(3)` numbers them.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        _ => "\x1b[35m",
    }
}

/// Message and fields as text.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Message and fields by name.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_whatever_is_in_it() {
        let line = plain(LogFormat::Text, false, Level::WARN, "one\ntwo\x1b[31m\u{7}three\0");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with("  WARN one two\\u{1b}[31m\\u{7}three\\u{0}\n"), "{line}");
        let line = plain(LogFormat::Text, false, Level::INFO, &"é".repeat(100_000));
        assert!(line.len() <= LONGEST + 8 && line.ends_with("…\n"));
    }

    #[test]
    fn the_journal_gets_a_level_and_no_time() {
        assert_eq!(plain(LogFormat::Journal, false, Level::ERROR, "x"), "<3>x\n");
        assert_eq!(plain(LogFormat::Journal, false, Level::DEBUG, "x"), "<7>x\n");
    }

    #[test]
    fn programs_get_an_object() {
        let line = plain(LogFormat::Json, false, Level::WARN, "a \"b\"\nc");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&value["level"], &value["message"]), (&"warn".into(), &"a \"b\"\nc".into()));
        assert!(value["time"].as_str().is_some_and(|time| time.ends_with('Z')));
        assert_eq!(line.matches('\n').count(), 1);
    }
}
