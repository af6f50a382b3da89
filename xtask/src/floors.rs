//! Which way imports point within a crate. A crate with floors names its rooms (its top modules) from the highest to
//! the lowest; code imports from rooms below its own, never from one above. Unit tests may use what they like.
//!
//! What stood against the direction when the floors were laid is listed in `floors.debts`: the list only shrinks.

use anyhow::{Context, Result, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A crate's sources, and its rooms from the highest to the lowest. What stands in `lib.rs` or `main.rs` itself is the
/// room `lib`.
struct House {
    src: &'static str,
    rooms: &'static [&'static str],
}

const HOUSES: &[House] = &[
    House {
        src: "crates/runtime/src",
        rooms: &[
            "lib",
            "engine",
            "trial",
            "change",
            "control",
            "stack",
            "queue",
            "lane",
            "port",
            "driver",
            "resources",
            "handle",
            "helpers",
            "ring",
            "clock",
            "info",
            "error",
            "ids",
        ],
    },
    House {
        src: "crates/daemon/src",
        rooms: &[
            "lib", "start", "http", "app", "ports", "params", "updates", "serving", "receipts", "config",
            "log", "files",
        ],
    },
];

const DEBTS: &str = "xtask/floors.debts";

/// Reads the imports of every house; fails on one against the direction that is no known debt, and on a debt that
/// has been paid and is still listed.
pub(crate) fn check() -> Result<String> {
    let listed =
        std::fs::read_to_string(crate::root().join(DEBTS)).with_context(|| format!("cannot read {DEBTS}"))?;
    let listed: BTreeSet<&str> = listed.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let mut wrong = BTreeSet::new();
    let mut arrows = 0;
    for house in HOUSES {
        let (count, against) = against(house)?;
        arrows += count;
        wrong.extend(against);
    }
    let new: Vec<&String> = wrong.iter().filter(|w| !listed.contains(w.as_str())).collect();
    let paid: Vec<&&str> = listed.iter().filter(|l| !wrong.contains(**l)).collect();
    if !new.is_empty() {
        let all: Vec<String> = new.iter().map(|w| format!("  {w}")).collect();
        bail!("imports from a room above (rooms and their order: xtask/src/floors.rs):\n{}", all.join("\n"));
    }
    if !paid.is_empty() {
        let all: Vec<String> = paid.iter().map(|w| format!("  {w}")).collect();
        bail!(
            "no longer imported, so no longer a debt; take these lines out of {DEBTS}:\n{}",
            all.join("\n")
        );
    }
    Ok(format!("{arrows} imports between rooms, {} of them against the direction (known)", wrong.len()))
}

/// How many imports between rooms there are, and those that point up: `FILE -> ROOM`.
fn against(house: &House) -> Result<(usize, BTreeSet<String>)> {
    let src = crate::root().join(house.src);
    let mut files = Vec::new();
    collect(&src, &mut files)?;
    let (mut arrows, mut wrong) = (0, BTreeSet::new());
    for file in files {
        let inside = file.strip_prefix(&src).unwrap_or(&file);
        let module = module_of(inside);
        let room = room_of(house, &module)
            .with_context(|| format!("{}: its room has no floor in xtask/src/floors.rs", file.display()))?;
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let rooms = imports(&text, &module).with_context(|| format!("cannot read {}", file.display()))?;
        let rooms: BTreeSet<&str> = rooms.iter().map(|path| room_of(house, path).unwrap_or("lib")).collect();
        let floor = |name: &str| house.rooms.iter().position(|r| *r == name);
        for other in rooms.into_iter().filter(|other| *other != room) {
            arrows += 1;
            if floor(other) < floor(room) {
                wrong.insert(format!("{}/{} -> {other}", house.src, inside.display()));
            }
        }
    }
    Ok((arrows, wrong))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") && !is_for_tests(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// Unit tests in a file of their own.
fn is_for_tests(path: &Path) -> bool {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .is_some_and(|stem| stem == "tests" || stem.ends_with("_tests"))
}

/// The module of a file: `lane/mod.rs` and `lane.rs` are `lane`, `lib.rs` is the root.
fn module_of(inside: &Path) -> Vec<String> {
    let mut parts: Vec<String> = inside
        .with_extension("")
        .components()
        .map(|c| c.as_os_str().to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

fn room_of<'h>(house: &House, path: &[String]) -> Option<&'h str> {
    let Some(first) = path.first() else { return Some("lib") };
    house.rooms.iter().find(|room| **room == first.as_str()).copied()
}

/// The paths within the crate that a file's code names, each from the crate's root on.
fn imports(text: &str, module: &[String]) -> Result<BTreeSet<Vec<String>>> {
    let tokens: TokenStream = text.parse().map_err(|e| anyhow::anyhow!("no Rust: {e}"))?;
    let mut found = BTreeSet::new();
    walk(tokens, module, &mut found);
    Ok(found)
}

fn walk(tokens: TokenStream, module: &[String], found: &mut BTreeSet<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut for_tests = false;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Bracket
                    && group.stream().to_string().replace(' ', "") == "cfg(test)"
                {
                    for_tests = true;
                } else {
                    walk(group.stream(), module, found);
                }
            }
            TokenTree::Ident(word) if *word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    if !for_tests {
                        let inner: Vec<String> = module.iter().cloned().chain([name.to_string()]).collect();
                        walk(body.stream(), &inner, found);
                    }
                    at += 2;
                }
                for_tests = false;
            }
            TokenTree::Ident(word) if is_separator(&tokens, at + 1) => {
                let after_path = at > 1 && is_separator(&tokens, at - 2);
                let start = match word.to_string().as_str() {
                    _ if after_path => None,
                    "crate" => Some(Vec::new()),
                    "self" => Some(module.to_vec()),
                    "super" => module.split_last().map(|(_, outer)| outer.to_vec()),
                    _ => None,
                };
                if let Some(start) = start {
                    path(&tokens[at + 3..], start, found);
                }
            }
            TokenTree::Ident(word) if ["fn", "use", "impl", "struct", "const"].iter().any(|w| *word == w) => {
                for_tests = false;
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |i: usize| matches!(tokens.get(i), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(at) && colon(at + 1)
}

/// What a path names from here on: a word, a word and more, or a list in braces.
fn path(tokens: &[TokenTree], mut so_far: Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    match tokens.first() {
        Some(TokenTree::Ident(word)) => {
            match word.to_string().as_str() {
                "super" => drop(so_far.pop()),
                "self" => {}
                name => so_far.push(name.to_string()),
            }
            if is_separator(tokens, 1) {
                path(&tokens[3..], so_far, found);
            } else {
                found.insert(so_far);
            }
        }
        Some(TokenTree::Group(list)) if list.delimiter() == Delimiter::Brace => {
            let list: Vec<TokenTree> = list.stream().into_iter().collect();
            for part in list.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ',')) {
                path(part, so_far.clone(), found);
            }
        }
        _ => drop(found.insert(so_far)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUSE: House = House { src: "", rooms: &["lib", "high", "low"] };

    fn rooms(text: &str, module: &[&str]) -> Vec<&'static str> {
        let module: Vec<String> = module.iter().map(|m| (*m).to_string()).collect();
        let paths = imports(text, &module).expect("Rust");
        let rooms: BTreeSet<&str> = paths.iter().map(|p| room_of(&HOUSE, p).unwrap_or("lib")).collect();
        rooms.into_iter().collect()
    }

    #[test]
    fn imports_are_seen_in_every_form() {
        assert_eq!(rooms("use crate::high::A;", &["low"]), ["high"]);
        assert_eq!(rooms("use crate::{high::{self, B}, low};", &["low"]), ["high", "low"]);
        assert_eq!(rooms("fn f() { let a = vec![crate::high::a()]; }", &["low"]), ["high"]);
        assert_eq!(rooms("use super::super::high::A;", &["low", "inner"]), ["high"]);
        assert_eq!(rooms("use super::other::A;", &["low", "inner"]), ["low"]);
        assert_eq!(rooms("mod inner { use super::super::high::A; }", &["low"]), ["high"]);
        assert_eq!(rooms("use crate::Exported;", &["low"]), ["lib"]);
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        let none: [&str; 0] = [];
        assert_eq!(rooms("// crate::high::A\nconst S: &str = \"crate::high::A\";", &["low"]), none);
        assert_eq!(rooms("pub(crate) fn f() { std::thread::yield_now() }", &["low"]), none);
        assert_eq!(rooms("#[cfg(test)]\nmod tests { use crate::high::A; }", &["low"]), none);
        assert_eq!(
            rooms("#[cfg(test)]\nuse std::io;\nmod inner { use crate::high::A; }", &["low"]),
            ["high"]
        );
    }
}
