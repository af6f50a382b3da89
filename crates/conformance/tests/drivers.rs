//! Every driver that comes with Steadfast, and one in C, passes the suite.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use steadfast_conformance::{CaseResult, Options, Outcome, run};

/// Requests in flight that a case handed from one driver to the next.
fn adopted(results: &[CaseResult], name: &str) -> u32 {
    let note = &results.iter().find(|result| result.name == name).unwrap().note;
    let before = note.split(" requests adopted").next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The module of a driver crate, which cargo builds beside the tests.
fn module(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().join(format!("libsteadfast_driver_{name}.so"))
}

fn options(params: &[(&str, &str)]) -> Options {
    let params: BTreeMap<String, String> =
        params.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Options { params, ..Options::default() }
}

fn all(module: &Path, options: &Options) -> Vec<CaseResult> {
    let results = run(module, options, &mut |result| {
        println!("{:<15} {:?} {} {:?}", result.name, result.outcome, result.note, result.took)
    });
    let failed: Vec<String> = results
        .iter()
        .filter(|result| result.failed())
        .map(|result| format!("{}: {:?}", result.name, result.outcome))
        .collect();
    assert!(failed.is_empty(), "{}:\n{}", module.display(), failed.join("\n"));
    results
}

fn outcome<'a>(results: &'a [CaseResult], name: &str) -> &'a Outcome {
    &results.iter().find(|result| result.name == name).unwrap_or_else(|| panic!("no case {name}")).outcome
}

#[test]
fn null_passes() {
    let results = all(&module("null"), &options(&[]));
    assert_eq!(*outcome(&results, "swap-adopt"), Outcome::Passed);
    assert!(matches!(outcome(&results, "contents"), Outcome::Skipped(_)));
}

#[test]
fn ram_passes() {
    let results = all(&module("ram"), &options(&[("size", "16M")]));
    for case in ["read-write", "frontend", "contents", "swap-drain", "swap-adopt", "failed-connect"] {
        assert_eq!(*outcome(&results, case), Outcome::Passed, "{case}");
    }
}

#[test]
fn a_ram_device_of_one_page_passes() {
    all(&module("ram"), &options(&[("size", "4096")]));
}

/// The drivers that make faults make none unless they are asked to.
#[test]
fn the_drivers_that_make_faults_pass_without_faults() {
    for name in ["error", "delay", "hang", "crash"] {
        let results = all(&module(name), &options(&[("size", "16M")]));
        for case in ["read-write", "contents", "swap-drain", "swap-adopt", "failed-connect"] {
            assert_eq!(*outcome(&results, case), Outcome::Passed, "{name}: {case}");
        }
    }
}

#[test]
fn a_device_that_takes_its_time_passes() {
    let params = [("size", "16M"), ("fixed_us", "500"), ("random_us", "500")];
    all(&module("delay"), &options(&params));
    // As slow hardware has them: what waits has been begun, and is adopted.
    let begun = [&params[..], &[("hand_back", "false")]].concat();
    let results = all(&module("delay"), &options(&begun));
    assert!(adopted(&results, "swap-adopt") > 0, "nothing was in flight at any swap");
}

#[test]
fn file_1_0_passes() {
    let results = all(&module("file_1_0"), &options(&[]));
    assert_eq!(*outcome(&results, "swap-adopt"), Outcome::Passed);
    assert!(matches!(outcome(&results, "status"), Outcome::Skipped(_)));
}

#[test]
fn file_1_1_passes_and_so_does_the_way_from_1_0_and_back() {
    let options = Options { from: Some(module("file_1_0")), ..options(&[]) };
    let results = all(&module("file_1_1"), &options);
    for case in ["swap-adopt", "status", "trim", "releases"] {
        assert_eq!(*outcome(&results, case), Outcome::Passed, "{case}");
    }
}

#[test]
fn files_past_the_page_cache_pass() {
    let options = Options { from: Some(module("file_1_0")), ..options(&[("direct", "true")]) };
    let results = all(&module("file_1_1"), &options);
    // Each operation sleeps here, so at every swap some are in flight.
    assert!(adopted(&results, "swap-adopt") > 0, "nothing was in flight at any swap");
    assert!(adopted(&results, "releases") > 0, "1.1 took nothing over from 1.0");
}

#[test]
fn a_read_only_file_passes() {
    all(&module("file_1_1"), &options(&[("read_only", "true")]));
}

#[test]
fn the_driver_in_c_passes() {
    let abi = Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi");
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_memory.so");
    let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-shared", "-fPIC", "-O2", "-fvisibility=hidden", "-I"])
        .arg(abi.join("include"))
        .arg(abi.join("examples/memory.c"))
        .arg("-o")
        .arg(&output)
        .status();
    assert!(built.expect("the C compiler").success());
    let results = all(&output, &options(&[]));
    assert_eq!(*outcome(&results, "swap-adopt"), Outcome::Passed);
}

#[test]
fn a_file_that_is_no_module_is_one_failed_case() {
    let results = run(Path::new("/proc/self/exe"), &Options::default(), &mut |_| {});
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].name, "load");
    assert!(results[0].failed());
}
