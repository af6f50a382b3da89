use crate::output::{Table, receipt, trial, units};
use steadfast_api::{Absent, Device, Param, ParamSource, Port, PortState};

/// Devices, one line each, and then the ports that have none because they are down.
pub(crate) fn list(devices: &[Device], ports: &[Port]) -> String {
    let down = ports.iter().filter(|port| port.state == PortState::Down);
    let down: String = down.map(|port| format!("port {} is down (admin_state)\n", port.name)).collect();
    if devices.is_empty() {
        return format!("no devices\n{down}");
    }
    let mut table = Table::new(&[
        "DEVICE",
        ">SIZE",
        "DRIVER",
        "STATE",
        ">GENERATION",
        ">REQUESTS",
        ">ERRORS",
        ">SWAPS",
        "URI",
    ]);
    for device in devices {
        table.row([
            device.name.clone(),
            device.absent.as_ref().map_or_else(|| units::bytes(device.size), |_| "-".to_owned()),
            format!("{}{}", driver(device), note(device)),
            state(device),
            device.generation.to_string(),
            units::count(device.requests),
            units::count(device.errors),
            units::count(device.swaps),
            device.uris.first().cloned().unwrap_or_default(),
        ]);
    }
    let absent = devices.iter().filter_map(|device| Some((&device.name, device.absent.as_ref()?)));
    let absent: String =
        absent.map(|(name, absent)| format!("device {name} is absent: {}\n", why(absent))).collect();
    let next = devices.iter().filter_map(|device| Some((&device.name, device.next_start.as_ref()?)));
    let next: String = next.map(|(name, next)| format!("{name}: {next}\n")).collect();
    let open = devices.iter().filter_map(|device| Some((&device.name, device.unconfirmed.as_ref()?)));
    let open: String =
        open.map(|(name, open)| format!("{name}: {}\n", crate::output::ports::unconfirmed(open))).collect();
    format!("{table}{down}{absent}{next}{open}")
}

/// Why a device is absent, and when it is tried again.
pub(crate) fn why(absent: &Absent) -> String {
    let again = match absent.next_try_unix_ms {
        Some(at) => format!("it is tried again at {}", super::history::clock(at, false)),
        None => "it is not tried again by itself".to_owned(),
    };
    format!("{}; {again}", absent.reason)
}

/// Everything about a device.
pub(crate) fn show(device: &Device) -> String {
    let mut text = format!("{}\n", device.name);
    let mut fact = |name: &str, value: String| text.push_str(&format!("  {name:<12} {value}\n"));
    if let Some(absent) = &device.absent {
        fact("state", device.state.name().to_owned());
        fact("reason", why(absent));
        let since = super::history::clock(absent.since_unix_ms, true);
        fact("since", format!("{since}, tried {} times", units::count(absent.tries)));
        return text;
    }
    let hash = device.driver.as_ref().map_or("none", |release| short(&release.hash));
    fact("driver", format!("{}, module {hash}", driver(device)));
    if let Some(next) = &device.next_start {
        fact("next start", next.clone());
    }
    fact("state", device.state.name().to_owned());
    for trouble in &device.troubles {
        fact(trouble.code.name(), trouble.detail.clone());
    }
    fact("generation", format!("{}, {} swaps", device.generation, units::count(device.swaps)));
    fact("size", format!("{} ({} bytes)", units::bytes(device.size), device.size));
    fact(
        "blocks",
        format!(
            "{} bytes, {} preferred, {} at most",
            device.block_size, device.preferred_block_size, device.max_transfer
        ),
    );
    fact("features", device.features.join(", "));
    if let Some(missed) = &device.missed {
        let why = format!("receipt {}: {}", missed.receipt, missed.reason);
        fact("activation", format!("what was to come was not carried out, {why}"));
    }
    for left in &device.abandoned {
        let driver = format!("{} {}", left.release.driver, left.release.version);
        let since = super::history::clock(left.since_unix_ms, true);
        let how = if left.inside { "does not return from" } else { "did not let go in" };
        fact(
            "abandoned",
            format!("{driver} {how} `{}`, since {since}; its module stays in memory", left.entry),
        );
    }
    for reduced in &device.reduced {
        fact("reduced", format!("no {}: {}; until the next start", reduced.feature, reduced.why));
    }
    let memory = device.memory;
    if memory.port_granted < memory.port_wanted || memory.queue_granted < memory.queue_wanted {
        let of = |granted, wanted| format!("{} of {}", units::bytes(granted), units::bytes(wanted));
        let port = of(memory.port_granted, memory.port_wanted);
        let queue = of(memory.queue_granted, memory.queue_wanted);
        fact("memory", format!("{port} that the driver wants, {queue} for each queue"));
    }
    if !device.wwid.is_empty() {
        fact("wwid", device.wwid.clone());
    }
    if !device.over.is_empty() {
        fact("over", device.over.join(", "));
    }
    fact("port", format!("{}, device number {}", device.port, device.number));
    fact("queues", format!("{}, {} slots", device.queues, device.slots));
    fact(
        "requests",
        format!(
            "{} done, {} failed, {} in flight, {} held",
            units::count(device.requests),
            units::count(device.errors),
            device.in_flight,
            device.held
        ),
    );
    let (read, written) = (units::bytes(device.bytes_read), units::bytes(device.bytes_written));
    fact("moved", format!("{read} read, {written} written"));
    let latency = device.latency;
    if latency.count > 0 {
        let [p50, p99, p9999, max] =
            [latency.p50_ns, latency.p99_ns, latency.p9999_ns, latency.max_ns].map(units::time);
        fact("latency", format!("p50 {p50}, p99 {p99}, p99.99 {p9999}, longest {max}"));
    }
    if device.oldest_ns > 0 {
        fact("oldest", format!("in flight for {}", units::time(device.oldest_ns)));
    }
    if let Some(trial) = &device.shadow {
        fact("trial", trial::progress(trial));
    }
    fact("clients", device.clients.to_string());
    if device.driver_faults > 0 {
        fact("faults", format!("{}: the driver broke rules of its interface", device.driver_faults));
    }
    if device.shell_faults > 0 {
        let what = "requests ended with an error by a fault of Steadfast itself; see the log, and report it";
        fact("own faults", format!("{}: {what}", device.shell_faults));
    }
    for uri in &device.uris {
        fact("uri", uri.clone());
    }
    for param in &device.params {
        fact("param", describe(param));
    }
    for (name, count) in device.entered.iter().filter(|(_, count)| **count > 0) {
        fact("entered", format!("{name} {}", units::count(*count)));
    }
    for (name, value) in super::probation::of_device(device) {
        fact(name, value);
    }
    if let Some(last) = &device.last_receipt {
        fact("last update", receipt::sentence(&device.name, last));
    }
    text
}

/// A parameter with what it is, where that comes from, and what a change takes.
fn describe(param: &Param) -> String {
    let value = match param.source {
        ParamSource::Undefined => "-",
        _ => param.value.as_str(),
    };
    let mut text = format!("{}={value}", param.name);
    let mut notes = vec![param.source.name().to_owned()];
    if let (ParamSource::Set, Some(default)) = (param.source, &param.default) {
        notes = vec![format!("set, default {default}")];
    }
    notes.extend((param.class == "live").then(|| "live".to_owned()));
    notes.extend((!param.unit.is_empty()).then(|| param.unit.clone()));
    text.push_str(&format!(" ({})", notes.join(", ")));
    text
}

/// The driver and its version.
pub(crate) fn driver(device: &Device) -> String {
    device.driver.as_ref().map_or("none".to_owned(), |d| format!("{} {}", d.driver, d.version))
}

/// What the port is doing, and what is wrong behind it.
fn state(device: &Device) -> String {
    let wrong = device.troubles.first().map(|trouble| format!(", {}", trouble.code.name()));
    format!("{}{}", device.state.name(), wrong.unwrap_or_default())
}

/// What is to be known of a driver at a glance.
fn note(device: &Device) -> String {
    match (&device.probation, &device.available) {
        (Some(_), _) => " (on probation)".to_owned(),
        (None, Some(newer)) if newer.not_taken.is_empty() => format!(" ({} available)", newer.module.version),
        (None, Some(newer)) => format!(" ({} not taken)", newer.module.version),
        (None, None) => String::new(),
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use steadfast_api::{Latency, Memory, PortState, Reduced, Trouble, TroubleCode};

    /// A device as the daemon reports it.
    pub(crate) fn sample() -> Device {
        let receipt = receipt::tests::sample();
        Device {
            absent: None,
            name: "vol0".into(),
            port: "vol0".into(),
            number: 0,
            driver: Some(receipt.from.clone()),
            state: PortState::Running,
            generation: 2,
            epoch_unix_ms: 1_700_000_000_000,
            memory: Memory { queue_wanted: 1344, queue_granted: 64, ..Memory::default() },
            reduced: vec![Reduced { feature: "merging".into(), why: "needs 1 K more".into() }],
            size: 1 << 30,
            block_size: 1,
            preferred_block_size: 4096,
            max_transfer: 339_968,
            features: vec!["flush".into(), "fua".into()],
            wwid: String::new(),
            troubles: vec![Trouble {
                port: "vol0".into(),
                code: TroubleCode::WritesLost,
                target: "/disk.img".into(),
                detail: "/disk.img: writes may be lost".into(),
                since_unix_ms: 0,
            }],
            over: vec!["disk".into()],
            uris: vec!["nbd+unix:///vol0?socket=/run/nbd.sock".into()],
            queues: 1,
            slots: 1024,
            in_flight: 3,
            held: 0,
            requests: 12_345,
            errors: 0,
            bytes_read: 4096,
            bytes_written: 1 << 20,
            latency: Latency { count: 12_345, p50_ns: 23_400, p99_ns: 99_000, ..Latency::default() },
            oldest_ns: 45_000_000,
            clients: 2,
            driver_faults: 0,
            shell_faults: 0,
            swaps: 1,
            entered: BTreeMap::from([("submit".into(), 12_345), ("timer".into(), 0)]),
            params: vec![
                Param { name: "path".into(), value: "/disk.img".into(), ..Param::default() },
                Param {
                    name: "delay".into(),
                    value: "5".into(),
                    default: Some("0".into()),
                    unit: "ms".into(),
                    class: "live".into(),
                    ..Param::default()
                },
                Param {
                    name: "direct".into(),
                    value: "false".into(),
                    source: ParamSource::Default,
                    class: "reinit".into(),
                    ..Param::default()
                },
            ],
            probation: None,
            available: None,
            next_start: None,
            unconfirmed: None,
            last_receipt: Some(receipt),
            missed: None,
            abandoned: Vec::new(),
            shadow: None,
        }
    }

    #[test]
    fn a_list_has_a_line_for_each() {
        let text = list(&[sample()], &[]);
        let lines: Vec<&str> = text.lines().collect();
        let begun = lines.iter().filter(|line| line.starts_with("vol0")).count();
        assert_eq!(begun, 1, "what does not fit into its line is further in: {text}");
        assert!(lines[1].starts_with("vol0    1 GiB  file 1.0.0  running, writes lost"), "{text}");
        assert_eq!(list(&[], &[]), "no devices\n");
    }

    #[test]
    fn the_whole_device_is_shown() {
        let text = show(&sample());
        for part in [
            "size         1 GiB (1073741824 bytes)",
            "requests     12,345 done, 0 failed, 3 in flight, 0 held",
            "latency      p50 23.4 us, p99 99.0 us",
            "oldest       in flight for 45.0 ms",
            "over         disk",
            "writes lost  /disk.img: writes may be lost",
            "reduced      no merging: needs 1 K more; until the next start",
            "memory       0 B of 0 B that the driver wants, 64 B of 1.3 KiB for each queue",
            "param        path=/disk.img (set)",
            "param        delay=5 (set, default 0, live, ms)",
            "param        direct=false (default)",
            "entered      submit 12,345",
            "last update  vol0: done, file 1.1.0 replaced file 1.0.0",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("timer"), "entry points never entered are left out: {text}");
    }
}
