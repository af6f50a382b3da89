//! For those who write drivers: `steadfast driver new` and `steadfast driver watch`.

mod args;
mod build;
mod find;
mod new;
mod sdk;
mod settle;
mod watch;

pub(crate) use args::{DriverNew, DriverWatch};
pub(crate) use new::new;
pub(crate) use watch::watch;
