//! Whose turn a port is: one transaction at a time, and who comes second is told what is under way.

use crate::handle::lock;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// The turns of one port.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    turn: Mutex<()>,
    doing: Mutex<String>,
}

/// The right to change a port, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    _turn: MutexGuard<'a, ()>,
}

impl Turns {
    /// Takes the turn, for `what`; or says what has it.
    pub(crate) fn take(&self, what: &str) -> Result<Turn<'_>, String> {
        let turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(self.doing().unwrap_or_else(|| "an update".into())),
        };
        let turn = Turn { turns: self, _turn: turn };
        turn.tell(what);
        Ok(turn)
    }

    /// What is under way.
    pub(crate) fn doing(&self) -> Option<String> {
        Some(lock(&self.doing).clone()).filter(|what| !what.is_empty())
    }
}

impl Turn<'_> {
    /// Says more of what is under way.
    pub(crate) fn tell(&self, what: &str) {
        what.clone_into(&mut lock(&self.turns.doing));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.turns.doing).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_what_the_first_one_does() {
        let turns = Turns::default();
        let turn = turns.take("update 7").expect("free");
        assert_eq!(turns.take("update 8").expect_err("taken"), "update 7");
        turn.tell("update 7 to ram 2.0.0");
        assert_eq!(turns.doing().as_deref(), Some("update 7 to ram 2.0.0"));
        drop(turn);
        assert_eq!(turns.doing(), None);
        assert!(turns.take("update 9").is_ok());
    }
}
