//! How much memory this process can still have, and what sets the limit.

// One call that asks the kernel for a number.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::Path;
use steadfast_shell::check::{Left, ShortOf};

/// The least of what the address space, the control groups and the machine have left; none where nothing can
/// be found out.
pub(crate) fn left() -> Option<Left> {
    let of = |of: ShortOf, bytes: Option<u64>| bytes.map(|bytes| Left { bytes, of });
    let all = [
        of(ShortOf::AddressSpace, address_space()),
        of(
            ShortOf::ControlGroup,
            control_groups(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")),
        ),
        of(ShortOf::Machine, available(&read(Path::new("/proc/meminfo")).unwrap_or_default())),
    ];
    all.into_iter().flatten().min_by_key(|left| left.bytes)
}

/// Such files have no size that could be asked for: with room from the start they are read in one call or two.
fn read(path: &Path) -> Option<String> {
    let mut text = String::with_capacity(8 << 10);
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

fn address_space() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    if asked != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
        return None;
    }
    let statm = read(Path::new("/proc/self/statm"))?;
    let pages: u64 = statm.split(' ').next()?.parse().ok()?;
    Some(limit.rlim_cur.saturating_sub(pages.saturating_mul(crate::resources::mapping::PAGE as u64)))
}

/// The least of what the process's control group and those above it have left: by the second version of the
/// interface, or by the first.
fn control_groups(groups: &Path, root: &Path) -> Option<u64> {
    let groups = read(groups)?;
    let of_line = |line: &str| {
        // `0::/path`, or `4:memory:/path`: cgroups(7).
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let new = controllers.is_empty();
        if !new && !controllers.split(',').any(|controller| controller == "memory") {
            return None;
        }
        let base = if new { root.to_owned() } else { root.join("memory") };
        let group = base.join(path.trim_start_matches('/'));
        group
            .ancestors()
            .take_while(|group| group.starts_with(&base))
            .filter_map(|g| group_left(g, new))
            .min()
    };
    groups.lines().filter_map(of_line).min()
}

fn group_left(group: &Path, new: bool) -> Option<u64> {
    let (most, used, cache) = if new {
        ("memory.max", "memory.current", "inactive_file ")
    } else {
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
    };
    let number = |name: &str| read(&group.join(name))?.trim().parse::<u64>().ok();
    // `max`, or a number that no machine has: there is no limit.
    let most = number(most).filter(|most| *most < 1 << 62)?;
    let used = number(used)?;
    // What the kernel gives back before anybody goes without.
    let stat = read(&group.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok()).unwrap_or(0);
    Some(most.saturating_sub(used.saturating_sub(cached)))
}

/// `MemAvailable` of proc(5), bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn the_narrowest_control_group_counts_and_what_is_only_cached_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, groups) = (folder.path().join("cgroup"), folder.path().join("groups"));
        write(folder.path(), "groups", "0::/a/b\n");
        assert_eq!(control_groups(&groups, &root), None);
        write(&root, "a/b/memory.max", "max\n");
        write(&root, "a/b/memory.current", "1000\n");
        assert_eq!(control_groups(&groups, &root), None, "no limit");
        write(&root, "a/memory.max", "10000\n");
        write(&root, "a/memory.current", "9000\n");
        assert_eq!(control_groups(&groups, &root), Some(1000));
        write(&root, "a/memory.stat", "anon 5\ninactive_file 3000\n");
        assert_eq!(control_groups(&groups, &root), Some(4000));
        write(&root, "a/b/memory.max", "1500\n");
        assert_eq!(control_groups(&groups, &root), Some(500));
        write(&root, "a/b/memory.current", "2000\n");
        assert_eq!(control_groups(&groups, &root), Some(0));
    }

    #[test]
    fn the_older_interface_is_read_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, groups) = (folder.path().join("cgroup"), folder.path().join("groups"));
        write(folder.path(), "groups", "9:name=systemd:/\n4:cpu,memory:/x\n0::/\n");
        write(&root, "memory/x/memory.limit_in_bytes", "9223372036854771712\n");
        write(&root, "memory/x/memory.usage_in_bytes", "5\n");
        assert_eq!(control_groups(&groups, &root), None);
        write(&root, "memory/memory.limit_in_bytes", "100\n");
        write(&root, "memory/memory.usage_in_bytes", "60\n");
        assert_eq!(control_groups(&groups, &root), Some(40));
    }

    #[test]
    fn the_machine_says_what_is_available() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2 kB\n"), Some(2048));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert!(left().is_some_and(|left| left.bytes > 0));
    }
}
