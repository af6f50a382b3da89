//! The command line of profiles and of the files that parameters are saved in.

use crate::args::ports::{Ports, Which};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `steadfast profile`
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// All profiles: those that come with Steadfast, and your own
    List,
    /// The values of a profile, each with its reason and where it is said
    Show {
        /// The profile
        profile: String,
    },
    /// What applying a profile to ports would change; exits with 2 when there is something
    Diff {
        /// The profile
        profile: String,
        /// The port
        #[arg(required_unless_present_any = ["adapter", "all_of"], conflicts_with_all = ["adapter", "all_of"])]
        port: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Save a profile's values for ports: for all of them, or none. Live parameters take effect at once, the
    /// others with `activate`
    Apply {
        /// The profile
        profile: String,
        #[command(flatten)]
        ports: Ports,
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a profile of what is saved for a port
    Save(ProfileSave),
}

/// `steadfast profile save`
#[derive(Args, Debug)]
pub(crate) struct ProfileSave {
    /// Its name
    pub(crate) profile: String,
    /// The port
    pub(crate) port: String,
    /// What it is for, in a line
    #[arg(long, value_name = "TEXT")]
    pub(crate) about: Option<String>,
    /// Put it in the place of the one that has the name
    #[arg(long)]
    pub(crate) replace: bool,
}

/// `steadfast config`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Examine the files that parameters are saved in; exits with 6 when something is wrong
    Lint {
        /// This file, as if it were in the folder of the parameters; its name says of which driver it is
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take a file in the classic form (`name=value;`, `DRIVER0-name=value;`) into the driver's file: all
    /// of it, or nothing. Live parameters take effect at once, the others with `activate`
    Import {
        /// The driver
        driver: String,
        /// The file; - for standard input
        file: PathBuf,
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Print what is saved for a driver
    Export {
        /// The driver
        driver: String,
        /// In the classic form
        #[arg(long)]
        classic: bool,
    },
}
