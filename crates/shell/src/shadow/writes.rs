use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of the device that one cell stands for.
pub const GRANULE: u64 = 4096;
/// Most cells, and so memory: 1 MiB. A larger device shares them out.
const MOST_CELLS: u64 = 1 << 16;
const LEAST_CELLS: u64 = 1 << 8;
/// A change of more cells than that counts as one of everything.
const WIDE: u64 = 4096;

/// A stretch of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Device within the port.
    pub device: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

#[derive(Debug, Default)]
struct Cell {
    /// Changes of the stretch that have begun and not ended.
    under_way: AtomicU32,
    /// When the last one ended.
    ended_ns: AtomicU64,
}

impl Cell {
    fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self, now_ns: u64) {
        // In this order: who sees that it is no longer under way sees when it ended.
        self.ended_ns.fetch_max(now_ns, Ordering::SeqCst);
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    fn quiet_since(&self, since_ns: u64) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0 && self.ended_ns.load(Ordering::SeqCst) < since_ns
    }
}

/// Which parts of a port's devices are being changed, and when they last were.
///
/// All queues of the port share it without a lock: a change touches a few atomics at its begin and at
/// its end. Where the answer is coarser than the truth (a granule, a shared cell, a very wide change),
/// it errs towards *changed*, so that a comparison is given up and never wrong.
#[derive(Debug)]
pub struct Writes {
    cells: Box<[Cell]>,
    /// Changes too wide to be noted cell by cell.
    wide: Cell,
}

impl Writes {
    /// For devices of that many bytes in all.
    pub fn new(bytes: u64) -> Writes {
        let count = bytes.div_ceil(GRANULE).clamp(LEAST_CELLS, MOST_CELLS).next_power_of_two();
        Writes { cells: (0..count).map(|_| Cell::default()).collect(), wide: Cell::default() }
    }

    /// A change of `range` is on its way to the driver. Called before it can have any effect.
    pub fn begin(&self, range: Range) {
        match self.cells_of(range) {
            Some(cells) => cells.for_each(Cell::begin),
            None => self.wide.begin(),
        }
    }

    /// That change has completed. `now_ns` is not earlier than its last effect.
    pub fn end(&self, range: Range, now_ns: u64) {
        match self.cells_of(range) {
            Some(cells) => cells.for_each(|c| c.end(now_ns)),
            None => self.wide.end(now_ns),
        }
    }

    /// Nothing of `range` is being changed, and no change of it has ended at `since_ns` or later.
    pub fn quiet_since(&self, range: Range, since_ns: u64) -> bool {
        let narrow = self.cells_of(range).is_some_and(|mut cells| cells.all(|c| c.quiet_since(since_ns)));
        narrow && self.wide.quiet_since(since_ns)
    }

    /// `None`: too many of them.
    fn cells_of(&self, range: Range) -> Option<impl Iterator<Item = &Cell>> {
        let end = range.offset.saturating_add(range.length);
        let (first, last) = (range.offset / GRANULE, end.div_ceil(GRANULE));
        if last.saturating_sub(first) > WIDE.min(self.cells.len() as u64) {
            return None;
        }
        let last = if range.length == 0 { first } else { last };
        // An odd number far from a power of two: devices of one port do not share cells block by block.
        let shift = u64::from(range.device).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mask = self.cells.len() as u64 - 1;
        Some((first..last).map(move |g| &self.cells[(g.wrapping_add(shift) & mask) as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(offset: u64, length: u64) -> Range {
        Range { device: 0, offset, length }
    }

    #[test]
    fn a_change_is_known_from_its_begin_until_it_is_old() {
        let writes = Writes::new(1 << 20);
        let here = range(8192, 4096);
        assert!(writes.quiet_since(here, 1));
        writes.begin(here);
        assert!(!writes.quiet_since(here, u64::MAX), "under way");
        assert!(writes.quiet_since(range(4096, 4096), 1), "the block before");
        assert!(writes.quiet_since(range(12288, 4096), 1), "the block behind");
        writes.end(here, 50);
        assert!(!writes.quiet_since(here, 50), "it may have been at the same moment");
        assert!(writes.quiet_since(here, 51));
        assert!(!writes.quiet_since(range(0, 1 << 20), 20), "a range that holds it");
    }

    #[test]
    fn a_change_of_very_much_is_one_of_everything() {
        let writes = Writes::new(1 << 40);
        writes.begin(range(0, 1 << 35));
        assert!(!writes.quiet_since(range(1 << 39, 512), u64::MAX));
        writes.end(range(0, 1 << 35), 9);
        assert!(!writes.quiet_since(range(1 << 39, 512), 9));
        assert!(writes.quiet_since(range(1 << 39, 512), 10));
        assert!(!writes.quiet_since(range(0, u64::MAX), 10), "too wide to be sure of");
    }

    /// A change as the model knows it.
    #[derive(Clone, Debug)]
    struct Known {
        range: Range,
        end: Option<u64>,
    }

    /// Bytes in common, compared one by one in the end.
    fn overlap(a: Range, b: Range) -> bool {
        let common = a.offset.max(b.offset)..(a.offset + a.length).min(b.offset + b.length);
        a.device == b.device && !common.is_empty()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin(Range),
        End(usize),
        Ask(Range, u64),
    }

    fn a_range(unit: u64) -> impl Strategy<Value = Range> {
        (0..3_u32, 0..200_u64, 0..9_u64).prop_map(move |(device, at, n)| Range {
            device,
            offset: at * unit,
            length: n * unit,
        })
    }

    fn a_step(unit: u64) -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => a_range(unit).prop_map(Step::Begin),
            2 => any::<usize>().prop_map(Step::End),
            3 => (a_range(unit), 0..40_u64).prop_map(|(r, back)| Step::Ask(r, back)),
        ]
    }

    /// Runs the steps one a nanosecond; for each question, what the table and what the model say.
    fn run(writes: &Writes, steps: &[Step]) -> Vec<(bool, bool)> {
        let (mut known, mut answers): (Vec<Known>, _) = (Vec::new(), Vec::new());
        for (now, step) in (100_u64..).zip(steps) {
            match step {
                Step::Begin(range) => {
                    writes.begin(*range);
                    known.push(Known { range: *range, end: None });
                }
                Step::End(which) => {
                    let open: Vec<usize> = (0..known.len()).filter(|i| known[*i].end.is_none()).collect();
                    if let Some(i) = open.get(which % open.len().max(1)) {
                        writes.end(known[*i].range, now);
                        known[*i].end = Some(now);
                    }
                }
                Step::Ask(range, back) => {
                    let since = now - back;
                    let recent = |k: &Known| k.end.is_none_or(|end| end >= since) && overlap(k.range, *range);
                    answers.push((writes.quiet_since(*range, since), !known.iter().any(recent)));
                }
            }
        }
        answers
    }

    proptest! {
        /// Whatever the alignment: what it calls quiet is quiet.
        #[test]
        fn quiet_is_never_said_of_a_range_that_was_changed(steps in prop::collection::vec(a_step(1000), 1..300)) {
            for (said, truth) in run(&Writes::new(1 << 20), &steps) {
                prop_assert!(!said || truth);
            }
        }

        /// On blocks of a granule, on one device with a cell for each, the answer is exact.
        #[test]
        fn on_whole_blocks_the_answer_is_exact(steps in prop::collection::vec(a_step(GRANULE), 1..300)) {
            let one = |r: &Range| Range { device: 0, ..*r };
            let steps: Vec<Step> = steps.iter().map(|s| match s {
                Step::Begin(r) => Step::Begin(one(r)),
                Step::End(i) => Step::End(*i),
                Step::Ask(r, back) => Step::Ask(one(r), *back),
            }).collect();
            for (said, truth) in run(&Writes::new(1 << 20), &steps) {
                prop_assert_eq!(said, truth);
            }
        }
    }
}
