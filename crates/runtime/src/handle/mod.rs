//! Resources that the shell opens and lends to drivers by number.

#![allow(unsafe_code)] // system calls without a safe wrapper

pub(crate) mod ask;
pub(crate) mod contents;
pub(crate) mod file_lock;
pub(crate) mod foreign_locks;
pub(crate) mod lost_writes;
pub(crate) mod medium;
pub(crate) mod name_check;
pub(crate) mod overlap;
pub(crate) mod size;
pub(crate) mod trouble;

use crate::handle::contents::Contents;
use crate::handle::file_lock::{FileId, FileLock, Share};
use crate::handle::medium::Watch;
use crate::handle::name_check::Sight;
use crate::helpers::Desks;
use crate::helpers::close::PortFile;
use crate::stack::DeviceHandle;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use steadfast_abi::{HandleInfo, handle_kind, open_flag};
use steadfast_shell::sync::lock;

/// What was asked for; equal descriptions share one handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenSpec {
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) target: String,
}

/// An open resource.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) key: String,
    pub(crate) spec: OpenSpec,
    /// `None` for a device.
    pub(crate) file: Option<Arc<PortFile>>,
    pub(crate) device: Option<Arc<DeviceHandle>>,
    /// What works on it beside the queues; `None` for a device.
    pub(crate) desks: Option<Arc<Desks>>,
    /// Its place in every ring's table of registered files; `u32::MAX` for a device.
    pub(crate) fixed: u32,
    pub(crate) info: HandleInfo,
    pub(crate) contents: Contents,
    /// Its part in what locks its file for the port; `None` where it asked for no lock.
    pub(crate) share: Option<Arc<Share>>,
    /// What is behind it; `None` for a device.
    pub(crate) watch: Option<Arc<Watch>>,
    /// What its name leads to; `None` for a device.
    pub(crate) sight: Option<Arc<Sight>>,
    /// Its name leads to another file by now, and who opens that name again means the other.
    pub(crate) stale: bool,
}

/// Places in the rings' tables of registered files; the same place on every ring.
#[derive(Debug)]
pub(crate) struct FileSlots {
    free: Mutex<Vec<u32>>,
}

impl FileSlots {
    pub(crate) fn new(count: u32) -> FileSlots {
        FileSlots { free: Mutex::new((0..count).rev().collect()) }
    }

    pub(crate) fn take(&self) -> Option<u32> {
        lock(&self.free).pop()
    }

    pub(crate) fn give(&self, slot: u32) {
        lock(&self.free).push(slot);
    }
}

/// Looks at an open file. Not through a copy of its descriptor: to close one can mean to ask the file's server.
pub(crate) fn with_file<T>(file: &OwnedFd, look: impl FnOnce(&File) -> T) -> T {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and never closed through this one.
    let borrowed = ManuallyDrop::new(unsafe { File::from_raw_fd(file.as_raw_fd()) });
    look(&borrowed)
}

/// A file that was opened, and what it can do.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: Arc<PortFile>,
    pub(crate) contents: Contents,
    pub(crate) info: HandleInfo,
    /// The ring can be asked to try writes of it.
    pub(crate) tries: bool,
    pub(crate) share: Option<Arc<Share>>,
}

/// Opens a regular file or a block device and finds out what it can do. `locked` knows what locks a file for
/// the port already, `user` which other port has one open.
pub(crate) fn open_file(
    spec: &OpenSpec,
    locked: impl Fn(&Contents) -> Option<Arc<FileLock>>,
    user: impl Fn(&Contents) -> Option<String>,
) -> Result<Opened, (i32, String)> {
    let path = Path::new(&spec.target);
    let fail = |e: io::Error| (e.raw_os_error().unwrap_or(libc::EIO), format!("{}: {e}", path.display()));
    let known = open_flag::WRITE | open_flag::DIRECT | open_flag::LOCK;
    if spec.flags & !known != 0 {
        return Err((
            libc::EINVAL,
            format!("open flags {:#x} are not known (allowed {known:#x})", spec.flags),
        ));
    }
    let mut write = spec.flags & open_flag::WRITE != 0;
    let direct = if spec.flags & open_flag::DIRECT != 0 { libc::O_DIRECT } else { 0 };
    // O_NONBLOCK: opening a FIFO must not wait for a peer. Files and block devices ignore it.
    let flags = direct | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let open = |write| File::options().read(true).write(write).custom_flags(flags).open(path);
    // What the kernel has read-only (a write-protected medium, a snapshot, `blockdev --setro`) is read.
    let file = match open(write) {
        Err(e) if write && is_protected(&e) && is_block_device(path) => {
            open(false).inspect(|_| write = false)
        }
        Ok(file) if write && is_read_only_device(&file) => open(false).inspect(|_| write = false),
        opened => opened,
    };
    let file = file.map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    let kind = meta.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let what = format!("{}: neither a regular file nor a block device", path.display());
        return Err((libc::EINVAL, what));
    }
    let (id, contents) = (FileId::of(&meta), Contents::of(&meta));
    let owned = Arc::new(PortFile::new(file));
    let share = match spec.flags & open_flag::LOCK {
        0 => None,
        _ => {
            let share = match locked(&contents) {
                Some(known) => file_lock::share(known, &owned, write),
                None => file_lock::take(id, &contents, &owned, write),
            };
            let refused = |e| not_locked(&e, path, || user(&contents).unwrap_or_else(|| id.holders()));
            Some(share.map(Arc::new).map_err(refused)?)
        }
    };
    let (info, tries) = with_file(&owned, |file| {
        let (regular_file, direct) = (kind.is_file(), direct != 0);
        let info =
            if regular_file { regular(file, write, direct) } else { block(file, &meta, write, direct) };
        (info, direct || regular_file && writes_without_sleep(file))
    });
    Ok(Opened { file: owned, contents, info: info.map_err(fail)?, tries, share })
}

/// Why a file could not be locked; `user` says who has it.
fn not_locked(e: &io::Error, path: &Path, user: impl Fn() -> String) -> (i32, String) {
    let code = e.raw_os_error().unwrap_or(libc::EIO);
    let why = if code == libc::EWOULDBLOCK { user() } else { e.to_string() };
    (if file_lock::is_busy(e) { libc::EBUSY } else { code }, format!("{}: {why}", path.display()))
}

fn is_protected(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

fn is_block_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device())
}

/// The kernel takes no writes for the block device.
fn is_read_only_device(file: &File) -> bool {
    // From linux/fs.h.
    const BLKROGET: libc::c_ulong = 0x125e;
    let mut read_only: libc::c_int = 0;
    // SAFETY: the ioctl writes one number of the type that its argument points to; no regular file has it.
    unsafe { libc::ioctl(file.as_raw_fd(), BLKROGET as _, &mut read_only) == 0 && read_only != 0 }
}

/// Nothing can be written to it just now, however it was opened.
pub(crate) fn takes_no_writes(file: &File) -> bool {
    if is_read_only_device(file) {
        return true;
    }
    // SAFETY: all-zero is a valid `statvfs`; the call fills it.
    let mut st: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and a place for the answer.
    let known = unsafe { libc::fstatvfs(file.as_raw_fd(), &mut st) } == 0;
    // The file system that a device's node lies on says nothing about the device.
    let regular = || file.metadata().is_ok_and(|meta| meta.is_file());
    known && st.f_flag & libc::ST_RDONLY != 0 && regular()
}

fn blank(kind: u32) -> HandleInfo {
    HandleInfo { struct_size: size_of::<HandleInfo>() as u32, kind, ..HandleInfo::default() }
}

fn regular(file: &File, write: bool, direct: bool) -> io::Result<HandleInfo> {
    let meta = file.metadata()?;
    let mut info = blank(handle_kind::REGULAR);
    info.size = meta.len();
    info.block_size = if direct { direct_alignment(file) } else { 1 };
    info.preferred_block_size = u32::try_from(meta.blksize()).unwrap_or(4096).max(info.block_size);
    info.read_only = u32::from(!write);
    if write {
        // Tried behind the end of the file, where there is nothing to lose, and undone.
        let end = i64::try_from(meta.len().next_multiple_of(4096)).unwrap_or(i64::MAX - 8192);
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let zero = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: plain calls on an open descriptor; they touch no data.
        unsafe {
            info.can_punch = u32::from(libc::fallocate(file.as_raw_fd(), punch, end, 4096) == 0);
            if info.can_punch == 1 {
                info.can_zero = u32::from(libc::fallocate(file.as_raw_fd(), zero, end, 4096) == 0);
                libc::fallocate(file.as_raw_fd(), punch, end, 4096);
            }
        }
    }
    Ok(info)
}

/// Whether io_uring can try buffered writes to the file without sleeping. The kernel does not
/// say; these file systems are known to (Linux: users of `FOP_BUFFER_WASYNC`).
fn writes_without_sleep(file: &File) -> bool {
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683e;
    // SAFETY: all-zero is a valid `statfs`; the call fills it.
    let mut st: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and a place for the answer.
    let known = unsafe { libc::fstatfs(file.as_raw_fd(), &mut st) } == 0;
    known && matches!(st.f_type as i64, XFS | BTRFS)
}

/// What `O_DIRECT` wants on this file; 4096 where the kernel does not say.
pub(crate) fn direct_alignment(file: &File) -> u32 {
    // SAFETY: all-zero is a valid `statx`; the call fills it.
    let mut st: libc::statx = unsafe { std::mem::zeroed() };
    let empty = c"";
    // STATX_DIOALIGN, since Linux 6.1.
    const DIOALIGN: u32 = 0x2000;
    // SAFETY: an open descriptor, an empty path with AT_EMPTY_PATH, and a place for the result.
    let r = unsafe { libc::statx(file.as_raw_fd(), empty.as_ptr(), libc::AT_EMPTY_PATH, DIOALIGN, &mut st) };
    if r == 0 && st.stx_mask & DIOALIGN != 0 && st.stx_dio_offset_align > 0 {
        st.stx_dio_offset_align.max(512)
    } else {
        4096
    }
}

fn block(file: &File, meta: &std::fs::Metadata, write: bool, direct: bool) -> io::Result<HandleInfo> {
    // From linux/fs.h.
    const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
    const BLKSSZGET: libc::c_ulong = 0x1268;
    const BLKPBSZGET: libc::c_ulong = 0x127b;
    const BLKROTATIONAL: libc::c_ulong = 0x127e;
    let fd = file.as_raw_fd();
    let mut info = blank(handle_kind::BLOCK);
    let (mut logical, mut physical, mut rotational) = (512_i32, 512_u32, 0_u16);
    // SAFETY: each ioctl writes one number of the type that its argument points to.
    unsafe {
        if libc::ioctl(fd, BLKGETSIZE64 as _, &mut info.size) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::ioctl(fd, BLKSSZGET as _, &mut logical);
        libc::ioctl(fd, BLKPBSZGET as _, &mut physical);
        libc::ioctl(fd, BLKROTATIONAL as _, &mut rotational);
    }
    let logical = u32::try_from(logical).unwrap_or(512).max(1);
    // Through the page cache any range can be read and written: the kernel reads the rest of a block first, with the
    // page locked, so that what others write beside it stays.
    info.block_size = if direct { logical } else { 1 };
    info.preferred_block_size = physical.max(logical);
    info.rotational = u32::from(rotational != 0);
    info.read_only = u32::from(!write);
    let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
    let place = format!("/sys/dev/block/{major}:{minor}");
    // A partition has the queue of its disk.
    let limit = |queue| std::fs::read_to_string(format!("{place}/{queue}/write_zeroes_max_bytes"));
    let can = limit("queue").or_else(|_| limit("../queue")).is_ok_and(|text| text.trim() != "0");
    info.can_punch = u32::from(write && can);
    info.can_zero = info.can_punch;
    Ok(info)
}
