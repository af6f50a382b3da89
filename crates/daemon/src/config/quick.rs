//! The short form of a device: `NAME=DRIVER[:TARGET][,KEY=VALUE...]`.

use super::file::MAX_RESERVE;
use super::{ConfigError, DeviceConfig, Place, check_device_name, check_hardware};
use std::collections::BTreeMap;
use std::env;
use steadfast_runtime::HardwareId;
use steadfast_shell::params::parse_size;

const FORM: &str = "NAME=DRIVER[:TARGET][,KEY=VALUE...], such as vol0=file:disk.img,io_depth=64";

/// Reads the short form, as `--device` takes it. A comma within the target or a value is written
/// `\,`. `queues`, `hardware`, `revision`, `once_per_start`, `reserve`, `required`
/// and `retry` are what they are in a device's table
/// of the configuration file; every other key is the driver's.
pub fn parse_device(text: &str) -> Result<DeviceConfig, ConfigError> {
    let place = || Place::Option(format!("--device {text}"));
    let fail = |message: String| ConfigError::new(place(), message);
    let (name, rest) = text.split_once('=').ok_or_else(|| fail(format!("it has no `=` ({FORM})")))?;
    check_device_name(name).map_err(&fail)?;
    let mut parts = split_commas(rest).into_iter();
    let head = parts.next().unwrap_or_default();
    let (driver, target) = split_target(&head);
    if driver.is_empty() {
        return Err(fail(format!("it names no driver ({FORM})")));
    }
    let mut device = DeviceConfig {
        name: name.to_owned(),
        driver: driver.to_owned(),
        target: target.filter(|t| !t.is_empty()).map(str::to_owned),
        queues: None,
        params: BTreeMap::new(),
        said: BTreeMap::new(),
        target_said: None,
        auto_update: None,
        hardware: None,
        once_per_start: None,
        unproven: None,
        reserve: None,
        required: None,
        retry: None,
        adapter: None,
        place: place(),
        base: env::current_dir().unwrap_or_default(),
    };
    let mut revision = None;
    for part in parts {
        let (key, value) = part
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| fail(format!("`{part}` is not KEY=VALUE (a comma within a value is `\\,`)")))?;
        let new = match key {
            "queues" => device.queues.replace(parse_queues(value).map_err(&fail)?).is_none(),
            "hardware" => {
                let hwid = check_hardware(value).map_err(|e| fail(format!("hardware: {e}")))?;
                device.hardware.replace(HardwareId { hwid, revision: 0 }).is_none()
            }
            "revision" => revision.replace(parse_revision(value).map_err(&fail)?).is_none(),
            "once_per_start" => {
                device.once_per_start.replace(parse_flag(key, value).map_err(&fail)?).is_none()
            }
            "required" => device.required.replace(parse_flag(key, value).map_err(&fail)?).is_none(),
            "retry" => {
                let retry = value.parse().map_err(|e| fail(format!("retry: {e}")))?;
                device.retry.replace(retry).is_none()
            }
            "reserve" => device.reserve.replace(parse_reserve(value).map_err(&fail)?).is_none(),
            _ => device.params.insert(key.to_owned(), value.to_owned()).is_none(),
        };
        if !new {
            return Err(fail(format!("`{key}` is given twice")));
        }
    }
    match (&mut device.hardware, revision) {
        (Some(hardware), Some(revision)) => hardware.revision = revision,
        (None, Some(_)) => return Err(fail("revision: there is no `hardware` that it is of".to_owned())),
        (_, None) => {}
    }
    Ok(device)
}

/// Reads the short form of one port of an adapter: `PORT[:TARGET][,KEY=VALUE...]`.
pub(crate) fn parse_port(adapter: &str, driver: &str, text: &str) -> Result<DeviceConfig, ConfigError> {
    let place = Place::Option(format!("port {text}"));
    let (port, rest) = text.split_at(text.find([':', ',']).unwrap_or(text.len()));
    if port.is_empty() {
        let message = "it has no name (PORT[:TARGET][,KEY=VALUE...], such as a:disk.img)";
        return Err(ConfigError::new(place, message));
    }
    // The driver's own name may have colons and commas, so it is put in afterwards.
    let device = parse_device(&format!("{adapter}-{port}=driver{rest}"));
    let device = device.map_err(|e| ConfigError::new(place.clone(), e.message))?;
    Ok(DeviceConfig { driver: driver.to_owned(), place, ..device })
}

fn parse_queues(value: &str) -> Result<usize, String> {
    let max = super::MAX_QUEUES;
    value
        .parse()
        .ok()
        .filter(|n| (1..=max).contains(n))
        .ok_or_else(|| format!("queues=`{value}` is not allowed (1 to {max})"))
}

fn parse_revision(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("revision=`{value}` is not allowed (0 to {})", u32::MAX))
}

fn parse_flag(key: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{key}=`{value}` is not allowed (true or false)"))
}

fn parse_reserve(value: &str) -> Result<u64, String> {
    let size = parse_size(value).ok().filter(|n| *n <= MAX_RESERVE);
    size.ok_or_else(|| format!("reserve=`{value}` is not allowed (0 to {MAX_RESERVE} bytes)"))
}

/// The driver ends at the first colon. A module's path has none; one that has needs a configuration
/// file.
fn split_target(head: &str) -> (&str, Option<&str>) {
    match head.split_once(':') {
        Some((driver, target)) => (driver, Some(target)),
        None => (head, None),
    }
}

fn split_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '\\' if chars.peek() == Some(&',') => {
                chars.next();
                parts[last].push(',');
            }
            ',' => parts.push(String::new()),
            c => parts[last].push(c),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_form() {
        let device = parse_device("vol0=file:disk.img").expect("valid");
        assert_eq!((device.name.as_str(), device.driver.as_str()), ("vol0", "file"));
        assert_eq!(device.target.as_deref(), Some("disk.img"));
        assert!(device.params.is_empty());
    }

    #[test]
    fn parameters_versions_and_queues() {
        let device =
            parse_device("v=file@1.0:/a/b:c\\,d.img,io_depth=64,direct=true,queues=2").expect("valid");
        assert_eq!(device.driver, "file@1.0");
        assert_eq!(device.target.as_deref(), Some("/a/b:c,d.img"));
        assert_eq!(device.queues, Some(2));
        assert_eq!(device.params["io_depth"], "64");
        assert_eq!(device.params["direct"], "true");
    }

    #[test]
    fn what_the_shell_is_to_know_of_a_device() {
        let text = "v=crash:8M,hardware=pci:1af4:1042,revision=2,once_per_start=true,reserve=1M,at=submit";
        let device = parse_device(text).expect("valid");
        assert_eq!(device.hardware, Some(HardwareId { hwid: "pci:1af4:1042".into(), revision: 2 }));
        assert_eq!((device.once_per_start, device.reserve), (Some(true), Some(1 << 20)));
        assert_eq!(device.params.keys().collect::<Vec<_>>(), ["at"], "the driver's own");
    }

    #[test]
    fn a_driver_without_target() {
        let device = parse_device("n=null,size=1G").expect("valid");
        assert_eq!((device.driver.as_str(), device.target), ("null", None));
    }

    #[test]
    fn a_port_of_an_adapter() {
        let port = parse_port("san0", "/a,b/x:y.so", "a:disk.img,direct=true").expect("valid");
        assert_eq!((port.name.as_str(), port.driver.as_str()), ("san0-a", "/a,b/x:y.so"));
        assert_eq!((port.target.as_deref(), port.params["direct"].as_str()), (Some("disk.img"), "true"));
        assert_eq!(parse_port("san0", "null", "b").expect("valid").target, None);
        assert!(parse_port("san0", "null", ":x").expect_err("no name").message.contains("no name"));
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, says) in [
            ("vol0", "no `=`"),
            ("=file:x", "device name ``"),
            ("a/b=file:x", "device name `a/b`"),
            ("vol0=", "no driver"),
            ("vol0=:x", "no driver"),
            ("vol0=file:x,io_depth", "`io_depth` is not KEY=VALUE"),
            ("vol0=file:x,a=1,a=2", "`a` is given twice"),
            ("vol0=file:x,queues=1,queues=1", "`queues` is given twice"),
            ("vol0=file:x,hardware=pci:*", "hardware: `pci:*` is not allowed"),
            ("vol0=file:x,revision=1", "no `hardware` that it is of"),
            ("vol0=file:x,hardware=a:b,revision=-1", "revision=`-1` is not allowed"),
            ("vol0=file:x,once_per_start=yes", "(true or false)"),
            ("vol0=file:x,reserve=2G", "(0 to 1073741824 bytes)"),
            ("vol0=file:x,queues=0", "queues=`0` is not allowed (1 to 64)"),
        ] {
            let error = parse_device(text).expect_err(text).to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.contains(text), "{error}");
        }
    }
}
