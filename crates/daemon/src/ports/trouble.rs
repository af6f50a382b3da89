//! What is wrong behind ports, as the control API tells it.

use steadfast_api::{PortState, Trouble, TroubleCode};
use steadfast_runtime::{PortInfo, TroubleCode as Code};

/// What is wrong behind a port.
pub(crate) fn of(port: &PortInfo) -> Vec<Trouble> {
    let shown = |trouble: &steadfast_runtime::Trouble| Trouble {
        port: port.name.clone(),
        code: match trouble.code {
            Code::WritesLost => TroubleCode::WritesLost,
            Code::FileReplaced => TroubleCode::FileReplaced,
            Code::FileMissing => TroubleCode::FileMissing,
            Code::FileShrunk => TroubleCode::FileShrunk,
            Code::ReadOnly => TroubleCode::ReadOnly,
            Code::Hangs => TroubleCode::Hangs,
            Code::Stuck => TroubleCode::Stuck,
        },
        target: trouble.target.clone(),
        detail: trouble.detail.clone(),
        since_unix_ms: trouble.since_unix_ms,
    };
    port.troubles.iter().map(shown).collect()
}

/// Why a port is not served, where it is not, unless something else says so already.
pub(crate) fn of_state(port: &PortInfo) -> Option<Trouble> {
    let (code, detail) = match crate::app::state(port) {
        PortState::Stranded => {
            (TroubleCode::Stranded, "no driver serves it; requests are held until an update puts one there")
        }
        PortState::Unresponsive if of(port).iter().any(|trouble| trouble.code == TroubleCode::Stuck) => {
            return None;
        }
        PortState::Unresponsive => (TroubleCode::Unresponsive, "a queue of it does not answer"),
        PortState::Running | PortState::Held | PortState::Down | PortState::Absent => return None,
    };
    let detail = detail.to_owned();
    Some(Trouble { port: port.name.clone(), code, target: String::new(), detail, since_unix_ms: 0 })
}

/// Trouble of the daemon's own; none where nothing is said.
pub(crate) fn own(code: TroubleCode, detail: String) -> Option<Trouble> {
    let own = || Trouble {
        port: String::new(),
        code,
        target: String::new(),
        detail: detail.clone(),
        since_unix_ms: 0,
    };
    (!detail.is_empty()).then(own)
}

/// In words, for what has no room for more.
pub(crate) fn sentence(troubles: &[Trouble]) -> String {
    let one = |Trouble { port, code, detail, .. }: &Trouble| match (port.as_str(), code) {
        ("", _) => detail.clone(),
        (port, TroubleCode::Absent | TroubleCode::Stranded) => {
            format!("port {port}: {}: {detail}", code.name())
        }
        (port, _) => format!("port {port}: {detail}"),
    };
    troubles.iter().map(one).collect::<Vec<_>>().join("; ")
}
