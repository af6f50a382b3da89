//! `[watch]`, and `auto_update` of a device.

use super::{DeTable, DeValue, Reader};
use crate::config::{AutoConfig, WatchConfig, parse_duration, parse_latency_bound, parse_share};
use semver::VersionReq;
use std::ops::RangeInclusive;
use std::time::Duration;
use steadfast_shell::auto::AutoUpdate;
use steadfast_shell::probation::Terms;

const WATCH: &[&str] = &["folders", "settle", "rescan", "auto_update"];
const AUTO: &[&str] = &["policy", "version", "probation", "max_error_rate", "max_latency"];

const SETTLE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
const RESCAN: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
const PROBATION: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

impl Reader<'_> {
    pub(super) fn watch(&mut self, table: &DeTable<'_>) -> WatchConfig {
        self.known_keys(table, "watch.", WATCH);
        let usual = WatchConfig::default();
        let folders = self.list(table, "folders", "watch.folders", |reader, text, span| {
            if text.is_empty() {
                reader.fail(span, "watch.folders: it is empty (a path)".to_owned());
                return None;
            }
            Some(crate::config::path_from(&reader.base, text))
        });
        WatchConfig {
            folders,
            settle: self.time(table, "settle", "watch.settle", SETTLE).unwrap_or(usual.settle),
            rescan: self.time(table, "rescan", "watch.rescan", RESCAN).unwrap_or(usual.rescan),
            default: self
                .auto_update(table, "watch.auto_update", Some(usual.default.policy))
                .unwrap_or(usual.default),
        }
    }

    /// A policy by its name, or a table. The table may leave the policy out where one is usual; a
    /// device's may not, for it would stand in the way of the one that all others have.
    pub(super) fn auto_update(
        &mut self,
        table: &DeTable<'_>,
        name: &str,
        usually: Option<AutoUpdate>,
    ) -> Option<AutoConfig> {
        let value = table.get("auto_update")?;
        let inner = match value.get_ref() {
            DeValue::Table(inner) => inner,
            DeValue::String(_) => {
                let policy = self.parsed(table, "auto_update", name, str::parse)?;
                return Some(AutoConfig { policy, ..AutoConfig::default() });
            }
            _ => {
                self.wrong(value, name, "off, notify, auto, or a table");
                return None;
            }
        };
        let within = |key: &str| format!("{name}.{key}");
        self.known_keys(inner, &within(""), AUTO);
        let usual = AutoConfig::default();
        let length = self.time(inner, "probation", &within("probation"), PROBATION);
        let mut terms = length.map_or(usual.terms, |length| Terms::new(length.as_nanos() as u64));
        terms.max_error_rate = self.parsed(inner, "max_error_rate", &within("max_error_rate"), parse_share);
        if let Some(bound) = self.parsed(inner, "max_latency", &within("max_latency"), parse_latency_bound) {
            terms.max_latency = bound;
        }
        let policy = self.parsed(inner, "policy", &within("policy"), str::parse);
        if usually.is_none() && !inner.contains_key("policy") {
            self.fail(value.span(), format!("{name}: `policy` is missing (off, notify or auto)"));
        }
        let requirement = |text: &str| {
            VersionReq::parse(text)
                .map_err(|e| format!("`{text}` is no version requirement such as \">=1.1, <2\": {e}"))
        };
        let version = self.parsed(inner, "version", &within("version"), requirement);
        Some(AutoConfig { policy: policy.or(usually).unwrap_or(usual.policy), version, terms })
    }

    /// A string that is parsed.
    fn parsed<T>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, span) = self.string(table, key, name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.fail(span, format!("{name}: {what}"));
                None
            }
        }
    }

    pub(super) fn time(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        name: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let time = self.parsed(table, key, name, parse_duration)?;
        if range.contains(&time) {
            return Some(time);
        }
        if let Some(value) = table.get(key) {
            self.wrong(value, name, &format!("{:?} to {:?}", range.start(), range.end()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::{Path, PathBuf};
    use steadfast_shell::auto::AutoUpdate;
    use steadfast_shell::probation::LatencyBound;

    fn parse(text: &str) -> Result<Config, String> {
        super::super::parse(text, Path::new("/etc/steadfast.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn folders_and_policies() {
        let config = parse(
            r#"
            [watch]
            folders = ["modules", "/usr/lib/steadfast/modules"]
            settle = "100ms"
            auto_update = "off"
            [device.vol0]
            driver = "ram"
            auto_update = { policy = "auto", version = ">=1.1, <2", probation = "1m", max_error_rate = "1%", max_latency = "10ms" }
            [device.vol1]
            driver = "ram"
            auto_update = "notify"
            [device.vol2]
            driver = "ram"
            "#,
        )
        .expect("valid");
        let folders: Vec<PathBuf> = ["/etc/modules", "/usr/lib/steadfast/modules"].map(PathBuf::from).into();
        assert_eq!((config.watch.folders, config.watch.settle.as_millis()), (folders, 100));
        assert_eq!(config.watch.default.policy, AutoUpdate::Off);
        let own = |i: usize| config.devices[i].auto_update.clone();
        let auto = own(0).expect("a table");
        assert_eq!(auto.policy, AutoUpdate::Auto);
        assert_eq!(auto.version.expect("given").to_string(), ">=1.1, <2");
        assert_eq!((auto.terms.length_ns, auto.terms.max_error_rate), (60_000_000_000, Some(0.01)));
        assert_eq!(auto.terms.max_latency, LatencyBound::Ns(10_000_000));
        assert_eq!(own(1).map(|auto| auto.policy), Some(AutoUpdate::Notify));
        assert_eq!(own(2), None);
    }

    #[test]
    fn a_policy_without_a_folder_is_found_when_all_is_known() {
        let says = |text: &str| -> Vec<String> {
            parse(text).expect("valid").watches_nothing().iter().map(ToString::to_string).collect()
        };
        let device = "[device.vol0]\ndriver = \"ram\"\nauto_update = \"notify\"\n";
        let found = says(device);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].ends_with("device.vol0.auto_update: `notify`, but no folder is watched"),
            "{found:?}"
        );
        assert_eq!(says("[watch]\nauto_update = \"auto\"\n").len(), 1);
        assert_eq!(says(&format!("{device}[watch]\nfolders = [\"modules\"]\n")).len(), 0);
        assert_eq!(says(&device.replace("notify", "off")).len(), 0);
        assert_eq!(says("").len(), 0, "what holds where nothing is said is no mistake");
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, says) in [
            ("[watch]\nfolder = \"x\"", "unknown key `watch.folder`"),
            ("[watch]\nfolders = [\"\"]", "watch.folders: it is empty"),
            ("[watch]\nsettle = \"1ms\"", "watch.settle: \"1ms\" is not allowed (10ms to 600s)"),
            ("[watch]\nauto_update = \"on\"", "watch.auto_update: `on` is not allowed (off, notify or auto)"),
            ("[watch]\nauto_update = 1", "watch.auto_update: 1 is not allowed"),
            ("[watch.auto_update]\nversion = \"one\"", "watch.auto_update.version: `one`"),
            ("[watch.auto_update]\nmax_latency = \"3\"", "watch.auto_update.max_latency: `3`"),
            (
                "[device.vol0]\ndriver = \"ram\"\nauto_update = { version = \">=1\" }",
                ":3:15: device.vol0.auto_update: `policy` is missing",
            ),
            ("[watch.auto_update]\nmax_error_rate = \"many\"", "watch.auto_update.max_error_rate: `many`"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(says), "{error}");
        }
    }
}
