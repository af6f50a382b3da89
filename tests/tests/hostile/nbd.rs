//! A hostile NBD client: it knows the protocol, and breaks one thing at a time.

use crate::rng::Rng;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use steadfast_tests::Result;
use steadfast_tests::nbd::{Client, command, greet, option, request};

/// Where hostile writes go: the good client's data lies before it.
pub(crate) const FROM: u64 = 32 << 20;
/// Bytes of the device.
pub(crate) const SIZE: u64 = 64 << 20;

/// One visit, from the connection to its end. What the server answers is its own affair here: whether the others
/// are still served is what counts.
pub(crate) fn visit(socket: &Path, rng: &mut Rng) -> Result {
    match rng.below(4) {
        0 => handshake(socket, rng),
        1 => silence(socket, rng),
        _ => requests(socket, rng),
    }
}

/// Options as they should be, damaged, cut short, in any order.
fn handshake(socket: &Path, rng: &mut Rng) -> Result {
    let flags = rng.one(&[0, 1, 2, 3, 3, 3, 7, u32::MAX]);
    let mut stream = greet(socket, flags)?;
    limit(&stream)?;
    for _ in 0..rng.below(12) {
        // EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY, LIST_META, SET_META, EXTENDED_HEADERS.
        let number = rng.one(&[1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 0, 4, 12, 0x7fff_ffff]);
        let name = rng.pick(&["vol0", "", "gone", "vol0\0", "\u{fffd}"]).as_bytes().to_vec();
        let mut data = (name.len() as u32).to_be_bytes().to_vec();
        data.extend(&name);
        data.extend((rng.below(4) as u16).to_be_bytes());
        let count = rng.below(9) as usize;
        data.extend(rng.bytes(count));
        if rng.once_in(8) {
            data = vec![0x41; rng.one(&[4095, 4096, 4097, 70_000])];
        }
        let mut bytes = option(number, &data);
        if rng.once_in(3) {
            rng.damage(&mut bytes);
        }
        if rng.once_in(6) {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        }
        stream.write_all(&bytes)?;
        if rng.once_in(2) {
            let _ = stream.read(&mut [0; 512])?;
        }
    }
    Ok(())
}

/// Half of something, and then nothing for a while.
fn silence(socket: &Path, rng: &mut Rng) -> Result {
    let half = match rng.below(3) {
        0 => UnixStream::connect(socket)?,
        1 => {
            let mut stream = greet(socket, 3)?;
            stream.write_all(&option(7, b"half")[..rng.below(20) as usize])?;
            stream
        }
        _ => {
            let mut client = Client::connect(socket, "vol0")?;
            let head = request(command::WRITE, 0, 1, FROM, 1 << 20);
            client.stream().write_all(&head[..rng.below(29) as usize])?;
            client.stream().try_clone()?
        }
    };
    std::thread::sleep(Duration::from_millis(rng.below(200)));
    drop(half);
    Ok(())
}

/// Requests of every kind and size, with more, less or none of their payload; replies read, half read, not read.
fn requests(socket: &Path, rng: &mut Rng) -> Result {
    let mut client = Client::connect(socket, "vol0")?;
    limit(client.stream())?;
    let reads = rng.below(3);
    for cookie in 0..rng.below(64) {
        let kind = rng.one(&[0, 1, 1, 3, 4, 4, 5, 6, 6, 7, 2, 8, 999, u16::MAX]);
        let flags = rng.one(&[0, 0, 0, 1, 2, 4, 8, 16, 0x20, 0x8000, u16::MAX]);
        let offset = match rng.below(6) {
            0 => rng.next(),
            1 => SIZE - rng.below(8192),
            2 => u64::MAX - rng.below(1 << 20),
            _ => FROM + rng.below(SIZE - FROM),
        };
        let length = match rng.below(6) {
            0 => rng.next() as u32,
            1 => rng.one(&[
                0,
                1,
                511,
                (1 << 20) - 1,
                1 << 20,
                (1 << 20) + 1,
                32 << 20,
                (32 << 20) + 1,
                64 << 20,
            ]),
            _ => rng.below(1 << 17) as u32,
        };
        let mut head = request(kind, flags, cookie, offset, length);
        if rng.once_in(20) {
            rng.damage(&mut head);
            leave_the_good_ones_alone(&mut head);
        }
        client.stream().write_all(&head)?;
        if kind == command::WRITE {
            let most = length.min(256 << 10) as usize;
            let payload = if rng.once_in(5) { rng.below(most as u64 + 64) as usize } else { most };
            client.stream().write_all(&vec![cookie as u8; payload])?;
        }
        match reads {
            0 => {}
            1 => drop(client.stream().read(&mut [0; 16])?),
            _ => drop(client.stream().read(&mut vec![0; 1 << 17])?),
        }
    }
    if rng.once_in(3) {
        client.stream().write_all(&request(command::DISCONNECT, 0, 0, 0, 0))?;
    }
    Ok(())
}

/// A damaged offset may lie anywhere but in the good client's data: what is written there would be its loss, and right.
fn leave_the_good_ones_alone(head: &mut [u8]) {
    // Magic number, flags and command, cookie, offset, length.
    let offset = head.get(16..24).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()).map(u64::from_be_bytes);
    if let Some(offset) = offset.filter(|offset| *offset < FROM) {
        head[16..24].copy_from_slice(&(offset + FROM).to_be_bytes());
    }
}

/// It goes when the server does not go on with it.
fn limit(stream: &UnixStream) -> Result {
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    Ok(())
}
