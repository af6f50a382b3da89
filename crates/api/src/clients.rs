use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A client: one connection to a device, or one that is in its handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Client {
    /// Its number; never used twice while the daemon runs.
    pub id: u64,
    /// Who is at the other end, such as `unix, process 4711` or `tcp:192.0.2.7:40000`.
    pub peer: String,
    /// Its user, through a Unix socket.
    pub uid: Option<u32>,
    /// Its process when it connected, through a Unix socket.
    pub pid: Option<i32>,
    /// The name of that process now; empty when it is not known.
    #[serde(default)]
    pub process: String,
    /// The device that it uses; none while it is in its handshake.
    pub device: Option<String>,
    /// The queue that serves it.
    pub queue: Option<u32>,
    /// Wall clock when it connected, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Requests, or pieces of large ones, that are with the device.
    pub in_flight: u32,
    /// Request slots that it has: those in flight, those that are being filled, and those whose data it has not taken.
    pub slots: u32,
    /// Answers that it has not taken.
    pub unsent: u32,
    /// Requests that it has made.
    pub requests: u64,
    /// Bytes that came from it, headers included.
    pub bytes_received: u64,
    /// Bytes that went to it, headers included.
    pub bytes_sent: u64,
}

/// How a client is to be disconnected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisconnectRequest {
    /// Do not answer what it has in flight.
    #[serde(default)]
    pub at_once: bool,
}

/// What became of a client that was to be disconnected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disconnected {
    /// The client as it was last.
    pub client: Client,
    /// It has gone. If not, the device has requests of it still, or it has not taken its last answers.
    pub gone: bool,
}
