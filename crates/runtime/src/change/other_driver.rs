//! Going from one driver to another takes one command: the one that the refusal names.

use crate::change::contents::Foreseen;
use crate::change::update::UpdateOptions;
use crate::handle::contents::Opened;
use std::collections::BTreeMap;
use steadfast_loader::StagedModule;
use steadfast_shell::check::{CheckRow, Contents};
use steadfast_shell::params::{self, ParamKind, ParamSpec, ShellDefaults, is_shells};
use steadfast_shell::quote::quoted;

/// Rows that say what an operator may decide; what any other refuses no option mends.
const DECIDED: &[&str] = &["driver", "state", "contents", "parameters"];

/// A driver of another name that is to serve a port.
pub(crate) struct Other<'a> {
    pub(crate) port: &'a str,
    pub(crate) candidate: &'a StagedModule,
    pub(crate) opts: &'a UpdateOptions,
    /// What the port has open.
    pub(crate) opened: &'a [Opened],
    /// What is known of its contents then.
    pub(crate) contents: Option<&'a Foreseen>,
}

impl Other<'_> {
    /// Adds to the last row that refuses the whole command that goes there, where there is one.
    pub(crate) fn tell(&self, rows: &mut [CheckRow], given: &BTreeMap<String, String>, shell: ShellDefaults) {
        if rows.iter().any(|row| !row.ok && !DECIDED.contains(&row.name.as_str())) {
            return;
        }
        let command = self.command(given, shell);
        if let Some(row) = rows.iter_mut().rfind(|row| !row.ok) {
            row.detail.push_str(&format!("; the whole command: `{command}`"));
        }
    }

    fn command(&self, given: &BTreeMap<String, String>, shell: ShellDefaults) -> String {
        let (set, unset, same) = self.changes(given, shell);
        let module = quoted(&self.candidate.source.display().to_string());
        let mut command = format!("steadfast update {} {module} --allow-other", quoted(self.port));
        if self.opts.force || !same && self.takes_force() {
            command.push_str(" --force");
        }
        unset.iter().for_each(|name| command.push_str(&format!(" --unset {name}")));
        for (name, value) in &set {
            command.push_str(&format!(" --set {}", quoted(&format!("{name}={value}"))));
        }
        command
    }

    /// Whether clients would find other contents.
    fn takes_force(&self) -> bool {
        let opens = |spec: &ParamSpec| spec.required && spec.kind == ParamKind::Path;
        self.contents.is_some_and(|contents| match contents.known {
            _ if contents.clients == 0 => false,
            Contents::Same => false,
            // Memory of the port is not in a file that it must be given.
            Contents::Later => self.candidate.manifest.params.iter().any(opens),
            Contents::Other | Contents::Unknown => true,
        })
    }

    /// Parameters to set and to unset, those that were asked for among them; and whether what is set names all
    /// that the port has open.
    fn changes(
        &self,
        given: &BTreeMap<String, String>,
        shell: ShellDefaults,
    ) -> (BTreeMap<String, String>, Vec<String>, bool) {
        let specs = &self.candidate.manifest.params;
        let table = params::table(specs, shell);
        let errors = params::resolve(&table, given).err().unwrap_or_default();
        let wrong = |name: &str| errors.iter().any(|error| error.names().contains(&name));
        let mut set = BTreeMap::new();
        let mut unset: Vec<String> = Vec::new();
        for (name, value) in &self.opts.params {
            match value {
                Some(value) if !wrong(name) => _ = set.insert(name.clone(), value.clone()),
                Some(_) => {}
                None => unset.push(name.clone()),
            }
        }
        let required = |name: &str| specs.iter().find(|spec| spec.name == name && spec.required);
        let refused = given.keys().filter(|name| wrong(name) && required(name).is_none());
        unset.extend(refused.filter(|name| !self.opts.params.contains_key(*name)).cloned());
        let missing =
            specs.iter().filter(|spec| spec.required && wrong(&spec.name) && !is_shells(&spec.name));
        let mut named = 0;
        for spec in missing {
            let target =
                self.opened.first().filter(|_| spec.kind == ParamKind::Path && self.opened.len() == 1);
            named += usize::from(target.is_some());
            set.insert(spec.name.clone(), target.map_or_else(|| placeholder(spec), |one| one.target.clone()));
        }
        (set, unset, named > 0)
    }
}

/// What stands for a value that only the operator knows.
fn placeholder(spec: &ParamSpec) -> String {
    spec.name.to_uppercase()
}
