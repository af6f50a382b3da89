//! Of the tests: a driver with a parameter for all of its ports, of the class *reload*.

use steadfast_driver::{
    Block, Device, Errno, Error, Info, Io, Op, Params, Port, Prepare, Request, Result, Submitted,
};

const SIZE: u64 = 1 << 20;

#[derive(Params)]
struct Parameters {
    /// What reads answer with.
    #[param(default = 1, range = "0..=255", class = reload)]
    mark: u32,
    /// The mark that this port does not attach with; 0: it attaches with any.
    #[param(default = 0, range = "0..=255")]
    refuses: u32,
}

struct Shared {
    mark: u8,
}

impl Block for Shared {
    type Params = Parameters;
    type State = ();
    type Pdu = ();
    type Queue = ();

    const INFO: Info = Info::new("shared", "1.0.0").ops(0).keeps_nothing();

    fn prepare(_: &mut Prepare<'_>, params: Parameters) -> Result<Shared> {
        if params.mark == params.refuses && params.refuses != 0 {
            return Err(Error::new(Errno::INVAL, format!("not with mark {}", params.mark)));
        }
        Ok(Shared { mark: params.mark as u8 })
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        cx.announce(&Device::new(0, SIZE).block_size(1))
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        Ok(())
    }

    fn submit<'q>(&self, _: &mut (), _: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if req.offset().saturating_add(req.length()) > SIZE {
            return req.fail(Errno::INVAL);
        }
        if req.op() == Op::Read {
            req.data().fill(self.mark);
        }
        req.done()
    }
}

steadfast_driver::export!(Shared);
