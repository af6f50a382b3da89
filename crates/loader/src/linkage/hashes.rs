//! The hash tables by which the linker finds symbols. How many symbols there are is only said by them.

use super::Numbers;
use super::map::Map;
use super::symbols::Symbol;
use crate::error::Problem;

fn wrong() -> Problem {
    Problem::Damaged("its hash table makes no sense".to_owned())
}

fn gnu_wrong() -> Problem {
    Problem::Damaged("its GNU hash table makes no sense".to_owned())
}

/// The hash of the generic ELF specification.
pub(super) fn old_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(byte.into());
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(byte.into()))
}

/// The older table.
pub(super) struct OldHash<'d> {
    table: &'d [u8],
    buckets: usize,
    /// Symbols, the null one included.
    pub(super) count: usize,
}

impl<'d> OldHash<'d> {
    pub(super) fn of(map: &Map<'d>, at: u64) -> Result<OldHash<'d>, Problem> {
        let table = map.rest(at).ok_or_else(wrong)?;
        let number = |at: usize| table.u32_at(at).map(|number| number as usize).ok_or_else(wrong);
        let (buckets, count) = (number(0)?, number(4)?);
        let numbers = buckets.checked_add(count).and_then(|numbers| numbers.checked_add(2));
        let bytes = numbers.and_then(|numbers| numbers.checked_mul(4)).ok_or_else(wrong)?;
        let table = table.get(..bytes).filter(|_| buckets > 0).ok_or_else(wrong)?;
        Ok(OldHash { table, buckets, count })
    }

    /// Each chain ends, and what is in it belongs there.
    pub(super) fn check(&self, symbols: &[Symbol<'_>]) -> Result<(), Problem> {
        let number = |place: usize| self.table.u32_at(place * 4).map(|number| number as usize);
        // A symbol that is reached twice is in a circle, or in two chains.
        let mut reached = vec![false; self.count];
        for bucket in 0..self.buckets {
            let mut place = number(2 + bucket).ok_or_else(wrong)?;
            while place != 0 {
                let first = reached.get_mut(place).is_some_and(|seen| !std::mem::replace(seen, true));
                let here = symbols.get(place).map(|symbol| old_hash(symbol.name) as usize % self.buckets);
                if !first || here != Some(bucket) {
                    return Err(wrong());
                }
                place = number(2 + self.buckets + place).ok_or_else(wrong)?;
            }
        }
        Ok(())
    }
}

/// The newer table: a filter, buckets, and for each symbol from `first` on its hash, the lowest bit of
/// which ends a chain.
pub(super) struct GnuHash<'d> {
    table: &'d [u8],
    buckets: usize,
    words: usize,
    shift: u32,
    first: usize,
    /// Symbols, those before the table begins included.
    pub(super) count: usize,
}

impl<'d> GnuHash<'d> {
    pub(super) fn of(map: &Map<'d>, at: u64) -> Result<GnuHash<'d>, Problem> {
        let table = map.rest(at).ok_or_else(gnu_wrong)?;
        let number = |at: usize| table.u32_at(at).map(|number| number as usize).ok_or_else(gnu_wrong);
        let (buckets, first, words, shift) = (number(0)?, number(4)?, number(8)?, number(12)?);
        let bytes = words.checked_mul(8).and_then(|bytes| buckets.checked_mul(4)?.checked_add(bytes));
        bytes
            .and_then(|bytes| bytes.checked_add(16))
            .filter(|bytes| *bytes <= table.len())
            .ok_or_else(gnu_wrong)?;
        if buckets == 0 || first == 0 || !words.is_power_of_two() || shift >= 32 {
            return Err(gnu_wrong());
        }
        let mut hash = GnuHash { table, buckets, words, shift: shift as u32, first, count: first };
        let starts = (0..buckets).map(|bucket| hash.bucket(bucket)).collect::<Result<Vec<_>, _>>()?;
        // Every chain ends before the last one does, and that ends with the last symbol.
        if let Some(mut last) = starts.into_iter().max().filter(|last| *last >= first) {
            while hash.chain(last)? & 1 == 0 {
                last += 1;
            }
            hash.count = last + 1;
        }
        Ok(hash)
    }

    fn bucket(&self, bucket: usize) -> Result<usize, Problem> {
        let number = self.table.u32_at(16 + self.words * 8 + bucket * 4).ok_or_else(gnu_wrong)? as usize;
        if number == 0 || number >= self.first { Ok(number) } else { Err(gnu_wrong()) }
    }

    fn chain(&self, symbol: usize) -> Result<u32, Problem> {
        let before = 16 + self.words * 8 + self.buckets * 4;
        let at = (symbol - self.first).checked_mul(4).and_then(|bytes| bytes.checked_add(before));
        at.and_then(|at| self.table.u32_at(at)).ok_or_else(gnu_wrong)
    }

    /// Every symbol of the table can be found by its name.
    pub(super) fn check(&self, symbols: &[Symbol<'_>]) -> Result<(), Problem> {
        let (mut bucket, mut starts) = (None, true);
        for (number, symbol) in symbols.iter().enumerate().skip(self.first) {
            let hash = gnu_hash(symbol.name);
            let chained = self.chain(number)?;
            let here = hash as usize % self.buckets;
            let word = self.table.u64_at(16 + (hash as usize / 64) % self.words * 8).ok_or_else(gnu_wrong)?;
            let filtered = word >> (hash % 64) & word >> ((hash >> self.shift) % 64) & 1 == 1;
            let begun = if starts { self.bucket(here)? == number } else { bucket == Some(here) };
            if chained | 1 != hash | 1 || !filtered || !begun {
                return Err(gnu_wrong());
            }
            (bucket, starts) = (Some(here), chained & 1 == 1);
        }
        Ok(())
    }
}
