//! How adapters, ports, and what comes and goes of them look.

use super::{Table, units};
use steadfast_api::{
    Adapter, Kind, LoadedDriver, Outcome, Port, Receipt, Release, RescanReport, TopologyReport, Unconfirmed,
    Unload,
};

/// Adapters, one line each.
pub(crate) fn adapters(adapters: &Vec<Adapter>) -> String {
    if adapters.is_empty() {
        return "no adapters\n".to_owned();
    }
    let mut table = Table::new(&["ADAPTER", "DRIVER", ">PORTS", ">DEVICES", ">CLIENTS"]);
    for adapter in adapters {
        let devices: usize = adapter.ports.iter().map(|port| port.devices.len()).sum();
        let clients: u32 = adapter.ports.iter().map(|port| port.clients).sum();
        table.row([
            adapter.name.clone(),
            list(&adapter.drivers),
            adapter.ports.len().to_string(),
            devices.to_string(),
            clients.to_string(),
        ]);
    }
    table.to_string()
}

/// One adapter and its ports.
pub(crate) fn adapter(adapter: &Adapter) -> String {
    format!("adapter {}, driver {}\n{}", adapter.name, list(&adapter.drivers), ports(&adapter.ports))
}

/// Ports, one line each.
pub(crate) fn ports(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "no ports\n".to_owned();
    }
    let mut table = Table::new(&[
        "PORT",
        "ADAPTER",
        ">NUMBER",
        "DRIVER",
        "STATE",
        "ADMIN",
        ">GENERATION",
        "DEVICES",
        ">CLIENTS",
    ]);
    for port in ports {
        table.row([
            port.name.clone(),
            port.adapter.clone(),
            port.number.to_string(),
            port.driver.as_ref().map_or("-".to_owned(), release),
            port.state.name().to_owned(),
            port.admin_state.clone().unwrap_or_else(|| "-".to_owned()),
            port.generation.to_string(),
            list(&port.devices),
            port.clients.to_string(),
        ]);
    }
    table.to_string()
}

/// Everything about one port.
pub(crate) fn port(port: &Port) -> String {
    let mut text = format!("port {}\n", port.name);
    let mut fact = |name: &str, value: String| text.push_str(&format!("  {name:<12} {value}\n"));
    fact("adapter", format!("{}, number {}", port.adapter, port.number));
    fact("driver", port.driver.as_ref().map_or("none".to_owned(), release));
    if let Some(driver) = &port.driver {
        fact("module", driver.hash.clone());
    }
    fact("state", port.state.name().to_owned());
    if let Some(absent) = &port.absent {
        fact("reason", super::device::why(absent));
        fact("defined", port.defined.clone());
        return text;
    }
    if let Some(admin) = &port.admin_state {
        fact("admin state", admin.clone());
    }
    let since = super::history::clock(port.epoch_unix_ms, true);
    fact("generation", format!("{}, since {since}", port.generation));
    fact("devices", list(&port.devices));
    fact("clients", port.clients.to_string());
    fact("requests", format!("{} in flight, {} held", port.in_flight, port.held));
    if let Some(open) = &port.unconfirmed {
        fact("unconfirmed", unconfirmed(open));
    }
    if let Some(delayed) = &port.delayed {
        let due = super::history::clock(delayed.due_unix_ms, true);
        fact("activation", format!("begins at {due}, asked for by {}", delayed.who));
    }
    if !port.over.is_empty() {
        fact("over", list(&port.over));
    }
    if !port.under.is_empty() {
        fact("under", list(&port.under));
    }
    let kept = if port.kept { "" } else { " (until the daemon ends)" };
    fact("defined", format!("{}{kept}", port.defined));
    text
}

/// What becomes of an activation that nobody has confirmed yet.
pub(crate) fn unconfirmed(open: &Unconfirmed) -> String {
    let until = super::history::clock(open.until_unix_ms, true);
    let what = format!("what receipt {} activated", open.receipt);
    match open.problem.as_str() {
        "" => format!("{what} goes back at {until} unless it is confirmed"),
        why => format!("{what} was to go back at {until}; it is tried again: {why}"),
    }
}

/// What came or went, a line each, then what holds beyond that.
pub(crate) fn report(report: &TopologyReport) -> String {
    let mut text = String::new();
    for receipt in &report.receipts {
        text.push_str(&sentence(receipt).unwrap_or_default());
        text.push('\n');
    }
    for device in &report.devices {
        let size = units::bytes(device.size);
        text.push_str(&format!("  device       {}, {size}\n", device.name));
        for uri in &device.uris {
            text.push_str(&format!("  uri          {uri}\n"));
        }
    }
    for note in &report.notes {
        text.push_str(&format!("  note         {note}\n"));
    }
    text
}

/// What a rescan found, a line for each port.
pub(crate) fn rescan(report: &RescanReport) -> String {
    let mut text = String::new();
    if report.ports.is_empty() {
        text.push_str("no ports\n");
    } else {
        let mut table = Table::new(&["PORT", "FOUND", "DETAIL"]);
        for port in &report.ports {
            table.row([port.port.as_str(), port.found.name(), port.detail.as_str()]);
        }
        text.push_str(&table.to_string());
    }
    for problem in &report.problems {
        text.push_str(&format!("not read: {problem}\n"));
    }
    text
}

/// Modules in memory, one line each.
pub(crate) fn loaded(loaded: &[LoadedDriver]) -> String {
    let mut table = Table::new(&["LOADED", "VERSION", "HASH", "PORTS", "KEPT"]);
    for driver in loaded {
        let Release { driver: name, version, hash } = &driver.release;
        let kept = if driver.kept { "yes" } else { "no" };
        let hash: String = hash.chars().take(12).collect();
        table.row([name.clone(), version.clone(), hash, list(&driver.ports), kept.to_owned()]);
    }
    table.to_string()
}

/// What was done, in one line; `None` where it is not about what comes and goes.
pub(crate) fn sentence(receipt: &Receipt) -> Option<String> {
    let done = receipt.outcome == Outcome::Done;
    let port = &receipt.port;
    let to = receipt.to.as_ref().map(release);
    Some(match (receipt.kind, port.is_empty(), done) {
        (Kind::Attach, false, true) if receipt.reason.is_empty() => {
            format!("{port}: added, {} serves it", to.unwrap_or_default())
        }
        (Kind::Attach, false, true) => {
            format!("{port}: added, but {} does not serve it: {}", to.unwrap_or_default(), receipt.reason)
        }
        (Kind::Attach, false, false) => format!("{port}: not added"),
        (Kind::Detach, false, true) => format!("{port}: taken away"),
        (Kind::Detach, false, false) if receipt.outcome == Outcome::Busy => {
            format!("{port}: busy, it is still there")
        }
        (Kind::Detach, false, false) => format!("{port}: not taken away"),
        (Kind::Attach, true, true) => format!("driver {}: loaded", to.unwrap_or_default()),
        (Kind::Attach, true, false) => "driver: not loaded".to_owned(),
        (Kind::Detach, true, true) => {
            let how = match receipt.unload {
                Unload::Unloaded => "unloaded, no mapping of it is left in memory",
                Unload::Pinned => "let go, but PINNED: something keeps it in memory",
                Unload::InUse | Unload::None => "let go",
            };
            format!("driver {}: {how}", release(&receipt.from))
        }
        (Kind::Detach, true, false) => format!("driver {}: not unloaded", release(&receipt.from)),
        _ => return None,
    })
}

fn release(release: &Release) -> String {
    format!("{} {}", release.driver, release.version)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_api::{Found, PortState, Rescanned};

    fn sample(name: &str, devices: &[&str]) -> Port {
        Port {
            absent: None,
            name: name.into(),
            adapter: "san0".into(),
            number: 3,
            driver: None,
            state: PortState::Stranded,
            admin_state: Some("down".into()),
            generation: 7,
            epoch_unix_ms: 1_700_000_000_000,
            devices: devices.iter().map(|name| (*name).to_owned()).collect(),
            clients: 2,
            over: Vec::new(),
            under: vec!["top".into()],
            defined: "/etc/sf.toml:3:1".into(),
            kept: true,
            in_flight: 0,
            held: 1,
            unconfirmed: None,
            delayed: None,
        }
    }

    #[test]
    fn a_port_without_a_device_has_a_line() {
        let text = ports(&[sample("san0-d", &[])]);
        let line = text.lines().nth(1).expect("a line");
        assert!(line.starts_with("san0-d  san0          3  -       stranded  down"), "{text}");
        let shown = port(&sample("san0-d", &[]));
        for part in ["adapter      san0, number 3", "under        top", "defined      /etc/sf.toml:3:1\n"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let adapter = Adapter { name: "san0".into(), drivers: vec!["file".into()], ports: vec![] };
        assert!(adapters(&vec![adapter]).contains("san0     file"));
    }

    #[test]
    fn what_was_done_is_said_in_a_line() {
        let receipt = |kind, port: &str, outcome, unload| Receipt {
            kind,
            outcome,
            unload,
            from: Release { driver: "file".into(), version: "1.0.0".into(), hash: String::new() },
            to: Some(Release { driver: "file".into(), version: "1.1.0".into(), hash: String::new() }),
            ..Receipt::blank(1, port, 0)
        };
        let said = |kind, port, outcome, unload| sentence(&receipt(kind, port, outcome, unload));
        assert_eq!(
            said(Kind::Attach, "vol1", Outcome::Done, Unload::None).as_deref(),
            Some("vol1: added, file 1.1.0 serves it")
        );
        assert_eq!(
            said(Kind::Detach, "", Outcome::Done, Unload::Pinned).as_deref(),
            Some("driver file 1.0.0: let go, but PINNED: something keeps it in memory")
        );
        let down = Receipt {
            kind: Kind::Attach,
            outcome: Outcome::Done,
            reason: "the port is down: admin_state=down (ram.toml:2)".into(),
            ..Receipt::blank(1, "vol1", 0)
        };
        let down = sentence(&down).expect("a sentence");
        assert!(!down.contains(", file") && down.ends_with("admin_state=down (ram.toml:2)"), "{down}");
        assert_eq!(said(Kind::Update, "vol1", Outcome::Done, Unload::None), None);
    }

    #[test]
    fn a_rescan_says_what_it_found_and_what_it_could_not_read() {
        let found = Rescanned {
            port: "vol0".into(),
            found: Found::Grown,
            detail: "/d.img has grown from 1 to 2 bytes".into(),
            receipt: None,
        };
        let text = rescan(&RescanReport { ports: vec![found], problems: vec!["x.toml:1: bad".into()] });
        assert!(
            text.contains("vol0  grown  /d.img has grown") && text.ends_with("not read: x.toml:1: bad\n")
        );
    }
}
