//! Of the tests: a driver that offers just the features it is told to, and takes no request but one that it
//! said it takes.

use std::sync::atomic::{AtomicBool, Ordering};
use steadfast_driver::{
    Block, Device, Errno, Error, Event, Extent, Info, Io, Op, Operation, Params, Port, Prepare, Region,
    Request, Result, Size, Submitted, feature,
};

#[derive(Params)]
struct Parameters {
    /// Size of the device.
    #[param(default = "96M", range = "64K..=1G", unit = "bytes")]
    size: Size,
    /// What it offers: bits, as the ABI has them.
    #[param(default = 0, range = "0..=1023")]
    offers: u32,
    /// Smallest unit of a request.
    #[param(default = 512, range = "1..=65536", unit = "bytes")]
    block: u32,
    /// Largest request; 0: whatever a slot has room for, and any length without data.
    #[param(default = 0, range = "0..=1048576", unit = "bytes")]
    most: u32,
    /// Requests are answered when the loop comes round again, not on the spot.
    #[param(default = false)]
    later: bool,
}

struct Strict {
    offers: u64,
    block: u32,
    most: u32,
    later: bool,
    contents: Region,
    /// The last change was without FUA, and no flush has come since. The last block of the device reads so.
    volatile: AtomicBool,
}

const ALL: u64 = (1 << 10) - 1;

impl Strict {
    fn has(&self, bits: u64) -> bool {
        self.offers & bits == bits
    }

    /// Whether a request is one that this driver has said it takes.
    fn allows(&self, req: &Request<'_, Self>) -> bool {
        let (offset, length, op) = (req.offset(), req.length(), req.op());
        let needed = match op {
            Op::Read | Op::Write => 0,
            Op::Flush => feature::FLUSH,
            Op::Trim => feature::TRIM,
            Op::WriteZeroes => feature::WRITE_ZEROES,
            Op::Cache => feature::CACHE,
            Op::Status => feature::STATUS,
        };
        let changes = matches!(op, Op::Write | Op::Trim | Op::WriteZeroes);
        let most = if op == Op::Status || self.most == 0 { u64::MAX } else { self.most.into() };
        let ranged = match op {
            Op::Flush => offset == 0 && length == 0,
            _ => {
                let inside = offset.checked_add(length).is_some_and(|end| end <= self.contents.size());
                length > 0 && (offset | length).is_multiple_of(self.block.into()) && length <= most && inside
            }
        };
        self.has(needed)
            && ranged
            && !(changes && self.has(feature::READ_ONLY))
            && (!req.fua() || changes && self.has(feature::FUA))
            && (!req.fast_only() || op == Op::WriteZeroes && self.has(feature::FAST_ZERO))
    }

    fn work(&self, req: &Request<'_, Self>) -> Result<u32, Errno> {
        let (offset, length) = (req.offset(), req.length());
        let changes = matches!(req.op(), Op::Write | Op::Trim | Op::WriteZeroes);
        if changes {
            self.volatile.store(!req.fua(), Ordering::Relaxed);
        }
        match req.op() {
            Op::Read if offset == self.contents.size() - u64::from(self.block) => {
                req.data().fill(u8::from(self.volatile.load(Ordering::Relaxed)));
            }
            Op::Read => req.data().copy_from(&self.contents, offset)?,
            Op::Write => req.data().copy_to(&self.contents, offset)?,
            // What is not needed any more may read as anything.
            Op::Trim => self.contents.fill(offset, length, 0xdd)?,
            Op::WriteZeroes => self.contents.fill(offset, length, 0)?,
            Op::Flush => self.volatile.store(false, Ordering::Relaxed),
            Op::Cache => {}
            Op::Status => {
                req.data().put_extent(0, Extent { length, flags: 0 })?;
                return Ok(1);
            }
        }
        Ok(0)
    }
}

impl Block for Strict {
    type Params = Parameters;
    type State = ();
    type Pdu = ();
    type Queue = ();

    const INFO: Info = Info::new("strict", "1.0.0").features(ALL);

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Strict> {
        if !params.block.is_power_of_two() {
            return Err(Error::new(Errno::INVAL, format!("a block of {} bytes", params.block)));
        }
        Ok(Strict {
            offers: params.offers.into(),
            block: params.block,
            most: params.most,
            later: params.later,
            contents: cx.region("contents", params.size.0)?,
            volatile: AtomicBool::new(false),
        })
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        let device = Device::new(0, self.contents.size()).block_size(self.block);
        let preferred = self.block.max(4096);
        cx.announce(&device.preferred_block_size(preferred).max_transfer(self.most).features(self.offers))
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        Ok(())
    }

    fn submit<'q>(&self, _: &mut (), io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if !self.allows(&req) {
            // Nothing else here ends so.
            return req.fail(Errno::NOSPC);
        }
        if self.later {
            return match io.issue(&req, Operation::nop()) {
                Ok(_) => req.pending(),
                Err(e) => req.fail(e),
            };
        }
        match self.work(&req) {
            Ok(count) => req.done_with(count),
            Err(e) => req.fail(e),
        }
    }

    fn event<'q>(&self, _: &mut (), _: &mut Io<'q, Self>, req: Request<'q, Self>, _: Event) -> Submitted<'q> {
        match self.work(&req) {
            Ok(count) => req.done_with(count),
            Err(e) => req.fail(e),
        }
    }
}

steadfast_driver::export!(Strict);
