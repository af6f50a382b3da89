use clap::{Args, ValueEnum};
use std::path::PathBuf;

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
