//! Who writes to a file or block device has it for himself: against QEMU's programs, against mounts, and whatever
//! node a block device is opened by.

use anyhow::{Context, ensure};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use steadfast_tests::disks::Loop;
use steadfast_tests::nbd::Client;
use steadfast_tests::params::ends;
use steadfast_tests::{Daemon, Result, Setup, TempDir, ok, run, until};

/// A program that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `qemu-nbd` that has the file open.
fn qemu(dir: &TempDir, file: &Path, options: &[&str]) -> Result<Running> {
    let socket = dir.join("qemu.sock");
    let _ = std::fs::remove_file(&socket);
    let mut command = Command::new("qemu-nbd");
    command.args(["--persistent", "--format", "raw", "--socket"]).arg(&socket).args(options).arg(file);
    let running = Running(command.stderr(Stdio::null()).spawn().context("qemu-nbd (qemu-utils) is needed")?);
    until("qemu-nbd listens", || Ok(socket.exists().then_some(())))?;
    Ok(running)
}

fn serve(dir: &TempDir, specs: &[String]) -> Result<Daemon> {
    let (first, more) = specs.split_first().context("a device")?;
    more.iter().fold(Setup::device(first), |setup, spec| setup.and_device(spec)).start(dir)
}

/// Why one does not come up.
fn refused(dir: &TempDir, specs: &[String]) -> Result<String> {
    match serve(dir, specs) {
        Ok(_) => anyhow::bail!("{specs:?}: it is served"),
        Err(why) => Ok(why.to_string()),
    }
}

#[test]
fn what_is_served_to_be_written_qemu_does_not_open() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", 1 << 20)?;
    let write = |what: &[&str]| {
        let mut command = Command::new("qemu-io");
        run(command.args(["-f", "raw"]).args(what).args(["-c", "write 0 512"]).arg(&disk))
    };
    let daemon = serve(&dir, &[format!("vol0=file:{}", disk.display())])?;
    let said = write(&[])?;
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(!said.status.success() && error.contains("lock"), "qemu-io writes to it: {error}");
    let out = dir.join("copy.img");
    let copied =
        run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "raw"]).arg(&disk).arg(&out))?;
    ensure!(!copied.status.success(), "qemu-img copies what is being written");
    // Also once the driver has been replaced, and the file was opened anew.
    ends(&daemon, 0, &["update", "vol0", "file@1.1.0", "--set", "direct=true"])?;
    ensure!(!write(&[])?.status.success(), "after an update");
    // Who only reads lets others read.
    ends(&daemon, 0, &["param", "set", "vol0", "read_only=true"])?;
    ends(&daemon, 0, &["activate", "vol0"])?;
    ok(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "raw"]).arg(&disk).arg(&out))?;
    ensure!(!write(&[])?.status.success(), "it is read, and so not to be written");
    drop(daemon);
    ensure!(write(&[])?.status.success(), "nobody has it any more");
    Ok(())
}

#[test]
fn what_qemu_has_open_is_not_served() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", 1 << 20)?;
    let (writes, reads) =
        (format!("vol0=file:{}", disk.display()), format!("vol0=file:{},read_only=true", disk.display()));
    {
        let _qemu = qemu(&dir, &disk, &[])?;
        for spec in [&writes, &reads] {
            let why = refused(&dir, std::slice::from_ref(spec))?;
            ensure!(why.contains("disk.img: QEMU") && why.contains("has it open"), "{why}");
        }
    }
    let _qemu = qemu(&dir, &disk, &["--read-only"])?;
    let why = refused(&dir, &[writes])?;
    ensure!(why.contains("disk.img: QEMU"), "{why}");
    serve(&dir, &[reads])?;
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn a_block_device_is_one_whatever_its_node() -> Result {
    let dir = TempDir::new()?;
    let disk = Loop::over(&dir.disk("base.img", 16 << 20)?)?;
    let (node, alias) = (disk.path().display().to_string(), dir.join("alias").display().to_string());
    let numbers = ok(Command::new("stat").args(["--format", "%Hr %Lr", &node]))?;
    ok(Command::new("mknod").args([&alias, "b"]).args(numbers.split_whitespace()))?;
    for (one, other) in [("", ""), ("", ",read_only=true"), (",read_only=true", "")] {
        let why = refused(&dir, &[format!("a=file:{node}{one}"), format!("b=file:{alias}{other}")])?;
        ensure!(why.contains("alias") && (why.contains("port a has it") || why.contains("in use")), "{why}");
    }
    let both = [format!("a=file:{node},read_only=true"), format!("b=file:{alias},read_only=true")];
    serve(&dir, &both)?;
    // Its own port may change between the two.
    let daemon = serve(&dir, &[format!("a=file:{node}")])?;
    ends(&daemon, 0, &["param", "set", "a", &format!("path={alias}"), "direct=true"])?;
    ends(&daemon, 0, &["activate", "a"])?;
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn a_mounted_device_is_not_served_and_a_served_one_not_mounted() -> Result {
    let dir = TempDir::new()?;
    let disk = Loop::over(&dir.disk("base.img", 32 << 20)?)?;
    ok(Command::new("mkfs.ext4").arg("-q").arg(disk.path()))?;
    let at = dir.join("mnt");
    std::fs::create_dir(&at)?;
    let mount = || run(Command::new("mount").arg(disk.path()).arg(&at));
    let spec = format!("a=file:{}", disk.path().display());
    ensure!(mount()?.status.success(), "mounted");
    let why = refused(&dir, std::slice::from_ref(&spec));
    ok(Command::new("umount").arg(&at))?;
    let why = why?;
    ensure!(why.contains("it is in use: mounted"), "{why}");
    let daemon = serve(&dir, &[spec])?;
    let mounted = mount()?.status.success();
    if mounted {
        ok(Command::new("umount").arg(&at))?;
    }
    ensure!(!mounted, "it was mounted while it is served");
    ends(&daemon, 0, &["param", "set", "a", "direct=true"])?;
    ends(&daemon, 0, &["activate", "a"])?;
    ensure!(!mount()?.status.success(), "after it was opened anew");
    drop(daemon);
    ensure!(mount()?.status.success(), "nobody has it any more");
    ok(Command::new("umount").arg(&at))?;
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn a_partition_and_its_disk_are_not_served_beside_each_other() -> Result {
    let dir = TempDir::new()?;
    let file = dir.disk("base.img", 32 << 20)?;
    let disk = Loop::with(&file, &["--partscan"])?;
    let whole = disk.path().display().to_string();
    ok(Command::new("addpart").args([&whole, "1", "2048", "32768"]))?;
    let name = disk.path().file_name().context("a name")?.display().to_string();
    let numbers = std::fs::read_to_string(format!("/sys/block/{name}/{name}p1/dev"));
    let numbers = numbers.context("the kernel makes no partitions of loop devices")?;
    let part = dir.join("part1").display().to_string();
    ok(Command::new("mknod").args([&part, "b"]).args(numbers.trim().split(':')))?;
    for (one, other) in [(&whole, &part), (&part, &whole)] {
        for (a, b) in [("", ""), ("", ",read_only=true"), (",read_only=true", "")] {
            let why = refused(&dir, &[format!("a=file:{one}{a}"), format!("b=file:{other}{b}")])?;
            ensure!(why.contains("partition"), "{one}{a} {other}{b}: {why}");
        }
    }
    serve(&dir, &[format!("a=file:{part}")])?.check_serves("a")
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn what_shows_the_same_file_in_several_ways_is_served_once() -> Result {
    let dir = TempDir::new()?;
    let file = dir.disk("base.img", 32 << 20)?;
    let half = ["--offset", "16777216"];
    let (one, two, upper) = (Loop::over(&file)?, Loop::over(&file)?, Loop::with(&file, &half)?);
    let lower = Loop::with(&file, &["--sizelimit", "16777216"])?;
    let name = |disk: &Loop| disk.path().display().to_string();
    let file = file.display().to_string();
    for (a, b) in
        [(name(&one), name(&two)), (name(&one), file.clone()), (file, name(&one)), (name(&one), name(&upper))]
    {
        for (write, read) in [("", ""), ("", ",read_only=true"), (",read_only=true", "")] {
            let why = refused(&dir, &[format!("a=file:{a}{write}"), format!("b=file:{b}{read}")])?;
            ensure!(why.contains("port a has it, what it lies on"), "{a}{write} {b}{read}: {why}");
        }
        serve(&dir, &[format!("a=file:{a},read_only=true"), format!("b=file:{b},read_only=true")])?;
    }
    serve(&dir, &[format!("a=file:{}", name(&lower)), format!("b=file:{}", name(&upper))])?.check_serves("b")
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn what_the_kernel_has_read_only_is_offered_read_only() -> Result {
    let dir = TempDir::new()?;
    let disk = Loop::with(&dir.disk("base.img", 16 << 20)?, &["--read-only"])?;
    for release in ["1.0.0", "1.1.0"] {
        let daemon = serve(&dir, &[format!("a=file@{release}:{}", disk.path().display())])?;
        let features = daemon.device("a")?["features"].to_string();
        ensure!(features.contains("read-only") && !features.contains("trim"), "{features}");
        let mut client = Client::connect(daemon.nbd(), "a")?;
        ensure!(client.read(0, 4096)?.is_ok(), "a read");
        ensure!(client.write(0, &[1; 4096], false)? == Err(1), "a write is not permitted");
        let info = ok(Command::new("nbdinfo").arg(daemon.uri("a")))?;
        ensure!(info.contains("is_read_only: true"), "{info}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn what_is_set_read_only_while_it_is_served_is_told_of_at_the_first_write() -> Result {
    let dir = TempDir::new()?;
    let disk = Loop::over(&dir.disk("base.img", 16 << 20)?)?;
    let set = |how: &str| ok(Command::new("blockdev").arg(how).arg(disk.path()));
    let daemon = serve(&dir, &[format!("a=file:{}", disk.path().display())])?;
    let mut client = Client::connect(daemon.nbd(), "a")?;
    ensure!(client.write(0, &[1; 4096], false)? == Ok(vec![]), "a write");
    let code = || Ok::<_, anyhow::Error>(daemon.device("a")?["troubles"][0]["code"].clone());
    let what = "it was set read-only while it is served";
    set("--setro")?;
    ensure!(client.write(0, &[2; 4096], false)? == Err(1), "a write is not permitted");
    // The log says it although nobody asks.
    daemon.logs(what)?;
    ensure!(code()? == "read_only" && client.read(0, 4096)?.is_ok(), "reads go on");
    ensure!(daemon.api()?.get("/v1/health")?.1["healthy"] == false, "health");
    let rescan = ends(&daemon, 1, &["rescan"])?;
    ensure!(rescan.contains("read-only") && rescan.contains(what), "{rescan}");
    // It can be over as it came.
    set("--setrw")?;
    ends(&daemon, 0, &["rescan"])?;
    ensure!(code()?.is_null() && client.write(0, &[3; 4096], false)? == Ok(vec![]), "writes go on");
    // Before anybody writes, a rescan finds it; by force it is opened and offered as what it is now.
    set("--setro")?;
    ensure!(ends(&daemon, 1, &["rescan", "a"])?.contains(what), "found by a rescan");
    drop(client);
    until("the client has gone", || Ok((daemon.device("a")?["clients"] == 0).then_some(())))?;
    ends(&daemon, 0, &["activate", "a", "--force"])?;
    ensure!(
        code()?.is_null() && daemon.device("a")?["features"].to_string().contains("read-only"),
        "offered so"
    );
    Ok(())
}
