//! A mapped module as a range of addresses: what may be read, and what may be called.

use std::ffi::c_void;

use crate::elf::Facts;
use crate::error::Problem;

/// The mapped segments of one module, from the addresses of its file and where it was put.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    facts: &'a Facts,
    /// What was added to every address of the file.
    bias: u64,
}

impl<'a> Image<'a> {
    /// The image in which the driver's table lies at `table`.
    ///
    /// The dynamic loader finds symbols in a module's dependencies too, and looks at other headers
    /// than [`inspect`](crate::elf::inspect) did; so it is asked whose address that is.
    pub(crate) fn around(table: *const c_void, facts: &'a Facts) -> Result<Image<'a>, Problem> {
        let bias = (table as u64).wrapping_sub(facts.table_address);
        let lowest = facts.segments.iter().map(|s| s.start).min().unwrap_or(0);
        let start = bias.wrapping_add(lowest & !(page_size() - 1));
        if base_of(table) == Some(start) {
            Ok(Image { facts, bias })
        } else {
            Err(Problem::Contradiction(
                "its symbol table and what the dynamic loader finds are not the same".to_owned(),
            ))
        }
    }

    /// Whether `size` bytes at `pointer` are the module's, and can be read.
    pub(crate) fn holds(&self, pointer: *const c_void, size: u64) -> bool {
        self.within(pointer, size, |segment| segment.readable)
    }

    /// Whether `pointer` is into the module's code.
    pub(crate) fn runs(&self, pointer: *const c_void) -> bool {
        self.within(pointer, 1, |segment| segment.executable)
    }

    fn within(&self, pointer: *const c_void, size: u64, fits: impl Fn(&crate::elf::Segment) -> bool) -> bool {
        let address = (pointer as u64).wrapping_sub(self.bias);
        let segments = self.facts.segments.iter().filter(|segment| fits(segment));
        segments.into_iter().any(|segment| {
            let Some(offset) = address.checked_sub(segment.start) else { return false };
            offset < segment.size && size <= segment.size - offset
        })
    }
}

/// First address of the loaded object that `address` is in, as the dynamic loader knows it.
fn base_of(address: *const c_void) -> Option<u64> {
    // SAFETY: `Dl_info` is plain pointers, for which zero is a value.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: `dladdr` compares the address with those of loaded objects and does not follow it;
    // `info` is writable.
    let found = unsafe { libc::dladdr(address, &raw mut info) };
    (found != 0).then_some(info.dli_fbase as u64)
}

fn page_size() -> u64 {
    // SAFETY: `sysconf` only returns a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}
