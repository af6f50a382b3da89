//! Trials, as people read them.

use super::units;
use steadfast_api::{Release, Shadow, ShadowReport};

/// What a trial found, as lines of a receipt: name and value.
pub(crate) fn facts(report: &ShadowReport, serves: &Release) -> Vec<(&'static str, String)> {
    let r = report;
    let candidate = r.candidate.as_ref().map_or_else(|| "the candidate".to_owned(), name);
    let verdict = match r {
        _ if r.equal => "nothing speaks against",
        _ if !r.cut_short.is_empty() => "cut short, no verdict on",
        _ if r.differ > 0 => "not equal:",
        _ => "not passed:",
    };
    let seconds = units::time(r.duration_ms * 1_000_000);
    let mut facts =
        vec![("trial", format!("{verdict} {candidate}, after {seconds} beside {}", name(serves)))];
    facts.push((
        "compared",
        format!("{} of {} reads, {} differ", count(r.compared), count(r.reads), count(r.differ)),
    ));
    let others = [
        (r.overlapped, "changed in between"),
        (r.skipped, "skipped, the candidate was busy"),
        (r.passed, "not sampled"),
        (r.failed, "failed by the candidate"),
        (r.unanswered, "never answered by it"),
    ];
    let others: Vec<String> =
        others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n))).collect();
    if !others.is_empty() {
        facts.push(("not compared", others.join("; ")));
    }
    if let Some(d) = &r.first_difference {
        let (offset, length) = (d.read_offset, d.read_length);
        facts.push((
            "difference",
            format!(
                "first at byte {} of device {}: {length} bytes at {offset} have checksum {}, the candidate's {}",
                d.offset, d.device, d.live_sum, d.candidate_sum
            ),
        ));
    }
    if r.changes_refused > 0 {
        facts.push((
            "refused",
            format!("{} operations that would have changed something", count(r.changes_refused)),
        ));
    }
    if r.compared > 0 {
        let [a, b, c, d] =
            [r.candidate_p50_ns, r.live_p50_ns, r.candidate_p99_ns, r.live_p99_ns].map(units::time);
        facts.push(("latency", format!("p50 {a} (serving driver {b}), p99 {c} ({d})")));
    }
    facts
}

/// A trial that is under way, in one line.
pub(crate) fn progress(shadow: &Shadow) -> String {
    let failed = match shadow.failed {
        0 => String::new(),
        n => format!(", {} failed", count(n)),
    };
    format!(
        "{}, {} reads compared, {} differ{failed}, {} s left",
        name(&shadow.candidate),
        count(shadow.compared),
        count(shadow.differ),
        shadow.left_ms.div_ceil(1000)
    )
}

fn name(release: &Release) -> String {
    format!("{} {}", release.driver, release.version)
}

fn count(n: u64) -> String {
    units::count(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_api::Difference;

    fn release(version: &str) -> Release {
        Release { driver: "file".into(), version: version.into(), hash: String::new() }
    }

    #[test]
    fn a_trial_says_what_was_compared_and_what_differs() {
        let report = ShadowReport {
            candidate: Some(release("1.1.0")),
            duration_ms: 30_000,
            reads: 5_000,
            compared: 4_812,
            differ: 12,
            overlapped: 188,
            first_difference: Some(Difference {
                device: 0,
                offset: 40_960,
                read_offset: 40_960,
                read_length: 4_096,
                live_sum: "aa".into(),
                candidate_sum: "bb".into(),
            }),
            live_p50_ns: 10_000,
            live_p99_ns: 90_000,
            candidate_p50_ns: 11_000,
            candidate_p99_ns: 80_000,
            ..ShadowReport::default()
        };
        let text: Vec<String> = facts(&report, &release("1.0.0"))
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            text,
            [
                "trial: not equal: file 1.1.0, after 30.00 s beside file 1.0.0",
                "compared: 4,812 of 5,000 reads, 12 differ",
                "not compared: 188 changed in between",
                "difference: first at byte 40960 of device 0: 4096 bytes at 40960 have checksum aa, the \
                 candidate's bb",
                "latency: p50 11.0 us (serving driver 10.0 us), p99 80.0 us (90.0 us)",
            ]
        );
    }

    #[test]
    fn a_trial_under_way_fits_a_line() {
        let shadow =
            Shadow { candidate: release("1.1.0"), compared: 812, differ: 0, failed: 0, left_ms: 13_500 };
        assert_eq!(progress(&shadow), "file 1.1.0, 812 reads compared, 0 differ, 14 s left");
    }
}
