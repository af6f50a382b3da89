//! Latencies counted in classes whose width grows with the value: eight to each power of two, so that
//! what is read back is at most an eighth too large, whatever its size.
//!
//! A table of plain numbers of a fixed size: counting is an addition, two tables add up, and a table
//! of now less one of then is what happened between.

use serde::{Deserialize, Serialize};

/// Classes to a power of two, as a power of two.
const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
/// First power of two that is not told apart any more: 2^40 ns are 18 minutes.
const TOP: u32 = 40;
/// Classes in all. The last one takes everything above, too.
const CLASSES: usize = (TOP - SUB_BITS) as usize * SUB + SUB;

/// Counts of latencies, nanoseconds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Sparse", into = "Sparse")]
pub struct Histogram {
    counts: [u64; CLASSES],
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: [0; CLASSES], sum_ns: 0, max_ns: 0 }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("quantiles", &self.quantiles()).finish_non_exhaustive()
    }
}

/// The quantiles that are looked at, nanoseconds; 0 where nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many were counted.
    pub count: u64,
    /// Mean.
    pub mean_ns: u64,
    /// Half of them took at most this long.
    pub p50_ns: u64,
    /// 99 of 100 took at most this long.
    pub p99_ns: u64,
    /// 999 of 1000.
    pub p999_ns: u64,
    /// 9999 of 10000.
    pub p9999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Histogram {
    /// Counts one latency.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.record_many(ns, 1);
    }

    /// Counts the same latency `times` times.
    #[inline]
    pub fn record_many(&mut self, ns: u64, times: u64) {
        self.counts[class(ns)] += times;
        self.sum_ns = self.sum_ns.wrapping_add(ns.wrapping_mul(times));
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean, nanoseconds; 0 where nothing was counted.
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count()).unwrap_or(0)
    }

    /// The longest, nanoseconds. Of a difference it is exact when the longest of all was in it, and
    /// else the upper end of its class.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The least latency that `part` out of `of` do not exceed, to the upper end of its class. 0 where
    /// nothing was counted.
    pub fn quantile(&self, part: u64, of: u64) -> u64 {
        let count = u128::from(self.count());
        let rank = (count * u128::from(part)).div_ceil(u128::from(of.max(1))).max(1);
        let mut seen = 0;
        for (class, n) in self.counts.iter().enumerate() {
            seen += u128::from(*n);
            if seen >= rank && *n > 0 {
                return last_of(class).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// The quantiles that are looked at.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.count(),
            mean_ns: self.mean_ns(),
            p50_ns: self.quantile(50, 100),
            p99_ns: self.quantile(99, 100),
            p999_ns: self.quantile(999, 1_000),
            p9999_ns: self.quantile(9_999, 10_000),
            max_ns: self.max_ns,
        }
    }

    /// Adds what another table counted.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What was counted since `before`, an earlier state of the same table.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let mut window = self.clone();
        for (mine, theirs) in window.counts.iter_mut().zip(&before.counts) {
            *mine = mine.saturating_sub(*theirs);
        }
        window.sum_ns = self.sum_ns.wrapping_sub(before.sum_ns);
        if self.max_ns == before.max_ns {
            let highest = window.counts.iter().rposition(|n| *n > 0);
            window.max_ns = highest.map_or(0, |class| last_of(class).min(self.max_ns));
        }
        window
    }
}

/// The class of a value.
#[inline]
const fn class(ns: u64) -> usize {
    if ns < SUB as u64 {
        return ns as usize;
    }
    let power = 63 - ns.leading_zeros();
    if power >= TOP {
        return CLASSES - 1;
    }
    let sub = (ns >> (power - SUB_BITS)) as usize & (SUB - 1);
    (power - SUB_BITS + 1) as usize * SUB + sub
}

/// The lowest value of a class.
const fn first_of(class: usize) -> u64 {
    if class < SUB {
        return class as u64;
    }
    let shift = (class / SUB - 1) as u32;
    ((SUB + class % SUB) as u64) << shift
}

/// The highest value of a class.
const fn last_of(class: usize) -> u64 {
    if class == CLASSES - 1 { u64::MAX } else { first_of(class + 1) - 1 }
}

/// As it is written: only classes that are not empty.
#[derive(Serialize, Deserialize)]
struct Sparse {
    sum_ns: u64,
    max_ns: u64,
    /// Lowest value of a class, nanoseconds, and how many it has.
    classes: Vec<(u64, u64)>,
}

impl From<Histogram> for Sparse {
    fn from(h: Histogram) -> Sparse {
        let used = h.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        let classes = used.map(|(class, n)| (first_of(class), *n)).collect();
        Sparse { sum_ns: h.sum_ns, max_ns: h.max_ns, classes }
    }
}

impl From<Sparse> for Histogram {
    fn from(s: Sparse) -> Histogram {
        let mut h = Histogram { sum_ns: s.sum_ns, max_ns: s.max_ns, ..Histogram::default() };
        for (lowest, n) in s.classes {
            h.counts[class(lowest)] += n;
        }
        h
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_one_another_and_are_an_eighth_wide_at_most() {
        let mut next = 0;
        for c in 0..CLASSES - 1 {
            assert_eq!(first_of(c), next, "no gap before class {c}");
            assert_eq!((class(first_of(c)), class(last_of(c))), (c, c));
            let width = last_of(c) - first_of(c);
            assert!(width * SUB as u64 <= first_of(c).max(1), "class {c} is {width} wide");
            next = last_of(c) + 1;
        }
        assert_eq!((next, class(next), class(u64::MAX)), (first_of(CLASSES - 1), CLASSES - 1, CLASSES - 1));
    }

    /// Against a sorted list.
    #[test]
    fn quantiles_are_at_most_an_eighth_above_the_exact_ones() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let (mut h, mut all) = (Histogram::default(), Vec::new());
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let ns = seed >> (30 + seed % 30);
            h.record(ns);
            all.push(ns);
        }
        all.sort_unstable();
        for (part, of) in [(1, 100), (50, 100), (99, 100), (999, 1_000), (9_999, 10_000), (1, 1)] {
            let exact = all[(20_000 * part / of).max(1) as usize - 1];
            let read = h.quantile(part, of);
            assert!(read >= exact && read - exact <= exact / 8, "{part}/{of}: {read}, exactly {exact}");
        }
        let (q, last) = (h.quantiles(), all[all.len() - 1]);
        assert_eq!((q.count, q.max_ns, q.mean_ns), (20_000, last, all.iter().sum::<u64>() / 20_000));
    }

    #[test]
    fn a_window_is_after_less_before() {
        let mut h = Histogram::default();
        [1_000, 2_000, 900_000].into_iter().for_each(|ns| h.record(ns));
        let before = h.clone();
        (0..100).for_each(|_| h.record(5_000));
        let window = h.since(&before);
        let (low, high) = (5_000, 5_000 + 5_000 / 8);
        let q = window.quantiles();
        assert_eq!((q.count, q.mean_ns), (100, 5_000));
        assert!([q.p50_ns, q.p9999_ns, q.max_ns].iter().all(|ns| (low..=high).contains(ns)), "{q:?}");
        h.record(7_000_000);
        assert_eq!(h.since(&before).max_ns(), 7_000_000, "exact when the longest was in it");
        let mut both = before.clone();
        both.add(&h.since(&before));
        assert_eq!(both, h, "then and between are now");
    }

    #[test]
    fn nothing_counted_reads_as_nothing() {
        let none = Histogram::default();
        assert_eq!(none.quantiles(), Quantiles::default());
        let mut some = Histogram::default();
        some.record(77);
        assert_eq!(some.since(&some.clone()).quantiles(), Quantiles::default());
    }

    #[test]
    fn what_is_written_reads_back_and_is_short() {
        let mut h = Histogram::default();
        [0, 7, 8, 1_000_000, u64::MAX >> 10].into_iter().for_each(|ns| h.record(ns));
        let text = serde_json::to_string(&h).expect("written");
        assert_eq!(text.matches('[').count(), 6, "five classes in a list: {text}");
        assert_eq!(serde_json::from_str::<Histogram>(&text).expect("read"), h);
    }
}
