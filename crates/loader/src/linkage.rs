//! What the dynamic linker would take on trust, looked at before it sees the module.
//!
//! The linker follows addresses and numbers of a module's file without asking whether they lead
//! anywhere: a byte that is wrong in a dynamic section ends the process that maps the module. So
//! everything that it reads is read here first, by the program headers as it does, and held against what
//! will be mapped. What is left to chance after that is the module's own code and data.
//!
//! The answer is what the module would bring along: [`Libraries`]. Whoever signs a module signs its
//! bytes, not those of another file that it names.

mod dynamic;
mod hashes;
mod map;
mod relocations;
mod symbols;
mod versions;

use steadfast_shell::check::Libraries;

use crate::error::Problem;
use dynamic::Dynamic;
use map::Map;
use symbols::Symbols;

/// Holds a whole module file against itself; says what else it would have loaded. Nothing of it runs.
///
/// # Errors
/// `Damaged`: the dynamic linker would be led astray by it.
pub fn verify_linkage(bytes: &[u8]) -> Result<Libraries, Problem> {
    let map = Map::of(bytes)?;
    let dynamic = Dynamic::of(&map)?;
    let symbols = Symbols::of(&map, &dynamic)?;
    versions::check(&map, &dynamic, &symbols)?;
    symbols.check_names()?;
    relocations::check(&map, &dynamic, &symbols)?;
    dynamic.libraries()
}

fn damaged<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Damaged(what.into()))
}

/// Little-endian numbers at a place in bytes; none beyond their end.
trait Numbers {
    fn u16_at(&self, at: usize) -> Option<u16>;
    fn u32_at(&self, at: usize) -> Option<u32>;
    fn u64_at(&self, at: usize) -> Option<u64>;
}

impl Numbers for [u8] {
    fn u16_at(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.get(at..at.checked_add(2)?)?.try_into().ok()?))
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    fn u64_at(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.get(at..at.checked_add(8)?)?.try_into().ok()?))
    }
}
