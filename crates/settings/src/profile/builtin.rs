//! Profiles that come with Steadfast.

/// Names and texts, in the order in which they are shown.
pub(super) const TEXTS: [(&str, &str); 5] = [
    ("oltp", include_str!("builtin/oltp.toml")),
    ("streaming", include_str!("builtin/streaming.toml")),
    ("virtualization", include_str!("builtin/virtualization.toml")),
    ("backup", include_str!("builtin/backup.toml")),
    ("low-latency", include_str!("builtin/low-latency.toml")),
];

/// Their names.
pub const BUILT_IN: [&str; 5] = {
    let mut names = [""; 5];
    let mut i = 0;
    while i < TEXTS.len() {
        names[i] = TEXTS[i].0;
        i += 1;
    }
    names
};

/// The text of a profile that comes with Steadfast.
pub(super) fn text(name: &str) -> Option<&'static str> {
    TEXTS.iter().find(|(own, _)| *own == name).map(|(_, text)| *text)
}
