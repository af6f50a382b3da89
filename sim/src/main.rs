//! `steadfast-sim`: runs many seeds, or one with its trace.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use steadfast_sim::{Coverage, run};

const USAGE: &str = "\
usage: steadfast-sim [--runs N] [--from SEED] [--coverage]
       steadfast-sim --seed SEED [--trace]

  --runs N      number of runs (default 100000), with the seeds SEED, SEED+1, ...
  --from SEED   first seed (default 1)
  --coverage    print what happened how often, and fail if anything that can happen did not
  --seed SEED   one run
  --trace       print everything that happens in it
";

struct Options {
    runs: u64,
    from: u64,
    coverage: bool,
    seed: Option<u64>,
    trace: bool,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(options) => {
            if go(&options) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(why) => {
            eprint!("error: {why}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { runs: 100_000, from: 1, coverage: false, seed: None, trace: false };
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().ok_or(format!("{arg}: a number is missing"))?;
            value.parse::<u64>().map_err(|_| format!("{arg}: {value} is not a number from 0 to 2^64 - 1"))
        };
        match arg.as_str() {
            "--runs" => options.runs = number()?,
            "--from" => options.from = number()?,
            "--seed" => options.seed = Some(number()?),
            "--coverage" => options.coverage = true,
            "--trace" => options.trace = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(options)
}

fn go(options: &Options) -> bool {
    if let Some(seed) = options.seed {
        return one(seed, options.trace);
    }
    let mut coverage = Coverage::default();
    let begin = Instant::now();
    let mut told = begin;
    for seed in options.from..options.from.saturating_add(options.runs) {
        match run(seed, None, false) {
            Ok(report) => coverage.add(&report),
            Err(failure) => return failed(&failure),
        }
        if told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            println!("{} runs in {:.0} s", coverage.runs, begin.elapsed().as_secs_f64());
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{coverage}");
    println!("{} runs in {seconds:.1} s: {:.0} a second", coverage.runs, coverage.runs as f64 / seconds);
    let missing = coverage.missing();
    if options.coverage && !missing.is_empty() {
        println!("never happened: {}", missing.join("; "));
        return false;
    }
    true
}

fn one(seed: u64, trace: bool) -> bool {
    match run(seed, None, trace) {
        Ok(report) => {
            println!("seed {seed}: nothing wrong: {} events, {:?}", report.events, report.outcomes);
            true
        }
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &steadfast_sim::Failure) -> bool {
    println!("seed {}: {}", failure.seed, failure.what);
    println!("again, with everything that happens in it:");
    println!("  cargo run -p steadfast-sim --release -- --seed {} --trace", failure.seed);
    false
}
