//! Drivers that do not return, as they are told of: which one, in which entry point, and who waits for it.

use crate::clock::unix_ms;
use crate::info::{Trouble, TroubleCode};
use crate::port::{Port, PortInner};
use crate::queue::remote::Remote;

const ONLY_RESTART: &str =
    "every port of that queue waits until it does; else only a restart of the daemon helps";

fn trouble(entry: &str, detail: String, since_unix_ms: u64) -> Trouble {
    Trouble { code: TroubleCode::Stuck, target: entry.to_owned(), detail, since_unix_ms }
}

/// The driver that a transaction, a visit or a queue of the port waits for.
pub(crate) fn that_is_waited_for(port: &Port, inner: &PortInner) -> Option<Trouble> {
    let put_away = "the port's requests are held; `update --abandon` puts another driver in its place";
    if let Some(job) = inner.unfinished.as_ref().filter(|job| !job.is_over())
        && let Some((driver, entry)) = job.inside()
    {
        let release = driver.module.release();
        let detail =
            format!("{} {} does not return from `{entry}`: {put_away}", release.driver, release.version);
        return Some(trouble(entry, detail, job.since_unix_ms));
    }
    let release = inner.serving.as_ref()?.module.release();
    if let Some(call) = port.outside.late() {
        let (driver, version, entry) = (release.driver, release.version, call.entry.name());
        let detail = format!("{driver} {version} does not return from `{entry}`: {put_away}");
        return Some(trouble(entry, detail, call.since_unix_ms));
    }
    let visit = inner.visit.as_ref().filter(|visit| !visit.is_over())?;
    let detail =
        format!("{} {} does not return from `{}`: {put_away}", release.driver, release.version, visit.what);
    Some(trouble(visit.what, detail, unix_ms().saturating_sub(visit.held_ns() / 1_000_000)))
}

/// What keeps a queue of the port, which does not answer.
pub(crate) fn on_queue(port: &Port, queue: usize, remote: &Remote) -> Trouble {
    let since_unix_ms = remote.silent_since_unix_ms();
    let Some((id, entry)) = remote.bell.inside() else {
        let detail = format!("queue {queue} does not answer, and is in no driver");
        return trouble("", detail, since_unix_ms);
    };
    let ports = port.directory.upgrade().map(|directory| directory.all_ports()).unwrap_or_default();
    let Some(of) = ports.into_iter().find(|known| known.id.0 == id) else {
        let detail = format!("queue {queue} does not answer: a driver on it does not return from `{entry}`");
        return trouble(entry, detail, since_unix_ms);
    };
    let release = of.module().map(|module| module.release());
    let driver = release.map_or_else(|| "its driver".to_owned(), |r| format!("{} {}", r.driver, r.version));
    let whose = if of.id == port.id { String::new() } else { format!(" of port {}", of.name) };
    let detail = format!("{driver}{whose} does not return from `{entry}` on queue {queue}: {ONLY_RESTART}");
    if remote.is_news() {
        tracing::error!(port = of.name, "{detail}");
    }
    trouble(entry, detail, since_unix_ms)
}
