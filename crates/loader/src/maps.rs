//! What `/proc/self/maps` says of a module.

use std::fs::File;
use std::io::Read;

/// How the kernel names a mapped file: device and inode as they stand in `/proc/self/maps`.
///
/// Taken from that file itself, not from `stat`: on stacked file systems the two differ. It holds
/// through renames, and as long as the file is there its inode is not given to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    device: String,
    inode: String,
}

/// One line of the file.
struct Line<'a> {
    start: u64,
    end: u64,
    device: &'a str,
    inode: &'a str,
}

impl Mapping {
    /// The file that is mapped at `address`; none when that is no file, or when the list cannot be
    /// read.
    pub(crate) fn at(address: usize) -> Option<Mapping> {
        let maps = read()?;
        let address = address as u64;
        let line = lines(&maps).find(|line| line.start <= address && address < line.end)?;
        (line.inode != "0").then(|| Mapping { device: line.device.to_owned(), inode: line.inode.to_owned() })
    }

    /// Whether any of it is still mapped; none when the list cannot be read.
    pub(crate) fn exists(&self) -> Option<bool> {
        let maps = read()?;
        Some(lines(&maps).any(|line| line.device == self.device && line.inode == self.inode))
    }
}

/// Names in it may be any bytes; what is looked at is not.
fn read() -> Option<String> {
    // It has no size that could be asked for: with room from the start it is read in few calls.
    let mut bytes = Vec::with_capacity(64 << 10);
    File::open("/proc/self/maps").ok()?.read_to_end(&mut bytes).ok()?;
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(other) => String::from_utf8_lossy(other.as_bytes()).into_owned(),
    })
}

/// `START-END PERMISSIONS OFFSET DEVICE INODE PATH`, proc(5).
fn lines(maps: &str) -> impl Iterator<Item = Line<'_>> {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (device, inode) = (fields.nth(2)?, fields.next()?);
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Line { start: number(start)?, end: number(end)?, device, inode })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_program_and_no_anonymous_memory() {
        let own = Mapping::at(finds_this_program_and_no_anonymous_memory as *const () as usize).unwrap();
        assert_eq!(own.exists(), Some(true));
        let on_stack = 0u8;
        assert_eq!(Mapping::at(&raw const on_stack as usize), None);
        assert_eq!(Mapping::at(0), None);
    }

    #[test]
    fn reads_lines_whatever_the_path_is() {
        let maps = "7f00-7f10 r-xp 00000000 fd:01 4711   /a b/c\\012d (deleted)\n\
                    7f10-7f20 rw-p 00000000 00:00 0 \n\
                    nonsense\n";
        let found: Vec<_> = lines(maps).map(|l| (l.start, l.end, l.device, l.inode)).collect();
        assert_eq!(found, [(0x7f00, 0x7f10, "fd:01", "4711"), (0x7f10, 0x7f20, "00:00", "0")]);
    }
}
