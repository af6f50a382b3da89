//! Connections to the control socket: how many, of whom, and how long each may take.
//!
//! Whoever may look can connect, so nobody can keep the daemon busy by that: connections are counted in all and for
//! each user, those who may change things have some that nobody else gets, and every connection must say something,
//! finish what it says, and take its answers, each within a time.

use super::patient::Patient;
use super::peer::{Peer, may_change};
use super::stopped;
use crate::config::Control;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steadfast_api::{Problem, ProblemKind};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

/// Connections that only those get who may change things.
const RESERVED: usize = 16;
/// Longest body that is looked at, bytes.
const MAX_BODY: usize = 2 << 20;
/// Connections that are told that there are too many, at a time; more are hung up on.
const MAX_REFUSALS: usize = 32;
/// Longest that such a one is listened to.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pause when a connection cannot be accepted, for example for want of descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How many connections there may be, and how long each may keep the daemon waiting.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    in_all: usize,
    per_user: usize,
    admins: Vec<u32>,
    times: Times,
}

/// How long a connection may keep the daemon waiting.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// It may say nothing, or not finish the head of a request.
    idle: Duration,
    /// The body of a request may take.
    body: Duration,
    /// It may take nothing of its answers.
    send: Duration,
}

impl Times {
    fn of(config: &Control) -> Times {
        Times {
            idle: config.idle_timeout.unwrap_or(Duration::from_secs(60)),
            body: config.body_timeout.unwrap_or(Duration::from_secs(30)),
            send: config.send_timeout.unwrap_or(Duration::from_secs(30)),
        }
    }
}

impl Limits {
    /// As it is configured.
    pub(crate) fn of(config: &Control) -> Limits {
        Limits {
            in_all: config.max_connections.unwrap_or(256),
            per_user: config.max_connections_per_user.unwrap_or(32),
            admins: config.admins.clone(),
            times: Times::of(config),
        }
    }

    /// May one more come of a user who has `own` connections, of `all`?
    fn admit(&self, uid: Option<u32>, own: usize, all: usize) -> Result<(), String> {
        let admin = uid.is_some_and(|uid| may_change(uid, crate::files::user::effective_uid(), &self.admins));
        let free = if admin { self.in_all } else { self.in_all.saturating_sub(RESERVED).max(1) };
        if all >= free {
            return Err(format!(
                "there are {all} connections to the control socket (control.max_connections)"
            ));
        }
        if !admin && own >= self.per_user {
            let who = uid.map_or("of an unknown user".to_owned(), |uid| format!("of user {uid}"));
            let text = "connections to the control socket (control.max_connections_per_user)";
            return Err(format!("there are {own} {text} {who}"));
        }
        Ok(())
    }
}

/// Connections by user.
#[derive(Debug)]
struct Open {
    limits: Limits,
    users: Mutex<HashMap<Option<u32>, usize>>,
}

/// One connection that is counted; uncounted when dropped.
struct Counted(Arc<Open>, Option<u32>);

impl Open {
    fn enter(self: &Arc<Open>, uid: Option<u32>) -> Result<Counted, String> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, all) = (users.get(&uid).copied().unwrap_or(0), users.values().sum());
        self.limits.admit(uid, own, all)?;
        users.insert(uid, own + 1);
        Ok(Counted(self.clone(), uid))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.1);
            }
        }
    }
}

/// Accepts and serves until `stop` becomes true and every connection has ended.
pub(super) async fn run(
    listener: UnixListener,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let open = Arc::new(Open { limits, users: Mutex::default() });
    let (mut connections, mut refused) = (JoinSet::new(), JoinSet::new());
    loop {
        let stream = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            Some(_) = refused.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!("control socket: cannot accept a connection: {e}");
                    sleep(BACK_OFF).await;
                    continue;
                }
            },
        };
        let peer = Peer::of(&stream);
        match open.enter(peer.uid()) {
            Ok(counted) => {
                connections.spawn(serve(stream, peer, counted, router.clone(), stop.clone()));
            }
            Err(why) => {
                tracing::debug!("control socket: turned away: {why}");
                if refused.len() < MAX_REFUSALS {
                    refused.spawn(async move { timeout(FAREWELL, turn_away(stream, why)).await });
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Tells a client that there are too many, once it has asked for something: an answer before the question is none to
/// clients of HTTP. What else it says is read and thrown away.
async fn turn_away(stream: UnixStream, why: String) {
    let problem = Problem::new(ProblemKind::Busy, why).hint("close some, or allow more");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let (mut bytes, mut answered) = ([0; 4096], false);
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut bytes) {
            Ok(1..) if !answered => {
                answered = true;
                // It fits any socket. Should it not, hanging up says it too.
                let _ = stream.try_write(answer.as_bytes());
            }
            Ok(1..) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

async fn serve(
    stream: UnixStream,
    peer: Peer,
    counted: Counted,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let times = counted.0.limits.times;
    let _counted = counted;
    let service = service_fn(move |request| answer(router.clone(), peer, times.body, request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(times.idle);
    let mut connection = pin!(builder.serve_connection(Patient::new(stream, times.send), service));
    // How it ends is the client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// One request: its whole body first, so that nothing waits for a client half-way.
async fn answer(
    mut router: Router,
    peer: Peer,
    patience: Duration,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = match timeout(patience, to_bytes(Body::new(body), MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(e)) => {
            let text = format!("the request's body cannot be taken: {e} (at most {MAX_BODY} bytes)");
            return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Err(_) => {
            let text = format!("the request's body did not come within {} s", patience.as_secs());
            return Ok(refusal(StatusCode::REQUEST_TIMEOUT, text));
        }
    };
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(ConnectInfo(peer));
    router.call(request).await
}

fn refusal(status: StatusCode, text: String) -> Response<Body> {
    let problem = Problem::new(ProblemKind::BadRequest, text);
    (status, [("connection", "close")], axum::Json(problem)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(in_all: usize, per_user: usize) -> Limits {
        Limits { in_all, per_user, admins: vec![1234], times: Times::of(&Control::default()) }
    }

    #[test]
    fn those_who_may_change_things_have_connections_that_nobody_else_gets() {
        let limits = limits(100, 32);
        let stranger = Some(crate::files::user::effective_uid() + 77);
        assert!(limits.admit(stranger, 31, 31).is_ok());
        assert!(limits.admit(stranger, 32, 32).expect_err("its share").contains("max_connections_per_user"));
        assert!(limits.admit(stranger, 0, 84).expect_err("the rest").contains("control.max_connections"));
        for admin in [Some(0), Some(1234), Some(crate::files::user::effective_uid())] {
            assert!(limits.admit(admin, 90, 99).is_ok());
            assert!(limits.admit(admin, 0, 100).is_err(), "there is an end for them too");
        }
        assert!(limits.admit(None, 0, 0).is_ok());
    }

    #[test]
    fn who_has_gone_is_not_counted() {
        let open = Arc::new(Open { limits: limits(20, 1), users: Mutex::default() });
        let stranger = Some(crate::files::user::effective_uid() + 77);
        let Ok(one) = open.enter(stranger) else { panic!("there is room for one") };
        assert!(open.enter(stranger).is_err());
        drop(one);
        assert!(open.enter(stranger).is_ok());
        assert!(open.users.lock().expect("whole").is_empty());
    }
}
