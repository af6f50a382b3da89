//! A client of the NBD frontend, as far as the suite needs one: simple replies, one request at a time.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for an answer; only one that never comes meets it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Commands and their flags (`NBD_CMD_*`).
pub(crate) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const CACHE: u16 = 5;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const FUA: u16 = 1;
}

/// What an export shows (`NBD_FLAG_*`).
pub(crate) mod shown {
    pub(crate) const READ_ONLY: u16 = 1 << 1;
    pub(crate) const FLUSH: u16 = 1 << 2;
    pub(crate) const FUA: u16 = 1 << 3;
    pub(crate) const TRIM: u16 = 1 << 5;
    pub(crate) const WRITE_ZEROES: u16 = 1 << 6;
    pub(crate) const CACHE: u16 = 1 << 10;
}

/// One connection to an export.
pub(crate) struct NbdClient {
    stream: UnixStream,
    pub(crate) size: u64,
    pub(crate) flags: u16,
    cookie: u64,
}

impl NbdClient {
    pub(crate) fn connect(socket: &Path, export: &str) -> Result<NbdClient, String> {
        let stream = UnixStream::connect(socket).map_err(|e| format!("NBD: connect: {e}"))?;
        let limits = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        limits.map_err(|e| format!("NBD: time-outs: {e}"))?;
        let mut client = NbdClient { stream, size: 0, flags: 0, cookie: 0 };
        client.shake_hands(export).map_err(|e| format!("NBD: handshake: {e}"))?;
        Ok(client)
    }

    fn shake_hands(&mut self, export: &str) -> Result<(), String> {
        let mut greeting = [0; 18];
        self.receive(&mut greeting)?;
        // Fixed newstyle, no zeroes; then `NBD_OPT_GO`, asking for the block size (3), which is kept to.
        let mut hello = 3_u32.to_be_bytes().to_vec();
        hello.extend(b"IHAVEOPT");
        hello.extend(7_u32.to_be_bytes());
        hello.extend((export.len() as u32 + 8).to_be_bytes());
        hello.extend((export.len() as u32).to_be_bytes());
        hello.extend(export.as_bytes());
        hello.extend([0, 1, 0, 3]);
        self.send(&hello)?;
        loop {
            let mut head = [0; 20];
            self.receive(&mut head)?;
            let mut info = vec![0; number(&head[16..20]) as usize];
            self.receive(&mut info)?;
            match number(&head[12..16]) {
                1 => return Ok(()),
                3 if info.len() == 12 && info[..2] == [0, 0] => {
                    (self.size, self.flags) = (number(&info[2..10]), number(&info[10..12]) as u16);
                }
                3 => {}
                error => return Err(format!("{error:#x}: {}", String::from_utf8_lossy(&info))),
            }
        }
    }

    /// One request: what was read, or the error's number.
    pub(crate) fn call(
        &mut self,
        kind: u16,
        flags: u16,
        offset: u64,
        length: u32,
        data: &[u8],
    ) -> Result<Result<Vec<u8>, u32>, String> {
        self.cookie += 1;
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend(flags.to_be_bytes());
        request.extend(kind.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(length.to_be_bytes());
        request.extend(data);
        self.send(&request)?;
        let mut head = [0; 16];
        self.receive(&mut head)?;
        if number(&head[..4]) != 0x6744_6698 || number(&head[8..]) != self.cookie {
            return Err(format!("not the reply to request {}: {head:02x?}", self.cookie));
        }
        let error = number(&head[4..8]) as u32;
        if error != 0 {
            return Ok(Err(error));
        }
        let mut read = vec![0; if kind == command::READ { length as usize } else { 0 }];
        self.receive(&mut read)?;
        Ok(Ok(read))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|e| format!("not taken within {} s: {e}", PATIENCE.as_secs()))
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.stream.read_exact(bytes).map_err(|e| format!("no answer within {} s: {e}", PATIENCE.as_secs()))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}
