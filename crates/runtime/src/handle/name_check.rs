//! What the name of an open file leads to by now.
//!
//! A port has a file open, not a name. Where the file was replaced, moved or removed, the device serves on, and
//! what is written to it is not found under that name after the next start. So names are looked at, a few
//! times a minute and whenever somebody asks, always on threads of their own: a look can hang as long as its
//! file system does, and then only its file has no news.

use crate::clock::{now_ns, unix_ms};
use crate::handle::contents::Contents;
use crate::handle::medium::Watch;
use crate::handle::size::size_of_file;
use crate::handle::{Handle, takes_no_writes, with_file};
use crate::helpers::HANGS_NS;
use crate::info::{Trouble, TroubleCode};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use steadfast_abi::HandleInfo;
use steadfast_shell::sync::lock;

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
    pub(crate) fn tell(&self) {
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

    pub(crate) fn look(&self) {
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

impl Handle {
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.sight.as_ref()?.seen()
    }
}
