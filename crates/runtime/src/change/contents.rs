//! What a port has open is what its devices contain. Another file, or another device below, means other data
//! under the same name: who uses a device must not find that from one request to the next, unless somebody
//! wants it so.

use crate::change::down::used_by;
use crate::control::Control;
use crate::driver::instance::Instance;
use crate::handle::Handle;
use crate::handle::ask::ask_file;
use crate::handle::contents::{Contents, Opened};
use crate::port::{Port, PortInner};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_shell::check;
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::ParamKind;
use steadfast_shell::sync::lock;

/// Other contents that a port would come to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Port.
    pub port: String,
    /// What is behind it now.
    pub from: String,
    /// What would be.
    pub to: String,
    /// Clients that have devices of it open.
    pub clients: u32,
    /// Who they are, as far as it is known.
    pub names: Vec<String>,
}

impl Exchange {
    /// Why it is not done under clients.
    pub fn why(&self) -> String {
        let Exchange { port, from, to, clients, names } = self;
        let used = used_by(port, *clients, names);
        if from == to {
            return format!(
                "{used}, and {to} is another file by now: it would put other contents under them"
            );
        }
        format!("{used}: {to} would put other contents under them than {from}")
    }
}

impl PortInner {
    /// What a driver of the port has open.
    pub(crate) fn opened_by(&self, instance: &Instance) -> Vec<Opened> {
        let numbers = lock(&instance.handles);
        let known = |number: &u32| self.handles.get(*number as usize)?.as_ref();
        numbers.iter().filter_map(known).map(Handle::opened).collect()
    }

    /// What a driver serves, for people.
    fn describe(&self, driver: &Manifest, opened: &[Opened], regions: &BTreeSet<u32>) -> String {
        let region = |number: &u32| self.regions.get(*number as usize)?.as_ref().map(|r| r.name.clone());
        let memory = || regions.iter().filter_map(region).map(|name| format!("memory `{name}` of the port"));
        let parts: Vec<String> = match opened {
            [] => memory().collect(),
            opened => opened.iter().map(|opened| opened.target.clone()).collect(),
        };
        let release = format!("{} {}", driver.name, driver.version);
        match parts.as_slice() {
            [] => format!("{release} (nothing that the shell knows of)"),
            parts => format!("{release} with {}", parts.join(", ")),
        }
    }

    /// What the driver that serves has open; where there is none, what the last one had.
    pub(crate) fn opened(&self) -> Vec<Opened> {
        match (&self.serving, &self.left) {
            (Some(serving), _) => self.opened_by(serving),
            (None, Some(left)) => left.opened.clone(),
            (None, None) => Vec::new(),
        }
    }

    /// What is behind the port, or was before it had no driver.
    pub(crate) fn behind(&self) -> Vec<Contents> {
        self.opened().into_iter().map(|opened| opened.contents).collect()
    }
}

/// Whether the contents of the one can be taken for those of the other: the same driver, or one that reads its
/// state.
pub(crate) fn related(now: &Manifest, next: &Manifest) -> bool {
    now.name == next.name || check::common_state_schema(now, next).is_some()
}

/// What a candidate would have behind a port, as far as it can be told before it runs.
pub(crate) struct Foreseen {
    pub(crate) known: check::Contents,
    pub(crate) what: String,
    pub(crate) clients: u32,
}

impl Control {
    /// As [`Engine::behind`](crate::Engine::behind).
    pub(crate) fn behind(&self, port: &str) -> BTreeMap<String, String> {
        let opened = self.find(port).map(|port| lock(&port.inner).opened()).unwrap_or_default();
        opened.into_iter().map(|opened| (opened.target, opened.contents.identity())).collect()
    }

    /// What the devices of a port would contain under a candidate with these changes of parameters; none where
    /// it has had no driver.
    pub(crate) fn foresee(
        &self,
        port: &Port,
        next: &Manifest,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Option<Foreseen> {
        let exchange = self.exchange(&port.name, changes);
        let inner = lock(&port.inner);
        let (now, regions) = match (&inner.serving, &inner.left) {
            (Some(now), _) => (now.module.manifest().clone(), lock(&now.regions).clone()),
            (None, Some(left)) => (left.manifest.clone(), left.regions.clone()),
            (None, None) => return None,
        };
        let (opened, clients) = (inner.opened(), inner.clients());
        let has = inner.describe(&now, &opened, &regions);
        let given = crate::change::prepare::changed(&inner.properties.given(), changes);
        drop(inner);
        let foreseen = |known, what| Some(Foreseen { known, what, clients });
        if let Some(exchange) = exchange {
            return foreseen(check::Contents::Other, format!("{has}, then {}", exchange.to));
        }
        if related(&now, next) {
            return foreseen(check::Contents::Same, format!("{has}, and {} stays with it", next.name));
        }
        // Its parameters name what it would open, if they do.
        let texts = next.params.iter().filter(|spec| matches!(spec.kind, ParamKind::Str | ParamKind::Path));
        let named: Vec<&String> = texts.filter_map(|spec| given.get(&spec.name)).collect();
        let names = |one: &Opened| {
            named.iter().any(|target| self.contents(&one.contents, target).as_ref() == Some(&one.contents))
        };
        let release = format!("{} {}", next.name, next.version);
        match (opened.is_empty(), regions.is_empty()) {
            (false, _) if !opened.iter().all(names) => {
                foreseen(check::Contents::Unknown, format!("{has}, which no parameter of {release} names"))
            }
            (true, true) => {
                foreseen(check::Contents::Unknown, format!("{has}; what {release} has is its own"))
            }
            (_, true) => foreseen(check::Contents::Same, format!("{has}, which {release} has too")),
            (_, false) => foreseen(check::Contents::Later, format!("{has}; {release} may ask for that too")),
        }
    }
}

impl Port {
    /// What `next` has open in place of something else.
    fn exchanged(&self, next: &Instance) -> Option<Exchange> {
        let inner = lock(&self.inner);
        let (now, next, down) = (inner.opened(), inner.opened_by(next), inner.down.is_some());
        now.iter().find_map(|now| {
            let mut same_key = next.iter().filter(|next| next.key == now.key);
            let other = same_key.clone().next()?;
            // Who takes a port down means to do something to what is behind it.
            let seen_to = |next: &Opened| down && next.target == now.target;
            let kept = same_key.any(|next| next.contents == now.contents || seen_to(next));
            (!kept).then(|| Exchange {
                port: self.name.clone(),
                from: now.target.clone(),
                to: other.target.clone(),
                clients: inner.clients(),
                names: Vec::new(),
            })
        })
    }

    /// What another driver than before serves in place of what that one served, where no state says that it
    /// is the same: then it has everything that the one before had, or it is not.
    fn replaced(&self, next: &Instance) -> Option<Exchange> {
        let inner = lock(&self.inner);
        let (now, opened, regions) = match (&inner.serving, &inner.left) {
            (Some(now), _) => (now.module.manifest(), inner.opened_by(now), lock(&now.regions).clone()),
            (None, Some(left)) => (&left.manifest, left.opened.clone(), left.regions.clone()),
            (None, None) => return None,
        };
        if related(now, next.module.manifest()) {
            return None;
        }
        let (next_opened, next_regions) = (inner.opened_by(next), lock(&next.regions).clone());
        let has = |one: &Opened| next_opened.iter().any(|next| next.contents == one.contents);
        // Beside a file, memory of the port is no more than what helps with it.
        let same = match (opened.is_empty(), regions.is_empty()) {
            (false, _) => opened.iter().all(has),
            (true, false) => regions.is_subset(&next_regions),
            (true, true) => false,
        };
        if same {
            return None;
        }
        Some(Exchange {
            port: self.name.clone(),
            from: inner.describe(now, &opened, &regions),
            to: inner.describe(next.module.manifest(), &next_opened, &next_regions),
            clients: inner.clients(),
            names: Vec::new(),
        })
    }

    /// A driver that is prepared is about to take over. Where it would put other contents under clients, it
    /// may not, unless forced. Where there are none, nobody gets a device until [`Port::reopen`].
    ///
    /// # Errors
    /// Who uses the port, and what they would find.
    pub(crate) fn begin_exchange(&self, next: &Instance, force: bool) -> Result<(), String> {
        lock(&self.inner).may_shrink = force;
        let Some(mut exchange) = self.exchanged(next).or_else(|| self.replaced(next)) else { return Ok(()) };
        exchange.names = self.client_names();
        let mut inner = lock(&self.inner);
        exchange.clients = inner.clients();
        match exchange.clients {
            0 => inner.shut = true,
            _ if force => tracing::warn!(port = self.name, "{}, and does, as was asked for", exchange.why()),
            _ => return Err(exchange.why()),
        }
        Ok(())
    }

    /// Devices of the port are to be had again.
    pub(crate) fn reopen(&self) {
        lock(&self.inner).shut = false;
    }
}

impl Control {
    /// As [`Engine::used`](crate::Engine::used).
    pub(crate) fn used(&self, name: &str) -> Option<String> {
        self.find(name)?.in_use()
    }

    /// As [`Engine::exchange`](crate::Engine::exchange).
    pub(crate) fn exchange(
        &self,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Option<Exchange> {
        let port = self.find(name)?;
        let (_, values) = self.parameters(name)?;
        let (opened, clients) = {
            let inner = lock(&port.inner);
            (inner.opened(), inner.clients())
        };
        let changed = |(name, to): (&String, &Option<String>)| {
            let (from, to) = (values.get(name)?.to_string(), to.as_ref()?);
            let now = opened.iter().find(|opened| opened.target == from)?;
            let next = self.contents(&now.contents, to)?;
            (next != now.contents).then(|| Exchange {
                port: port.name.clone(),
                from,
                to: to.clone(),
                clients,
                names: port.client_names(),
            })
        };
        changes.iter().find_map(changed)
    }

    /// What a name leads to, in the way of `like`.
    fn contents(&self, like: &Contents, target: &str) -> Option<Contents> {
        match like {
            Contents::File(_) | Contents::Block(_) => {
                let name = target.to_owned();
                let asked = ask_file(target, move || std::fs::metadata(name));
                asked?.ok().map(|meta| Contents::of(&meta))
            }
            Contents::Device(_) => self.directory.device(target).map(|device| Contents::Device(device.name)),
        }
    }
}
