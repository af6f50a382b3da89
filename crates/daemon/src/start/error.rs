use crate::config::{ConfigErrors, Place};
use crate::start::control_socket::SocketError;
use std::io;
use std::path::PathBuf;
use steadfast_loader::LoadError;
use steadfast_nbd::NbdError;
use steadfast_runtime::EngineError;
use steadfast_sockets::InheritError;

/// Why the daemon does not start, or ends early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nothing is configured.
    #[error("no device to serve")]
    NoDevice,
    /// Signatures are required, and there is nobody to trust.
    #[error("require_signed: no folder of trusted keys is given, so that no module could be used")]
    NoKeys,
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// Another daemon has the folder.
    #[error("{what} folder {}: another daemon uses it", folder.display())]
    FolderInUse {
        /// What is in it.
        what: &'static str,
        /// Where it is.
        folder: PathBuf,
    },
    /// Somebody else can write to a folder that decides what is run.
    #[error("{what} folder {}: {why}", folder.display())]
    FolderOpen {
        /// What is in it.
        what: &'static str,
        /// Where it is.
        folder: PathBuf,
        /// How it is open.
        why: String,
    },
    /// The control socket cannot be opened.
    #[error("{0}")]
    Socket(#[from] SocketError),
    /// The control socket that was passed on is another one than the one that is configured.
    #[error(
        "control socket: {} was passed on by the service manager, and {} is configured (--control, --socket or control.socket): \
         it would be served at one of them only",
        passed.display(), configured.display()
    )]
    OtherSocket {
        /// Where the one that was passed on is.
        passed: PathBuf,
        /// Where it is said to be.
        configured: PathBuf,
    },
    /// A socket that the service manager passed on cannot be used.
    #[error("{0}")]
    Inherited(#[from] InheritError),
    /// The module store cannot be used.
    #[error("{0}")]
    Store(LoadError),
    /// The engine does not start.
    #[error("{0}")]
    Engine(EngineError),
    /// A device does not come up.
    #[error("{place}: device `{name}`: {error}")]
    Device {
        /// The device.
        name: String,
        /// Where it is defined.
        place: Place,
        /// Why.
        error: String,
        /// What to do about it; may be empty.
        hint: String,
    },
    /// The NBD server does not start.
    #[error("{0}")]
    Nbd(NbdError),
    /// A queue did not end, and was left behind.
    #[error("a queue did not stop in {} s: what its devices had in flight was cut off; the log says which", .0.as_secs())]
    NotStopped(std::time::Duration),
    /// A system call failed.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl ServeError {
    /// What to do about it; may be empty.
    pub fn hint(&self) -> &str {
        match self {
            ServeError::NoDevice => {
                "name one: --device vol0=file:disk.img, or a table [device.vol0] in the file of --config"
            }
            ServeError::NoKeys => {
                "--trusted-keys DIR names a folder of public keys (*.pub, made by minisign -G)"
            }
            ServeError::FolderInUse { what: "state", .. } => {
                "one daemon has it at a time: stop the other one, or choose another folder with --state DIR"
            }
            ServeError::FolderInUse { .. } => {
                "one daemon has it at a time: stop the other one, or choose another folder with `parameters` in the \
                 configuration"
            }
            ServeError::OtherSocket { .. } => {
                "say the same in ListenStream= of the socket unit and in the configuration, or in one of them"
            }
            ServeError::Store(_) => "--store DIR chooses another folder for the module store",
            ServeError::Nbd(_) => "--nbd unix:PATH or --nbd tcp:HOST:PORT chooses where NBD clients connect",
            ServeError::Device { hint, .. } => hint,
            _ => "",
        }
    }
}
