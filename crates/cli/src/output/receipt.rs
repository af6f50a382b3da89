use super::timeline::failed;
use crate::output::{Table, trial, units};
use steadfast_api::{Kind, Outcome, Phase, Receipt, Release, Unload};

/// A receipt in full: what was done, in a sentence, then everything that was measured.
pub(crate) fn text(device: &str, receipt: &Receipt) -> String {
    with_phases(facts(device, receipt), receipt)
}

/// The same without what was done and why, for where an error says that.
pub(crate) fn text_beside_error(device: &str, receipt: &Receipt) -> String {
    let text = format!("{device}: receipt {}\n", receipt.id);
    with_phases(measured(text, receipt), receipt)
}

fn with_phases(mut text: String, receipt: &Receipt) -> String {
    if !receipt.phases.is_empty() {
        let mut table = Table::new(&["  PHASE", ">MICROSECONDS"]);
        for phase in &receipt.phases {
            table.row([format!("  {}", phase.phase.name()), units::micros(phase.ns)]);
        }
        text.push_str(&table.to_string());
    }
    text
}

/// The same without the phases.
pub(crate) fn facts(device: &str, receipt: &Receipt) -> String {
    let mut text = format!("{}\n", sentence(device, receipt));
    if !receipt.reason.is_empty() {
        let reason = receipt.reason.replace('\n', "\n               ");
        text.push_str(&format!("  {:<12} {reason}\n", "reason"));
    }
    measured(text, receipt)
}

fn measured(mut text: String, receipt: &Receipt) -> String {
    let mut fact = |name: &str, value: String| text.push_str(&format!("  {name:<12} {value}\n"));
    if let Some(why) = &receipt.abandoned {
        let old = release(&receipt.from);
        fact("abandoned", format!("{old} did not let go and was put away without its state: {why}"));
    }
    if receipt.properties.is_some() {
        text.push_str(&crate::output::params::facts(receipt));
        return text;
    }
    let (before, after) = (receipt.generation_before, receipt.generation_after);
    fact(
        "generation",
        if before == after { format!("{before}, unchanged") } else { format!("{before} -> {after}") },
    );
    if let Some(mode) = receipt.mode {
        fact("mode", mode.name().to_owned());
    }
    if let Some(report) = &receipt.shadow {
        trial::facts(report, &receipt.from).into_iter().for_each(|(name, value)| fact(name, value));
    }
    fact("requests", requests(receipt));
    let pause = match receipt.pause_ns {
        0 => "none: requests were never held".to_owned(),
        ns => format!(
            "{}, longest stall of a request {}",
            units::time(ns),
            units::time(receipt.longest_stall_ns)
        ),
    };
    fact("pause", pause);
    fact("unload", unload(receipt));
    for (name, value) in receipt.probation.iter().flat_map(super::probation::facts) {
        fact(name, value);
    }
    for note in &receipt.notes {
        fact("note", note.clone());
    }
    text
}

/// What was actually done, in one line.
pub(crate) fn sentence(device: &str, receipt: &Receipt) -> String {
    if matches!(receipt.kind, Kind::Activation | Kind::Live) {
        return crate::output::params::sentence(receipt);
    }
    if let Some(sentence) = crate::output::ports::sentence(receipt) {
        return sentence;
    }
    let old = release(&receipt.from);
    let new = receipt.to.as_ref().map_or_else(|| "the module".to_owned(), release);
    match receipt.outcome {
        Outcome::Refused | Outcome::Busy if receipt.nobody_serves => {
            let word = super::history::outcome(receipt.outcome);
            format!("{device}: {word}, nothing was touched; no driver serves, as before")
        }
        Outcome::Interrupted => {
            format!("{device}: the daemon ended in the midst of replacing {old} by {new}")
        }
        Outcome::RolledBack if failed(receipt) == Some(Phase::Disconnect) => {
            format!("{device}: rolled back, {old} did not let go and serves on; {new} was not put in")
        }
        Outcome::RolledBack if failed(receipt) == Some(Phase::Pending) => {
            format!(
                "{device}: rolled back, {old} did not finish its requests and serves on; {new} was not put in"
            )
        }
        Outcome::RolledBack if failed(receipt) == Some(Phase::Transfer) => {
            format!("{device}: rolled back, {old}'s state cannot go over to {new}; {old} serves again")
        }
        Outcome::Done if old == new => format!("{device}: done, {new} was reloaded"),
        Outcome::Done => format!("{device}: done, {new} replaced {old}"),
        Outcome::Tried => format!("{device}: tried, nothing speaks against {new}; {old} serves"),
        Outcome::Refused => format!("{device}: refused, {old} serves and nothing was touched"),
        Outcome::Busy => format!("{device}: busy, {old} serves and nothing was touched"),
        Outcome::RolledBack => format!("{device}: rolled back, {new} failed and {old} serves again"),
        Outcome::Stranded => {
            format!(
                "{device}: stranded, {new} does not serve and {old} has not come back; requests are held until one of \
                 them does, or an update puts another there"
            )
        }
    }
}

fn requests(receipt: &Receipt) -> String {
    let mut text = format!("{} held, {} drained, {} adopted", receipt.held, receipt.drained, receipt.adopted);
    if receipt.handed_back > 0 {
        text.push_str(&format!(", {} handed back", receipt.handed_back));
    }
    text
}

fn unload(receipt: &Receipt) -> String {
    let module = match receipt.outcome {
        Outcome::Done if receipt.abandoned.is_some() => {
            return "old module pinned: its driver did not let go".to_owned();
        }
        Outcome::Done => "old module",
        Outcome::Interrupted => return "with the daemon's end every module left memory".to_owned(),
        _ => "new module",
    };
    match receipt.unload {
        Unload::Unloaded => format!("{module} unloaded: no mapping of it is left"),
        Unload::Pinned => {
            format!("{module} pinned: something keeps it in memory, or a call into it has not returned")
        }
        Unload::InUse => format!("{module} still in use by another port"),
        Unload::None => "nothing was loaded".to_owned(),
    }
}

fn release(release: &Release) -> String {
    format!("{} {}", release.driver, release.version)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use steadfast_api::{Mode, Phase, PhaseTime};

    /// A receipt as an update of a busy device writes it.
    pub(crate) fn sample() -> Receipt {
        let release =
            |version: &str| Release { driver: "file".into(), version: version.into(), hash: "00".repeat(32) };
        Receipt {
            from: release("1.0.0"),
            to: Some(release("1.1.0")),
            outcome: Outcome::Done,
            reason: String::new(),
            mode: Some(Mode::Adopt),
            phases: vec![
                PhaseTime { phase: Phase::Stage, ns: 812_000 },
                PhaseTime { phase: Phase::StartUpdate, ns: 300 },
            ],
            held: 4,
            drained: 0,
            adopted: 28,
            pause_ns: 23_400,
            longest_stall_ns: 25_000,
            generation_before: 1,
            generation_after: 2,
            unload: Unload::Unloaded,
            ..Receipt::blank(7, "vol0", 1_700_000_000_000)
        }
    }

    #[test]
    fn a_receipt_says_everything() {
        let expected = "\
vol0: done, file 1.1.0 replaced file 1.0.0
  generation   1 -> 2
  mode         adopt
  requests     4 held, 0 drained, 28 adopted
  pause        23.4 us, longest stall of a request 25.0 us
  unload       old module unloaded: no mapping of it is left
  PHASE         MICROSECONDS
  stage                812.0
  start_update           0.3
";
        assert_eq!(text("vol0", &sample()), expected);
    }

    #[test]
    fn a_failure_says_what_serves_now() {
        let receipt = Receipt {
            outcome: Outcome::RolledBack,
            reason: "connect: -5".into(),
            generation_after: 1,
            ..sample()
        };
        let text = text("vol0", &receipt);
        assert!(
            text.starts_with("vol0: rolled back, file 1.1.0 failed and file 1.0.0 serves again\n"),
            "{text}"
        );
        assert!(text.contains("reason       connect: -5\n"), "{text}");
        assert!(text.contains("generation   1, unchanged\n"), "{text}");
        assert!(text.contains("new module unloaded"), "{text}");
    }
}
