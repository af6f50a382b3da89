//! The SDK that driver authors use: a safe trait over the driver ABI.
//!
//! A driver is one type that implements [`Block`], and one line, [`export!`]. This is all of one that
//! answers every request at once:
//!
//! ```
//! use steadfast_driver::{Block, Device, Info, Io, Op, Params, Port, Prepare, Request, Result, Size, Submitted};
//!
//! #[derive(Params)]
//! struct Parameters {
//!     /// Size of the device.
//!     #[param(default = "1G", range = "512..=1024T", unit = "bytes")]
//!     size: Size,
//! }
//!
//! struct Null {
//!     size: u64,
//! }
//!
//! impl Block for Null {
//!     type Params = Parameters;
//!     type State = ();
//!     type Pdu = ();
//!     type Queue = ();
//!     const INFO: Info = Info::new("null", "1.0.0").about("Completes every request at once");
//!
//!     fn prepare(_: &mut Prepare<'_>, params: Parameters) -> Result<Null> {
//!         Ok(Null { size: params.size.0 })
//!     }
//!
//!     fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
//!         cx.announce(&Device::new(0, self.size))
//!     }
//!
//!     fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
//!         Ok(())
//!     }
//!
//!     fn submit<'q>(&self, _: &mut (), _: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
//!         if req.op() == Op::Read {
//!             req.data().fill(0);
//!         }
//!         req.done()
//!     }
//! }
//!
//! steadfast_driver::export!(Null);
//! # fn main() {}
//! ```
//!
//! built with `crate-type = ["cdylib"]`.
//!
//! # What a driver must not do
//!
//! Everything that must outlive it belongs to the shell, and its code leaves memory after a swap. So:
//! no threads, no file descriptors, no thread-locals with destructors, no global that others point
//! to. A panic stops at the entry point: the request at hand fails with `EIO`, or the update goes back.

extern crate self as steadfast_driver;

mod adopt;
mod block;
mod data;
mod entry;
mod errno;
mod info;
mod io;
mod log;
mod panic;
mod params;
mod pdu;
mod port;
mod request;
mod state;

pub use adopt::Adopted;
pub use block::{Block, Probe};
pub use data::{Data, Extent};
pub use errno::{Errno, Error, Result};
pub use info::Info;
pub use io::{Event, Io, MAX_SEGS, OpId, Operation, Seg};
pub use log::{Level, Log};
pub use params::{ParamType, ParamValue, Params, Size};
pub use pdu::Pdu;
pub use port::{Device, Handle, HandleInfo, Open, Port, Prepare, Region};
pub use request::{Op, Parked, Request, Submitted};
pub use state::{Schema, State};
pub use steadfast_abi::block_feature as feature;
pub use steadfast_abi::{extent, fallocate};
pub use steadfast_driver_derive::{ParamType, Params, Pdu, State};

/// For the macros.
#[doc(hidden)]
pub mod private {
    pub use crate::entry::table;
    pub use crate::info::{manifest, manifest_len};
    pub use crate::params::only_if;
    pub use crate::state::{Sink, load_schema, minicbor, save_schema};
    pub use minicbor::encode::write::EndOfSlice;
    pub use steadfast_abi::Driver;
}

/// Makes the crate a driver module: emits the manifest section and the table of entry points of the
/// given [`Block`] type. Once per crate.
#[macro_export]
macro_rules! export {
    ($driver:ty) => {
        const _: () = {
            const LEN: usize = $crate::private::manifest_len::<$driver>();
            #[used]
            #[unsafe(link_section = ".steadfast.manifest")]
            static MANIFEST: [u8; LEN] = $crate::private::manifest::<$driver, LEN>();
            #[allow(non_upper_case_globals)]
            #[unsafe(no_mangle)]
            static steadfast_driver: $crate::private::Driver = $crate::private::table::<$driver>(&MANIFEST);
        };
    };
}
