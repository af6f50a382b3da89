//! Copies a mapped module's tables and holds them against its manifest.

use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};

use steadfast_abi::manifest::MAX_BYTES;
use steadfast_abi::{ABI_MAJOR, BlockOps, Driver, Field, FieldKind};
use steadfast_shell::manifest::Manifest;

use crate::elf::Facts;
use crate::error::Problem;
use crate::image::Image;

/// Largest table that is believed; a size beyond it is not a size.
const MAX_TABLE_BYTES: u32 = 64 * 1024;
/// A driver's table as ABI 1.0 has it: to the end of `class_ops`.
const LEAST_DRIVER: usize = offset_of!(Driver, class_ops) + size_of::<*const c_void>();
/// A block table with the one entry point that is required.
const LEAST_BLOCK: usize = offset_of!(BlockOps, submit) + size_of::<usize>();

/// The host's copies of a module's tables: as long as this host knows them, zero where the module has
/// less. `driver.class_ops` points to `block`.
pub(crate) struct Tables {
    pub(crate) driver: Driver,
    pub(crate) block: Box<BlockOps>,
}

/// Copies the tables and checks them.
///
/// # Safety
/// `table` is where the dynamic loader found the symbol of a module that is mapped now and stays so
/// during the call, and `facts` were read from that module's file.
pub(crate) unsafe fn copy(
    table: *const c_void,
    facts: &Facts,
    manifest: &Manifest,
) -> Result<Tables, Problem> {
    let image = Image::around(table, facts)?;
    // SAFETY: the caller's; a `Driver` of zeroes is a table without entry points.
    let mut driver: Driver =
        unsafe { copy_sized(&image, table, "its driver table", LEAST_DRIVER, Driver::FIELDS)? };
    if facts.table_size != 0 && u64::from(driver.size) > facts.table_size {
        return contradiction(format!(
            "its driver table claims {} bytes, its symbol has {}",
            driver.size, facts.table_size
        ));
    }
    check_numbers(&driver, manifest)?;
    // SAFETY: the caller's: the module stays mapped.
    unsafe { check_manifest(&image, &driver, facts)? };
    check_entries(&image, &driver, Driver::FIELDS)?;
    check_adopt(&driver, manifest)?;
    // SAFETY: the caller's; a `BlockOps` of zeroes is a table without entry points.
    let block: BlockOps =
        unsafe { copy_sized(&image, driver.class_ops, "its block table", LEAST_BLOCK, BlockOps::FIELDS)? };
    check_entries(&image, &block, BlockOps::FIELDS)?;
    let block = Box::new(block);
    driver.class_ops = (&raw const *block).cast();
    Ok(Tables { driver, block })
}

fn contradiction<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Contradiction(what.into()))
}

/// Copies a structure that begins with its own size: `min(size)` bytes, the rest zero.
///
/// # Safety
/// The module of `image` is mapped and stays so during the call; `T` is `repr(C)` with these fields, begins with its
/// `u32` size, and is a value when all zero and whatever else its bytes are.
unsafe fn copy_sized<T>(
    image: &Image<'_>,
    from: *const c_void,
    what: &str,
    least: usize,
    fields: &[Field],
) -> Result<T, Problem> {
    if !(from as usize).is_multiple_of(align_of::<T>()) || !image.holds(from, size_of::<u32>() as u64) {
        return contradiction(format!("{what} is not in its memory"));
    }
    // SAFETY: `from` is aligned, and the image holds the four bytes there; a module's memory is
    // readable while it is mapped.
    let size = unsafe { from.cast::<u32>().read() };
    if size > MAX_TABLE_BYTES || (size as usize) < least || !image.holds(from, u64::from(size)) {
        return contradiction(format!(
            "{what} claims {size} bytes (allowed {least}..={MAX_TABLE_BYTES}, within the module)"
        ));
    }
    let end = size as usize;
    if let Some(cut) = fields.iter().find(|field| field.offset < end && end < field.offset + field.size) {
        return contradiction(format!("{what} claims {size} bytes, which end within {}", cut.name));
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    let bytes = size_of::<T>().min(size as usize);
    // SAFETY: the image holds `size` readable bytes at `from`, `copy` has room for `bytes`, and the two
    // do not overlap. By the caller's promise on `T`, any bytes followed by zeroes are a `T`.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), bytes);
        Ok(copy.assume_init())
    }
}

fn check_numbers(driver: &Driver, manifest: &Manifest) -> Result<(), Problem> {
    let abi = (driver.abi_major, driver.abi_minor);
    if abi.0 != ABI_MAJOR {
        return Err(Problem::WrongAbi(abi));
    }
    if abi != manifest.abi {
        let (major, minor) = manifest.abi;
        return contradiction(format!(
            "its table is of ABI {}.{}, its manifest says {major}.{minor}",
            abi.0, abi.1
        ));
    }
    if driver.class != manifest.class.number() {
        return contradiction(format!(
            "its table is of class {}, its manifest says {} ({})",
            driver.class,
            manifest.class.number(),
            manifest.class.name()
        ));
    }
    let pdu_size = manifest.pdu.as_ref().map_or(0, |pdu| pdu.size);
    if driver.pdu_size != pdu_size {
        return contradiction(format!(
            "its table has {} bytes of PDU, its manifest says {pdu_size}",
            driver.pdu_size
        ));
    }
    Ok(())
}

/// What the module points to as its manifest is what was read from its file.
///
/// # Safety
/// The module of `image` is mapped and stays so during the call.
unsafe fn check_manifest(image: &Image<'_>, driver: &Driver, facts: &Facts) -> Result<(), Problem> {
    let said = driver.manifest;
    if said.len > MAX_BYTES || !image.holds(said.ptr.cast(), said.len as u64) {
        return contradiction(format!(
            "its table's manifest pointer ({} bytes) leads out of the module",
            said.len
        ));
    }
    // SAFETY: the image holds that many readable bytes there, and a module does not write to its
    // manifest (abi: "never written").
    let said = unsafe { said.bytes() };
    if without_padding(said) != without_padding(&facts.manifest) {
        return contradiction("its table points to another manifest than its section holds");
    }
    Ok(())
}

/// Compilers and linkers add NUL bytes behind the last entry, which mean nothing.
fn without_padding(manifest: &[u8]) -> &[u8] {
    let end = manifest.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    &manifest[..end]
}

/// Every entry point of a table that was copied: those that must be there are, and each is in the
/// module's code.
fn check_entries<T>(image: &Image<'_>, table: &T, fields: &[Field]) -> Result<(), Problem> {
    for field in fields.iter().filter(|field| field.kind != FieldKind::Data) {
        let place = (&raw const *table).cast::<u8>().wrapping_add(field.offset).cast::<*const c_void>();
        // SAFETY: the field is one of `T`'s own list: a function pointer or null, of the size of an
        // address, within the table that is borrowed here.
        let address = unsafe { place.read() };
        if address.is_null() {
            if field.kind == FieldKind::Required {
                return contradiction(format!("it has no entry point {}", field.name));
            }
        } else if !image.runs(address) {
            return contradiction(format!("its entry point {} is not in its code", field.name));
        }
    }
    Ok(())
}

fn check_adopt(driver: &Driver, manifest: &Manifest) -> Result<(), Problem> {
    if !manifest.pdu_adopt.is_empty() && driver.adopt.is_none() {
        return contradiction("its manifest has pdu.adopt, but it has no entry point adopt");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::without_padding;

    #[test]
    fn padding_is_nothing_but_nul_bytes_at_the_end() {
        assert_eq!(without_padding(b"a=1\0b=2\0\0\0"), b"a=1\0b=2");
        assert_eq!(without_padding(b"a=1\0b=2"), b"a=1\0b=2");
        assert_eq!(without_padding(b"\0\0"), b"");
        assert_eq!(without_padding(b""), b"");
    }
}
