//! Developer commands, run as `cargo xtask COMMAND`.

mod bench;
mod debian;
mod floors;
mod fresh;
mod fuzz;
mod hygiene;
mod instructions;
mod nextest;
mod steps;
mod suite;
mod tester;
mod tools;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test            everything that CI runs: format, lints, unit and integration tests, fuzzing, hygiene
  test --long     the same, with hours instead of minutes for what finds more the longer it runs
  test --only A,B only these steps (names as `test` prints them)
  fresh [--keep]  the README's first two commands on a bare Debian that is made for it (needs root)
  bench [PART...] [--quick]
                  every performance figure beside its peer's; parts: pause, command, modes, tail, shadow,
                  neighbours, curve, steady, copy, shell, memory, ports1000, swaps
  record-instructions
                  counts the instructions of a request and records them: `test` fails above that
  vm              a virtual machine with a kernel of its own
";

fn main() {
    if let Err(error) = run(std::env::args().skip(1).collect()) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn run(args: Vec<String>) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", rest @ ..] => suite::test(rest),
        ["fresh", rest @ ..] => fresh::fresh(rest),
        ["bench", rest @ ..] => bench::bench(rest),
        ["record-instructions"] => instructions::record(),
        ["vm", ..] => bail!(
            "nothing needs a virtual machine yet: every frontend and driver so far runs on the host's own kernel"
        ),
        ["help" | "--help" | "-h"] | [] => {
            print!("{USAGE}");
            Ok(())
        }
        [other, ..] => bail!("unknown command '{other}'\n\n{USAGE}"),
    }
}

/// Folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Folder that cargo builds into.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}
