//! The SDK's sources, as they were when this command was built.

/// Path below the SDK's folder, and contents; `build.rs` makes the list.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Every file of the SDK, for a project in Rust.
pub(crate) fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().copied()
}

/// The interface in C.
pub(crate) const HEADER: &str = include_str!("../../../abi/include/steadfast.h");

/// A whole driver in C.
pub(crate) const EXAMPLE: &str = include_str!("../../../abi/examples/memory.c");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_whole_and_stands_alone() {
        for name in
            ["abi/src/lib.rs", "abi/include/steadfast.h", "driver/src/lib.rs", "driver-derive/src/lib.rs"]
        {
            assert!(files().any(|(path, text)| path == name && !text.is_empty()), "no {name}");
        }
        for name in ["abi/Cargo.toml", "driver/Cargo.toml", "driver-derive/Cargo.toml"] {
            let (_, text) = files().find(|(path, _)| *path == name).unwrap_or_else(|| panic!("no {name}"));
            assert!(!text.contains("workspace") && text.contains("version = "), "{name}:\n{text}");
        }
    }
}
