use super::*;

/// Goes through it: `answer` says how each action goes. Returns every action, the last one `Done`.
fn run(ports: usize, goes_back: bool, answer: impl Fn(Action) -> Input) -> (Vec<Action>, Vec<Fate>) {
    let mut rolling = Rolling::new(ports, goes_back);
    let mut actions = vec![rolling.action()];
    while !matches!(rolling.action(), Action::Done(_)) {
        actions.push(rolling.step(answer(rolling.action())));
        assert!(actions.len() < 100, "it does not end: {actions:?}");
    }
    (actions, rolling.fates().to_vec())
}

#[test]
fn every_port_is_checked_before_the_first_is_touched() {
    let (actions, fates) = run(3, true, |_| Input::Ok);
    use Action::{Check, Update};
    let done = Action::Done(Outcome::Done);
    assert_eq!(actions, [Check(0), Check(1), Check(2), Update(0), Update(1), Update(2), done]);
    assert_eq!(fates, [Fate::Updated; 3]);
    assert_eq!(run(0, true, |_| Input::Failed).0, [done], "nothing to do");
}

#[test]
fn a_check_that_refuses_leaves_everything_wherever_it_is() {
    for at in 0..4 {
        for input in [Input::Failed, Input::Stranded, Input::Abandon] {
            let (actions, fates) =
                run(4, true, |action| if action == Action::Check(at) { input } else { Input::Ok });
            assert_eq!(actions.last(), Some(&Action::Done(Outcome::Refused)));
            assert!(!actions.iter().any(|a| matches!(a, Action::Update(_) | Action::TakeBack(_))));
            assert_eq!(fates, [Fate::Untouched; 4]);
        }
    }
}

#[test]
fn a_failure_takes_those_before_it_back_in_reverse_order_wherever_it_is() {
    for at in 0..5 {
        let fails = |action| if action == Action::Update(at) { Input::Failed } else { Input::Ok };
        let (actions, fates) = run(5, true, fails);
        let backs: Vec<usize> = actions
            .iter()
            .filter_map(|a| if let Action::TakeBack(n) = a { Some(*n) } else { None })
            .collect();
        assert_eq!(backs, (0..at).rev().collect::<Vec<_>>());
        assert_eq!(actions.last(), Some(&Action::Done(Outcome::RolledBack)));
        for (port, fate) in fates.iter().enumerate() {
            let expected = match port.cmp(&at) {
                std::cmp::Ordering::Less => Fate::TakenBack,
                std::cmp::Ordering::Equal => Fate::Failed,
                std::cmp::Ordering::Greater => Fate::Untouched,
            };
            assert_eq!(*fate, expected, "port {port}, failure at {at}");
        }
    }
}

#[test]
fn without_going_back_a_failure_leaves_those_before_it() {
    for at in 0..3 {
        for input in [Input::Failed, Input::Stranded] {
            let (actions, fates) =
                run(3, false, |action| if action == Action::Update(at) { input } else { Input::Ok });
            assert_eq!(actions.last(), Some(&Action::Done(Outcome::Stopped)));
            assert!(fates[..at].iter().all(|fate| *fate == Fate::Updated));
            assert!(fates[at + 1..].iter().all(|fate| *fate == Fate::Untouched));
        }
    }
}

#[test]
fn a_way_back_that_fails_is_said_and_keeps_no_other_from_going_back() {
    for failing in 0..3 {
        for (input, fate) in [(Input::Failed, Fate::NotTakenBack), (Input::Stranded, Fate::Stranded)] {
            let answer = |action| match action {
                Action::Update(3) => Input::Failed,
                Action::TakeBack(at) if at == failing => input,
                _ => Input::Ok,
            };
            let (actions, fates) = run(4, true, answer);
            assert_eq!(actions.last(), Some(&Action::Done(Outcome::Mixed)));
            for (port, found) in fates.iter().enumerate().take(3) {
                assert_eq!(*found, if port == failing { fate } else { Fate::TakenBack });
            }
        }
    }
}

#[test]
fn a_stranded_port_makes_it_mixed_and_asking_to_end_takes_all_back() {
    let (actions, fates) = run(2, true, |a| if a == Action::Update(1) { Input::Stranded } else { Input::Ok });
    assert_eq!(actions.last(), Some(&Action::Done(Outcome::Mixed)));
    assert_eq!(fates, [Fate::TakenBack, Fate::Stranded]);
    let (actions, fates) = run(3, true, |a| if a == Action::Update(1) { Input::Abandon } else { Input::Ok });
    assert_eq!(actions.last(), Some(&Action::Done(Outcome::RolledBack)));
    assert_eq!(fates, [Fate::TakenBack, Fate::TakenBack, Fate::Untouched]);
}

#[test]
fn every_sequence_of_answers_ends_with_each_port_tried_once() {
    // All ways that four ports can go, of every action.
    let inputs = [Input::Ok, Input::Failed, Input::Stranded, Input::Abandon];
    fn explore(rolling: &Rolling, trail: &mut Vec<Action>, inputs: &[Input], ends: &mut u32) {
        if let Action::Done(outcome) = rolling.action() {
            *ends += 1;
            for at in 0..rolling.fates().len() {
                for tried in [Action::Check(at), Action::Update(at), Action::TakeBack(at)] {
                    assert!(trail.iter().filter(|a| **a == tried).count() <= 1, "{trail:?}");
                }
                let back = trail.contains(&Action::TakeBack(at));
                assert!(!back || trail.contains(&Action::Update(at)), "{trail:?}");
            }
            let is = |wanted: &[Fate]| rolling.fates().iter().all(|fate| wanted.contains(fate));
            match outcome {
                Outcome::Done => assert!(is(&[Fate::Updated])),
                Outcome::Refused => assert!(is(&[Fate::Untouched])),
                Outcome::RolledBack => assert!(is(&[Fate::Untouched, Fate::Failed, Fate::TakenBack])),
                Outcome::Mixed => assert!(!is(&[Fate::Untouched, Fate::Failed, Fate::TakenBack])),
                Outcome::Stopped => unreachable!("it goes back"),
            }
            return;
        }
        for input in inputs {
            let mut next = rolling.clone();
            trail.push(rolling.action());
            next.step(*input);
            explore(&next, trail, inputs, ends);
            trail.pop();
        }
    }
    let mut ends = 0;
    explore(&Rolling::new(4, true), &mut Vec::new(), &inputs, &mut ends);
    assert!(ends > 100, "{ends}");
}
