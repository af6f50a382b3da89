//! The dynamic section: what the linker is told of the module.

use std::collections::BTreeMap;

use object::elf;
use steadfast_shell::check::Libraries;

use super::map::Map;
use super::{Numbers, damaged};
use crate::error::Problem;

// Tags that the list has no names for.
const DT_RELRSZ: u32 = 35;
const DT_RELR: u32 = 36;
const DT_RELRENT: u32 = 37;

/// Tags that a module may have, each once, beside `DT_NEEDED`. Whatever else there is was written for
/// another linker, or is not what was written.
const KNOWN: &[u32] = &[
    elf::DT_SONAME,
    elf::DT_HASH,
    elf::DT_GNU_HASH,
    elf::DT_STRTAB,
    elf::DT_STRSZ,
    elf::DT_SYMTAB,
    elf::DT_SYMENT,
    elf::DT_RELA,
    elf::DT_RELASZ,
    elf::DT_RELAENT,
    elf::DT_RELACOUNT,
    DT_RELR,
    DT_RELRSZ,
    DT_RELRENT,
    elf::DT_JMPREL,
    elf::DT_PLTRELSZ,
    elf::DT_PLTREL,
    elf::DT_PLTGOT,
    elf::DT_INIT,
    elf::DT_FINI,
    elf::DT_INIT_ARRAY,
    elf::DT_INIT_ARRAYSZ,
    elf::DT_FINI_ARRAY,
    elf::DT_FINI_ARRAYSZ,
    elf::DT_FLAGS,
    elf::DT_FLAGS_1,
    elf::DT_VERSYM,
    elf::DT_VERNEED,
    elf::DT_VERNEEDNUM,
    elf::DT_VERDEF,
    elf::DT_VERDEFNUM,
    elf::DT_BIND_NOW,
    elf::DT_SYMBOLIC,
    elf::DT_DEBUG,
    elf::DT_SYMTAB_SHNDX,
    elf::DT_TLSDESC_PLT,
    elf::DT_TLSDESC_GOT,
    elf::DT_RUNPATH,
    elf::DT_RPATH,
    elf::DT_AUDIT,
    elf::DT_DEPAUDIT,
    elf::DT_CONFIG,
    elf::DT_AUXILIARY,
    elf::DT_FILTER,
];
/// Tags of this kind of machine: procedure linkage tables.
const OF_MACHINE: &[u32] = if cfg!(target_arch = "aarch64") {
    &[0x7000_0001, 0x7000_0003, 0x7000_0005]
} else {
    &[0x7000_0000, 0x7000_0001, 0x7000_0003]
};

/// Tags by which another file, or another folder to look for files in, is named by a string.
const BRINGS: &[(u32, &str)] = &[
    (elf::DT_RUNPATH, "DT_RUNPATH"),
    (elf::DT_RPATH, "DT_RPATH"),
    (elf::DT_AUDIT, "DT_AUDIT"),
    (elf::DT_DEPAUDIT, "DT_DEPAUDIT"),
    (elf::DT_CONFIG, "DT_CONFIG"),
    (elf::DT_AUXILIARY, "DT_AUXILIARY"),
    (elf::DT_FILTER, "DT_FILTER"),
];

/// Flags that change nothing for anybody but the module.
const FLAGS: u64 = (elf::DF_ORIGIN | elf::DF_SYMBOLIC | elf::DF_BIND_NOW | elf::DF_STATIC_TLS) as u64;
const FLAGS_1: u64 = (elf::DF_1_NOW | elf::DF_1_NODELETE | elf::DF_1_ORIGIN) as u64;

/// The section, its addresses and sizes held against what will be mapped.
#[derive(Debug)]
pub(super) struct Dynamic<'d> {
    entries: BTreeMap<u64, u64>,
    needed: Vec<u64>,
    strings: &'d [u8],
}

impl<'d> Dynamic<'d> {
    pub(super) fn of(map: &Map<'d>) -> Result<Dynamic<'d>, Problem> {
        let (entries, needed) = read(map)?;
        let mut dynamic = Dynamic { entries, needed, strings: &[] };
        let strings = dynamic.table(map, elf::DT_STRTAB, elf::DT_STRSZ, "string table")?;
        match strings {
            // Every string then ends within it.
            Some([strings @ .., 0]) => dynamic.strings = strings,
            _ => return damaged("its string table is missing, or does not end"),
        }
        dynamic.check_entry_size(elf::DT_SYMENT, 24)?;
        dynamic.check_entry_size(elf::DT_RELAENT, 24)?;
        dynamic.check_entry_size(DT_RELRENT, 8)?;
        dynamic.check_flags()?;
        dynamic.check_code(map)?;
        Ok(dynamic)
    }

    pub(super) fn get(&self, tag: u32) -> Option<u64> {
        self.entries.get(&u64::from(tag)).copied()
    }

    /// The string at an offset of the string table.
    pub(super) fn string(&self, at: u64) -> Option<&'d str> {
        let rest = self.strings.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// The bytes of a table that one entry gives the address of and another the size.
    pub(super) fn table(
        &self,
        map: &Map<'d>,
        at: u32,
        size: u32,
        what: &str,
    ) -> Result<Option<&'d [u8]>, Problem> {
        match (self.get(at), self.get(size)) {
            (None, None | Some(0)) => Ok(None),
            (Some(address), Some(size)) => match map.file(address, size) {
                Some(bytes) => Ok(Some(bytes)),
                None => {
                    damaged(format!("its {what} ({size} bytes at {address:#x}) is not in what is mapped"))
                }
            },
            _ => damaged(format!("its {what} has an address or a size, and not both")),
        }
    }

    /// Bytes that relocation may be asked for, compact form.
    pub(super) fn compact(&self, map: &Map<'d>) -> Result<Option<&'d [u8]>, Problem> {
        self.table(map, DT_RELR, DT_RELRSZ, "table of compact relocations")
    }

    fn check_entry_size(&self, tag: u32, size: u64) -> Result<(), Problem> {
        match self.get(tag) {
            Some(other) if other != size => {
                damaged(format!("entries of {other} bytes where {size} are meant (dynamic entry {tag:#x})"))
            }
            _ => Ok(()),
        }
    }

    fn check_flags(&self) -> Result<(), Problem> {
        let flags = self.get(elf::DT_FLAGS).unwrap_or(0);
        if flags & u64::from(elf::DF_TEXTREL) != 0 || self.get(elf::DT_TEXTREL).is_some() {
            return Err(text_relocations());
        }
        let more = self.get(elf::DT_FLAGS_1).unwrap_or(0);
        if flags & !FLAGS != 0 || more & !FLAGS_1 != 0 {
            return damaged(format!(
                "flags that are not for modules (DT_FLAGS {flags:#x}, DT_FLAGS_1 {more:#x})"
            ));
        }
        Ok(())
    }

    fn check_code(&self, map: &Map<'d>) -> Result<(), Problem> {
        for (tag, name) in [(elf::DT_INIT, "DT_INIT"), (elf::DT_FINI, "DT_FINI")] {
            if self.get(tag).is_some_and(|address| !map.is_code(address)) {
                return damaged(format!("{name} does not lead to its code"));
            }
        }
        let arrays = [
            (elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ, "list of what runs when it is mapped"),
            (elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ, "list of what runs when it goes"),
        ];
        for (at, size, what) in arrays {
            let list = self.table(map, at, size, what)?.unwrap_or_default();
            if !list.len().is_multiple_of(8) || !self.get(at).unwrap_or(0).is_multiple_of(8) {
                return damaged(format!("its {what} is no list of addresses"));
            }
        }
        let got = self.get(elf::DT_PLTGOT);
        if got.is_some_and(|address| !map.is_written(address, 8)) {
            return damaged("DT_PLTGOT does not lead to its data");
        }
        Ok(())
    }

    /// What the linker would load with the module, and where it would look for it.
    pub(super) fn libraries(&self) -> Result<Libraries, Problem> {
        let string = |at: u64| match self.string(at) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => damaged(format!("a name at {at:#x} of its string table, where there is none")),
        };
        let mut libraries = Libraries::default();
        for at in &self.needed {
            libraries.needs.push(string(*at)?);
        }
        for (tag, name) in BRINGS {
            if let Some(at) = self.get(*tag) {
                libraries.brings.push(format!("{name} {}", string(at)?));
            }
        }
        libraries.name = self.get(elf::DT_SONAME).map(string).transpose()?.unwrap_or_default();
        Ok(libraries)
    }

    /// Whether the module asks for a library of that name.
    pub(super) fn needs(&self, name: &str) -> bool {
        self.needed.iter().any(|at| self.string(*at) == Some(name))
    }
}

pub(super) fn text_relocations() -> Problem {
    Problem::Unmappable("it would have its code written to (compile it with -fPIC)".to_owned())
}

type Entries = (BTreeMap<u64, u64>, Vec<u64>);

/// The entries up to the one that ends them, which the linker looks for wherever it may be.
fn read(map: &Map<'_>) -> Result<Entries, Problem> {
    let (address, size) = map.dynamic;
    let bytes = map.file(address, size).unwrap_or_default();
    let (mut entries, mut needed) = (BTreeMap::new(), Vec::new());
    for at in (0..bytes.len()).step_by(16) {
        let (Some(tag), Some(value)) = (bytes.u64_at(at), bytes.u64_at(at + 8)) else { break };
        match u32::try_from(tag) {
            Ok(elf::DT_NULL) => return Ok((entries, needed)),
            Ok(elf::DT_NEEDED) => needed.push(value),
            Ok(elf::DT_TEXTREL) => return Err(text_relocations()),
            Ok(known) if KNOWN.contains(&known) || OF_MACHINE.contains(&known) => {
                if entries.insert(tag, value).is_some() {
                    return damaged(format!("two dynamic entries {tag:#x}"));
                }
            }
            _ => return damaged(format!("a dynamic entry {tag:#x}, which modules do not have")),
        }
    }
    damaged("its dynamic section does not end")
}
