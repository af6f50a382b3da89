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
    let mut update = Update::new(PLAN, 0);
    update.step(Input::Ok, 1);
    assert_eq!(update.step(Input::Busy("in use".to_owned()), 2), Action::Done(Outcome::Busy));
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

/// One that has come to `action`, with everything well so far.
fn at(plan: Plan, action: Action) -> Update {
    let mut update = Update::prepared(plan, 0);
    while update.action() != action {
        update.step(if update.action() == Action::Settle { Input::InFlight(0) } else { Input::Ok }, 1);
    }
    update
}

fn lost() -> Input {
    Input::Lost("it does not return".to_owned())
}

#[test]
fn a_new_driver_that_is_lost_leaves_the_port_to_the_old_one_and_is_not_entered_again() {
    let mut update = at(PLAN, Action::Connect);
    assert_eq!(update.inside(), Some(Side::New));
    assert_eq!(update.lost_ns(), Some(update.latest_ns()));
    assert_eq!(update.step(lost(), 10), Action::Reconnect, "not its disconnect");
    assert_eq!(update.step(Input::Ok, 11), Action::Cancel);
    update.step(Input::Ok, 12);
    assert_eq!(update.step(Input::Ok, 13), Action::Done(Outcome::RolledBack));
    assert_eq!(update.reason(), "it does not return");
    // Nor when it is lost while it undoes a connect that failed.
    let mut update = at(PLAN, Action::Connect);
    assert_eq!(update.step(Input::Failed("no".into()), 10), Action::DisconnectNew);
    assert!(update.lost_ns().is_some());
    assert_eq!(update.step(lost(), 11), Action::Reconnect);
}

#[test]
fn a_first_driver_that_is_lost_leaves_the_port_to_nobody() {
    let mut update = at(Plan { has_old: false, ..PLAN }, Action::Connect);
    assert_eq!(update.step(lost(), 10), Action::UnloadNew);
    assert_eq!(update.step(Input::Ok, 11), Action::Done(Outcome::Stranded));
}

#[test]
fn an_old_driver_is_waited_for_unless_it_can_be_done_without() {
    let mut update = at(PLAN, Action::Disconnect);
    assert_eq!((update.inside(), update.lost_ns()), (Some(Side::Old), None));
    // Somebody wants it so: nobody serves then, and it is not come back to.
    assert_eq!(update.step(lost(), 10), Action::UnloadNew);
    assert_eq!(update.step(Input::Ok, 11), Action::Done(Outcome::Stranded));
    let mut update = at(PLAN, Action::Connect);
    update.step(Input::Failed("no".into()), 10);
    update.step(Input::Ok, 11);
    assert_eq!((update.action(), update.lost_ns()), (Action::Reconnect, None));
    assert_eq!(update.step(lost(), 12), Action::UnloadNew);
    assert_eq!(update.step(Input::Ok, 13), Action::Done(Outcome::Stranded));
}

#[test]
fn an_old_driver_that_can_be_done_without_is_put_away_whatever_it_does() {
    let inputs = [Input::Failed("it is in use".into()), lost()];
    for input in inputs {
        let mut update = at(PLAN, Action::Disconnect);
        update.without_consent();
        let gone = input == lost();
        let late = update.latest_ns() + 7;
        assert_eq!(update.lost_ns(), Some(update.latest_ns()));
        assert_eq!(update.step(input, late), Action::Transfer);
        assert!(update.put_away().is_some() && update.reason().is_empty());
        assert_eq!(update.step(Input::Ok, late), Action::Connect);
        let mut fails = update.clone();
        // What the old one took is not the new one's time.
        assert_eq!(update.step(Input::Ok, late + 1), Action::Finish);
        // One that has returned can be come back to; one that is inside cannot.
        assert_eq!(fails.step(Input::Failed("no".into()), late), Action::DisconnectNew);
        assert_eq!(fails.step(Input::Ok, late), if gone { Action::UnloadNew } else { Action::Reconnect });
    }
}

#[test]
fn what_an_old_driver_does_not_finish_is_not_waited_for_where_it_can_be_done_without() {
    let mut update = at(PLAN, Action::Settle);
    update.without_consent();
    assert!(!update.waits_no_longer(99) && update.waits_no_longer(100));
    assert_eq!(update.step(Input::InFlight(3), 200), Action::Settle, "the queues fail it");
    assert_eq!(update.step(Input::Ok, 201), Action::Disconnect);
}

#[test]
fn requests_in_flight_are_no_success_of_any_other_action() {
    for action in [Action::StartUpdate, Action::Disconnect, Action::Transfer, Action::Connect] {
        for input in [Input::InFlight(0), Input::InFlight(3), Input::Ending(1)] {
            let mut update = Update::new(PLAN, 0);
            while update.action() != action {
                update.step(Input::Ok, 1);
            }
            let next = update.step(input.clone(), 1);
            assert!(
                matches!(next, Action::Cancel | Action::Reconnect | Action::DisconnectNew),
                "{action:?}, {input:?}: {next:?}"
            );
            assert!(update.reason().contains("in flight"), "{}", update.reason());
        }
    }
}
