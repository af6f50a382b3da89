//! What became of writes that were acknowledged, as the kernel says it of a file or block device.
//!
//! The kernel writes back what it has taken in its own time. Where that fails it says so once to every open
//! file, to whoever asks first (a flush, a write with FUA); the next flush says *done*. Several clients have
//! one file open here, so that the wrong one is told, and what was lost is forgotten. So the shell keeps it:
//! once an error was seen, by whatever operation of whatever port, every flush and every write with FUA on that
//! medium fails, under whichever driver, until somebody who was told has said so ([`Media::forgive`]).
//!
//! Two flushes at the same time, one that takes the error and one that finds none any more, can end in either
//! order. Therefore each medium is open once more, as a *witness* that nothing is done with: its own error is
//! still there when a flush has ended, and is asked for, one at a time, before the flush is believed.

#![allow(unsafe_code)] // system calls without a safe wrapper

use crate::clock::unix_ms;
use crate::handle::contents::Contents;
use crate::handle::lost_writes::{LossBook, Lost, MediumId, boot};
use crate::handle::with_file;
use crate::helpers::close::PortFile;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use steadfast_shell::sync::lock;

/// What a flush gets once an error was seen.
const LOST: i64 = -(libc::EIO as i64);
/// What becomes of the medium then.
const LASTS: &str = "every flush of it fails until its port is initialised anew with --accept-loss";

/// A file or block device, whatever it is called and whoever has it open.
#[derive(Debug)]
pub(crate) struct Medium {
    contents: Contents,
    /// Tells it from another that has its number after it: when it was made, or which disk it is.
    stamp: u64,
    /// What a later daemon knows it by; none of a device of the daemon, which is not watched.
    id: Option<MediumId>,
    target: String,
    watch: Mutex<Weak<Watch>>,
    /// 0: nothing was lost.
    errno: AtomicI32,
    loss: Mutex<Option<Lost>>,
    book: Option<Arc<dyn LossBook>>,
}

impl Medium {
    fn note(&self, errno: i32, told: String) {
        let mut loss = lock(&self.loss);
        let Some(medium) = self.id.clone().filter(|_| loss.is_none()) else { return };
        let new = Lost { target: self.target.clone(), errno, told, since_unix_ms: unix_ms(), medium };
        tracing::error!("{}; {LASTS}", new.why());
        if let Some(book) = &self.book {
            book.lost(&new);
        }
        *loss = Some(new);
        self.errno.store(errno, Ordering::Release);
    }

    /// The same, noted by an earlier daemon.
    fn remember(&self, lost: Lost) {
        tracing::error!("{}, as an earlier daemon has noted; {LASTS}", lost.why());
        self.errno.store(lost.errno, Ordering::Release);
        *lock(&self.loss) = Some(lost);
    }

    pub(crate) fn loss(&self) -> Option<Lost> {
        lock(&self.loss).clone()
    }
}

/// A medium that handles are open on, and its witness.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) medium: Arc<Medium>,
    /// `None` where it could not be opened once more.
    witness: Option<PortFile>,
    /// Who asks the witness is alone until what it said is noted.
    asking: Mutex<()>,
    /// Writes to it have gone through the page cache.
    cached: AtomicBool,
}

impl Watch {
    /// Asks the witness, which can say it once. Does not wait for anything to be written.
    pub(crate) fn ask(&self, told: impl FnOnce() -> String) {
        let Some(witness) = &self.witness else { return };
        let _alone = lock(&self.asking);
        // A byte where no file has any: waits for no page, and says what failed anywhere in the file.
        let (far, flags) = (i64::MAX - 4096, libc::SYNC_FILE_RANGE_WAIT_BEFORE);
        // SAFETY: plain call on an open descriptor.
        if unsafe { libc::sync_file_range(witness.as_raw_fd(), far, 1, flags) } == 0 {
            return;
        }
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        if !never_tried(errno) {
            self.medium.note(errno, told());
        }
    }

    /// What the result of a flush, or of a write with FUA, is to be for whoever asked for it.
    pub(crate) fn after_sync(&self, result: i64, fua: bool, port: &str) -> i64 {
        let told = || format!("a {} of port {port}", if fua { "write with FUA" } else { "flush" });
        let errno = i32::try_from(-result).unwrap_or(libc::EIO);
        if result < 0 && !never_tried(errno) && !(fua && its_own(errno)) {
            self.medium.note(errno, told());
        } else if self.cached.load(Ordering::Relaxed) {
            self.ask(told);
        }
        if result >= 0 && self.medium.errno.load(Ordering::Acquire) != 0 { LOST } else { result }
    }
}

impl Watch {
    /// The same file, open to be looked at.
    pub(crate) fn witness(&self) -> Option<&OwnedFd> {
        self.witness.as_deref()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ask(|| "nobody before it was closed".to_owned());
    }
}

/// The call was refused, or ended, before it had anything to tell.
fn never_tried(errno: i32) -> bool {
    matches!(
        errno,
        libc::EINTR
            | libc::ECANCELED
            | libc::EAGAIN
            | libc::EINVAL
            | libc::EBADF
            | libc::ENOSYS
            | libc::ESPIPE
            | libc::EOPNOTSUPP
    )
}

/// A write that got this was refused itself; of what others wrote it says nothing.
fn its_own(errno: i32) -> bool {
    matches!(
        errno,
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::EPERM | libc::EROFS | libc::ENOMEM | libc::EFAULT
    )
}

/// Every medium that is open, and those that were and have lost writes.
#[derive(Debug, Default)]
pub(crate) struct Media {
    known: Mutex<Vec<Arc<Medium>>>,
    /// What an earlier daemon has noted of media that were not opened yet.
    earlier: Mutex<Vec<Lost>>,
    book: Option<Arc<dyn LossBook>>,
}

impl Media {
    /// With what an earlier daemon has noted, and what notes it for a later one.
    pub(crate) fn knowing(earlier: Vec<Lost>, book: Option<Arc<dyn LossBook>>) -> Media {
        Media { known: Mutex::default(), earlier: Mutex::new(earlier), book }
    }

    /// What an earlier daemon has noted of this medium, once.
    fn recall(&self, medium: &Medium) {
        let mut earlier = lock(&self.earlier);
        if earlier.is_empty() {
            return;
        }
        let Some(id) = &medium.id else { return };
        if let Some(at) = earlier.iter().position(|lost| lost.is_of(id, &medium.target)) {
            medium.remember(earlier.remove(at));
        }
    }

    /// The medium behind an open file, to be watched while its handle is open. `cached`: writes through the
    /// handle go through the page cache.
    pub(crate) fn watch(
        &self,
        file: &OwnedFd,
        contents: &Contents,
        target: &str,
        cached: bool,
    ) -> Arc<Watch> {
        let stamp = stamp(file, contents);
        let medium = {
            let mut known = lock(&self.known);
            known.retain(|medium| Arc::strong_count(medium) > 1 || medium.loss().is_some());
            let same = |medium: &&Arc<Medium>| medium.contents == *contents && medium.stamp == stamp;
            known.iter().find(same).cloned().unwrap_or_else(|| {
                let (contents, target) = (contents.clone(), target.to_owned());
                let id = MediumId::of(&contents, stamp, &boot());
                let medium = Arc::new(Medium {
                    contents,
                    stamp,
                    id,
                    target,
                    watch: Mutex::default(),
                    errno: AtomicI32::new(0),
                    loss: Mutex::default(),
                    book: self.book.clone(),
                });
                self.recall(&medium);
                known.push(medium.clone());
                medium
            })
        };
        let mut place = lock(&medium.watch);
        let watch = place.upgrade().unwrap_or_else(|| {
            let again = format!("/proc/self/fd/{}", file.as_raw_fd());
            let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
            let witness = File::options().read(true).custom_flags(flags).open(again).ok().map(PortFile::new);
            let (asking, cached) = (Mutex::default(), AtomicBool::new(false));
            let watch = Arc::new(Watch { medium: medium.clone(), witness, asking, cached });
            *place = Arc::downgrade(&watch);
            watch
        });
        drop(place);
        if cached {
            watch.cached.store(true, Ordering::Relaxed);
        }
        // The kernel tells who opens a file of an error that nobody was told of.
        watch.ask(|| "nobody before it was opened".to_owned());
        watch
    }

    /// What is known to be lost of these.
    pub(crate) fn losses(&self, contents: &[Contents]) -> Vec<Lost> {
        let known = lock(&self.known);
        known.iter().filter(|m| contents.contains(&m.contents)).filter_map(|m| m.loss()).collect()
    }

    /// Somebody who was told goes on with these as they are.
    pub(crate) fn forgive(&self, contents: &[Contents]) -> Vec<Lost> {
        let known = lock(&self.known);
        let of_these = known.iter().filter(|medium| contents.contains(&medium.contents));
        let forgiven = of_these.filter_map(|medium| {
            let mut loss = lock(&medium.loss);
            medium.errno.store(0, Ordering::Release);
            let accepted = loss.take()?;
            if let Some(book) = &self.book {
                book.accepted(&accepted);
            }
            Some(accepted)
        });
        forgiven.collect()
    }
}

/// What tells a file or block device from another that has its number after it; 0: it cannot be told.
fn stamp(file: &OwnedFd, contents: &Contents) -> u64 {
    if let Contents::Block(_) = contents {
        // From linux/fs.h, since Linux 5.15: counts the media that the block devices of the system had.
        const BLKGETDISKSEQ: libc::c_ulong = 0x8008_1280;
        let mut number = 0_u64;
        // SAFETY: the ioctl writes one number of the type that its argument points to.
        unsafe { libc::ioctl(file.as_raw_fd(), BLKGETDISKSEQ as _, &mut number) };
        return number;
    }
    let made = with_file(file, File::metadata).and_then(|meta| meta.created());
    let since = made.ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}
