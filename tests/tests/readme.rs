//! The README's commands, word for word.

use std::path::Path;
use std::process::Command;
use steadfast_tests::{Result, TempDir, ok, steadfast};

const README: &str = include_str!("../../README.md");

/// The shell blocks of the README, in order.
fn blocks() -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = README;
    while let Some((_, after)) = rest.split_once("```sh\n") {
        let Some((block, more)) = after.split_once("```") else { break };
        blocks.push(block.to_owned());
        rest = more;
    }
    blocks
}

#[test]
fn the_first_two_commands_are_the_demo_and_the_tests() -> Result {
    let first = blocks().into_iter().next().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(|l| l.split('#').next().unwrap_or(l).trim()).collect();
    assert_eq!(lines, ["cargo run --release -- demo", "cargo xtask test"]);
    // The second one is what runs this test. The first one, with the same release build:
    let output = ok(Command::new("sh")
        .args(["-c", lines[0]])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("CARGO_TARGET_DIR", target()?))?;
    println!("{output}");
    assert!(output.to_lowercase().contains("swaps"), "the summary counts the swaps:\n{output}");
    Ok(())
}

#[test]
fn the_walk_by_hand_works() -> Result {
    let walk = blocks().into_iter().nth(1).expect("the README shows a walk by hand");
    let dir = TempDir::new()?;
    let bin = steadfast()?;
    let mut path = bin.parent().unwrap_or(Path::new(".")).as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    // As typed into a shell with job control, stopping at the first error.
    let script = format!("set -em\n{walk}");
    let output = ok(Command::new("bash").args(["-c", &script]).current_dir(dir.path()).env("PATH", path))?;
    println!("{output}");
    for word in ["vol0", "1.1.0", "1.0.0", "export-size"] {
        assert!(output.contains(word), "no '{word}' in:\n{output}");
    }
    Ok(())
}

#[test]
fn the_guides_configuration_is_accepted() -> Result {
    let guide = include_str!("../../docs/guide.md");
    let (_, rest) = guide.split_once("```toml\n").expect("the guide shows a configuration");
    let (toml, _) = rest.split_once("```").expect("the block ends");
    let dir = TempDir::new()?;
    for disk in ["disk.img", "a.img", "b.img"] {
        dir.disk(disk, 1 << 20)?;
    }
    std::fs::write(dir.join("steadfast.toml"), toml)?;
    let check = ["serve", "--config", "steadfast.toml", "--check"];
    println!("{}", ok(Command::new(steadfast()?).args(check).current_dir(dir.path()))?);
    Ok(())
}

/// Runs one of the guide's walks beside a daemon that serves `vol0`; what it printed.
fn walk(number: usize) -> Result<String> {
    let guide = include_str!("../../docs/guide.md");
    let rest = guide.split("<!-- walk -->\n```sh\n").nth(number + 1).expect("the guide has that walk");
    let (walk, _) = rest.split_once("```").expect("that ends");
    let dir = TempDir::new()?;
    let daemon = steadfast_tests::Setup::device("vol0=ram:16M").start(&dir)?;
    let folder = steadfast()?;
    let folder = folder.parent().expect("a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", walk]).current_dir(dir.path());
    shell.env("PATH", path).env("STEADFAST_SOCKET", daemon.control());
    let output = shell.output()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    Ok(text)
}

#[test]
fn the_guides_walk_through_parameters_works() -> Result {
    let text = walk(0)?;
    for part in ["link_speed auto -> 16", "in force", "confirmed", "activated", "link_speed 16 -> auto"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    Ok(())
}

#[test]
fn the_guides_walks_through_profiles_and_files_work() -> Result {
    let text = walk(1)?;
    for part in [
        "low-latency",
        "leaves the device to others",
        "io_throttle 0 -> 16, saved, in force",
        "nothing to do",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = walk(2)?;
    for part in [
        "would be saved",
        "2 entries changed",
        "ram0-link-speed=16;",
        "# the night shift",
        "0 faults, 0 warnings",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    Ok(())
}

/// The folder that the release build is in.
fn target() -> Result<std::path::PathBuf> {
    let bin = steadfast()?;
    let target = bin.parent().and_then(Path::parent);
    Ok(target.unwrap_or(Path::new("target")).to_owned())
}
