//! The slots of one port on one queue: who owns each, and the queue of held requests.
//!
//! ```text
//!  Free --reserve--> Reserved --hold--> Held --unhold--> Issued --complete--> Done --release--> Free
//!                        \               ^ \____give_back____/ /
//!                         \______________|________issue_______/
//! ```
//! *Reserved* and *Done* are the frontend's, *Held* is the shell's, *Issued* is the driver's.
//!
//! Free slots are taken last in, first out, so that the memory in use stays small and warm. Held
//! slots leave in the order they came. Both lists run through the table itself: nothing is allocated
//! after [`Slots::new`], and a slot that was never used was never touched.

/// Number of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u32);

const NONE: u32 = u32::MAX;

/// Who owns a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Nobody.
    Free,
    /// The frontend, which is filling it.
    Reserved,
    /// The shell: the port is between drivers.
    Held,
    /// The driver.
    Issued,
    /// The frontend, which is answering from it.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Slot {
    owner: Owner,
    next: u32,
    held_ns: u64,
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slots {
    /// Those used so far; there is room for all.
    slots: Vec<Slot>,
    count: u32,
    free: u32,
    held_first: u32,
    held_last: u32,
    used: u32,
    held: u32,
    issued: u32,
}

/// A transition that the slot's owner may not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot {tag} is {owner:?}, not {expected:?}")]
pub struct WrongOwner {
    /// The slot.
    pub tag: u32,
    /// Who owns it; `Free` also when there is no such slot.
    pub owner: Owner,
    /// Who would have to own it.
    pub expected: Owner,
}

impl Slots {
    /// A table of `count` free slots.
    pub fn new(count: u32) -> Slots {
        let slots = Vec::with_capacity(count as usize);
        Slots { slots, count, free: NONE, held_first: NONE, held_last: NONE, used: 0, held: 0, issued: 0 }
    }

    /// Slots in all.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are no slots at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Slots that are not free.
    #[inline]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Slots that the shell holds.
    #[inline]
    pub fn held(&self) -> u32 {
        self.held
    }

    /// Slots that the driver owns.
    #[inline]
    pub fn issued(&self) -> u32 {
        self.issued
    }

    /// Who owns a slot; `Free` when there is no such slot.
    #[inline]
    pub fn owner(&self, tag: Tag) -> Owner {
        self.slots.get(tag.0 as usize).map_or(Owner::Free, |s| s.owner)
    }

    /// Takes a free slot for a frontend.
    #[inline]
    pub fn reserve(&mut self) -> Option<Tag> {
        let tag = self.free;
        let Some(slot) = self.slots.get_mut(tag as usize) else { return self.reserve_fresh() };
        self.free = slot.next;
        slot.owner = Owner::Reserved;
        self.used += 1;
        Some(Tag(tag))
    }

    #[cold]
    fn reserve_fresh(&mut self) -> Option<Tag> {
        let tag = self.slots.len() as u32;
        if tag >= self.count {
            return None;
        }
        self.slots.push(Slot { owner: Owner::Reserved, next: NONE, held_ns: 0 });
        self.used += 1;
        Some(Tag(tag))
    }

    /// Gives a reserved or answered slot back.
    #[inline]
    pub fn release(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        let owner = self.owner(tag);
        if !matches!(owner, Owner::Reserved | Owner::Done) {
            return Err(WrongOwner { tag: tag.0, owner, expected: Owner::Done });
        }
        let slot = &mut self.slots[tag.0 as usize];
        slot.owner = Owner::Free;
        slot.next = self.free;
        self.free = tag.0;
        self.used -= 1;
        Ok(())
    }

    /// Hands a reserved slot to the driver.
    #[inline]
    pub fn issue(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Reserved, Owner::Issued)?;
        self.issued += 1;
        Ok(())
    }

    /// Puts a reserved slot at the end of the held queue.
    pub fn hold(&mut self, tag: Tag, now_ns: u64) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Reserved, Owner::Held)?;
        self.append_held(tag, now_ns);
        Ok(())
    }

    /// Puts a slot that the driver has not begun at the end of the held queue.
    pub fn give_back(&mut self, tag: Tag, now_ns: u64) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Issued, Owner::Held)?;
        self.issued -= 1;
        self.append_held(tag, now_ns);
        Ok(())
    }

    fn append_held(&mut self, tag: Tag, now_ns: u64) {
        let slot = &mut self.slots[tag.0 as usize];
        slot.held_ns = now_ns;
        slot.next = NONE;
        if self.held_last == NONE {
            self.held_first = tag.0;
        } else {
            self.slots[self.held_last as usize].next = tag.0;
        }
        self.held_last = tag.0;
        self.held += 1;
    }

    /// Hands the request that has been held longest to the driver; says since when it was held.
    pub fn unhold(&mut self) -> Option<(Tag, u64)> {
        let first = self.held_first;
        let slot = self.slots.get_mut(first as usize)?;
        slot.owner = Owner::Issued;
        let (next, since_ns) = (slot.next, slot.held_ns);
        self.held_first = next;
        if next == NONE {
            self.held_last = NONE;
        }
        self.held -= 1;
        self.issued += 1;
        Some((Tag(first), since_ns))
    }

    /// Ends the driver's ownership. Exactly once: a second time it is an error.
    #[inline]
    pub fn complete(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Issued, Owner::Done)?;
        self.issued -= 1;
        Ok(())
    }

    /// Tags that the driver owns, ascending.
    pub fn issued_tags(&self) -> impl Iterator<Item = Tag> + '_ {
        let owned = |(i, s): (usize, &Slot)| (s.owner == Owner::Issued).then_some(Tag(i as u32));
        self.slots.iter().enumerate().filter_map(owned)
    }

    /// Tags that the driver owns or the shell holds, ascending.
    pub fn pending_tags(&self) -> impl Iterator<Item = Tag> + '_ {
        let pending =
            |(i, s): (usize, &Slot)| matches!(s.owner, Owner::Issued | Owner::Held).then_some(Tag(i as u32));
        self.slots.iter().enumerate().filter_map(pending)
    }

    #[inline]
    fn change(&mut self, tag: Tag, expected: Owner, to: Owner) -> Result<(), WrongOwner> {
        match self.slots.get_mut(tag.0 as usize) {
            Some(slot) if slot.owner == expected => {
                slot.owner = to;
                Ok(())
            }
            other => {
                let owner = other.map_or(Owner::Free, |s| s.owner);
                Err(WrongOwner { tag: tag.0, owner, expected })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn held_requests_leave_in_the_order_they_came() {
        let mut slots = Slots::new(4);
        let tags: Vec<Tag> = (0..4).map(|_| slots.reserve().expect("free")).collect();
        for (i, tag) in tags.iter().rev().enumerate() {
            slots.hold(*tag, i as u64).expect("reserved");
        }
        let out: Vec<Tag> = std::iter::from_fn(|| slots.unhold().map(|(t, _)| t)).collect();
        assert_eq!(out, tags.into_iter().rev().collect::<Vec<_>>());
        assert_eq!((slots.held(), slots.issued(), slots.used()), (0, 4, 4));
    }

    #[test]
    fn a_request_completes_exactly_once() {
        let mut slots = Slots::new(1);
        let tag = slots.reserve().expect("free");
        assert!(slots.complete(tag).is_err(), "not the driver's yet");
        slots.issue(tag).expect("reserved");
        assert!(slots.release(tag).is_err(), "the driver's, not the frontend's");
        slots.complete(tag).expect("issued");
        let twice = slots.complete(tag).expect_err("a second completion");
        assert_eq!(twice, WrongOwner { tag: 0, owner: Owner::Done, expected: Owner::Issued });
        slots.release(tag).expect("done");
        assert!(slots.complete(Tag(77)).is_err(), "no such slot");
    }

    /// Random walk against lists that are too simple to be wrong.
    #[test]
    fn agrees_with_a_naive_model() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % n as u64) as usize
        };
        let mut slots = Slots::new(8);
        let (mut reserved, mut held, mut issued, mut done) = (vec![], VecDeque::new(), vec![], vec![]);
        for step in 0..20_000 {
            match random(7) {
                0 => {
                    let room = reserved.len() + held.len() + issued.len() + done.len() < 8;
                    let tag = slots.reserve();
                    assert_eq!(tag.is_some(), room, "step {step}");
                    reserved.extend(tag);
                }
                1 if !reserved.is_empty() => {
                    let tag = reserved.swap_remove(random(reserved.len()));
                    slots.hold(tag, step).expect("reserved");
                    held.push_back((tag, step));
                }
                2 if !reserved.is_empty() => {
                    let tag = reserved.swap_remove(random(reserved.len()));
                    slots.issue(tag).expect("reserved");
                    issued.push(tag);
                }
                3 => {
                    let out = slots.unhold();
                    assert_eq!(out, held.pop_front(), "step {step}");
                    issued.extend(out.map(|(tag, _)| tag));
                }
                4 if !issued.is_empty() => {
                    let tag = issued.swap_remove(random(issued.len()));
                    slots.complete(tag).expect("issued");
                    done.push(tag);
                }
                6 if !issued.is_empty() => {
                    let tag = issued.swap_remove(random(issued.len()));
                    slots.give_back(tag, step).expect("issued");
                    held.push_back((tag, step));
                }
                5 if !done.is_empty() => {
                    let tag = done.swap_remove(random(done.len()));
                    slots.release(tag).expect("done");
                }
                _ => {}
            }
            assert_eq!(slots.held() as usize, held.len());
            assert_eq!(slots.issued() as usize, issued.len());
            let mut tags: Vec<Tag> = slots.issued_tags().collect();
            let mut expected = issued.clone();
            tags.sort();
            expected.sort();
            assert_eq!(tags, expected);
        }
    }
}
