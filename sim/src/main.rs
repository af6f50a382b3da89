//! `steadfast-sim`: runs many seeds, or one with its trace.

use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};
use steadfast_sim::{Coverage, Failure, run};

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 1000;

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
    let begin = Instant::now();
    let coverage = match many(options) {
        Ok(coverage) => coverage,
        Err(failure) => return failed(&failure),
    };
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

/// Runs them all, on every processor there is.
fn many(options: &Options) -> Result<Coverage, Failure> {
    let (from, end) = (options.from, options.from.saturating_add(options.runs));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, first_wrong) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    let work = || {
        let (mut coverage, mut told) = (Coverage::default(), Instant::now());
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            // A failure that was found is of a lower seed than all that are left.
            if start >= end || start > first_wrong.load(Ordering::Relaxed) {
                return Ok(coverage);
            }
            for seed in start..end.min(start.saturating_add(CHUNK)) {
                match run(seed, None, false) {
                    Ok(report) => coverage.add(&report),
                    Err(failure) => {
                        first_wrong.fetch_min(seed, Ordering::Relaxed);
                        return Err(failure);
                    }
                }
            }
            if told.elapsed() > Duration::from_secs(20) {
                told = Instant::now();
                println!("{} runs begun", next.load(Ordering::Relaxed).min(end) - from);
            }
        }
    };
    let results: Vec<Result<Coverage, Failure>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let finished = |worker: ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(|e| resume_unwind(e));
        workers.into_iter().map(finished).collect()
    });
    let mut all = Coverage::default();
    let mut failure: Option<Failure> = None;
    for result in results {
        match result {
            Ok(coverage) => all.absorb(&coverage),
            Err(wrong) if failure.as_ref().is_none_or(|known| wrong.seed < known.seed) => {
                failure = Some(wrong);
            }
            Err(_) => {}
        }
    }
    failure.map_or(Ok(all), Err)
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

fn failed(failure: &Failure) -> bool {
    println!("seed {}: {}", failure.seed, failure.what);
    println!("again, with everything that happens in it:");
    println!("  cargo run -p steadfast-sim --release -- --seed {} --trace", failure.seed);
    false
}
