//! The slots of one port on one queue: who owns each, and the queue of held requests.
//!
//! ```text
//!  Free --reserve--> Reserved --hold--> Held --unhold--> Issued --complete--> Done --release--> Free
//!                        \               ^ \____give_back____/ /
//!                         \______________|________issue_______/
//! ```
//! *Reserved* and *Done* are the frontend's, *Held* is the shell's, *Issued* is the driver's.
//!
//! A request whose pieces follow one another keeps its slot: each piece is a request of its own here.
//! ```text
//!  Done --renew--> Reserved --> and on as above
//! ```
//!
//! A request that takes too long leaves this way early:
//! ```text
//!  Held --end_held--> Done
//!  Issued --abort--> Aborting --complete--> Done
//!                        \--give_up--> GivenUp --release--> Lost --complete, reclaim--> Free
//!                                          \------complete, reclaim------> Done
//! ```
//! *Aborting* is the driver's still. *GivenUp* was answered without the driver, which may complete it
//! yet; *Lost* is the driver's alone: nobody else uses the slot before it has completed it, or is gone.
//!
//! Free slots are taken last in, first out, so that the memory in use stays small and warm. Held
//! slots leave in the order they came; what a driver hands back goes before all that never entered one.
//! Both lists run through the table itself: nothing is allocated after [`Slots::new`] but by
//! [`Slots::make_room`], and a slot that was never used was never touched.
//!
//! What lies idle gives its memory back, away from the way of requests:
//! ```text
//!  Free --take_idle--> Emptied --put_back--> Free
//! ```
//! Because the last in is the first out, a slot that was free from one look to the next was not needed
//! in between, whatever its number. It leaves the list while its memory goes, and then waits behind all others.
//!
//! The table can become larger and smaller while it is used. Slots above a smaller count stay with their
//! owners and retire when they are released.

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
    /// The driver, which was asked to give it up.
    Aborting,
    /// The frontend, which is answering from it.
    Done,
    /// The frontend, which is answering an error, and the driver, which has not completed it.
    GivenUp,
    /// The driver, although the frontend has had its answer.
    Lost,
    /// The shell: its memory is being given back, and it is free again after that.
    Emptied,
}

/// What the memory of a free slot is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rest {
    /// The slot was used since the last look.
    Used,
    /// It was free at the last look, and has been since.
    Resting,
    /// It has been free for a whole time between two looks.
    Idle,
    /// It has none.
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Slot {
    owner: Owner,
    rest: Rest,
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
    /// Those without memory, for when there are no others.
    empty: u32,
    /// Those whose memory is being given back.
    emptied: u32,
    held_first: u32,
    held_last: u32,
    /// The request that was handed back last; others go behind it.
    returned: u32,
    used: u32,
    held: u32,
    issued: u32,
    lost: u32,
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
        Slots {
            slots,
            count,
            free: NONE,
            empty: NONE,
            emptied: 0,
            held_first: NONE,
            held_last: NONE,
            returned: NONE,
            used: 0,
            held: 0,
            issued: 0,
            lost: 0,
        }
    }

    /// Sees to memory for `count` slots, so that [`resize`](Slots::resize) to as many allocates nothing.
    pub fn make_room(&mut self, count: u32) {
        self.slots.reserve_exact((count as usize).saturating_sub(self.slots.len()));
    }

    /// Makes it a table of `count` slots. Those in use stay as they are.
    pub fn resize(&mut self, count: u32) {
        let before = std::mem::replace(&mut self.count, count);
        if count < before {
            self.retire();
        }
        // What had retired is there again.
        for tag in (before..count.min(self.slots.len() as u32)).rev() {
            let slot = &mut self.slots[tag as usize];
            if slot.owner == Owner::Free {
                slot.next = self.free;
                self.free = tag;
            }
        }
    }

    /// Takes free slots that are above the count from the lists.
    fn retire(&mut self) {
        let count = self.count;
        self.free = self.keep(self.free, |tag, _| tag < count);
        self.empty = self.keep(self.empty, |tag, _| tag < count);
    }

    /// Leaves of the list that begins with `first` what is `wanted`, in its order; returns its first.
    fn keep(&mut self, first: u32, wanted: impl Fn(u32, &Slot) -> bool) -> u32 {
        let (mut tag, mut first, mut last) = (first, NONE, NONE);
        while tag != NONE {
            let next = self.slots[tag as usize].next;
            if wanted(tag, &self.slots[tag as usize]) {
                self.slots[tag as usize].next = NONE;
                match last {
                    NONE => first = tag,
                    _ => self.slots[last as usize].next = tag,
                }
                last = tag;
            }
            tag = next;
        }
        first
    }

    /// One more than the highest tag that is in use or can come into use.
    pub fn end(&self) -> u32 {
        let used = self.slots.iter().rposition(|s| !matches!(s.owner, Owner::Free | Owner::Emptied));
        used.map_or(0, |i| i as u32 + 1).max(self.count)
    }

    /// Whether [`reserve`](Slots::reserve) would find one.
    #[inline]
    pub fn has_free(&self) -> bool {
        self.free != NONE || self.empty != NONE || (self.slots.len() as u32) < self.count
    }

    /// Slots in all.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are no slots at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Slots that are somebody's: neither free nor having their memory given back.
    #[inline]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Slots that the shell holds.
    #[inline]
    pub fn held(&self) -> u32 {
        self.held
    }

    /// Slots that a driver has not completed although their frontends have had an answer.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Slots that the driver owns, those included that it was asked to give up.
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
        let tag = match self.slots.get_mut(self.empty as usize) {
            Some(slot) => {
                slot.owner = Owner::Reserved;
                std::mem::replace(&mut self.empty, slot.next)
            }
            None => {
                let tag = self.slots.len() as u32;
                if tag >= self.count {
                    return None;
                }
                self.slots.push(Slot { owner: Owner::Reserved, rest: Rest::Used, next: NONE, held_ns: 0 });
                tag
            }
        };
        self.used += 1;
        Some(Tag(tag))
    }

    /// Gives a reserved or answered slot back. One that was given up waits for the driver.
    #[inline]
    pub fn release(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        let owner = self.owner(tag);
        if !matches!(owner, Owner::Reserved | Owner::Done) {
            if owner == Owner::GivenUp {
                self.slots[tag.0 as usize].owner = Owner::Lost;
                return Ok(());
            }
            return Err(WrongOwner { tag: tag.0, owner, expected: Owner::Done });
        }
        self.set_free(tag);
        Ok(())
    }

    #[inline]
    fn set_free(&mut self, tag: Tag) {
        let slot = &mut self.slots[tag.0 as usize];
        (slot.owner, slot.rest) = (Owner::Free, Rest::Used);
        self.used -= 1;
        if tag.0 < self.count {
            slot.next = self.free;
            self.free = tag.0;
        }
    }

    /// Takes a slot whose request was completed for the next one of the same frontend.
    pub fn renew(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Done, Owner::Reserved)
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

    /// A driver begins to hand back what it has not begun: the first goes to the front of the held queue.
    pub fn begin_giving_back(&mut self) {
        self.returned = NONE;
    }

    /// Puts a slot that the driver has not begun into the held queue, behind those that it has given back
    /// since [`begin_giving_back`](Slots::begin_giving_back) and before all others.
    pub fn give_back(&mut self, tag: Tag, now_ns: u64) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Issued, Owner::Held)?;
        self.issued -= 1;
        let before = std::mem::replace(&mut self.returned, tag.0);
        let next = match before {
            NONE => std::mem::replace(&mut self.held_first, tag.0),
            _ => std::mem::replace(&mut self.slots[before as usize].next, tag.0),
        };
        let slot = &mut self.slots[tag.0 as usize];
        (slot.held_ns, slot.next) = (now_ns, next);
        if next == NONE {
            self.held_last = tag.0;
        }
        self.held += 1;
        Ok(())
    }

    /// Gives a reserved slot back to its frontend at once: no driver is to have it.
    pub fn refuse(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Reserved, Owner::Done)
    }

    /// The request that has been held longest, and since when.
    #[inline]
    pub fn first_held(&self) -> Option<(Tag, u64)> {
        self.slots.get(self.held_first as usize).map(|s| (Tag(self.held_first), s.held_ns))
    }

    /// Takes a request out of the held queue, wherever it is there, and gives it back to its frontend.
    pub fn end_held(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Held, Owner::Done)?;
        let next = self.slots[tag.0 as usize].next;
        let mut before = NONE;
        if self.held_first == tag.0 {
            self.held_first = next;
        } else {
            before = self.held_first;
            while self.slots[before as usize].next != tag.0 {
                before = self.slots[before as usize].next;
            }
            self.slots[before as usize].next = next;
        }
        if self.held_last == tag.0 {
            self.held_last = before;
        }
        if self.returned == tag.0 {
            self.returned = NONE;
        }
        self.held -= 1;
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

    /// The driver is asked to give a request up. It stays its owner.
    pub fn abort(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Issued, Owner::Aborting)
    }

    /// Ends the driver's ownership of a request that it was asked to give up. True: the frontend has not
    /// had an answer and is to get one; false: it has had it.
    ///
    /// # Errors
    /// The driver does not own it.
    pub fn complete_aborted(&mut self, tag: Tag) -> Result<bool, WrongOwner> {
        match self.owner(tag) {
            Owner::Aborting => {
                self.slots[tag.0 as usize].owner = Owner::Done;
                self.issued -= 1;
                Ok(true)
            }
            Owner::GivenUp => {
                self.slots[tag.0 as usize].owner = Owner::Done;
                self.lost -= 1;
                Ok(false)
            }
            Owner::Lost => {
                self.lost -= 1;
                self.set_free(tag);
                Ok(false)
            }
            owner => Err(WrongOwner { tag: tag.0, owner, expected: Owner::Aborting }),
        }
    }

    /// The frontend gets an answer although the driver has not completed the request. The slot is not
    /// used for another before it has.
    pub fn give_up(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Aborting, Owner::GivenUp)?;
        self.issued -= 1;
        self.lost += 1;
        Ok(())
    }

    /// The driver is gone: what it has not completed, and was answered without it, is its no more, where it
    /// is `free` of everybody else too.
    ///
    /// # Errors
    /// One of them could not be taken; the others were.
    pub fn reclaim(&mut self, free: impl Fn(Tag) -> bool) -> Result<(), WrongOwner> {
        let mut all = Ok(());
        if self.lost == 0 {
            return all;
        }
        for tag in (0..self.slots.len() as u32).map(Tag) {
            if matches!(self.owner(tag), Owner::GivenUp | Owner::Lost) && free(tag) {
                all = all.and(self.complete_aborted(tag).map(drop));
            }
        }
        all
    }

    /// A look at what lies idle. What has been free since the look before can be [taken](Slots::take_idle) from
    /// here on.
    pub fn look(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.owner == Owner::Free) {
            slot.rest = match slot.rest {
                Rest::Used => Rest::Resting,
                Rest::Resting => Rest::Idle,
                known => known,
            };
        }
    }

    /// Whether there are free slots with memory.
    pub fn has_idle_memory(&self) -> bool {
        self.slots.iter().any(|slot| slot.owner == Owner::Free && slot.rest != Rest::Empty)
    }

    /// Takes up to `most` slots that were free for a whole time between two looks; nobody else gets one before it
    /// is [put back](Slots::put_back).
    pub fn take_idle(&mut self, most: usize) -> Vec<Tag> {
        let idle = |(_, slot): &(usize, &mut Slot)| slot.owner == Owner::Free && slot.rest == Rest::Idle;
        let taken = self.slots.iter_mut().enumerate().filter(idle).take(most);
        let tags: Vec<Tag> = taken
            .map(|(tag, slot)| {
                slot.owner = Owner::Emptied;
                Tag(tag as u32)
            })
            .collect();
        if !tags.is_empty() {
            self.emptied += tags.len() as u32;
            self.free = self.keep(self.free, |_, slot| slot.owner == Owner::Free);
        }
        tags
    }

    /// A slot that was taken as idle has no memory any more, and is free.
    ///
    /// # Errors
    /// It was not taken so.
    pub fn put_back(&mut self, tag: Tag) -> Result<(), WrongOwner> {
        self.change(tag, Owner::Emptied, Owner::Free)?;
        self.emptied -= 1;
        let slot = &mut self.slots[tag.0 as usize];
        slot.rest = Rest::Empty;
        if tag.0 < self.count {
            slot.next = self.empty;
            self.empty = tag.0;
        }
        Ok(())
    }

    /// Slots whose memory is being given back.
    #[inline]
    pub fn emptied(&self) -> u32 {
        self.emptied
    }

    fn tags(&self, of: impl Fn(Owner) -> bool) -> impl Iterator<Item = Tag> {
        let owned = move |(i, s): (usize, &Slot)| of(s.owner).then_some(Tag(i as u32));
        self.slots.iter().enumerate().filter_map(owned)
    }

    /// Tags that the driver owns, ascending.
    pub fn issued_tags(&self) -> impl Iterator<Item = Tag> + '_ {
        self.tags(|owner| matches!(owner, Owner::Issued | Owner::Aborting))
    }

    /// Tags that the driver owns or the shell holds, ascending.
    pub fn pending_tags(&self) -> impl Iterator<Item = Tag> + '_ {
        self.tags(|owner| matches!(owner, Owner::Issued | Owner::Aborting | Owner::Held))
    }

    /// Since when the shell holds a request, if it does.
    pub fn held_since(&self, tag: Tag) -> Option<u64> {
        self.slots.get(tag.0 as usize).filter(|slot| slot.owner == Owner::Held).map(|slot| slot.held_ns)
    }

    /// Tags that are in use for requests which may still carry data to a driver, ascending.
    pub fn unanswered_tags(&self) -> impl Iterator<Item = Tag> + '_ {
        let may = |owner| matches!(owner, Owner::Reserved | Owner::Held | Owner::Issued | Owner::Aborting);
        self.tags(may)
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
mod tests;
