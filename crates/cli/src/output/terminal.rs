//! What the terminal can show.

use std::env;
use std::io::IsTerminal;

/// How text may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Block characters are understood.
    pub(crate) utf8: bool,
    /// Colours are.
    pub(crate) colour: bool,
}

impl Look {
    /// As the locale and the terminal say. Text that goes into a file or a pipe has no colour, and
    /// `NO_COLOR` is obeyed.
    pub(crate) fn of_stdout() -> Look {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        Look {
            utf8: locale.contains("utf-8") || locale.contains("utf8"),
            colour: std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && !dumb,
        }
    }

    /// Text in a colour, by its SGR number.
    pub(crate) fn paint(self, sgr: u8, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
