//! The phases of an update as bars: when each began and how long it took.
//!
//! The phases outside the pause take milliseconds, those within it microseconds. So the first line shows
//! both on one scale, and below it each part has a scale of its own.

use super::terminal::Look;
use super::units;
use steadfast_api::{Outcome, Phase, PhaseTime, Receipt};

/// Cells of the longest bar: with name and time before it, a line has 80 columns at most.
const WIDTH: usize = 44;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

/// A part of the update, whose bars share one scale.
struct Part<'a> {
    title: String,
    phases: &'a [PhaseTime],
    pause: bool,
}

/// The timeline; empty when there were no phases.
pub(crate) fn draw(receipt: &Receipt, look: Look) -> String {
    if receipt.phases.is_empty() {
        return String::new();
    }
    let parts = parts(receipt);
    let mut text = overview(&parts, look);
    text.push_str(&trial(receipt, look));
    let failed = failed(receipt);
    for part in &parts {
        text.push_str(&format!("  {}\n", part.title));
        let total = total(part.phases).max(1);
        let mut begin = 0;
        for phase in part.phases {
            let wrong = failed == Some(phase.phase);
            text.push_str(&line(phase, bar(begin, phase.ns, total, look), part.pause, wrong, look));
            begin += phase.ns;
        }
    }
    text
}

fn parts(receipt: &Receipt) -> Vec<Part<'_>> {
    let phases = &receipt.phases[..];
    let inside = |phase: &PhaseTime| !matches!(phase.phase, Phase::Unload) && !before(phase.phase);
    // Without a pause, what comes last (unload after a refusal) still comes after the rest.
    let rest = || phases.iter().position(|p| p.phase == Phase::Unload).unwrap_or(phases.len());
    let begin = phases.iter().position(inside).unwrap_or_else(rest);
    let end = phases.iter().rposition(inside).map_or(begin, |last| last + 1);
    let title = |name: &str, part: &[PhaseTime]| format!("{name}: {}", units::time(total(part)));
    let (first, rest) = (&phases[..begin], &phases[end..]);
    let first_name = if end > begin { "before the pause" } else { "before any pause" };
    let pause = match receipt.pause_ns {
        0 => title("the pause", &phases[begin..end]),
        ns => format!("the pause: {}", units::time(ns)),
    };
    [
        Part { title: title(first_name, first), phases: first, pause: false },
        Part { title: pause, phases: &phases[begin..end], pause: true },
        Part { title: title("afterwards", rest), phases: rest, pause: false },
    ]
    .into_iter()
    .filter(|part| !part.phases.is_empty())
    .collect()
}

/// The trial comes before the module is loaded to serve, and is nobody's pause: a line of its own.
fn trial(receipt: &Receipt, look: Look) -> String {
    let Some(report) = &receipt.shadow else { return String::new() };
    let time = units::time(report.duration_ms * 1_000_000);
    let name = if report.equal { "trial" } else { "trial !" };
    let name = if report.equal { name.to_owned() } else { look.paint(RED, name) };
    format!("  {name} beside the driver that serves: {time}\n")
}

fn before(phase: Phase) -> bool {
    matches!(phase, Phase::Stage | Phase::Check | Phase::Load | Phase::Prepare)
}

/// Everything on one scale, the pause marked however short it was.
fn overview(parts: &[Part<'_>], look: Look) -> String {
    let all: u64 = parts.iter().map(|part| total(part.phases)).sum();
    let mut bar = String::new();
    for part in parts {
        let cells = (u128::from(total(part.phases)) * WIDTH as u128 / u128::from(all.max(1))) as usize;
        let (full, pause) = if look.utf8 { ("░", "█") } else { ("-", "#") };
        let cell = if part.pause { pause } else { full };
        let colour = if part.pause { YELLOW } else { GREEN };
        bar.push_str(&look.paint(colour, &cell.repeat(cells.max(1))));
    }
    let mark = if parts.iter().any(|part| part.pause) {
        if look.utf8 { "  (█ the pause)" } else { "  (# the pause)" }
    } else {
        ""
    };
    format!("    {:<15} {:>13}  {bar}\n{}", "in all", units::time(all), legend(mark))
}

fn legend(mark: &str) -> String {
    if mark.is_empty() { String::new() } else { format!("{:>35}{}\n", "", mark.trim_start()) }
}

fn line(phase: &PhaseTime, bar: String, pause: bool, wrong: bool, look: Look) -> String {
    let edge = match (pause, look.utf8) {
        (false, _) => " ",
        (true, true) => "┃",
        (true, false) => "|",
    };
    let colour = match (wrong, pause) {
        (true, _) => RED,
        (_, true) => YELLOW,
        (_, false) => GREEN,
    };
    let name = if wrong { format!("{} !", phase.phase.name()) } else { phase.phase.name().to_owned() };
    let text =
        format!("  {edge} {name:<15} {:>10} us  {}", units::micros(phase.ns), look.paint(colour, &bar));
    format!("{}\n", text.trim_end())
}

/// A bar that begins after `begin` of `total`. What took any time at all is seen.
fn bar(begin: u64, ns: u64, total: u64, look: Look) -> String {
    let eighths = |ns: u64| (u128::from(ns) * (WIDTH * 8) as u128 / u128::from(total)) as usize;
    let start = (eighths(begin) / 8).min(WIDTH - 1);
    let length = eighths(ns).min((WIDTH - start) * 8);
    let (whole, part) = (length / 8, length % 8);
    let mut text = " ".repeat(start);
    if look.utf8 {
        text.push_str(&"█".repeat(whole));
        let part = if whole == 0 && ns > 0 { part.max(1) } else { part };
        text.push_str(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][part]);
    } else {
        text.push_str(&"#".repeat(whole));
        if whole == 0 && ns > 0 {
            text.push('.');
        }
    }
    text
}

/// The phase that did not succeed.
pub(super) fn failed(receipt: &Receipt) -> Option<Phase> {
    // A trial that found what it was to find has not failed.
    let tried = receipt.shadow.as_ref().is_some_and(|report| !report.equal);
    if tried || matches!(receipt.outcome, Outcome::Done | Outcome::Tried) {
        return None;
    }
    let gone = receipt.phases.iter().map(|phase| phase.phase);
    gone.take_while(|phase| !matches!(phase, Phase::CancelUpdate | Phase::Unload)).last()
}

fn total(phases: &[PhaseTime]) -> u64 {
    phases.iter().map(|phase| phase.ns).sum()
}

#[cfg(test)]
mod tests {
    use super::super::receipt::tests::sample;
    use super::*;
    use steadfast_api::ShadowReport;

    const PLAIN: Look = Look { utf8: false, colour: false };

    fn phases(list: &[(Phase, u64)]) -> Vec<PhaseTime> {
        list.iter().map(|(phase, ns)| PhaseTime { phase: *phase, ns: *ns }).collect()
    }

    fn update() -> Receipt {
        let phases = phases(&[
            (Phase::Stage, 800_000),
            (Phase::Check, 40_000),
            (Phase::Load, 900_000),
            (Phase::Prepare, 160_000),
            (Phase::StartUpdate, 400),
            (Phase::Pending, 0),
            (Phase::Disconnect, 3_000),
            (Phase::Transfer, 600),
            (Phase::Connect, 18_000),
            (Phase::FinishUpdate, 2_000),
            (Phase::Unload, 76_000),
        ]);
        Receipt { phases, pause_ns: 24_000, ..sample() }
    }

    #[test]
    fn a_timeline_without_colour_and_utf8() {
        let expected = [
            "    in all                 2.0 ms  -----------------------------------------#-",
            "                                   (# the pause)",
            "  before the pause: 1.9 ms",
            "    stage                800.0 us  ##################",
            "    check                 40.0 us                    .",
            "    load                 900.0 us                     ####################",
            "    prepare              160.0 us                                          ###",
            "  the pause: 24.0 us",
            "  | start_update           0.4 us  .",
            "  | pending                0.0 us",
            "  | disconnect             3.0 us  #####",
            "  | transfer               0.6 us        #",
            "  | connect               18.0 us         #################################",
            "  | finish_update          2.0 us                                          ###",
            "  afterwards: 76.0 us",
            "    unload                76.0 us  ############################################",
            "",
        ]
        .join("\n");
        let text = draw(&update(), PLAIN);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let mut receipt = update();
        receipt.phases[5].ns = 44_999_999_000;
        for look in [PLAIN, Look { utf8: true, colour: false }] {
            for line in draw(&receipt, look).lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn the_phase_that_failed_is_marked() {
        let mut receipt = update();
        receipt.outcome = Outcome::RolledBack;
        receipt.phases.truncate(9);
        receipt.phases.extend(phases(&[(Phase::CancelUpdate, 5_000), (Phase::Unload, 70_000)]));
        let text = draw(&receipt, PLAIN);
        assert!(text.contains("  | connect ! ") && !text.contains("cancel_update !"), "{text}");
        receipt.outcome = Outcome::Refused;
        receipt.phases.truncate(2);
        let text = draw(&receipt, PLAIN);
        assert!(text.contains("check !") && text.contains("before any pause"), "{text}");
        assert!(!text.contains("the pause)"), "{text}");
    }

    #[test]
    fn what_was_refused_before_the_pause_has_none() {
        let mut receipt = update();
        (receipt.outcome, receipt.pause_ns) = (Outcome::Refused, 0);
        receipt.phases.truncate(4);
        receipt.phases.extend(phases(&[(Phase::Unload, 70_000)]));
        let text = draw(&receipt, PLAIN);
        assert!(text.contains("before any pause: 1.9 ms") && text.contains("afterwards: 70.0 us"), "{text}");
        assert!(text.contains("prepare ! ") && !text.contains("the pause"), "{text}");
    }

    #[test]
    fn a_trial_has_its_time_and_no_phase_failed_where_it_passed() {
        let mut receipt = update();
        (receipt.outcome, receipt.pause_ns) = (Outcome::Tried, 0);
        receipt.phases.truncate(3);
        let report = ShadowReport { only: true, equal: true, duration_ms: 30_000, ..Default::default() };
        receipt.shadow = Some(report.clone());
        let text = draw(&receipt, PLAIN);
        assert!(text.contains("  trial beside the driver that serves: 30.00 s\n"), "{text}");
        assert!(!text.contains('!'), "{text}");
        receipt.outcome = Outcome::Refused;
        receipt.shadow = Some(ShadowReport { equal: false, ..report });
        let text = draw(&receipt, PLAIN);
        assert!(text.contains("trial !") && !text.contains("load !"), "{text}");
    }

    #[test]
    fn nothing_gone_through_draws_nothing() {
        assert_eq!(draw(&Receipt { phases: Vec::new(), ..sample() }, PLAIN), "");
    }
}
