//! The command line.

pub(crate) mod develop;
pub(crate) mod doors;
pub(crate) mod params;
pub(crate) mod ports;
pub(crate) mod profiles;
pub(crate) mod trial;

use crate::args::doors::{ClientCommand, Doors};
use crate::args::params::{Activate, Confirm, ParamCommand, PlanArgs, Rollback};
use crate::args::ports::{AdapterCommand, DeviceAdd, Force, PortCommand, Several};
use crate::args::profiles::{ConfigCommand, ProfileCommand};
use crate::args::trial::TrialArgs;
use crate::develop::{DriverNew, DriverWatch};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use steadfast_api::AutoUpdate;
use steadfast_daemon::log::LogFormat;
use steadfast_daemon::{LatencyBound, parse_duration, parse_latency_bound, parse_share};

/// Keeps a device in service while the driver underneath it is replaced.
#[derive(Debug, Parser)]
#[command(name = "steadfast", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) general: General,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What goes with every command.
#[derive(Args, Debug)]
pub(crate) struct General {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", env = "STEADFAST_SOCKET")]
    pub(crate) socket: Option<PathBuf>,
    /// Output format
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Don't limit tables to 120 columns
    #[arg(long, global = true, env = "STEADFAST_WIDE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) wide: bool,
}

/// `steadfast update` alone: all that it does not need of the other commands takes longer to set up than the update
/// itself.
#[derive(Debug, Parser)]
#[command(name = "steadfast", disable_help_subcommand = true)]
struct OnlyUpdate {
    #[command(flatten)]
    general: General,
    #[command(subcommand)]
    command: UpdateCommand,
}

#[derive(Debug, Subcommand)]
enum UpdateCommand {
    Update(Update),
}

impl Cli {
    /// The command line of this process.
    pub(crate) fn of_process() -> Result<Cli, clap::Error> {
        let args: Vec<OsString> = std::env::args_os().collect();
        Cli::short_way(&args).map_or_else(|| Cli::try_parse_from(&args), Ok)
    }

    /// Of an update that is asked for as it should be. Whatever else it is, help too, is the whole parser's to say.
    fn short_way(args: &[OsString]) -> Option<Cli> {
        if args.get(1)? != "update" {
            return None;
        }
        let OnlyUpdate { general, command: UpdateCommand::Update(update) } =
            OnlyUpdate::try_parse_from(args).ok()?;
        Some(Cli { general, command: Command::Update(update) })
    }
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 error, 2 plan found changes, 3 busy, \
4 failed and rolled back, 5 stale plan, 6 verification failed, 7 too few requests to judge by.";

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs: the control API's documents; an error is one object on standard error
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon until SIGTERM
    Serve(Serve),
    /// Show whether everything is well, on one screen; exits with 6 if something needs attention
    Status,
    /// List, show, add and remove devices
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Manage adapters: a driver bound to one piece of hardware, with its ports
    #[command(subcommand)]
    Adapter(AdapterCommand),
    /// Manage ports: driver instances, the unit of update and removal
    #[command(subcommand)]
    Port(PortCommand),
    /// List, show and disconnect clients
    #[command(subcommand)]
    Client(ClientCommand),
    /// Reread the configuration: attach what is new, announce what has grown
    Rescan {
        /// Only this port
        port: Option<String>,
    },
    /// List, check, load, unload and develop drivers
    #[command(subcommand)]
    Driver(DriverCommand),
    /// Show what was done to devices: every update, refused ones included
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// Replace the driver of a device in use
    Update(Update),
    /// Show and change the parameters of a port
    #[command(subcommand)]
    Param(ParamCommand),
    /// Show, compare, apply and save named sets of values
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Check, import and export the files that parameters are saved in
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show what an activation would change; exits with 2 if anything would
    Plan(PlanArgs),
    /// Reinitialise a port with its saved parameters; other ports are not affected
    Activate(Activate),
    /// Keep what `activate --confirm-within` put in force
    Confirm(Confirm),
    /// Show the history of a port's parameters, newest last
    History {
        /// The port
        port: String,
        /// Show at most N
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1000))]
        limit: u32,
    },
    /// Revert to the parameters before the last activation
    Rollback(Rollback),
    /// See it work: replace the drivers of two devices again and again under a verified load
    Demo(Demo),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `steadfast serve`
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Configuration file (TOML); command-line options override it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A device, NAME=DRIVER:TARGET[,KEY=VALUE...], such as vol0=file:disk.img; repeatable
    #[arg(long, value_name = "SPEC")]
    pub(crate) device: Vec<String>,
    #[command(flatten)]
    pub(crate) doors: Doors,
    /// Queues: threads that do I/O
    #[arg(long, value_name = "N")]
    pub(crate) queues: Option<usize>,
    /// Queues poll and never sleep: shortest latency, one processor each
    #[arg(long)]
    pub(crate) busy_poll: bool,
    /// Folder of the module store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Folder of the history of updates (default: `state` in the store)
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Folder of public keys (*.pub) whose modules are trusted
    #[arg(long, value_name = "DIR")]
    pub(crate) trusted_keys: Option<PathBuf>,
    /// Accept only modules signed by a trusted key
    #[arg(long)]
    pub(crate) require_signed: bool,
    /// Allow one driver replacement per port until the daemon restarts (see --allow-again)
    #[arg(long)]
    pub(crate) once_per_start: bool,
    /// Accept only modules that declare the oldest version they can update from
    #[arg(long)]
    pub(crate) require_min_from: bool,
    /// Folder to search for driver modules first; repeatable
    #[arg(long, value_name = "DIR")]
    pub(crate) modules: Vec<PathBuf>,
    /// Folder to watch for newer modules; repeatable
    #[arg(long, value_name = "DIR")]
    pub(crate) watch: Vec<PathBuf>,
    /// What to do about newer modules in a watched folder, unless the configuration says: off, notify or
    /// auto
    #[arg(long, value_name = "POLICY", requires = "watch")]
    pub(crate) auto_update: Option<AutoUpdate>,
    /// Check the configuration, report, and exit
    #[arg(long)]
    pub(crate) check: bool,
    /// Minimum severity to log: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "STEADFAST_LOG")]
    pub(crate) log: tracing::Level,
    /// Log format: text, json, journal (levels for the journal, no time), or auto: journal under systemd, else
    /// text
    #[arg(long, value_name = "FORMAT", default_value = "auto", env = "STEADFAST_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// `steadfast device`
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// List all devices
    List,
    /// Show everything about one device
    Show {
        /// The device
        device: String,
    },
    /// Replaced by `param set --temporary`; says so
    #[command(hide = true)]
    Set {
        /// The device
        device: String,
        /// New values
        set: Vec<String>,
        /// Back to the driver's default
        #[arg(long)]
        unset: Vec<String>,
    },
    /// Add a device while the daemon runs
    Add(DeviceAdd),
    /// Remove a device while the daemon runs
    Remove {
        /// The device
        device: String,
        #[command(flatten)]
        force: Force,
    },
    /// Show the state that the device's driver would hand to its successor
    State {
        /// The device
        device: String,
    },
    /// Print devices as they change, until interrupted
    Watch {
        /// Only this device
        device: Option<String>,
        /// How often to look
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
        interval: Duration,
    },
}

/// `steadfast receipt`
#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// List the newest receipts, newest last
    List {
        /// Only this device's
        #[arg(long)]
        device: Option<String>,
        /// Only those with this outcome
        #[arg(long, value_enum)]
        outcome: Option<OutcomeArg>,
        /// Show at most N
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1000))]
        limit: u32,
    },
    /// Show everything about one update, with a timeline of its phases
    Show {
        /// Its number, or `last`
        id: ReceiptId,
        /// With `last`: of this device
        #[arg(long)]
        device: Option<String>,
    },
}

/// Which receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiptId {
    /// The newest.
    Last,
    /// The one of this number.
    Number(u64),
}

impl FromStr for ReceiptId {
    type Err = String;

    fn from_str(text: &str) -> Result<ReceiptId, String> {
        match text {
            "last" => Ok(ReceiptId::Last),
            number => number.parse().map(ReceiptId::Number).map_err(|_| "a number, or `last`".to_owned()),
        }
    }
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutcomeArg {
    /// The new driver serves
    Done,
    /// Nothing was changed
    Refused,
    /// Requests were in flight, or another update
    Busy,
    /// The new driver failed and the old one serves
    #[value(alias = "rolled_back")]
    RolledBack,
    /// Neither driver works
    Stranded,
    /// Only a trial was asked for, and it passed
    Tried,
    /// The daemon ended during it
    Interrupted,
}

/// `steadfast driver`
#[derive(Debug, Subcommand)]
pub(crate) enum DriverCommand {
    /// List driver modules that the daemon can find
    List {
        /// List modules here, without a daemon; repeatable
        #[arg(long, value_name = "DIR")]
        modules: Vec<PathBuf>,
    },
    /// Check a module, as a replacement for a device's driver or by itself, and change nothing; exits with 6 if a
    /// check fails
    Check(DriverCheck),
    /// Load a driver module, and keep it in memory without a port
    Load {
        /// Path of a module, or a driver name such as file or file@1.1.0
        module: String,
    },
    /// Unload a driver module that no port uses, and say whether it left memory
    Unload {
        /// A driver name, NAME@VERSION, or 8 digits of the module's hash
        driver: String,
    },
    /// Run the conformance suite against a module; exits with 6 if it fails
    Test(DriverTest),
    /// Create a small, complete driver project that builds
    New(DriverNew),
    /// Replace a device's driver with every new build of it, until interrupted
    Watch(DriverWatch),
}

/// `steadfast driver check`
#[derive(Args, Debug)]
pub(crate) struct DriverCheck {
    /// The device, and the module: a path, or a driver name such as file or file@1.1.0. Without a device
    /// the module is checked by itself
    #[arg(value_name = "[DEVICE] MODULE", required = true, num_args = 1..=2)]
    pub(crate) what: Vec<String>,
    /// The device, said in another way
    #[arg(long, hide = true)]
    pub(crate) device: Option<String>,
    /// What would be done with requests in flight
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArg>,
    /// What is allowed beyond the ordinary
    #[command(flatten)]
    pub(crate) allow: Allow,
    /// Allow other contents under clients
    #[arg(long)]
    pub(crate) force: bool,
    /// A parameter that would change together with the driver; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_param)]
    pub(crate) set: Vec<(String, String)>,
    /// A parameter that would return to the driver's default together with the change; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,
    /// For a module by itself: folder of public keys (*.pub) whose signatures are trusted. With a device
    /// the daemon's count
    #[arg(long, value_name = "DIR")]
    pub(crate) trusted_keys: Option<PathBuf>,
}

/// What an operator allows beyond the ordinary.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Allow {
    /// Allow an older version
    #[arg(long)]
    pub(crate) allow_older: bool,
    /// Allow a driver of another name; the running driver's state is lost
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Allow skipping releases that the module requires, if the state can be handed on
    #[arg(long)]
    pub(crate) allow_skip: bool,
    /// Allow another replacement where policy allows one per start
    #[arg(long)]
    pub(crate) allow_again: bool,
}

/// `steadfast driver test`
#[derive(Args, Debug)]
pub(crate) struct DriverTest {
    /// Path of a module, or a driver name such as file or file@1.1.0
    pub(crate) module: String,
    /// A parameter of the driver; repeatable. What the device holds is destroyed
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_param)]
    pub(crate) param: Vec<(String, String)>,
    /// Another release of the driver, to update from and back to
    #[arg(long, value_name = "MODULE")]
    pub(crate) from: Option<String>,
    /// Only cases whose name contains this
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Option<String>,
    /// Where the random numbers begin; the same seed repeats the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How often the driver is replaced in each case that does so
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) swaps: u32,
}

pub(crate) fn parse_param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not NAME=VALUE".to_owned()),
    }
}

/// `steadfast update`
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// The device; several with commas between them
    pub(crate) device: String,
    /// Path of a module, or a driver name such as file or file@1.1.0
    #[arg(required_unless_present_any = ["revert", "end_trial", "adapter", "all_of"])]
    pub(crate) module: Option<String>,
    /// Revert to the module that ran before; a second time goes forward again, but never to a module that was
    /// reverted automatically
    #[arg(long, conflicts_with_all = ["module", "allow_older", "allow_other", "allow_skip", "allow_again", "set", "unset", "force", "end_probation"])]
    pub(crate) revert: bool,
    /// With --revert: to the module that this receipt's update installed
    #[arg(long, value_name = "RECEIPT", requires = "revert")]
    pub(crate) to: Option<u64>,
    /// With --revert: only show what would be done; exits with 6 if it would be refused
    #[arg(long, requires = "revert", conflicts_with = "probation")]
    pub(crate) dry_run: bool,
    /// End the device's trial (--trial); nothing is replaced
    #[arg(long, conflicts_with_all = ["module", "revert", "probation", "end_probation", "trial", "set", "unset", "mode", "deadline", "allow_older", "allow_other", "allow_skip", "allow_again", "adapter", "all_of", "rolling"])]
    pub(crate) end_trial: bool,
    /// Watch the new driver for this long, and revert if it does worse (exits with 4); exits with 7 if there were
    /// too few requests to judge by
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) probation: Option<Duration>,
    /// Fraction of requests that may fail on probation, such as 0.5% (default: 0.1% more than before)
    #[arg(long, value_name = "SHARE", value_parser = parse_share, requires = "probation")]
    pub(crate) max_error_rate: Option<f64>,
    /// Latency allowed on probation, for the mean and the 99th percentile: a factor of the old driver's such as 2x,
    /// or a time such as 10ms (default: 3x)
    #[arg(long, value_name = "BOUND", value_parser = parse_latency_bound, requires = "probation")]
    pub(crate) max_latency: Option<LatencyBound>,
    /// On probation: revert also if there were too few requests to judge by
    #[arg(long, requires = "probation")]
    pub(crate) require_judged: bool,
    /// End the device's probation, which otherwise blocks the update
    #[arg(long)]
    pub(crate) end_probation: bool,
    /// Write the new driver and the values of --set and --unset to the configuration, once it serves and has passed
    /// its probation, so that the next start uses them
    #[arg(long, conflicts_with_all = ["revert", "end_trial", "adapter", "all_of", "rolling"])]
    pub(crate) save: bool,
    /// What to do with requests in flight (default: the least disruptive that both drivers can do)
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArg>,
    /// How long to wait for requests in flight before giving up and keeping the old driver (default: the port's
    /// drain_timeout)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// What to do if requests in flight would have to be waited for
    #[arg(long, value_enum, default_value_t = IfBusyArg::Wait)]
    pub(crate) if_busy: IfBusyArg,
    /// What is allowed beyond the ordinary
    #[command(flatten)]
    pub(crate) allow: Allow,
    /// Abandon the running driver if it does not let go, does not return, or does not finish its requests by the
    /// deadline: its state is lost, requests that the next one cannot take over fail, and its module stays in
    /// memory
    #[arg(long, conflicts_with_all = ["revert", "trial"])]
    pub(crate) abandon: bool,
    /// A parameter to change together with the driver, if the update succeeds; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_param)]
    pub(crate) set: Vec<(String, String)>,
    /// A parameter to return to the driver's default together with the driver; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,
    /// Allow another file behind a port that clients use (--set path=...): they will find other contents
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) trial: TrialArgs,
    #[command(flatten)]
    pub(crate) several: Several,
}

/// What to do with requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// The new driver takes them over; nothing is waited for
    Adopt,
    /// The old driver finishes what it has begun; the rest goes to the new one
    Split,
    /// The old driver finishes them
    Drain,
}

/// What to do when requests in flight would have to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfBusyArg {
    /// Wait until the deadline at most
    Wait,
    /// Change nothing and exit with 3
    Fail,
}

/// `steadfast demo`
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// How long to run
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// How many times to replace a driver, spread over that time (default: 40 a second)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) swaps: Option<u64>,
    /// Print the summary as JSON (the same as -o json)
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_update_has_a_module_or_goes_back() {
        let parse = |line: &[&str]| Cli::try_parse_from([&["steadfast", "update"], line].concat());
        assert!(parse(&["--revert", "vol0"]).is_ok() && parse(&["vol0", "--revert"]).is_ok());
        assert!(parse(&["vol0"]).is_err() && parse(&["vol0", "file", "--revert"]).is_err());
        let Ok(Cli { command: Command::Update(update), .. }) =
            parse(&["vol0", "file", "--probation", "30s", "--max-error-rate", "1%", "--max-latency", "2x"])
        else {
            panic!("it is valid");
        };
        assert_eq!(update.probation, Some(Duration::from_secs(30)));
        assert_eq!(update.max_latency, Some(LatencyBound::Factor(2.0)));
        assert!(parse(&["vol0", "file", "--max-latency", "2x"]).is_err(), "there is nothing to bound");
        assert!(parse(&["vol0", "file", "--probation", "30s", "--max-latency", "fast"]).is_err());
        let trial =
            |also: &[&str]| parse(&[&["vol0", "file", "--trial", "5s", "--trial-only"], also].concat());
        assert!(trial(&[]).is_ok());
        assert!(
            parse(&["vol0", "file", "--shadow", "5s", "--shadow-only"]).is_ok(),
            "as it was called before"
        );
        assert!(trial(&["--probation", "30s"]).is_err(), "nothing is replaced that could be watched");
        assert!(trial(&["--end-probation"]).is_err(), "nothing is replaced that it would be in the way of");
    }

    #[test]
    fn the_short_way_of_an_update_says_what_the_whole_parser_says() {
        let args = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for line in [
            "steadfast update vol0 file@1.1.0",
            "steadfast update vol0 ./m.so -o json --socket /s --wide --mode drain --deadline 500ms --set a=1 --force",
            "steadfast update --revert vol0 --dry-run",
            "steadfast update vol0,vol1 file --rolling",
        ] {
            let short = Cli::short_way(&args(line)).expect(line);
            let whole = Cli::try_parse_from(args(line)).expect(line);
            assert_eq!(format!("{short:?}"), format!("{whole:?}"));
        }
        for line in [
            "steadfast",
            "steadfast -o json update vol0 file",
            "steadfast update",
            "steadfast update vol0",
            "steadfast update vol0 file --help",
            "steadfast update vol0 file --no-such-option",
            "steadfast updates vol0 file",
        ] {
            assert!(Cli::short_way(&args(line)).is_none(), "{line}: not its to say");
        }
    }

    #[test]
    fn global_options_go_anywhere() {
        let line = ["steadfast", "update", "vol0", "file@1.1.0", "-o", "json", "--deadline", "500ms"];
        let cli = Cli::try_parse_from(line).expect("valid");
        assert_eq!(cli.general.output, Output::Json);
        match cli.command {
            Command::Update(update) => assert_eq!(update.deadline, Some(Duration::from_millis(500))),
            other => panic!("{other:?}"),
        }
    }
}
