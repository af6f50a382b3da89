//! The command line of parameters: what is saved, what is in force, and how the one becomes the other.

use crate::args::parse_param;
use crate::args::ports::{Ports, Which};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;
use steadfast_daemon::parse_duration;

/// `steadfast param`
#[derive(Debug, Subcommand)]
pub(crate) enum ParamCommand {
    /// List a port's parameters: in force, saved, pending
    List {
        /// The port
        port: String,
        /// Only those whose saved value is not in force
        #[arg(long)]
        pending: bool,
    },
    /// Print the value in force of one parameter
    Get {
        /// The port
        port: String,
        /// The parameter
        name: String,
        /// Print the saved value instead
        #[arg(long)]
        saved: bool,
    },
    /// Show everything about one parameter
    Explain {
        /// The port
        port: String,
        /// The parameter
        name: String,
    },
    /// Set and save values, all or none; live parameters take effect at once, the others with `activate`
    Set(ParamSet),
    /// Unset saved values, so that the layer below applies again
    Unset(ParamUnset),
}

/// `steadfast param set`
#[derive(Args, Debug)]
pub(crate) struct ParamSet {
    /// The port
    pub(crate) port: String,
    /// New values
    #[arg(value_name = "NAME=VALUE", value_parser = parse_param, required_unless_present_any = ["unset", "undefine"])]
    pub(crate) set: Vec<(String, String)>,
    /// Unset this parameter here, so that the layer below applies again; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,
    /// Set this parameter to the driver's default, whatever lower layers say; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) undefine: Vec<String>,
    /// Change live parameters at once without saving them; the next activation or start undoes it, and --unset means
    /// the driver's default
    #[arg(long, conflicts_with_all = ["global", "dry_run", "undefine"])]
    pub(crate) temporary: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

/// `steadfast param unset`
#[derive(Args, Debug)]
pub(crate) struct ParamUnset {
    /// The port
    pub(crate) port: String,
    /// The parameters
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) how: How,
}

/// How saved values are changed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct How {
    /// For every port of the port's driver that does not set it itself
    #[arg(long)]
    pub(crate) global: bool,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `steadfast plan`
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) ports: Ports,
    /// Keep it in a file, for `activate --plan`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `steadfast activate`
#[derive(Args, Debug)]
pub(crate) struct Activate {
    /// The ports, one after the other; it ends with the first that fails
    #[arg(required_unless_present_any = ["plan", "adapter", "all_of"], conflicts_with_all = ["adapter", "all_of"], value_name = "PORT",
        value_delimiter = ',')]
    pub(crate) ports: Vec<String>,
    #[command(flatten)]
    pub(crate) which: Which,
    /// One port after the other; the first that fails ends it, and those already activated go back to what was in
    /// force for them before, the last one first. Exits with 4 then. Without it they stay as they are
    #[arg(long, conflicts_with_all = ["plan", "delay", "confirm_within", "wait", "reload", "call_off"])]
    pub(crate) rolling: bool,
    /// What `plan --out` wrote: its ports, each only if nothing has changed since; exits with 5 otherwise
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ports", "adapter", "all_of"])]
    pub(crate) plan: Option<PathBuf>,
    /// Begin after so long; says how long to wait and does not, unless --wait
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) delay: Option<Duration>,
    /// Only when no I/O flows; exits with 3 otherwise, and changes nothing
    #[arg(long, conflicts_with = "hold")]
    pub(crate) idle_only: bool,
    /// Hold I/O meanwhile (this is the default)
    #[arg(long)]
    pub(crate) hold: bool,
    /// How long requests in flight may be waited for; then the port goes on as it was (default: the port's
    /// own)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// Each port goes back by itself, unless `confirm PORT` comes within so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) confirm_within: Option<Duration>,
    /// With --delay: wait until it is over
    #[arg(long, requires = "delay")]
    pub(crate) wait: bool,
    /// Even when clients use the port: take it down (admin_state=down), so that their requests end with an error,
    /// or put another file behind it, so that they find other contents
    #[arg(long)]
    pub(crate) force: bool,
    /// Writes that were acknowledged may be lost, as `device show` says: go on with what is there, so that flushes
    /// succeed again; with clients this takes --force
    #[arg(long)]
    pub(crate) accept_loss: bool,
    /// Put the running driver away even if it does not let go, does not return from a call or does not finish its
    /// requests in time: its state is lost, what it has not answered fails, and its module stays in memory
    #[arg(long, conflicts_with = "reload")]
    pub(crate) abandon: bool,
    /// Every port that runs the port's module, one after the other, for parameters of the class reload; when
    /// one fails, those before it go back
    #[arg(long, conflicts_with_all = ["plan", "delay", "confirm_within", "wait", "accept_loss", "adapter", "all_of"])]
    pub(crate) reload: bool,
    /// Call off what was asked for with --delay and has not begun
    #[arg(long, conflicts_with_all = ["plan", "delay", "idle_only", "hold", "drain_timeout", "confirm_within",
        "wait", "force", "abandon", "accept_loss", "reload"])]
    pub(crate) call_off: bool,
}

/// `steadfast confirm`
#[derive(Args, Debug)]
pub(crate) struct Confirm {
    #[command(flatten)]
    pub(crate) ports: Ports,
}

/// `steadfast rollback`
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// The port
    pub(crate) port: String,
    /// To what was in force after this receipt (see `history`)
    #[arg(long, value_name = "RECEIPT")]
    pub(crate) to: Option<u64>,
    /// Only when no I/O flows
    #[arg(long)]
    pub(crate) idle_only: bool,
    /// How long requests in flight may be waited for
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// Take the port down even when clients use it
    #[arg(long)]
    pub(crate) force: bool,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
}
