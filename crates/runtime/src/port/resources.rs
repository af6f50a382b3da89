//! What a port has open, and its regions of memory: found, made, closed.

use super::Port;
use crate::driver::instance::Made;
use crate::handle::contents::Contents;
use crate::handle::file_lock::{FileLock, Share};
use crate::handle::name_check::Sight;
use crate::handle::{Handle, OpenSpec, Opened, open_file};
use crate::helpers::Desks;
use crate::resources::mapping::Mapping;
use crate::resources::regions::RegionMemory;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use steadfast_abi as abi;
use steadfast_shell::sync::lock;

impl Port {
    /// Finds an open handle, or opens one: its number and whether it was opened, or an errno and why.
    pub(crate) fn open(
        &self,
        key: &str,
        spec: &OpenSpec,
        may_open: bool,
    ) -> Result<(u32, bool), (i32, String)> {
        {
            let inner = lock(&self.inner);
            let same = |h: &Handle| h.key == key && h.spec == *spec && !h.stale && self.is_alive(h);
            let known = |h: &Option<Handle>| h.as_ref().is_some_and(same);
            if let Some(number) = inner.handles.iter().position(known) {
                return Ok((number as u32, false));
            }
        }
        if self.shadow.is_some() {
            let what = "the driver that serves does not have it open so, and a trial opens nothing";
            return Err((libc::EPERM, format!("{}: {what}", spec.target)));
        }
        if !may_open {
            return Err((libc::EPERM, format!("{}: resources are opened in `prepare` only", spec.target)));
        }
        if spec.kind == abi::open_kind::DEVICE {
            return self.open_device(key, spec).map(|number| (number, true));
        }
        if spec.kind != abi::open_kind::FILE {
            return Err((libc::EOPNOTSUPP, format!("kind {} cannot be opened here", spec.kind)));
        }
        let Opened { file, contents, info, tries, share } =
            open_file(spec, |contents| self.lock_on(contents), |contents| self.user_of(contents))?;
        self.check_overlap(share.as_deref(), spec, info.read_only == 0)?;
        let gone = || (libc::ENODEV, "the daemon ends".to_owned());
        let media = &self.directory.upgrade().ok_or_else(gone)?.media;
        let cached = spec.flags & abi::open_flag::WRITE != 0 && spec.flags & abi::open_flag::DIRECT == 0;
        let watch = media.watch(&file, &contents, &spec.target, cached);
        let sight = Sight::new(&self.name, &spec.target, &contents, &info, watch.clone());
        let full = (libc::EMFILE, "every place for open files is taken".to_owned());
        let fixed = self.files.take().ok_or(full)?;
        self.register(fixed, file.as_raw_fd());
        let regular = info.kind == abi::handle_kind::REGULAR;
        let direct = spec.flags & abi::open_flag::DIRECT != 0;
        let label = format!("port {}: {}", self.name, spec.target);
        let queues = self.queues.len();
        let desks = Desks::new(file.clone(), sight.end(), regular, (direct, tries), label, queues);
        let (key, spec, file) = (key.to_owned(), spec.clone(), Some(file));
        let (device, desks) = (None, Some(Arc::new(desks)));
        let (watch, sight, stale) = (Some(watch), Some(sight), false);
        let handle =
            Handle { key, spec, file, device, desks, fixed, info, contents, share, watch, sight, stale };
        Ok((self.add_handle(handle), true))
    }

    /// What locks a file for the port already.
    fn lock_on(&self, contents: &Contents) -> Option<Arc<FileLock>> {
        let inner = lock(&self.inner);
        inner.handles.iter().flatten().find_map(|handle| handle.share.as_ref()?.on(contents))
    }

    /// No other port writes to bytes that this one reads, nor reads bytes that it writes: by another node, as a
    /// partition of it or the disk that it is a partition of, or as what one of them lies on, such as the file of a
    /// loop device. Of two who write to one block device, the kernel's claim keeps one away.
    fn check_overlap(&self, mine: Option<&Share>, spec: &OpenSpec, write: bool) -> Result<(), (i32, String)> {
        let (Some(mine), Some(engine)) = (mine, self.directory.upgrade()) else { return Ok(()) };
        for port in engine.all_ports().into_iter().filter(|port| port.id != self.id) {
            for handle in lock(&port.inner).handles.iter().flatten() {
                let Some(theirs) = &handle.share else { continue };
                if (write || handle.info.read_only == 0) && mine.ground().shares_bytes(theirs.ground()) {
                    let (target, name, other) = (&spec.target, &port.name, &handle.spec.target);
                    let what = format!(
                        "{target}: port {name} has it, what it lies on, its disk or a partition of it as {other}"
                    );
                    return Err((libc::EBUSY, what));
                }
            }
        }
        Ok(())
    }

    /// Another port that has this file or block device open, for people.
    fn user_of(&self, contents: &Contents) -> Option<String> {
        let ports = self.directory.upgrade()?.all_ports();
        let has = |port: &&Arc<Port>| {
            let shares =
                |handle: &Handle| handle.share.as_ref().is_some_and(|share| share.ground().is_of(contents));
            port.id != self.id && lock(&port.inner).handles.iter().flatten().any(shares)
        };
        ports.iter().find(has).map(|port| format!("port {} of this daemon has it open", port.name))
    }

    /// Gives a handle its number.
    pub(crate) fn add_handle(&self, handle: Handle) -> u32 {
        let mut inner = lock(&self.inner);
        match inner.handles.iter().position(Option::is_none) {
            Some(gap) => {
                inner.handles[gap] = Some(handle);
                gap as u32
            }
            None => {
                inner.handles.push(Some(handle));
                inner.handles.len() as u32 - 1
            }
        }
    }

    /// Puts `fd` (-1: nothing) at place `fixed` of the file table of each of the port's rings, and
    /// waits until it is there.
    fn register(&self, fixed: u32, fd: i32) {
        for remote in &self.remotes {
            remote.call(move |rt| rt.register_file(fixed, fd));
        }
    }

    /// Closes every handle whose number is not in `keep`.
    pub(crate) fn close_all_but(&self, keep: &[u32]) {
        self.close_where(|number| !keep.contains(&number));
    }

    /// Takes back what a driver got that never served.
    pub(crate) fn take_back(&self, made: &Made) {
        self.close_where(|number| made.handles.contains(&number));
        let mut inner = lock(&self.inner);
        for number in &made.regions {
            if let Some(region) = inner.regions.get_mut(*number as usize) {
                *region = None;
            }
        }
    }

    fn close_where(&self, gone: impl Fn(u32) -> bool) {
        let gone: Vec<Handle> = {
            let mut inner = lock(&self.inner);
            let places = inner.handles.iter_mut().enumerate();
            places.filter(|(i, _)| gone(*i as u32)).filter_map(|(_, h)| h.take()).collect()
        };
        for handle in gone {
            if let Some(device) = &handle.device {
                self.close_device(device);
                continue;
            }
            self.register(handle.fixed, -1);
            let hangs = handle.desks.as_ref().is_some_and(|desks| !desks.close());
            if hangs {
                let target = &handle.spec.target;
                tracing::warn!(
                    port = self.name,
                    "{target} stays open, and locked: a call on it hangs in the kernel"
                );
            }
            self.files.give(handle.fixed);
        }
    }

    /// Finds or makes a region: number, address, size, whether it is new.
    pub(crate) fn region(
        &self,
        name: &str,
        size: u64,
        may_make: bool,
    ) -> Result<(u32, usize, u64, bool), i32> {
        let mut inner = lock(&self.inner);
        let mut known = inner.regions.iter().enumerate().filter_map(|(i, r)| Some((i, r.as_ref()?)));
        if let Some((number, r)) = known.find(|(_, r)| r.name == name) {
            let same = size == 0 || r.size == size;
            return if same {
                Ok((number as u32, r.map.base() as usize, r.size, false))
            } else {
                Err(libc::EEXIST)
            };
        }
        if !may_make || size == 0 {
            return Err(libc::ENOENT);
        }
        let len = usize::try_from(size).map_err(|_| libc::ENOMEM)?;
        let label = CString::new(format!("steadfast-{}-{name}", self.name)).unwrap_or_default();
        let map = Mapping::copyable(&label, len).map_err(|e| e.raw_os_error().unwrap_or(libc::ENOMEM))?;
        let base = map.base() as usize;
        let region = Some(RegionMemory { name: name.to_owned(), size, map });
        let number = match inner.regions.iter().position(Option::is_none) {
            Some(gap) => gap,
            None => {
                inner.regions.push(None);
                inner.regions.len() - 1
            }
        };
        inner.regions[number] = region;
        Ok((number as u32, base, size, true))
    }
}
