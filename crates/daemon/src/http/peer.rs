//! Who asks. The kernel says which user is at the other end of the socket.

use super::Control;
use super::reply::Failed;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use steadfast_api::{Problem, ProblemKind};
use tokio::net::UnixStream;

/// The process at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its user; none where the kernel does not say.
    uid: Option<u32>,
    /// Its process, when it connected; none where the kernel does not say.
    pid: Option<i32>,
}

impl Peer {
    /// The process at the other end of `stream`.
    pub(super) fn of(stream: &UnixStream) -> Peer {
        let cred = stream.peer_cred().ok();
        Peer { uid: cred.map(|cred| cred.uid()), pid: cred.and_then(|cred| cred.pid()) }
    }

    /// Its user.
    pub(super) fn uid(self) -> Option<u32> {
        self.uid
    }

    /// Who that is, for receipts: `root (uid 0, pid 4711)`.
    fn who(self) -> String {
        let Some(uid) = self.uid else { return "unknown".to_owned() };
        let process = self.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        match user_name(uid) {
            Some(name) => format!("{name} (uid {uid}{process})"),
            None => format!("uid {uid}{process}"),
        }
    }
}

/// The name of a user, as `/etc/passwd` has it. Directory services are not asked: they may take their
/// time, and the number says it all.
fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    users.lines().find_map(named)
}

/// A peer that may change things: root, the daemon's own user, or one of `control.admins`. Whoever
/// may connect may look. It says who that is.
pub(crate) struct Admin(pub(crate) String);

impl FromRequestParts<Control> for Admin {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Admin, Failed> {
        let ConnectInfo(peer) = ConnectInfo::<Peer>::from_request_parts(parts, control)
            .await
            .map_err(|e| Failed(Problem::new(ProblemKind::Internal, e.to_string())))?;
        if peer
            .uid
            .is_some_and(|uid| may_change(uid, crate::files::user::effective_uid(), &control.app.admins))
        {
            return Ok(Admin(peer.who()));
        }
        let who = peer.uid.map_or("unknown".to_owned(), |uid| uid.to_string());
        let message = format!("user {who} may look but not change anything");
        Err(Failed(
            Problem::new(ProblemKind::Forbidden, message)
                .hint("run this as root or as the daemon's user, or list the user in `control.admins`"),
        ))
    }
}

pub(super) fn may_change(uid: u32, daemon: u32, admins: &[u32]) -> bool {
    uid == 0 || uid == daemon || admins.contains(&uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_name_user_and_process() {
        assert_eq!(Peer { uid: Some(0), pid: Some(7) }.who(), "root (uid 0, pid 7)");
        assert_eq!(Peer { uid: Some(4_000_000_000), pid: None }.who(), "uid 4000000000");
        assert_eq!(Peer { uid: None, pid: None }.who(), "unknown");
    }

    #[test]
    fn who_may_change_things() {
        assert!(may_change(0, 1000, &[]), "root");
        assert!(may_change(1000, 1000, &[]), "the daemon's own user");
        assert!(may_change(1001, 1000, &[1001]), "an admin");
        assert!(!may_change(1001, 1000, &[1002]), "anybody else");
        assert!(!may_change(1001, 0, &[]), "anybody else, when root runs it");
    }
}
