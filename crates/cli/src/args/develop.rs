use crate::args::{ModeArg, parse_param};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use steadfast_daemon::parse_duration;

/// `steadfast driver new`
#[derive(Args, Debug)]
pub(crate) struct DriverNew {
    /// Name of the driver: lower-case letters, digits and `-`
    pub(crate) name: String,
    /// Language it is written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(crate) lang: Language,
    /// Folder to make (default: the name)
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Rust: build with the SDK in this folder (`crates` of Steadfast's sources) and not with a copy
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk: Option<PathBuf>,
}

/// Languages that a driver can be begun in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// With the SDK, which is put beside it
    Rust,
    /// With the header, which is put beside it
    C,
}

/// `steadfast driver watch`
#[derive(Args, Debug)]
pub(crate) struct DriverWatch {
    /// The device
    pub(crate) device: String,
    /// A module file, or a project's folder: the newest module that is built in it
    pub(crate) path: PathBuf,
    /// Run this shell command in the project's folder, first and whenever a source changes
    #[arg(long, value_name = "COMMAND")]
    pub(crate) build: Option<String>,
    /// What to do with requests in flight (default: the least disruptive that both drivers can do)
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArg>,
    /// How long to wait for requests in flight before giving up and keeping the old driver
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) deadline: Duration,
    /// A parameter to change together with the driver, if the update succeeds; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_param)]
    pub(crate) set: Vec<(String, String)>,
    /// Allow a driver of another name; the running driver's state is lost
    #[arg(long)]
    pub(crate) allow_other: bool,
}
