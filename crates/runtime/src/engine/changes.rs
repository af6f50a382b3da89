//! What is done to ports, and asked about them, as the owner of the engine does it.

use crate::change::activate::ActivateOptions;
use crate::change::contents::Exchange;
use crate::change::params::ParamReport;
use crate::change::read_state::SavedState;
use crate::change::update::UpdateOptions;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::info::{CheckReport, DeviceInfo, ShadowInfo, Shrink};
use crate::port::config::{ClientNames, PortSpec};
use crate::port::rules::PortRules;
use std::collections::BTreeMap;
use std::path::Path;
use steadfast_loader::{ModuleStore, StagedModule};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ParamSpec, Value};
use steadfast_shell::properties::Definitions;
use steadfast_shell::receipt::{Outcome, Receipt};

impl Engine {
    /// Initialises a port anew with the set of properties that `parse` finds in the configuration: what
    /// was defined before, and is not in the set, goes back to its default. Other ports notice nothing.
    ///
    /// The receipt says how it went, step by step; unless the outcome is *done* the previous set is in
    /// force, and, unless it is *stranded*, the driver serves under it.
    pub fn activate(
        &self,
        name: &str,
        parse: impl FnOnce() -> Result<Definitions, String>,
        opts: &ActivateOptions,
    ) -> Receipt {
        self.control.activate(name, parse, opts)
    }

    /// Makes a port and connects its first driver.
    ///
    /// # Errors
    /// `Exists`, `Invalid` (name, parameters), `Driver` (it refused, with its reason).
    pub fn attach(&self, spec: PortSpec) -> Result<(), EngineError> {
        self.control.attach(spec)
    }

    /// The same for a port that rules are given for.
    ///
    /// # Errors
    /// As [`attach`](Engine::attach).
    pub fn attach_under(&self, spec: PortSpec, rules: PortRules) -> Result<(), EngineError> {
        self.control.attach_under(spec, rules)
    }

    /// Takes a port away. With clients it is refused, unless forced: then their requests in flight
    /// finish, and the next ones fail.
    ///
    /// # Errors
    /// `NotFound`, `Busy` (says how many clients, or that a transaction is under way), `Driver`.
    pub fn detach(&self, name: &str, force: bool) -> Result<(), EngineError> {
        self.control.detach(name, force)
    }

    /// What a port has open, by the name that it was opened under, and which file or device each is.
    pub fn behind(&self, port: &str) -> BTreeMap<String, String> {
        self.control.behind(port)
    }

    /// Clients that use a port, in words; `None` without any, or without such a port.
    pub fn used(&self, name: &str) -> Option<String> {
        self.control.used(name)
    }

    /// What a port would have behind it in place of something else, if these parameters changed; `None`
    /// where it stays what it is, whatever it is called, or cannot be found.
    pub fn exchange(&self, name: &str, changes: &BTreeMap<String, Option<String>>) -> Option<Exchange> {
        self.control.exchange(name, changes)
    }

    /// Says who the clients of a port are, by its name, for refusals: whoever serves them knows. Only the first is taken.
    pub fn name_clients(&self, names: ClientNames) {
        self.control.name_clients(names)
    }

    /// That a port is in use by so many clients, and who they are.
    pub fn used_by(&self, port: &str, clients: u32) -> String {
        self.control.used_by(port, clients)
    }

    /// The device for clients that name none: the first one, by the names of the ports; none where the port
    /// that would have it is down, since whoever had that device must not get another.
    pub fn first_device(&self) -> Option<DeviceInfo> {
        self.control.first_device()
    }

    /// Every parameter of a port under the driver that serves it, and the values in force; of one that is
    /// down, those that it was last given; none where nobody serves or is to.
    pub fn parameters(&self, name: &str) -> Option<(Vec<ParamSpec>, BTreeMap<String, Value>)> {
        self.control.parameters(name)
    }

    /// Changes live parameters of a port while it runs; `None` goes back to the default. All of the
    /// changes are made or none, between two requests of the driver; they stay through updates. `who` is
    /// the source that they have from then on.
    ///
    /// # Errors
    /// `NotFound`; `Invalid`: unknown, out of range or not live, each named with what is allowed;
    /// `Busy`: an update is under way, or nobody serves the port; `Driver`: the driver refused a value,
    /// and has the old ones again; `Unresponsive`: a queue does not answer.
    pub fn set_param(
        &self,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
        who: &str,
    ) -> Result<ParamReport, EngineError> {
        self.control.set_param(name, changes, who)
    }

    /// Every check that an update would make, without touching anything.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn check(
        &self,
        name: &str,
        staged: &StagedModule,
        opts: &UpdateOptions,
    ) -> Result<CheckReport, EngineError> {
        self.control.check(name, staged, opts)
    }

    /// The parameters whose values a driver would not take, of those that are given.
    pub fn refused_params(&self, manifest: &Manifest, given: &BTreeMap<String, String>) -> Vec<String> {
        self.control.refused_params(manifest, given)
    }

    /// The state that the driver of a port would leave now; its requests are held for as long as it
    /// takes to write it. Of a port without a driver: what the last one left.
    ///
    /// # Errors
    /// `NotFound`; `Busy`: an update is under way; `Unsupported`: the driver has state, but cannot write
    /// it while it serves; `Driver`: it failed to; `Unresponsive`.
    pub fn save_state(&self, name: &str) -> Result<Vec<SavedState>, EngineError> {
        self.control.save_state(name)
    }

    /// What makes a port's device smaller than it is, if these parameters changed; `None` where it does not, or
    /// that cannot be known before.
    pub fn shrinks(&self, port: &str, changes: &BTreeMap<String, Option<String>>) -> Option<Shrink> {
        self.control.shrinks(port, changes)
    }

    /// Replaces the driver of a port by a staged module.
    pub fn update(&self, name: &str, staged: &StagedModule, opts: &UpdateOptions) -> Receipt {
        self.control.update(name, staged, opts)
    }

    /// Replaces the driver of a port by the module in a file, which is copied into the store first.
    pub fn update_file(&self, name: &str, store: &ModuleStore, path: &Path, opts: &UpdateOptions) -> Receipt {
        self.control.update_file(name, store, path, opts)
    }

    /// The same by a module that is only staged when the port's turn has come.
    pub fn update_staged(
        &self,
        name: &str,
        stage: impl FnOnce() -> Result<StagedModule, String>,
        opts: &UpdateOptions,
    ) -> Receipt {
        self.control.update_staged(name, stage, opts)
    }

    /// Replaces the driver of a port by a module that the store has, by its hash.
    pub fn update_stored(
        &self,
        name: &str,
        store: &ModuleStore,
        hash: &str,
        opts: &UpdateOptions,
    ) -> Receipt {
        self.control.update_stored(name, store, hash, opts)
    }

    /// The receipt of an update that was turned away before it began.
    pub fn turn_away(&self, name: &str, outcome: Outcome, reason: String, opts: &UpdateOptions) -> Receipt {
        self.control.turn_away(name, outcome, reason, opts)
    }

    /// Ends the trial on a port because somebody asks for that; nothing is replaced. Says what it was, or
    /// `None` where there is none.
    pub fn stop_trial(&self, name: &str, why: &str) -> Option<ShadowInfo> {
        self.control.stop_trial(name, why)
    }

    /// Ends every trial, because the daemon stops.
    pub fn end_trials(&self, why: &str) {
        self.control.end_trials(why)
    }

    /// Looks whether the files behind a port are still where they were, or those behind all of them, so that
    /// what [`PortInfo`](crate::info::PortInfo) says of them is new. A file system that does not answer is waited for
    /// a moment only.
    pub fn look_at_files(&self, port: Option<&str>) {
        self.control.directory.look_at_files(port);
    }

    /// Why an activation of a port with these changes of parameters is refused unless it is forced: the names of
    /// its files lead elsewhere by now.
    pub fn gone_behind(&self, port: &str, changes: &BTreeMap<String, Option<String>>) -> Vec<String> {
        self.control.directory.gone_behind(port, changes)
    }
}
