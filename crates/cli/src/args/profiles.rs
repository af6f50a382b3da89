//! The command line of profiles and of the files that parameters are saved in.

use crate::args::ports::{Ports, Which};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `steadfast profile`
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// List all profiles: those that come with Steadfast, and your own
    List,
    /// Show a profile's values, each with its reason and origin
    Show {
        /// The profile
        profile: String,
    },
    /// Show what applying a profile to ports would change; exits with 2 if anything would
    Diff {
        /// The profile
        profile: String,
        /// The port
        #[arg(required_unless_present_any = ["adapter", "all_of"], conflicts_with_all = ["adapter", "all_of"])]
        port: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Save a profile's values for ports, for all or none; live parameters take effect at once, the others with
    /// `activate`
    Apply {
        /// The profile
        profile: String,
        #[command(flatten)]
        ports: Ports,
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a profile from a port's saved values
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
    /// Replace the profile of that name
    #[arg(long)]
    pub(crate) replace: bool,
}

/// `steadfast config`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the files that parameters are saved in; exits with 6 if something is wrong
    Lint {
        /// Check this file as if it were in the parameters' folder; its name is the driver's
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Import a file in the classic form (`name=value;`, `DRIVER0-name=value;`), all of it or nothing; live
    /// parameters take effect at once, the others with `activate`
    Import {
        /// The driver
        driver: String,
        /// The file; - for standard input
        file: PathBuf,
        /// Only show what would be done
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
