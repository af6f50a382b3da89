//! What is read of a module's file before any of its code runs. Pure: bytes in, facts or a problem
//! out, for any bytes.

use object::LittleEndian as Le;
use object::ReadRef;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use steadfast_abi::manifest::MAX_BYTES;
use steadfast_abi::{DRIVER_SYMBOL, MANIFEST_SECTION};
use steadfast_shell::manifest::{Manifest, ManifestError};

use crate::error::Problem;

/// This machine, for people.
pub(crate) const HOST: &str = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86-64" };
const HOST_MACHINE: u16 = if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 };

/// `DF_1_PIE`: an executable in the shape of a shared object.
const DF_1_PIE: u64 = 0x0800_0000;

/// What the file says of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The manifest section.
    pub(crate) manifest: Vec<u8>,
    /// Address of the driver's table, before relocation.
    pub(crate) table_address: u64,
    /// Bytes of the symbol, as the symbol table says; 0 where it does not.
    pub(crate) table_size: u64,
    /// What will be mapped.
    pub(crate) segments: Vec<Segment>,
}

/// A stretch of addresses that will be mapped, before relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// First address.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Its bytes can be run.
    pub(crate) executable: bool,
    /// Its bytes can be read.
    pub(crate) readable: bool,
}

/// Reads the manifest of a module from its file's bytes, and checks all that can be checked without
/// running it.
///
/// # Errors
/// What is wrong with the file.
pub fn read_manifest(bytes: &[u8]) -> Result<Manifest, Problem> {
    Ok(Manifest::parse(&inspect(bytes)?.manifest)?)
}

/// Reads the facts.
pub(crate) fn inspect<'d, R: ReadRef<'d>>(data: R) -> Result<Facts, Problem> {
    let bytes = data.len().map_err(|()| damaged("its length is unknown"))?;
    let header = header(data, bytes)?;
    let programs = header.program_headers(Le, data).map_err(|error| cut_or_damaged(header, bytes, error))?;
    let headers = header.section_headers(Le, data).map_err(|error| cut_or_damaged(header, bytes, error))?;
    check_length(header, programs, headers, bytes)?;
    let sections = header.sections(Le, data).map_err(damaged)?;
    refuse_executable(programs, data)?;
    refuse_executable_stack(programs)?;
    let manifest = manifest(&sections, data)?;
    let segments = segments(programs)?;
    let (table_address, table_size) = table(&sections, data)?;
    Ok(Facts { manifest, table_address, table_size, segments })
}

fn damaged(what: impl ToString) -> Problem {
    Problem::Damaged(what.to_string())
}

/// The file header, of a kind that this machine can map.
fn header<'d, R: ReadRef<'d>>(data: R, bytes: u64) -> Result<&'d FileHeader64<Le>, Problem> {
    let ident = data.read_bytes_at(0, bytes.min(6)).map_err(|()| damaged("it cannot be read"))?;
    if !ident.starts_with(&elf::ELFMAG) {
        return Err(Problem::NotElf);
    }
    let size = size_of::<FileHeader64<Le>>() as u64;
    if bytes < size {
        return Err(Problem::CutOff { bytes, expected: size });
    }
    match (ident[4], ident[5]) {
        (elf::ELFCLASS64, elf::ELFDATA2LSB) => {}
        (elf::ELFCLASS32, _) => return Err(Problem::WrongMachine { found: "a 32-bit machine".to_owned() }),
        (elf::ELFCLASS64, elf::ELFDATA2MSB) => {
            return Err(Problem::WrongMachine { found: "a big-endian machine".to_owned() });
        }
        (class, order) => return Err(damaged(format!("ELF class {class}, byte order {order}"))),
    }
    let header = FileHeader64::<Le>::parse(data).map_err(damaged)?;
    match header.e_machine.get(Le) {
        HOST_MACHINE => {}
        machine => return Err(Problem::WrongMachine { found: machine_name(machine) }),
    }
    match header.e_type.get(Le) {
        elf::ET_DYN => Ok(header),
        elf::ET_REL => Err(Problem::NotShared("an object file".to_owned())),
        elf::ET_EXEC => Err(Problem::NotShared("an executable".to_owned())),
        elf::ET_CORE => Err(Problem::NotShared("a core dump".to_owned())),
        other => Err(Problem::NotShared(format!("ELF type {other}"))),
    }
}

fn machine_name(machine: u16) -> String {
    match machine {
        elf::EM_X86_64 => "x86-64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_RISCV => "riscv".to_owned(),
        elf::EM_PPC64 => "ppc64".to_owned(),
        elf::EM_S390 => "s390".to_owned(),
        other => format!("ELF machine {other}"),
    }
}

/// Headers that cannot be read lie behind the end of the file, most often.
fn cut_or_damaged(header: &FileHeader64<Le>, bytes: u64, error: object::Error) -> Problem {
    let table = |offset: u64, count: u16, size: usize| offset.saturating_add(u64::from(count) * size as u64);
    let expected = table(header.e_phoff.get(Le), header.e_phnum.get(Le), size_of::<ProgramHeader64<Le>>())
        .max(table(header.e_shoff.get(Le), header.e_shnum.get(Le), size_of::<SectionHeader64<Le>>()));
    if expected > bytes { Problem::CutOff { bytes, expected } } else { damaged(error) }
}

/// Everything that the headers speak of is there. A segment that is cut off would otherwise be mapped
/// all the same, and touching it would kill the process.
fn check_length(
    header: &FileHeader64<Le>,
    programs: &[ProgramHeader64<Le>],
    sections: &[SectionHeader64<Le>],
    bytes: u64,
) -> Result<(), Problem> {
    let tables = (header.e_shoff.get(Le)).saturating_add(size_of_val(sections) as u64);
    let of_programs = programs.iter().map(|p| p.p_offset.get(Le).saturating_add(p.p_filesz.get(Le)));
    let of_sections = sections
        .iter()
        .filter(|s| !matches!(s.sh_type.get(Le), elf::SHT_NOBITS | elf::SHT_NULL))
        .map(|s| s.sh_offset.get(Le).saturating_add(s.sh_size.get(Le)));
    let expected = of_programs.chain(of_sections).max().unwrap_or(0).max(tables);
    if expected > bytes { Err(Problem::CutOff { bytes, expected }) } else { Ok(()) }
}

/// Executables are shared objects by type today; a flag tells them.
fn refuse_executable<'d, R: ReadRef<'d>>(programs: &[ProgramHeader64<Le>], data: R) -> Result<(), Problem> {
    for program in programs {
        let Some(entries) = program.dynamic(Le, data).map_err(damaged)? else { continue };
        let flags = entries.iter().find(|e| e.d_tag.get(Le) == u64::from(elf::DT_FLAGS_1));
        if flags.is_some_and(|e| e.d_val.get(Le) & DF_1_PIE != 0) {
            return Err(Problem::NotShared("an executable".to_owned()));
        }
    }
    Ok(())
}

/// A module that wants an executable stack, or does not say that it does not, makes the dynamic loader
/// give the whole process one.
fn refuse_executable_stack(programs: &[ProgramHeader64<Le>]) -> Result<(), Problem> {
    let stack = programs.iter().find(|program| program.p_type.get(Le) == elf::PT_GNU_STACK);
    match stack {
        Some(stack) if stack.p_flags.get(Le) & elf::PF_X == 0 => Ok(()),
        _ => {
            Err(Problem::Unmappable("it wants an executable stack (link it with -z noexecstack)".to_owned()))
        }
    }
}

/// The bytes of the manifest section, of which there is exactly one.
fn manifest<'d, R: ReadRef<'d>>(
    sections: &SectionTable<'d, FileHeader64<Le>, R>,
    data: R,
) -> Result<Vec<u8>, Problem> {
    let mut found = sections.iter().filter(|section| {
        sections.section_name(Le, section).is_ok_and(|name| name == MANIFEST_SECTION.as_bytes())
    });
    let section = found.next().ok_or(Problem::NoManifest)?;
    if found.next().is_some() {
        return Err(damaged(format!("two sections {MANIFEST_SECTION}")));
    }
    let size = section.sh_size.get(Le);
    if size > MAX_BYTES as u64 {
        return Err(ManifestError::Size { bytes: usize::try_from(size).unwrap_or(usize::MAX) }.into());
    }
    Ok(section.data(Le, data).map_err(damaged)?.to_vec())
}

fn segments(programs: &[ProgramHeader64<Le>]) -> Result<Vec<Segment>, Problem> {
    let mut segments = Vec::new();
    for program in programs.iter().filter(|p| p.p_type.get(Le) == elf::PT_LOAD) {
        let (start, size) = (program.p_vaddr.get(Le), program.p_memsz.get(Le));
        if size < program.p_filesz.get(Le) || start.checked_add(size).is_none() {
            return Err(damaged("a segment of impossible size"));
        }
        let flags = program.p_flags.get(Le);
        let (executable, readable) = (flags & elf::PF_X != 0, flags & elf::PF_R != 0);
        segments.push(Segment { start, size, executable, readable });
    }
    if segments.is_empty() { Err(damaged("nothing in it is to be mapped")) } else { Ok(segments) }
}

/// Address and size of the exported table.
fn table<'d, R: ReadRef<'d>>(
    sections: &SectionTable<'d, FileHeader64<Le>, R>,
    data: R,
) -> Result<(u64, u64), Problem> {
    let symbols = sections.symbols(Le, data, elf::SHT_DYNSYM).map_err(damaged)?;
    let named = |symbol: &&Sym64<Le>| {
        symbols.symbol_name(Le, symbol).is_ok_and(|name| name == DRIVER_SYMBOL.as_bytes())
    };
    let Some(symbol) = symbols.iter().find(named) else {
        return Err(Problem::NoSymbol(""));
    };
    if symbol.is_undefined(Le) {
        return Err(Problem::NoSymbol(": it imports one"));
    }
    if symbol.is_local() || !matches!(symbol.st_visibility(), elf::STV_DEFAULT | elf::STV_PROTECTED) {
        return Err(Problem::NoSymbol(": it hides its own"));
    }
    if !matches!(symbol.st_type(), elf::STT_OBJECT | elf::STT_NOTYPE) {
        return Err(Problem::NoSymbol(": what it exports under that name is not data"));
    }
    Ok((symbol.st_value.get(Le), symbol.st_size.get(Le)))
}
