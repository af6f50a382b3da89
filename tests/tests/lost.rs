//! Writes that were acknowledged and did not reach the medium: nobody is told from then on that they did.
//!
//! A loop device over a sparse file on a small tmpfs takes what is written into the kernel's memory, and loses
//! what there is no room for when that is written back.

use steadfast_tests::disks::{Loop, Tmpfs};
use steadfast_tests::nbd::Client;
use steadfast_tests::params::ends;
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, until};

const MIB: usize = 1 << 20;
/// What NBD calls EIO.
const EIO: u32 = 5;

/// A device of 200 MiB of which 20 can be written.
struct Thin {
    daemon: Daemon,
    disk: Loop,
    _room: Tmpfs,
    dir: TempDir,
}

fn thin(release: &str) -> Result<Thin> {
    let dir = TempDir::new()?;
    let room = Tmpfs::at(dir.join("t"), "20M")?;
    let disk = Loop::over(&dir.disk("t/base.img", 200 * MIB as u64)?)?;
    let daemon = Setup::device(format!("vol0=file@{release}:{}", disk.path().display())).start(&dir)?;
    Ok(Thin { daemon, disk, _room: room, dir })
}

impl Thin {
    fn client(&self) -> Result<Client> {
        Client::connect(self.daemon.nbd(), "vol0")
    }

    /// Writes more than there is room for; all of it is acknowledged.
    fn overfill(&self, client: &mut Client) -> Result {
        for mib in 0..60 {
            assert_eq!(client.write((mib * MIB) as u64, &vec![mib as u8 + 1; MIB], false)?, Ok(vec![]));
        }
        Ok(())
    }

    /// Every way to ask for durability fails, for whoever asks.
    fn fails(&self, client: &mut Client, when: &str) -> Result {
        for _ in 0..2 {
            assert_eq!(client.flush()?, Err(EIO), "flush {when}");
            assert_eq!(client.write(0, &[1; 4096], true)?, Err(EIO), "FUA {when}");
        }
        assert_eq!(self.client()?.flush()?, Err(EIO), "flush of a new client {when}");
        Ok(())
    }

    /// Room again, so that what is written now reaches the medium.
    fn room(&self) -> Result {
        let base = std::fs::OpenOptions::new().write(true).open(self.dir.join("t/base.img"))?;
        base.set_len(0)?;
        Ok(base.set_len(200 << 20)?)
    }

    /// The next daemon over the same disk, with these devices.
    fn again(&mut self, devices: &[&str]) -> Result {
        let disk = self.disk.path().display();
        let with = |setup: Setup, device: &&str| setup.and_device(device.replace("DISK", &disk.to_string()));
        self.daemon = devices.iter().fold(Setup::default(), with).start(&self.dir)?;
        Ok(())
    }

    fn unused(&self) -> Result {
        until("the clients have gone", || Ok((self.daemon.device("vol0")?["clients"] == 0).then_some(())))
    }
}

fn errors_stick(release: &str, other: &str, fua_first: bool) -> Result {
    let thin = thin(release)?;
    let (mut one, mut two) = (thin.client()?, thin.client()?);
    thin.overfill(&mut two)?;
    // Who wrote nothing is told first.
    let first = if fua_first { one.write(199 << 20, &[1; 4096], true)? } else { one.flush()? };
    // A write with FUA may find only its own block good; then the flush that comes after it must not.
    assert!(fua_first || first == Err(EIO), "the device has room for all: this test proves nothing");
    assert_eq!(two.flush()?, Err(EIO), "the client that wrote");
    thin.fails(&mut two, "after it was told")?;
    thin.daemon.update("vol0", &module(other)?)?;
    thin.fails(&mut two, "after a swap")?;
    // Past the page cache the blocks are larger, which takes that nobody relies on smaller ones.
    drop((one, two));
    thin.unused()?;
    ends(&thin.daemon, 0, &["param", "set", "vol0", "direct=true"])?;
    ends(&thin.daemon, 0, &["activate", "vol0"])?;
    thin.fails(&mut thin.client()?, "after the file was opened anew")?;
    // It is said everywhere.
    let name = thin.disk.path().display().to_string();
    let said = format!("{name}: writes that were acknowledged may be lost");
    assert!(ends(&thin.daemon, 0, &["device", "show", "vol0"])?.contains(&said));
    let (_, health) = thin.daemon.api()?.get("/v1/health")?;
    assert_eq!((&health["healthy"], &health["troubles"][0]["code"]), (&false.into(), &"writes_lost".into()));
    assert!(health["degraded"].as_str().is_some_and(|text| text.contains(&said)), "{health}");
    assert_eq!(thin.daemon.log().matches(&said).count(), 1, "{}", thin.daemon.log());
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn a_write_back_error_sticks_to_the_medium() -> Result {
    errors_stick("1.0.0", "file-1.1", false)
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn a_write_with_fua_takes_no_error_away_from_a_flush() -> Result {
    errors_stick("1.1.0", "file-1.1", true)
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn only_who_was_told_ends_it_and_not_under_clients() -> Result {
    let thin = thin("1.1.0")?;
    let mut client = thin.client()?;
    thin.overfill(&mut client)?;
    assert_eq!(client.flush()?, Err(EIO));
    // Neither an activation, nor down and up, nor another port on it.
    ends(&thin.daemon, 0, &["activate", "vol0"])?;
    thin.fails(&mut client, "after an activation")?;
    let said = ends(&thin.daemon, 3, &["activate", "vol0", "--accept-loss"])?;
    assert!(said.contains("in use by 1 client (client ") && said.contains("--force"), "{said}");
    drop(client);
    thin.unused()?;
    ends(&thin.daemon, 0, &["param", "set", "vol0", "admin_state=down"])?;
    ends(&thin.daemon, 0, &["activate", "vol0"])?;
    ends(&thin.daemon, 0, &["param", "set", "vol0", "admin_state=up"])?;
    ends(&thin.daemon, 0, &["activate", "vol0"])?;
    assert_eq!(thin.client()?.flush()?, Err(EIO), "after down and up");
    thin.unused()?;
    ends(&thin.daemon, 0, &["device", "remove", "vol0"])?;
    ends(&thin.daemon, 0, &["device", "add", &format!("vol0=file:{}", thin.disk.path().display())])?;
    assert_eq!(thin.client()?.flush()?, Err(EIO), "after it was taken away and came again");
    thin.unused()?;
    thin.room()?;
    ends(&thin.daemon, 0, &["activate", "vol0", "--accept-loss"])?;
    let mut client = thin.client()?;
    assert_eq!(client.write(0, &[1; 4096], false)?, Ok(vec![]));
    assert_eq!(client.flush()?, Ok(vec![]));
    let (_, health) = thin.daemon.api()?.get("/v1/health")?;
    assert_eq!(health["healthy"], true, "{health}");
    thin.daemon.logs("accepted by")?;
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn a_restart_forgets_nothing_and_only_who_was_told_ends_it() -> Result {
    let mut thin = thin("1.1.0")?;
    let mut client = thin.client()?;
    thin.overfill(&mut client)?;
    assert_eq!(client.flush()?, Err(EIO));
    drop(client);
    assert!(thin.daemon.stop()?.success());
    thin.again(&["vol0=file:DISK"])?;
    thin.daemon.logs("as an earlier daemon has noted")?;
    thin.fails(&mut thin.client()?, "after a stop and a start")?;
    thin.daemon.kill();
    thin.again(&["other=file:DISK"])?;
    let mut client = Client::connect(thin.daemon.nbd(), "other")?;
    assert_eq!(client.flush()?, Err(EIO), "after a kill, under another name");
    drop(client);
    assert!(ends(&thin.daemon, 0, &["device", "show", "other"])?.contains("may be lost"));
    let (_, health) = thin.daemon.api()?.get("/v1/health")?;
    assert_eq!((&health["healthy"], &health["troubles"][0]["code"]), (&false.into(), &"writes_lost".into()));
    thin.room()?;
    until("the client has gone", || Ok((thin.daemon.device("other")?["clients"] == 0).then_some(())))?;
    ends(&thin.daemon, 0, &["activate", "other", "--accept-loss"])?;
    assert!(thin.daemon.stop()?.success());
    thin.again(&["vol0=file:DISK"])?;
    assert_eq!(thin.client()?.flush()?, Ok(vec![]), "it was accepted");
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn clients_of_every_port_on_the_medium_are_asked_about() -> Result {
    let mut thin = thin("1.1.0")?;
    let mut client = thin.client()?;
    thin.overfill(&mut client)?;
    assert_eq!(client.flush()?, Err(EIO));
    drop(client);
    assert!(thin.daemon.stop()?.success());
    thin.again(&["one=file:DISK,read_only=true", "two=file:DISK,read_only=true"])?;
    let client = Client::connect(thin.daemon.nbd(), "two")?;
    let said = ends(&thin.daemon, 3, &["activate", "one", "--accept-loss"])?;
    assert!(said.contains("port two is in use by 1 client (client ") && said.contains("--force"), "{said}");
    drop(client);
    until("the client has gone", || Ok((thin.daemon.device("two")?["clients"] == 0).then_some(())))?;
    ends(&thin.daemon, 0, &["activate", "one", "--accept-loss"])?;
    // Both are open for clients again.
    for device in ["one", "two"] {
        assert!(Client::connect(thin.daemon.nbd(), device)?.read(0, 4096)?.is_ok(), "{device}");
    }
    Ok(())
}
