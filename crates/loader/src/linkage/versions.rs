//! Versions of symbols: which are asked for, and of which library.

use object::elf;

use super::dynamic::Dynamic;
use super::hashes::old_hash;
use super::map::Map;
use super::symbols::Symbols;
use super::{Numbers, damaged};
use crate::error::Problem;

/// Most entries of one list; a longer one goes in a circle.
const MOST: usize = 4096;

pub(super) fn check(map: &Map<'_>, dynamic: &Dynamic<'_>, symbols: &Symbols<'_>) -> Result<(), Problem> {
    let needed = dynamic.get(elf::DT_VERNEED).map(|at| needed(map, dynamic, at)).transpose()?;
    let defined = dynamic.get(elf::DT_VERDEF).map(|at| defined(map, dynamic, at)).transpose()?;
    let has = dynamic.get(elf::DT_VERSYM).is_some();
    if has != (needed.is_some() || defined.is_some()) {
        return damaged("versions of its symbols, and no table that says which, or the other way round");
    }
    // 0 and 1 are symbols without a version.
    let highest = needed.unwrap_or(1).max(defined.unwrap_or(1)).max(1);
    let beyond = symbols.list.iter().find(|symbol| symbol.version & 0x7fff > highest);
    match beyond {
        Some(symbol) => damaged(format!("symbol {} has a version that there is none of", symbol.name)),
        None => Ok(()),
    }
}

fn wrong<T>(what: &str) -> Result<T, Problem> {
    damaged(format!("its list of {what} versions makes no sense"))
}

/// The highest number of a version that the module asks for.
fn needed(map: &Map<'_>, dynamic: &Dynamic<'_>, mut at: u64) -> Result<u16, Problem> {
    let mut highest = 0;
    for _ in 0..MOST {
        let Some(entry) = map.file(at, 16) else { return wrong("needed") };
        let [file, more, next] = [4, 8, 12].map(|place| entry.u32_at(place).unwrap_or(0));
        // The linker takes for granted that the library is one of those that were loaded.
        let known = dynamic.string(file.into()).is_some_and(|name| dynamic.needs(name));
        if entry.u16_at(0) != Some(1) || !known {
            return wrong("needed");
        }
        highest = highest.max(needed_of(map, dynamic, at.checked_add(more.into()))?);
        match (next, at.checked_add(next.into())) {
            (0, _) => return Ok(highest),
            (_, Some(next)) => at = next,
            (_, None) => break,
        }
    }
    wrong("needed")
}

/// The same of one library.
fn needed_of(map: &Map<'_>, dynamic: &Dynamic<'_>, mut at: Option<u64>) -> Result<u16, Problem> {
    let mut highest = 0;
    for _ in 0..MOST {
        let Some((here, entry)) = at.and_then(|at| Some((at, map.file(at, 16)?))) else { break };
        let name = dynamic.string(entry.u32_at(8).unwrap_or(0).into()).unwrap_or_default();
        if name.is_empty() || entry.u32_at(0) != Some(old_hash(name)) {
            break;
        }
        highest = highest.max(entry.u16_at(6).unwrap_or(0) & 0x7fff);
        match entry.u32_at(12) {
            Some(0) => return Ok(highest),
            next => at = here.checked_add(next.unwrap_or(0).into()),
        }
    }
    wrong("needed")
}

/// The highest number of a version that the module defines.
fn defined(map: &Map<'_>, dynamic: &Dynamic<'_>, mut at: u64) -> Result<u16, Problem> {
    let mut highest = 0;
    for _ in 0..MOST {
        let Some(entry) = map.file(at, 20) else { break };
        let [more, next] = [12, 16].map(|place| entry.u32_at(place).unwrap_or(0));
        let name = at.checked_add(more.into()).and_then(|at| map.file(at, 8));
        let named = name.and_then(|name| dynamic.string(name.u32_at(0).unwrap_or(0).into()));
        let hashed = named.filter(|name| entry.u32_at(8) == Some(old_hash(name)));
        if entry.u16_at(0) != Some(1) || hashed.is_none_or(str::is_empty) {
            break;
        }
        highest = highest.max(entry.u16_at(4).unwrap_or(0) & 0x7fff);
        match (next, at.checked_add(next.into())) {
            (0, _) => return Ok(highest),
            (_, Some(next)) => at = next,
            (_, None) => break,
        }
    }
    wrong("defined")
}
