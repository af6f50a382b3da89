//! Medians and percentiles.

use serde_json::{Map, Value, json};

/// The middle value; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The value that `percent` of all do not exceed; 0 of none.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The points of latencies that are told: the middle, the slow ones and the slowest.
const POINTS: [(&str, f64); 5] =
    [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99), ("max", 100.0)];

/// Prints latencies in microseconds with something going on beside those without it, and their ratio.
pub(crate) fn beside(without: &[f64], with: &[f64]) -> Value {
    println!("  latency, us   without      with     ratio");
    let mut rows = Map::new();
    for (name, percent) in POINTS {
        let (calm, moved) = (percentile(without, percent), percentile(with, percent));
        let ratio = moved / calm.max(0.001);
        println!("  {name:<8} {calm:>12.1} {moved:>9.1} {ratio:>8.2}x");
        let row = json!({ "without_us": calm, "with_us": moved, "ratio": ratio });
        rows.insert(name.to_owned(), row);
    }
    Value::Object(rows)
}

/// A distribution, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of values in nanoseconds.
    pub(crate) fn of_ns(values: &[u64]) -> Spread {
        let us: Vec<f64> = values.iter().map(|n| *n as f64 / 1000.0).collect();
        Spread { p50: percentile(&us, 50.0), p99: percentile(&us, 99.0), max: percentile(&us, 100.0) }
    }

    /// As JSON.
    pub(crate) fn json(self) -> Value {
        json!({ "p50_us": self.p50, "p99_us": self.p99, "max_us": self.max })
    }

    /// This over that, at the middle and at the 99th percentile, as text.
    pub(crate) fn ratio(self, other: Spread) -> String {
        format!(
            "{:.1}x at p50, {:.1}x at p99",
            self.p50 / other.p50.max(0.001),
            self.p99 / other.p99.max(0.001)
        )
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:>8.1}  p99 {:>8.1}  max {:>8.1} us", self.p50, self.p99, self.max)
    }
}
