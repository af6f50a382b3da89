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
use crate::args::trial::ShadowArgs;
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
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Tables as wide as what is in them, a line for each row; otherwise they take 120 columns at most
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
    /// For programs: the control API's own documents, and what is wrong as one object on standard error
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon until SIGTERM
    Serve(Serve),
    /// How things are, on one screen; exits with 6 when something needs somebody
    Status,
    /// Look at devices, add them, take them away
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Adapters: a driver bound to one piece of hardware, with its ports
    #[command(subcommand)]
    Adapter(AdapterCommand),
    /// Ports: driver instances, what is updated and taken away
    #[command(subcommand)]
    Port(PortCommand),
    /// Clients: connections to the devices, who has them and what they do
    #[command(subcommand)]
    Client(ClientCommand),
    /// Read the configuration again and attach what is new; announce what has grown
    Rescan {
        /// Only this port
        port: Option<String>,
    },
    /// Look at drivers, load and unload them
    #[command(subcommand)]
    Driver(DriverCommand),
    /// What was done to devices: every update, also those that were refused
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// Replace the driver of a device that is in use
    Update(Update),
    /// Look at the parameters of a port, and change them
    #[command(subcommand)]
    Param(ParamCommand),
    /// Named sets of values: look at them, compare, apply, make your own
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// The files that parameters are saved in: examine, import, export
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What an activation would change; exits with 2 when there is something
    Plan(PlanArgs),
    /// Initialise a port anew with the parameters that are saved; other ports notice nothing
    Activate(Activate),
    /// Keep what was activated with --confirm-within
    Confirm(Confirm),
    /// What was done about the parameters of a port, the newest last
    History {
        /// The port
        port: String,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1000))]
        limit: u32,
    },
    /// Go back to the parameters before the last activation
    Rollback(Rollback),
    /// See it work: a verified load on two devices while their drivers are replaced again and again
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
    /// Configuration file (TOML); options below win over it
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
    /// Queues never sleep: a processor each, for the shortest latency
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
    /// Take only modules that a trusted key has signed
    #[arg(long)]
    pub(crate) require_signed: bool,
    /// A port's driver may be replaced once until the daemon starts again (see --allow-again)
    #[arg(long)]
    pub(crate) once_per_start: bool,
    /// Take only releases that say the oldest version that they can update from
    #[arg(long)]
    pub(crate) require_min_from: bool,
    /// Folder to search for driver modules first; repeatable
    #[arg(long, value_name = "DIR")]
    pub(crate) modules: Vec<PathBuf>,
    /// Folder to watch for newer modules; repeatable
    #[arg(long, value_name = "DIR")]
    pub(crate) watch: Vec<PathBuf>,
    /// What devices do about newer modules in a watched folder, where the configuration does not say:
    /// off, notify or auto
    #[arg(long, value_name = "POLICY", requires = "watch")]
    pub(crate) auto_update: Option<AutoUpdate>,
    /// Say what the configuration is good for and do nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Least severe messages that are logged: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "STEADFAST_LOG")]
    pub(crate) log: tracing::Level,
    /// How the log looks: text, json, journal (a level for the journal and no time), or auto, which is
    /// journal where the journal reads it and else text
    #[arg(long, value_name = "FORMAT", default_value = "auto", env = "STEADFAST_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// `steadfast device`
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// All devices, one line each
    List,
    /// Everything about one device
    Show {
        /// The device
        device: String,
    },
    /// It is `param set --temporary` now; says so
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
    /// Take a device away while the daemon runs
    Remove {
        /// The device
        device: String,
        #[command(flatten)]
        force: Force,
    },
    /// The state that a device's driver would leave for its successor now
    State {
        /// The device
        device: String,
    },
    /// Devices as they change, until interrupted
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
    /// The newest receipts, one line each, the newest last
    List {
        /// Only those of this device
        #[arg(long)]
        device: Option<String>,
        /// Only those that ended so
        #[arg(long, value_enum)]
        outcome: Option<OutcomeArg>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1000))]
        limit: u32,
    },
    /// Everything about one update, with a timeline of its phases
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
    /// Nothing was touched
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
    /// The daemon ended in the midst of it
    Interrupted,
}

/// `steadfast driver`
#[derive(Debug, Subcommand)]
pub(crate) enum DriverCommand {
    /// Driver modules that the daemon can find
    List {
        /// List modules here, without a daemon; repeatable
        #[arg(long, value_name = "DIR")]
        modules: Vec<PathBuf>,
    },
    /// Check a module as the replacement of a device's driver, or by itself; nothing is changed. Exits
    /// with 6 when something speaks against it
    Check(DriverCheck),
    /// Map a driver module, which then stays in memory without a port
    Load {
        /// Path of a module, or a driver name such as file or file@1.1.0
        module: String,
    },
    /// Let a driver module go that no port uses, and say whether it left memory
    Unload {
        /// A driver name, NAME@VERSION, or 8 digits of the module's hash
        driver: String,
    },
    /// Put a module through the conformance suite; exits with 6 when it does not pass
    Test(DriverTest),
    /// Begin a driver: writes a small, complete project that builds
    New(DriverNew),
    /// Replace a device's driver by every new build of it, until interrupted
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
    /// Put other contents under clients
    #[arg(long)]
    pub(crate) force: bool,
    /// A parameter that would change together with the driver; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_param)]
    pub(crate) set: Vec<(String, String)>,
    /// A parameter that would go back to the driver's default together with the change; repeatable
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
    /// Go to an older version
    #[arg(long)]
    pub(crate) allow_older: bool,
    /// Go to a driver of another name, and lose the state of the running one
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Skip releases that the module wants to come from, where the state can be handed on
    #[arg(long)]
    pub(crate) allow_skip: bool,
    /// Replace the driver again although policy allows it once per start
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
    /// Go back to the module that ran before; asked for once more, it goes forward again, but not to what has
    /// gone back by itself
    #[arg(long, conflicts_with_all = ["module", "allow_older", "allow_other", "allow_skip", "allow_again", "set", "unset", "force", "end_probation"])]
    pub(crate) revert: bool,
    /// With --revert: to the module that the update of this receipt brought
    #[arg(long, value_name = "RECEIPT", requires = "revert")]
    pub(crate) to: Option<u64>,
    /// With --revert: only say what would be done; exits with 6 when something speaks against it
    #[arg(long, requires = "revert", conflicts_with = "probation")]
    pub(crate) dry_run: bool,
    /// End the trial (--shadow) that somebody has begun on the device; nothing is replaced
    #[arg(long, conflicts_with_all = ["module", "revert", "probation", "end_probation", "shadow", "set", "unset", "mode", "deadline", "allow_older", "allow_other", "allow_skip", "allow_again", "adapter", "all_of", "rolling"])]
    pub(crate) end_trial: bool,
    /// Watch the new driver for so long, and put the one before back if it does worse; exits with 4 then, and
    /// with 7 when there were too few requests to judge it by
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) probation: Option<Duration>,
    /// Share of requests that may fail on probation, such as 0.5% (default: 0.1% more than before)
    #[arg(long, value_name = "SHARE", value_parser = parse_share, requires = "probation")]
    pub(crate) max_error_rate: Option<f64>,
    /// Latency that is allowed on probation: a factor of the one before such as 2x, or a time such as
    /// 10ms; for the mean, and 99 of 100 requests (default: 3x)
    #[arg(long, value_name = "BOUND", value_parser = parse_latency_bound, requires = "probation")]
    pub(crate) max_latency: Option<LatencyBound>,
    /// On probation: go back also when there were too few requests to judge the driver by
    #[arg(long, requires = "probation")]
    pub(crate) require_judged: bool,
    /// End the probation that the device is on, which is in the way otherwise
    #[arg(long)]
    pub(crate) end_probation: bool,
    /// Make the configuration name the new driver, in its own file, and save the values of --set and --unset, once it
    /// serves and its probation is passed: the next start comes up with what a version there says
    #[arg(long, conflicts_with_all = ["revert", "end_trial", "adapter", "all_of", "rolling"])]
    pub(crate) save: bool,
    /// What to do with requests in flight (default: the least disruptive that both drivers can do)
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArg>,
    /// How long requests in flight may be waited for; then the old driver goes on (default: as the port's
    /// drain_timeout says)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// What to do when requests in flight would have to be waited for
    #[arg(long, value_enum, default_value_t = IfBusyArg::Wait)]
    pub(crate) if_busy: IfBusyArg,
    /// What is allowed beyond the ordinary
    #[command(flatten)]
    pub(crate) allow: Allow,
    /// Put the running driver away even if it does not let go, does not return from a call or does not finish its
    /// requests by the deadline: its state is lost, requests fail that the next one cannot take over, and its
    /// module stays in memory
    #[arg(long, conflicts_with_all = ["revert", "shadow"])]
    pub(crate) abandon: bool,
    /// A parameter that changes together with the driver, and only if it comes to serve; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_param)]
    pub(crate) set: Vec<(String, String)>,
    /// A parameter that goes back to the driver's default together with the change; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,
    /// Put another file behind the port (--set path=...) even when clients use it: they find other contents
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) shadow: ShadowArgs,
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
    /// Wait, at most until the deadline
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
            |also: &[&str]| parse(&[&["vol0", "file", "--shadow", "5s", "--shadow-only"], also].concat());
        assert!(trial(&[]).is_ok());
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
