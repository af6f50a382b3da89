//! What is wrong behind ports, as the control API tells it.

use steadfast_api::{Trouble, TroubleCode};
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

/// In words, for what has no room for more.
pub(crate) fn sentence(troubles: &[Trouble]) -> String {
    let said = troubles.iter().map(|trouble| format!("port {}: {}", trouble.port, trouble.detail));
    said.collect::<Vec<_>>().join("; ")
}
