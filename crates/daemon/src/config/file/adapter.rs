//! Adapters with several ports.

use super::{DEVICE, Params, Reader};
use crate::config::{DeviceConfig, check_device_name};
use steadfast_runtime::AdapterRef;
use toml::de::{DeTable, DeValue};

const ADAPTER: &[&str] =
    &["driver", "params", "queues", "once_per_start", "unproven", "reserve", "required", "retry", "port"];
/// Largest number of a port.
const MAX_NUMBER: u64 = 65_535;

impl Reader<'_> {
    /// Adds the ports of every adapter to `devices`, each with where it begins.
    pub(super) fn adapters(&mut self, table: &DeTable<'_>, devices: &mut Vec<(usize, DeviceConfig)>) {
        for (name, value) in table.iter() {
            if let Err(message) = check_device_name(name.get_ref()) {
                self.fail(name.span(), message.replacen("device", "adapter", 1));
                continue;
            }
            let prefix = format!("adapter.{}", name.get_ref());
            let DeValue::Table(inner) = value.get_ref() else {
                self.wrong(value, &prefix, "a table");
                continue;
            };
            self.known_keys(inner, &format!("{prefix}."), ADAPTER);
            let driver = self.string(inner, "driver", &format!("{prefix}.driver"));
            let Some((driver, _)) = driver.filter(|(driver, _)| !driver.is_empty()) else {
                if !inner.contains_key("driver") {
                    let what = "`driver` is missing (a driver name, NAME@VERSION, or the path of a module)";
                    self.fail(name.span(), format!("{prefix}: {what}"));
                }
                continue;
            };
            let common = self.params(inner, &prefix);
            let from = devices.len();
            self.ports(name.get_ref(), &prefix, &driver, inner, devices);
            for (_, device) in &mut devices[from..] {
                self.inherit(inner, &prefix, &common, device);
            }
        }
    }

    fn ports(
        &mut self,
        adapter: &str,
        prefix: &str,
        driver: &str,
        table: &DeTable<'_>,
        devices: &mut Vec<(usize, DeviceConfig)>,
    ) {
        let Some(ports) = self.table(table, "port", &format!("{prefix}.port")) else { return };
        let mut found = Vec::new();
        for (port, value) in ports.iter() {
            let name = format!("{adapter}-{}", port.get_ref());
            if let Err(message) = check_device_name(&name) {
                self.fail(port.span(), message);
                continue;
            }
            let prefix = format!("{prefix}.port.{}", port.get_ref());
            let DeValue::Table(inner) = value.get_ref() else {
                self.wrong(value, &prefix, "a table");
                continue;
            };
            let keys: Vec<&'static str> = DEVICE.iter().copied().chain(["number"]).collect();
            self.known_keys(inner, &format!("{prefix}."), &keys);
            let number = self.number(inner, "number", &format!("{prefix}.number"), 0..=MAX_NUMBER);
            if let Some(device) = self.device(&name, &prefix, port.span(), inner, Some(driver)) {
                found.push((port.span().start, number, device));
            }
        }
        found.sort_by_key(|(start, _, _)| *start);
        let mut taken: Vec<u32> = found.iter().filter_map(|(_, number, _)| Some((*number)? as u32)).collect();
        for (start, number, mut device) in found {
            if let Some(other) = devices.iter().find(|(_, other)| other.name == device.name) {
                let message =
                    format!("device `{}` is defined twice, first at {}", device.name, other.1.place);
                self.fail(start..start, message);
                continue;
            }
            let number = number.map(|n| n as u32).unwrap_or_else(|| {
                let free = (0..).find(|n| !taken.contains(n)).unwrap_or_default();
                taken.push(free);
                free
            });
            device.adapter = Some(AdapterRef { name: adapter.to_owned(), number });
            devices.push((start, device));
        }
    }

    /// What the adapter says holds for a port that does not say otherwise.
    fn inherit(&mut self, table: &DeTable<'_>, prefix: &str, common: &Params, device: &mut DeviceConfig) {
        for (name, value) in &common.0 {
            if !device.params.contains_key(name) {
                device.params.insert(name.clone(), value.clone());
                device.said.extend(common.1.get(name).map(|source| (name.clone(), source.clone())));
            }
        }
        let queues = self.number(table, "queues", &format!("{prefix}.queues"), 1..=super::MAX_QUEUES as u64);
        device.queues = device.queues.or(queues.map(|n| n as usize));
        let reserve = self.number(table, "reserve", &format!("{prefix}.reserve"), 0..=super::MAX_RESERVE);
        device.reserve = device.reserve.or(reserve);
        let (required, retry) = self.absence(table, prefix);
        device.required = device.required.or(required);
        device.retry = device.retry.or(retry);
        let unproven = self.unproven(table, &format!("{prefix}.unproven"));
        device.unproven = device.unproven.or(unproven);
        if device.once_per_start.is_none() && table.contains_key("once_per_start") {
            device.once_per_start = Some(self.flag(table, "once_per_start", prefix));
        }
    }
}
