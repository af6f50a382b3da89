//! The control API: HTTP on a Unix socket. Types and rules are those of `steadfast_api`.

mod clients;
mod events;
mod param_files;
mod params;
mod patient;
mod peer;
mod ports;
mod profiles;
mod receipts;
mod reply;
mod revert;
mod routes;
mod server;

use crate::app::App;
use axum::Router;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::watch;

pub(crate) use server::Limits;

/// What every handler has.
#[derive(Clone)]
pub(crate) struct Control {
    app: Arc<App>,
    /// Becomes true when the daemon stops.
    stop: watch::Receiver<bool>,
}

/// How long updates in progress may go on when the daemon stops. Whatever they wait for is then ended
/// by the engine.
const GRACE: Duration = Duration::from_secs(10);
/// How long answers may take to reach their clients after that.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves until `stop` becomes true and the updates in progress have been answered.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: UnixListener,
    limits: Limits,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let control = Control { app: Arc::clone(&app), stop: stop.clone() };
    let router: Router = routes::router().with_state(control);
    let late = over(app, stop.clone());
    // A client that never finishes its request must not keep the daemon.
    tokio::select! {
        () = server::run(listener, router, limits, stop) => Ok(()),
        () = late => Ok(()),
    }
}

/// Waits until the daemon stops and no update is in progress, or for too long.
async fn over(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    stopped(&mut stop).await;
    // A trial may have hours to go.
    app.engine.end_trials("the daemon stops");
    let begin = Instant::now();
    while app.updating() && begin.elapsed() < GRACE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(FAREWELL).await;
}

/// Waits until the daemon stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender has gone, and the daemon with it.
    let _ = stop.wait_for(|stop| *stop).await;
}
