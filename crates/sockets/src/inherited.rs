//! Sockets that a service manager listens on, as `sd_listen_fds(3)` describes it: they stay while the daemon is
//! restarted, and clients wait instead of being refused.

use crate::sys;
use std::env;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The first descriptor that is passed on.
const FIRST: i32 = 3;
/// Most sockets that are taken.
const MAX: i32 = 64;
/// Names that sockets may have: `FileDescriptorName=` of a socket unit.
pub const NAMES: [&str; 2] = ["control", "nbd"];

/// The sockets that this process was started with, by their names.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The control API's.
    pub control: Option<OwnedFd>,
    /// Those of NBD.
    pub nbd: Vec<OwnedFd>,
}

/// Why a socket that was passed on can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// A variable of the environment does not make sense.
    #[error("{name}={value}: {why}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A descriptor is not what it should be.
    #[error("socket {number} that was passed on as `{name}`: {why}")]
    Socket {
        /// The descriptor's number.
        number: i32,
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Inherited {
    /// Takes the sockets that the environment names, if they are for this process. Called once, before anything else
    /// opens a descriptor. The variables stay: they are not for a child of this process, by the process's number in
    /// them.
    ///
    /// # Errors
    /// A socket without one of the names in [`NAMES`], or one that nobody listens on.
    pub fn take() -> Result<Inherited, InheritError> {
        let variable = |name| env::var(name).unwrap_or_default();
        let ours = variable("LISTEN_PID").parse() == Ok(std::process::id());
        let count = variable("LISTEN_FDS");
        if !ours || count.is_empty() {
            return Ok(Inherited::default());
        }
        let wrong =
            |name, value: &str, why: String| InheritError::Variable { name, value: value.to_owned(), why };
        let number = count.parse::<i32>().ok().filter(|n| (0..=MAX).contains(n));
        let number = number
            .ok_or_else(|| wrong("LISTEN_FDS", &count, format!("not a number of sockets, 0 to {MAX}")))?;
        let text = variable("LISTEN_FDNAMES");
        let names: Vec<&str> = text.split(':').collect();
        if names.len() != number as usize {
            let why = format!("there are {number} sockets (one name for each, of {})", NAMES.join(" and "));
            return Err(wrong("LISTEN_FDNAMES", &text, why));
        }
        let mut taken = Inherited::default();
        for (fd, name) in (FIRST..).zip(names) {
            taken.add(fd, name)?;
        }
        Ok(taken)
    }

    fn add(&mut self, number: i32, name: &str) -> Result<(), InheritError> {
        let wrong = |why: String| InheritError::Socket { number, name: name.to_owned(), why };
        let socket = sys::inherit(number).map_err(|e| wrong(e.to_string()))?;
        let listens = sys::option(number, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)
            .map_err(|e| wrong(format!("not a socket: {e}")))?;
        if listens != 1 {
            return Err(wrong("it does not listen (ListenStream=, and Accept=no)".to_owned()));
        }
        let family = sys::family(socket.as_fd()).map_err(|e| wrong(e.to_string()))?;
        let unix = family == libc::AF_UNIX;
        match name {
            "control" if !unix => Err(wrong("the control API is served on a Unix socket only".to_owned())),
            "control" if self.control.is_some() => Err(wrong("there is one already".to_owned())),
            "control" => {
                self.control = Some(socket);
                Ok(())
            }
            "nbd" if unix || family == libc::AF_INET || family == libc::AF_INET6 => {
                self.nbd.push(socket);
                Ok(())
            }
            "nbd" => Err(wrong(format!("address family {family} (allowed: Unix, IPv4, IPv6)"))),
            _ => {
                // Nobody else knows what it is for.
                debug_assert_eq!(socket.as_raw_fd(), number);
                Err(wrong(format!("an unknown name (FileDescriptorName= allows {})", NAMES.join(" and "))))
            }
        }
    }
}
