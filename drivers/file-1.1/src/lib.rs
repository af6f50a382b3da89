//! `file` 1.1: a regular file or block device, through the shell's ring.
//!
//! What 1.0 does not do: adjacent requests go as one operation (`gather`); zeroes and trims are holes
//! and zeroed ranges of the file where it can have them (`carry_out`); STATUS tells holes from data;
//! counters are kept across driver changes. It reads and writes the state of 1.0 too, and takes over
//! requests that 1.0 has in flight.

#![forbid(unsafe_code)]

mod carry_out;
mod gather;
mod keep;

use gather::Gather;
use keep::{Counters, FileState, OldProgress, Progress, how};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use steadfast_driver::{
    Adopted, Block, Device, Errno, Error, Event, Handle, Info, Io, Op, Open, Params, Port, Prepare, Region,
    Request, Result, Submitted, feature, info, warn,
};

/// Bytes of the region of zeroes.
const ZEROES: u64 = 64 << 10;

#[derive(Params)]
struct Parameters {
    /// Regular file or block device that holds the data.
    #[param(required)]
    path: PathBuf,
    /// Go past the page cache (O_DIRECT).
    #[param(default = false)]
    direct: bool,
    /// Refuse everything that writes.
    #[param(default = false)]
    read_only: bool,
}

/// One port: a file.
struct File {
    backing: Handle,
    zeroes: Region,
    size: u64,
    block_size: u32,
    preferred_block_size: u32,
    features: u64,
    /// Holes can be punched, as far as is known.
    punch: AtomicBool,
    /// Ranges can be zeroed, as far as is known.
    zero: AtomicBool,
    counters: Counters,
}

impl Block for File {
    type Params = Parameters;
    type State = FileState;
    type Pdu = Progress;
    type Queue = Gather;

    const INFO: Info = Info::new("file", env!("CARGO_PKG_VERSION"))
        .about("A regular file or block device; merges, punches holes, tells holes from data")
        .features(
            feature::FLUSH
                | feature::FUA
                | feature::TRIM
                | feature::WRITE_ZEROES
                | feature::FAST_ZERO
                | feature::STATUS
                | feature::MULTI_CONN
                | feature::READ_ONLY
                | feature::ROTATIONAL,
        )
        .hwids(&["file:regular", "file:block"])
        .queue_spare(gather::SPARE)
        .adopts(&["file/1"])
        .min_from("1.0.0");

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<File> {
        let path = params.path.to_string_lossy().into_owned();
        let open = Open::file(&path).write(!params.read_only).direct(params.direct).lock();
        let backing = cx.open("backing", &open)?;
        let info = cx.handle_info(backing)?;
        let size = info.size - info.size % u64::from(info.block_size);
        if size == 0 {
            let text =
                format!("{path}: size {}: needs at least one block of {} bytes", info.size, info.block_size);
            return Err(Error::new(Errno::INVAL, text));
        }
        let mut features = feature::MULTI_CONN | feature::STATUS;
        if params.read_only || info.read_only {
            features |= feature::READ_ONLY;
        } else {
            // TRIM and FAST_ZERO are offered even where nothing is quick: a trim is advice, and
            // FAST_ZERO is a promise to say so.
            features |=
                feature::FLUSH | feature::FUA | feature::WRITE_ZEROES | feature::TRIM | feature::FAST_ZERO;
        }
        if info.rotational {
            features |= feature::ROTATIONAL;
        }
        info!(cx, "{path}: {size} bytes in blocks of {}", info.block_size);
        if size < info.size {
            let rest = info.size - size;
            warn!(cx, "{path}: its last {rest} bytes are no whole block and are left out of the device");
        }
        Ok(File {
            backing,
            zeroes: cx.region("zeroes", ZEROES)?,
            size,
            block_size: info.block_size,
            preferred_block_size: info.preferred_block_size.max(4096),
            features,
            punch: AtomicBool::new(info.can_punch),
            zero: AtomicBool::new(info.can_zero),
            counters: Counters::default(),
        })
    }

    /// Whether it may be smaller than the one before is not for the driver to say: the shell knows whether
    /// anybody uses the device.
    fn connect(&mut self, cx: &mut Port<'_>, state: Option<FileState>) -> Result<()> {
        if let Some(before) = state {
            *self.punch.get_mut() &= before.punch;
            *self.zero.get_mut() &= before.zero;
            self.counters = Counters::from(&before);
        }
        let device = Device::new(0, self.size)
            .block_size(self.block_size)
            .preferred_block_size(self.preferred_block_size)
            .features(self.features);
        cx.announce(&device)
    }

    const SAVES_STATE: bool = true;

    fn disconnect(&mut self, cx: &mut Port<'_>) -> Result<FileState> {
        self.save_state(cx)
    }

    fn save_state(&self, _: &mut Port<'_>) -> Result<FileState> {
        Ok(FileState {
            size: self.size,
            block_size: self.block_size,
            punch: self.punch.load(Relaxed),
            zero: self.zero.load(Relaxed),
            reads: self.counters.reads.load(Relaxed),
            writes: self.counters.writes.load(Relaxed),
            others: self.counters.others.load(Relaxed),
            merged: self.counters.merged.load(Relaxed),
        })
    }

    fn queue_start(&self, io: &mut Io<'_, Self>) -> Result<Gather> {
        self.look_for_memory(io);
        Ok(Gather::default())
    }

    fn submit<'q>(&self, queue: &mut Gather, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if let Err(e) = self.admit(&req) {
            return req.fail(e);
        }
        queue.count(req.op());
        match req.op() {
            Op::Read | Op::Write => self.gather(queue, io, req),
            _ => self.begin(io, req),
        }
    }

    fn commit(&self, queue: &mut Gather, io: &mut Io<'_, Self>) {
        self.issue_gathered(queue, io);
        queue.settle_counts(&self.counters);
    }

    fn event<'q>(
        &self,
        _: &mut Gather,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        match req.pdu().get().how {
            how::RUN => self.run_event(io, req, event),
            how::PUNCH | how::ZERO => self.fallocate_event(io, req, event),
            how::SYNC => req.result(event.result.map(|_| ())),
            how::EXTENTS => self.extents_event(req, event),
            _ => self.plain_event(io, req, event),
        }
    }

    fn adopt(&self, _: &mut Gather, req: &Adopted<'_, Self>, schema: &str) -> Result<(), Errno> {
        match schema {
            "file/2" => Ok(()),
            "file/1" => {
                let done = req.old::<OldProgress>()?.done;
                let how = if req.request().op() == Op::Flush { how::SYNC } else { how::PLAIN };
                req.convert(Progress { done, how, ..Progress::default() });
                Ok(())
            }
            _ => Err(Errno::OPNOTSUPP),
        }
    }
}

impl File {
    /// May the request be carried out at all?
    fn admit(&self, req: &Request<'_, Self>) -> Result<(), Errno> {
        let writes = matches!(req.op(), Op::Write | Op::WriteZeroes | Op::Trim);
        if writes && self.features & feature::READ_ONLY != 0 {
            return Err(Errno::ROFS);
        }
        match req.offset().checked_add(req.length()) {
            Some(end) if end <= self.size => Ok(()),
            _ if writes => Err(Errno::NOSPC),
            _ => Err(Errno::INVAL),
        }
    }
}

steadfast_driver::export!(File);
