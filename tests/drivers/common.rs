//! One driver of memory that answers each request a while after it came, and that can be told, when
//! it is built, to do one thing wrong.

use std::time::Duration;
use steadfast_driver::{
    Adopted, Block, Device, Errno, Error, Event, Info, Io, Op, Operation, Params, Pdu, Port, Prepare, Region,
    Request, Result, Size, State, Submitted, feature,
};

/// What a build of the driver does wrong; 0 is nothing.
pub(crate) mod fault {
    #![allow(dead_code, reason = "each build uses one of them")]
    pub(crate) const NONE: u32 = 0;
    pub(crate) const PREPARE_ERROR: u32 = 1;
    pub(crate) const PREPARE_PANIC: u32 = 2;
    pub(crate) const CONNECT_ERROR: u32 = 3;
    pub(crate) const CONNECT_PANIC: u32 = 4;
    pub(crate) const QUEUE_START_ERROR: u32 = 5;
    pub(crate) const ADOPT_ERROR: u32 = 6;
    pub(crate) const SHRINKS: u32 = 7;
    pub(crate) const SUBMIT_PANIC: u32 = 8;
    pub(crate) const SUBMIT_ERROR: u32 = 9;
    pub(crate) const DISCONNECT_ERROR: u32 = 10;
    pub(crate) const RECONNECT_ERROR: u32 = 11;
    pub(crate) const FEWER_FEATURES: u32 = 12;
    /// No fault, but another layout of the PDU, with a conversion.
    pub(crate) const OTHER_PDU: u32 = 13;
    /// One block in a thousand reads wrong.
    pub(crate) const WRONG_READ: u32 = 14;
    /// Ends the whole process.
    pub(crate) const SUBMIT_ABORT: u32 = 15;
    pub(crate) const PREPARE_ABORT: u32 = 16;
}

/// The driver, with one fault.
pub(crate) struct Driver<const FAULT: u32> {
    size: u64,
    delay: Duration,
    memory: Region,
    swaps: u64,
}

#[derive(Params)]
pub(crate) struct Parameters {
    /// Size of the device.
    #[param(default = "8M", range = "4096..=1G", unit = "bytes")]
    size: Size,
    /// How long the quickest request takes; the slowest takes eight times as long.
    #[param(default = 200, range = "0..=10000000", unit = "us")]
    delay_us: u32,
}

#[derive(State)]
#[state(schema = "test/1")]
pub(crate) struct Carried {
    swaps: u64,
}

/// What a request in flight has to remember.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Waiting<const FAULT: u32> {
    marker: u64,
}

// SAFETY: one integer; any bytes are a valid value.
unsafe impl<const FAULT: u32> Pdu for Waiting<FAULT> {
    const SCHEMA: &'static str = if other_pdu(FAULT) { "test/2" } else { "test/1" };
}

const fn other_pdu(fault: u32) -> bool {
    fault == fault::OTHER_PDU || fault == fault::ADOPT_ERROR
}

impl<const FAULT: u32> Waiting<FAULT> {
    const MARKER: u64 = if other_pdu(FAULT) { !0x5465_7374 } else { 0x5465_7374 };
}

impl<const FAULT: u32> Driver<FAULT> {
    fn may_fail(at: u32, what: &str) -> Result<()> {
        if FAULT == at { Err(Error::new(Errno::NODEV, format!("{what} fails on purpose"))) } else { Ok(()) }
    }

    fn may_panic(at: u32) {
        assert!(FAULT != at, "panic on purpose");
    }

    fn may_abort(at: u32) {
        if FAULT == at {
            std::process::abort();
        }
    }

    fn work(&self, req: &Request<'_, Self>) -> Result<(), Errno> {
        match req.op() {
            Op::Read if FAULT == fault::WRONG_READ && req.offset() / 4096 % 1000 == 7 => {
                req.data().copy_from(&self.memory, req.offset())?;
                req.data().write(100, &[0xff])
            }
            Op::Read => req.data().copy_from(&self.memory, req.offset()),
            Op::Write => req.data().copy_to(&self.memory, req.offset()),
            Op::Flush => Ok(()),
            _ => Err(Errno::OPNOTSUPP),
        }
    }
}

impl<const FAULT: u32> Block for Driver<FAULT> {
    type Params = Parameters;
    type State = Carried;
    type Pdu = Waiting<FAULT>;
    type Queue = ();

    const INFO: Info = Info::new("test", "1.0.0")
        .about("For the tests: memory behind a delay, with one fault")
        .features(if FAULT == fault::FEWER_FEATURES { 0 } else { feature::FLUSH | feature::FUA })
        .adopts(if other_pdu(FAULT) { &["test/1"] } else { &[] });

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Self> {
        Self::may_panic(fault::PREPARE_PANIC);
        Self::may_abort(fault::PREPARE_ABORT);
        Self::may_fail(fault::PREPARE_ERROR, "prepare")?;
        let memory = cx.region("memory", params.size.0)?;
        let delay = Duration::from_micros(params.delay_us.into());
        Ok(Driver { size: params.size.0, delay, memory, swaps: 0 })
    }

    fn connect(&mut self, cx: &mut Port<'_>, state: Option<Carried>) -> Result<()> {
        self.swaps = state.map_or(0, |s| s.swaps + 1);
        if [fault::CONNECT_ERROR, fault::CONNECT_PANIC].contains(&FAULT) {
            // Long enough for clients to send what must then be held.
            std::thread::sleep(Duration::from_millis(20));
        }
        Self::may_panic(fault::CONNECT_PANIC);
        Self::may_fail(fault::CONNECT_ERROR, "connect")?;
        let size = if FAULT == fault::SHRINKS { self.size / 2 } else { self.size };
        let features = if FAULT == fault::FEWER_FEATURES { 0 } else { feature::FLUSH | feature::FUA };
        cx.announce(&Device::new(0, size).features(features))
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<Carried> {
        Self::may_fail(fault::DISCONNECT_ERROR, "disconnect")?;
        Ok(Carried { swaps: self.swaps })
    }

    fn reconnect(&mut self, cx: &mut Port<'_>, state: Option<Carried>) -> Result<()> {
        Self::may_fail(fault::RECONNECT_ERROR, "reconnect")?;
        self.connect(cx, state)
    }

    fn queue_start(&self, _: &mut Io<'_, Self>) -> Result<()> {
        Self::may_fail(fault::QUEUE_START_ERROR, "queue_start")
    }

    fn submit<'q>(&self, _: &mut (), io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        // Only the second page is cursed, so that a client can get past its handshake.
        if req.offset() == 4096 {
            Self::may_panic(fault::SUBMIT_PANIC);
            Self::may_abort(fault::SUBMIT_ABORT);
            if FAULT == fault::SUBMIT_ERROR {
                return req.fail(Errno::IO);
            }
        }
        if let Err(errno) = self.work(&req) {
            return req.fail(errno);
        }
        if self.delay.is_zero() {
            return req.done();
        }
        req.pdu().set(Waiting { marker: Waiting::<FAULT>::MARKER });
        // Requests for different pages take different times, so that they do not all end at once.
        let delay = self.delay * (1 + (req.offset() / 4096 % 8) as u32);
        match io.issue(&req, Operation::timeout(delay)) {
            Ok(_) => req.pending(),
            Err(errno) => req.fail(errno),
        }
    }

    fn event<'q>(&self, _: &mut (), _: &mut Io<'q, Self>, req: Request<'q, Self>, _: Event) -> Submitted<'q> {
        // What the driver before left with the request must have come over.
        if req.pdu().get().marker == Waiting::<FAULT>::MARKER { req.done() } else { req.fail(Errno::PROTO) }
    }

    const SAVES_STATE: bool = true;

    fn save_state(&self, _: &mut Port<'_>) -> Result<Carried> {
        Ok(Carried { swaps: self.swaps })
    }

    fn adopt(&self, _: &mut (), req: &Adopted<'_, Self>, schema: &str) -> Result<(), Errno> {
        if schema != "test/1" {
            return Err(Errno::OPNOTSUPP);
        }
        let old = req.old::<u64>()?;
        if FAULT == fault::ADOPT_ERROR {
            // Spoil it: the shell must restore it when the update goes back.
            req.convert(Waiting { marker: 0 });
            return Err(Errno::INVAL);
        }
        req.convert(Waiting { marker: !old });
        Ok(())
    }
}
