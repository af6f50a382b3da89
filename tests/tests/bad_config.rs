//! Impossible configurations: the daemon does not start, says what is wrong and where, and exits with 1.

use std::process::Command;
use steadfast_tests::{Result, TempDir, run, steadfast};

/// Runs `steadfast serve` in `dir`; it must refuse with all these words in its message.
fn refused(dir: &TempDir, args: &[&str], words: &[&str]) -> Result {
    let output = run(Command::new(steadfast()?)
        .arg("serve")
        .args(args)
        .args(["--control", "control.sock", "--store", "store"])
        .env_remove("STEADFAST_SOCKET")
        .current_dir(dir.path()))?;
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: no '{word}' in: {text}");
    }
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    Ok(())
}

#[test]
fn devices_that_cannot_be() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 1 << 20)?;
    dir.disk("empty.img", 0)?;
    dir.disk("odd.img", 1000)?;
    std::fs::create_dir(dir.join("folder"))?;
    let nbd = ["--nbd", "unix:nbd.sock"];
    let cases: [(&str, &[&str]); 13] = [
        ("vol0=file:empty.img", &["vol0", "empty.img"]),
        ("vol0=file:missing.img", &["vol0", "missing.img"]),
        ("vol0=file:folder", &["vol0", "folder"]),
        ("vol0=ram:0", &["vol0", "size"]),
        ("vol0=null:0", &["vol0", "size"]),
        ("vol0=ram:12Q", &["vol0", "12Q"]),
        ("vol0=nonsense:x", &["nonsense"]),
        ("vol0=file@9.9.9:disk.img", &["file", "9.9.9"]),
        ("vol0=file:disk.img,colour=red", &["colour"]),
        ("vol0=file:disk.img,direct=perhaps", &["direct", "perhaps"]),
        ("vol0=file:disk.img,queues=0", &["queues"]),
        ("vol0", &["vol0"]),
        ("../etc=file:disk.img", &["../etc"]),
    ];
    for (spec, words) in cases {
        refused(&dir, &[&["--device", spec], &nbd[..]].concat(), words)?;
    }
    let twice = ["--device", "vol0=ram:1M", "--device", "vol0=ram:2M"];
    refused(&dir, &[&twice[..], &nbd].concat(), &["vol0", "twice"])
}

#[test]
fn addresses_that_cannot_be() -> Result {
    let dir = TempDir::new()?;
    std::fs::write(dir.join("in-the-way"), "a file, no socket")?;
    let long = format!("unix:{}", "x".repeat(200));
    let cases: [(&str, &str); 6] = [
        ("nonsense", "nonsense"),
        ("unix:", "unix:"),
        ("tcp:nowhere", "tcp:nowhere"),
        ("tcp:127.0.0.1:99999", "99999"),
        (&long, "xxxx"),
        ("unix:no/such/folder/nbd.sock", "no/such/folder"),
    ];
    for (address, word) in cases {
        refused(&dir, &["--device", "vol0=ram:1M", "--nbd", address], &[word])?;
    }
    refused(&dir, &["--device", "vol0=ram:1M", "--nbd", "unix:in-the-way"], &["in-the-way"])?;
    assert!(dir.join("in-the-way").is_file(), "what was in the way is still there");
    Ok(())
}

#[test]
fn configuration_files_that_cannot_be() -> Result {
    let dir = TempDir::new()?;
    let cases: [(&str, &str, &[&str]); 4] = [
        ("broken.toml", "queues = [[[", &["broken.toml"]),
        ("unknown.toml", "quueues = 1\n", &["unknown.toml", "quueues"]),
        ("type.toml", "queues = \"two\"\n", &["type.toml", "queues"]),
        ("range.toml", "queues = 1000\n", &["range.toml", "1000"]),
    ];
    for (name, text, words) in cases {
        std::fs::write(dir.join(name), text)?;
        refused(&dir, &["--config", name], words)?;
    }
    let two =
        "quueues = 1\n[device.a]\ndriver = \"none-such\"\n[device.b]\ndriver = \"file\"\ntarget = \"gone\"\n";
    std::fs::write(dir.join("two.toml"), two)?;
    for more in [&["--config", "two.toml"][..], &["--config", "two.toml", "--check"]] {
        refused(&dir, more, &["quueues", "none-such", "gone: No such file"])?;
    }
    refused(&dir, &["--config", "missing.toml"], &["missing.toml"])?;
    std::fs::write(dir.join("binary.toml"), [0xff, 0xfe, 0, 1])?;
    refused(&dir, &["--config", "binary.toml"], &["binary.toml"])
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused_and_the_first_goes_on() -> Result {
    let dir = TempDir::new()?;
    let mut first = steadfast_tests::Setup::device("vol0=ram:1M").start(&dir)?;
    refused(&dir, &["--device", "vol0=ram:1M", "--nbd", "unix:nbd.sock"], &["sock"])?;
    first.check_serves("vol0")
}

#[test]
fn a_client_without_a_daemon_says_so() -> Result {
    let dir = TempDir::new()?;
    let output = run(Command::new(steadfast()?)
        .args(["--socket", "nowhere.sock", "device", "list"])
        .current_dir(dir.path()))?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("nowhere.sock"), "{text}");
    assert!(text.contains("serve"), "the message says how to start one: {text}");
    Ok(())
}
