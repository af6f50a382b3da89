//! The command line of the two front doors: who may connect to the daemon's sockets, and how many; and of the clients
//! that are there.

use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;
use steadfast_daemon::{
    Config, NbdLimits, parse_client_time, parse_clients, parse_socket_group, parse_socket_mode,
};

/// What `steadfast serve` is told about its sockets.
#[derive(Args, Debug)]
pub(crate) struct Doors {
    /// Where NBD clients connect, unix:PATH or tcp:HOST:PORT; repeatable
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) nbd: Vec<String>,
    /// Mode of NBD's Unix sockets: 0600, 0660 or 0666 (default: 0600, and 0660 with --nbd-group)
    #[arg(long, value_name = "MODE", value_parser = parse_socket_mode)]
    nbd_mode: Option<u32>,
    /// Group that NBD's Unix sockets are given to, a name or a number
    #[arg(long, value_name = "GROUP", value_parser = parse_socket_group)]
    nbd_group: Option<u32>,
    /// Maximum number of NBD clients (default: 1024)
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    max_clients: Option<usize>,
    /// Maximum number of NBD clients of one user, over Unix sockets (default: three quarters of all)
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    max_clients_per_user: Option<usize>,
    /// Maximum number of NBD clients of one process, over Unix sockets (default: a quarter of all)
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    max_clients_per_process: Option<usize>,
    /// Maximum number of NBD clients of one host, over TCP (default: a quarter of all)
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    max_clients_per_address: Option<usize>,
    /// Time limit for an NBD client's handshake (default: 10s)
    #[arg(long, value_name = "TIME", value_parser = parse_client_time)]
    handshake_timeout: Option<Duration>,
    /// Disconnect an NBD client that has read none of its replies for this long (default: 30s)
    #[arg(long, value_name = "TIME", value_parser = parse_client_time)]
    send_timeout: Option<Duration>,
    /// Control socket to open (default: as --socket)
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Mode of the control socket: 0600, 0660 or 0666 (default: 0600, and 0660 with --control-group)
    #[arg(long, value_name = "MODE", value_parser = parse_socket_mode)]
    control_mode: Option<u32>,
    /// Group that the control socket is given to, a name or a number
    #[arg(long, value_name = "GROUP", value_parser = parse_socket_group)]
    control_group: Option<u32>,
    /// Maximum number of connections to the control socket (default: 256)
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    max_connections: Option<usize>,
    /// Maximum of these for one user without the right to change things (default: 32)
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    max_connections_per_user: Option<usize>,
}

impl Doors {
    /// Puts what was said over what `config` says; addresses apart.
    pub(crate) fn apply(&self, config: &mut Config) {
        let (nbd, control) = (&mut config.nbd, &mut config.control);
        nbd.access.mode = self.nbd_mode.or(nbd.access.mode);
        nbd.access.group = self.nbd_group.or(nbd.access.group);
        let said = NbdLimits {
            max_clients: self.max_clients,
            max_clients_per_user: self.max_clients_per_user,
            max_clients_per_process: self.max_clients_per_process,
            max_clients_per_address: self.max_clients_per_address,
            handshake_timeout: self.handshake_timeout,
            send_timeout: self.send_timeout,
        };
        nbd.limits = said.or(nbd.limits);
        control.access.mode = self.control_mode.or(control.access.mode);
        control.access.group = self.control_group.or(control.access.group);
        control.max_connections = self.max_connections.or(control.max_connections);
        control.max_connections_per_user = self.max_connections_per_user.or(control.max_connections_per_user);
    }
}

/// `steadfast client`
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List connected clients
    List {
        /// Only this device's
        #[arg(long)]
        device: Option<String>,
    },
    /// Show everything about one client
    Show {
        /// Its number
        client: u64,
    },
    /// Disconnect a client, after answering what it has in flight
    Disconnect {
        /// Its number
        client: u64,
        /// Close the connection without answering
        #[arg(long)]
        now: bool,
    },
}
