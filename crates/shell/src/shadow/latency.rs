/// Eighths of each power of two.
const PARTS: u32 = 8;
const BUCKETS: usize = 62 * PARTS as usize;

/// How long things took: counts by size, an eighth of a power of two fine.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Latency {
    /// Counts one.
    pub fn record(&mut self, ns: u64) {
        let count = &mut self.counts[bucket(ns)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Latency) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
        self.total += other.total;
    }

    /// Nanoseconds that `permille` thousandths of all did not exceed, rounded up to the bucket's end;
    /// 0 when nothing was counted.
    pub fn quantile(&self, permille: u64) -> u64 {
        let rank = (self.total * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return end(i);
            }
        }
        0
    }
}

fn bucket(ns: u64) -> usize {
    let parts = u64::from(PARTS);
    if ns < parts {
        return ns as usize;
    }
    let power = ns.ilog2();
    let part = ns >> (power - PARTS.ilog2()) & (parts - 1);
    ((power - 2) as u64 * parts + part) as usize
}

/// Largest number in a bucket.
fn end(bucket: usize) -> u64 {
    let (parts, bucket) = (u64::from(PARTS), bucket as u64);
    if bucket < parts {
        return bucket;
    }
    let (power, part) = (bucket / parts + 2, bucket % parts);
    let width = 1_u64 << (power - 3);
    ((parts + part) * width).saturating_add(width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_lies_within_an_eighth_of_its_bucket() {
        let mut last = None;
        for shift in 0..64 {
            for ns in [1_u64 << shift, (1 << shift) + (1 << shift) / 3, (1_u64 << shift).wrapping_sub(1)] {
                let b = bucket(ns);
                assert!(b < BUCKETS && end(b) >= ns, "{ns} in {b}, which ends at {}", end(b));
                assert!(end(b) - ns <= ns / 8, "{ns} in {b}, which ends at {}", end(b));
            }
            let b = Some(bucket(1 << shift));
            assert!(b > last, "buckets ascend");
            last = b;
        }
    }

    #[test]
    fn quantiles_are_those_of_all_that_was_added() {
        let (mut a, mut b) = (Latency::default(), Latency::default());
        assert_eq!(a.quantile(500), 0, "nothing counted");
        (0..90).for_each(|_| a.record(1_000));
        (0..10).for_each(|_| b.record(1_000_000));
        a.add(&b);
        assert!((1_000..1_125).contains(&a.quantile(500)), "{}", a.quantile(500));
        assert!((1_000..1_125).contains(&a.quantile(900)));
        assert!((1_000_000..1_125_000).contains(&a.quantile(990)), "{}", a.quantile(990));
    }
}
