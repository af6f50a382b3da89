//! Disks with sectors of 4096 bytes, and clients that know nothing of them. They are made with a loop device, so root
//! is needed.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use steadfast_tests::disks::Loop;
use steadfast_tests::nbd::{self, Client, command, option, option_reply, request};
use steadfast_tests::{Daemon, Result, Setup, TempDir, ok};

const SIZE: u64 = 8 << 20;

fn disk(dir: &TempDir) -> Result<Loop> {
    let file = dir.disk("disk.img", SIZE)?;
    Loop::with(&file, &["--sector-size", "4096"])
}

/// A client as old kernels' and as the simplest ones are: `EXPORT_NAME`, and then requests.
fn export_name(daemon: &Daemon) -> Result<UnixStream> {
    let mut stream = nbd::greet(daemon.nbd(), 3)?;
    stream.write_all(&option(1, b"vol0"))?;
    Ok(stream)
}

fn served_where_the_file_is_buffered(driver: &str) -> Result {
    let dir = TempDir::new()?;
    let disk = disk(&dir)?;
    let daemon = Setup::device(format!("vol0={driver}:{}", disk.path().display())).start(&dir)?;
    let mut old = export_name(&daemon)?;
    let mut answer = [0; 10];
    old.read_exact(&mut answer)?;
    assert_eq!(answer[..8], SIZE.to_be_bytes());
    // Where ext4 has its super block.
    old.write_all(&request(command::READ, 0, 7, 1024, 1024))?;
    let mut reply = [0; 16 + 1024];
    old.read_exact(&mut reply)?;
    assert_eq!(reply[4..8], [0; 4], "a read of a part of a sector");
    // Eight writers of one sector each: none may take back what another wrote beside it.
    let writers: Vec<_> = (0..8_u8)
        .map(|number| {
            let mut client = Client::connect(daemon.nbd(), "vol0")?;
            Ok(std::thread::spawn(move || -> Result {
                for round in 1..=50_u8 {
                    for sector in 0..16_u64 {
                        let at = sector * 4096 + u64::from(number) * 512;
                        assert_eq!(client.write(at, &[number ^ round; 512], round == 50)?, Ok(vec![]));
                        assert_eq!(client.read(at, 512)?, Ok(vec![number ^ round; 512]));
                    }
                }
                Ok(())
            }))
        })
        .collect::<Result<_>>()?;
    for writer in writers {
        writer.join().expect("no panic")?;
    }
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    for sector in 0..16 {
        let expected: Vec<u8> = (0..8_u8).flat_map(|number| [number ^ 50; 512]).collect();
        assert_eq!(client.read(sector * 4096, 4096)?, Ok(expected), "sector {sector}");
    }
    // Zeroes that begin and end within sectors leave what is beside them.
    assert_eq!(client.call(command::WRITE_ZEROES, 0, 512, 8192, &[])?, Ok(vec![]));
    let edges = client.read(0, 12_288)?.expect("readable");
    assert!(edges[..512].iter().all(|b| *b == 50) && edges[512..8704].iter().all(|b| *b == 0));
    assert!(edges[8704..9216].iter().all(|b| *b == 1 ^ 50), "what lies behind them");
    assert_eq!(client.flush()?, Ok(vec![]));
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn any_client_is_served_by_a_buffered_disk_with_large_sectors() -> Result {
    served_where_the_file_is_buffered("file@1.0.0")?;
    served_where_the_file_is_buffered("file@1.1.0")
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn past_the_page_cache_only_clients_are_let_in_that_ask_for_the_block_size() -> Result {
    let dir = TempDir::new()?;
    let disk = disk(&dir)?;
    let daemon = Setup::device(format!("vol0=file:{},direct=true", disk.path().display())).start(&dir)?;
    let mut old = export_name(&daemon)?;
    let mut rest = Vec::new();
    old.read_to_end(&mut rest)?;
    assert!(rest.is_empty(), "the protocol has no answer but to hang up: {rest:02x?}");
    daemon.logs("blocks of 4096 bytes")?;
    let mut stream = nbd::greet(daemon.nbd(), 3)?;
    let go = |asked: &[u16]| {
        let mut data = 4_u32.to_be_bytes().to_vec();
        data.extend(b"vol0");
        data.extend((asked.len() as u16).to_be_bytes());
        data.extend(asked.iter().flat_map(|kind| kind.to_be_bytes()));
        option(7, &data)
    };
    stream.write_all(&go(&[]))?;
    let (kind, sizes) = option_reply(&mut stream)?;
    assert_eq!((kind, &sizes[..6]), (3, &[0, 3, 0, 0, 16, 0][..]), "NBD_INFO_BLOCK_SIZE");
    // NBD_REP_ERR_BLOCK_SIZE_REQD
    assert_eq!(option_reply(&mut stream)?.0, 0x8000_0008);
    stream.write_all(&go(&[3]))?;
    while option_reply(&mut stream)?.0 != 1 {}
    // Those that ask are served as ever.
    let info = ok(std::process::Command::new("nbdinfo").arg(daemon.uri("vol0")))?;
    assert!(info.contains("block_size_minimum: 4096"), "{info}");
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices: `cargo xtask test` runs it as the step loop-devices"]
fn a_trim_of_parts_of_sectors_trims_the_whole_ones_and_zeroes_are_exact() -> Result {
    use std::os::unix::fs::MetadataExt;
    const LENGTH: usize = 1 << 20;
    let dir = TempDir::new()?;
    let disk = disk(&dir)?;
    let daemon = Setup::device(format!("vol0=file@1.1.0:{}", disk.path().display())).start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let used = || Ok::<u64, anyhow::Error>(std::fs::metadata(dir.join("disk.img"))?.blocks() * 512);
    let (at, length) = (4096 + 100, (LENGTH - 3 * 4096) as u32);
    let end = at + u64::from(length);
    for (kind, exact) in [(command::TRIM, false), (command::WRITE_ZEROES, true)] {
        assert_eq!(client.write(0, &vec![7; LENGTH], true)?, Ok(vec![]));
        let before = used()?;
        assert_eq!(client.call(kind, command::FLAG_FUA, at, length, &[])?, Ok(vec![]));
        let data = client.read(0, LENGTH as u32)?.map_err(|e| anyhow::anyhow!("error {e}"))?;
        let (begin, end) = (at as usize, end as usize);
        assert!(data[..begin].iter().chain(&data[end..]).all(|byte| *byte == 7), "beside it");
        if exact {
            assert!(data[begin..end].iter().all(|byte| *byte == 0), "every byte of it");
        } else {
            let whole = &data[begin.next_multiple_of(4096)..end - end % 4096];
            assert!(whole.iter().all(|byte| *byte == 0), "the whole sectors of it");
            assert!(
                used()? + (LENGTH as u64 / 2) < before,
                "they take no room any more: {before}, {}",
                used()?
            );
        }
    }
    // None that is whole: there is nothing to do, and nothing wrong.
    assert_eq!(client.write(0, &[7; 8192], false)?, Ok(vec![]));
    assert_eq!(client.call(command::TRIM, 0, 100, 4096, &[])?, Ok(vec![]));
    assert_eq!(client.read(0, 8192)?, Ok(vec![7; 8192]));
    Ok(())
}
