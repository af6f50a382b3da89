//! `null`: a device that answers every request at once and keeps nothing. For measuring what is
//! around it.

#![forbid(unsafe_code)]

use steadfast_driver::{
    Block, Device, Errno, Info, Io, Op, Params, Port, Prepare, Request, Result, Size, Submitted, feature,
};

const FEATURES: u64 = feature::FLUSH
    | feature::FUA
    | feature::TRIM
    | feature::WRITE_ZEROES
    | feature::FAST_ZERO
    | feature::MULTI_CONN;

#[derive(Params)]
struct Parameters {
    /// Size of the device.
    #[param(default = "1G", range = "4096..=1024T", unit = "bytes")]
    size: Size,
    /// Answer reads with zeroes; otherwise with whatever the buffer holds.
    #[param(default = true, class = live)]
    zeroes: bool,
}

struct Null {
    size: u64,
    zeroes: bool,
}

impl Block for Null {
    type Params = Parameters;
    type State = ();
    type Pdu = ();
    type Queue = ();

    const INFO: Info = Info::new("null", env!("CARGO_PKG_VERSION"))
        .about("Answers every request at once and keeps nothing")
        .features(FEATURES)
        .ops(0)
        .keeps_nothing();

    fn prepare(_: &mut Prepare<'_>, params: Parameters) -> Result<Null> {
        Ok(Null { size: params.size.0 & !4095, zeroes: params.zeroes })
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        cx.announce(&Device::new(0, self.size).block_size(1).features(FEATURES))
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        Ok(())
    }

    fn submit<'q>(&self, _: &mut (), _: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if req.offset().saturating_add(req.length()) > self.size {
            return req.fail(Errno::INVAL);
        }
        if self.zeroes && req.op() == Op::Read {
            req.data().fill(0);
        }
        req.done()
    }

    fn param_changed(&mut self, _: &mut Port<'_>, _: &str, params: Parameters) -> Result<()> {
        self.zeroes = params.zeroes;
        Ok(())
    }
}

steadfast_driver::export!(Null);
