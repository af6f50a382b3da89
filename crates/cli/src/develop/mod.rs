//! For those who write drivers: `steadfast driver new` and `steadfast driver watch`.

mod args;
mod new;
mod sdk;

pub(crate) use args::DriverNew;
pub(crate) use new::new;
