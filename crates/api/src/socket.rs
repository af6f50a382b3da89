use std::env;
use std::path::PathBuf;

/// Where daemon and client meet when nobody says otherwise: `/run/steadfast` for root, the user's
/// runtime folder for others, a folder of the user's own under the temporary folder failing that.
pub fn default_socket(uid: u32) -> PathBuf {
    let folder = match (uid, env::var_os("XDG_RUNTIME_DIR")) {
        (0, _) => PathBuf::from("/run/steadfast"),
        (_, Some(run)) if !run.is_empty() => PathBuf::from(run).join("steadfast"),
        _ => env::temp_dir().join(format!("steadfast-{uid}")),
    };
    folder.join("control.sock")
}
