//! Many seeds hold; and a simulator that could not fail would prove nothing.

use steadfast_sim::{Coverage, Mutation, run};

/// Far fewer than `cargo xtask test` does.
const RUNS: u64 = 60_000;

#[test]
fn many_seeds_hold_and_everything_that_can_happen_does() {
    let mut coverage = Coverage::default();
    for seed in 0..RUNS {
        match run(seed, None, false) {
            Ok(report) => coverage.add(&report),
            Err(failure) => panic!("seed {}: {}", failure.seed, failure.what),
        }
    }
    println!("{coverage}");
    assert_eq!(coverage.missing(), Vec::<String>::new());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 1_000_003, u64::MAX] {
        let (one, two) = (run(seed, None, false), run(seed, None, false));
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
}

#[test]
fn every_fault_in_the_runtime_is_found() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        match (0..RUNS).find_map(|seed| run(seed, Some(mutation), false).err()) {
            Some(failure) => println!("{mutation:?}: seed {}: {}", failure.seed, failure.what),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "not found in {RUNS} runs: {missed:?}");
}

#[test]
fn a_failure_is_found_again_by_its_seed() {
    let mutation = Some(Mutation::CompleteTwice);
    let failure = (0..RUNS).find_map(|seed| run(seed, mutation, false).err()).expect("it is found");
    assert_eq!(run(failure.seed, mutation, true).expect_err("again"), failure);
}
