//! The TOML form. The document is walked by hand, so that every error can name the line, the value
//! and what is allowed, and so that all of them are reported at once.

mod adapter;
mod doors;
mod watch;

use super::{
    Config, ConfigError, ConfigErrors, DeviceConfig, HISTORY, MAX_QUEUES, MAX_TRANSFER, Place, Retry, SLOTS,
    check_device_name, check_hardware,
};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use steadfast_api::suggest;
use steadfast_runtime::HardwareId;
use steadfast_shell::comeback::WhenUnproven;
use steadfast_shell::params::parse_size;
use steadfast_shell::properties::Source;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const TOP: &[&str] = &[
    "store",
    "modules",
    "state",
    "history",
    "parameters",
    "trusted_keys",
    "require_signed",
    "once_per_start",
    "unproven",
    "require_min_from",
    "queues",
    "slots",
    "max_transfer",
    "busy_poll",
    "control",
    "nbd",
    "watch",
    "adapter",
    "device",
];
/// Most memory that is kept ready for the drivers of a device, per port and per queue.
pub(super) const MAX_RESERVE: u64 = 1 << 30;

const DEVICE: &[&str] = &[
    "driver",
    "target",
    "queues",
    "params",
    "auto_update",
    "hardware",
    "revision",
    "once_per_start",
    "unproven",
    "reserve",
    "required",
    "retry",
];

pub(super) fn parse(text: &str, path: &Path) -> Result<Config, ConfigErrors> {
    let mut config = parse_whole(text, path)?;
    let faults = std::mem::take(&mut config.faults);
    if faults.is_empty() { Ok(config) } else { Err(ConfigErrors(faults)) }
}

/// The same; what is wrong is in `faults`, beside all that could be made out.
///
/// # Errors
/// The text is no TOML, so that nothing can be made out.
pub(super) fn parse_whole(text: &str, path: &Path) -> Result<Config, ConfigErrors> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let base = std::path::absolute(&folder).unwrap_or(folder);
    let mut reader = Reader { text, path, base, errors: Vec::new() };
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in syntax {
        let span = error.span().unwrap_or(0..0);
        reader.fail(span, error.message().to_owned());
    }
    if !reader.errors.is_empty() {
        // What follows a syntax error is guesswork; errors in it would only confuse.
        return Err(ConfigErrors(reader.errors));
    }
    let mut config = reader.config(document.get_ref());
    config.faults = reader.errors;
    Ok(config)
}

type Value<'a> = Spanned<DeValue<'a>>;
/// Parameters by name, and where each was said.
type Params = (BTreeMap<String, String>, BTreeMap<String, Source>);

struct Reader<'t> {
    text: &'t str,
    path: &'t Path,
    base: PathBuf,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn config(&mut self, table: &DeTable<'_>) -> Config {
        self.known_keys(table, "", TOP);
        let mut config = Config {
            store: self.path(table, "store", "store"),
            state: self.path(table, "state", "state"),
            parameters: self.path(table, "parameters", "parameters"),
            source: Some(self.path.to_owned()),
            history: self.number(table, "history", "history", HISTORY).map(|n| n as u32),
            trusted_keys: self.path(table, "trusted_keys", "trusted_keys"),
            require_signed: self.flag(table, "require_signed", "require_signed"),
            once_per_start: self.flag(table, "once_per_start", "once_per_start"),
            unproven: self.unproven(table, "unproven").unwrap_or_default(),
            require_min_from: self.flag(table, "require_min_from", "require_min_from"),
            modules: self.list(table, "modules", "modules", |reader, text, _| {
                Some(super::path_from(&reader.base, text))
            }),
            queues: self.number(table, "queues", "queues", 1..=MAX_QUEUES as u64).map(|n| n as usize),
            slots: self.number(table, "slots", "slots", SLOTS).map(|n| n as u32),
            max_transfer: self.number(table, "max_transfer", "max_transfer", MAX_TRANSFER).map(|n| n as u32),
            busy_poll: self.flag(table, "busy_poll", "busy_poll"),
            ..Config::default()
        };
        if let Some(control) = self.table(table, "control", "control") {
            config.control = self.control(control);
        }
        if let Some(nbd) = self.table(table, "nbd", "nbd") {
            config.nbd = self.nbd(nbd);
        }
        if let Some(watch) = self.table(table, "watch", "watch") {
            config.watch = self.watch(watch);
        }
        let mut devices = match self.table(table, "device", "device") {
            Some(devices) => self.devices(devices),
            None => Vec::new(),
        };
        if let Some(adapters) = self.table(table, "adapter", "adapter") {
            self.adapters(adapters, &mut devices);
        }
        devices.sort_by_key(|(start, _)| *start);
        config.devices = devices.into_iter().map(|(_, device)| device).collect();
        config
    }

    /// Devices, each with where it begins.
    fn devices(&mut self, table: &DeTable<'_>) -> Vec<(usize, DeviceConfig)> {
        let mut devices = Vec::new();
        for (name, value) in table.iter() {
            if let Err(message) = check_device_name(name.get_ref()) {
                self.fail(name.span(), message);
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) => {
                    let prefix = format!("device.{}", name.get_ref());
                    self.known_keys(inner, &format!("{prefix}."), DEVICE);
                    let device = self.device(name.get_ref(), &prefix, name.span(), inner, None);
                    devices.extend(device.map(|d| (name.span().start, d)));
                }
                _ => self.wrong(value, &format!("device.{}", name.get_ref()), "a table"),
            }
        }
        devices
    }

    /// A device; `of` is the driver of the adapter that it is of, which holds unless it names one itself.
    fn device(
        &mut self,
        name: &str,
        prefix: &str,
        span: Range<usize>,
        table: &DeTable<'_>,
        of: Option<&str>,
    ) -> Option<DeviceConfig> {
        let own = self.string(table, "driver", &format!("{prefix}.driver"));
        let driver = own.or_else(|| of.map(|driver| (driver.to_owned(), span.clone())));
        if of.is_none() && !table.contains_key("driver") {
            self.fail(
                span.clone(),
                format!(
                    "{prefix}: `driver` is missing (a driver name, NAME@VERSION, or the path of a module)"
                ),
            );
        }
        let target = self.string(table, "target", &format!("{prefix}.target"));
        let queues = self.number(table, "queues", &format!("{prefix}.queues"), 1..=MAX_QUEUES as u64);
        let (params, said) = self.params(table, prefix);
        let target_said = target.as_ref().map(|(_, span)| self.place(span).source());
        let auto_update = self.auto_update(table, &format!("{prefix}.auto_update"), None);
        let hardware = self.hardware(table, prefix);
        let once = format!("{prefix}.once_per_start");
        let once_per_start =
            table.contains_key("once_per_start").then(|| self.flag(table, "once_per_start", &once));
        let unproven = self.unproven(table, &format!("{prefix}.unproven"));
        let reserve = self.number(table, "reserve", &format!("{prefix}.reserve"), 0..=MAX_RESERVE);
        let (required, retry) = self.absence(table, prefix);
        let (driver, _) = driver?;
        if driver.is_empty() {
            self.fail(span, format!("{prefix}.driver: it is empty"));
            return None;
        }
        Some(DeviceConfig {
            name: name.to_owned(),
            driver,
            target: target.map(|(text, _)| text),
            queues: queues.map(|n| n as usize),
            params,
            said,
            target_said,
            auto_update,
            hardware,
            once_per_start,
            unproven,
            reserve,
            required,
            retry,
            adapter: None,
            place: self.place(&span),
            base: self.base.clone(),
        })
    }

    /// What holds where it cannot come up: whether the daemon starts without it, and when it is tried again.
    fn absence(&mut self, table: &DeTable<'_>, prefix: &str) -> (Option<bool>, Option<Retry>) {
        let name = format!("{prefix}.required");
        let required = table.contains_key("required").then(|| self.flag(table, "required", &name));
        let retry = match self.string(table, "retry", &format!("{prefix}.retry")) {
            Some((text, span)) => {
                text.parse().map_err(|e| self.fail(span, format!("{prefix}.retry: {e}"))).ok()
            }
            None => None,
        };
        (required, retry)
    }

    fn unproven(&mut self, table: &DeTable<'_>, name: &str) -> Option<WhenUnproven> {
        let (text, span) = self.string(table, "unproven", name)?;
        match text.as_str() {
            "back" => Some(WhenUnproven::Back),
            "keep" => Some(WhenUnproven::Keep),
            _ => {
                self.fail(span, format!("{name}: `{text}` is not allowed (back or keep)"));
                None
            }
        }
    }

    /// Parameters, and where each was said.
    fn params(&mut self, table: &DeTable<'_>, prefix: &str) -> Params {
        let mut params = Params::default();
        let Some(inner) = self.table(table, "params", &format!("{prefix}.params")) else { return params };
        for (key, value) in inner.iter() {
            match scalar(value) {
                Some(text) => {
                    params.0.insert(key.get_ref().to_string(), text);
                    params.1.insert(key.get_ref().to_string(), self.place(&key.span()).source());
                }
                None => self.wrong(
                    value,
                    &format!("{prefix}.params.{}", key.get_ref()),
                    "a string, a number, true or false",
                ),
            }
        }
        params
    }

    /// The hardware that is said to be behind a device: one piece of it, so without wildcards.
    fn hardware(&mut self, table: &DeTable<'_>, prefix: &str) -> Option<HardwareId> {
        let revision = self.number(table, "revision", &format!("{prefix}.revision"), 0..=u64::from(u32::MAX));
        let name = format!("{prefix}.hardware");
        let Some((hwid, span)) = self.string(table, "hardware", &name) else {
            if let Some(value) = table.get("revision") {
                self.fail(value.span(), format!("{prefix}.revision: there is no `hardware` that it is of"));
            }
            return None;
        };
        if let Err(e) = check_hardware(&hwid) {
            self.fail(span, format!("{name}: {e}"));
        }
        Some(HardwareId { hwid, revision: revision.unwrap_or(0) as u32 })
    }

    fn table<'a, 'd>(&mut self, table: &'a DeTable<'d>, key: &str, name: &str) -> Option<&'a DeTable<'d>> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::Table(inner) => Some(inner),
            _ => {
                self.wrong(value, name, "a table");
                None
            }
        }
    }

    fn string(&mut self, table: &DeTable<'_>, key: &str, name: &str) -> Option<(String, Range<usize>)> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.to_string(), value.span())),
            _ => {
                self.wrong(value, name, "a string");
                None
            }
        }
    }

    fn flag(&mut self, table: &DeTable<'_>, key: &str, name: &str) -> bool {
        match table.get(key).map(|value| (value, value.get_ref())) {
            None => false,
            Some((_, DeValue::Boolean(flag))) => *flag,
            Some((value, _)) => {
                self.wrong(value, name, "true or false");
                false
            }
        }
    }

    fn path(&mut self, table: &DeTable<'_>, key: &str, name: &str) -> Option<PathBuf> {
        let (text, span) = self.string(table, key, name)?;
        if text.is_empty() {
            self.fail(span, format!("{name}: it is empty (a path)"));
            return None;
        }
        Some(super::path_from(&self.base, text))
    }

    /// A number, or a size as text.
    fn number(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::String(text) => parse_size(text).ok(),
            _ => integer(value).and_then(|n| u64::try_from(n).ok()),
        };
        match number.filter(|n| range.contains(n)) {
            Some(number) => Some(number),
            None => {
                self.wrong(value, name, &format!("{} to {}", range.start(), range.end()));
                None
            }
        }
    }

    fn list<T>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        name: &str,
        mut item: impl FnMut(&mut Self, &str, Range<usize>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let DeValue::Array(values) = value.get_ref() else {
            self.wrong(value, name, "a list of strings");
            return Vec::new();
        };
        let mut items = Vec::new();
        for value in values {
            match value.get_ref() {
                DeValue::String(text) => items.extend(item(self, text, value.span())),
                _ => self.wrong(value, name, "a list of strings"),
            }
        }
        items
    }

    fn known_keys(&mut self, table: &DeTable<'_>, prefix: &str, known: &[&'static str]) {
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let hint = suggest::hint(name, known.iter().copied());
                self.fail(key.span(), format!("unknown key `{prefix}{name}`: {hint}"));
            }
        }
    }

    fn wrong(&mut self, value: &Value<'_>, name: &str, allowed: &str) {
        let shown: String = self.text[value.span()].chars().take(60).collect();
        self.fail(value.span(), format!("{name}: {shown} is not allowed ({allowed})"));
    }

    fn fail(&mut self, span: Range<usize>, message: String) {
        let place = self.place(&span);
        self.errors.push(ConfigError::new(place, message));
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        Place::Line(self.path.to_owned(), line, before[start..].chars().count() + 1)
    }
}

fn integer(value: &Value<'_>) -> Option<i128> {
    match value.get_ref() {
        DeValue::Integer(n) => i128::from_str_radix(n.as_str(), n.radix()).ok(),
        _ => None,
    }
}

fn scalar(value: &Value<'_>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(b) => Some(b.to_string()),
        DeValue::Integer(_) => integer(value).map(|n| n.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
