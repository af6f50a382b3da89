//! With which module a port comes up, carried out.

use super::Serving;
use super::in_force::Sets;
use crate::app::App;
use crate::config::DeviceConfig;
use crate::config::module_path::is_module_path;
use crate::receipts::Receipts;
use std::sync::Arc;
use steadfast_api::{Cause, Kind, Outcome, Release, Requester};
use steadfast_loader::{ModuleName, StagedModule};
use steadfast_runtime::Engine;
use steadfast_shell::comeback::{Changes, Comeback, Named, Served, WhenUnproven, decide};

/// What a port comes up with, and what there is to note of it when it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comes {
    pub(super) serving: Option<Arc<Serving>>,
    /// Parameters that come with the module.
    pub(crate) changes: Changes,
    /// It is the one that served.
    from_store: bool,
    /// What the configuration means.
    meant: Option<Release>,
    ran: Option<Release>,
    pub(super) goes_back: bool,
    /// The receipt of the update to what was on probation.
    of_receipt: Option<u64>,
    note: String,
    /// What is saved and what was in force, where that is known.
    pub(super) sets: Option<Sets>,
}

/// How a configuration names its driver.
fn named(text: &str) -> Named {
    if is_module_path(text) {
        return Named::File;
    }
    match text.parse::<ModuleName>() {
        Ok(ModuleName { name, version: Some(versions) }) => Named::Pinned(name, versions),
        Ok(ModuleName { name, version: None }) => Named::Driver(name),
        Err(_) => Named::Driver(text.to_owned()),
    }
}

impl Comes {
    /// Decides it for a port whose configuration leads to `located`.
    ///
    /// # Errors
    /// It leads to nothing, and nobody has served the port.
    pub(crate) fn decide(
        serving: &Arc<Serving>,
        config: &DeviceConfig,
        located: Result<StagedModule, String>,
        mut stored: impl FnMut(&str) -> Result<StagedModule, String>,
    ) -> Result<(StagedModule, Comes), String> {
        let meant = located.as_ref().ok().map(StagedModule::release);
        let policy = serving.policy(config);
        let record = serving.of(&config.name);
        let comeback =
            decide(&config.driver, &named(&config.driver), meant.as_ref(), record.as_ref(), policy);
        let Comeback { served, ran, goes_back, mut note } = comeback;
        let of_receipt = record.as_ref().and_then(|record| Some(record.unproven.as_ref()?.receipt));
        let mut comes = Comes {
            serving: Some(Arc::clone(serving)),
            meant,
            ran,
            goes_back,
            of_receipt,
            ..Comes::default()
        };
        if let Some((release, changes)) = served {
            let same = located.as_ref().ok().filter(|located| located.hash == release.hash).cloned();
            match same.map_or_else(|| stored(&release.hash), Ok) {
                Ok(staged) => {
                    (comes.changes, comes.from_store, comes.note) = (changes, true, note);
                    return Ok((staged, comes));
                }
                Err(why) => {
                    let (driver, version) = (&release.driver, &release.version);
                    note = format!("{driver} {version}, which served it last, cannot: {why}");
                    comes.ran = Some(release).filter(|ran| comes.meant.as_ref() != Some(ran));
                }
            }
        }
        comes.note = note;
        located.map(|staged| (staged, comes))
    }

    /// What served cannot come up, and what the configuration names does.
    pub(crate) fn instead(self, served: Release, why: &str) -> Comes {
        let note = format!("{} {}, which served it last, cannot: {why}", served.driver, served.version);
        let (ran, changes) = (Some(served), Changes::new());
        Comes { ran, changes, note, from_store: false, goes_back: false, ..self }
    }

    /// Whether it is the module that served, and not what the configuration names.
    pub(crate) fn is_from_store(&self) -> bool {
        self.from_store
    }

    /// The port has come up.
    pub(crate) fn came_up(&self, engine: &Engine, config: &DeviceConfig, module: &Release) {
        let Some(serving) = &self.serving else { return };
        match serving.of(&config.name) {
            Some(_) => serving.change(&config.name, |served| {
                served.came_up(module.clone(), &config.driver, self.meant.clone(), self.from_store);
            }),
            None => {
                serving.begin(&config.name, Served::first(module.clone(), &config.driver, self.meant.clone()))
            }
        }
        serving.note_in_force(engine, config);
    }

    /// A difference between what ran and what came up is on record, and any is in the log: on the receipt of the
    /// update that goes back, or on one of its own.
    pub(crate) fn tell(&self, engine: &Engine, receipts: &Receipts, config: &DeviceConfig, module: &Release) {
        self.tell_set(engine, receipts, config);
        let (port, note) = (&config.name, &self.note);
        match (&self.ran, self.of_receipt) {
            _ if note.is_empty() => {}
            (None, _) => tracing::info!(port, "{note}"),
            (Some(_), Some(id)) if self.goes_back => {
                tracing::warn!(port, "{note}");
                receipts.amend(id, |receipt| receipt.notes = vec![note.clone()]);
            }
            (Some(ran), _) => {
                tracing::warn!(port, "{note}");
                let by = Requester { cause: Cause::Start, who: String::new() };
                let mut receipt = engine.begin_receipt(port, Kind::Update, &by, &config.driver);
                receipt.from = ran.clone();
                receipt.to = Some(module.clone());
                receipt.outcome = Outcome::Done;
                receipt.notes = vec![note.clone()];
                receipts.add(receipt);
            }
        }
    }
}

impl App {
    /// What the next start of the daemon comes up with on a port, where that is not what serves.
    pub(crate) fn next_start(&self, port: &str) -> Option<String> {
        let said: Vec<String> = self.next_module(port).into_iter().chain(self.next_set(port)).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// The same of its driver alone.
    pub(crate) fn next_module(&self, port: &str) -> Option<String> {
        let serving = self.serving()?;
        let (served, config) = (serving.of(port)?, self.topology.config_of(port)?);
        let running = served.unproven.as_ref().map_or(&served.module, |unproven| &unproven.module);
        let policy = serving.policy(&config);
        let meant = served.meant.as_ref();
        let next = decide(&config.driver, &named(&config.driver), meant, Some(&served), policy);
        let module = next.served.map(|(release, _)| release).or_else(|| meant.cloned())?;
        if module.hash == running.hash {
            return None;
        }
        // What has passed its probation by then may be put aside all the same.
        let mut passed = served.clone();
        if let Some(unproven) = &served.unproven {
            passed.proven(unproven.receipt);
        }
        let then = decide(&config.driver, &named(&config.driver), meant, Some(&passed), policy);
        let stays = then.served.map(|(release, _)| release).or_else(|| meant.cloned());
        let stays = stays.is_some_and(|release| release.hash == running.hash);
        let comes = format!("the next start comes up with {} {}", module.driver, module.version);
        Some(match (&served.unproven, policy) {
            (Some(unproven), WhenUnproven::Back) if stays && module.hash == served.module.hash => format!(
                "{comes}, unless the probation of {} {} is over by then",
                unproven.module.driver, unproven.module.version
            ),
            _ => format!(
                "{comes}: the configuration pins `{}` ({}); `steadfast update --save` moves that",
                config.driver, config.place
            ),
        })
    }
}
