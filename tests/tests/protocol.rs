//! Malformed messages, slow clients and clients that vanish: each is answered or cut off, and no other
//! client notices.

use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::nbd::{self, Client, command, magic, option, option_reply, request};
use steadfast_tests::process::{at_rest, footprint};
use steadfast_tests::{Daemon, Peer, Result, Setup, TempDir, module};

const SIZE: u64 = 8 << 20;
const EINVAL: u32 = 22;
const SHAPE: Shape = Shape { size: 4096, depth: 8, write: false };

fn daemon(dir: &TempDir) -> Result<Daemon> {
    Setup::device(format!("vol0=ram:{SIZE}")).start(dir)
}

/// Does something ugly while another client works, which must not notice.
fn beside_a_good_client(ugly: impl FnOnce(&Daemon) -> Result) -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir)?;
    let load = Load::start(daemon.nbd(), "vol0", SHAPE)?;
    ugly(&daemon)?;
    let after = load.now();
    std::thread::sleep(Duration::from_millis(20));
    let spans = load.finish()?;
    assert!(spans.iter().any(|s| s.begin > after), "the good client is still served");
    assert_eq!(daemon.device("vol0")?["errors"], 0);
    daemon.check_serves("vol0")
}

/// The server has nothing more to say and hangs up.
fn assert_closed(stream: &mut UnixStream) -> Result {
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(e) => panic!("the connection is still open: {e}"),
        }
    }
}

#[test]
fn unknown_client_flags_end_the_connection() -> Result {
    beside_a_good_client(|d| assert_closed(&mut nbd::greet(d.nbd(), 0xffff_ffff)?))
}

#[test]
fn an_option_without_its_magic_ends_the_connection() -> Result {
    beside_a_good_client(|d| {
        let mut stream = nbd::greet(d.nbd(), 3)?;
        stream.write_all(&[0x5a; 16])?;
        assert_closed(&mut stream)
    })
}

#[test]
fn an_unknown_option_is_refused_and_the_next_is_heard() -> Result {
    beside_a_good_client(|d| {
        let mut stream = nbd::greet(d.nbd(), 3)?;
        stream.write_all(&option(0x7777, b"what"))?;
        // NBD_REP_ERR_UNSUP
        assert_eq!(option_reply(&mut stream)?.0, 0x8000_0001);
        // NBD_OPT_LIST: NBD_REP_SERVER for each export, then NBD_REP_ACK.
        stream.write_all(&option(3, &[]))?;
        assert_eq!(option_reply(&mut stream)?.0, 2);
        assert_eq!(option_reply(&mut stream)?.0, 1);
        Ok(())
    })
}

#[test]
fn an_option_that_lies_about_lengths_is_invalid() -> Result {
    beside_a_good_client(|d| {
        let mut stream = nbd::greet(d.nbd(), 3)?;
        // NBD_OPT_GO whose name is said to be longer than the option.
        stream.write_all(&option(7, &[0, 0, 0xff, 0xff, b'v', 0, 0]))?;
        // NBD_REP_ERR_INVALID
        assert_eq!(option_reply(&mut stream)?.0, 0x8000_0003);
        Ok(())
    })
}

#[test]
fn an_option_of_gigabytes_takes_no_memory() -> Result {
    beside_a_good_client(|d| {
        let before = footprint(d.pid())?;
        let mut stream = nbd::greet(d.nbd(), 3)?;
        let mut head = option(7, &[]);
        head[12..].copy_from_slice(&u32::MAX.to_be_bytes());
        stream.write_all(&head)?;
        let filler = vec![0; 1 << 20];
        for _ in 0..64 {
            if stream.write_all(&filler).is_err() {
                break;
            }
        }
        let more = footprint(d.pid())?.anonymous.saturating_sub(before.anonymous);
        assert!(more < 16 << 20, "{more} bytes more");
        Ok(())
    })
}

#[test]
fn an_unknown_export_is_refused_by_name() -> Result {
    beside_a_good_client(|d| {
        let error = Client::connect(d.nbd(), "nonsense").expect_err("there is no such export").to_string();
        // NBD_REP_ERR_UNKNOWN
        assert!(error.contains("0x80000006"), "{error}");
        assert!(error.contains("nonsense"), "{error}");
        Ok(())
    })
}

#[test]
fn a_request_without_its_magic_ends_the_connection() -> Result {
    beside_a_good_client(|d| {
        let mut client = Client::connect(d.nbd(), "vol0")?;
        client.stream().write_all(&[0xee; 28])?;
        assert_closed(client.stream())
    })
}

#[test]
fn impossible_requests_are_answered_and_the_connection_goes_on() -> Result {
    beside_a_good_client(|d| {
        let mut client = Client::connect(d.nbd(), "vol0")?;
        let last = SIZE - 4096;
        let cases: [(&str, u16, u64, u32, &[u8]); 6] = [
            ("read past the end", command::READ, last, 8192, &[]),
            ("read far past the end", command::READ, u64::MAX - 4095, 4096, &[]),
            ("read of 4 GiB less 1", command::READ, 0, u32::MAX, &[]),
            ("write past the end", command::WRITE, last, 8192, &[1; 8192]),
            ("zeroes past the end", command::WRITE_ZEROES, last, 8192, &[]),
            ("an unknown command", 999, 0, 4096, &[]),
        ];
        for (what, kind, offset, length, data) in cases {
            let answer = client.call(kind, 0, offset, length, data)?;
            assert!(answer.is_err(), "{what} was carried out");
            assert_eq!(client.read(0, 512)?.map(|d| d.len()), Ok(512), "after {what}");
        }
        assert_eq!(client.call(999, 0, 0, 0, &[])?, Err(EINVAL), "an unknown command");
        assert_eq!(client.call(command::READ, 0x8000, 0, 4096, &[])?, Err(EINVAL), "an unknown flag");
        Ok(())
    })
}

#[test]
fn half_a_message_and_then_silence_hurts_nobody() -> Result {
    beside_a_good_client(|d| {
        // At every point of the conversation.
        let _silent = UnixStream::connect(d.nbd())?;
        let mut greeted = nbd::greet(d.nbd(), 3)?;
        greeted.write_all(&magic::OPTION.to_be_bytes()[..5])?;
        let mut client = Client::connect(d.nbd(), "vol0")?;
        client.stream().write_all(&request(command::WRITE, 0, 1, 0, 65536)[..20])?;
        let mut half = Client::connect(d.nbd(), "vol0")?;
        half.stream().write_all(&request(command::WRITE, 0, 1, 0, 65536))?;
        half.stream().write_all(&[3; 1000])?;
        Load::start(d.nbd(), "vol0", SHAPE)?.finish().map(|_| ())
    })
}

#[test]
fn a_client_that_reads_no_replies_starves_no_other() -> Result {
    beside_a_good_client(|d| {
        let before = footprint(d.pid())?;
        let mut slow = Client::connect(d.nbd(), "vol0")?;
        slow.stream().set_write_timeout(Some(Duration::from_millis(200)))?;
        // As many reads as the server takes; it must stop taking them at some point.
        let mut sent = 0u32;
        while sent < 200_000 && slow.send(command::READ, 0, 0, 65536, &[]).is_ok() {
            sent += 1;
        }
        assert!(sent < 200_000, "the server took {sent} reads whose replies nobody reads");
        // Others have slots, also for the largest requests, and the driver can still be replaced.
        let mut other = Client::connect(d.nbd(), "vol0")?;
        for _ in 0..100 {
            assert_eq!(other.read(0, 1 << 20)?.map(|d| d.len()), Ok(1 << 20));
        }
        let receipt = d.api()?.update("vol0", &module("ram")?, json!({}))?;
        assert_eq!(receipt["outcome"], "done", "{receipt:#}");
        let more = footprint(d.pid())?.anonymous.saturating_sub(before.anonymous);
        assert!(more < 64 << 20, "{more} bytes more for {sent} unread replies");
        println!("{sent} reads were taken before the server stopped listening");
        Ok(())
    })
}

#[test]
fn clients_that_vanish_leave_nothing_behind() -> Result {
    beside_a_good_client(|d| {
        // Connections of the start may still be on their way out: what counts is what stays open.
        let before = at_rest(d.pid())?.files;
        for round in 0..10 {
            let mut fio = Command::new("fio");
            fio.args([
                "--name=gone",
                "--ioengine=nbd",
                "--thread=1",
                "--rw=randrw",
                "--bs=64k",
                "--iodepth=32",
            ])
            .args(["--size=8m", "--time_based", "--runtime=60"])
            .arg(format!("--uri={}", d.uri("vol0")));
            let requests = d.device("vol0")?["requests"].as_u64().unwrap_or(0);
            let mut fio = Peer::start(&mut fio)?;
            // Long enough to be in the middle of it.
            while d.device("vol0")?["requests"].as_u64().unwrap_or(0) < requests + 2000 {
                assert!(!fio.ended(), "fio ended in round {round}");
                std::thread::sleep(Duration::from_millis(2));
            }
            fio.kill();
        }
        // The last one's requests may still be on their way out.
        let mut tries = 0;
        while footprint(d.pid())?.files > before && tries < 1000 {
            std::thread::sleep(Duration::from_millis(10));
            tries += 1;
        }
        assert_eq!(footprint(d.pid())?.files, before, "open files");
        Ok(())
    })
}

#[test]
fn a_polite_goodbye_closes_the_connection() -> Result {
    beside_a_good_client(|d| {
        let mut client = Client::connect(d.nbd(), "vol0")?;
        client.send(command::DISCONNECT, 0, 0, 0, &[])?;
        assert_closed(client.stream())
    })
}

#[test]
fn requests_of_64_mib_are_taken_and_cost_no_memory_of_their_own() -> Result {
    const LARGE: usize = 64 << 20;
    let dir = TempDir::new()?;
    dir.disk("disk.img", LARGE as u64 + 4096)?;
    let file = dir.join("disk.img");
    let daemon = Setup::device(format!("vol0=file:{},io_slots=128", file.display())).start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let data: Vec<u8> = (0..LARGE as u32 / 4).flat_map(u32::to_be_bytes).collect();
    assert_eq!(client.write(512, &data, true)?, Ok(vec![]));
    let before = footprint(daemon.pid())?.anonymous;
    assert!(client.read(512, LARGE as u32)?.is_ok_and(|read| read == data), "what was written is read");
    assert_eq!(client.write(0, &data, true)?, Ok(vec![]));
    let more = footprint(daemon.pid())?.anonymous.saturating_sub(before);
    assert!(more < 8 << 20, "{more} bytes more");
    assert_eq!(client.read(0, LARGE as u32 + 512)?, Err(EINVAL), "more than is advertised");
    assert_eq!(
        client.read(0, 4096)?.map(|read| read == data[..4096]),
        Ok(true),
        "and the connection goes on"
    );
    Ok(())
}

/// It connects while one release serves and begins while another does: what it has selected is answered.
#[test]
fn a_client_in_its_handshake_may_meet_another_release() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", SIZE)?.display().to_string();
    let daemon = Setup::device(format!("vol0=file@1.1.0:{disk}")).start(&dir)?;
    let mut stream = nbd::greet(daemon.nbd(), 3)?;
    let string = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    // STRUCTURED_REPLY, SET_META_CONTEXT.
    stream.write_all(&option(8, &[]))?;
    assert_eq!(option_reply(&mut stream)?.0, 1);
    let context = [string("vol0"), 1_u32.to_be_bytes().to_vec(), string("base:allocation")].concat();
    stream.write_all(&option(10, &context))?;
    assert_eq!((option_reply(&mut stream)?.0, option_reply(&mut stream)?.0), (4, 1), "it is selected");
    let receipt = daemon.api()?.update("vol0", &module("file-1.0")?, json!({ "allow_older": true }))?;
    assert_eq!(receipt["outcome"], "done", "{receipt:#}");
    // GO, BLOCK_STATUS.
    stream.write_all(&option(7, &[string("vol0"), vec![0, 0]].concat()))?;
    while option_reply(&mut stream)?.0 != 1 {}
    stream.write_all(&request(7, 0, 9, 4096, 8192))?;
    let mut reply = [0; 32];
    stream.read_exact(&mut reply)?;
    // One chunk, the last, of status: base:allocation, and 8192 bytes of data.
    assert_eq!(reply[..8], [0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 5]);
    assert_eq!(reply[16..], [0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0x20, 0, 0, 0, 0, 0]);
    Ok(())
}
