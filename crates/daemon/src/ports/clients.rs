//! The clients of the devices, for people and programs to look at and to send away.

use crate::app::App;
use std::time::{Duration, Instant, UNIX_EPOCH};
use steadfast_api::{Client, Disconnected, Problem, ProblemKind};
use steadfast_nbd::{ClientInfo, Origin};
use steadfast_runtime::process_name;

/// How long a client that was told to go is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

impl App {
    /// Clients that are connected, of one device or of all.
    pub(crate) fn clients(&self, device: Option<&str>) -> Result<Vec<Client>, Problem> {
        if let Some(name) = device {
            self.device_info(name)?;
        }
        let wanted = |client: &ClientInfo| device.is_none_or(|name| client.device.as_deref() == Some(name));
        Ok(self.nbd.client_list().into_iter().filter(wanted).map(shown).collect())
    }

    /// One client.
    pub(crate) fn client(&self, id: u64) -> Result<Client, Problem> {
        self.nbd.client(id).map(shown).ok_or_else(|| no_client(id))
    }

    /// Disconnects a client, and waits a moment until it has gone.
    pub(crate) fn disconnect(&self, id: u64, at_once: bool, who: &str) -> Result<Disconnected, Problem> {
        let mut client = self.client(id)?;
        tracing::info!("client #{id} ({}) is disconnected by {who}", client.peer);
        if !self.nbd.disconnect(id, at_once) {
            return Ok(Disconnected { client, gone: true });
        }
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            match self.nbd.client(id) {
                Some(now) => client = shown(now),
                None => return Ok(Disconnected { client, gone: true }),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Disconnected { client, gone: false })
    }
}

fn no_client(id: u64) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("no client {id}")).hint("`steadfast client list` shows them")
}

fn shown(client: ClientInfo) -> Client {
    let (uid, pid) = match client.origin {
        Origin::Process { uid, pid } => (Some(uid), (pid > 0).then_some(pid)),
        Origin::Address(_) | Origin::Unknown => (None, None),
    };
    Client {
        id: client.id,
        peer: client.origin.to_string(),
        uid,
        pid,
        process: pid.map(process_name).unwrap_or_default(),
        device: client.device,
        queue: client.queue.map(|queue| queue as u32),
        since_unix_ms: client.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        in_flight: client.in_flight,
        slots: client.slots,
        unsent: client.unsent,
        requests: client.requests,
        bytes_received: client.bytes_received,
        bytes_sent: client.bytes_sent,
    }
}
