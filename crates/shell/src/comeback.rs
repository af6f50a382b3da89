//! Which module a port comes up with: the one that last served it well, or the one that its configuration names.
//!
//! | the configuration | comes up with |
//! |---|---|
//! | names a driver (`file`) | what served last |
//! | pins versions (`file@1.1.0`) | what served last if that is one of them, else what it pins |
//! | names a file | what served last, unless there is another module in the file since |
//! | was edited since | what it names |
//!
//! A module on probation has not served well yet: [`WhenUnproven`] says what becomes of it. Whenever what comes
//! up is not what ran, or not what the configuration names, there is a sentence about it.

use crate::receipt::Release;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

mod in_force;

pub use in_force::{DEVICE, Difference, InForce, differences, steps, values};

/// Parameters that came with a module; `None` made one undefined.
pub type Changes = BTreeMap<String, Option<String>>;

/// What is known of who served a port, and kept across starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Who last served it well.
    pub module: Release,
    /// Parameters that came with it by an update, and have not been activated away since.
    #[serde(default)]
    pub params: Changes,
    /// What going back leads to.
    #[serde(default)]
    pub before: Option<Release>,
    /// Who runs on probation.
    #[serde(default)]
    pub unproven: Option<Unproven>,
    /// The driver as the configuration named it when this was noted.
    pub named: String,
    /// The module that this meant then.
    #[serde(default)]
    pub meant: Option<Release>,
    /// Hashes of modules that the port went back from: the last ones, the newest at the end.
    #[serde(default)]
    pub rejected: VecDeque<String>,
    /// Hashes of modules of which a driver was put away without its consent: the last ones, the newest at the end.
    #[serde(default)]
    pub put_away: VecDeque<String>,
    /// Who ran last, where it was put away and nobody has served since.
    #[serde(default)]
    pub gone: Option<Release>,
    /// What was in force when that was last noted.
    #[serde(default)]
    pub in_force: Option<InForce>,
}

/// A module on probation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    /// The module.
    pub module: Release,
    /// As for one that has served well.
    #[serde(default)]
    pub params: Changes,
    /// Receipt of its update.
    pub receipt: u64,
}

/// What a port comes up with whose module was on probation when the daemon ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnproven {
    /// With what served before.
    #[default]
    Back,
    /// With it.
    Keep,
}

/// How a configuration names a driver.
#[derive(Clone, Debug, PartialEq)]
pub enum Named {
    /// By its name: any version.
    Driver(String),
    /// By its name and the versions that are meant.
    Pinned(String, VersionReq),
    /// By a file.
    File,
}

/// What a port comes up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// The module that served, with the parameters that came with it; none where it is the one that the
    /// configuration names.
    pub served: Option<(Release, Changes)>,
    /// Who ran last, where that is another one than what comes up.
    pub ran: Option<Release>,
    /// It goes back from a module on probation.
    pub goes_back: bool,
    /// What there is to say of it; empty when it is what ran and what the configuration names.
    pub note: String,
}

/// Decides it. `text` is the driver as the configuration names it, which means `named`, and leads to `located`
/// (none: to nothing).
pub fn decide(
    text: &str,
    named: &Named,
    located: Option<&Release>,
    served: Option<&Served>,
    policy: WhenUnproven,
) -> Comeback {
    let nothing = Comeback { served: None, ran: None, goes_back: false, note: String::new() };
    let Some(served) = served else { return nothing };
    let (module, params, goes_back) = match (&served.unproven, policy) {
        (Some(unproven), WhenUnproven::Keep) => (&unproven.module, &unproven.params, false),
        (unproven, _) => (&served.module, &served.params, unproven.is_some()),
    };
    let ran = served.unproven.as_ref().map_or(&served.module, |unproven| &unproven.module);
    let ran = served.gone.as_ref().unwrap_or(ran);
    let probation = match &served.unproven {
        Some(Unproven { receipt, .. }) if goes_back => {
            format!("{} was on probation when the daemon ended (receipt {receipt}), and goes back", name(ran))
        }
        Some(Unproven { receipt, .. }) => {
            format!(
                "{} stays, although its probation was not over (receipt {receipt}), as `unproven` says",
                name(ran)
            )
        }
        None => String::new(),
    };
    let why = why_configured(text, named, located, served, module);
    let mut said: Vec<String> = Vec::new();
    let comes = match (&why, located) {
        (Some(why), Some(located)) => {
            if located.hash != ran.hash {
                said.push(format!("comes up with {}: {why}; {} ran before", name(located), name(ran)));
            }
            located
        }
        _ => {
            if let Some(located) = located.filter(|located| located.hash != module.hash) {
                let (comes, other) = (name(module), name(located));
                said.push(format!(
                    "comes up with {comes}, which served it last; `{text}` of the configuration is {other}"
                ));
            }
            module
        }
    };
    if let Some(gone) = &served.gone {
        said.insert(0, format!("{} was put away, and comes up no more", name(gone)));
    }
    if !probation.is_empty() {
        said.insert(0, probation);
    }
    let from_store = why.is_none() || located.is_none();
    Comeback {
        served: from_store.then(|| (module.clone(), params.clone())),
        goes_back: goes_back && comes.hash != ran.hash,
        ran: (comes.hash != ran.hash).then(|| ran.clone()),
        note: said.join("; "),
    }
}

/// Why it is the module that the configuration names, and not the one that served.
fn why_configured(
    text: &str,
    named: &Named,
    located: Option<&Release>,
    served: &Served,
    module: &Release,
) -> Option<String> {
    let located = located?;
    if located.hash == module.hash && served.params.is_empty() {
        return None;
    }
    if located.hash != module.hash && served.put_away.contains(&module.hash) {
        return Some(format!("{} was put away", name(module)));
    }
    if served.named != text {
        return Some(format!("the configuration has named `{text}` since, and not `{}`", served.named));
    }
    let new = located.hash != module.hash
        && served.meant.as_ref().is_none_or(|meant| meant.hash != located.hash)
        && !served.rejected.contains(&located.hash);
    let rebuilt = new && located.driver == module.driver && located.version == module.version;
    match named {
        Named::Pinned(driver, versions) => {
            let version = Version::parse(&module.version).ok();
            let fits = module.driver == *driver && version.is_some_and(|version| versions.matches(&version));
            if !fits {
                return Some(format!("the configuration pins `{text}`"));
            }
            rebuilt.then(|| format!("there is another build of `{text}` since"))
        }
        Named::Driver(_) => rebuilt.then(|| format!("there is another build of {} since", name(module))),
        Named::File => new.then(|| format!("there is another module in `{text}` since")),
    }
}

fn name(release: &Release) -> String {
    let hash: String = release.hash.chars().take(8).collect();
    format!("{} {} ({hash})", release.driver, release.version)
}

impl Served {
    /// A port that came up for the first time.
    pub fn first(module: Release, named: &str, meant: Option<Release>) -> Served {
        Served {
            module,
            params: Changes::new(),
            before: None,
            unproven: None,
            named: named.to_owned(),
            meant,
            rejected: VecDeque::new(),
            put_away: VecDeque::new(),
            gone: None,
            in_force: None,
        }
    }

    /// It has come up, with this module: `from_store` says that it is the one that served, with its parameters.
    pub fn came_up(&mut self, module: Release, named: &str, meant: Option<Release>, from_store: bool) {
        self.gone = None;
        let unproven = self.unproven.take();
        if let Some(unproven) = &unproven {
            if unproven.module.hash == module.hash {
                self.served_by(module.clone(), unproven.params.clone());
            } else {
                self.reject(&unproven.module.hash);
            }
        }
        if self.module.hash != module.hash {
            self.served_by(module, Changes::new());
        } else if !from_store {
            self.params.clear();
        }
        (self.named, self.meant) = (named.to_owned(), meant.or_else(|| self.meant.take()));
    }

    /// An update was done; `receipt` is set where the module is on probation.
    pub fn updated(
        &mut self,
        from: &Release,
        to: &Release,
        changes: &Changes,
        back: bool,
        receipt: Option<u64>,
    ) {
        self.gone = None;
        self.put_away.retain(|hash| *hash != to.hash);
        if back {
            self.reject(&from.hash);
        } else {
            self.rejected.retain(|hash| *hash != to.hash);
        }
        let of_unproven = self.unproven.take().filter(|unproven| unproven.module.hash == from.hash);
        if of_unproven.is_some() && to.hash == self.module.hash {
            // It never served well: what did is here again, with what came with it.
            return;
        }
        let mut params = of_unproven.map_or_else(|| self.params.clone(), |unproven| unproven.params);
        params.extend(changes.clone());
        match receipt {
            Some(receipt) => self.unproven = Some(Unproven { module: to.clone(), params, receipt }),
            None => self.served_by(to.clone(), params),
        }
    }

    /// The probation of that receipt is over and its module stays.
    pub fn proven(&mut self, receipt: u64) {
        if let Some(unproven) = self.unproven.take_if(|unproven| unproven.receipt == receipt) {
            self.served_by(unproven.module, unproven.params);
        }
    }

    /// A driver of that module was put away without its consent: it has not served well, and what served before it
    /// did.
    pub fn put_away(&mut self, hash: &str) {
        insert(&mut self.put_away, hash);
        let is_it = |release: &Release| release.hash == hash;
        if let Some(unproven) = self.unproven.take_if(|unproven| is_it(&unproven.module)) {
            self.gone = Some(unproven.module);
        }
        self.before = self.before.take().filter(|before| !self.put_away.contains(&before.hash));
        if is_it(&self.module)
            && let Some(before) = self.before.take()
        {
            self.params.clear();
            self.gone = Some(std::mem::replace(&mut self.module, before));
        }
    }

    /// What is saved was activated: nothing is in force beside it.
    pub fn activated(&mut self) {
        self.params.clear();
        if let Some(unproven) = &mut self.unproven {
            unproven.params.clear();
        }
    }

    fn served_by(&mut self, module: Release, params: Changes) {
        let before = std::mem::replace(&mut self.module, module);
        if before.hash != self.module.hash && !before.hash.is_empty() {
            self.before = Some(before);
        }
        self.params = params;
    }

    fn reject(&mut self, hash: &str) {
        insert(&mut self.rejected, hash);
    }

    /// Hashes of the modules that it may need again.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        let releases = [Some(&self.module), self.before.as_ref(), self.meant.as_ref()];
        let unproven = self.unproven.iter().map(|unproven| &unproven.module);
        releases.into_iter().flatten().chain(unproven).map(|release| release.hash.as_str())
    }
}

/// One more hash, of those that are remembered; the oldest goes.
fn insert(hashes: &mut VecDeque<String>, hash: &str) {
    /// Most that are.
    const MOST: usize = 32;
    hashes.retain(|known| known != hash);
    // A file can hold more.
    while hashes.len() >= MOST {
        hashes.pop_front();
    }
    hashes.push_back(hash.to_owned());
}

#[cfg(test)]
mod tests;
