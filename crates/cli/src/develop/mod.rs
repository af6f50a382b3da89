//! For those who write drivers: `steadfast driver new` and `steadfast driver watch`.

mod build;
mod find;
mod new;
mod sdk;
mod settle;
mod watch;

pub(crate) use crate::args::develop::{DriverNew, DriverWatch};
pub(crate) use new::new;
pub(crate) use watch::watch;
