//! The suite finds what is wrong: drivers in C, each with one fault.

use std::path::{Path, PathBuf};
use std::process::Command;
use steadfast_conformance::{Options, Outcome, run};

fn build(name: &str, args: &[&str]) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-shared", "-fPIC", "-O2", "-fvisibility=hidden"])
        .args(args)
        .arg("-I")
        .arg(here.join("../abi/include"))
        .arg(here.join("tests/faulty.c"))
        .arg("-o")
        .arg(&output)
        .status();
    assert!(built.expect("the C compiler").success());
    output
}

/// Names of the cases that fail.
fn failed(module: &Path, only: Option<&str>) -> Vec<String> {
    let options = Options { only: only.map(str::to_owned), swaps: 2, ..Options::default() };
    let results = run(module, &options, &mut |_| {});
    let failed = results.iter().filter_map(|result| match &result.outcome {
        Outcome::Failed(why) => {
            println!("{}: {why}", result.name);
            Some(result.name.to_owned())
        }
        _ => None,
    });
    failed.collect()
}

fn finds(fault: u32, case: &str) {
    let module = build(&format!("faulty{fault}.so"), &[&format!("-DFAULT={fault}")]);
    let failed = failed(&module, Some(case));
    assert!(failed.iter().any(|name| name == case), "{case} passed, other cases failed: {failed:?}");
}

#[test]
fn without_a_fault_nothing_is_found() {
    let module = build("faulty0.so", &["-DFAULT=0"]);
    assert_eq!(failed(&module, None), Vec::<String>::new());
}

#[test]
fn tables_of_an_older_minor_version_are_taken_as_they_are() {
    let module = build("smallest.so", &["-DFAULT=0", "-DSMALLEST"]);
    assert_eq!(failed(&module, None), Vec::<String>::new());
}

#[test]
fn a_lost_byte_is_found() {
    finds(1, "read-write");
}

#[test]
fn a_request_answered_twice_is_found() {
    finds(2, "edges");
}

#[test]
fn a_missing_end_is_found() {
    finds(3, "bounds");
}

#[test]
fn zeroes_beyond_the_range_are_found() {
    finds(4, "write-zeroes");
}

#[test]
fn a_failing_flush_is_found() {
    finds(5, "flush");
}

#[test]
fn lost_contents_are_found() {
    finds(6, "contents");
}

#[test]
fn a_driver_that_cannot_go_back_is_found() {
    finds(7, "failed-connect");
}

#[test]
fn a_state_that_cannot_be_read_is_found() {
    finds(8, "contents");
}

#[test]
fn a_module_that_stays_in_memory_is_found() {
    let module = build("pinned.so", &["-DFAULT=0", "-Wl,-z,nodelete"]);
    assert_eq!(failed(&module, Some("detach")), ["detach"]);
}
