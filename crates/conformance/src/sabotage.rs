//! Copies of a module that fail where the shell must cope with it: the first instructions of one
//! entry point are overwritten with "return an error".

use crate::rig::Rig;
use std::path::PathBuf;
use steadfast_loader::{LoadedModule, StagedModule};

/// Which entry point is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Victim {
    Prepare,
    Connect,
}

impl Victim {
    fn address(self, module: &LoadedModule) -> Option<usize> {
        let driver = module.driver();
        let entry = match self {
            Victim::Prepare => driver.prepare?,
            Victim::Connect => driver.connect?,
        };
        Some(entry as usize)
    }
}

/// `return -EIO`, as machine code.
#[cfg(target_arch = "x86_64")]
const FAIL: &[u8] = &[0xb8, 0xfb, 0xff, 0xff, 0xff, 0xc3];
/// `return -EIO`, as machine code.
#[cfg(target_arch = "aarch64")]
const FAIL: &[u8] = &[0x80, 0x00, 0x80, 0x12, 0xc0, 0x03, 0x5f, 0xd6];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FAIL: &[u8] = &[];

/// A copy of the module under test whose `victim` fails.
pub(crate) fn copy(rig: &Rig, victim: Victim) -> Result<StagedModule, String> {
    let module = rig.staged.load().map_err(|e| e.to_string())?;
    let address = victim.address(&module).ok_or("the driver has no such entry point")?;
    let (path, offset) = file_offset(address)?;
    let mut bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let place =
        bytes.get_mut(offset..offset + FAIL.len()).ok_or("an entry point lies outside of the file")?;
    place.copy_from_slice(FAIL);
    let copy = rig.folder.path().join(format!("fails-in-{victim:?}.so").to_lowercase());
    std::fs::write(&copy, bytes).map_err(|e| format!("{}: {e}", copy.display()))?;
    rig.store.stage(&copy).map_err(|e| e.to_string())
}

/// The mapped file that the code at `address` came from, and where in it.
fn file_offset(address: usize) -> Result<(PathBuf, usize), String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|e| format!("/proc/self/maps: {e}"))?;
    maps.lines()
        .find_map(|line| locate(line, address))
        .ok_or_else(|| "an entry point is not mapped".to_owned())
}

fn locate(line: &str, address: usize) -> Option<(PathBuf, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let offset = usize::from_str_radix(words.nth(1)?, 16).ok()?;
    if !(start..end).contains(&address) {
        return None;
    }
    let path = &line[line.find('/')?..];
    Some((PathBuf::from(path), address - start + offset))
}

#[cfg(test)]
mod tests {
    use super::locate;
    use std::path::Path;

    #[test]
    fn a_line_of_maps_leads_to_the_file() {
        let line = "7f00001000-7f00003000 r-xp 00002000 fe:00 1234   /tmp/a b.so";
        let (path, offset) = locate(line, 0x7f_0000_1010).unwrap();
        assert_eq!((path.as_path(), offset), (Path::new("/tmp/a b.so"), 0x2010));
        assert!(locate(line, 0x7f_0000_3000).is_none());
    }
}
