//! Signals: some ask for something, and none of the others ends the daemon.
//!
//! | signal | what is done |
//! |---|---|
//! | `TERM`, `INT`, `QUIT` | a clean stop; a second one ends the process at once |
//! | `HUP` | as `steadfast rescan` |
//! | `XFSZ`, `XCPU`, `PIPE`, `USR1`, `USR2`, `ALRM`, `VTALRM`, `PROF`, `IO`, `PWR`, `STKFLT`, `TTIN`, `TTOU`, all of real time | nothing |
//!
//! The kernel's default for nearly all of them is to end the process. What is left to it are faults of the
//! program (`SEGV`, `BUS`, `ILL`, `FPE`, `ABRT`, `TRAP`, `SYS`), and `TSTP`, by which a person at the terminal
//! stops it on purpose.

use crate::app::App;
use crate::error::ServeError;
use crate::log;
use crate::notify::{notify, reloading};
use std::sync::Arc;
use std::time::Duration;
use steadfast_api::{Found, RescanRequest};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What is passed over. A write past a limit of file sizes (`XFSZ`) fails with an error instead.
const IGNORED: [libc::c_int; 13] = [
    libc::SIGXFSZ,
    libc::SIGXCPU,
    libc::SIGPIPE,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Passes over what does not concern the daemon, and lets in what does: whoever started it may have had it
/// blocked. Before there is any other thread, and before anything is written.
pub(crate) fn ignore_others() {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    for number in IGNORED.into_iter().chain(real_time) {
        // SAFETY: no handler is given that could run. It fails for no signal of the list.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
    // SAFETY: the set is made by the first call, and lives as long as the second.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// What asks for something, caught from now on.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
}

impl Signals {
    pub(crate) fn install(runtime: &Runtime) -> Result<Signals, ServeError> {
        let _inside = runtime.enter();
        let catch =
            |kind| signal(kind).map_err(|error| ServeError::Io { what: "cannot catch signals", error });
        Ok(Signals {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
            hup: catch(SignalKind::hangup())?,
        })
    }

    /// Does what they ask for: the first that ends the daemon asks for a clean stop, the second ends the process.
    pub(crate) async fn obey(mut self, app: Arc<App>, stop: watch::Sender<bool>) {
        loop {
            tokio::select! {
                _ = self.hup.recv() => {
                    let app = Arc::clone(&app);
                    // One after the other: what comes meanwhile is one more.
                    let _ = tokio::task::spawn_blocking(move || rescan(&app)).await;
                }
                name = next(&mut self.term, &mut self.int, &mut self.quit) => {
                    tracing::info!("SIG{name}: stopping: requests in flight finish; another signal quits at once");
                    let _ = stop.send(true);
                    break;
                }
            }
        }
        let name = next(&mut self.term, &mut self.int, &mut self.quit).await;
        tracing::warn!("SIG{name}: quitting at once");
        log::flush_within(Duration::from_millis(200));
        std::process::exit(1);
    }
}

async fn next(term: &mut Signal, int: &mut Signal, quit: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "TERM",
        _ = int.recv() => "INT",
        _ = quit.recv() => "QUIT",
    }
}

/// The configuration is read again, and what is behind the ports is looked at.
fn rescan(app: &Arc<App>) {
    reloading();
    match app.counting(|| app.rescan(&RescanRequest::default(), "SIGHUP".to_owned())) {
        Ok(report) => {
            for problem in &report.problems {
                tracing::warn!("SIGHUP: {problem}");
            }
            let changed = report.ports.iter().filter(|port| port.found != Found::Unchanged);
            for port in changed.clone() {
                let found = format!("{:?}", port.found).to_lowercase();
                tracing::info!(port = port.port, "SIGHUP: {found}: {}", port.detail);
            }
            tracing::info!("SIGHUP: {} ports looked at, {} changed", report.ports.len(), changed.count());
        }
        Err(problem) => tracing::warn!("SIGHUP: {}", problem.message),
    }
    notify("READY=1");
}
