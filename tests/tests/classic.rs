//! Files of parameters as a whole: taken from the classic form, written in it, examined.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use steadfast_tests::params::{cli, ends, file_of, generation, param, pending};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, c_module};

/// In the shape of those that other systems' drivers come with.
const CONF: &str = "\
#
# file.conf: the disks of the night shift.
#

# log-mask: which messages.
log-mask=0xffff;

io-throttle=64;  request-timeout=60;
file0-io-throttle=8;   # it floods otherwise
file1-link_speed=\"16\";
";

fn ports(dir: &TempDir) -> Result<Setup> {
    let disk = |name: &str| -> Result<String> {
        Ok(format!("{name}=file@1.1.0:{}", dir.disk(&format!("{name}.img"), 16 << 20)?.display()))
    };
    Ok(Setup::device(disk("vol0")?).and_device(disk("vol1")?))
}

fn conf(dir: &TempDir, text: &str) -> Result<PathBuf> {
    let path = dir.join("file.conf");
    fs::write(&path, text)?;
    Ok(path)
}

fn current(daemon: &Daemon, port: &str, name: &str) -> Result<Value> {
    Ok(param(daemon, port, name)?["current"].clone())
}

/// Runs `config lint` on a file of that name with that text.
fn lint(daemon: &Daemon, dir: &TempDir, code: i32, name: &str, text: &str) -> Result<String> {
    let path = dir.join(name);
    fs::write(&path, text)?;
    ends(daemon, code, &["config", "lint", &path.display().to_string()])
}

#[test]
fn a_classic_file_is_imported_under_load_and_comes_out_as_it_went_in() -> Result {
    let dir = TempDir::new()?;
    let daemon = ports(&dir)?.start(&dir)?;
    let mut load: Vec<_> = ["vol0", "vol1"].map(|name| Verified::start(&daemon, name, 0, 8, 8)).into();
    for (load, name) in load.iter_mut().zip(["vol0", "vol1"]) {
        load.busy(&daemon, name)?;
    }
    let path = conf(&dir, CONF)?.display().to_string();
    let file = file_of(&daemon, "vol0")?;
    let would = ends(&daemon, 0, &["config", "import", "file", &path, "--dry-run"])?;
    assert!(would.contains("vol0: io_throttle 0 -> 8, would be saved, takes effect at once"), "{would}");
    assert!(!file.exists(), "nothing was done");
    fs::create_dir_all(file.parent().expect("a folder"))?;
    fs::write(&file, "# ours\n[global]\nrequest_timeout = 50 # agreed\n")?;
    let before = [generation(&daemon, "vol0")?, generation(&daemon, "vol1")?];
    let said = ends(&daemon, 0, &["config", "import", "file", &path])?;
    assert!(said.contains("vol1: io_throttle 0 -> 64, saved, in force"), "{said}");
    assert!(
        said.contains("vol1: link_speed auto -> 16, saved, waits for `steadfast activate vol1`"),
        "{said}"
    );
    // One edit, with the comments of both.
    let text = fs::read_to_string(&file)?;
    for part in [
        "# ours",
        "request_timeout = 60 # agreed",
        "# log-mask: which messages.",
        "# it floods otherwise",
        "[port.vol0]",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(
        (current(&daemon, "vol0", "io_throttle")?, current(&daemon, "vol1", "io_throttle")?),
        ("8".into(), "64".into())
    );
    assert_eq!(
        (current(&daemon, "vol0", "log_mask")?, current(&daemon, "vol1", "request_timeout")?),
        ("65535".into(), "60".into())
    );
    assert_eq!(pending(&daemon, "vol1")?, ["link_speed"]);
    assert!(pending(&daemon, "vol0")?.is_empty());
    assert_eq!(
        before,
        [generation(&daemon, "vol0")?, generation(&daemon, "vol1")?],
        "nothing was initialised anew"
    );
    ends(&daemon, 0, &["activate", "vol1"])?;
    for mut load in load {
        load.check()?;
        load.finish()?;
    }
    // What comes out goes in again and changes nothing.
    let out = ends(&daemon, 0, &["config", "export", "file", "--classic"])?;
    for part in ["io-throttle=64;", "log-mask=0xffff;", "file0-io-throttle=8;", "file1-link-speed=16;"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let again = conf(&dir, &out)?.display().to_string();
    let said = ends(&daemon, 0, &["config", "import", "file", &again])?;
    assert!(said.contains("nothing changes") && said.contains("0 entries changed"), "{said}");
    assert_eq!(fs::read_to_string(&file)?, text, "not a byte");
    assert_eq!(ends(&daemon, 0, &["config", "export", "file"])?, text);
    for port in ["vol0", "vol1"] {
        assert_eq!(daemon.device(port)?["errors"], 0, "{port}");
    }
    Ok(())
}

#[test]
fn everything_that_is_wrong_with_an_import_is_said_at_once_with_its_line() -> Result {
    let dir = TempDir::new()?;
    let daemon = ports(&dir)?.start(&dir)?;
    let file = file_of(&daemon, "vol0")?;
    let import = |text: &str| -> Result<String> {
        let path = conf(&dir, text)?.display().to_string();
        ends(&daemon, 1, &["config", "import", "file", &path])
    };
    let said = import("io-throttle=8;\nio-slot=5;\nio-slots=20000;\nio_throttle 64;\n")?;
    for part in [
        "nothing was imported",
        "file.conf:2: unknown parameter: io-slot (did you mean io_slots?)",
        "file.conf:3: out of range: io_slots=20000 (allowed 128..=10240)",
        "file.conf:4: expected `=` behind the name, found 64",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = import("io-throttle=8;\nfile7-io-slots=256;\n")?;
    assert!(
        said.contains(
            "file.conf:2: file7-io-slots: no port of the driver has number 7 (0 is vol0, 1 is vol1)"
        ),
        "{said}"
    );
    let said = import("io-throttle=8;\nfile1-path=other.img;\n")?;
    assert!(said.contains("file.conf:2: not absolute: file1-path=other.img"), "{said}");
    // All of that in one file is all said.
    let said = import("io_throttle 64;\nfile7-io-slots=20000;\nfile1-path=other.img;\n")?;
    for part in [
        "file.conf:1: expected `=`",
        "file.conf:2: out of range: io_slots=20000",
        "file.conf:2: file7-io-slots: no port of the driver has number 7",
        "file.conf:3: not absolute: file1-path=other.img",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let path = conf(&dir, "io-throttle=8;\n")?.display().to_string();
    let said = ends(&daemon, 1, &["config", "import", "fil", &path])?;
    assert!(said.contains("no driver `fil`") && said.contains("did you mean `file`?"), "{said}");
    assert!(!file.exists(), "nothing was saved");
    assert_eq!(current(&daemon, "vol0", "io_throttle")?, "0");
    // Given twice, the last one counts and it is said.
    let path = conf(&dir, "io-throttle=8;\nio-throttle=9;\n")?.display().to_string();
    let said = ends(&daemon, 0, &["config", "import", "file", &path])?;
    assert!(said.contains("file.conf:2: io-throttle was given before, at line 1"), "{said}");
    assert_eq!(current(&daemon, "vol0", "io_throttle")?, "9");
    Ok(())
}

#[test]
fn a_port_keeps_its_number_and_a_new_one_gets_the_lowest() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol1=ram:1M").and_device("vol2=ram:1M").start(&dir)?;
    ends(&daemon, 0, &["device", "add", "vol0=ram:1M"])?;
    for (port, value) in [("vol0", "10"), ("vol1", "11"), ("vol2", "12")] {
        ends(&daemon, 0, &["param", "set", port, &format!("io_throttle={value}")])?;
    }
    let export = |daemon: &Daemon| ends(daemon, 0, &["config", "export", "ram", "--classic"]);
    let is = |text: &str, entries: [&str; 3]| entries.iter().all(|entry| text.contains(entry));
    let before = export(&daemon)?;
    assert!(
        is(&before, ["ram0-io-throttle=11;", "ram1-io-throttle=12;", "ram2-io-throttle=10;"]),
        "{before}"
    );
    assert!(daemon.stop()?.success());
    let daemon = Setup::device("vol1=ram:1M").and_device("vol2=ram:1M").start(&dir)?;
    assert_eq!(export(&daemon)?, before, "it came back, and nobody moved");
    ends(&daemon, 0, &["device", "remove", "vol0"])?;
    ends(&daemon, 0, &["device", "add", "another=ram:1M"])?;
    ends(&daemon, 0, &["param", "set", "another", "io_throttle=13"])?;
    let after = export(&daemon)?;
    assert!(is(&after, ["ram0-io-throttle=11;", "ram1-io-throttle=12;", "ram2-io-throttle=13;"]), "{after}");
    Ok(())
}

#[test]
fn lint_finds_what_would_be_refused_and_what_has_no_effect() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M,io_slots=256").and_device("vol1=ram:1M").start(&dir)?;
    let said = ends(&daemon, 0, &["config", "lint"])?;
    assert!(said.contains("0 faults, 0 warnings"), "{said}");
    let text = "[global]\nio_slot = 1\nio_throttle = 9000\n[port.vol]\nio_throttle = 1\n";
    let said = lint(&daemon, &dir, 6, "ram.toml", text)?;
    for part in [
        "ram.toml:2: fault: unknown parameter: io_slot (did you mean io_slots?)",
        "ram.toml:3: fault: out of range: io_throttle=9000 (allowed 0..=8192)",
        "ram.toml:4: fault: driver ram has no port vol, so nobody reads this (did you mean vol0?)",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = lint(&daemon, &dir, 6, "rma.toml", "")?;
    assert!(
        said.contains("rma.toml:1: fault: there is no driver rma") && said.contains("did you mean ram?"),
        "{said}"
    );
    let text =
        "[global]\nio_slots = 512\n[port.vol0]\nundefine = [\"log_mask\"]\n[port.vol1]\nio_slots = 512\n";
    let said = lint(&daemon, &dir, 0, "ram.toml", text)?;
    assert!(
        said.contains(
            "ram.toml:2: warning: io_slots counts for no port: it is said again for vol0 at --device"
        ),
        "{said}"
    );
    assert!(said.contains("ram.toml:4: warning: log_mask is undefined without effect"), "{said}");
    // The folder itself, profiles included.
    let folder = file_of(&daemon, "vol0")?.with_file_name("");
    fs::create_dir_all(folder.join("profiles"))?;
    fs::write(folder.join("ram.toml"), "[port.vol1]\nlink_speed = 40\n")?;
    fs::write(folder.join("profiles/db.toml"), "extends = \"oltb\"\n")?;
    fs::write(folder.join("devices.toml"), "[device.x]\n")?;
    let (code, out, _) = cli(&daemon, &["config", "lint", "-o", "json"])?;
    let report: Value = serde_json::from_str(&out)?;
    let all: Vec<String> =
        report["findings"].as_array().into_iter().flatten().map(Value::to_string).collect();
    assert_eq!((code, all.len()), (6, 3), "{report:#}");
    assert!(all.iter().any(|f| f.contains("devices.toml:") && f.contains("driver")), "{report:#}");
    assert!(all.iter().any(|f| f.contains("ram.toml:2") && f.contains("auto, 1, 2, 4")), "{report:#}");
    assert!(all.iter().any(|f| f.contains("db.toml:1") && f.contains("did you mean oltp?")), "{report:#}");
    Ok(())
}

#[test]
fn lint_finds_what_import_and_apply_would_refuse_and_knows_who_is_away() -> Result {
    let dir = TempDir::new()?;
    let daemon = ports(&dir)?.start(&dir)?;
    let said = lint(&daemon, &dir, 6, "file.conf", "log-mask=1;\nfile1-path=rel;\nfile9-log-mask=1;\n")?;
    assert!(said.contains("file.conf:2: fault: not absolute: file1-path=rel"), "{said}");
    assert!(said.contains("file.conf:3: fault: file9-log-mask: no port"), "{said}");
    let folder = file_of(&daemon, "vol0")?.with_file_name("");
    fs::create_dir_all(folder.join("profiles"))?;
    fs::write(folder.join("profiles/db.toml"), "[params]\nio_throttle = 99999\n")?;
    let said = ends(&daemon, 6, &["config", "lint"])?;
    assert!(said.contains("db.toml:2: fault: out of range: io_throttle=99999 (allowed 0..=8192)"), "{said}");
    let refused = ends(&daemon, 1, &["profile", "apply", "db", "vol0"])?;
    assert!(refused.contains("db.toml:2"), "lint was right: {refused}");
    fs::remove_file(folder.join("profiles/db.toml"))?;
    ends(&daemon, 0, &["param", "set", "vol1", "io_throttle=4"])?;
    ends(&daemon, 0, &["device", "remove", "vol1"])?;
    let said = ends(&daemon, 0, &["config", "lint"])?;
    assert!(
        said.contains(
            "warning: port vol1 is away: this is read when it comes back, with the daemon's next start"
        ),
        "{said}"
    );
    Ok(())
}

#[test]
fn what_import_and_export_leave_out_is_said_with_its_line() -> Result {
    let dir = TempDir::new()?;
    let daemon = ports(&dir)?.start(&dir)?;
    let file = file_of(&daemon, "vol0")?;
    fs::create_dir_all(file.parent().expect("a folder"))?;
    fs::write(&file, "[global]\nio_throttle = 5\n[port.vol0]\nundefine = [\"io_throttle\"]\n")?;
    let text = "# the night shift\n\n# why\nio-throttle=6; # agreed\n# new\nlog-mask=1;\n# the end\n";
    let path = conf(&dir, text)?.display().to_string();
    let said = ends(&daemon, 0, &["config", "import", "file", &path])?;
    assert!(said.contains("warning: ") && said.contains("they stand at no entry: lines 1, 7"), "{said}");
    assert!(said.contains("keep what is written there: lines 3 to 4"), "{said}");
    assert!(fs::read_to_string(&file)?.contains("# new\nlog_mask = 1"), "one that is taken");
    let (code, out, error) = cli(&daemon, &["config", "export", "file", "--classic"])?;
    assert!(code == 0 && out.contains("# file0-io-throttle is undefined"), "{out}{error}");
    let line =
        fs::read_to_string(&file)?.lines().position(|line| line.starts_with("undefine")).expect("there") + 1;
    let wanted = format!("file.toml:{line}: `undefine` of io_throttle in [port.vol0] has no classic form");
    assert!(error.contains(&wanted), "{wanted}: {error}");
    Ok(())
}

#[test]
fn a_driver_with_the_name_of_another_file_is_refused() -> Result {
    let dir = TempDir::new()?;
    let source = include_str!("../../crates/runtime/tests/live.c");
    let named =
        source.replace("STEADFAST_ENTRY(\"name\", \"live\")", "STEADFAST_ENTRY(\"name\", \"devices\")");
    assert_ne!(named, source);
    let path = dir.join("devices.c");
    fs::write(&path, named)?;
    let module = c_module(&dir, &path.display().to_string(), "devices", &[])?.display().to_string();
    let daemon = Setup::device("vol0=ram:1M").start(&dir)?;
    for args in [
        vec!["driver", "load", &module],
        vec!["driver", "check", &module],
        vec!["update", "vol0", &module, "--allow-other"],
        vec!["device", "add", &format!("vol1={module}")],
    ] {
        let said = ends(&daemon, 1, &args)?;
        assert!(said.contains("name=devices") && said.contains("any other name"), "{args:?}: {said}");
    }
    let (code, _, said) = cli(&daemon, &["driver", "new", "profiles", "--lang", "c"])?;
    assert!(code == 1 && said.contains("any other name"), "{said}");
    Ok(())
}
