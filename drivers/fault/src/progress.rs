//! What is kept of a request in flight.

use steadfast_driver::{Adopted, Block, Errno, Pdu};

/// PDU schemas that every one of these drivers can take over.
pub const ADOPTS: &[&str] = &["ram/1", "error/1", "delay/1", "hang/1", "crash/1"];

/// How far a request is; part of each driver's PDU.
#[derive(Clone, Copy, Default, Pdu)]
#[repr(C)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// One of [`stage`].
    pub stage: u32,
    /// The backend that has the operation in flight: 0 memory, 1 another device.
    pub backend: u32,
}

/// What the operation in flight for a request is.
pub mod stage {
    /// A wait; nothing has been done for the request yet.
    pub const WAITING: u32 = 1;
    /// A step of carrying it out.
    pub const BEGUN: u32 = 2;
    /// Makes durable; the last step.
    pub const SYNC: u32 = 3;
    /// A wait that begins anew until the request is released.
    pub const HUNG: u32 = 4;
}

impl Progress {
    /// Nothing has been done for the request; its operation in flight is a wait.
    pub fn waiting() -> Progress {
        Progress { done: 0, stage: stage::WAITING, backend: 0 }
    }

    /// Nothing has been done for the request.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, stage::WAITING | stage::HUNG)
    }
}

/// A PDU that holds a [`Progress`] and nothing else; made by [`pdu!`](crate::pdu).
pub trait Carries: Pdu {
    /// What it holds.
    fn progress(self) -> Progress;
    /// Makes one.
    fn of(progress: Progress) -> Self;
}

/// Declares a driver's PDU with a schema of its own: `pdu!(Name, "name/1")`. The layout is the same
/// for all; the schemas differ so that the shell says whose requests a driver takes over.
#[macro_export]
macro_rules! pdu {
    ($name:ident, $schema:literal) => {
        /// What is kept of a request in flight.
        #[derive(Clone, Copy, ::steadfast_driver::Pdu)]
        #[repr(C)]
        #[pdu(schema = $schema)]
        struct $name {
            progress: $crate::Progress,
        }
        impl $crate::Carries for $name {
            fn progress(self) -> $crate::Progress {
                self.progress
            }
            fn of(progress: $crate::Progress) -> $name {
                $name { progress }
            }
        }
    };
}

/// A request of `ram` that zeroes more than one step.
#[derive(Clone, Copy, Pdu)]
#[repr(C)]
struct RamProgress {
    done: u64,
}

/// Takes over a request of `ram` or of another of these drivers.
///
/// # Errors
/// `OPNOTSUPP`: a schema that is not in [`ADOPTS`].
pub fn adopt<D: Block>(req: &Adopted<'_, D>, schema: &str) -> Result<Progress, Errno>
where
    D::Pdu: Carries,
{
    let progress = match schema {
        "ram/1" => Progress { done: req.old::<RamProgress>()?.done, stage: stage::BEGUN, backend: 0 },
        _ if ADOPTS.contains(&schema) => req.old::<Progress>()?,
        _ => return Err(Errno::OPNOTSUPP),
    };
    req.convert(D::Pdu::of(progress));
    Ok(progress)
}
