//! How results look.

pub(crate) mod clients;
pub(crate) mod device;
pub(crate) mod driver;
pub(crate) mod files;
pub(crate) mod history;
pub(crate) mod params;
pub(crate) mod ports;
pub(crate) mod probation;
pub(crate) mod profiles;
pub(crate) mod receipt;
pub(crate) mod rolling;
pub(crate) mod state;
pub(crate) mod status;
mod table;
mod terminal;
mod timeline;
pub(crate) mod trial;
pub(crate) mod units;

pub(crate) use table::{Table, wide};

use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, Write};

/// Prints a document as JSON, indented.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(Failure::new)?;
    print(&format!("{text}\n"))
}

/// Says something beside the result: on standard error, as an object where a program reads.
pub(crate) fn note(text: &str, json: bool) {
    match json {
        true => say(&serde_json::json!({ "note": text }).to_string()),
        false => say(&format!("note: {text}")),
    }
}

/// A line on standard error. That nobody can read it is no reason to end.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints text. A reader that has gone away, as in `steadfast device list | head -1`, is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_on(text).map(drop)
}

/// Prints text; says whether there is still a reader.
pub(crate) fn print_on(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::new(format!("standard output: {e}"))),
    }
}
