//! Who may connect to a Unix socket: its mode and its group.

use crate::sys;

/// Permissions of a Unix socket. Connecting needs the right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, whatever the umask is.
    pub mode: u32,
    /// The group that it is given to; the process's own when missing.
    pub group: Option<u32>,
}

impl Default for Access {
    /// The user who runs the daemon, and nobody else.
    fn default() -> Access {
        Access { mode: 0o600, group: None }
    }
}

/// The number of a group: by its name, or written as a number.
///
/// # Errors
/// The text for people: there is no such group.
pub fn group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    sys::group(text).ok_or_else(|| format!("`{text}` is no group of this machine (a name or a number)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_name_or_a_number() {
        assert_eq!(group("root"), Ok(0));
        assert_eq!(group("4711"), Ok(4711));
        let error = group("no-such-group").expect_err("there is none");
        assert!(error.contains("`no-such-group`") && error.contains("a name or a number"), "{error}");
        assert!(group("").is_err() && group("a\0b").is_err());
    }
}
