//! Watched folders, and what devices do about newer modules in them.

use semver::VersionReq;
use std::path::PathBuf;
use std::time::Duration;
use steadfast_shell::auto::AutoUpdate;
use steadfast_shell::probation::{LatencyBound, Terms};

/// How long a driver that came by itself is on probation when nobody says otherwise.
const PROBATION: Duration = Duration::from_secs(30);

/// Watched folders.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchConfig {
    /// Folders; none: nothing is watched.
    pub folders: Vec<PathBuf>,
    /// How long a file has to stay as it is before it is read.
    pub settle: Duration,
    /// How often to look where the kernel gives no notice.
    pub rescan: Duration,
    /// What devices do that have no policy of their own.
    pub default: AutoConfig,
}

impl Default for WatchConfig {
    fn default() -> WatchConfig {
        WatchConfig {
            folders: Vec::new(),
            settle: Duration::from_secs(2),
            rescan: Duration::from_secs(30),
            default: AutoConfig::default(),
        }
    }
}

/// What a device does about newer modules.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoConfig {
    /// Nothing, say so, or take them.
    pub policy: AutoUpdate,
    /// Versions that are wanted; the same major version when missing.
    pub version: Option<VersionReq>,
    /// The probation of what is taken.
    pub terms: Terms,
}

impl Default for AutoConfig {
    fn default() -> AutoConfig {
        let terms = Terms::new(PROBATION.as_nanos() as u64);
        AutoConfig { policy: AutoUpdate::default(), version: None, terms }
    }
}

/// A share: a number with `%`, or a plain one from 0 to 1.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a share (a percentage such as 0.5%, or a number from 0 to 1)");
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map_err(|_| wrong())? / unit;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(wrong()) }
}

/// A bound on latency: a factor such as `2x`, or a time such as `10ms`.
pub fn parse_latency_bound(text: &str) -> Result<LatencyBound, String> {
    let wrong = || {
        format!(
            "`{text}` is not a bound on latency (a factor from 1x such as 2.5x, or a time with us, ms or s)"
        )
    };
    if let Some(factor) = text.strip_suffix(['x', 'X']) {
        let factor = factor.parse::<f64>().map_err(|_| wrong())?;
        let good = (1.0..=1e6).contains(&factor);
        return if good { Ok(LatencyBound::Factor(factor)) } else { Err(wrong()) };
    }
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let ns = number.checked_mul(unit).filter(|ns| *ns > 0).ok_or_else(wrong)?;
    Ok(LatencyBound::Ns(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_or_numbers() {
        assert_eq!(parse_share("1%"), Ok(0.01));
        assert_eq!(parse_share("0.5 %"), Ok(0.005));
        assert_eq!(parse_share("0"), Ok(0.0));
        for wrong in ["2", "101%", "-1%", "much", "", "%", "nan"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_on_latency_have_units() {
        assert_eq!(parse_latency_bound("2.5x"), Ok(LatencyBound::Factor(2.5)));
        assert_eq!(parse_latency_bound("10ms"), Ok(LatencyBound::Ns(10_000_000)));
        assert_eq!(parse_latency_bound("300us"), Ok(LatencyBound::Ns(300_000)));
        for wrong in ["3", "0.5x", "0ms", "ms", "x", "", "5 minutes", "99999999999999999s"] {
            let error = parse_latency_bound(wrong).expect_err(wrong);
            assert!(error.contains("2.5x"), "{error}");
        }
    }
}
