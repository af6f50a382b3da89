use crate::args::DriverTest;
use crate::failure::{Exit, Failure};
use crate::output;
use std::path::PathBuf;
use steadfast_conformance::{CaseResult, Options, Outcome};
use steadfast_daemon::ModulePath;

/// `steadfast driver test`: the conformance suite in this process, without a daemon. A line as each
/// case ends; with JSON, one document at the end.
pub(crate) fn test(test: &DriverTest, json: bool) -> Result<Exit, Failure> {
    let modules = ModulePath::standard(&[]);
    let locate = |module: &str| -> Result<PathBuf, Failure> { modules.locate(module).map_err(Failure::new) };
    let module = locate(&test.module)?;
    let options = Options {
        params: test.param.iter().cloned().collect(),
        seed: test.seed,
        from: test.from.as_deref().map(locate).transpose()?,
        only: test.only.clone(),
        swaps: test.swaps,
    };
    let mut printed = Ok(());
    let mut after = |case: &CaseResult| {
        if !json && printed.is_ok() {
            printed = output::print(&line(case));
        }
    };
    let results = steadfast_conformance::run(&module, &options, &mut after);
    printed?;
    let failed = results.iter().filter(|case| case.failed()).count();
    if json {
        output::json(&results)?;
    } else {
        let passed = results.iter().filter(|case| case.outcome == Outcome::Passed).count();
        let skipped = results.len() - failed - passed;
        let (module, seed) = (module.display(), test.seed);
        output::print(&format!(
            "{module}: {passed} passed, {failed} failed, {skipped} skipped, seed {seed}\n"
        ))?;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Mismatch })
}

/// One case: its verdict, what it shows, and what there is to say.
fn line(case: &CaseResult) -> String {
    let (verdict, detail) = match &case.outcome {
        Outcome::Passed => ("ok", &case.note),
        Outcome::Failed(why) => ("FAILED", why),
        Outcome::Skipped(why) => ("skipped", why),
    };
    let gap = if detail.is_empty() { "" } else { "\n         " };
    let detail = detail.replace('\n', "\n         ");
    format!("{verdict:<8} {}: {}{gap}{detail}\n", case.name, case.what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_case_that_failed_says_why() {
        let mut case = CaseResult {
            name: "flush",
            what: "Flush is obeyed.",
            outcome: Outcome::Failed("it answered -5".into()),
            note: String::new(),
            took: Duration::ZERO,
        };
        assert_eq!(line(&case), "FAILED   flush: Flush is obeyed.\n         it answered -5\n");
        case.outcome = Outcome::Passed;
        assert_eq!(line(&case), "ok       flush: Flush is obeyed.\n");
    }
}
