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

#[test]
fn a_slot_is_renewed_for_the_next_piece_and_at_no_other_time() {
    let mut slots = Slots::new(1);
    let tag = slots.reserve().expect("free");
    let refused = |slots: &mut Slots, owner| {
        let why = WrongOwner { tag: 0, owner, expected: Owner::Done };
        assert_eq!(slots.renew(tag), Err(why));
    };
    refused(&mut slots, Owner::Reserved);
    for round in 0..3 {
        slots.issue(tag).expect("reserved");
        refused(&mut slots, Owner::Issued);
        slots.complete(tag).expect("issued");
        assert!(slots.issue(tag).is_err() && slots.hold(tag, 0).is_err(), "answered, and not renewed");
        slots.renew(tag).expect("answered");
        slots.hold(tag, round).expect("reserved again");
        refused(&mut slots, Owner::Held);
        assert_eq!(slots.unhold(), Some((tag, round)), "held as any other");
        slots.complete(tag).expect("issued");
        slots.renew(tag).expect("answered");
    }
    slots.issue(tag).expect("reserved");
    slots.abort(tag).expect("issued");
    refused(&mut slots, Owner::Aborting);
    slots.give_up(tag).expect("asked");
    refused(&mut slots, Owner::GivenUp);
    slots.release(tag).expect("answered");
    refused(&mut slots, Owner::Lost);
    assert_eq!((slots.used(), slots.held(), slots.issued(), slots.lost()), (1, 0, 0, 1));
}

#[test]
fn what_is_handed_back_goes_first_in_its_order() {
    let mut slots = Slots::new(5);
    let tags: Vec<Tag> = (0..5).map(|_| slots.reserve().expect("free")).collect();
    tags[..2].iter().for_each(|tag| slots.issue(*tag).expect("reserved"));
    tags[2..4].iter().for_each(|tag| slots.hold(*tag, 1).expect("reserved"));
    slots.begin_giving_back();
    tags[..2].iter().for_each(|tag| slots.give_back(*tag, 2).expect("issued"));
    slots.hold(tags[4], 3).expect("reserved");
    let out: Vec<Tag> = std::iter::from_fn(|| slots.unhold().map(|(t, _)| t)).collect();
    assert_eq!(out, tags);
}

#[test]
fn a_request_that_was_given_up_keeps_its_slot_until_the_driver_completes_it() {
    let mut slots = Slots::new(1);
    let tag = slots.reserve().expect("free");
    slots.issue(tag).expect("reserved");
    assert!(slots.give_up(tag).is_err(), "the driver is asked first");
    slots.abort(tag).expect("issued");
    assert!(slots.complete(tag).is_err() && slots.abort(tag).is_err());
    assert_eq!(slots.issued(), 1, "the driver's still");
    slots.give_up(tag).expect("asked");
    assert_eq!((slots.issued(), slots.lost()), (0, 1));
    slots.release(tag).expect("answered");
    assert_eq!((slots.owner(tag), slots.reserve()), (Owner::Lost, None), "nobody else gets it");
    assert!(slots.release(tag).is_err(), "once");
    assert_eq!(slots.complete_aborted(tag), Ok(false), "late, and nobody is told again");
    assert_eq!((slots.used(), slots.lost(), slots.reserve()), (0, 0, Some(tag)));
    assert!(slots.complete_aborted(tag).is_err(), "a second time, when it is another request's");
}

#[test]
fn a_driver_that_is_gone_completes_nothing_more() {
    let mut slots = Slots::new(2);
    let (a, b) = (slots.reserve().expect("free"), slots.reserve().expect("free"));
    for tag in [a, b] {
        slots.issue(tag).expect("reserved");
        slots.abort(tag).expect("issued");
        slots.give_up(tag).expect("asked");
    }
    slots.release(a).expect("answered");
    slots.reclaim(|_| true).expect("all are the driver's");
    assert_eq!((slots.owner(a), slots.owner(b), slots.lost()), (Owner::Free, Owner::Done, 0));
    slots.release(b).expect("the frontend's");
    assert_eq!(slots.used(), 0);
}

#[test]
fn a_smaller_table_loses_none_that_is_in_use() {
    let mut slots = Slots::new(4);
    let tags: Vec<Tag> = (0..4).map(|_| slots.reserve().expect("free")).collect();
    slots.hold(tags[3], 1).expect("reserved");
    slots.release(tags[2]).expect("reserved");
    slots.resize(1);
    assert_eq!((slots.len(), slots.end(), slots.has_free()), (1, 4, false));
    assert_eq!(slots.unhold(), Some((tags[3], 1)));
    slots.complete(tags[3]).expect("issued");
    slots.release(tags[3]).expect("done");
    assert_eq!((slots.end(), slots.reserve()), (2, None));
    slots.release(tags[0]).expect("reserved");
    assert_eq!(slots.reserve(), Some(tags[0]));
    slots.make_room(6);
    slots.resize(6);
    slots.release(tags[1]).expect("reserved");
    let mut all: Vec<u32> = std::iter::from_fn(|| slots.reserve()).map(|t| t.0).collect();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4, 5], "those that had retired, and new ones");
}

#[test]
fn what_was_not_needed_between_two_looks_is_taken_and_what_was_is_not() {
    let mut slots = Slots::new(8);
    let tags: Vec<Tag> = (0..6).map(|_| slots.reserve().expect("free")).collect();
    // In another order than they came: which are idle is not told by their numbers.
    for at in [5, 0, 3, 1, 4, 2] {
        slots.release(tags[at]).expect("reserved");
    }
    slots.look();
    assert!(slots.take_idle(9).is_empty(), "used since the look before");
    for _ in 0..3 {
        let two = [slots.reserve().expect("free"), slots.reserve().expect("free")];
        assert_eq!(two, [tags[2], tags[4]], "the same two again and again");
        two.into_iter().rev().for_each(|tag| slots.release(tag).expect("reserved"));
    }
    slots.look();
    let taken = slots.take_idle(3);
    assert_eq!((taken.len(), slots.emptied(), slots.used()), (3, 3, 0));
    assert_eq!(slots.take_idle(9), [tags[5]], "the rest of them, and neither of the two");
    assert!(slots.take_idle(9).is_empty());
    let all: Vec<Tag> = std::iter::from_fn(|| slots.reserve()).collect();
    assert_eq!(all, [tags[2], tags[4], Tag(6), Tag(7)], "what is away is nobody's");
    assert!(!slots.has_free() && slots.release(taken[0]).is_err());
    slots.put_back(taken[0]).expect("taken");
    assert!(slots.put_back(taken[0]).is_err(), "once");
    assert!(slots.has_free());
    assert_eq!(slots.reserve(), Some(taken[0]));
    assert_eq!((slots.emptied(), slots.used()), (3, 5));
}

#[test]
fn slots_without_memory_come_last_and_are_looked_at_no_more() {
    let mut slots = Slots::new(4);
    let tags: Vec<Tag> = (0..4).map(|_| slots.reserve().expect("free")).collect();
    tags[1..].iter().for_each(|tag| slots.release(*tag).expect("reserved"));
    slots.look();
    slots.look();
    slots.take_idle(9).into_iter().for_each(|tag| slots.put_back(tag).expect("taken"));
    assert!(!slots.has_idle_memory(), "what is in use has some, and does not count");
    slots.release(tags[0]).expect("reserved");
    assert!(slots.has_idle_memory());
    assert_eq!(slots.reserve(), Some(tags[0]), "the one with memory first");
    assert!(slots.reserve().is_some_and(|tag| tag != tags[0]));
}

#[test]
fn what_has_retired_gives_its_memory_back_too() {
    let mut slots = Slots::new(4);
    let tags: Vec<Tag> = (0..4).map(|_| slots.reserve().expect("free")).collect();
    tags.iter().for_each(|tag| slots.release(*tag).expect("reserved"));
    slots.resize(1);
    slots.look();
    slots.look();
    let taken = slots.take_idle(9);
    assert_eq!((taken.len(), slots.end()), (4, 1));
    slots.resize(2);
    taken.into_iter().for_each(|tag| slots.put_back(tag).expect("taken"));
    let mut all: Vec<u32> = std::iter::from_fn(|| slots.reserve()).map(|tag| tag.0).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1]);
}

/// Lists that are too simple to be wrong.
#[derive(Default)]
struct Model {
    reserved: Vec<Tag>,
    held: VecDeque<(Tag, u64)>,
    issued: Vec<Tag>,
    aborting: Vec<Tag>,
    given_up: Vec<Tag>,
    lost: Vec<Tag>,
    done: Vec<Tag>,
    /// Free, but nobody's to have.
    emptied: Vec<Tag>,
    count: u32,
}

impl Model {
    fn all(&self) -> impl Iterator<Item = Tag> + '_ {
        let held = self.held.iter().map(|(tag, _)| tag);
        let lists = [&self.reserved, &self.issued, &self.aborting, &self.given_up, &self.lost, &self.done];
        lists.into_iter().flatten().chain(held).copied()
    }

    fn agrees(&self, slots: &Slots) {
        assert_eq!(slots.used() as usize, self.all().count());
        assert_eq!(slots.held() as usize, self.held.len());
        assert_eq!(slots.issued() as usize, self.issued.len() + self.aborting.len());
        assert_eq!(slots.lost() as usize, self.given_up.len() + self.lost.len());
        assert_eq!(slots.first_held(), self.held.front().copied());
        let highest = self.all().map(|tag| tag.0 + 1).max().unwrap_or(0);
        assert_eq!(slots.end(), highest.max(self.count));
        let mut expected: Vec<Tag> = self.issued.iter().chain(&self.aborting).copied().collect();
        expected.sort();
        assert_eq!(slots.issued_tags().collect::<Vec<_>>(), expected);
        assert_eq!(slots.emptied() as usize, self.emptied.len());
        let in_range =
            self.all().chain(self.emptied.iter().copied()).filter(|tag| tag.0 < self.count).count();
        assert_eq!(slots.has_free(), in_range < self.count as usize);
    }
}

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
    let mut m = Model { count: 8, ..Model::default() };
    for step in 0..60_000 {
        let what = random(18);
        let mut pick = |list: &mut Vec<Tag>| {
            if list.is_empty() { None } else { Some(list.swap_remove(random(list.len()))) }
        };
        match what {
            0 | 13 => {
                let taken: Vec<Tag> = m.all().chain(m.emptied.iter().copied()).collect();
                let room = taken.iter().filter(|tag| tag.0 < m.count).count() < m.count as usize;
                let tag = slots.reserve();
                assert_eq!(tag.is_some(), room, "step {step}");
                assert!(tag.is_none_or(|tag| tag.0 < m.count && !taken.contains(&tag)));
                m.reserved.extend(tag);
            }
            1 => {
                if let Some(tag) = pick(&mut m.reserved) {
                    slots.hold(tag, step).expect("reserved");
                    m.held.push_back((tag, step));
                }
            }
            2 => {
                if let Some(tag) = pick(&mut m.reserved) {
                    slots.issue(tag).expect("reserved");
                    m.issued.push(tag);
                }
            }
            3 => {
                let out = slots.unhold();
                assert_eq!(out, m.held.pop_front(), "step {step}");
                m.issued.extend(out.map(|(tag, _)| tag));
            }
            4 => {
                if let Some(tag) = pick(&mut m.issued) {
                    slots.complete(tag).expect("issued");
                    m.done.push(tag);
                }
            }
            5 => {
                if let Some(tag) = pick(&mut m.done) {
                    slots.release(tag).expect("done");
                }
            }
            6 => {
                if let Some(tag) = pick(&mut m.issued) {
                    slots.begin_giving_back();
                    slots.give_back(tag, step).expect("issued");
                    m.held.push_front((tag, step));
                }
            }
            7 => {
                if let Some(tag) = pick(&mut m.issued) {
                    slots.abort(tag).expect("issued");
                    m.aborting.push(tag);
                }
            }
            8 => {
                if let Some(tag) = pick(&mut m.aborting) {
                    if step % 2 == 0 {
                        slots.give_up(tag).expect("aborting");
                        m.given_up.push(tag);
                    } else {
                        assert_eq!(slots.complete_aborted(tag), Ok(true));
                        m.done.push(tag);
                    }
                }
            }
            9 => {
                if let Some(tag) = pick(&mut m.given_up) {
                    if step % 2 == 0 {
                        slots.release(tag).expect("answered");
                        m.lost.push(tag);
                    } else {
                        assert_eq!(slots.complete_aborted(tag), Ok(false));
                        m.done.push(tag);
                    }
                }
            }
            10 => {
                if let Some(tag) = pick(&mut m.lost) {
                    assert_eq!(slots.complete_aborted(tag), Ok(false));
                }
            }
            11 if !m.held.is_empty() => {
                let at = step as usize % m.held.len();
                let (tag, _) = m.held.remove(at).expect("there");
                slots.end_held(tag).expect("held");
                m.done.push(tag);
            }
            12 if step % 5 == 0 => {
                m.count = 1 + (step / 5) as u32 % 12;
                slots.resize(m.count);
            }
            14 => {
                if let Some(tag) = pick(&mut m.done) {
                    slots.renew(tag).expect("done");
                    m.reserved.push(tag);
                }
            }
            15 => {
                slots.look();
                let taken = slots.take_idle(random(3));
                assert!(taken.iter().all(|tag| m.all().all(|used| used != *tag) && !m.emptied.contains(tag)));
                m.emptied.extend(taken);
            }
            16 | 17 => {
                if let Some(tag) = pick(&mut m.emptied) {
                    slots.put_back(tag).expect("taken as idle");
                }
            }
            12 if step % 97 == 0 => {
                slots.reclaim(|_| true).expect("all are the driver's");
                m.done.append(&mut m.given_up);
                m.lost.clear();
            }
            _ => {}
        }
        m.agrees(&slots);
    }
}
