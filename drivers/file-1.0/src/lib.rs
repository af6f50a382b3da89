//! `file` 1.0: a regular file or block device, through the shell's ring.
//!
//! Every request is one operation on the handle `backing`, continued where it came back short. Zeroes
//! are written from a region of zeroes, in steps. How far a request has come is in its PDU, so the
//! next driver can go on from there.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use steadfast_driver::{
    Block, Device, Errno, Error, Event, Handle, Info, Io, Op, Open, Operation, Params, Pdu, Port, Prepare,
    Region, Request, Result, Seg, State, Submitted, feature, info, warn,
};

/// Bytes of the region of zeroes, and how often one operation writes it.
const ZEROES: u64 = 64 << 10;
const ZEROES_PER_OP: usize = 16;

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

/// What the next driver may want to know.
#[derive(State)]
#[state(schema = "file/1")]
struct FileState {
    size: u64,
    block_size: u32,
}

/// How far a request has come.
#[derive(Clone, Copy, Pdu)]
#[repr(C)]
#[pdu(schema = "file/1")]
struct Progress {
    /// Bytes done.
    done: u64,
}

struct File {
    backing: Handle,
    zeroes: Region,
    size: u64,
    block_size: u32,
    preferred_block_size: u32,
    features: u64,
}

impl Block for File {
    type Params = Parameters;
    type State = FileState;
    type Pdu = Progress;
    type Queue = ();

    const INFO: Info = Info::new("file", env!("CARGO_PKG_VERSION"))
        .about("A regular file or block device")
        .hwids(&["file:regular", "file:block"])
        .features(
            feature::FLUSH
                | feature::FUA
                | feature::WRITE_ZEROES
                | feature::MULTI_CONN
                | feature::READ_ONLY
                | feature::ROTATIONAL,
        );

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
        let mut features = feature::FLUSH | feature::FUA | feature::WRITE_ZEROES | feature::MULTI_CONN;
        if params.read_only || info.read_only {
            features = feature::READ_ONLY | feature::MULTI_CONN;
        }
        if info.rotational {
            features |= feature::ROTATIONAL;
        }
        info!(cx, "{path}: {size} bytes in blocks of {}", info.block_size);
        if size < info.size {
            let rest = info.size - size;
            warn!(cx, "{path}: its last {rest} bytes are no whole block and are left out of the device");
        }
        let zeroes = cx.region("zeroes", ZEROES)?;
        let preferred_block_size = info.preferred_block_size.max(4096);
        Ok(File { backing, zeroes, size, block_size: info.block_size, preferred_block_size, features })
    }

    /// Whether it may be smaller than the one before is not for the driver to say: the shell knows whether
    /// anybody uses the device.
    fn connect(&mut self, cx: &mut Port<'_>, _: Option<FileState>) -> Result<()> {
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
        Ok(FileState { size: self.size, block_size: self.block_size })
    }

    fn submit<'q>(&self, _: &mut (), io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if let Err(e) = self.admit(&req) {
            return req.fail(e);
        }
        self.go_on(io, req, 0)
    }

    fn event<'q>(
        &self,
        _: &mut (),
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        let done = req.pdu().get().done;
        match event.result {
            _ if req.op() == Op::Flush => req.result(event.result.map(|_| ())),
            Err(Errno::INTR) => self.go_on(io, req, done),
            Err(e) => req.fail(e),
            Ok(bytes) => {
                let done = done + bytes;
                if done >= req.length() {
                    return req.done();
                }
                // Past the page cache an operation must begin at a block.
                let aligned = done - done % u64::from(self.block_size);
                // No progress: the file is shorter than it was.
                if bytes == 0 || aligned == req.pdu().get().done {
                    return req.fail(Errno::IO);
                }
                self.go_on(io, req, aligned)
            }
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

    /// Issues the next operation of a request of which `done` bytes are done.
    fn go_on<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>, done: u64) -> Submitted<'q> {
        let at = req.offset() + done;
        let left = req.length() - done;
        if left == 0 && req.op() != Op::Flush {
            return req.done();
        }
        req.pdu().set(Progress { done });
        let issued = match req.op() {
            Op::Read => io.issue(&req, Operation::read(self.backing, at, &[req.data_seg(done, left)])),
            Op::Write => {
                let segs = [req.data_seg(done, left)];
                io.issue(&req, Operation::write(self.backing, at, &segs).fua(req.fua()))
            }
            Op::WriteZeroes if req.fast_only() => Err(Errno::OPNOTSUPP),
            Op::WriteZeroes => {
                let (segs, count) = self.zero_segs(left);
                io.issue(&req, Operation::write(self.backing, at, &segs[..count]).fua(req.fua()))
            }
            Op::Flush => io.issue(&req, Operation::fdatasync(self.backing)),
            Op::Trim | Op::Cache | Op::Status => Err(Errno::OPNOTSUPP),
        };
        match issued {
            Ok(_) => req.pending(),
            Err(e) => req.fail(e),
        }
    }

    /// Zeroes for `left` bytes, or for as many as one operation writes.
    fn zero_segs(&self, left: u64) -> ([Seg; ZEROES_PER_OP], usize) {
        let mut segs = [self.zeroes.seg(0, ZEROES); ZEROES_PER_OP];
        let mut left = left.min(ZEROES * ZEROES_PER_OP as u64);
        let mut count = 0;
        while left > 0 {
            let length = left.min(ZEROES);
            segs[count] = self.zeroes.seg(0, length);
            left -= length;
            count += 1;
        }
        (segs, count)
    }
}

steadfast_driver::export!(File);
