//! A small NBD client, for what ordinary clients would not do: malformed messages, replies that
//! nobody reads, one request at a time with its exact error.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Magic numbers of the protocol.
pub mod magic {
    /// First eight bytes of the greeting.
    pub const NBD: u64 = 0x4e42_444d_4147_4943;
    /// `IHAVEOPT`: second eight bytes of the greeting, and before each option.
    pub const OPTION: u64 = 0x4948_4156_454f_5054;
    /// Before each answer to an option.
    pub const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
    /// Before each request.
    pub const REQUEST: u32 = 0x2560_9513;
    /// Before each simple reply.
    pub const REPLY: u32 = 0x6744_6698;
}

/// Request types.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// Disconnect.
    pub const DISCONNECT: u16 = 2;
    /// Flush.
    pub const FLUSH: u16 = 3;
    /// Trim.
    pub const TRIM: u16 = 4;
    /// Write zeroes.
    pub const WRITE_ZEROES: u16 = 6;
    /// The flag for durable writes.
    pub const FLAG_FUA: u16 = 1;
}

/// A request's outcome: what was read, or the NBD error number.
pub type Answer = std::result::Result<Vec<u8>, u32>;

/// One connection in the transmission phase, with simple replies.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// Bytes of the export.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    cookie: u64,
}

/// Connects, reads the greeting and answers it with `client_flags`.
pub fn greet(socket: &Path, client_flags: u32) -> Result<UnixStream> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting)?;
    if u64_at(&greeting, 0) != magic::NBD || u64_at(&greeting, 8) != magic::OPTION {
        bail!("not an NBD greeting: {greeting:02x?}");
    }
    stream.write_all(&client_flags.to_be_bytes())?;
    Ok(stream)
}

/// Is an NBD server there? Says hello and politely goodbye.
pub fn answers(socket: &Path) -> bool {
    let polite = || -> Result<()> {
        let mut stream = greet(socket, 3)?;
        // NBD_OPT_ABORT, which is acknowledged.
        stream.write_all(&option(2, &[]))?;
        option_reply(&mut stream).map(|_| ())
    };
    polite().is_ok()
}

/// The bytes of one option.
pub fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = magic::OPTION.to_be_bytes().to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// Reads one answer to an option: its type and data.
pub fn option_reply(stream: &mut UnixStream) -> Result<(u32, Vec<u8>)> {
    let mut head = [0; 20];
    stream.read_exact(&mut head)?;
    if u64_at(&head, 0) != magic::OPTION_REPLY {
        bail!("not an answer to an option: {head:02x?}");
    }
    let mut data = vec![0; u32_at(&head, 16) as usize];
    stream.read_exact(&mut data)?;
    Ok((u32_at(&head, 12), data))
}

/// The bytes of one request, without payload.
pub fn request(kind: u16, flags: u16, cookie: u64, offset: u64, length: u32) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..4].copy_from_slice(&magic::REQUEST.to_be_bytes());
    bytes[4..6].copy_from_slice(&flags.to_be_bytes());
    bytes[6..8].copy_from_slice(&kind.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..24].copy_from_slice(&offset.to_be_bytes());
    bytes[24..].copy_from_slice(&length.to_be_bytes());
    bytes
}

impl Client {
    /// Connects to an export with `NBD_OPT_GO`.
    pub fn connect(socket: &Path, export: &str) -> Result<Client> {
        Client::connect_asking(socket, export, &[])
    }

    /// The same, asking about what is in `asked` (`NBD_INFO_*`): a client that asks for the block size (3)
    /// promises to keep to it.
    pub fn connect_asking(socket: &Path, export: &str, asked: &[u16]) -> Result<Client> {
        // Fixed newstyle, no zeroes.
        let mut stream = greet(socket, 3)?;
        let mut data = (export.len() as u32).to_be_bytes().to_vec();
        data.extend(export.as_bytes());
        data.extend((asked.len() as u16).to_be_bytes());
        data.extend(asked.iter().flat_map(|kind| kind.to_be_bytes()));
        stream.write_all(&option(7, &data))?;
        let (mut size, mut flags) = (0, 0);
        loop {
            match option_reply(&mut stream)? {
                (1, _) => break,
                // NBD_REP_INFO with NBD_INFO_EXPORT.
                (3, info) if info.len() == 12 && info[..2] == [0, 0] => {
                    size = u64_at(&info, 2);
                    flags = u16::from_be_bytes([info[10], info[11]]);
                }
                (3, _) => {}
                (error, text) => {
                    bail!("export '{export}' refused: {error:#x} {}", String::from_utf8_lossy(&text))
                }
            }
        }
        Ok(Client { stream, size, flags, cookie: 0 })
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Reads.
    pub fn read(&mut self, offset: u64, length: u32) -> Result<Answer> {
        self.call(command::READ, 0, offset, length, &[])
    }

    /// Writes; durably with `fua`.
    pub fn write(&mut self, offset: u64, data: &[u8], fua: bool) -> Result<Answer> {
        let flags = if fua { command::FLAG_FUA } else { 0 };
        self.call(command::WRITE, flags, offset, data.len() as u32, data)
    }

    /// Flushes.
    pub fn flush(&mut self) -> Result<Answer> {
        self.call(command::FLUSH, 0, 0, 0, &[])
    }

    /// One request of any kind, and its answer.
    pub fn call(&mut self, kind: u16, flags: u16, offset: u64, length: u32, data: &[u8]) -> Result<Answer> {
        let cookie = self.send(kind, flags, offset, length, data)?;
        let (answered, error) = self.receive()?;
        if answered != cookie {
            bail!("answer to request {answered}, but only {cookie} was asked");
        }
        if error != 0 {
            return Ok(Err(error));
        }
        let mut bytes = vec![0; if kind == command::READ { length as usize } else { 0 }];
        self.stream.read_exact(&mut bytes)?;
        Ok(Ok(bytes))
    }

    /// Sends a request and does not wait; returns its cookie.
    pub fn send(&mut self, kind: u16, flags: u16, offset: u64, length: u32, data: &[u8]) -> Result<u64> {
        self.cookie += 1;
        self.stream.write_all(&request(kind, flags, self.cookie, offset, length))?;
        self.stream.write_all(data)?;
        Ok(self.cookie)
    }

    /// Reads the head of one reply: cookie and error. The data of a read is still to be read.
    pub fn receive(&mut self) -> Result<(u64, u32)> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        if u32_at(&head, 0) != magic::REPLY {
            bail!("not a simple reply: {head:02x?}");
        }
        Ok((u64_at(&head, 8), u32_at(&head, 4)))
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |n, b| n << 8 | u64::from(*b))
}
