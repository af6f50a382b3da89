//! Signals: some ask for something, and none of the others ends the daemon.
//!
//! | signal | what is done |
//! |---|---|
//! | `TERM`, `INT`, `QUIT` | a clean stop; a second one ends the process at once |
//! | `HUP` | as `steadfast rescan`; one that comes during the start waits for its end |
//! | `XFSZ`, `XCPU`, `PIPE`, `USR1`, `USR2`, `ALRM`, `VTALRM`, `PROF`, `IO`, `PWR`, `STKFLT`, `TTIN`, `TTOU`, all of real time | nothing |
//!
//! The kernel's default for nearly all of them is to end the process. What is left to it are faults of the
//! program (`SEGV`, `BUS`, `ILL`, `FPE`, `ABRT`, `TRAP`, `SYS`), and `TSTP`, by which a person at the terminal
//! stops it on purpose.
//!
//! They are obeyed on a thread of their own, from before the daemon touches anything that could hang until the process
//! has ended: what the other threads wait for keeps nobody from ending it.

use crate::app::App;
use crate::log;
use crate::start::error::ServeError;
use crate::start::notify::{notify, reloading};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use steadfast_api::{Found, RescanRequest};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is passed over. A write past a limit of file sizes (`XFSZ`) fails with an error instead.
const IGNORED: [libc::c_int; 14] = [
    // Until [`Signals::install`] catches it.
    libc::SIGHUP,
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

/// How long a start that is under way may take once a stop was asked for: what it has attached is let go cleanly then.
const REST_OF_A_START: Duration = Duration::from_secs(1);

/// What those who obey signals and those who start and stop the daemon tell each other.
pub(crate) struct Obeyed {
    /// The daemon, once it is up.
    pub(crate) up: watch::Sender<Weak<App>>,
    /// Whether a stop was asked for.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Catches what asks for something, and obeys it until the process ends.
///
/// # Errors
/// The system has no thread or descriptor for that.
pub(crate) fn obey_from_now_on() -> Result<Obeyed, ServeError> {
    let failed = |error| ServeError::Io { what: "cannot catch signals", error };
    let runtime = Builder::new_current_thread().enable_all().thread_name("rescan").build().map_err(failed)?;
    let signals = Signals::install(&runtime)?;
    let (up, app) = watch::channel(Weak::new());
    let (stop, stopping) = watch::channel(false);
    let body = move || runtime.block_on(signals.obey(app, stop));
    std::thread::Builder::new().name("signals".to_owned()).spawn(body).map_err(failed)?;
    Ok(Obeyed { up, stopping })
}

/// What asks for something, caught from now on.
struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
}

impl Signals {
    fn install(runtime: &Runtime) -> Result<Signals, ServeError> {
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
    /// What comes during the start is kept until that is through, but for those that end the daemon.
    async fn obey(mut self, mut up: watch::Receiver<Weak<App>>, stop: watch::Sender<bool>) {
        let (mut app, mut rescans) = (Weak::<App>::new(), JoinSet::new());
        loop {
            let starting = app.upgrade().is_none();
            tokio::select! {
                biased;
                name = next(&mut self.term, &mut self.int, &mut self.quit) => {
                    tracing::info!("SIG{name}: stopping: requests in flight finish; another signal quits at once");
                    if let Some(app) = app.upgrade() {
                        app.ending.store(true, Ordering::Relaxed);
                    }
                    let _ = stop.send(true);
                    break;
                }
                Ok(()) = up.changed(), if starting => app = up.borrow_and_update().clone(),
                // One after the other: what comes meanwhile is one more. Nothing else waits for it.
                Some(_) = rescans.join_next() => {}
                _ = self.hup.recv(), if !starting && rescans.is_empty() => {
                    let Some(app) = app.upgrade() else { continue };
                    rescans.spawn_blocking(move || rescan(&app));
                }
            }
        }
        tokio::select! {
            name = next(&mut self.term, &mut self.int, &mut self.quit) => {
                quit(&format!("SIG{name}: quitting at once"));
            }
            () = never_through(up, app) => {
                let seconds = REST_OF_A_START.as_secs();
                quit(&format!("the start does not get through within {seconds} s: quitting"));
            }
        }
    }
}

/// Returns when the start has had its time since a stop was asked for, and not before the process ends otherwise.
async fn never_through(mut up: watch::Receiver<Weak<App>>, app: Weak<App>) {
    let starting = app.strong_count() == 0;
    if !starting || tokio::time::timeout(REST_OF_A_START, up.changed()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Ends the process, whatever its other threads are at.
fn quit(why: &str) {
    tracing::warn!("{why}");
    log::flush_within(Duration::from_millis(200));
    leave(1)
}

/// Ends the process at once. What modules would do at its end (destructors, `atexit`) is not done: threads may be
/// inside them.
pub fn leave(code: u8) -> ! {
    // SAFETY: it takes a number and does not return. Nothing that others rely on is left to be done: what
    // they may rely on was on its disk before it was acknowledged.
    unsafe { libc::_exit(i32::from(code)) }
}

async fn next(term: &mut Signal, int: &mut Signal, quit: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "TERM",
        _ = int.recv() => "INT",
        _ = quit.recv() => "QUIT",
    }
}

/// The configuration is read again, and what is behind the ports is looked at; a stop ends it after the port that it
/// is at.
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
    if !app.ending.load(Ordering::Relaxed) {
        notify("READY=1");
    }
}
