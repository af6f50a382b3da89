//! The program headers: what will be mapped where.

use object::LittleEndian as Le;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::FileHeader;

use super::{Numbers, damaged};
use crate::error::Problem;

/// The smallest page of the machines that there are.
const PAGE: u64 = 4096;
/// Most that a module may take of the address space, and most of each thread, bytes.
const MOST_SPAN: u64 = 1 << 30;
const MOST_THREAD: u64 = 1 << 20;
const MOST_ALIGN: u64 = 16 << 20;

/// A stretch of the file that will be mapped, and the zeroes behind it.
#[derive(Debug)]
struct Load {
    start: u64,
    size: u64,
    offset: u64,
    in_file: u64,
    writable: bool,
    executable: bool,
}

impl Load {
    fn of(program: &ProgramHeader64<Le>) -> Load {
        let flags = program.p_flags.get(Le);
        Load {
            start: program.p_vaddr.get(Le),
            size: program.p_memsz.get(Le),
            offset: program.p_offset.get(Le),
            in_file: program.p_filesz.get(Le),
            writable: flags & elf::PF_W != 0,
            executable: flags & elf::PF_X != 0,
        }
    }

    /// Whether `length` bytes from `address` on lie within its first `size`.
    fn within(&self, address: u64, length: u64, size: u64) -> bool {
        let Some(offset) = address.checked_sub(self.start) else { return false };
        offset <= size && length <= size - offset
    }
}

/// What will be mapped, by addresses before relocation.
#[derive(Debug)]
pub(super) struct Map<'d> {
    bytes: &'d [u8],
    loads: Vec<Load>,
    /// Address and bytes of the dynamic section.
    pub(super) dynamic: (u64, u64),
    /// Bytes of each thread's variables.
    pub(super) thread: u64,
}

impl<'d> Map<'d> {
    pub(super) fn of(bytes: &'d [u8]) -> Result<Map<'d>, Problem> {
        let unreadable = |error: object::Error| Problem::Damaged(error.to_string());
        let header = FileHeader64::<Le>::parse(bytes).map_err(unreadable)?;
        let programs = header.program_headers(Le, bytes).map_err(unreadable)?;
        let loads = programs.iter().filter(|p| p.p_type.get(Le) == elf::PT_LOAD).map(Load::of).collect();
        let mut map = Map { bytes, loads, dynamic: (0, 0), thread: 0 };
        map.check_loads(programs)?;
        let mut seen = Vec::new();
        for program in programs {
            let kind = program.p_type.get(Le);
            if !matches!(kind, elf::PT_LOAD | elf::PT_NOTE | elf::PT_NULL) {
                if seen.contains(&kind) {
                    return damaged(format!("two program headers of type {kind:#x}"));
                }
                seen.push(kind);
            }
            map.check_header(kind, program, header)?;
        }
        if map.dynamic.1 == 0 {
            return damaged("it has no dynamic section");
        }
        Ok(map)
    }

    fn check_loads(&self, programs: &[ProgramHeader64<Le>]) -> Result<(), Problem> {
        let mut end = 0;
        let loads = programs.iter().filter(|p| p.p_type.get(Le) == elf::PT_LOAD);
        for (load, program) in self.loads.iter().zip(loads) {
            let align = program.p_align.get(Le);
            let whole = load.start.checked_add(load.size).filter(|end| *end <= u64::MAX - PAGE);
            let Some(next) = whole.filter(|_| load.in_file <= load.size) else {
                return damaged("a segment of impossible size");
            };
            if !align.is_power_of_two() || align % PAGE != 0 || align > MOST_ALIGN {
                return damaged(format!("a segment that is aligned to {align} bytes"));
            }
            if load.start % PAGE != load.offset % PAGE {
                return damaged("a segment that does not lie in the file as it would in memory");
            }
            if load.start / PAGE * PAGE < end {
                return damaged("segments that overlap, or are not in order");
            }
            if load.writable && load.executable {
                return Err(Problem::Unmappable("a segment of it is both written to and run".to_owned()));
            }
            if load.size > load.in_file && !load.writable {
                return damaged("zeroes at the end of a segment that is not written to");
            }
            end = next.div_ceil(PAGE) * PAGE;
        }
        let start = self.loads.first().map_or(0, |load| load.start / PAGE * PAGE);
        match end - start.min(end) {
            0 => damaged("nothing in it is to be mapped"),
            span if span > MOST_SPAN => damaged(format!("it would take {span} bytes (at most {MOST_SPAN})")),
            _ => Ok(()),
        }
    }

    fn check_header(
        &mut self,
        kind: u32,
        program: &ProgramHeader64<Le>,
        header: &FileHeader64<Le>,
    ) -> Result<(), Problem> {
        let (address, size) = (program.p_vaddr.get(Le), program.p_memsz.get(Le));
        let (offset, in_file) = (program.p_offset.get(Le), program.p_filesz.get(Le));
        let mapped = |length: u64| self.offset_of(address, length) == Some(offset);
        match kind {
            elf::PT_NULL | elf::PT_LOAD | elf::PT_GNU_STACK | elf::PT_INTERP => {}
            elf::PT_DYNAMIC => {
                let whole = in_file == size && size >= 16 && size % 16 == 0 && address % 8 == 0;
                let written = program.p_flags.get(Le) & elf::PF_W != 0;
                if !whole || !mapped(size) || written && !self.is_written(address, size) {
                    return damaged("its dynamic section is not where it would be mapped");
                }
                self.dynamic = (address, size);
            }
            elf::PT_TLS => {
                let align = program.p_align.get(Le).max(1);
                if in_file > size || size > MOST_THREAD || !align.is_power_of_two() || align > PAGE {
                    return damaged(format!("{size} bytes of thread-local data, aligned to {align}"));
                }
                if in_file > 0 && !mapped(in_file) {
                    return damaged("its thread-local data is not where it would be mapped");
                }
                self.thread = size;
            }
            elf::PT_GNU_RELRO => {
                let in_pages = |load: &Load| {
                    let end = (load.start + load.size).div_ceil(PAGE) * PAGE;
                    load.writable && load.within(address, size, end - load.start)
                };
                if !self.loads.iter().any(in_pages) {
                    return damaged("what is to be read-only after relocation is not its own data");
                }
            }
            elf::PT_PHDR => {
                let entries = u64::from(header.e_phnum.get(Le)) * size_of::<ProgramHeader64<Le>>() as u64;
                if offset != header.e_phoff.get(Le) || size != entries || !mapped(size) {
                    return damaged("its program headers are not where they say that they are");
                }
            }
            elf::PT_NOTE | elf::PT_GNU_PROPERTY => {
                if !mapped(in_file) || size != in_file || !self.notes_end(offset, in_file, program) {
                    return damaged("a note that does not end where it says");
                }
            }
            elf::PT_GNU_EH_FRAME => {
                let version = self.file(address, in_file.max(4)).and_then(|bytes| bytes.first());
                if !mapped(in_file) || size != in_file || version != Some(&1) {
                    return damaged("its table for unwinding is not where it would be mapped");
                }
            }
            elf::PT_GNU_SFRAME => {}
            other if cfg!(target_arch = "aarch64") && (0x7000_0000..=0x7000_0003).contains(&other) => {}
            other => return damaged(format!("a program header of type {other:#x}, which is not known")),
        }
        Ok(())
    }

    /// Whether notes of `size` bytes at `offset` of the file follow one another to their end.
    fn notes_end(&self, offset: u64, size: u64, program: &ProgramHeader64<Le>) -> bool {
        let align = if program.p_align.get(Le) == 8 { 8 } else { 4 };
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(size)).ok());
        let Some(notes) = range.and_then(|(from, to)| self.bytes.get(from..to)) else { return false };
        let mut at = 0usize;
        while at < notes.len() {
            let (Some(name), Some(contents)) = (notes.u32_at(at), notes.u32_at(at.saturating_add(4))) else {
                return false;
            };
            let name = (name as usize).checked_next_multiple_of(4);
            let end = name.and_then(|name| at.checked_add(12)?.checked_add(name));
            let end = end.and_then(|end| end.checked_next_multiple_of(align)?.checked_add(contents as usize));
            match end {
                // The last one may go without what fills it up.
                Some(end) if end <= notes.len() => at = end.next_multiple_of(align),
                _ => return false,
            }
        }
        true
    }

    /// Where in the file the bytes at an address come from, all of them.
    fn offset_of(&self, address: u64, length: u64) -> Option<u64> {
        let load = self.loads.iter().find(|load| load.within(address, length, load.in_file))?;
        load.offset.checked_add(address - load.start)
    }

    /// The bytes that will be at an address, as far as they come from the file.
    pub(super) fn file(&self, address: u64, length: u64) -> Option<&'d [u8]> {
        let offset = usize::try_from(self.offset_of(address, length)?).ok()?;
        self.bytes.get(offset..offset.checked_add(usize::try_from(length).ok()?)?)
    }

    /// All bytes of the file from an address on, to the end of its segment.
    pub(super) fn rest(&self, address: u64) -> Option<&'d [u8]> {
        let load = self.loads.iter().find(|load| load.within(address, 0, load.in_file))?;
        self.file(address, load.in_file - (address - load.start))
    }

    /// Whether an address, or the one behind the last of a segment, is the module's.
    pub(super) fn has(&self, address: u64) -> bool {
        self.loads.iter().any(|load| load.within(address, 0, load.size))
    }

    /// Whether bytes at an address are data that is written to.
    pub(super) fn is_written(&self, address: u64, length: u64) -> bool {
        self.loads.iter().any(|load| load.writable && load.within(address, length, load.size))
    }

    /// Whether an address is in the code.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.loads.iter().any(|load| load.executable && load.within(address, 1, load.in_file))
    }

    /// Bytes from the first to the last address.
    pub(super) fn span(&self) -> u64 {
        let first = self.loads.first().map_or(0, |load| load.start);
        self.loads.last().map_or(0, |load| load.start + load.size - first)
    }
}
