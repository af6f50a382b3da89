//! What a driver's failed call is told as: each thing once.

use std::io;

/// What drivers' SDK calls errors by: said of something of which it has been said already, it adds nothing.
const NUMBERS: [&str; 17] = [
    "operation not permitted",
    "not found",
    "permission denied",
    "exists already",
    "input/output error",
    "temporarily unavailable",
    "out of memory",
    "busy",
    "no such device",
    "is a directory",
    "invalid argument",
    "no space left",
    "read-only",
    "out of range",
    "not implemented",
    "not supported",
    "canceled",
];

/// Why a call failed: its number, and what was logged meanwhile, which may say the same in other words or more than once.
pub(crate) fn why(call: &str, error: &io::Error, said: &str) -> String {
    let prefix = format!("{call}: ");
    let mut kept: Vec<&str> = Vec::new();
    for part in said.split("; ").map(|part| part.strip_prefix(&prefix).unwrap_or(part)) {
        if !part.is_empty() && !kept.iter().any(|said| says_nothing_new(said, part)) {
            kept.push(part);
        }
    }
    let (error, kept) = (error.to_string(), kept.join("; "));
    let number = error.split(" (os error").next().unwrap_or(&error);
    match kept.as_str() {
        "" => error,
        kept if kept.contains(number) => kept.to_owned(),
        kept => format!("{error}: {kept}"),
    }
}

fn says_nothing_new(said: &str, part: &str) -> bool {
    let Some((of, what)) = part.rsplit_once(": ") else { return said == part };
    said == part
        || NUMBERS.contains(&what) && said.strip_prefix(of).is_some_and(|rest| rest.starts_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_says_each_thing_once() {
        let of = |number, said: &str| why("prepare", &io::Error::from_raw_os_error(number), said);
        let missing = "/x/disk.img: No such file or directory (os error 2)";
        assert_eq!(of(2, &format!("{missing}; prepare: /x/disk.img: not found")), missing);
        assert_eq!(of(2, missing), missing);
        assert_eq!(of(2, ""), "No such file or directory (os error 2)");
        assert_eq!(of(5, "not with mark 9"), "Input/output error (os error 5): not with mark 9");
        // What is about something else, or says more, stays.
        assert_eq!(
            of(2, "/x: is gone; /y: not found"),
            "No such file or directory (os error 2): /x: is gone; /y: not found"
        );
        assert_eq!(
            of(22, "a: too small; a: too large"),
            "Invalid argument (os error 22): a: too small; a: too large"
        );
        assert_eq!(of(22, "a: too small; a: too small"), "Invalid argument (os error 22): a: too small");
    }
}
