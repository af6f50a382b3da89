//! Operations that make writes durable: their results are what the medium has to say, not only the kernel's
//! answer to this one.

use super::Lane;
use crate::handle::medium::Watch;
use crate::lane::in_flight::NO_SYNC;
use std::sync::Arc;
use steadfast_abi::{self as abi, op, op_flag};

/// The media of a lane's operations in flight that make something durable, whatever becomes of the handles.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    places: Vec<Option<Arc<Watch>>>,
    free: Vec<u16>,
}

impl Syncs {
    fn begin(&mut self, watch: Arc<Watch>) -> Option<u16> {
        if let Some(place) = self.free.pop() {
            self.places[usize::from(place)] = Some(watch);
            return Some(place);
        }
        let place = u16::try_from(self.places.len()).ok().filter(|place| *place != NO_SYNC)?;
        self.places.push(Some(watch));
        Some(place)
    }

    /// Nothing, for an operation that makes nothing durable.
    pub(super) fn end(&mut self, place: u16) -> Option<Arc<Watch>> {
        let watch = self.places.get_mut(usize::from(place))?.take()?;
        self.free.push(place);
        Some(watch)
    }
}

impl Lane {
    /// The place for an operation that makes something durable on a medium; [`NO_SYNC`] for any other.
    #[inline]
    pub(super) fn begin_sync(&mut self, op: &abi::Op) -> Result<u16, i32> {
        if op.flags & op_flag::FUA == 0 && !matches!(op.code, op::FSYNC | op::FDATASYNC) {
            return Ok(NO_SYNC);
        }
        self.begin_watched(op.handle)
    }

    fn begin_watched(&mut self, handle: u32) -> Result<u16, i32> {
        let tables = self.instance.as_ref().and_then(|instance| instance.tables.get());
        let watch = tables.and_then(|tables| tables.watches.get(handle as usize)?.clone());
        // What lies over a device of the daemon hears of its medium by that device's answers.
        let Some(watch) = watch else { return Ok(NO_SYNC) };
        self.syncs.begin(watch).ok_or(libc::EAGAIN)
    }

    /// What the operation is to have for a result.
    pub(super) fn end_sync(&mut self, place: u16, code: u16, result: i64) -> i64 {
        let Some(watch) = self.syncs.end(place) else { return result };
        watch.after_sync(result, code == op::WRITE, &self.port.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::contents::Contents;
    use crate::handle::medium::Media;

    #[test]
    fn places_are_used_again_and_end_once() {
        let file = tempfile::tempfile().expect("file").into();
        let watch = Media::default().watch(&file, &Contents::Block(0), "x", true);
        let mut syncs = Syncs::default();
        let (one, two) = (syncs.begin(watch.clone()), syncs.begin(watch.clone()));
        assert_eq!((one, two), (Some(0), Some(1)));
        assert!(syncs.end(0).is_some() && syncs.end(0).is_none() && syncs.end(NO_SYNC).is_none());
        assert_eq!(syncs.begin(watch), Some(0));
    }
}
