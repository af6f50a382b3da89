//! How clients look.

use super::{Table, units};
use steadfast_api::{Client, Disconnected};

/// Clients, one line each.
pub(crate) fn list(clients: &[Client]) -> String {
    if clients.is_empty() {
        return "no clients\n".to_owned();
    }
    let mut table = Table::new(&[
        ">CLIENT",
        "PEER",
        "DEVICE",
        "SINCE",
        ">IN FLIGHT",
        ">UNSENT",
        ">REQUESTS",
        ">RECEIVED",
        ">SENT",
    ]);
    for client in clients {
        table.row([
            client.id.to_string(),
            client.peer.clone(),
            client.device.clone().unwrap_or_else(|| "(handshake)".to_owned()),
            super::history::clock(client.since_unix_ms, false),
            client.in_flight.to_string(),
            client.unsent.to_string(),
            units::count(client.requests),
            units::bytes(client.bytes_received),
            units::bytes(client.bytes_sent),
        ]);
    }
    table.to_string()
}

/// Everything about one client.
pub(crate) fn show(client: &Client) -> String {
    let mut text = format!("client {}\n", client.id);
    let mut fact = |name: &str, value: String| text.push_str(&format!("  {name:<12} {value}\n"));
    fact("peer", client.peer.clone());
    if let Some(uid) = client.uid {
        fact("user", uid.to_string());
    }
    if let Some(pid) = client.pid {
        let name = if client.process.is_empty() { String::new() } else { format!(" ({})", client.process) };
        fact("process", format!("{pid}{name}"));
    }
    fact("device", client.device.clone().unwrap_or_else(|| "none yet: it is in its handshake".to_owned()));
    if let Some(queue) = client.queue {
        fact("queue", queue.to_string());
    }
    fact("since", super::history::clock(client.since_unix_ms, true));
    fact("requests", format!("{} made, {} in flight", units::count(client.requests), client.in_flight));
    fact("slots", client.slots.to_string());
    fact("unsent", format!("{} answers that it has not taken", client.unsent));
    let (received, sent) = (units::bytes(client.bytes_received), units::bytes(client.bytes_sent));
    fact("bytes", format!("{received} received, {sent} sent"));
    text
}

/// What became of a client that was to go.
pub(crate) fn disconnected(done: &Disconnected) -> String {
    let client = &done.client;
    let who = format!("client {} ({})", client.id, client.peer);
    match (done.gone, client.in_flight) {
        (true, _) => format!("{who}: disconnected\n"),
        (false, 0) => format!("{who}: it is closing\n"),
        (false, n) => format!("{who}: it is closing; the device still has {n} of its requests\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Client {
        Client {
            id: 7,
            peer: "unix, process 4711".into(),
            uid: Some(1000),
            pid: Some(4711),
            process: "qemu-system-x86".into(),
            device: Some("vol0".into()),
            queue: Some(1),
            since_unix_ms: 1_700_000_000_000,
            in_flight: 3,
            slots: 5,
            unsent: 2,
            requests: 12_345,
            bytes_received: 1 << 20,
            bytes_sent: 4096,
        }
    }

    #[test]
    fn clients_are_listed_and_fit_a_terminal() {
        let handshake = Client { id: 8, device: None, ..sample() };
        let text = list(&[sample(), handshake]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        assert!(text.contains("unix, process 4711  vol0") && text.contains("(handshake)"), "{text}");
        assert_eq!(list(&[]), "no clients\n");
    }

    #[test]
    fn the_whole_client_is_shown() {
        let text = show(&sample());
        for part in [
            "process      4711 (qemu-system-x86)",
            "requests     12,345 made, 3 in flight",
            "unsent       2 answers that it has not taken",
            "bytes        1 MiB received, 4 KiB sent",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let done = |gone| disconnected(&Disconnected { client: sample(), gone });
        assert_eq!(done(true), "client 7 (unix, process 4711): disconnected\n");
        assert!(done(false).contains("still has 3 of its requests"));
    }
}
