//! The tables `control` and `nbd`.

use super::{Reader, integer};
use crate::config::Control;
use crate::config::doors::{
    CLIENT_TIMES, MAX_CLIENTS, Nbd, NbdLimits, Permissions, parse_socket_group, parse_socket_mode,
};
use steadfast_nbd::ListenAddr;
use toml::de::{DeTable, DeValue};

const CONTROL: &[&str] = &[
    "socket",
    "mode",
    "group",
    "admins",
    "max_connections",
    "max_connections_per_user",
    "idle_timeout",
    "body_timeout",
    "send_timeout",
];
const NBD: &[&str] = &[
    "listen",
    "mode",
    "group",
    "max_clients",
    "max_clients_per_user",
    "max_clients_per_process",
    "max_clients_per_address",
    "handshake_timeout",
    "send_timeout",
];

impl Reader<'_> {
    pub(super) fn control(&mut self, table: &DeTable<'_>) -> Control {
        self.known_keys(table, "control.", CONTROL);
        Control {
            socket: self.path(table, "socket", "control.socket"),
            access: self.permissions(table, "control"),
            admins: self.admins(table),
            max_connections: self.clients(table, "control", "max_connections"),
            max_connections_per_user: self.clients(table, "control", "max_connections_per_user"),
            idle_timeout: self.time(table, "idle_timeout", "control.idle_timeout", CLIENT_TIMES),
            body_timeout: self.time(table, "body_timeout", "control.body_timeout", CLIENT_TIMES),
            send_timeout: self.time(table, "send_timeout", "control.send_timeout", CLIENT_TIMES),
        }
    }

    /// A number of clients.
    fn clients(&mut self, table: &DeTable<'_>, prefix: &str, key: &str) -> Option<usize> {
        self.number(table, key, &format!("{prefix}.{key}"), MAX_CLIENTS).map(|n| n as usize)
    }

    fn limits(&mut self, table: &DeTable<'_>) -> NbdLimits {
        NbdLimits {
            max_clients: self.clients(table, "nbd", "max_clients"),
            max_clients_per_user: self.clients(table, "nbd", "max_clients_per_user"),
            max_clients_per_process: self.clients(table, "nbd", "max_clients_per_process"),
            max_clients_per_address: self.clients(table, "nbd", "max_clients_per_address"),
            handshake_timeout: self.time(table, "handshake_timeout", "nbd.handshake_timeout", CLIENT_TIMES),
            send_timeout: self.time(table, "send_timeout", "nbd.send_timeout", CLIENT_TIMES),
        }
    }

    fn admins(&mut self, table: &DeTable<'_>) -> Vec<u32> {
        let Some(value) = table.get("admins") else { return Vec::new() };
        let DeValue::Array(users) = value.get_ref() else {
            self.wrong(value, "control.admins", "a list of user ids");
            return Vec::new();
        };
        let mut admins = Vec::new();
        for user in users {
            match integer(user).and_then(|n| u32::try_from(n).ok()) {
                Some(uid) => admins.push(uid),
                None => self.wrong(user, "control.admins", "a user id, 0 to 4294967295"),
            }
        }
        admins
    }

    pub(super) fn nbd(&mut self, table: &DeTable<'_>) -> Nbd {
        self.known_keys(table, "nbd.", NBD);
        let listen = self.list(table, "listen", "nbd.listen", |reader, text, span| match text.parse() {
            Ok(ListenAddr::Unix(path)) => {
                Some(ListenAddr::Unix(crate::config::path_from(&reader.base, path)))
            }
            Ok(tcp) => Some(tcp),
            Err(e) => {
                reader.fail(span, format!("nbd.listen: {e}"));
                None
            }
        });
        Nbd { listen, access: self.permissions(table, "nbd"), limits: self.limits(table) }
    }

    fn permissions(&mut self, table: &DeTable<'_>, prefix: &str) -> Permissions {
        let mut read = |key: &str, parse: fn(&str) -> Result<u32, String>| {
            let name = format!("{prefix}.{key}");
            let (text, span) = self.string(table, key, &name)?;
            parse(&text).map_err(|e| self.fail(span, format!("{name}: {e}"))).ok()
        };
        Permissions { mode: read("mode", parse_socket_mode), group: read("group", parse_socket_group) }
    }
}
