//! `steadfast driver watch`: swaps on every successful rebuild.

use super::build::Build;
use super::find::Place;
use super::settle::{Look, Print, Settle};
use crate::args::ModeArg;
use crate::args::develop::DriverWatch;
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output::{self, units};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use steadfast_api::{Device, Mode, Outcome, Receipt, Release, Unload, UpdateRequest};

/// How often the file system is asked.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long to wait before something that did not work is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// The same while the device is busy: a probation or a trial takes its time, and every attempt leaves a
/// receipt.
const BUSY_PAUSE: Duration = Duration::from_secs(15);

/// Runs until interrupted, or until nobody reads what it prints.
pub(crate) fn watch(client: &Client, watch: &DriverWatch, json: bool) -> Result<Exit, Failure> {
    let device: Device = client.get(&format!("/devices/{}", segment(&watch.device)))?;
    let place = Place::new(&watch.path)?;
    let mut watcher = Watcher {
        client,
        watch,
        json,
        place,
        build: watch.build.as_deref().map(Build::new),
        // What serves already need not be swapped in.
        settle: Settle::new(device.driver.clone().map(|driver| driver.hash)),
        settling: None,
        said: String::new(),
        busy: false,
    };
    if !json {
        let driver = output::device::driver(&device);
        let shown = watch.path.display();
        output::print(&format!("{}: {driver} serves; watching {shown}, until interrupted\n", device.name))?;
    }
    while watcher.step()? {
        std::thread::sleep(INTERVAL);
    }
    Ok(Exit::Done)
}

struct Watcher<'a> {
    client: &'a Client,
    watch: &'a DriverWatch,
    json: bool,
    place: Place,
    build: Option<Build>,
    settle: Settle<String>,
    /// The module that is being looked at; another one in the same folder begins anew.
    settling: Option<PathBuf>,
    said: String,
    /// The last attempt found the device busy, and that was printed.
    busy: bool,
}

impl Watcher<'_> {
    /// One look at everything; false when it is over.
    fn step(&mut self) -> Result<bool, Failure> {
        if let Some(build) = &mut self.build
            && let Some(line) = build.run(self.place.folder())?
            && !self.say(&line)?
        {
            return Ok(false);
        }
        let found = self.place.module();
        let path = found.as_ref().map(|(path, _)| path.clone());
        if path != self.settling {
            self.settle.other();
            self.settling.clone_from(&path);
        }
        let print = found.as_ref().map(|(_, meta)| Print::from(meta));
        let (Some(path), Some(print)) = (path, print) else { return Ok(true) };
        let read = || steadfast_daemon::examine_module(&path).map(|release: Release| release.hash);
        match self.settle.look(Some(print), Instant::now(), read) {
            Look::Nothing => Ok(true),
            Look::Useless(why) => self.say(&why),
            Look::Complete(hash) => self.swap(&path, hash),
        }
    }

    fn swap(&mut self, path: &Path, hash: String) -> Result<bool, Failure> {
        let Some(module) = path.to_str() else {
            return self.say(&format!("module {}: the path is not UTF-8", path.display()));
        };
        let request = UpdateRequest {
            mode: self.watch.mode.map(mode),
            deadline_ms: Some(u64::try_from(self.watch.deadline.as_millis()).unwrap_or(u64::MAX)),
            // A developer goes back and forth, and does not change the version for every build.
            allow_older: true,
            allow_again: true,
            allow_skip: true,
            allow_other: self.watch.allow_other,
            hash: Some(hash),
            params: self.watch.set.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect(),
            watch: true,
            ..UpdateRequest::new(module)
        };
        let url = format!("/devices/{}/update", segment(&self.watch.device));
        match self.client.post::<Receipt>(&url, &request) {
            Err(failure) => {
                self.try_again(PAUSE);
                self.say(&failure.to_string())
            }
            Ok(receipt) => {
                self.said.clear();
                let busy = receipt.outcome == Outcome::Busy;
                let again = std::mem::replace(&mut self.busy, busy) && busy;
                let text = if self.json { document(&receipt)? } else { line(&self.watch.device, &receipt) };
                let goes_on = again || self.print(&text)?;
                if busy && goes_on {
                    self.try_again(BUSY_PAUSE);
                }
                Ok(goes_on)
            }
        }
    }

    fn try_again(&mut self, pause: Duration) {
        self.settle.again();
        std::thread::sleep(pause);
    }

    /// Says what is no receipt: on standard error where standard output is for programs. The same
    /// thing again and again is said once.
    fn say(&mut self, text: &str) -> Result<bool, Failure> {
        if std::mem::replace(&mut self.said, text.to_owned()) == text {
            return Ok(true);
        }
        let text = text.trim_end();
        if self.json {
            output::note(text, true);
            return Ok(true);
        }
        self.print(&format!("{}: {text}", self.watch.device))
    }

    fn print(&self, line: &str) -> Result<bool, Failure> {
        output::print_on(&format!("{line}\n"))
    }
}

fn mode(mode: ModeArg) -> Mode {
    match mode {
        ModeArg::Adopt => Mode::Adopt,
        ModeArg::Split => Mode::Split,
        ModeArg::Drain => Mode::Drain,
    }
}

fn document(receipt: &Receipt) -> Result<String, Failure> {
    serde_json::to_string(receipt).map_err(Failure::new)
}

/// A receipt in one line.
fn line(device: &str, receipt: &Receipt) -> String {
    let mut parts = vec![format!("{} (receipt {})", output::receipt::sentence(device, receipt), receipt.id)];
    if let Some(hash) = receipt.to.as_ref().and_then(|to| to.hash.get(..8)) {
        parts.push(hash.to_owned());
    }
    if receipt.pause_ns > 0 {
        parts.extend(receipt.mode.map(|mode: Mode| mode.name().to_owned()));
        parts.push(format!("pause {}", units::time(receipt.pause_ns)));
        parts.push(format!("{} adopted", receipt.adopted));
    }
    if receipt.handed_back > 0 {
        parts.push(format!("{} handed back", receipt.handed_back));
    }
    if receipt.unload == Unload::Pinned {
        parts.push("the old module stays in memory".to_owned());
    }
    let text = parts.join(", ");
    match receipt.reason.replace('\n', " ") {
        reason if reason.is_empty() => text,
        reason => format!("{text}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_one_line() {
        let mut receipt = output::receipt::tests::sample();
        let done = line("vol0", &receipt);
        assert!(done.starts_with("vol0: done, file 1.1.0 replaced file 1.0.0 (receipt "), "{done}");
        assert!(done.contains("pause 23.4 us") && done.contains(" adopted"), "{done}");
        (receipt.outcome, receipt.reason, receipt.pause_ns) = (Outcome::Refused, "a\nb".to_owned(), 0);
        let refused = line("vol0", &receipt);
        assert!(refused.ends_with(": a b") && !refused.contains('\n'), "{refused}");
    }
}
