//! An update of several ports, one after the other: which is next, and what a failure leads to.
//!
//! [`Rolling`] is told how the last action went and says what to do next; it does nothing itself.
//!
//! ```text
//! Check 0 .. n-1 --all good--> Update 0 -> Update 1 -> ... -> Update n-1 -> Done
//!    |                            |          |                   |
//! Refused                         +----------+-------------------+
//!                                            | failed
//!                            TakeBack, the last one updated first -> RolledBack
//! ```
//! Whatever goes wrong, a port that was not updated is never touched on the way back, and one that was is
//! tried exactly once.

/// What to do next. Numbers are of ports, in the order in which they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make every check of a port's update, and touch nothing.
    Check(usize),
    /// Update a port, and wait for its probation.
    Update(usize),
    /// Put back what a port ran before.
    TakeBack(usize),
    /// Nothing: it is over.
    Done(Outcome),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every port runs the new driver.
    Done,
    /// A check refused: nothing was touched.
    Refused,
    /// A port failed, and every port runs what it ran before.
    RolledBack,
    /// A port failed, and those before it were to stay as they are.
    Stopped,
    /// A port failed, and not every port runs what it ran before.
    Mixed,
}

/// How the last action went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Done.
    Ok,
    /// Not done; the port runs what it ran before the action.
    Failed,
    /// Not done, and the port has no driver that works.
    Stranded,
    /// Somebody asked for it to end: after an update that was done, this port is taken back as well.
    Abandon,
}

/// What became of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It was not touched.
    #[default]
    Untouched,
    /// It runs the new driver.
    Updated,
    /// Its update failed; it runs what it ran before.
    Failed,
    /// It was updated, and runs what it ran before.
    TakenBack,
    /// It was updated, and could not be taken back.
    NotTakenBack,
    /// It has no driver that works.
    Stranded,
}

/// An update of several ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rolling {
    goes_back: bool,
    fates: Vec<Fate>,
    action: Action,
}

impl Rolling {
    /// An update of so many ports; `goes_back` says what a failure does to those already updated.
    pub fn new(ports: usize, goes_back: bool) -> Rolling {
        let action = if ports == 0 { Action::Done(Outcome::Done) } else { Action::Check(0) };
        Rolling { goes_back, fates: vec![Fate::Untouched; ports], action }
    }

    /// The action that is under way.
    pub fn action(&self) -> Action {
        self.action
    }

    /// What has become of each port so far.
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// Takes the result of the action under way, says what is next. After `Done` it stays `Done`.
    pub fn step(&mut self, input: Input) -> Action {
        self.action = match self.action {
            Action::Check(at) => self.checked(at, input),
            Action::Update(at) => self.updated(at, input),
            Action::TakeBack(at) => self.taken_back(at, input),
            done @ Action::Done(_) => done,
        };
        self.action
    }

    fn checked(&self, at: usize, input: Input) -> Action {
        match input {
            Input::Ok if at + 1 < self.fates.len() => Action::Check(at + 1),
            Input::Ok => Action::Update(0),
            Input::Failed | Input::Stranded | Input::Abandon => Action::Done(Outcome::Refused),
        }
    }

    fn updated(&mut self, at: usize, input: Input) -> Action {
        self.fates[at] = match input {
            Input::Ok | Input::Abandon => Fate::Updated,
            Input::Failed => Fate::Failed,
            Input::Stranded => Fate::Stranded,
        };
        match input {
            Input::Ok if at + 1 < self.fates.len() => Action::Update(at + 1),
            Input::Ok => Action::Done(Outcome::Done),
            _ if self.goes_back => self.next_back(),
            _ => Action::Done(Outcome::Stopped),
        }
    }

    fn taken_back(&mut self, at: usize, input: Input) -> Action {
        self.fates[at] = match input {
            // Asked to end while it goes back, it goes back to the end.
            Input::Ok | Input::Abandon => Fate::TakenBack,
            Input::Failed => Fate::NotTakenBack,
            Input::Stranded => Fate::Stranded,
        };
        self.next_back()
    }

    /// The last port that runs the new driver and has not been tried.
    fn next_back(&self) -> Action {
        if let Some(at) = self.fates.iter().rposition(|fate| *fate == Fate::Updated) {
            return Action::TakeBack(at);
        }
        let whole = !self.fates.iter().any(|fate| matches!(fate, Fate::NotTakenBack | Fate::Stranded));
        Action::Done(if whole { Outcome::RolledBack } else { Outcome::Mixed })
    }
}

#[cfg(test)]
mod tests;
