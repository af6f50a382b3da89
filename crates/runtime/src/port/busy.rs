//! Whose turn a port is: one transaction at a time, and who comes second is told what is under way.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};
use steadfast_shell::sync::lock;

/// The turns of one port.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    turn: Mutex<()>,
    doing: Mutex<String>,
    /// Who waits for the turn: nobody else gets it before.
    waits: Mutex<String>,
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

    /// The same for one that waits for whoever has it to leave, for `patience` at most. Meanwhile everybody
    /// else is told that it is under way.
    pub(crate) fn take_within(&self, what: &str, patience: Duration) -> Result<Turn<'_>, String> {
        if patience.is_zero() {
            let waits = lock(&self.waits).clone();
            return if waits.is_empty() { self.take(what) } else { Err(waits) };
        }
        {
            let mut waits = lock(&self.waits);
            if !waits.is_empty() {
                return Err(waits.clone());
            }
            what.clone_into(&mut waits);
        }
        let until = Instant::now() + patience;
        let turn = loop {
            match self.take(what) {
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_micros(200)),
                result => break result,
            }
        };
        lock(&self.waits).clear();
        turn
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

    #[test]
    fn who_waits_is_not_overtaken_and_lets_others_in_when_it_gives_up() {
        let turns = Turns::default();
        let turn = turns.take("update 7").expect("free");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| turns.take_within("activation 8", Duration::from_secs(30)).is_ok());
            while lock(&turns.waits).is_empty() {
                std::thread::yield_now();
            }
            let told = turns.take_within("update 9", Duration::ZERO).expect_err("not before the other");
            assert_eq!(told, "activation 8");
            assert_eq!(
                turns.take_within("activation 10", Duration::from_secs(1)).expect_err("nor so"),
                "activation 8"
            );
            drop(turn);
            assert!(waiter.join().expect("no panic"));
        });
        let turn = turns.take("update 11").expect("free");
        let told = turns.take_within("activation 12", Duration::from_millis(1)).expect_err("in vain");
        assert_eq!(told, "update 11");
        drop(turn);
        assert!(turns.take_within("update 13", Duration::ZERO).is_ok(), "let in again");
    }
}
