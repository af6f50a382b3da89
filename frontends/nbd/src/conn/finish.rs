//! From completed requests to replies.

use super::Connection;
use super::open::{Index, Kind, Open};
use super::pump::Head;
use crate::errno::NbdErrno;
use crate::reply::{self, Data, data_header_bytes};
use steadfast_abi::block_flag;
use steadfast_runtime::{Reactor, Tag};

impl Connection {
    /// A request of ours came back from the device.
    pub(super) fn finish(&mut self, rt: &mut Reactor, tag: Tag, cookie: u64, result: i32) {
        self.in_flight -= 1;
        if self.life == super::Life::Dead {
            self.free(rt, tag);
            return;
        }
        let (index, part) = (cookie as Index, (cookie >> 32) as u32);
        let open = self.table.get(index);
        open.parts -= 1;
        if result < 0 && open.errno == 0 {
            open.errno = -result;
        }
        let open = *open;
        match open.kind {
            Kind::Read => self.finish_read(rt, tag, index, &open),
            Kind::Chunks => self.finish_chunk(rt, tag, index, &open, part, result),
            Kind::Waves => self.finish_wave_part(rt, tag, part),
            Kind::Change => self.finish_change(rt, tag, index, &open),
            Kind::Status { one } => self.finish_status(rt, tag, index, &open, one, result),
        }
    }

    fn finish_read(&mut self, rt: &mut Reactor, tag: Tag, index: Index, open: &Open) {
        self.table.remove(index);
        if open.errno != 0 {
            self.free(rt, tag);
            return self.answer(open);
        }
        self.put_data(rt, tag, open, open.offset, open.length, true);
        self.output.answered();
    }

    fn finish_chunk(
        &mut self,
        rt: &mut Reactor,
        tag: Tag,
        index: Index,
        open: &Open,
        part: u32,
        result: i32,
    ) {
        let last = open.parts == 0;
        if result < 0 {
            self.free(rt, tag);
        } else {
            let at = u64::from(part) * open.part_bytes;
            let length = open.part(at);
            self.put_data(rt, tag, open, open.offset + at, length, last && open.errno == 0);
        }
        if last {
            self.table.remove(index);
            if open.errno == 0 {
                self.output.answered();
            } else {
                self.answer(open);
            }
        }
    }

    /// Puts the header of a chunk before the data in its slot, and both into the output.
    fn put_data(&mut self, rt: &mut Reactor, tag: Tag, open: &Open, offset: u64, length: u64, last: bool) {
        let headers = self.session.headers();
        // A part is no longer than a slot's data, which has 32 bits.
        let length = length as u32;
        let data = Data { cookie: open.cookie, request_offset: open.offset, offset, length, last };
        let header = reply::data(headers, &data);
        let bytes = data_header_bytes(headers);
        let base = rt.data(self.lane, tag).wrapping_sub(bytes);
        // SAFETY: the 64 bytes before a slot's data are for a frontend's header, which is at most 40;
        // the slot is ours.
        unsafe { std::ptr::copy_nonoverlapping(header.as_bytes().as_ptr(), base, bytes) };
        self.output.data(base, bytes + length as usize, tag);
    }

    fn finish_wave_part(&mut self, rt: &mut Reactor, tag: Tag, part: u32) {
        match self.wave.get_mut(part as usize) {
            // The pump, which comes next, looks whether the wave is whole.
            Some(part) if matches!(self.head, Head::Waves { .. }) => part.done = true,
            _ => self.free(rt, tag),
        }
    }

    fn finish_change(&mut self, rt: &mut Reactor, tag: Tag, index: Index, open: &Open) {
        if open.errno == 0 && open.parts == 0 && open.has_more() {
            return self.again.push((tag, index));
        }
        self.free(rt, tag);
        if open.parts == 0 {
            self.table.remove(index);
            self.answer(open);
        }
    }

    fn finish_status(
        &mut self,
        rt: &mut Reactor,
        tag: Tag,
        index: Index,
        open: &Open,
        one: bool,
        result: i32,
    ) {
        self.table.remove(index);
        let headers = self.session.headers();
        let base = rt.data(self.lane, tag);
        // SAFETY: the slot is ours and its data has this size.
        let buffer = unsafe { std::slice::from_raw_parts_mut(base, rt.data_room(self.lane) as usize) };
        let count = result.max(0) as usize;
        let made =
            if open.errno == 0 { reply::descriptors(headers, buffer, count, open.length, one) } else { None };
        let Some(bytes) = made else {
            self.free(rt, tag);
            let errno = if open.errno == 0 { libc::EIO } else { open.errno };
            return self.answer(&Open { errno, ..*open });
        };
        let header = reply::status(headers, open.cookie, open.offset, bytes);
        let header = header.as_bytes();
        let base = base.wrapping_sub(header.len());
        // SAFETY: as in `put_data`.
        unsafe { std::ptr::copy_nonoverlapping(header.as_ptr(), base, header.len()) };
        self.output.data(base, header.len() + bytes, tag);
        self.output.answered();
    }

    /// Answers a request that has no data, or failed.
    pub(super) fn answer(&mut self, open: &Open) {
        let headers = self.session.headers();
        if open.errno == 0 {
            return self.output.reply(reply::done(headers, open.cookie, open.offset).as_bytes());
        }
        let fast = open.change.flags & block_flag::FAST_ONLY != 0;
        let errno = NbdErrno::from_errno(open.errno, fast);
        let small = reply::error(headers, open.cookie, open.offset, errno, errno.text());
        self.output.reply(small.as_bytes());
    }
}
