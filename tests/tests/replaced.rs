//! What became of the file behind a device is told, and nothing goes on with it unless that is meant: it was
//! replaced, moved, removed, truncated, or would be cut.

use serde_json::Value;
use steadfast_tests::nbd::{Client, command};
use steadfast_tests::params::ends;
use steadfast_tests::{Daemon, Result, Setup, TempDir, until};

const SIZE: usize = 1 << 20;

struct Bench {
    daemon: Daemon,
    dir: TempDir,
    path: String,
}

fn bench() -> Result<Bench> {
    let dir = TempDir::new()?;
    std::fs::write(dir.join("a.img"), vec![1; SIZE])?;
    std::fs::write(dir.join("n.img"), vec![2; SIZE])?;
    let path = dir.join("a.img").display().to_string();
    let daemon = Setup::device(format!("vol0=file@1.0.0:{path}")).start(&dir)?;
    Ok(Bench { daemon, dir, path })
}

fn first(daemon: &Daemon) -> Result<u8> {
    let read = Client::connect(daemon.nbd(), "vol0")?.read(0, 4096)?;
    Ok(read.map_err(|e| anyhow::anyhow!("error {e}"))?[0])
}

fn unused(daemon: &Daemon) -> Result {
    until("the clients have gone", || Ok((daemon.device("vol0")?["clients"] == 0).then_some(())))
}

fn health(daemon: &Daemon) -> Result<Value> {
    Ok(daemon.api()?.get("/v1/health")?.1)
}

impl Bench {
    /// It is said everywhere, and once in the log.
    fn told(&self, code: &str, found: &str, what: &str) -> Result {
        assert!(ends(&self.daemon, 0, &["device", "show", "vol0"])?.contains(what));
        let health = health(&self.daemon)?;
        assert_eq!(
            (&health["healthy"], &health["troubles"][0]["code"]),
            (&false.into(), &code.into()),
            "{health}"
        );
        let rescan = ends(&self.daemon, if found == "shrunk" { 0 } else { 1 }, &["rescan"])?;
        assert!(rescan.contains(found) && !rescan.contains("unchanged"), "{rescan}");
        assert_eq!(self.daemon.log().matches(what).count(), 1, "{}", self.daemon.log());
        Ok(())
    }

    /// Neither an activation nor an update opens anything.
    fn refused(&self, what: &str) -> Result {
        // It is said before.
        for (exit, args) in [(0, &["plan", "vol0"][..]), (6, &["driver", "check", "vol0", "file@1.1.0"])] {
            let said = ends(&self.daemon, exit, args)?;
            assert!(said.contains(what) && said.contains("--force"), "{args:?}: {said}");
        }
        for args in [&["activate", "vol0"][..], &["update", "vol0", "file@1.1.0"]] {
            let output = self.daemon.cli(args)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(what), "{args:?}: {said}");
            assert!(said.contains("--force"), "what to do about it: {said}");
        }
        assert_eq!(self.daemon.device("vol0")?["driver"]["version"], "1.0.0");
        Ok(())
    }
}

#[test]
fn a_file_that_was_replaced_is_told_of_and_opened_by_force_only() -> Result {
    let bench = bench()?;
    assert_eq!(health(&bench.daemon)?["healthy"], true);
    std::fs::rename(bench.dir.join("n.img"), &bench.path)?;
    let what = "a.img: it was replaced by another one";
    bench.told("file_replaced", "replaced", what)?;
    bench.refused(what)?;
    assert_eq!(first(&bench.daemon)?, 1, "it serves what it has open");
    unused(&bench.daemon)?;
    ends(&bench.daemon, 0, &["update", "vol0", "file@1.1.0", "--force"])?;
    assert_eq!(first(&bench.daemon)?, 2, "what is there now");
    assert_eq!(health(&bench.daemon)?["healthy"], true);
    unused(&bench.daemon)?;
    std::fs::write(bench.dir.join("n.img"), vec![3; SIZE])?;
    std::fs::rename(bench.dir.join("n.img"), &bench.path)?;
    ends(&bench.daemon, 0, &["activate", "vol0", "--force"])?;
    assert_eq!(first(&bench.daemon)?, 3);
    Ok(())
}

#[test]
fn a_file_that_was_removed_is_told_of_and_gone_on_with_by_force_only() -> Result {
    let bench = bench()?;
    std::fs::remove_file(&bench.path)?;
    let what = "a.img: it was moved or removed";
    bench.told("file_missing", "missing", what)?;
    bench.refused(what)?;
    ends(&bench.daemon, 0, &["update", "vol0", "file@1.1.0", "--force"])?;
    assert_eq!(first(&bench.daemon)?, 1);
    Ok(())
}

#[test]
fn a_file_that_was_moved_can_be_followed_and_come_back() -> Result {
    let bench = bench()?;
    let moved = bench.dir.join("b.img");
    std::fs::rename(&bench.path, &moved)?;
    bench.told("file_missing", "missing", "a.img: it was moved or removed")?;
    std::fs::rename(&moved, &bench.path)?;
    assert_eq!(health(&bench.daemon)?["healthy"], true, "it is back");
    std::fs::rename(&bench.path, &moved)?;
    // Under its new name it is the same file: nothing is to be forced.
    ends(&bench.daemon, 0, &["param", "set", "vol0", &format!("path={}", moved.display())])?;
    ends(&bench.daemon, 0, &["activate", "vol0"])?;
    assert_eq!(health(&bench.daemon)?["healthy"], true);
    Ok(())
}

#[test]
fn a_file_that_was_truncated_is_told_of_and_not_served_smaller() -> Result {
    let bench = bench()?;
    std::fs::File::options().write(true).open(&bench.path)?.set_len(SIZE as u64 / 2)?;
    bench.told("file_shrunk", "shrunk", "a.img: it was truncated from 1048576 to 524288 bytes")?;
    for refused in
        [&["update", "vol0", "file@1.1.0"][..], &["update", "vol0", "file@1.1.0", "--set", "direct=true"]]
    {
        let output = bench.daemon.cli(refused)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("smaller"), "{refused:?}: {said}");
    }
    assert_eq!(bench.daemon.device("vol0")?["size"], SIZE);
    Ok(())
}

#[test]
fn what_a_truncated_file_has_lost_stays_lost_whatever_is_written_there() -> Result {
    let bench = bench()?;
    let mut client = Client::connect(bench.daemon.nbd(), "vol0")?;
    let file = std::fs::File::options().write(true).open(&bench.path)?;
    file.set_len(SIZE as u64 / 2)?;
    let what = "it was truncated from 1048576 to 524288 bytes; what lay beyond that is lost";
    bench.told("file_shrunk", "shrunk", what)?;
    // No client puts zeroes in the place of what is lost by writing behind them.
    let last = SIZE as u64 - 4096;
    for (name, offset, bytes, fails) in [
        (command::WRITE, last, &[7; 4096][..], true),
        (command::TRIM, last, &[], true),
        (command::WRITE, 0, &[7; 4096], false),
    ] {
        let cookie = client.send(name, 0, offset, 4096, bytes)?;
        let (answered, error) = client.receive()?;
        assert_eq!((answered, error != 0), (cookie, fails), "command {name} at {offset}: error {error}");
    }
    assert_eq!(std::fs::metadata(&bench.path)?.len(), SIZE as u64 / 2);
    // Nor does it become whole by being made as long again.
    file.set_len(SIZE as u64)?;
    bench.told("file_shrunk", "shrunk", what)?;
    bench.refused(what)?;
    drop(client);
    ends(&bench.daemon, 0, &["activate", "vol0", "--force"])?;
    assert_eq!(health(&bench.daemon)?["healthy"], true);
    let mut client = Client::connect(bench.daemon.nbd(), "vol0")?;
    client.send(command::WRITE, 0, last, 4096, &[7; 4096])?;
    assert_eq!(client.receive()?.1, 0);
    Ok(())
}

#[test]
fn what_makes_a_device_smaller_is_said_before_and_takes_force() -> Result {
    let dir = TempDir::new()?;
    std::fs::write(dir.join("disk.img"), vec![1; SIZE + 1])?;
    let path = dir.join("disk.img").display().to_string();
    let daemon = Setup::device(format!("vol0=file:{path}")).start(&dir)?;
    let size = || -> Result<u64> { Ok(daemon.device("vol0")?["size"].as_u64().unwrap_or(0)) };
    assert_eq!(size()?, SIZE as u64 + 1);
    ends(&daemon, 0, &["param", "set", "vol0", "direct=true"])?;
    let said = ends(&daemon, 2, &["plan", "vol0"])?;
    assert!(
        said.contains("smaller, 1048576 bytes in the place of 1048577") && said.contains("--force"),
        "{said}"
    );
    let smaller = "1048576 bytes in the place of 1048577";
    for refused in [
        &["activate", "vol0"][..],
        &["update", "vol0", "file@1.1.0", "--set", "direct=true"],
        &["activate", "vol0", "--reload"],
    ] {
        let output = daemon.cli(refused)?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && said.contains(smaller), "{refused:?}: {said}");
        assert!(said.contains("--force"), "{refused:?}: {said}");
        assert_eq!(size()?, SIZE as u64 + 1);
    }
    // The check says it, also of another file.
    std::fs::write(dir.join("tiny.img"), vec![1; 4096])?;
    let tiny = format!("path={}", dir.join("tiny.img").display());
    let output = daemon.cli(&["update", "vol0", "file@1.1.0", "--set", &tiny])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("4096 bytes in the place of 1048577"), "{said}");
    // By force it is done, and said by the log and the receipt.
    ends(&daemon, 0, &["activate", "vol0", "--force"])?;
    assert_eq!(size()?, SIZE as u64);
    let last = &daemon.device("vol0")?["last_receipt"];
    assert!(last.to_string().contains(smaller), "{last}");
    daemon.logs(smaller)?;
    daemon.logs("its last 1 bytes are no whole block")?;
    // The way back to what was smaller is never refused.
    ends(&daemon, 0, &["rollback", "vol0"])?;
    assert_eq!(size()?, SIZE as u64 + 1);
    ends(&daemon, 0, &["rollback", "vol0"])?;
    assert_eq!(size()?, SIZE as u64);
    Ok(())
}
