//! The properties of a port, in their layers.
//!
//! ```text
//!  driver properties      set since the driver attached; can also *undefine* what is below
//!  load-time properties   as they were when the driver attached at start; indelible
//!  driver default         from the table of parameters
//! ```
//! The last definition wins. *Undefining* hides a lower definition and lets the default through.

use crate::params::{ActivationClass, ParamSpec, Value, resolve};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where a definition was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A configuration file.
    File {
        /// Its path.
        path: String,
        /// Line, from 1.
        line: u32,
    },
    /// An option of the daemon's command line.
    Option {
        /// The option as it was given.
        text: String,
    },
    /// A command, by somebody.
    Command {
        /// Who, as the control socket knows it.
        who: String,
    },
    /// A named set of values.
    Environment {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { path, line } => write!(f, "{path}:{line}"),
            Source::Option { text } => f.write_str(text),
            Source::Command { who } => write!(f, "command by {who}"),
            Source::Environment { name } => write!(f, "profile {name}"),
        }
    }
}

/// A value, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The value, as text.
    pub value: String,
    /// Where it was said.
    pub source: Source,
}

/// Definitions by name.
pub type Definitions = BTreeMap<String, Definition>;

/// Which layer the value in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Nobody defined it, or it was undefined.
    Default,
    /// When the driver attached at start.
    LoadTime,
    /// Since then.
    Driver,
}

impl Layer {
    /// The layer's name.
    pub const fn name(self) -> &'static str {
        match self {
            Layer::Default => "default",
            Layer::LoadTime => "load-time",
            Layer::Driver => "driver",
        }
    }
}

/// The properties of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    load_time: Definitions,
    /// `None`: undefined here, whatever is below.
    driver: BTreeMap<String, Option<Definition>>,
}

impl Properties {
    /// As they are when a driver attaches at start: these, from now on indelible.
    pub fn loaded(load_time: Definitions) -> Properties {
        Properties { load_time, driver: BTreeMap::new() }
    }

    /// The load-time properties.
    pub fn load_time(&self) -> &Definitions {
        &self.load_time
    }

    /// The definition in force, and its layer; none where the default holds.
    pub fn get(&self, name: &str) -> Option<(&Definition, Layer)> {
        match self.driver.get(name) {
            Some(own) => own.as_ref().map(|definition| (definition, Layer::Driver)),
            None => self.load_time.get(name).map(|definition| (definition, Layer::LoadTime)),
        }
    }

    /// Whether there is a load-time property of that name that does not show.
    pub fn hides(&self, name: &str) -> bool {
        self.load_time.contains_key(name) && self.driver.contains_key(name)
    }

    /// Defines a driver property.
    pub fn define(&mut self, name: &str, definition: Definition) {
        self.driver.insert(name.to_owned(), Some(definition));
    }

    /// Lets the driver's default through.
    pub fn undefine(&mut self, name: &str) {
        if self.load_time.contains_key(name) {
            self.driver.insert(name.to_owned(), None);
        } else {
            self.driver.remove(name);
        }
    }

    /// Takes every driver property away: the load-time ones show again.
    pub fn clear(&mut self) {
        self.driver.clear();
    }

    /// Undefines every load-time property, so that a parameter that was defined then and is not any more
    /// goes back to its default.
    pub fn undefine_load_time(&mut self) {
        let names: Vec<String> = self.load_time.keys().cloned().collect();
        names.iter().for_each(|name| self.undefine(name));
    }

    /// Every definition in force.
    pub fn in_force(&self) -> Definitions {
        let names: BTreeSet<&String> = self.load_time.keys().chain(self.driver.keys()).collect();
        let known = |name: &String| Some((name.clone(), self.get(name)?.0.clone()));
        names.into_iter().filter_map(known).collect()
    }

    /// Names that something else is said of here than in `before`, whatever it comes to.
    pub fn changed_since(&self, before: &Properties) -> BTreeSet<String> {
        let names = self.driver.keys().chain(before.driver.keys());
        let names = names.chain(self.load_time.keys()).chain(before.load_time.keys());
        let said =
            |p: &Properties, name: &String| (p.driver.get(name).cloned(), p.load_time.get(name).cloned());
        names.filter(|name| said(self, name) != said(before, name)).cloned().collect()
    }

    /// Takes over what `younger` says of these names.
    pub fn take_over(&mut self, younger: &Properties, names: &BTreeSet<String>) {
        for name in names {
            match younger.driver.get(name) {
                Some(said) => drop(self.driver.insert(name.clone(), said.clone())),
                None => drop(self.driver.remove(name)),
            }
        }
    }

    /// Every value in force that is not a default.
    pub fn given(&self) -> BTreeMap<String, String> {
        values_of(&self.in_force())
    }
}

/// The values without where they were said.
pub fn values_of(definitions: &Definitions) -> BTreeMap<String, String> {
    definitions.iter().map(|(name, d)| (name.clone(), d.value.clone())).collect()
}

/// One definition (`None` undefines) of a layer that is being put together.
pub type Said = (String, Option<Definition>);

/// What layers come to, the lowest first: the last word on a name wins.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a [Said]>) -> Definitions {
    let mut all = Definitions::new();
    for (name, said) in layers.into_iter().flatten() {
        match said {
            Some(definition) => drop(all.insert(name.clone(), definition.clone())),
            None => drop(all.remove(name)),
        }
    }
    all
}

/// A parameter whose saved value is another one than the value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Parameter.
    pub name: String,
    /// Value in force; none where it is undefined.
    pub current: Option<Value>,
    /// Value that is saved.
    pub saved: Option<Value>,
    /// What a change of it takes.
    pub class: ActivationClass,
}

/// Compares what is in force with what is saved, value by value: two ways to write one value are no
/// difference, and going back to what runs leaves nothing pending.
///
/// # Errors
/// The faults of `saved`, when it would not do.
pub fn pending(
    table: &[ParamSpec],
    current: &BTreeMap<String, Value>,
    saved: &BTreeMap<String, String>,
) -> Result<Vec<Pending>, Vec<crate::params::ParamError>> {
    let saved = resolve(table, saved)?;
    let differs = |spec: &&ParamSpec| current.get(&spec.name) != saved.get(&spec.name);
    let describe = |spec: &ParamSpec| Pending {
        name: spec.name.clone(),
        current: current.get(&spec.name).cloned(),
        saved: saved.get(&spec.name).cloned(),
        class: spec.class,
    };
    Ok(table.iter().filter(differs).map(describe).collect())
}

#[cfg(test)]
mod tests;
