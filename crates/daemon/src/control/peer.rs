//! Who asks. The kernel says which user is at the other end of the socket.

use super::Control;
use super::reply::Failed;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use steadfast_api::{Problem, ProblemKind};
use tokio::net::UnixListener;

/// The process at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its user; none where the kernel does not say.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer { uid: stream.io().peer_cred().ok().map(|cred| cred.uid()) }
    }
}

/// A peer that may change things: root, the daemon's own user, or one of `control.admins`. Whoever
/// may connect may look.
pub(crate) struct Admin;

impl FromRequestParts<Control> for Admin {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Admin, Failed> {
        let ConnectInfo(peer) = ConnectInfo::<Peer>::from_request_parts(parts, control)
            .await
            .map_err(|e| Failed(Problem::new(ProblemKind::Internal, e.to_string())))?;
        if peer.uid.is_some_and(|uid| may_change(uid, crate::effective_uid(), &control.app.admins)) {
            return Ok(Admin);
        }
        let who = peer.uid.map_or("unknown".to_owned(), |uid| uid.to_string());
        let message = format!("user {who} may look but not change anything");
        Err(Failed(
            Problem::new(ProblemKind::Forbidden, message)
                .hint("run this as root or as the daemon's user, or list the user in `control.admins`"),
        ))
    }
}

fn may_change(uid: u32, daemon: u32, admins: &[u32]) -> bool {
    uid == 0 || uid == daemon || admins.contains(&uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_change_things() {
        assert!(may_change(0, 1000, &[]), "root");
        assert!(may_change(1000, 1000, &[]), "the daemon's own user");
        assert!(may_change(1001, 1000, &[1001]), "an admin");
        assert!(!may_change(1001, 1000, &[1002]), "anybody else");
        assert!(!may_change(1001, 0, &[]), "anybody else, when root runs it");
    }
}
