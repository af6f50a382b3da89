//! What those who write drivers are promised: a project that works from the first command on, a guide
//! whose commands do what it says, and a watch that swaps every build and no half of one.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, TempDir, ok, steadfast};

const GUIDE: &str = include_str!("../../docs/driver-guide.md");
/// Longest that a build and its swap may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The blocks of the guide in that language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    let parts = GUIDE.split(begin.as_str()).skip(1);
    parts.filter_map(|part| part.split_once("```").map(|(block, _)| block)).collect()
}

/// A command in `dir` that finds `steadfast`, and builds what it builds from what is here, in folders
/// of its own.
fn command(program: &str, dir: &Path) -> Result<Command> {
    let bin = steadfast()?;
    let mut path = bin.parent().unwrap_or(Path::new(".")).as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command.current_dir(dir).env("PATH", path).env("CARGO_NET_OFFLINE", "true");
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").env_remove("STEADFAST_SOCKET");
    Ok(command)
}

fn suite(module: &Path) -> Result<String> {
    ok(Command::new(steadfast()?).args(["driver", "test"]).arg(module))
}

#[test]
fn the_guides_commands_work_as_they_are_written() -> Result {
    let dir = TempDir::new()?;
    // As typed into a shell with job control, stopping at the first error.
    let script = format!("set -em\n{}", blocks("sh").concat());
    let output = ok(command("bash", dir.path())?.args(["-c", &script]))?;
    println!("{output}");
    for word in ["0 failed", "vol0: done, my-disk 0.1.0 was reloaded", "receipt"] {
        assert!(output.contains(word), "no '{word}'");
    }
    Ok(())
}

#[test]
fn the_guides_driver_in_c_passes_the_suite() -> Result {
    let dir = TempDir::new()?;
    fs::write(dir.join("my-file.c"), blocks("c").concat())?;
    fs::write(dir.join("steadfast.h"), include_str!("../../crates/abi/include/steadfast.h"))?;
    let flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"];
    ok(command("cc", dir.path())?.args(flags).args(["-o", "my-file.so", "my-file.c"]))?;
    println!("{}", suite(&dir.join("my-file.so"))?);
    Ok(())
}

/// A project in C in a folder of its own, built.
fn c_project(dir: &TempDir) -> Result<PathBuf> {
    ok(command("steadfast", dir.path())?.args(["driver", "new", "c-disk", "--lang", "c"]))?;
    let project = dir.join("c-disk");
    ok(command("make", &project)?.args(["CFLAGS=-O1 -Wall -Wextra -Werror"]))?;
    Ok(project)
}

#[test]
fn a_new_driver_in_c_builds_and_passes_the_suite() -> Result {
    let dir = TempDir::new()?;
    let project = c_project(&dir)?;
    println!("{}", suite(&project.join("c-disk.so"))?);
    Ok(())
}

#[test]
fn a_new_driver_never_overwrites_what_is_there() -> Result {
    let dir = TempDir::new()?;
    fs::create_dir(dir.join("disk"))?;
    fs::write(dir.join("disk/README.md"), "mine")?;
    let output = command("steadfast", dir.path())?.args(["driver", "new", "disk"]).output()?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the folder is not empty"), "{output:?}");
    assert_eq!(fs::read_to_string(dir.join("disk/README.md"))?, "mine");
    assert_eq!(fs::read_dir(dir.join("disk"))?.count(), 1);
    Ok(())
}

/// A watch that runs; ended, by its id, when this goes.
struct Watch {
    child: Child,
    log: PathBuf,
}

impl Watch {
    fn start(dir: &TempDir, daemon: &Daemon, args: &[&str]) -> Result<Watch> {
        let log = dir.join("watch.log");
        let child = command("steadfast", dir.path())?
            .args(["driver", "watch", "vol0"])
            .args(args)
            .env("STEADFAST_SOCKET", daemon.control())
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .spawn()?;
        Ok(Watch { child, log })
    }

    /// Waits until it has printed `count` lines in all; returns the last of them.
    fn line(&mut self, count: usize) -> Result<String> {
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(&self.log)?;
            if let Some(line) = text.lines().nth(count - 1).filter(|_| text.ends_with('\n')) {
                return Ok(line.to_owned());
            }
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the watch has ended, {status}:\n{text}");
            }
            anyhow::ensure!(begin.elapsed() < LIMIT, "no line {count}:\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn edit(file: &Path, from: &str, to: &str) -> Result {
    let text = fs::read_to_string(file)?;
    assert!(text.contains(from), "{}: no '{from}'", file.display());
    fs::write(file, text.replace(from, to))?;
    Ok(())
}

#[test]
fn every_build_is_swapped_in_and_a_bad_one_ends_nothing() -> Result {
    let dir = TempDir::new()?;
    let project = c_project(&dir)?;
    let mut daemon = Setup::device("vol0=./c-disk/c-disk.so:8M").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(4096, &[7; 4096], false)?, Ok(vec![]));
    let mut watch = Watch::start(&dir, &daemon, &["c-disk", "--build", "make"])?;
    assert!(watch.line(1)?.contains("c-disk 1.0.0 serves; watching c-disk"));
    let source = project.join("driver.c");

    edit(&source, "written in C", "one")?;
    let line = watch.line(2)?;
    assert!(line.contains("done, c-disk 1.0.0 was reloaded") && line.contains("pause "), "{line}");
    // Does not compile.
    edit(&source, "#include <errno.h>", "#error no")?;
    assert!(watch.line(3)?.contains("`make` failed"));
    // Compiles, and is refused.
    edit(&source, "#error no", "#include <errno.h>")?;
    edit(&source, "\"class\", \"block\"", "\"class\", \"none\"")?;
    let line = watch.line(4)?;
    assert!(line.contains("class"), "{line}");
    // Fails within the pause.
    edit(&source, "\"class\", \"none\"", "\"class\", \"block\"")?;
    edit(&source, "memory->attached = 0;", "return -EIO;")?;
    let line = watch.line(5)?;
    assert!(line.contains("rolled back"), "{line}");
    edit(&source, "return -EIO;", "memory->attached = 0;")?;
    edit(&source, "memory, one", "memory, two")?;
    let line = watch.line(6)?;
    assert!(line.contains("done, "), "{line}");
    edit(&source, "memory, two", "memory, three")?;
    assert!(watch.line(7)?.contains("done, "));
    // What it began with, the two builds that served last, and none of the others.
    let modules = fs::read_dir(dir.join("store"))?.flatten();
    let modules = modules.filter(|entry| entry.path().extension().is_some_and(|e| e == "so")).count();
    assert_eq!(modules, 3, "builds do not pile up");
    assert_eq!(daemon.cli(&["update", "--revert", "vol0"])?.status.code(), Some(0));

    assert_eq!(client.read(4096, 4096)?, Ok(vec![7; 4096]), "the data is still there");
    daemon.check_serves("vol0")?;
    let receipt = daemon.device("vol0")?["last_receipt"].clone();
    assert_eq!(
        (&receipt["outcome"], &receipt["by"]["cause"]),
        (&Value::from("done"), &Value::from("revert"))
    );
    Ok(())
}

#[test]
fn half_a_module_is_never_swapped_in() -> Result {
    let dir = TempDir::new()?;
    let project = c_project(&dir)?;
    let daemon = Setup::device("vol0=./c-disk/c-disk.so:8M").start(&dir)?;
    edit(&project.join("driver.c"), "written in C", "another")?;
    let built = project.join("c-disk.so");
    let old = fs::read(&built)?;
    ok(command("make", &project)?.args(["-s"]))?;
    let new = fs::read(&built)?;
    assert_ne!(old, new);
    let module = dir.join("served.so");
    fs::write(&module, &old)?;
    let mut watch = Watch::start(&dir, &daemon, &["served.so", "-o", "json"])?;
    // As slow writers do it: in place, in pieces, with rests in which a reader would find half of it.
    for end in [0, 100, new.len() / 2, new.len() - 1] {
        fs::write(&module, &new[..end])?;
        std::thread::sleep(Duration::from_millis(700));
    }
    fs::write(&module, &new)?;
    let receipt: Value = serde_json::from_str(&watch.line(1)?)?;
    assert_eq!(receipt["outcome"], "done", "the first thing tried was whole: {receipt:#}");
    let running = daemon.device("vol0")?["driver"]["hash"].clone();
    assert_eq!(running, receipt["to"]["hash"]);
    Ok(())
}

#[test]
fn a_driver_in_c_can_be_tried() -> Result {
    let dir = TempDir::new()?;
    let project = c_project(&dir)?;
    let daemon = Setup::device("vol0=./c-disk/c-disk.so:8M").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(4096, &[7; 4096], false)?, Ok(vec![]));
    edit(&project.join("driver.c"), "written in C", "another")?;
    ok(command("make", &project)?.args(["-s"]))?;
    let module = project.join("c-disk.so").display().to_string();
    let mut trial = command("steadfast", dir.path())?
        .args(["update", "vol0", &module, "--trial", "2s"])
        .env("STEADFAST_SOCKET", daemon.control())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    while trial.try_wait()?.is_none() {
        assert_eq!(client.read(4096, 4096)?, Ok(vec![7; 4096]));
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = trial.wait_with_output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}
