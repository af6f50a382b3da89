//! Whether helpers can be made, when it is tried again, and what is said of it.

use std::io;
use std::time::{Duration, Instant};

/// How long after a helper could not be made it is tried again.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Whether helpers can be made.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Why the last one could not, and when it is tried again.
    failed: Option<(Option<i32>, Instant)>,
}

impl Attempts {
    /// How long none is made yet.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        self.failed.and_then(|(_, again)| again.checked_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    /// One was tried. What is new of it.
    pub(super) fn note(&mut self, made: io::Result<()>, now: Instant) -> Option<io::Result<()>> {
        let before = self.failed.map(|(errno, _)| errno);
        let errno = made.as_ref().err().map(io::Error::raw_os_error);
        self.failed = errno.map(|errno| (errno, now + BACK_OFF));
        (before != errno).then_some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_no_helper_can_be_made_is_said_once_and_nobody_sleeps_meanwhile() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let fails = |errno| Err(io::Error::from_raw_os_error(errno));
        assert!(attempts.note(Ok(()), now).is_none() && attempts.pause(now).is_none());
        assert!(attempts.note(fails(libc::EAGAIN), now).is_some_and(|said| said.is_err()));
        for n in 1..100 {
            let now = now + n * BACK_OFF;
            assert!(attempts.pause(now).is_none(), "it is tried again");
            assert!(attempts.note(fails(libc::EAGAIN), now).is_none(), "and was said");
            assert_eq!(attempts.pause(now), Some(BACK_OFF));
        }
        assert!(attempts.note(fails(libc::ENOMEM), now).is_some_and(|said| said.is_err()), "another reason");
        assert!(attempts.note(Ok(()), now).is_some_and(|said| said.is_ok()), "it is over");
        assert!(attempts.note(Ok(()), now).is_none() && attempts.pause(now).is_none());
    }
}
