use super::*;
use crate::probation::ProbationReport;
use serde_json::json;

fn release(version: &str) -> Release {
    Release { driver: "file".into(), version: version.into(), hash: format!("hash of {version}") }
}

fn offers(versions: &[&str]) -> Vec<Offer> {
    let offer = |v: &&str| Offer { release: release(v), path: format!("/modules/{v}.so") };
    versions.iter().map(offer).collect()
}

fn chosen(running: &str, requirement: Option<&str>, versions: &[&str]) -> Option<String> {
    let requirement = requirement.map(|text| VersionReq::parse(text).expect("a requirement"));
    let offers = offers(versions);
    let choice = choose(&release(running), requirement.as_ref(), &offers, |_| None);
    choice.take.map(|offer| offer.release.version.clone())
}

#[test]
fn the_newest_of_the_same_major_version_is_taken() {
    let there = ["1.0.0", "1.2.0", "1.10.0", "2.0.0", "1.11.0-rc.1", "1.9.0"];
    assert_eq!(chosen("1.1.0", None, &there).as_deref(), Some("1.10.0"));
    assert_eq!(chosen("1.1.0", Some(">=1.1, <1.10"), &there).as_deref(), Some("1.9.0"));
    assert_eq!(chosen("1.1.0", Some("*"), &there).as_deref(), Some("2.0.0"));
    assert_eq!(chosen("0.3.0", None, &["0.4.0"]), None, "before 1.0 the second number is the major one");
}

#[test]
fn never_older_and_never_the_same_and_never_another_driver() {
    assert_eq!(chosen("1.1.0", Some("*"), &["1.1.0", "1.0.0", "0.9.0"]), None);
    let mut offers = offers(&["1.2.0"]);
    offers[0].release.driver = "ram".into();
    assert_eq!(choose(&release("1.1.0"), None, &offers, |_| None), Choice::default());
}

#[test]
fn what_is_bad_is_passed_over_and_named() {
    let offers = offers(&["1.3.0", "1.2.0"]);
    let bad = |hash: &str| (hash == "hash of 1.3.0").then(|| "it went back".to_owned());
    let choice = choose(&release("1.1.0"), None, &offers, bad);
    assert_eq!(choice.take, Some(&offers[1]));
    assert_eq!(choice.passed_over, Some((&offers[0], "it went back".to_owned())));
}

fn receipt(id: u64, port: &str, from: &str, to: &str, outcome: Outcome, cause: Cause) -> Receipt {
    let receipt = json!({
        "id": id, "port": port, "started_unix_ms": 1, "from": release(from), "to": release(to),
        "outcome": outcome, "reason": "because", "mode": null, "phases": [], "held": 0, "drained": 0,
        "adopted": 0, "pause_ns": 0, "longest_stall_ns": 0, "generation_before": 1, "generation_after": 2,
        "unload": "none", "by": {"cause": cause, "who": ""},
    });
    serde_json::from_value(receipt).expect("a receipt")
}

/// Receipts as they were written, the oldest first.
fn objects(receipts: &[Receipt], port: &str) -> Option<String> {
    objection(receipts.iter().rev(), port, "hash of 1.1.0", "hash of 1.2.0")
}

#[test]
fn a_refusal_concerns_the_port_alone() {
    let receipts = [receipt(1, "vol0", "1.1.0", "1.2.0", Outcome::Refused, Cause::Folder)];
    assert_eq!(objects(&receipts, "vol0").as_deref(), Some("vol0 refused it: because (receipt 1)"));
    assert_eq!(objects(&receipts, "vol1"), None);
    let by_hand = [receipt(1, "vol0", "1.1.0", "1.2.0", Outcome::Refused, Cause::Operator)];
    assert_eq!(objects(&by_hand, "vol0"), None, "with what options somebody tried is not known");
    let busy = [receipt(1, "vol0", "1.1.0", "1.2.0", Outcome::Busy, Cause::Folder)];
    assert_eq!(objects(&busy, "vol0"), None, "busy is no judgement");
}

#[test]
fn a_refusal_is_of_a_step_from_what_ran() {
    let receipts = [receipt(1, "vol0", "1.0.0", "1.2.0", Outcome::Refused, Cause::Folder)];
    assert_eq!(objects(&receipts, "vol0"), None, "from 1.1.0 it was not tried");
    let worse =
        [receipt(0, "vol0", "1.1.0", "1.2.0", Outcome::RolledBack, Cause::Folder), receipts[0].clone()];
    assert!(objects(&worse, "vol0").is_some_and(|why| why.contains("failed")), "what went back stays so");
}

#[test]
fn what_went_back_by_itself_spares_the_others() {
    let mut receipts = vec![receipt(1, "vol0", "1.1.0", "1.2.0", Outcome::RolledBack, Cause::Folder)];
    assert_eq!(objects(&receipts, "vol1").as_deref(), Some("it failed on vol0: because (receipt 1)"));
    receipts.push(receipt(2, "vol0", "1.1.0", "1.2.0", Outcome::Done, Cause::Operator));
    assert_eq!(objects(&receipts, "vol1"), None, "somebody has made it work");
}

#[test]
fn a_probation_that_was_not_passed_spares_the_others() {
    let mut up = receipt(1, "vol0", "1.1.0", "1.2.0", Outcome::Done, Cause::Folder);
    assert_eq!(objects(std::slice::from_ref(&up), "vol1"), None);
    let report = |outcome| ProbationReport { outcome, reason: "slow".into(), ..Default::default() };
    up.probation = Some(report(ProbationOutcome::Reverted));
    let back = receipt(2, "vol0", "1.2.0", "1.1.0", Outcome::Done, Cause::Probation);
    for port in ["vol0", "vol1"] {
        let both = [up.clone(), back.clone()];
        assert!(objects(&both, port).is_some_and(|why| why.contains("went back from it to 1.1.0")), "{port}");
    }
    up.probation = Some(report(ProbationOutcome::NotReverted));
    assert_eq!(objects(&[up], "vol1").as_deref(), Some("vol0 went back from it: slow (receipt 1)"));
}

#[test]
fn who_went_back_by_hand_is_not_fought() {
    let up = receipt(1, "vol0", "1.1.0", "1.2.0", Outcome::Done, Cause::Folder);
    for cause in [Cause::Operator, Cause::Revert] {
        let receipts = [up.clone(), receipt(2, "vol0", "1.2.0", "1.1.0", Outcome::Done, cause)];
        assert!(objects(&receipts, "vol0").is_some_and(|why| why.contains("receipt 2")));
        assert_eq!(objects(&receipts, "vol1"), None, "a choice for one device");
    }
    let on = [up, receipt(2, "vol0", "1.2.0", "1.3.0", Outcome::Done, Cause::Operator)];
    assert_eq!(objects(&on, "vol0"), None);
}

#[test]
fn who_goes_back_by_hand_during_the_probation_spares_the_others() {
    let probation = |outcome| Some(ProbationReport { outcome, ..Default::default() });
    for cause in [Cause::Operator, Cause::Revert] {
        let mut up = receipt(1, "vol0", "1.1.0", "1.2.0", Outcome::Done, Cause::Folder);
        let busy = receipt(2, "vol0", "1.2.0", "1.1.0", Outcome::Busy, cause);
        let back = receipt(3, "vol0", "1.2.0", "1.1.0", Outcome::Done, cause);
        up.probation = probation(ProbationOutcome::Ended);
        let both = [up.clone(), busy.clone(), back.clone()];
        for port in ["vol0", "vol1"] {
            assert!(objects(&both, port).is_some_and(|why| why.contains("receipt 3")), "{port}");
        }
        let mut on = both.to_vec();
        on.push(receipt(4, "vol0", "1.1.0", "1.2.0", Outcome::Done, Cause::Operator));
        assert_eq!(objects(&on, "vol1"), None, "somebody has made it work");
        up.probation = probation(ProbationOutcome::Passed);
        assert_eq!(objects(&[up.clone(), back.clone()], "vol1"), None, "a choice for one device");
        up.probation = probation(ProbationOutcome::Ended);
        up.by.cause = Cause::Operator;
        assert_eq!(objects(&[up, back], "vol1"), None, "it was not tried by itself");
    }
}

#[test]
fn a_daemon_that_was_killed_counts_against_the_module_and_a_stop_does_not() {
    let probation = |outcome| Some(ProbationReport { outcome, ..Default::default() });
    let mut up = receipt(1, "vol0", "1.1.0", "1.2.0", Outcome::Done, Cause::Folder);
    up.probation = probation(ProbationOutcome::Stopped);
    assert_eq!(objects(std::slice::from_ref(&up), "vol0"), None, "somebody stopped the daemon");
    up.probation = probation(ProbationOutcome::Killed);
    for port in ["vol0", "vol1"] {
        let why = objects(std::slice::from_ref(&up), port).expect("it may have been the module");
        assert!(why.contains("killed or crashed while vol0 had it on probation (receipt 1)"), "{why}");
    }
    up.by.cause = Cause::Operator;
    assert!(objects(std::slice::from_ref(&up), "vol0").is_some());
    assert_eq!(objects(std::slice::from_ref(&up), "vol1"), None, "it was not tried by itself");
    let cut = receipt(2, "vol0", "1.1.0", "1.2.0", Outcome::Interrupted, Cause::Folder);
    for port in ["vol0", "vol1"] {
        assert!(objects(std::slice::from_ref(&cut), port).is_some_and(|why| why.contains("midst")), "{port}");
    }
    let on = [cut, receipt(3, "vol0", "1.1.0", "1.2.0", Outcome::Done, Cause::Operator)];
    assert_eq!(objects(&on, "vol0"), None, "somebody has made it work");
}

#[test]
fn after_a_crash_during_the_probation_there_is_no_going_back_to_what_crashed() {
    let mut up = receipt(7, "vol0", "1.0.0", "1.1.0", Outcome::Done, Cause::Operator);
    up.probation = Some(ProbationReport { outcome: ProbationOutcome::Killed, ..Default::default() });
    let why = goes_back(std::slice::from_ref(&up), &release("1.0.0")).expect_err("that would be forward");
    assert!(why.contains("probation of file 1.1.0") && why.contains("receipt 7"), "{why}");
    assert_eq!(goes_back(std::slice::from_ref(&up), &release("1.1.0")), Ok(release("1.0.0")));
}

fn goes_back(receipts: &[Receipt], running: &Release) -> Result<Release, String> {
    let newest_first: Vec<&Receipt> = receipts.iter().rev().collect();
    back(&newest_first, running, true).cloned()
}

#[test]
fn what_has_gone_back_by_itself_is_not_put_back() {
    let up = receipt(1, "vol0", "1.0.0", "1.1.0", Outcome::Done, Cause::Operator);
    let back = receipt(2, "vol0", "1.1.0", "1.0.0", Outcome::Done, Cause::Probation);
    let failed = receipt(3, "vol0", "1.0.0", "1.2.0", Outcome::Refused, Cause::Operator);
    let receipts = [up.clone(), back, failed];
    let why = goes_back(&receipts, &release("1.0.0")).expect_err("that would be forward");
    assert!(why.starts_with("it has gone back from file 1.1.0 by itself already (receipt 2)"), "{why}");
    assert_eq!(goes_back(&receipts, &release("1.1.0")), Ok(release("1.0.0")), "started anew in that version");
    let mut on = receipts.to_vec();
    on.push(Receipt {
        kind: Kind::Live,
        ..receipt(4, "vol0", "1.0.0", "1.0.0", Outcome::Done, Cause::Operator)
    });
    assert_eq!(goes_back(&on, &release("1.0.0")), Err(why), "a change of parameters is no step");
    let by_hand = [up, receipt(2, "vol0", "1.1.0", "1.0.0", Outcome::Done, Cause::Revert)];
    assert_eq!(goes_back(&by_hand, &release("1.0.0")), Ok(release("1.1.0")), "once more is forward");
    assert!(goes_back(&[], &release("1.0.0")).is_err_and(|why| why.starts_with("nothing to go back to")));
}

#[test]
fn what_went_back_by_itself_longer_ago_is_not_put_back_either() {
    let up = receipt(1, "vol0", "1.0.0", "1.1.0", Outcome::Done, Cause::Operator);
    let back = receipt(2, "vol0", "1.1.0", "1.0.0", Outcome::Done, Cause::Probation);
    let anew = receipt(3, "vol0", "1.0.0", "1.0.0", Outcome::Done, Cause::Operator);
    let why = goes_back(&[up.clone(), back, anew], &release("1.0.0")).expect_err("that would be forward");
    assert!(why.starts_with("it has gone back from file 1.1.0 by itself already (receipt 2)"), "{why}");
    // As one of several that went back together.
    let with_others =
        Receipt { by_itself: true, ..receipt(2, "vol0", "1.1.0", "1.0.0", Outcome::Done, Cause::Revert) };
    let why = goes_back(&[up.clone(), with_others], &release("1.0.0")).expect_err("that would be forward");
    assert!(why.contains("by itself already") && why.contains("--revert vol0 --to 1"), "{why}");
    // Put there on purpose since, it is a way back like any other.
    let back = receipt(2, "vol0", "1.1.0", "1.0.0", Outcome::Done, Cause::Probation);
    let again = receipt(3, "vol0", "1.0.0", "1.1.0", Outcome::Done, Cause::Operator);
    let on = receipt(4, "vol0", "1.1.0", "1.2.0", Outcome::Done, Cause::Operator);
    assert_eq!(goes_back(&[up, back, again, on], &release("1.2.0")), Ok(release("1.1.0")));
}

#[test]
fn another_driver_is_only_gone_back_to_where_an_update_led_from_it() {
    let ram = Release { driver: "ram".into(), version: "3.0.0".into(), hash: "hash of ram".into() };
    let earlier = receipt(1, "vol0", "1.0.0", "1.1.0", Outcome::Done, Cause::Operator);
    let why = goes_back(std::slice::from_ref(&earlier), &ram).expect_err("another life of the name");
    assert!(why.contains("file 1.1.0, is another driver") && why.contains("--allow-other"), "{why}");
    let mut on = receipt(2, "vol0", "1.1.0", "1.1.0", Outcome::Done, Cause::Operator);
    on.to = Some(ram.clone());
    let receipts = [earlier, on];
    assert_eq!(goes_back(&receipts, &ram), Ok(release("1.1.0")));
    assert_eq!(goes_back(&receipts, &release("1.1.0")), Ok(ram), "started anew in the one before");
    let nothing = Release { driver: String::new(), version: String::new(), hash: String::new() };
    assert!(goes_back(&receipts, &nothing).is_ok(), "stranded: what ran last");
}

#[test]
fn what_ran_before_is_not_known_when_the_history_does_not_answer() {
    let ram = Release { driver: "ram".into(), version: "3.0.0".into(), hash: "hash of ram".into() };
    let up = receipt(7, "vol0", "1.0.0", "1.1.0", Outcome::Done, Cause::Operator);
    let some = |running: &Release| back(&[&up], running, false).cloned();
    assert_eq!(some(&release("1.1.0")), Ok(release("1.0.0")), "the newest receipts tell");
    for why in [back(&[], &ram, false).cloned(), some(&ram)] {
        let why = why.expect_err("nothing tells");
        assert!(why.starts_with("what ran before is not known: the history does not answer"), "{why}");
    }
}

#[test]
fn before_is_the_last_other_module() {
    let done = |id, from, to| receipt(id, "vol0", from, to, Outcome::Done, Cause::Operator);
    let receipts = [
        done(1, "1.0.0", "1.1.0"),
        done(2, "1.1.0", "1.2.0"),
        done(3, "1.2.0", "1.2.0"),
        receipt(4, "vol0", "1.2.0", "1.3.0", Outcome::RolledBack, Cause::Operator),
    ];
    let back = |running: &str| before(receipts.iter().rev(), &format!("hash of {running}"));
    assert_eq!(back("1.2.0"), Some(&release("1.1.0")), "not one that never served, nor the same again");
    assert_eq!(back("1.0.0"), Some(&release("1.2.0")), "started anew in another version: what ran last");
    assert_eq!(before([], "x"), None);
    let there_and_back = [done(1, "1.0.0", "1.1.0"), done(2, "1.1.0", "1.0.0")];
    let again = before(there_and_back.iter().rev(), "hash of 1.0.0");
    assert_eq!(again, Some(&release("1.1.0")), "back from going back is forward");
}

#[test]
fn policies_have_names() {
    for policy in [AutoUpdate::Off, AutoUpdate::Notify, AutoUpdate::Auto] {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert_eq!("on".parse::<AutoUpdate>(), Err("`on` is not allowed (off, notify or auto)".into()));
}
