//! Receipts of the past: a line each, or one in full.

use super::terminal::Look;
use super::{Table, receipt, timeline, units};
use steadfast_api::{Cause, Kind, Outcome, ProbationOutcome, Receipt, Requester};

const HEAD: [&str; 9] = [">ID", "STARTED", "PORT", "OUTCOME", "UPDATE", "MODE", ">PAUSE", "BY", "WHY"];
/// Columns of a line, and least that it says of why.
const WIDTH: usize = 120;
const LEAST_WHY: usize = 24;

/// Receipts, one line each.
pub(crate) fn list(receipts: &[Receipt]) -> String {
    if receipts.is_empty() {
        return "no receipts\n".to_owned();
    }
    let facts: Vec<[String; 8]> = receipts.iter().map(columns).collect();
    let width =
        |i: usize| facts.iter().map(|row| row[i].chars().count()).max().unwrap_or(0).max(HEAD[i].len());
    let others: usize = (0..facts[0].len()).map(|i| width(i) + 2).sum();
    let room = WIDTH.saturating_sub(others).max(LEAST_WHY);
    let mut table = Table::new(&HEAD);
    for (row, receipt) in facts.into_iter().zip(receipts) {
        table.row(row.into_iter().chain([cut(&why(receipt), room)]));
    }
    table.to_string()
}

/// What a row says beside why.
fn columns(receipt: &Receipt) -> [String; 8] {
    [
        receipt.id.to_string(),
        clock(receipt.started_unix_ms, false),
        if receipt.port.is_empty() { "-".to_owned() } else { receipt.port.clone() },
        ended(receipt),
        change(receipt),
        receipt.mode.map_or("-", |mode| mode.name()).to_owned(),
        if receipt.pause_ns == 0 { "-".to_owned() } else { units::time(receipt.pause_ns) },
        by_briefly(&receipt.by),
    ]
}

/// Who asked for it, in a word: a user, or what made the daemon do it.
fn by_briefly(by: &Requester) -> String {
    match (by.cause, by.who.split(" (").next().unwrap_or_default()) {
        (Cause::Operator, who) if !who.is_empty() => who.to_owned(),
        (cause, "") => cause.name().to_owned(),
        (cause, who) => format!("{who}, {}", cause.name()),
    }
}

/// Why it ended so, or what else is to be known of it.
fn why(receipt: &Receipt) -> String {
    let of_probation = receipt.probation.as_ref().map_or("", |report| report.reason.as_str());
    let noted = receipt.notes.first().map_or("", String::as_str);
    let said = [receipt.reason.as_str(), of_probation, noted].into_iter().find(|text| !text.is_empty());
    said.and_then(|text| text.lines().next()).unwrap_or_default().to_owned()
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

/// A receipt in full: what the update printed, who wanted it, what was checked, and the timeline.
pub(crate) fn show(receipt: &Receipt) -> String {
    show_as(receipt, Look::of_stdout())
}

fn show_as(receipt: &Receipt, look: Look) -> String {
    let mut text = format!("receipt {}, {}\n", receipt.id, clock(receipt.started_unix_ms, true));
    text.push_str(&receipt::facts(&receipt.port, receipt));
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<12} {value}\n"));
        }
    };
    fact("asked for", &receipt.source);
    fact("by", &by(&receipt.by));
    fact("old module", &receipt.from.hash);
    fact("new module", receipt.to.as_ref().map_or("", |to| &to.hash));
    for row in receipt.checks.iter().filter(|row| row.name == "signature" && row.ok) {
        fact("signature", &row.detail);
    }
    if !receipt.checks.is_empty() {
        let refused = receipt.checks.iter().filter(|row| !row.ok).count();
        fact("checks", &format!("{} passed, {refused} refused", receipt.checks.len() - refused));
    }
    text.push_str(&timeline::draw(receipt, look));
    text
}

pub(crate) fn by(by: &Requester) -> String {
    match (by.cause, by.who.as_str()) {
        (cause, "") => cause.name().to_owned(),
        (Cause::Operator, who) => who.to_owned(),
        (cause, who) => format!("{}, {who}", cause.name()),
    }
}

/// The outcome's name, as the API and scripts know it.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Refused => "refused",
        Outcome::Busy => "busy",
        Outcome::RolledBack => "rolled_back",
        Outcome::Stranded => "stranded",
        Outcome::Tried => "tried",
        Outcome::Interrupted => "interrupted",
    }
}

/// How it ended, and what its probation made of it.
fn ended(receipt: &Receipt) -> String {
    let name = outcome(receipt.outcome);
    let report = receipt.probation.as_ref().filter(|_| receipt.outcome == Outcome::Done);
    // On the receipt of a way back it is the probation of the update.
    let mark = match report.filter(|report| report.of_receipt.is_none()).map(|report| report.outcome) {
        Some(ProbationOutcome::Reverted) => ", back",
        Some(ProbationOutcome::NotReverted) => ", worse",
        Some(ProbationOutcome::Killed) => ", killed",
        Some(ProbationOutcome::Unjudged) => ", unjudged",
        _ => "",
    };
    format!("{name}{mark}")
}

fn change(receipt: &Receipt) -> String {
    let from = &receipt.from;
    let old =
        if from.driver.is_empty() { "-".to_owned() } else { format!("{} {}", from.driver, from.version) };
    match &receipt.to {
        Some(_) if receipt.kind == Kind::Live => receipt.source.clone(),
        Some(to) if to.driver == from.driver => format!("{old} -> {}", to.version),
        Some(to) => format!("{old} -> {} {}", to.driver, to.version),
        None if receipt.kind == Kind::Detach => format!("{old} -> -"),
        None => format!("{old} -> ?"),
    }
}

/// Wall clock in the user's time zone.
pub(super) fn clock(unix_ms: u64, zone: bool) -> String {
    let seconds = libc::time_t::try_from(unix_ms / 1000).unwrap_or(libc::time_t::MAX);
    let form = if zone { c"%Y-%m-%d %H:%M:%S %z" } else { c"%Y-%m-%d %H:%M:%S" };
    let mut text = [0_u8; 64];
    // SAFETY: all-zero is a valid `tm`.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to valid values of their types.
    if unsafe { libc::localtime_r(&seconds, &mut parts) }.is_null() {
        return unix_ms.to_string();
    }
    // SAFETY: the buffer has the length that is named, the format ends with NUL, `parts` was filled.
    let length = unsafe { libc::strftime(text.as_mut_ptr().cast(), text.len(), form.as_ptr(), &parts) };
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::receipt::tests::sample;
    use super::*;
    use steadfast_api::ProbationReport;

    #[test]
    fn a_list_says_what_became_what() {
        let refused =
            Receipt { id: 8, to: None, outcome: Outcome::Refused, mode: None, pause_ns: 0, ..sample() };
        let text = list(&[sample(), refused]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("ID  STARTED"), "{text}");
        assert!(lines[1].ends_with("vol0  done     file 1.0.0 -> 1.1.0  adopt  23.4 us  operator"), "{text}");
        assert!(lines[2].ends_with("vol0  refused  file 1.0.0 -> ?      -            -  operator"), "{text}");
        assert!(lines.iter().all(|line| line.len() <= 90), "{text}");
        let long =
            "it is older than the running one, and a reason that goes on for longer than a line has room";
        let by = Requester { cause: Cause::Operator, who: "root (uid 0, pid 7)".into() };
        let text = list(&[Receipt { reason: format!("{long}\nand on"), by, ..sample() }]);
        let line = text.lines().nth(1).expect("a line");
        assert!(line.contains("  root  it is older than") && line.ends_with("..."), "who and why: {text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(list(&[]), "no receipts\n");
        let report = ProbationReport { outcome: ProbationOutcome::Reverted, ..Default::default() };
        let back = Receipt { probation: Some(report), ..sample() };
        assert!(
            list(&[back]).contains("vol0  done, back  file 1.0.0 -> 1.1.0"),
            "what was taken back is marked"
        );
    }

    #[test]
    fn a_receipt_is_shown_with_its_timeline() {
        let text = show_as(&sample(), Look { utf8: false, colour: false });
        for part in
            ["receipt 7, 20", "vol0: done, file 1.1.0 replaced file 1.0.0", "| start_update", "the pause"]
        {
            assert!(text.contains(part), "no '{part}' in:\n{text}");
        }
    }
}
