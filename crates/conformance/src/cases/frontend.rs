//! The same driver as a client of the NBD frontend sees it: every command at the sizes at which the frontend
//! makes several requests of one, with what it makes up for itself.

use crate::nbd::{NbdClient, command, shown};
use crate::rig::Rig;
use crate::{Stop, Verdict};
use std::time::Duration;
use steadfast_nbd::{Doors, NbdOptions, NbdServer};

/// Bytes around which the frontend does something else: a slot's data, and the largest payload, which is its
/// largest piece of a command without data too.
const SIZES: [u64; 3] = [1 << 20, 2 << 20, 32 << 20];
/// `EINVAL` and `EPERM` of the protocol.
const REFUSALS: [u32; 2] = [22, 1];

/// A block, and each of the sizes, one block less, as they are, and one more: what fits the device.
fn lengths(block: u64, size: u64, most: u64) -> Vec<u32> {
    let near = |n: &u64| [n - block, *n, n + block];
    let all = SIZES.iter().flat_map(near).chain([block, 48 << 20]);
    all.filter(|n| *n > 0 && *n <= most.min(size) && n % block == 0).map(|n| n as u32).collect()
}

struct Sight {
    client: NbdClient,
    block: u64,
    keeps: bool,
    asked: u32,
}

impl Sight {
    fn has(&self, flag: u16) -> bool {
        self.client.flags & flag != 0
    }

    /// A request that must be carried out where the export shows `needs`, and refused otherwise.
    fn ask(
        &mut self,
        (name, kind, needs): (&str, u16, u16),
        flags: u16,
        length: u32,
        data: &[u8],
    ) -> Result<Vec<u8>, String> {
        let changes = !matches!(kind, command::READ | command::FLUSH | command::CACHE);
        let offered = (needs == 0 || self.has(needs)) && !(changes && self.has(shown::READ_ONLY));
        self.asked += 1;
        let what = format!("NBD {name} of {length} bytes, flags {flags:#x}");
        let offset = if kind == command::FLUSH { 0 } else { self.client.size - u64::from(length) };
        match self.client.call(kind, flags, offset, length, data).map_err(|e| format!("{what}: {e}"))? {
            Ok(read) if offered => Ok(read),
            Ok(_) => Err(format!("{what}: done, although the export does not show it")),
            Err(error) if offered => Err(format!("{what}: NBD error {error}")),
            Err(error) if REFUSALS.contains(&error) => Ok(Vec::new()),
            Err(error) => Err(format!("{what}: NBD error {error}, where {REFUSALS:?} refuse")),
        }
    }

    fn transfers(&mut self, length: u32) -> Result<(), String> {
        let fua = if self.has(shown::FUA) { command::FUA } else { 0 };
        let data: Vec<u8> = (0..length).map(|i| (i / 7) as u8 ^ (length >> 12) as u8).collect();
        self.ask(("write", command::WRITE, 0), 0, length, &data)?;
        self.ask(("write", command::WRITE, 0), fua, length, &data)?;
        let read = self.ask(("read", command::READ, 0), 0, length, &[])?;
        if self.keeps && !self.has(shown::READ_ONLY) && read != data {
            return Err(format!("NBD: {length} bytes read are not those that were written"));
        }
        Ok(())
    }

    fn plain(&mut self, length: u32) -> Result<(), String> {
        let fua = if self.has(shown::FUA) { command::FUA } else { 0 };
        let zero = ("write-zeroes", command::WRITE_ZEROES, shown::WRITE_ZEROES);
        self.ask(("trim", command::TRIM, shown::TRIM), 0, length, &[])?;
        self.ask(("trim", command::TRIM, shown::TRIM), fua, length, &[])?;
        self.ask(("cache", command::CACHE, shown::CACHE), 0, length, &[])?;
        self.ask(zero, fua, length, &[])?;
        self.ask(zero, 0, length, &[])?;
        if self.keeps && self.has(shown::WRITE_ZEROES) && !self.has(shown::READ_ONLY) {
            for at in [self.client.size - u64::from(length), self.client.size - self.block] {
                let read = self.client.call(command::READ, 0, at, self.block as u32, &[])?;
                if read.as_ref().is_ok_and(|read| read.iter().any(|b| *b != 0)) || read.is_err() {
                    return Err(format!("NBD: of {length} zeroed bytes, the block at {at} does not read so"));
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn commands(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let socket = rig.folder.path().join("nbd.sock");
    let listen = format!("unix:{}", socket.display()).parse().map_err(|e| format!("{e}"))?;
    let doors = Doors { listen: vec![listen], ..Doors::default() };
    let server = NbdServer::start(&rig.engine, doors, NbdOptions::default()).map_err(|e| e.to_string())?;
    let block = u64::from(port.open()?.info().block_size);
    let client = NbdClient::connect(&socket, &port.name)?;
    let mut sight = Sight { client, block, keeps: rig.keeps_contents(), asked: 0 };
    for length in lengths(block, sight.client.size, 32 << 20) {
        sight.transfers(length)?;
    }
    for length in lengths(block, sight.client.size, u64::MAX) {
        sight.plain(length)?;
    }
    sight.ask(("flush", command::FLUSH, shown::FLUSH), 0, 0, &[])?;
    let asked = sight.asked;
    drop(sight);
    for _ in 0..6000 {
        if server.clients() == 0 {
            port.check_clean()?;
            return Ok(format!("{asked} requests"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Stop::Fail("the client has gone, and its connection has not".into()))
}
