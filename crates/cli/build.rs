//! Puts the SDK's sources into the command, for `steadfast driver new`: the three crates that a
//! driver is built from, each with a `Cargo.toml` that stands alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The crates, by folder.
const CRATES: [&str; 3] = ["abi", "driver", "driver-derive"];

fn main() {
    let crates = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where")).join("..");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
    let root = read(&crates.join("../Cargo.toml"));
    let mut list = String::from("[\n");
    for name in CRATES {
        let folder = crates.join(name);
        let manifest = out.join(format!("{name}.toml"));
        let alone = stand_alone(&read(&folder.join("Cargo.toml")), &root);
        fs::write(&manifest, alone).expect("the output folder is writable");
        entry(&mut list, &format!("{name}/Cargo.toml"), &manifest);
        for part in ["src", "include"] {
            sources(&mut list, &folder, &folder.join(part));
        }
    }
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        entry(&mut list, license, &crates.join("..").join(license));
    }
    list.push(']');
    fs::write(out.join("sdk.rs"), list).expect("the output folder is writable");
    println!("cargo::rerun-if-changed=../../Cargo.toml");
}

fn read(path: &Path) -> String {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn entry(list: &mut String, name: &str, path: &Path) {
    let path = path.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    writeln!(list, "    ({name:?}, include_str!({path:?})),").expect("memory");
}

/// Lists what is in `folder`, named from the folder above its crate.
fn sources(list: &mut String, krate: &Path, folder: &Path) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(list, krate, &path);
        } else {
            let base = krate.parent().expect("crates are in a folder");
            let name = path.strip_prefix(base).expect("below it").to_str().expect("UTF-8");
            entry(list, name, &path);
        }
    }
}

/// A crate's manifest without what it takes from the workspace `root`, and without what is only for
/// its own tests.
fn stand_alone(text: &str, root: &str) -> String {
    let mut section = "";
    let mut alone = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if matches!(section, "[dev-dependencies]" | "[lints]" | "[[example]]") || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line.trim(), ""), |(k, v)| (k.trim(), v.trim()));
        let inherited =
            if section == "[package]" { "[workspace.package]" } else { "[workspace.dependencies]" };
        let line = match key.strip_suffix(".workspace") {
            Some(key) if key.starts_with("steadfast-") => sibling(key),
            Some(key) => format!("{key} = {}", given(root, inherited, key)),
            None if value.contains("workspace = true") => {
                let given = given(root, inherited, key);
                let inner = given.trim_start_matches('{').trim_end_matches('}').trim();
                let inner =
                    if given.starts_with('"') { format!("version = {given}") } else { inner.to_owned() };
                format!("{key} = {}", value.replace("workspace = true", &inner))
            }
            None => line.to_owned(),
        };
        writeln!(alone, "{line}").expect("memory");
    }
    format!("{}\n", alone.trim_end())
}

fn sibling(name: &str) -> String {
    format!("{name} = {{ path = \"../{}\" }}", name.trim_start_matches("steadfast-"))
}

/// What the workspace says of `key`.
fn given<'a>(root: &'a str, section: &str, key: &str) -> &'a str {
    let lines = root.lines().skip_while(|line| *line != section).skip(1);
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    let value = lines.find_map(|line| line.split_once('=').filter(|(k, _)| k.trim() == key));
    value.map_or_else(|| panic!("{section} has no {key}"), |(_, value)| value.trim())
}
