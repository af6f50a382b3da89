//! What the name of an open file leads to by now.
//!
//! A port has a file open, not a name. Where the file was replaced, moved or removed, the device serves on, and
//! what is written to it is not found under that name after the next start. So names are looked at, a few
//! times a minute and whenever somebody asks, always on threads of their own: a look can hang as long as its
//! file system does, and then only its file has no news.

use crate::clock::{now_ns, unix_ms};
use crate::driver::instance::Instance;
use crate::handle::contents::Contents;
use crate::handle::medium::Watch;
use crate::handle::size::size_of_file;
use crate::handle::{Handle, takes_no_writes, with_file};
use crate::helpers::HANGS_NS;
use crate::info::{Trouble, TroubleCode};
use crate::port::Port;
use crate::port::directory::Directory;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;
use steadfast_abi::HandleInfo;
use steadfast_shell::sync::lock;

/// How often all names are looked at.
const ROUND: Duration = Duration::from_secs(5);
/// How long somebody who asks waits for news.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long whoever opens a file anew does.
const LONG_PATIENCE: Duration = Duration::from_secs(2);

/// The name of a file or block device that is open, and what it was when it was opened.
#[derive(Debug)]
pub(crate) struct Sight {
    port: String,
    target: String,
    contents: Contents,
    watch: Arc<Watch>,
    /// Bytes that the driver knows of.
    size: AtomicU64,
    /// Where it was seen to end when it was smaller than that, at the least; what lies beyond is lost, whatever is
    /// written there later.
    end: Arc<AtomicU64>,
    /// It is open to be written.
    written: bool,
    seen: Mutex<Option<Trouble>>,
    /// Since when somebody looks; 0: nobody does.
    looking: AtomicU64,
    /// The log says that it does not answer.
    told: AtomicBool,
}

impl Sight {
    pub(crate) fn new(
        port: &str,
        target: &str,
        contents: &Contents,
        info: &HandleInfo,
        watch: Arc<Watch>,
    ) -> Arc<Sight> {
        Arc::new(Sight {
            port: port.to_owned(),
            target: target.to_owned(),
            contents: contents.clone(),
            watch,
            size: AtomicU64::new(info.size),
            end: Arc::new(AtomicU64::new(u64::MAX)),
            written: info.read_only == 0,
            seen: Mutex::default(),
            looking: AtomicU64::new(0),
            told: AtomicBool::new(false),
        })
    }

    /// What the last look found.
    pub(crate) fn seen(&self) -> Option<Trouble> {
        lock(&self.seen).clone()
    }

    /// What there is to say of a look that has not ended: whatever asks about the file waits.
    pub(crate) fn unanswered(&self) -> Option<Trouble> {
        let since = self.looking.load(Ordering::Acquire);
        let ns = now_ns().saturating_sub(since);
        if since == 0 || ns < HANGS_NS {
            return None;
        }
        let (target, seconds) = (self.target.clone(), ns / 1_000_000_000);
        let detail = format!(
            "{target}: its file system has not answered for {seconds} s what became of it: it hangs, or is very slow"
        );
        let since_unix_ms = unix_ms().saturating_sub(ns / 1_000_000);
        Some(Trouble { code: TroubleCode::Hangs, target, detail, since_unix_ms })
    }

    /// Says so in the log, once.
    fn tell(&self) {
        if let Some(trouble) = self.unanswered()
            && !self.told.swap(true, Ordering::AcqRel)
        {
            tracing::warn!(port = self.port, "{}", trouble.detail);
        }
    }

    /// Where it ends for operations: `u64::MAX`, unless it has lost what the driver knows of.
    pub(crate) fn end(&self) -> Arc<AtomicU64> {
        self.end.clone()
    }

    /// A driver will find so many bytes.
    pub(crate) fn resize(&self, bytes: u64) {
        self.size.store(bytes, Ordering::Relaxed);
    }

    fn look(&self) {
        if self.looking.compare_exchange(0, now_ns(), Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        self.watch.ask(|| "nobody yet".to_owned());
        self.note(self.find());
        self.looking.store(0, Ordering::Release);
        if self.told.swap(false, Ordering::AcqRel) {
            tracing::info!(port = self.port, "{}: its file system answers again", self.target);
        }
    }

    fn note(&self, found: Option<(TroubleCode, String)>) {
        let mut seen = lock(&self.seen);
        match (&*seen, found) {
            (Some(known), Some((code, detail))) if known.code == code && known.detail == detail => {}
            (_, Some((code, detail))) => {
                tracing::warn!(port = self.port, "{detail}");
                let target = self.target.clone();
                *seen = Some(Trouble { code, target, detail, since_unix_ms: unix_ms() });
            }
            (Some(_), None) => {
                tracing::info!(port = self.port, "{}: it is what the device has open, again", self.target);
                *seen = None;
            }
            (None, None) => {}
        }
    }

    fn find(&self) -> Option<(TroubleCode, String)> {
        let target = &self.target;
        let gone = match std::fs::metadata(target) {
            Ok(meta) if Contents::of(&meta) == self.contents => None,
            Ok(_) => Some((TroubleCode::FileReplaced, "it was replaced by another one".to_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Some((TroubleCode::FileMissing, "it was moved or removed".to_owned()))
            }
            Err(e) => Some((TroubleCode::FileMissing, format!("it can not be looked at: {e}"))),
        };
        let witness = self.watch.witness()?;
        if let Some((code, what)) = gone {
            let removed = with_file(witness, File::metadata).is_ok_and(|meta| meta.nlink() == 0);
            let now = if removed { ", which is removed and goes with the last who has it open" } else { "" };
            let detail = format!(
                "{target}: {what}; the device serves on from the one that it has open{now}: what is written to \
                 it is not found at that path after the next start"
            );
            return Some((code, detail));
        }
        let (known, now) = (self.size.load(Ordering::Relaxed), with_file(witness, size_of_file)?);
        if now < known {
            self.end.fetch_min(now, Ordering::Relaxed);
        }
        let now = now.min(self.end.load(Ordering::Relaxed));
        if now < known {
            let what = "what lay beyond that is lost, and what is asked for there fails";
            let detail = format!("{target}: it was truncated from {known} to {now} bytes; {what}");
            return Some((TroubleCode::FileShrunk, detail));
        }
        (self.written && with_file(witness, takes_no_writes)).then(|| {
            let what = "it was set read-only while it is served, or its file system was: writes fail";
            (TroubleCode::ReadOnly, format!("{target}: {what}"))
        })
    }
}

impl Port {
    fn sights(&self) -> Vec<Arc<Sight>> {
        lock(&self.inner).handles.iter().flatten().filter_map(|handle| handle.sight.clone()).collect()
    }

    /// Looks at what the names lead to that a driver is going to open anew. Where one leads to another file and
    /// that is wanted, it is opened; else what is open is used on.
    pub(crate) fn look_before_opening(&self, anew: bool) {
        look_at(self.sights(), LONG_PATIENCE);
        let mut inner = lock(&self.inner);
        for handle in inner.handles.iter_mut().flatten() {
            let other = |code| {
                matches!(code, TroubleCode::FileReplaced | TroubleCode::FileShrunk | TroubleCode::ReadOnly)
            };
            handle.stale = anew && handle.trouble().is_some_and(|found| other(found.code));
        }
    }

    /// Whether a driver that is prepared may come to serve: not with a file whose name leads elsewhere by now,
    /// unless that is meant.
    ///
    /// # Errors
    /// What became of the file.
    pub(crate) fn may_go_on(&self, next: &Instance, force: bool) -> Result<(), String> {
        let numbers = lock(&next.handles).clone();
        let inner = lock(&self.inner);
        let known = |number: &u32| inner.handles.get(*number as usize)?.as_ref()?.trouble();
        let Some(found) = numbers.iter().filter_map(known).find(Trouble::is_gone) else { return Ok(()) };
        if force {
            tracing::warn!(port = self.name, "goes on with it, as was asked for: {}", found.detail);
            return Ok(());
        }
        Err(refusal(&found))
    }

    /// Files whose names lead elsewhere by now, and which a driver would open anew under these changes of
    /// parameters, each with what force does about it. `same`: it is the driver that has them open, so what no
    /// change takes away it opens again; of another, what is among `given`.
    pub(crate) fn gone(
        &self,
        same: bool,
        given: &BTreeMap<String, String>,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Vec<String> {
        let inner = lock(&self.inner);
        let values = inner.serving.as_ref().map(|serving| serving.values()).unwrap_or_default();
        let moves = |target: &String| {
            let leaves = |(name, to): (&String, &Option<String>)| {
                values.get(name).is_some_and(|value| value.to_string() == *target)
                    && to.as_ref() != Some(target)
            };
            changes.iter().any(leaves)
        };
        let again = |found: &Trouble| {
            let target = &found.target;
            !moves(target) && (same || given.values().any(|value| value == target))
        };
        let found = inner.handles.iter().flatten().filter_map(Handle::trouble);
        let gone = found.filter(Trouble::is_gone).filter(again);
        gone.map(|found| refusal(&found)).collect()
    }
}

impl Trouble {
    /// The name leads to another file, to none, or to one that has lost a part of what it was.
    fn is_gone(&self) -> bool {
        matches!(self.code, TroubleCode::FileReplaced | TroubleCode::FileMissing | TroubleCode::FileShrunk)
    }
}

/// Why nothing is opened anew, and what force does.
fn refusal(found: &Trouble) -> String {
    let what = match found.code {
        TroubleCode::FileReplaced => "--force opens the one that is there now",
        TroubleCode::FileShrunk => "--force opens it as it is now, smaller or not",
        _ => "--force goes on with the one that is open",
    };
    format!("{}; {what}", found.detail)
}

impl Handle {
    fn trouble(&self) -> Option<Trouble> {
        self.sight.as_ref()?.seen()
    }
}

/// Looks at these on a thread of its own, and waits for a while.
fn look_at(sights: Vec<Arc<Sight>>, patience: Duration) {
    if sights.is_empty() {
        return;
    }
    let (tx, rx) = mpsc::sync_channel(1);
    let body = move || {
        sights.iter().for_each(|sight| sight.look());
        let _ = tx.try_send(());
    };
    if std::thread::Builder::new().name("look".into()).spawn(body).is_ok() {
        let _ = rx.recv_timeout(patience);
    }
}

impl Directory {
    /// Looks whether the files behind a port are still where they were, or those behind all of them, so that
    /// what [`PortInfo`](crate::info::PortInfo) says of them is new. A file system that does not answer is waited for
    /// a moment only.
    pub(crate) fn look_at_files(&self, port: Option<&str>) {
        let ports = match port {
            Some(name) => self.find(name).into_iter().collect(),
            None => self.all_ports(),
        };
        look_at(ports.iter().flat_map(|port| port.sights()).collect(), PATIENCE);
    }

    /// Why an activation of a port with these changes of parameters is refused unless it is forced: the names of
    /// its files lead elsewhere by now.
    pub(crate) fn gone_behind(&self, port: &str, changes: &BTreeMap<String, Option<String>>) -> Vec<String> {
        self.look_at_files(Some(port));
        self.find(port).map_or_else(Vec::new, |port| port.gone(true, &BTreeMap::new(), changes))
    }

    /// Looks at all of them every few seconds, as long as the engine is there.
    pub(crate) fn start_looking(self: &Arc<Self>, soon: Receiver<()>) {
        let known = Arc::downgrade(self);
        let body = move || {
            while let Some(directory) = after_a_while(&known, &soon) {
                let sights: Vec<_> = directory.all_ports().iter().flat_map(|port| port.sights()).collect();
                look_at(sights.clone(), ROUND);
                sights.iter().for_each(|sight| sight.tell());
                drop(directory);
                std::thread::sleep(PATIENCE);
            }
        };
        if let Err(e) = std::thread::Builder::new().name("looks".into()).spawn(body) {
            tracing::warn!("files behind ports are looked at only when somebody asks: {e}");
        }
    }
}

/// Waits for the next round, or until something speaks for a look at once.
fn after_a_while(known: &Weak<Directory>, soon: &Receiver<()>) -> Option<Arc<Directory>> {
    if let Err(RecvTimeoutError::Disconnected) = soon.recv_timeout(ROUND) {
        return None;
    }
    known.upgrade()
}
