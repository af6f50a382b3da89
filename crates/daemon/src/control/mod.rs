//! The control API: HTTP on a Unix socket. Types and rules are those of `steadfast_api`.

mod events;
mod peer;
mod reply;
mod routes;

use crate::app::App;
use axum::Router;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;

pub(crate) use peer::Peer;

/// What every handler has.
#[derive(Clone)]
pub(crate) struct Control {
    app: Arc<App>,
    /// Becomes true when the daemon stops.
    stop: watch::Receiver<bool>,
}

/// How long requests in progress may go on when the daemon stops.
const GRACE: Duration = Duration::from_secs(50);

/// Serves until `stop` becomes true and the requests in progress are answered.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: UnixListener,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let control = Control { app, stop: stop.clone() };
    let router: Router = routes::router().with_state(control);
    let service = router.into_make_service_with_connect_info::<Peer>();
    let mut late = stop.clone();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        stopped(&mut stop).await;
    });
    let serving = async { server.await };
    tokio::select! {
        result = serving => result,
        () = async {
            stopped(&mut late).await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    }
}

/// Waits until the daemon stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender has gone, and the daemon with it.
    let _ = stop.wait_for(|stop| *stop).await;
}
