//! Every command of the protocol at its limits, over drivers without each of the features: each request is
//! answered, with what the export's flags promise, and no driver is asked for what it does not have.

use steadfast_tests::nbd::{Client, command};
use steadfast_tests::{Daemon, Result, Setup, TempDir, test_module};

const MIB: u32 = 1 << 20;
/// Bytes of the export: more than any request here.
const SIZE: u64 = 112 << 20;
/// Bytes of a slot's data buffer, and so of the largest piece of a read or a write.
const SLOT: u32 = MIB;
/// Bytes of the largest piece of a command without data, where the driver sets no limit.
const PLAIN: u32 = 32 * MIB;
/// Bytes of the largest read or write.
const PAYLOAD: u32 = 64 * MIB;

const EPERM: u32 = 1;
const EINVAL: u32 = 22;

/// Bits of features, by the names of the ABI.
mod feature {
    pub(crate) const FLUSH: u32 = 1 << 0;
    pub(crate) const FUA: u32 = 1 << 1;
    pub(crate) const TRIM: u32 = 1 << 2;
    pub(crate) const WRITE_ZEROES: u32 = 1 << 3;
    pub(crate) const FAST_ZERO: u32 = 1 << 4;
    pub(crate) const CACHE: u32 = 1 << 5;
    pub(crate) const STATUS: u32 = 1 << 6;
    pub(crate) const READ_ONLY: u32 = 1 << 7;
    pub(crate) const EACH: [u32; 7] = [FLUSH, FUA, TRIM, WRITE_ZEROES, FAST_ZERO, CACHE, STATUS];
    pub(crate) const ALL: u32 = FLUSH | FUA | TRIM | WRITE_ZEROES | FAST_ZERO | CACHE | STATUS;
}

/// Flags that the handshake shows (`NBD_FLAG_*`).
mod shown {
    pub(crate) const FUA: u16 = 1 << 3;
    pub(crate) const TRIM: u16 = 1 << 5;
    pub(crate) const WRITE_ZEROES: u16 = 1 << 6;
}

/// Asks for the block size, and so keeps to it.
const BLOCK_SIZE: &[u16] = &[3];
const CACHE: u16 = 5;
const NO_HOLE: u16 = 1 << 1;
const FAST_ZERO: u16 = 1 << 4;

#[derive(Clone, Copy, Debug)]
struct Case {
    offers: u32,
    block: u32,
    most: u32,
    later: bool,
}

impl Case {
    fn has(self, bits: u32) -> bool {
        self.offers & bits != 0
    }

    /// Lengths around which something changes: a block, a piece, two pieces, the largest payload.
    fn lengths(self, piece: u32, most: u32) -> Vec<u32> {
        let piece = if self.most == 0 { piece } else { self.most };
        let around = [self.block, piece, 2 * piece, PAYLOAD, 33 * MIB, 100 * MIB];
        let near = |n: u32| [n.saturating_sub(self.block), n, n + self.block];
        let mut lengths: Vec<u32> =
            around.into_iter().flat_map(near).filter(|n| *n > 0 && *n <= most).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    fn start(self, dir: &TempDir) -> Result<Daemon> {
        let Case { offers, block, most, later } = self;
        let module = test_module("strict")?;
        let params = format!("size={SIZE},offers={offers},block={block},most={most},later={later}");
        Setup::device(format!("vol0={},{params}", module.display())).start(dir)
    }
}

/// What a change must be answered with, if it is one that the export has.
fn expected(case: Case, needs: u32) -> std::result::Result<(), u32> {
    match () {
        () if case.has(feature::READ_ONLY) => Err(EPERM),
        () if needs != 0 && !case.has(needs) => Err(EINVAL),
        () => Ok(()),
    }
}

/// Whether the last change is durable: the driver's last block says so.
fn check_durable(client: &mut Client, case: Case, what: &str) -> Result {
    let last = client.read(SIZE - u64::from(case.block), case.block)?;
    assert_eq!(last.map(|data| data[0]), Ok(0), "{what}: done, and not durable: {case:?}");
    Ok(())
}

fn plain(client: &mut Client, case: Case) -> Result {
    let fua = if client.flags & shown::FUA != 0 { command::FLAG_FUA } else { 0 };
    let fast = if case.has(feature::FAST_ZERO) { FAST_ZERO } else { 0 };
    let commands: [(&str, u16, u32, &[u16]); 3] = [
        ("trim", command::TRIM, feature::TRIM, &[0, fua]),
        (
            "write-zeroes",
            command::WRITE_ZEROES,
            feature::WRITE_ZEROES,
            &[0, fua, NO_HOLE, NO_HOLE | fua, fast],
        ),
        ("cache", CACHE, feature::CACHE, &[0]),
    ];
    for (name, kind, needs, flags) in commands {
        let expected = match kind {
            CACHE if !case.has(needs) => Err(EINVAL),
            CACHE => Ok(()),
            _ => expected(case, needs),
        };
        for length in case.lengths(PLAIN, SIZE as u32 - 4 * MIB) {
            for flags in flags {
                let what = format!("{name} of {length} bytes with flags {flags:#x}");
                let offset = u64::from(2 * MIB);
                let answer = client.call(kind, *flags, offset, length, &[])?.map(|_| ());
                assert_eq!(answer, expected, "{what}: {case:?}");
                if expected.is_ok() && flags & command::FLAG_FUA != 0 {
                    check_durable(client, case, &what)?;
                }
            }
        }
    }
    Ok(())
}

fn transfers(client: &mut Client, case: Case) -> Result {
    let fua = client.flags & shown::FUA != 0;
    let expected = expected(case, 0);
    for length in case.lengths(SLOT, PAYLOAD) {
        let offset = u64::from(2 * MIB - length % MIB / case.block * case.block);
        let data: Vec<u8> = (0..length).map(|i| (i / 13) as u8 ^ (length >> 9) as u8).collect();
        for fua in [false, fua] {
            let what = format!("a write of {length} bytes, FUA: {fua}");
            let answer = client.write(offset, &data, fua)?.map(|_| ());
            assert_eq!(answer, expected, "{what}: {case:?}");
            if expected.is_ok() && fua {
                check_durable(client, case, &what)?;
            }
        }
        let read = client.read(offset, length)?;
        let same = read.as_ref().is_ok_and(|read| expected.is_err() || *read == data);
        assert!(same, "a read of {length} bytes: {:?}: {case:?}", read.err());
    }
    let answer = client.flush()?.map(|_| ());
    let expected = if case.has(feature::FLUSH) { Ok(()) } else { Err(EINVAL) };
    assert_eq!(answer, expected, "flush: {case:?}");
    Ok(())
}

/// The range reads as zeroes afterwards, and nothing beside it does.
fn zeroes(client: &mut Client, case: Case) -> Result {
    let (length, block) = (PLAIN + case.block, u64::from(case.block));
    let (first, end) = (u64::from(3 * MIB), u64::from(3 * MIB) + u64::from(length));
    let mark = vec![0xaa; case.block as usize];
    let marks = [first - block, first, first + u64::from(PLAIN), end];
    for at in marks {
        assert_eq!(client.write(at, &mark, false)?, Ok(vec![]));
    }
    assert_eq!(client.call(command::WRITE_ZEROES, 0, first, length, &[])?, Ok(vec![]), "{case:?}");
    for (at, kept) in marks.into_iter().zip([true, false, false, true]) {
        let found = client.read(at, case.block)?.map(|data| (data.iter().all(|b| *b == 0), data == mark));
        assert_eq!(found, Ok((!kept, kept)), "at {at}: {case:?}");
    }
    Ok(())
}

fn check(case: Case) -> Result {
    let dir = TempDir::new()?;
    let mut daemon = case.start(&dir)?;
    let mut client = Client::connect_asking(daemon.nbd(), "vol0", BLOCK_SIZE)?;
    plain(&mut client, case)?;
    transfers(&mut client, case)?;
    if expected(case, feature::WRITE_ZEROES).is_ok() {
        zeroes(&mut client, case)?;
    }
    drop(client);
    let device = daemon.device("vol0")?;
    assert_eq!((&device["in_flight"], &device["driver_faults"]), (&0.into(), &0.into()), "{device:#}");
    assert!(daemon.stop()?.success(), "{}", daemon.log());
    Ok(())
}

#[test]
fn a_driver_with_everything() -> Result {
    check(Case { offers: feature::ALL, block: 512, most: 0, later: false })?;
    check(Case { offers: feature::ALL, block: 4096, most: 128 << 10, later: true })
}

#[test]
fn a_driver_without_each_of_the_features() -> Result {
    for (i, missing) in feature::EACH.into_iter().enumerate() {
        check(Case { offers: feature::ALL & !missing, block: 512, most: 0, later: i % 2 == 1 })?;
    }
    Ok(())
}

#[test]
fn a_driver_with_only_one_of_the_features() -> Result {
    for (i, only) in feature::EACH.into_iter().enumerate() {
        check(Case { offers: only, block: 4096, most: 0, later: i % 2 == 0 })?;
    }
    Ok(())
}

#[test]
fn a_driver_with_nothing_and_one_that_only_reads() -> Result {
    check(Case { offers: 0, block: 1, most: 0, later: false })?;
    check(Case { offers: feature::ALL | feature::READ_ONLY, block: 512, most: 0, later: false })
}

/// The drivers that come with Steadfast, and one over another, at the sizes that `mkfs`, `blkdiscard` and
/// `fstrim` ask for.
#[test]
fn the_drivers_that_come_with_it_trim_and_zero_more_than_a_piece() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", SIZE)?;
    let below = [
        format!("file@1.0.0:{}", disk.display()),
        format!("file@1.1.0:{}", disk.display()),
        format!("ram:{SIZE}"),
        format!("null:{SIZE}"),
    ];
    let over = format!("over={}:vol0", test_module("over_another")?.display());
    for below in below {
        let mut daemon = Setup::device(format!("vol0={below}")).and_device(&over).start(&dir)?;
        for device in ["vol0", "over"] {
            let mut client = Client::connect_asking(daemon.nbd(), device, BLOCK_SIZE)?;
            for length in [PLAIN, PLAIN + 4096, 33 * MIB, 100 * MIB] {
                let kinds = [
                    (command::TRIM, 0, shown::TRIM),
                    (command::WRITE_ZEROES, 0, shown::WRITE_ZEROES),
                    (command::WRITE_ZEROES, command::FLAG_FUA, shown::WRITE_ZEROES),
                ];
                for (kind, fua, offered) in kinds {
                    let answer = client.call(kind, fua, 4096, length, &[])?.map(|_| ());
                    let expected = if client.flags & offered == 0 { Err(EINVAL) } else { Ok(()) };
                    assert_eq!(answer, expected, "command {kind} of {length} bytes, {device} with {below}");
                }
            }
        }
        assert!(daemon.stop()?.success(), "{}", daemon.log());
    }
    Ok(())
}

/// A client that goes in the middle of a request of many pieces leaves nothing behind, and the rest of its
/// pieces are not carried out.
#[test]
fn a_client_that_goes_in_the_middle_of_a_large_trim_leaves_nothing() -> Result {
    let dir = TempDir::new()?;
    let case = Case { offers: feature::ALL, block: 512, most: 512, later: true };
    let mut daemon = case.start(&dir)?;
    for _ in 0..4 {
        let mut client = Client::connect_asking(daemon.nbd(), "vol0", BLOCK_SIZE)?;
        client.send(command::TRIM, 0, 0, 100 * MIB, &[])?;
        let mut beside = Client::connect_asking(daemon.nbd(), "vol0", BLOCK_SIZE)?;
        assert!(beside.read(0, 4096)?.is_ok(), "others go on");
    }
    // None of them waits for its reply.
    assert!(daemon.stop()?.success(), "{}", daemon.log());
    Ok(())
}
