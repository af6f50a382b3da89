//! Which requests a fault is for.

use crate::Kinds;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use steadfast_driver::{Block, Op, Request, Result, Size};

/// Requests by kind and place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rule {
    kinds: Kinds,
    start: u64,
    end: Option<u64>,
}

impl Rule {
    /// Requests of the kinds in the list `ops` that touch `length` bytes from `offset` on, or
    /// everything from there on.
    ///
    /// # Errors
    /// `INVAL`: `ops` is not a list of kinds.
    pub fn new(ops: &str, offset: Size, length: Option<Size>) -> Result<Rule> {
        let end = length.map(|length| offset.0.saturating_add(length.0));
        Ok(Rule { kinds: Kinds::parse("ops", ops)?, start: offset.0, end })
    }

    /// Whether the request is one of them.
    #[inline]
    pub fn matches<D: Block>(&self, req: &Request<'_, D>) -> bool {
        self.kinds.has(req.op()) && self.covers(req.op(), req.offset(), req.length())
    }

    /// A flush is for all of the device, and so only a rule for all of it covers one.
    fn covers(&self, op: Op, offset: u64, length: u64) -> bool {
        if op == Op::Flush {
            return self.start == 0 && self.end.is_none();
        }
        offset.saturating_add(length) > self.start && self.end.is_none_or(|end| offset < end)
    }
}

/// Numbers that look random and depend on nothing but a seed and how many were drawn.
#[derive(Debug, Default)]
pub struct Sequence {
    seed: u64,
    drawn: AtomicU64,
}

impl Sequence {
    /// From its beginning.
    pub fn new(seed: u64) -> Sequence {
        Sequence { seed, drawn: AtomicU64::new(0) }
    }

    /// How many came before, and the next number. (SplitMix64, Steele and others 2014.)
    #[inline]
    pub fn next(&self) -> (u64, u64) {
        let n = self.drawn.fetch_add(1, Relaxed);
        let mut z = self.seed.wrapping_add((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n, z ^ (z >> 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(offset: u64, length: Option<u64>) -> Rule {
        Rule::new("all", Size(offset), length.map(Size)).expect("valid")
    }

    #[test]
    fn a_range_is_touched_at_its_edges() {
        let rule = rule(4096, Some(4096));
        assert!(!rule.covers(Op::Read, 0, 4096) && !rule.covers(Op::Read, 8192, 512));
        assert!(rule.covers(Op::Read, 0, 4097) && rule.covers(Op::Write, 8191, 1));
        assert!(!rule.covers(Op::Flush, 0, 0), "a flush is not for a part of the device");
    }

    #[test]
    fn everything_is_covered_without_a_range() {
        let rule = rule(0, None);
        assert!(rule.covers(Op::Flush, 0, 0) && rule.covers(Op::Read, u64::MAX, 1));
    }

    #[test]
    fn the_same_seed_draws_the_same_numbers() {
        let draw = |seed| {
            let sequence = Sequence::new(seed);
            (0..8).map(|_| sequence.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(draw(1)[7].0, 7);
    }
}
