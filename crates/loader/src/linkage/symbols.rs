//! The symbols, and the tables by which the linker finds them.

use std::collections::BTreeSet;

use object::elf;

use super::dynamic::Dynamic;
use super::hashes::{GnuHash, OldHash};
use super::map::Map;
use super::{Numbers, damaged};
use crate::error::Problem;

/// Bytes of one symbol.
const SYMBOL: usize = 24;

/// A symbol, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol<'d> {
    pub(super) name: &'d str,
    pub(super) kind: u8,
    pub(super) version: u16,
    binding: u8,
    defined: bool,
}

/// The dynamic symbols: as many as the hash tables speak of.
#[derive(Debug)]
pub(super) struct Symbols<'d> {
    pub(super) list: Vec<Symbol<'d>>,
}

impl<'d> Symbols<'d> {
    pub(super) fn of(map: &Map<'d>, dynamic: &Dynamic<'d>) -> Result<Symbols<'d>, Problem> {
        let old = dynamic.get(elf::DT_HASH).map(|at| OldHash::of(map, at)).transpose()?;
        let new = dynamic.get(elf::DT_GNU_HASH).map(|at| GnuHash::of(map, at)).transpose()?;
        let count = match (&old, &new) {
            (None, None) => return damaged("it has no hash table, so nothing in it can be found"),
            (Some(old), Some(new)) if old.count != new.count => {
                return damaged("its hash tables do not agree");
            }
            (old, new) => {
                old.as_ref().map(|old| old.count).or(new.as_ref().map(|new| new.count)).unwrap_or(0)
            }
        };
        let bytes = (count as u64).saturating_mul(SYMBOL as u64);
        let table = dynamic.get(elf::DT_SYMTAB).and_then(|at| map.file(at, bytes));
        let Some(table) = table else {
            return damaged(format!("its symbol table, of {count} symbols, is not in what is mapped"));
        };
        let versions = versions(map, dynamic, count)?;
        let read = |number: usize| read(map, dynamic, table, number, versions);
        let list: Vec<Symbol<'d>> = (0..count).map(read).collect::<Result<_, _>>()?;
        old.map_or(Ok(()), |old| old.check(&list))?;
        new.map_or(Ok(()), |new| new.check(&list))?;
        Ok(Symbols { list })
    }

    /// No two symbols of one name: the linker would take the first, whichever was meant.
    pub(super) fn check_names(&self) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        for symbol in self.list.iter().skip(1).filter(|symbol| symbol.binding != elf::STB_LOCAL) {
            if symbol.name.is_empty() {
                return damaged("a symbol without a name");
            }
            if !seen.insert((symbol.name, symbol.version & 0x7fff)) {
                return damaged(format!("two symbols {}", symbol.name));
            }
        }
        Ok(())
    }
}

/// Each symbol's version, two bytes each; none where the module has no versions.
fn versions<'d>(map: &Map<'d>, dynamic: &Dynamic<'d>, count: usize) -> Result<Option<&'d [u8]>, Problem> {
    let Some(at) = dynamic.get(elf::DT_VERSYM) else { return Ok(None) };
    match map.file(at, count as u64 * 2) {
        Some(versions) => Ok(Some(versions)),
        None => damaged("its table of symbol versions is not in what is mapped"),
    }
}

fn read<'d>(
    map: &Map<'d>,
    dynamic: &Dynamic<'d>,
    table: &[u8],
    number: usize,
    versions: Option<&[u8]>,
) -> Result<Symbol<'d>, Problem> {
    let bytes = &table[number * SYMBOL..(number + 1) * SYMBOL];
    let (info, other) = (bytes[4], bytes[5]);
    let section = bytes.u16_at(6).unwrap_or(0);
    let (value, size) = (bytes.u64_at(8).unwrap_or(0), bytes.u64_at(16).unwrap_or(0));
    let Some(name) = dynamic.string(bytes.u32_at(0).unwrap_or(0).into()) else {
        return damaged(format!("symbol {number} has a name that is not in its string table"));
    };
    let (kind, binding, defined) = (info & 15, info >> 4, section != elf::SHN_UNDEF);
    let version = versions.and_then(|versions| versions.u16_at(number * 2)).unwrap_or(0);
    let symbol = Symbol { name, kind, version, binding, defined };
    let fits = if number == 0 {
        bytes.iter().all(|byte| *byte == 0)
    } else {
        symbol.binds(other) && symbol.lies(map, section, value, size)
    };
    if fits { Ok(symbol) } else { damaged(format!("symbol {number} ({name}) makes no sense")) }
}

impl Symbol<'_> {
    /// Whether who sees it makes sense: what is not its own cannot be private.
    fn binds(&self, other: u8) -> bool {
        let visible = matches!(other & 3, elf::STV_DEFAULT | elf::STV_PROTECTED);
        match self.binding {
            elf::STB_LOCAL => self.defined,
            elf::STB_GLOBAL | elf::STB_WEAK | elf::STB_GNU_UNIQUE if self.defined => visible,
            elf::STB_GLOBAL | elf::STB_WEAK => other & 3 == elf::STV_DEFAULT,
            _ => false,
        }
    }

    /// Whether it is where symbols of its kind are.
    fn lies(&self, map: &Map<'_>, section: u16, value: u64, size: u64) -> bool {
        let end = value.checked_add(size);
        match (section, self.kind) {
            (_, kind) if kind > elf::STT_TLS && kind != elf::STT_GNU_IFUNC => false,
            (elf::SHN_UNDEF, _) => value == 0 || self.kind == elf::STT_FUNC && map.is_code(value),
            (elf::SHN_ABS, _) => true,
            (elf::SHN_LORESERVE.., _) => false,
            (_, elf::STT_TLS) => end.is_some_and(|end| end <= map.thread),
            (_, elf::STT_FUNC | elf::STT_GNU_IFUNC) => map.is_code(value),
            _ => map.has(value) && end.is_some_and(|end| map.has(end)),
        }
    }
}
