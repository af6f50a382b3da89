//! The command line of adapters, ports and devices that come and go, and of updates of several ports.

use clap::{Args, Subcommand};

/// `steadfast adapter`
#[derive(Debug, Subcommand)]
pub(crate) enum AdapterCommand {
    /// All adapters, one line each
    List,
    /// One adapter and its ports
    Show {
        /// The adapter
        adapter: String,
    },
    /// Add an adapter with its ports while the daemon runs: all of them, or none
    Add(AdapterAdd),
    /// Take an adapter away, with all of its ports
    Remove {
        /// The adapter
        adapter: String,
        #[command(flatten)]
        force: Force,
    },
}

/// `steadfast adapter add`
#[derive(Args, Debug)]
pub(crate) struct AdapterAdd {
    /// Its name and its driver: a driver name, NAME@VERSION, or the path of a module
    #[arg(value_name = "NAME=DRIVER", value_parser = parse_adapter)]
    pub(crate) spec: (String, String),
    /// A port, PORT[:TARGET][,KEY=VALUE...], such as a:disk.img; its device is NAME-PORT; repeatable
    #[arg(long, value_name = "SPEC", required = true)]
    pub(crate) port: Vec<String>,
    #[command(flatten)]
    pub(crate) how: Temporary,
}

/// `steadfast port`
#[derive(Debug, Subcommand)]
pub(crate) enum PortCommand {
    /// List all ports, those without a device included
    List,
    /// Show everything about one port
    Show {
        /// The port
        port: String,
    },
    /// Add a port to an adapter while the daemon runs
    Add(PortAdd),
    /// Remove a port
    Remove {
        /// The port
        port: String,
        #[command(flatten)]
        force: Force,
    },
}

/// `steadfast port add`
#[derive(Args, Debug)]
pub(crate) struct PortAdd {
    /// The adapter
    pub(crate) adapter: String,
    /// The port, PORT[:TARGET][,KEY=VALUE...], such as b:disk.img; its device is ADAPTER-PORT
    #[arg(value_name = "PORT:TARGET")]
    pub(crate) spec: String,
    /// A driver or release different from that of the adapter's other ports
    #[arg(long, value_name = "DRIVER")]
    pub(crate) driver: Option<String>,
    #[command(flatten)]
    pub(crate) how: Temporary,
}

/// `steadfast device add`
#[derive(Args, Debug)]
pub(crate) struct DeviceAdd {
    /// The device, NAME=DRIVER:TARGET[,KEY=VALUE...], such as vol0=file:disk.img
    pub(crate) spec: String,
    #[command(flatten)]
    pub(crate) how: Temporary,
}

/// Whether what is added stays.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Temporary {
    /// Don't keep it over a restart of the daemon
    #[arg(long)]
    pub(crate) temporary: bool,
    /// Only show what would be added, or what is wrong with it
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Whether what is in use goes.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Force {
    /// Remove it even if clients use it: their requests fail and their connections close
    #[arg(long)]
    pub(crate) force: bool,
    /// Only show what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Several ports for `steadfast update`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Several {
    /// Every port of this adapter, by number
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all_of", "revert"])]
    pub(crate) adapter: Option<String>,
    /// Every port that runs this driver, by name
    #[arg(long, value_name = "DRIVER", conflicts_with = "revert")]
    pub(crate) all_of: Option<String>,
    /// One port after the other: if one fails, stop, revert those already updated, last one first, and exit with 4.
    /// Without it they stay updated
    #[arg(long, conflicts_with = "revert")]
    pub(crate) rolling: bool,
}

/// Ports by what they belong to, in the place of their names.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Which {
    /// Every port of this adapter, by number
    #[arg(long, value_name = "NAME", conflicts_with = "all_of")]
    pub(crate) adapter: Option<String>,
    /// Every port that runs this driver, by name
    #[arg(long, value_name = "DRIVER")]
    pub(crate) all_of: Option<String>,
}

impl Which {
    /// Whether it says which ports are meant.
    pub(crate) fn is_given(&self) -> bool {
        self.adapter.is_some() || self.all_of.is_some()
    }
}

/// The ports that are meant: by name, or by what they belong to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ports {
    /// The ports
    #[arg(required_unless_present_any = ["adapter", "all_of"], conflicts_with_all = ["adapter", "all_of"], value_name = "PORT",
        value_delimiter = ',')]
    pub(crate) ports: Vec<String>,
    #[command(flatten)]
    pub(crate) which: Which,
}

fn parse_adapter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, driver)) if !name.is_empty() && !driver.is_empty() => Ok((name.into(), driver.into())),
        _ => Err("not NAME=DRIVER, such as san0=file".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::args::Cli;
    use clap::Parser;

    #[test]
    fn what_is_added_and_removed_is_said_in_one_way() {
        let parse = |line: &[&str]| Cli::try_parse_from([&["steadfast"], line].concat());
        for good in [
            &["adapter", "add", "san0=file@1.0.0", "--port", "a:a.img", "--port", "b:b.img,direct=true"][..],
            &["adapter", "remove", "san0", "--force"],
            &["port", "add", "san0", "c:c.img", "--temporary"],
            &["port", "add", "san0", "c:c.img", "--driver", "file@1.1.0"],
            &["device", "add", "vol9=null:1M"],
            &["device", "remove", "vol9"],
            &["driver", "load", "file"],
            &["driver", "unload", "file@1.0.0"],
            &["rescan"],
            &["rescan", "vol0"],
            &["update", "a,b,c", "file", "--rolling"],
            &["update", "--adapter", "san0", "file", "--rolling", "--probation", "5s"],
            &["update", "--all-of", "file", "file@1.1.0"],
        ] {
            assert!(parse(good).is_ok(), "{good:?}: {:?}", parse(good).err());
        }
        for bad in [
            &["adapter", "add", "san0", "--port", "a:a.img"][..],
            &["adapter", "add", "san0=file"],
            &["update", "--adapter", "san0", "--all-of", "file", "file"],
            &["update", "vol0", "--revert", "--rolling"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
