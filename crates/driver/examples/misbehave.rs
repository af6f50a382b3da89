//! A driver that does wrong when it is asked to, by the request's offset or by the parameter `fault`.
//! The tests show that the SDK turns each fault into an error, and that the module leaves memory after.

use steadfast_driver::{
    Block, Device, Errno, Error, Event, Info, Io, Operation, ParamType, Params, Parked, Pdu, Port, Prepare,
    Request, Result, State, Submitted, info,
};

/// Where to fail.
#[derive(Clone, Copy, PartialEq, ParamType)]
enum Fault {
    None,
    PanicInPrepare,
    PanicInConnect,
    FailInConnect,
    PanicInDisconnect,
}

#[derive(Params)]
struct Parameters {
    /// Where to fail.
    #[param(default = "none", class = live)]
    fault: Fault,
    /// An optional text.
    note: Option<String>,
}

#[derive(State)]
#[state(schema = "misbehave/1")]
struct Kept {
    connects: u64,
}

#[derive(Clone, Copy, Pdu)]
#[repr(C)]
#[pdu(schema = "misbehave/1")]
struct Step {
    number: u64,
}

struct Misbehave {
    fault: Fault,
    connects: u64,
}

#[derive(Default)]
struct Local {
    waiting: Parked,
}

impl Block for Misbehave {
    type Params = Parameters;
    type State = Kept;
    type Pdu = Step;
    type Queue = Local;
    const INFO: Info = Info::new("misbehave", "1.0.0");

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Self> {
        info!(cx, "note {}", params.note.as_deref().unwrap_or("missing"));
        assert!(params.fault != Fault::PanicInPrepare, "prepare was asked to panic");
        Ok(Misbehave { fault: params.fault, connects: 0 })
    }

    fn connect(&mut self, cx: &mut Port<'_>, state: Option<Kept>) -> Result<()> {
        self.connects = state.map_or(0, |s| s.connects) + 1;
        match self.fault {
            Fault::PanicInConnect => panic!("connect was asked to panic"),
            Fault::FailInConnect => Err(Error::new(Errno::NODEV, "connect was asked to fail")),
            _ => cx.announce(&Device::new(0, 1 << 20)),
        }
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<Kept> {
        assert!(self.fault != Fault::PanicInDisconnect, "disconnect was asked to panic");
        Ok(Kept { connects: self.connects })
    }

    fn submit<'q>(&self, queue: &mut Local, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        match req.offset() {
            1024 => panic!("submit was asked to panic at {}", req.offset()),
            // Panics with an answer in its hands.
            1536 => {
                let _answer = req.done();
                panic!("too late");
            }
            // Three steps through the ring.
            2048 => step(io, req, 1),
            // A step that ends in a panic.
            2560 => step(io, req, 99),
            // Waits for one of the two that follow.
            3072 => {
                queue.waiting = req.parked();
                req.pending()
            }
            3584 => {
                if let Some(other) = io.unpark(queue.waiting) {
                    other.complete(Err(Errno::BUSY));
                }
                req.done()
            }
            4096 => {
                // Forgets to answer.
                drop(io.unpark(queue.waiting));
                req.done()
            }
            _ => req.done(),
        }
    }

    fn event<'q>(
        &self,
        _: &mut Local,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        _: Event,
    ) -> Submitted<'q> {
        match req.pdu().get().number {
            99 => panic!("event was asked to panic"),
            3 => req.done(),
            number => step(io, req, number + 1),
        }
    }

    fn param_changed(&mut self, _: &mut Port<'_>, _: &str, params: Parameters) -> Result<()> {
        self.fault = params.fault;
        Ok(())
    }
}

fn step<'q>(io: &mut Io<'q, Misbehave>, req: Request<'q, Misbehave>, number: u64) -> Submitted<'q> {
    req.pdu().set(Step { number });
    match io.issue(&req, Operation::nop()) {
        Ok(_) => req.pending(),
        Err(e) => req.fail(e),
    }
}

steadfast_driver::export!(Misbehave);
