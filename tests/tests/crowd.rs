//! Many clients, and bad ones among them: slow readers, slow writers, half-open ones. Each costs itself only, none is
//! there for ever, and somebody can look at them and send them away.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};
use steadfast_tests::nbd::{self, Client, command, magic, option, request};
use steadfast_tests::process::{at_rest, footprint};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified};

/// Longest that anything may take.
const LIMIT: Duration = Duration::from_secs(60);
const MIB: u32 = 1 << 20;

/// A client that asks for as much as the server takes, and reads nothing of it.
fn hog(daemon: &Daemon) -> Result<Client> {
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    client.stream().set_write_timeout(Some(Duration::from_millis(50)))?;
    for _ in 0..4000 {
        if client.send(command::READ, 0, 0, 65536, &[]).is_err() {
            break;
        }
    }
    Ok(client)
}

fn clients(daemon: &Daemon) -> Result<Vec<Value>> {
    match daemon.api()?.get("/v1/clients")? {
        (200, Value::Array(clients)) => Ok(clients),
        (status, other) => panic!("{status}: {other}"),
    }
}

/// Waits until as many clients are there.
fn wait_for(daemon: &Daemon, count: usize) -> Result {
    let begin = Instant::now();
    while clients(daemon)?.len() != count {
        assert!(begin.elapsed() < LIMIT, "{count} clients: {:#?}", clients(daemon)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn hogs_leave_room(slots: u32, hogs: usize) -> Result {
    let dir = TempDir::new()?;
    let device = format!("vol0=ram:8M,io_slots={slots}");
    let daemon = Setup::device(device).arg("--send-timeout").arg("2s").start(&dir)?;
    let mut good = Client::connect(daemon.nbd(), "vol0")?;
    let mut crowd = (0..hogs).map(|_| hog(&daemon)).collect::<Result<Vec<_>>>()?;
    // Whoever was there before, and whoever comes now, is served: also what needs many slots.
    let mut newcomer = Client::connect(daemon.nbd(), "vol0")?;
    for client in [&mut good, &mut newcomer] {
        for round in 0..50 {
            assert_eq!(client.write(u64::from(round % 8 * MIB), &[7; 4096], false)?, Ok(vec![]));
            assert_eq!(client.read(0, 2 * MIB)?.map(|data| data.len()), Ok(2 << 20));
        }
    }
    let held: u64 = clients(&daemon)?.iter().filter_map(|client| client["slots"].as_u64()).sum();
    assert!(held < slots.into(), "{held} of {slots} slots are taken");
    // And they do not stay: each is told from a client that is only slow.
    wait_for(&daemon, 2)?;
    daemon.logs("send_timeout")?;
    for hog in &mut crowd {
        let mut rest = Vec::new();
        // What was in the socket can still be read; then it is over.
        let _ = hog.stream().read_to_end(&mut rest);
    }
    assert_eq!(newcomer.read(0, 4096)?.map(|data| data.len()), Ok(4096));
    Ok(())
}

#[test]
fn ten_that_read_nothing_leave_slots_for_everybody_else() -> Result {
    hogs_leave_room(1024, 10)
}

#[test]
fn seven_that_read_nothing_leave_slots_where_there_are_few() -> Result {
    hogs_leave_room(128, 7)
}

#[test]
fn thirty_that_read_nothing_leave_slots_where_there_are_few() -> Result {
    hogs_leave_room(128, 30)
}

#[test]
fn a_client_that_reads_slowly_is_not_taken_for_one_that_does_not() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:8M").arg("--send-timeout").arg("1s").start(&dir)?;
    let mut slow = Client::connect(daemon.nbd(), "vol0")?;
    for _ in 0..16 {
        slow.send(command::READ, 0, 0, MIB, &[])?;
    }
    let mut data = vec![0; 16 + MIB as usize];
    // Much longer than the time-out in all.
    for _ in 0..16 {
        std::thread::sleep(Duration::from_millis(400));
        slow.stream().read_exact(&mut data)?;
    }
    assert_eq!(slow.read(0, 512)?.map(|data| data.len()), Ok(512));
    Ok(())
}

#[test]
fn a_client_to_which_one_reply_takes_longer_than_the_time_allowed_stays() -> Result {
    let dir = TempDir::new()?;
    let device = "vol0=ram:8M,max_transfer=1388544";
    let daemon = Setup::device(device).arg("--send-timeout").arg("2s").start(&dir)?;
    let mut slow = Client::connect(daemon.nbd(), "vol0")?;
    for _ in 0..4 {
        slow.send(command::READ, 0, 0, MIB, &[])?;
    }
    // Several times as long as that for one reply, a little at a time.
    let begin = Instant::now();
    let mut taken = 0;
    while begin.elapsed() < Duration::from_secs(8) {
        let mut some = [0; 4096];
        slow.stream().read_exact(&mut some)?;
        taken += some.len();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(taken < MIB as usize, "the first reply is not whole: {taken}");
    slow.stream().read_exact(&mut vec![0; 4 * (16 + MIB as usize) - taken])?;
    assert_eq!(slow.read(0, 512)?.map(|data| data.len()), Ok(512));
    Ok(())
}

#[test]
fn the_clients_of_one_process_do_not_keep_another_out() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M")
        .arg("--max-clients=20")
        .arg("--max-clients-per-process=8")
        .start(&dir)?;
    // The first that the test itself connects are those of its start, which have gone.
    wait_for(&daemon, 0)?;
    let mut idle: Vec<Client> = Vec::new();
    let refused = loop {
        match Client::connect(daemon.nbd(), "vol0") {
            Ok(client) => idle.push(client),
            Err(e) => break e,
        }
        assert!(idle.len() <= 8, "more than may be");
    };
    assert_eq!(idle.len(), 8, "{refused:#}");
    let size = steadfast_tests::ok(Command::new("nbdinfo").arg("--size").arg(daemon.uri("vol0")))?;
    assert_eq!(size.trim(), (1 << 20).to_string(), "another process is served");
    daemon.logs("nbd.max_clients_per_process")?;
    idle.pop();
    wait_for(&daemon, 7)?;
    Client::connect(daemon.nbd(), "vol0")?;
    Ok(())
}

#[test]
fn clients_leave_descriptors_for_everything_else() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M").start(&dir)?;
    wait_for(&daemon, 0)?;
    let used = footprint(daemon.pid())?.files;
    let limit = format!("--nofile={0}:{0}", used + 100);
    steadfast_tests::ok(Command::new("prlimit").args(["--pid", &daemon.pid().to_string(), &limit]))?;
    let mut idle: Vec<UnixStream> = Vec::new();
    while let Ok(stream) = nbd::greet(daemon.nbd(), 3) {
        idle.push(stream);
        assert!(idle.len() < 100, "clients may take every descriptor");
    }
    daemon.logs("RLIMIT_NOFILE")?;
    // An update opens files, and the control API connections.
    let receipt = daemon.api()?.update("vol0", &steadfast_tests::module("ram")?, json!({}))?;
    assert_eq!(receipt["outcome"], "done", "{receipt:#}");
    idle.clear();
    wait_for(&daemon, 0)?;
    assert_eq!(Client::connect(daemon.nbd(), "vol0")?.read(0, 512)?.map(|data| data.len()), Ok(512));
    Ok(())
}

#[test]
fn a_handshake_has_an_end() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M").arg("--handshake-timeout=1s").start(&dir)?;
    let silent = UnixStream::connect(daemon.nbd())?;
    let mut half = nbd::greet(daemon.nbd(), 3)?;
    half.write_all(&magic::OPTION.to_be_bytes()[..5])?;
    // One that goes on and on is no better.
    let mut chatty = nbd::greet(daemon.nbd(), 3)?;
    let begin = Instant::now();
    while chatty.write_all(&option(0x7777, b"")).is_ok() {
        let mut answer = [0; 4096];
        let _ = chatty.read(&mut answer);
        assert!(begin.elapsed() < LIMIT, "it may ask for ever");
    }
    wait_for(&daemon, 0)?;
    drop((silent, half));
    Ok(())
}

#[test]
fn clients_are_listed_shown_and_disconnected() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:8M").and_device("vol1=ram:1M").start(&dir)?;
    wait_for(&daemon, 0)?;
    let mut one = Client::connect(daemon.nbd(), "vol0")?;
    let mut two = Client::connect(daemon.nbd(), "vol1")?;
    assert_eq!(one.read(0, 4096)?.map(|data| data.len()), Ok(4096));
    assert_eq!(one.write(0, &[3; 4096], false)?, Ok(vec![]));
    let listed = daemon.cli(&["client", "list", "--device", "vol0", "-o", "json"])?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    let client = &listed[0];
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed:#}");
    assert_eq!(client["device"], "vol0");
    assert_eq!(client["pid"], std::process::id());
    assert_eq!(client["requests"], 2);
    assert!(client["bytes_received"].as_u64() > Some(4096) && client["bytes_sent"].as_u64() > Some(4096));
    assert_eq!((&client["in_flight"], &client["unsent"]), (&json!(0), &json!(0)));
    let id = client["id"].to_string();
    let shown = daemon.cli(&["client", "show", &id])?;
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&format!("process      {}", std::process::id())));
    // One goes, the other stays.
    let gone = daemon.cli(&["client", "disconnect", &id])?;
    assert_eq!(gone.status.code(), Some(0), "{}", String::from_utf8_lossy(&gone.stderr));
    assert!(one.read(0, 4096).is_err(), "its connection is closed");
    assert_eq!(two.read(0, 4096)?.map(|data| data.len()), Ok(4096));
    assert_eq!(daemon.cli(&["client", "show", &id])?.status.code(), Some(1));
    // So do one that does not read, and one that is half-way through its handshake.
    let hog = hog(&daemon)?;
    let _half = nbd::greet(daemon.nbd(), 3)?;
    wait_for(&daemon, 3)?;
    for client in clients(&daemon)?.iter().filter(|client| client["device"] != "vol1") {
        let gone = daemon.cli(&["client", "disconnect", "--now", &client["id"].to_string()])?;
        assert_eq!(gone.status.code(), Some(0), "{client:#}");
    }
    assert_eq!(clients(&daemon)?.len(), 1);
    drop(hog);
    assert_eq!(two.read(0, 4096)?.map(|data| data.len()), Ok(4096));
    Ok(())
}

#[test]
fn bad_clients_beside_one_that_verifies_leave_nothing_behind() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 64 << 20)?;
    let daemon = Setup::device(format!("vol0=file:{}", dir.join("disk.img").display()))
        .arg("--send-timeout=2s")
        .arg("--handshake-timeout=2s")
        .start(&dir)?;
    wait_for(&daemon, 0)?;
    let before = at_rest(daemon.pid())?;
    let verified = Verified::start(&daemon, "vol0", 0, 16, 8);
    for _ in 0..3 {
        let mut bad: Vec<UnixStream> = Vec::new();
        for _ in 0..20 {
            bad.push(UnixStream::connect(daemon.nbd())?);
            bad.push(nbd::greet(daemon.nbd(), 3)?);
            // A write whose payload never comes, and one that comes by drops.
            let mut writer = Client::connect(daemon.nbd(), "vol0")?;
            writer.stream().write_all(&request(command::WRITE, 0, 1, 32 << 20, 4 * MIB))?;
            writer.stream().write_all(&[9; 1000])?;
            bad.push(writer.stream().try_clone()?);
        }
        let hogs = (0..6).map(|_| hog(&daemon)).collect::<Result<Vec<_>>>()?;
        for _ in 0..20 {
            for stream in &mut bad {
                let _ = stream.write(&[9]);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop((bad, hogs));
    }
    verified.finish()?;
    wait_for(&daemon, 0)?;
    let begin = Instant::now();
    while footprint(daemon.pid())?.files > before.files {
        assert!(
            begin.elapsed() < LIMIT,
            "{} descriptors, {} before",
            footprint(daemon.pid())?.files,
            before.files
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let device = daemon.device("vol0")?;
    assert_eq!((&device["in_flight"], &device["errors"]), (&json!(0), &json!(0)), "{device:#}");
    Ok(())
}

#[test]
fn the_control_socket_has_an_end_too() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M").arg("--max-connections=24").start(&dir)?;
    let mut idle: Vec<UnixStream> = Vec::new();
    let refused = loop {
        let mut stream = UnixStream::connect(daemon.control())?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        idle.push(stream);
        assert!(idle.len() <= 24, "more than may be");
    };
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("control.max_connections"), "{refused}");
    let cli = daemon.cli(&["device", "list"])?;
    assert_eq!(cli.status.code(), Some(3), "busy: {}", String::from_utf8_lossy(&cli.stderr));
    // Devices are served meanwhile, and when some have gone others may come.
    assert_eq!(Client::connect(daemon.nbd(), "vol0")?.read(0, 512)?.map(|data| data.len()), Ok(512));
    idle.clear();
    let begin = Instant::now();
    while daemon.cli(&["device", "list"])?.status.code() != Some(0) {
        assert!(begin.elapsed() < LIMIT, "nobody is let in again");
    }
    let mut huge = UnixStream::connect(daemon.control())?;
    huge.set_read_timeout(Some(LIMIT))?;
    huge.write_all(b"POST /v1/rescan HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")?;
    let filler = [b' '; 65536];
    while huge.write_all(&filler).is_ok() {}
    let mut answer = [0; 64];
    let length = huge.read(&mut answer)?;
    assert!(answer[..length].starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer[..length]));
    Ok(())
}
