use super::*;

const PLAN: Plan =
    Plan { mode: Mode::Drain, if_busy: IfBusy::Wait, deadline_ns: 100, has_old: true, has_new: true };

/// Runs an update to its end; `fail` names the actions that fail. Returns what was done, in order.
fn run(plan: Plan, fail: &[Action]) -> (Vec<Action>, Update) {
    let mut update = Update::new(plan, 0);
    let mut done = vec![update.action()];
    for now in 1..50 {
        let action = update.action();
        let input = match action {
            Action::Done(_) => return (done, update),
            a if fail.contains(&a) => Input::Failed(format!("{a:?} failed")),
            Action::Settle => Input::InFlight(0),
            _ => Input::Ok,
        };
        done.push(update.step(input, now));
    }
    panic!("no end: {done:?}");
}

#[test]
fn success_takes_every_phase_in_order() {
    use Action::*;
    let (done, update) = run(PLAN, &[]);
    let expected = [
        Stage,
        Check,
        Load,
        Prepare,
        StartUpdate,
        Settle,
        Disconnect,
        Transfer,
        Connect,
        Finish,
        UnloadOld,
        Done(Outcome::Done),
    ];
    assert_eq!(done, expected);
    assert_eq!(update.reason(), "");
    assert_eq!(update.phases().len(), 11);
    assert!(update.phases().windows(2).all(|w| w[0].phase < w[1].phase));
}

#[test]
fn before_the_pause_a_failure_refuses_and_never_holds() {
    for action in [Action::Stage, Action::Check, Action::Load, Action::Prepare] {
        let (done, _) = run(PLAN, &[action]);
        assert_eq!(done.last(), Some(&Action::Done(Outcome::Refused)), "{action:?}");
        assert!(!done.contains(&Action::StartUpdate), "{action:?}: {done:?}");
    }
}

#[test]
fn what_must_not_be_done_now_is_busy_before_the_pause_and_holds_nothing() {
    let mut update = Update::new(PLAN, 0);
    while update.action() != Action::Prepare {
        update.step(Input::Ok, 1);
    }
    assert_eq!(update.step(Input::Busy("in use".to_owned()), 2), Action::UnloadNew);
    assert_eq!(update.step(Input::Ok, 3), Action::Done(Outcome::Busy));
    assert_eq!(update.reason(), "in use");
}

#[test]
fn within_the_pause_a_failure_puts_the_old_driver_back_and_releases() {
    use Action::*;
    for action in [StartUpdate, Settle, Disconnect, Transfer, Connect] {
        let (done, update) = run(PLAN, &[action]);
        assert_eq!(done.last(), Some(&Done(Outcome::RolledBack)), "{action:?}");
        assert!(done.contains(&Cancel) && done.contains(&UnloadNew), "{action:?}: {done:?}");
        assert!(!done.contains(&Finish) && !done.contains(&UnloadOld));
        assert_eq!(done.contains(&Reconnect), done.contains(&Disconnect), "{action:?}");
        assert_eq!(update.reason(), format!("{action:?} failed"));
    }
    let (done, _) = run(PLAN, &[Connect]);
    let tail = [Connect, DisconnectNew, Reconnect, Cancel, UnloadNew, Done(Outcome::RolledBack)];
    assert!(done.ends_with(&tail), "{done:?}");
}

#[test]
fn a_failing_undo_of_the_new_driver_still_brings_the_old_one_back() {
    let (done, update) = run(PLAN, &[Action::Connect, Action::DisconnectNew]);
    assert_eq!(done.last(), Some(&Action::Done(Outcome::RolledBack)));
    assert!(update.reason().contains("Connect failed; then disconnect of the new driver"));
}

#[test]
fn when_neither_driver_connects_the_port_is_stranded_and_stays_held() {
    let (done, _) = run(PLAN, &[Action::Connect, Action::Reconnect]);
    assert_eq!(done.last(), Some(&Action::Done(Outcome::Stranded)));
    assert!(!done.contains(&Action::Cancel) && !done.contains(&Action::Finish));
}

#[test]
fn a_first_attach_has_no_old_driver_to_call() {
    let plan = Plan { has_old: false, ..PLAN };
    let (done, _) = run(plan, &[]);
    assert!(!done.contains(&Action::Disconnect) && !done.contains(&Action::UnloadOld));
    for action in [Action::StartUpdate, Action::Settle, Action::Transfer, Action::Connect] {
        let (done, _) = run(plan, &[action]);
        assert!(!done.contains(&Action::Reconnect), "{action:?}");
        assert_eq!(done.last(), Some(&Action::Done(Outcome::Stranded)), "{action:?}");
    }
}

#[test]
fn draining_waits_until_the_deadline_and_then_resumes_the_old_driver() {
    let mut update = Update::prepared(PLAN, 0);
    assert_eq!(update.step(Input::Ok, 10), Action::Settle);
    assert_eq!(update.step(Input::InFlight(3), 99), Action::Settle);
    assert_eq!(update.step(Input::InFlight(3), 100), Action::Cancel);
    assert_eq!(update.step(Input::Ok, 101), Action::UnloadNew);
    assert_eq!(update.step(Input::Ok, 102), Action::Done(Outcome::RolledBack));
    assert_eq!(update.reason(), "deadline of 0.0000001 s passed with 3 still in flight");
}

#[test]
fn if_busy_fail_answers_busy_at_once() {
    let mut update = Update::prepared(Plan { if_busy: IfBusy::Fail, ..PLAN }, 0);
    update.step(Input::Ok, 1);
    assert_eq!(update.step(Input::InFlight(2), 2), Action::Cancel);
    update.step(Input::Ok, 3);
    assert_eq!(update.step(Input::Ok, 4), Action::Done(Outcome::Busy));
}

#[test]
fn a_port_is_not_busy_because_its_driver_keeps_a_timer() {
    let mut update = Update::prepared(Plan { if_busy: IfBusy::Fail, ..PLAN }, 0);
    update.step(Input::Ok, 10);
    assert_eq!(update.step(Input::Ending(1), 11), Action::Settle);
    assert_eq!(update.step(Input::Ending(0), 12), Action::Disconnect);
    let mut update = Update::prepared(Plan { if_busy: IfBusy::Fail, ..PLAN }, 0);
    update.step(Input::Ok, 10);
    assert_eq!(update.step(Input::Ending(1), 110), Action::Cancel, "but not for ever");
    assert!(update.reason().starts_with("deadline of"), "{}", update.reason());
}

#[test]
fn a_phase_that_returns_after_the_deadline_goes_back() {
    for (late, tail) in [
        (Action::StartUpdate, vec![Action::Cancel, Action::UnloadNew]),
        (Action::Disconnect, vec![Action::Reconnect, Action::Cancel]),
        (Action::Connect, vec![Action::DisconnectNew, Action::Reconnect, Action::Cancel]),
    ] {
        let mut update = Update::prepared(PLAN, 0);
        while update.action() != late {
            update.step(Input::Ok, 10);
        }
        let now = update.latest_ns() + 1;
        let done: Vec<Action> = tail.iter().map(|_| update.step(Input::Ok, now)).collect();
        assert_eq!(done, tail);
        assert!(update.reason().contains("returned after the deadline"), "{}", update.reason());
        // Where there is nobody to go back to, or nobody new, late is better than never.
        for plan in [Plan { has_old: false, ..PLAN }, Plan { has_new: false, ..PLAN }] {
            let mut update = Update::prepared(plan, 0);
            while !matches!(update.action(), Action::Done(_)) {
                update.step(Input::Ok, u64::MAX);
            }
            assert_eq!(update.action(), Action::Done(Outcome::Done));
        }
    }
}
