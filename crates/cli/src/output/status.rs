use super::{Table, history, units};
use steadfast_api::{Device, Health, Port, PortState, Receipt, Trouble};

/// One screen: whether all is well, what is not, every device in a line, and what was done last.
pub(crate) fn show(
    health: &Health,
    devices: &[Device],
    ports: &[Port],
    receipts: &[Receipt],
    now_unix_ms: u64,
) -> String {
    let mut text = format!("{}\n{}\n", verdict(health), daemon(health, now_unix_ms));
    for what in wrong(health, devices) {
        text.push_str(&format!("  ! {what}\n"));
    }
    text.push('\n');
    text.push_str(&table(devices));
    let down = ports.iter().filter(|port| port.state == PortState::Down);
    down.for_each(|port| text.push_str(&format!("port {} is down (admin_state)\n", port.name)));
    for (device, next) in devices.iter().filter_map(|d| Some((&d.name, d.next_start.as_ref()?))) {
        text.push_str(&format!("{device}: {next}\n"));
    }
    for (port, open) in ports.iter().filter_map(|port| Some((&port.name, port.unconfirmed.as_ref()?))) {
        text.push_str(&format!("port {port}: {}\n", crate::output::ports::unconfirmed(open)));
    }
    if !receipts.is_empty() {
        text.push_str(&format!("\nlast receipts:\n{}", history::list(receipts)));
    }
    text
}

fn verdict(health: &Health) -> &'static str {
    match (health.healthy, health.degraded.is_empty()) {
        (true, true) => "healthy: every device is served",
        (true, false) => "degraded: every device is served, and something is wrong",
        (false, _) => "NOT healthy",
    }
}

fn daemon(health: &Health, now_unix_ms: u64) -> String {
    let up = now_unix_ms.saturating_sub(health.started_unix_ms) / 1000;
    let (days, hours, minutes, seconds) = (up / 86_400, up / 3600 % 24, up / 60 % 60, up % 60);
    let up = match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    };
    let Health { version, pid, queues, devices, clients, .. } = health;
    format!(
        "steadfast {version}, process {pid}, up {up}; queues {queues}, devices {devices}, clients {clients}"
    )
}

/// What needs somebody, a line each.
fn wrong(health: &Health, devices: &[Device]) -> Vec<String> {
    let line = |trouble: &Trouble| match (trouble.port.as_str(), trouble.code.name()) {
        ("", code) if trouble.detail.starts_with(code) => trouble.detail.clone(),
        ("", code) => format!("{code}: {}", trouble.detail),
        (port, code) => format!("port {port}: {code}: {}", trouble.detail),
    };
    let mut all: Vec<String> = health.troubles.iter().map(line).collect();
    if health.troubles.is_empty() && !health.degraded.is_empty() {
        all.push(health.degraded.clone());
    }
    let faulty = devices.iter().filter(|device| device.driver_faults > 0);
    all.extend(faulty.map(|device| {
        let faults = units::count(device.driver_faults);
        format!("device {}: its driver broke rules of its interface, times: {faults}", device.name)
    }));
    all
}

fn table(devices: &[Device]) -> String {
    if devices.is_empty() {
        return "no devices\n".to_owned();
    }
    let mut table =
        Table::new(&["DEVICE", ">SIZE", "DRIVER", "STATE", ">IN FLIGHT", ">HELD", ">ERRORS", ">CLIENTS"]);
    for device in devices {
        let driver = device.driver.as_ref().map(|release| format!("{} {}", release.driver, release.version));
        table.row([
            device.name.clone(),
            units::bytes(device.size),
            driver.unwrap_or_else(|| "none".to_owned()),
            device.state.name().to_owned(),
            device.in_flight.to_string(),
            device.held.to_string(),
            units::count(device.errors),
            device.clients.to_string(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_is_there_once() {
        let health: Health = serde_json::from_value(serde_json::json!({
            "healthy": false, "version": "1", "pid": 7, "started_unix_ms": 0, "queues": 1, "devices": 0,
            "clients": 0, "nbd": [], "degraded": "port gone: absent: /x: No such file; history: disk full",
            "troubles": [
                { "port": "gone", "code": "absent", "target": "", "detail": "/x: No such file", "since_unix_ms": 0 },
                { "port": "", "code": "history", "target": "", "detail": "history: disk full", "since_unix_ms": 0 },
            ],
        }))
        .expect("a health");
        let text = show(&health, &[], &[], &[], 0);
        assert!(text.contains("  ! port gone: absent: /x: No such file\n  ! history: disk full\n"), "{text}");
        assert_eq!(
            (text.matches("No such file").count(), text.matches("disk full").count()),
            (1, 1),
            "{text}"
        );
    }

    #[test]
    fn the_first_line_says_it_and_the_second_for_how_long() {
        let health = |healthy, degraded: &str| -> Health {
            serde_json::from_value(serde_json::json!({
                "healthy": healthy, "version": "1", "pid": 7, "started_unix_ms": 1000, "queues": 1,
                "devices": 0, "clients": 0, "nbd": [], "degraded": degraded,
            }))
            .expect("a health")
        };
        let shown = |health: &Health, now| show(health, &[], &[], &[], now);
        assert!(
            shown(&health(true, ""), 4000)
                .starts_with("healthy: every device is served\nsteadfast 1, process 7, up 3 s;")
        );
        let degraded = shown(&health(true, "the history is full"), 90_061_000);
        assert!(
            degraded.starts_with("degraded: ") && degraded.contains("  ! the history is full\n"),
            "{degraded}"
        );
        assert!(degraded.contains("up 1 d 1 h;"), "{degraded}");
        assert!(shown(&health(false, ""), 0).starts_with("NOT healthy\n"));
    }
}
