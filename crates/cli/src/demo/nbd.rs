//! A small NBD client: fixed newstyle, one export, simple replies, many requests in flight.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const NBDMAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const IHAVEOPT: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const FIXED_NEWSTYLE_NO_ZEROES: u32 = 3;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const INFO_EXPORT: u16 = 0;
/// Longest wait for anything: a swap must never take that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Command {
    /// Device to client.
    Read = 0,
    /// Client to device.
    Write = 1,
    /// Ends the connection; has no reply.
    Disconnect = 2,
    /// Makes what was written durable.
    Flush = 3,
}

/// A reply's head; the data of a read follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// The request's cookie.
    pub(crate) cookie: u64,
    /// 0, or the protocol's error number.
    pub(crate) error: u32,
}

/// One connection to one export.
pub(crate) struct Connection {
    stream: UnixStream,
    /// Bytes of the device.
    pub(crate) size: u64,
    out: Vec<u8>,
    input: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects to the server at `socket` and opens `export`.
    pub(crate) fn open(socket: &Path, export: &str) -> io::Result<Connection> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let size = negotiate(&mut stream, export)?;
        Ok(Connection {
            stream,
            size,
            out: Vec::with_capacity(256 * 1024),
            input: vec![0; 512 * 1024],
            start: 0,
            end: 0,
        })
    }

    /// Adds a request to what [`send`](Self::send) will send. `fill` writes the data of a write.
    pub(crate) fn push(
        &mut self,
        command: Command,
        cookie: u64,
        offset: u64,
        length: u32,
        fill: impl FnOnce(&mut [u8]),
    ) {
        self.out.extend_from_slice(&REQUEST.to_be_bytes());
        self.out.extend_from_slice(&0u16.to_be_bytes());
        self.out.extend_from_slice(&(command as u16).to_be_bytes());
        self.out.extend_from_slice(&cookie.to_be_bytes());
        self.out.extend_from_slice(&offset.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        if command == Command::Write {
            let start = self.out.len();
            self.out.resize(start + length as usize, 0);
            fill(&mut self.out[start..]);
        }
    }

    /// Sends what was pushed.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Waits for at least one whole reply, then hands over all that have arrived. `length` says how
    /// much data the reply to a cookie carries if it is no error; `each` gets reply and data.
    pub(crate) fn receive(
        &mut self,
        length: impl Fn(u64) -> Option<usize>,
        mut each: impl FnMut(Reply, &[u8]),
    ) -> io::Result<()> {
        let mut delivered = false;
        while !delivered {
            self.read_more()?;
            while let Some((reply, data)) = self.next_reply(&length)? {
                each(reply, &self.input[data.clone()]);
                self.start = data.end;
                delivered = true;
            }
        }
        Ok(())
    }

    fn next_reply(
        &self,
        length: &impl Fn(u64) -> Option<usize>,
    ) -> io::Result<Option<(Reply, std::ops::Range<usize>)>> {
        let Some(head) = self.input[self.start..self.end].first_chunk::<16>() else { return Ok(None) };
        if be32(&head[0..4]) != SIMPLE_REPLY {
            return Err(protocol(format!("a reply begins with {:#x}", be32(&head[0..4]))));
        }
        let reply = Reply { error: be32(&head[4..8]), cookie: be64(&head[8..16]) };
        let expected = length(reply.cookie)
            .ok_or_else(|| protocol(format!("a reply to cookie {}, which was not sent", reply.cookie)))?;
        let data = self.start + 16;
        let end = data + if reply.error == 0 { expected } else { 0 };
        Ok((end <= self.end).then_some((reply, data..end)))
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match self.stream.read(&mut self.input[self.end..])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }
}

fn negotiate(stream: &mut UnixStream, export: &str) -> io::Result<u64> {
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting)?;
    if be64(&greeting[0..8]) != NBDMAGIC || be64(&greeting[8..16]) != IHAVEOPT {
        return Err(protocol("the greeting is not that of an NBD server".to_owned()));
    }
    let mut hello = Vec::new();
    hello.extend_from_slice(&FIXED_NEWSTYLE_NO_ZEROES.to_be_bytes());
    hello.extend_from_slice(&IHAVEOPT.to_be_bytes());
    hello.extend_from_slice(&OPT_GO.to_be_bytes());
    hello.extend_from_slice(&(export.len() as u32 + 6).to_be_bytes());
    hello.extend_from_slice(&(export.len() as u32).to_be_bytes());
    hello.extend_from_slice(export.as_bytes());
    hello.extend_from_slice(&0u16.to_be_bytes());
    stream.write_all(&hello)?;
    let mut size = None;
    loop {
        let mut head = [0; 20];
        stream.read_exact(&mut head)?;
        if be64(&head[0..8]) != OPTION_REPLY {
            return Err(protocol("an option reply has the wrong magic number".to_owned()));
        }
        let mut data = vec![0; (be32(&head[16..20]) as usize).min(64 * 1024)];
        stream.read_exact(&mut data)?;
        match be32(&head[12..16]) {
            REP_ACK => {
                return size.ok_or_else(|| protocol(format!("no size of export `{export}` was told")));
            }
            REP_INFO if data.len() >= 10 && data[0..2] == INFO_EXPORT.to_be_bytes() => {
                size = Some(be64(&data[2..10]));
            }
            REP_INFO => {}
            kind => {
                let why = String::from_utf8_lossy(&data).into_owned();
                return Err(protocol(format!("export `{export}` was refused ({kind:#x}): {why}")));
            }
        }
    }
}

fn protocol(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_be_bytes)
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection past its negotiation, and the server's end of it.
    fn pair() -> (Connection, UnixStream) {
        let (stream, server) = UnixStream::pair().expect("a pair");
        let input = vec![0; 64];
        (Connection { stream, size: 0, out: Vec::new(), input, start: 0, end: 0 }, server)
    }

    fn reply(error: u32, cookie: u64) -> Vec<u8> {
        [&SIMPLE_REPLY.to_be_bytes()[..], &error.to_be_bytes(), &cookie.to_be_bytes()].concat()
    }

    #[test]
    fn replies_arrive_in_any_order_and_in_pieces() {
        let (mut connection, mut server) = pair();
        let bytes = [&reply(0, 2)[..], b"data", &reply(5, 1)].concat();
        let mut seen = Vec::new();
        for piece in bytes.chunks(15) {
            server.write_all(piece).expect("sent");
        }
        while seen.len() < 2 {
            let length = |cookie| (cookie <= 2).then_some(4);
            connection
                .receive(length, |reply, data| seen.push((reply.cookie, reply.error, data.to_vec())))
                .expect("replies");
        }
        assert_eq!(seen, [(2, 0, b"data".to_vec()), (1, 5, Vec::new())]);
    }

    #[test]
    fn a_reply_to_nothing_is_an_error() {
        let (mut connection, mut server) = pair();
        server.write_all(&reply(0, 9)).expect("sent");
        let error = connection.receive(|_| None, |_, _| {}).expect_err("not asked for").to_string();
        assert!(error.contains("cookie 9"), "{error}");
    }

    #[test]
    fn a_server_that_goes_away_is_an_error() {
        let (mut connection, server) = pair();
        drop(server);
        let error = connection.receive(|_| Some(0), |_, _| {}).expect_err("it is gone");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
