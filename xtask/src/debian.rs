//! Debian's archive, as this machine reaches it: no host is named here.

use anyhow::{Result, bail};
use std::fs;
use std::path::PathBuf;

/// The release that is the floor.
pub(crate) const FLOOR: &str = "bookworm";

/// The archive that this machine installs the release from, and the file that says so.
pub(crate) fn archive() -> Result<(PathBuf, String)> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "list" || e == "sources"));
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let found =
            if file.extension().is_some_and(|e| e == "sources") { stanza(&text) } else { line(&text) };
        if let Some(archive) = found {
            return Ok((file, archive));
        }
    }
    bail!("no file of /etc/apt names an archive with the suite {FLOOR}")
}

/// From the form with a stanza for each archive.
fn stanza(text: &str) -> Option<String> {
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            let mut values = stanza.lines().filter_map(|line| line.strip_prefix(name));
            values.next().map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let suites = field("Suites:")?;
        suites.iter().any(|suite| suite == FLOOR).then(|| field("URIs:")?.into_iter().next()).flatten()
    })
}

/// From the form with a line for each archive.
fn line(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.strip_prefix("deb ")?;
        let words: Vec<&str> = line.split_whitespace().skip_while(|w| !w.contains("://")).collect();
        matches!(words.as_slice(), [_, suite, ..] if *suite == FLOOR).then(|| words[0].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{line, stanza};

    #[test]
    fn an_archive_is_found_in_either_form() {
        let text = "Types: deb\nURIs: http://a/security\nSuites: bookworm-security\n\nTypes: deb\n# why\nURIs: http://a/debian http://b\nSuites: x bookworm\n";
        assert_eq!(stanza(text).as_deref(), Some("http://a/debian"));
        assert_eq!(stanza("Types: deb\nURIs: http://a\nSuites: sid\n"), None);
        let text = "# deb http://no bookworm main\ndeb [signed-by=/k.gpg] http://a/debian bookworm main\n";
        assert_eq!(line(text).as_deref(), Some("http://a/debian"));
        assert_eq!(line("deb http://a sid main\n"), None);
    }
}
