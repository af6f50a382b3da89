//! Two releases of one driver of memory that can do one thing wrong at one entry point, as their
//! parameters say. They lay out what they keep of a request in flight each in its own way and convert
//! the other's. A request takes two operations, and only some are begun at a time, so that at every
//! swap requests wait, are half-way through, or nearly done.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};
use steadfast_driver::{
    Adopted, Block, Device, Errno, Error, Event, Info, Io, Op, Operation, ParamType, Params, Parked, Pdu,
    Port, Prepare, Probe, Region, Request, Result, Size, State, Submitted, feature,
};

const FEATURES: u64 = feature::FLUSH | feature::FUA | feature::MULTI_CONN;

/// Requests for the first bytes of the device take longer than any other.
const SLOW_PART: u64 = 64 << 10;

/// The entry point at which something is done wrong.
#[derive(Clone, Copy, PartialEq, Eq, ParamType)]
enum At {
    None,
    Prepare,
    HandBack,
    Disconnect,
    Transfer,
    Connect,
    QueueStart,
    Adopt,
    /// The `disconnect` by which a `connect` is undone that announced nothing.
    Undo,
    QueueRun,
    Reconnect,
    Release,
}

/// What is done wrong.
#[derive(Clone, Copy, PartialEq, Eq, ParamType)]
enum How {
    Error,
    Panic,
    /// It does not return for `hang_ms`.
    Hang,
    /// It makes the file `gate` in the daemon's folder and returns when that has gone.
    Gate,
}

#[derive(Params)]
pub(crate) struct Parameters {
    /// Size of the device.
    #[param(default = "16M", range = "1M..=1G", unit = "bytes")]
    size: Size,
    /// How long the quickest operation takes; the slowest takes eight times as long.
    #[param(default = 100, unit = "us")]
    delay_us: u32,
    /// How long requests for the first 64 KiB take.
    #[param(default = 1500, unit = "ms")]
    slow_ms: u32,
    /// Requests that are begun at a time, per queue.
    #[param(default = 8, range = "1..=1024")]
    begun: u32,
    /// The entry point of the fault.
    #[param(default = "none")]
    at: At,
    /// The fault.
    #[param(default = "error")]
    how: How,
    /// How often, and then no more; 0: always.
    #[param(default = 0)]
    times: u32,
    /// How long a hang lasts.
    #[param(default = 1300, unit = "ms")]
    hang_ms: u32,
}

/// What one release leaves for the other. It must describe itself as the SDK's states do: eight bytes of
/// a counter would do for a hundred and sixty swaps, and then begin like a map that has an end too early.
#[derive(State)]
#[state(schema = "matrix/2")]
struct Kept {
    swaps: u64,
}

/// The same, and the form in which it is left.
pub(crate) struct Carried {
    kept: Kept,
    /// Leave a form that the manifest does not promise.
    lie: bool,
}

impl State for Carried {
    const WRITES: &'static [&'static str] = Kept::WRITES;
    const READS: &'static [&'static str] = Kept::READS;

    fn save(&self, sink: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
        self.kept.save(&mut |schema, bytes| sink(if self.lie { "matrix/1" } else { schema }, bytes))
    }

    fn load<'b>(source: &dyn Fn(&str) -> Result<Option<&'b [u8]>>) -> Result<Option<Carried>> {
        Ok(Kept::load(source)?.map(|kept| Carried { kept, lie: false }))
    }
}

/// What is kept of a request in flight.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Progress<const RELEASE: u32> {
    mark: u64,
    done: u64,
}

// SAFETY: two integers; any bytes are a valid value.
unsafe impl<const RELEASE: u32> Pdu for Progress<RELEASE> {
    const SCHEMA: &'static str = schema(RELEASE);
}

const fn schema(release: u32) -> &'static str {
    if release == 1 { "matrix-one/1" } else { "matrix-two/1" }
}

/// One release of the driver.
pub(crate) struct Driver<const RELEASE: u32> {
    params: Parameters,
    memory: Region,
    swaps: u64,
    fired: std::sync::atomic::AtomicU32,
}

/// What a queue has begun and what waits.
#[derive(Default)]
pub(crate) struct Begun {
    count: u32,
    waiting: VecDeque<Parked>,
}

impl<const RELEASE: u32> Driver<RELEASE> {
    const MARK: u64 = if RELEASE == 1 { 0x6f6e_6501 } else { 0x7477_6f02 };

    fn fault(&self, at: At) -> Result<()> {
        if self.params.at != at {
            return Ok(());
        }
        let fired = self.fired.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.params.times > 0 && fired >= self.params.times {
            return Ok(());
        }
        do_wrong(self.params.how, self.params.hang_ms)
    }

    fn announce(&self, cx: &mut Port<'_>) -> Result<()> {
        cx.announce(&Device::new(0, self.memory.size()).features(FEATURES))
    }

    fn wait(&self, req: &Request<'_, Self>) -> Duration {
        if req.op() != Op::Flush && req.offset() < SLOW_PART {
            return Duration::from_millis(self.params.slow_ms.into());
        }
        // Different pages take different times, so that requests do not end as they came.
        Duration::from_micros(self.params.delay_us.into()) * (1 + (req.offset() / 4096 % 8) as u32)
    }

    fn begin<'q>(&self, queue: &mut Begun, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        req.pdu().set(Progress { mark: Self::MARK ^ u64::from(req.tag()), done: 0 });
        match io.issue(&req, Operation::timeout(self.wait(&req))) {
            Ok(_) => {
                queue.count += 1;
                req.pending()
            }
            Err(errno) => req.fail(errno),
        }
    }

    fn work(&self, req: &Request<'_, Self>) -> Result<(), Errno> {
        match req.op() {
            Op::Read => req.data().copy_from(&self.memory, req.offset()),
            Op::Write => req.data().copy_to(&self.memory, req.offset()),
            Op::Flush => Ok(()),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    fn begin_next(&self, queue: &mut Begun, io: &mut Io<'_, Self>) {
        while queue.count < self.params.begun {
            let Some(parked) = queue.waiting.pop_front() else { return };
            if let Some(req) = io.unpark(parked) {
                self.begin(queue, io, req).deliver();
            }
        }
    }
}

fn do_wrong(how: How, hang_ms: u32) -> Result<()> {
    match how {
        How::Error => return Err(Error::new(Errno::NODEV, "an error on purpose")),
        How::Panic => panic!("a panic on purpose"),
        How::Hang => std::thread::sleep(Duration::from_millis(hang_ms.into())),
        How::Gate => {
            let (gate, begin) = (Path::new("gate"), Instant::now());
            let _ = std::fs::write(gate, "");
            // Not for ever, should the test have failed.
            while gate.exists() && begin.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    Ok(())
}

impl<const RELEASE: u32> Block for Driver<RELEASE> {
    type Params = Parameters;
    type State = Carried;
    type Pdu = Progress<RELEASE>;
    type Queue = Begun;

    const INFO: Info = Info::new("matrix", if RELEASE == 1 { "1.0.0" } else { "2.0.0" })
        .about("For the tests: memory that does one thing wrong at one entry point")
        .features(FEATURES)
        .adopts(if RELEASE == 1 { &["matrix-two/1"] } else { &["matrix-one/1"] });

    /// There are no parameters yet: the file `probe` in the daemon's folder says what is to go wrong.
    fn probe(_: &Probe<'_>) -> Result<()> {
        match std::fs::read_to_string("probe").unwrap_or_default().as_str() {
            "error" => do_wrong(How::Error, 0),
            "panic" => do_wrong(How::Panic, 0),
            "hang" => do_wrong(How::Hang, 300),
            "gate" => do_wrong(How::Gate, 0),
            _ => Ok(()),
        }
    }

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Self> {
        let memory = cx.region("memory", params.size.0 & !4095)?;
        let driver = Driver { params, memory, swaps: 0, fired: 0.into() };
        driver.fault(At::Prepare)?;
        Ok(driver)
    }

    fn connect(&mut self, cx: &mut Port<'_>, state: Option<Carried>) -> Result<()> {
        self.fault(At::Connect)?;
        self.swaps = state.map_or(0, |s| s.kept.swaps + 1);
        if self.params.at == At::Undo { Ok(()) } else { self.announce(cx) }
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<Carried> {
        self.fault(At::Disconnect)?;
        self.fault(At::Undo)?;
        Ok(Carried {
            kept: Kept { swaps: self.swaps },
            lie: self.params.at == At::Transfer && self.fault(At::Transfer).is_err(),
        })
    }

    fn reconnect(&mut self, cx: &mut Port<'_>, _: Option<Carried>) -> Result<()> {
        self.fault(At::Reconnect)?;
        self.announce(cx)
    }

    fn queue_start(&self, _: &mut Io<'_, Self>) -> Result<Begun> {
        self.fault(At::QueueStart)?;
        Ok(Begun::default())
    }

    fn queue_run(&self, _: &mut Begun, _: &mut Io<'_, Self>) {
        let _ = self.fault(At::QueueRun);
    }

    fn submit<'q>(&self, queue: &mut Begun, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if queue.count < self.params.begun || req.offset() < SLOW_PART {
            return self.begin(queue, io, req);
        }
        queue.waiting.push_back(req.parked());
        req.pending()
    }

    fn event<'q>(
        &self,
        queue: &mut Begun,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        _: Event,
    ) -> Submitted<'q> {
        // What the release before left with the request must have come over.
        let progress = req.pdu().get();
        if progress.mark != Self::MARK ^ u64::from(req.tag()) || progress.done > 1 {
            return req.fail(Errno::PROTO);
        }
        if progress.done == 0 {
            req.pdu().set(Progress { done: 1, ..progress });
            return match io.issue(&req, Operation::nop()) {
                Ok(_) => req.pending(),
                Err(errno) => req.fail(errno),
            };
        }
        queue.count = queue.count.saturating_sub(1);
        let result = self.work(&req);
        self.begin_next(queue, io);
        req.result(result)
    }

    fn adopt(&self, queue: &mut Begun, req: &Adopted<'_, Self>, schema_of: &str) -> Result<(), Errno> {
        if schema_of != schema(3 - RELEASE) {
            return Err(Errno::OPNOTSUPP);
        }
        let old = req.old::<[u64; 2]>()?;
        if self.params.at == At::Adopt {
            // Spoilt: the shell must restore it when the update goes back.
            req.convert(Progress { mark: 0, done: 9 });
            self.fault(At::Adopt).map_err(|_| Errno::INVAL)?;
        }
        let other = Driver::<1>::MARK ^ Driver::<2>::MARK;
        req.convert(Progress { mark: old[0] ^ other, done: old[1] });
        queue.count += 1;
        Ok(())
    }

    const HANDS_BACK: bool = true;

    fn hand_back(&self, queue: &mut Begun, io: &mut Io<'_, Self>) {
        let _ = self.fault(At::HandBack);
        while let Some(parked) = queue.waiting.pop_front() {
            let _ = io.give_back(parked);
        }
    }
}

impl<const RELEASE: u32> Drop for Driver<RELEASE> {
    fn drop(&mut self) {
        let _ = self.fault(At::Release);
    }
}
