//! State that drivers leave with the shell, by schema.
//!
//! It is written within the pause. So what is not needed any more is kept for what is written next, and
//! room is made before: a driver that leaves about as much as the one before takes nothing from the allocator.

use std::mem;

/// Most schemas that one driver may leave state of.
const MOST: usize = 16;
/// Bytes of a state that there is room for before anybody has left one.
const ROOM: usize = 4096;
/// What is longer goes back to the allocator once it is not needed any more.
const MOST_SPARE: usize = 64 << 10;
/// Bytes of a schema's text that there is room for.
const SCHEMA: usize = 80;

/// State of one schema: `NAME/N`, and what the driver wrote.
pub(crate) type State = (String, Vec<u8>);

/// The state of a port.
#[derive(Debug, Default)]
pub(crate) struct States {
    list: Vec<State>,
    aside: Vec<State>,
    spare: Vec<State>,
}

impl States {
    /// These, left by somebody.
    pub(crate) fn of(list: Vec<State>) -> States {
        States { list, ..States::default() }
    }

    /// What there is.
    pub(crate) fn list(&self) -> &[State] {
        &self.list
    }

    /// What a driver wrote in between, see [`States::change_places`].
    pub(crate) fn aside(&self) -> &[State] {
        &self.aside
    }

    /// The same contents in other memory; what there was is returned, for whoever may be looking at it.
    pub(crate) fn part_with(&mut self) -> Vec<State> {
        let copy = self.list.clone();
        mem::replace(&mut self.list, copy)
    }

    /// Makes room for so many more.
    pub(crate) fn make_room(&mut self, count: usize) {
        let count = count.min(2 * MOST);
        while self.spare.len() < count {
            self.spare.push((String::with_capacity(SCHEMA), Vec::with_capacity(ROOM)));
        }
        for list in [&mut self.list, &mut self.aside] {
            list.reserve(count.saturating_sub(list.len()));
        }
        self.spare.reserve(2 * MOST);
    }

    /// What is there makes room for what a driver writes that does not leave, and comes back unharmed with
    /// the second call; then what was written is aside.
    pub(crate) fn change_places(&mut self) {
        mem::swap(&mut self.list, &mut self.aside);
    }

    /// Forgets what is aside.
    pub(crate) fn forget_aside(&mut self) {
        while let Some(state) = self.aside.pop() {
            self.keep_spare(state);
        }
    }

    /// Takes what is aside.
    pub(crate) fn take_aside(&mut self) -> Vec<State> {
        mem::take(&mut self.aside)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        while let Some(state) = self.list.pop() {
            self.keep_spare(state);
        }
    }

    /// Notes what a driver leaves, in place of what it left of the same schema before. False: too much.
    pub(crate) fn put(&mut self, schema: &str, bytes: &[u8]) -> bool {
        if let Some(known) = self.list.iter().position(|(known, _)| known == schema) {
            let state = self.list.remove(known);
            self.keep_spare(state);
        }
        if self.list.len() >= MOST {
            return false;
        }
        let (mut name, mut place) = self.spare.pop().unwrap_or_default();
        name.clear();
        name.push_str(schema);
        place.clear();
        place.extend_from_slice(bytes);
        self.list.push((name, place));
        true
    }

    fn keep_spare(&mut self, state: State) {
        if self.spare.len() < 2 * MOST && state.1.capacity() <= MOST_SPARE {
            self.spare.push(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(states: &[State]) -> Vec<(&str, &[u8])> {
        states.iter().map(|(schema, bytes)| (schema.as_str(), bytes.as_slice())).collect()
    }

    #[test]
    fn what_is_written_in_between_does_not_touch_what_was_left() {
        let mut states = States::default();
        assert!(states.put("a/1", b"one") && states.put("b/1", b"two") && states.put("a/1", b"three"));
        let left = [("b/1", &b"two"[..]), ("a/1", b"three")];
        assert_eq!(texts(states.list()), left);
        states.change_places();
        assert!(states.list().is_empty() && states.put("a/1", b"other"));
        states.change_places();
        assert_eq!(
            (texts(states.list()), texts(states.aside())),
            (left.to_vec(), vec![("a/1", &b"other"[..])])
        );
        states.forget_aside();
        assert!(states.aside().is_empty());
        states.clear();
        assert!(states.list().is_empty());
        for n in 0..MOST {
            assert!(states.put(&format!("s/{n}"), b""));
        }
        assert!(!states.put("more/1", b"") && states.put("s/0", b"again"));
    }

    #[test]
    fn memory_is_used_again_and_great_pieces_of_it_are_not_kept() {
        let mut states = States::default();
        states.make_room(2);
        let piece = |states: &States| states.list()[0].1.as_ptr();
        assert!(states.put("a/1", b"one"));
        let first = piece(&states);
        states.clear();
        assert!(states.put("b/7", b"other"));
        assert_eq!(piece(&states), first);
        assert!(states.put("a/1", &vec![1; MOST_SPARE + 1]));
        let spare = states.spare.len();
        states.clear();
        assert_eq!(states.spare.len(), spare + 1, "only the small one");
    }
}
