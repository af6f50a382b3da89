//! Relocations: what the linker writes into the module, and where.

use std::collections::BTreeSet;

use object::elf;

use super::dynamic::{Dynamic, text_relocations};
use super::map::Map;
use super::symbols::Symbols;
use super::{Numbers, damaged};
use crate::error::Problem;

/// Bytes of one relocation.
const RELOCATION: usize = 24;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An address of the module.
    Own,
    /// The address of a symbol, and something beyond it.
    Symbol,
    /// The address of a symbol, for all that use it.
    Slot,
    /// The same, for calls.
    Call,
    /// Something about thread-local data.
    Thread,
    /// The same, two numbers.
    ThreadPair,
    /// What a function of the module says.
    Asked,
}

#[cfg(not(target_arch = "aarch64"))]
const KINDS: &[(u32, Kind)] = &[
    (elf::R_X86_64_RELATIVE, Kind::Own),
    (elf::R_X86_64_64, Kind::Symbol),
    (elf::R_X86_64_GLOB_DAT, Kind::Slot),
    (elf::R_X86_64_JUMP_SLOT, Kind::Call),
    (elf::R_X86_64_DTPMOD64, Kind::Thread),
    (elf::R_X86_64_DTPOFF64, Kind::Thread),
    (elf::R_X86_64_TPOFF64, Kind::Thread),
    (elf::R_X86_64_TLSDESC, Kind::ThreadPair),
    (elf::R_X86_64_IRELATIVE, Kind::Asked),
];
#[cfg(target_arch = "aarch64")]
const KINDS: &[(u32, Kind)] = &[
    (elf::R_AARCH64_RELATIVE, Kind::Own),
    (elf::R_AARCH64_ABS64, Kind::Symbol),
    (elf::R_AARCH64_GLOB_DAT, Kind::Slot),
    (elf::R_AARCH64_JUMP_SLOT, Kind::Call),
    (elf::R_AARCH64_TLS_DTPMOD, Kind::Thread),
    (elf::R_AARCH64_TLS_DTPREL, Kind::Thread),
    (elf::R_AARCH64_TLS_TPREL, Kind::Thread),
    (elf::R_AARCH64_TLSDESC, Kind::ThreadPair),
    (elf::R_AARCH64_IRELATIVE, Kind::Asked),
];

/// One of them.
#[derive(Debug)]
struct Relocation {
    at: u64,
    kind: Kind,
    symbol: usize,
    more: i64,
}

pub(super) fn check(map: &Map<'_>, dynamic: &Dynamic<'_>, symbols: &Symbols<'_>) -> Result<(), Problem> {
    let mut checked = Checked { map, symbols, written: Vec::new(), slots: BTreeSet::new() };
    let data = dynamic.table(map, elf::DT_RELA, elf::DT_RELASZ, "relocation table")?.unwrap_or_default();
    let calls = dynamic.table(map, elf::DT_JMPREL, elf::DT_PLTRELSZ, "table of calls to relocate")?;
    let calls = calls.unwrap_or_default();
    if !calls.is_empty() && dynamic.get(elf::DT_PLTREL) != Some(elf::DT_RELA.into()) {
        return damaged("calls to relocate of a kind that this machine does not have");
    }
    let own = dynamic.get(elf::DT_RELACOUNT).unwrap_or(0);
    checked.table(data, own)?;
    checked.table(calls, 0)?;
    checked.compact(dynamic.compact(map)?.unwrap_or_default())?;
    checked.none_twice()
}

struct Checked<'a, 'd> {
    map: &'a Map<'d>,
    symbols: &'a Symbols<'d>,
    /// Where something is written, and how many bytes.
    written: Vec<(u64, u64)>,
    /// Symbols and kinds of slots that there were.
    slots: BTreeSet<(usize, bool)>,
}

impl Checked<'_, '_> {
    /// A table whose first `own` entries are addresses of the module; the linker does not look.
    fn table(&mut self, table: &[u8], own: u64) -> Result<(), Problem> {
        if !table.len().is_multiple_of(RELOCATION) || own > (table.len() / RELOCATION) as u64 {
            return damaged("a relocation table that is not whole");
        }
        for (number, bytes) in table.chunks_exact(RELOCATION).enumerate() {
            let relocation = read(bytes);
            let fits = relocation.as_ref().is_some_and(|relocation| {
                (number as u64 >= own || relocation.kind == Kind::Own) && self.fits(relocation)
            });
            let Some(relocation) = relocation.filter(|_| fits) else {
                return damaged(format!("relocation {number} makes no sense"));
            };
            self.write(relocation.at, if relocation.kind == Kind::ThreadPair { 16 } else { 8 })?;
        }
        Ok(())
    }

    fn fits(&mut self, relocation: &Relocation) -> bool {
        let Relocation { kind, symbol: number, more, .. } = *relocation;
        let Some(symbol) = self.symbols.list.get(number) else { return false };
        let own = u64::try_from(more);
        match kind {
            Kind::Own => number == 0 && own.is_ok_and(|address| self.map.has(address)),
            Kind::Asked => number == 0 && own.is_ok_and(|address| self.map.is_code(address)),
            Kind::Symbol => number != 0 && more.unsigned_abs() <= self.map.span(),
            // One slot serves all who use the symbol.
            Kind::Slot | Kind::Call => {
                number != 0 && more == 0 && self.slots.insert((number, kind == Kind::Call))
            }
            Kind::Thread | Kind::ThreadPair => match number {
                0 => self.map.thread > 0 && own.is_ok_and(|more| more <= self.map.thread),
                _ => symbol.kind == elf::STT_TLS,
            },
        }
    }

    fn write(&mut self, at: u64, bytes: u64) -> Result<(), Problem> {
        let (start, size) = self.map.dynamic;
        if !self.map.is_written(at, bytes) {
            return if self.map.has(at) {
                Err(text_relocations())
            } else {
                damaged(format!("a relocation at {at:#x}, which is not the module's"))
            };
        }
        if at < start + size && start < at + bytes {
            return damaged("a relocation of the dynamic section itself");
        }
        self.written.push((at, bytes));
        Ok(())
    }

    /// The compact form: an even number is an address; an odd one is a map of the 63 words behind it.
    fn compact(&mut self, table: &[u8]) -> Result<(), Problem> {
        let wrong = || Problem::Damaged("its compact relocations make no sense".to_owned());
        if !table.len().is_multiple_of(8) {
            return Err(wrong());
        }
        let mut next: Option<u64> = None;
        for at in (0..table.len()).step_by(8) {
            let entry = table.u64_at(at).ok_or_else(wrong)?;
            if entry & 1 == 0 {
                self.own_word(entry)?;
                next = Some(entry.checked_add(8).ok_or_else(wrong)?);
                continue;
            }
            let base = next.ok_or_else(wrong)?;
            for bit in (0..63).filter(|bit| entry >> (bit + 1) & 1 == 1) {
                self.own_word(base.checked_add(bit * 8).ok_or_else(wrong)?)?;
            }
            next = Some(base.checked_add(63 * 8).ok_or_else(wrong)?);
        }
        Ok(())
    }

    /// A word in which an address of the module is.
    fn own_word(&mut self, at: u64) -> Result<(), Problem> {
        let word = self.map.file(at, 8).and_then(|bytes| bytes.u64_at(0));
        if !word.is_some_and(|address| self.map.has(address)) {
            return damaged(format!("the word at {at:#x}, which is relocated, is no address of the module"));
        }
        self.write(at, 8)
    }

    fn none_twice(&mut self) -> Result<(), Problem> {
        self.written.sort_unstable();
        match self.written.windows(2).find(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            Some(pair) => damaged(format!("two relocations at {:#x}", pair[1].0)),
            None => Ok(()),
        }
    }
}

fn read(bytes: &[u8]) -> Option<Relocation> {
    let (at, info, more) = (bytes.u64_at(0)?, bytes.u64_at(8)?, bytes.u64_at(16)?);
    let number = (info & 0xffff_ffff) as u32;
    let (_, kind) = KINDS.iter().find(|(known, _)| *known == number)?;
    Some(Relocation { at, kind: *kind, symbol: usize::try_from(info >> 32).ok()?, more: more as i64 })
}
