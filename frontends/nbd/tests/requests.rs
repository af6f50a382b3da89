//! Requests and replies, byte for byte.

mod common;

use common::{ALL, agreed, compact};
use proptest::prelude::*;
use steadfast_abi::{Extent, block_feature as feature, block_flag, block_op, extent};
use steadfast_nbd::errno::NbdErrno;
use steadfast_nbd::reply::{self, Data};
use steadfast_nbd::request::{Broken, Change, MAX_STATUS_PAYLOAD, Parsed, Plan, Request, Session};
use steadfast_nbd::wire::{Headers, MAX_PAYLOAD, command, command_flag as flag};

const SIZE: u64 = 1 << 30;

fn session(headers: Headers) -> Session {
    Session::new(&agreed(headers, ALL))
}

fn request(kind: u16, flags: u16, offset: u64, length: u64) -> Request {
    Request { kind, flags, cookie: 7, offset, length }
}

fn plan(headers: Headers, kind: u16, flags: u16, offset: u64, length: u64) -> Plan {
    session(headers).plan(&request(kind, flags, offset, length))
}

fn errno(plan: Plan) -> Option<NbdErrno> {
    match plan {
        Plan::Refuse { errno, .. } => Some(errno),
        _ => None,
    }
}

fn change(op: u16, flags: u16) -> Change {
    Change { op, flags, then_flush: false }
}

#[test]
fn headers_are_read_byte_for_byte() {
    let bytes = compact(command::WRITE, flag::FUA, 0x0102_0304_0506_0708, 0x1000, 0x2000);
    let expected = Request {
        kind: command::WRITE,
        flags: flag::FUA,
        cookie: 0x0102_0304_0506_0708,
        offset: 0x1000,
        length: 0x2000,
    };
    assert_eq!(session(Headers::Simple).parse(&bytes), Parsed::Request(expected));
    for end in 0..bytes.len() {
        assert_eq!(session(Headers::Structured).parse(&bytes[..end]), Parsed::More, "{end} bytes");
    }
    let mut extended = bytes[..24].to_vec();
    extended[..4].copy_from_slice(&0x21e4_1c71_u32.to_be_bytes());
    extended.extend(0x2000_u64.to_be_bytes());
    assert_eq!(session(Headers::Extended).parse(&extended), Parsed::Request(expected));
    assert_eq!(session(Headers::Extended).parse(&extended[..31]), Parsed::More);
    let broken = Broken::Magic { found: 0x2560_9513, agreed: 0x21e4_1c71 };
    assert_eq!(session(Headers::Extended).parse(&bytes), Parsed::Broken(broken));
}

#[test]
fn what_a_device_offers_is_planned() {
    let plain = |op, flags| Plan::Plain(change(op, flags));
    let simple = |kind, flags, length| plan(Headers::Simple, kind, flags, 0, length);
    assert_eq!(simple(command::READ, 0, 4096), Plan::Read { whole: false });
    let write = Plan::Write(change(block_op::WRITE, block_flag::FUA));
    assert_eq!(simple(command::WRITE, flag::FUA, 4096), write);
    assert_eq!(simple(command::FLUSH, flag::FUA, 0), plain(block_op::FLUSH, 0));
    assert_eq!(simple(command::TRIM, flag::FUA, 512), plain(block_op::TRIM, block_flag::FUA));
    assert_eq!(simple(command::CACHE, 0, 512), plain(block_op::CACHE, 0));
    let zero = flag::NO_HOLE | flag::FAST_ZERO;
    let zeroes = plain(block_op::WRITE_ZEROES, block_flag::NO_HOLE | block_flag::FAST_ONLY);
    assert_eq!(simple(command::WRITE_ZEROES, zero, SIZE), zeroes);
    assert_eq!(simple(command::DISC, 0xffff, 12345), Plan::Disconnect);
    let df = plan(Headers::Structured, command::READ, flag::DF, 0, 512);
    assert_eq!(df, Plan::Read { whole: true });
    let status = plan(Headers::Structured, command::BLOCK_STATUS, flag::REQ_ONE, 512, SIZE - 512);
    assert_eq!(status, Plan::Status { length: SIZE - 512, one: true });
}

/// A context was selected while a driver with block status served, and one without serves by now.
#[test]
fn a_device_that_cannot_tell_holes_is_all_data() {
    for (headers, extent) in [
        (Headers::Structured, &[0, 0, 4, 0, 0, 0, 0, 0][..]),
        (Headers::Extended, &[0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let session = Session::new(&agreed(headers, 0));
        let asked = request(command::BLOCK_STATUS, flag::REQ_ONE, 512, 1024);
        assert_eq!(session.plan(&asked), Plan::AllData { length: 1024 });
        let beyond = session.plan(&request(command::BLOCK_STATUS, 0, SIZE, 512));
        assert_eq!(errno(beyond), Some(NbdErrno::Inval));
        let header = reply::status(headers, 7, 512, extent.len());
        let whole = [header.as_bytes(), extent].concat();
        assert_eq!(reply::all_data(headers, 7, 512, 1024).as_bytes(), whole);
    }
}

/// QEMU's client sends extended writes without the payload flag, and the payload all the same.
#[test]
fn an_extended_write_carries_its_data_with_or_without_the_flag() {
    for flags in [0, flag::PAYLOAD_LEN] {
        let write = plan(Headers::Extended, command::WRITE, flags, 0, 4096);
        assert_eq!(write, Plan::Write(change(block_op::WRITE, 0)));
    }
}

#[test]
fn fua_without_a_native_one_is_a_flush_behind_the_write() {
    let session = Session::new(&agreed(Headers::Simple, feature::FLUSH));
    let fua = session.plan(&request(command::WRITE, flag::FUA, 0, 512));
    assert_eq!(fua, Plan::Write(Change { op: block_op::WRITE, flags: 0, then_flush: true }));
    let none = Session::new(&agreed(Headers::Simple, 0));
    assert_eq!(errno(none.plan(&request(command::WRITE, flag::FUA, 0, 512))), Some(NbdErrno::Inval));
}

#[test]
fn each_wrong_request_has_its_error() {
    use NbdErrno::{Inval, NoSpc, Overflow, Perm};
    let big = u64::from(MAX_PAYLOAD) + 512;
    let cases = [
        (Headers::Simple, command::READ, 0, SIZE, 512, Inval),
        (Headers::Simple, command::READ, 0, u64::MAX - 511, 512, Inval),
        (Headers::Simple, command::READ, 0, 1, 512, Inval),
        (Headers::Simple, command::READ, 0, 0, 100, Inval),
        (Headers::Simple, command::READ, 0, 0, 0, Inval),
        (Headers::Simple, command::READ, flag::DF, 0, 512, Inval),
        (Headers::Simple, command::READ, 0, 0, big, Inval),
        (Headers::Structured, command::READ, 0, 0, big, Overflow),
        (Headers::Simple, command::WRITE, 0, SIZE, 512, NoSpc),
        (Headers::Simple, command::WRITE, flag::PAYLOAD_LEN, 0, 512, Inval),
        (Headers::Simple, command::WRITE, 0, 0, 0, Inval),
        (Headers::Simple, command::WRITE_ZEROES, 0, SIZE, 512, NoSpc),
        (Headers::Simple, command::WRITE_ZEROES, flag::DF, 0, 512, Inval),
        (Headers::Simple, command::TRIM, 0, SIZE, 512, Inval),
        (Headers::Simple, command::TRIM, flag::NO_HOLE, 0, 512, Inval),
        (Headers::Simple, command::CACHE, 0x80, 0, 512, Inval),
        (Headers::Simple, command::FLUSH, 0, 0, 1, Inval),
        (Headers::Structured, command::BLOCK_STATUS, 0, SIZE, 512, Inval),
        (Headers::Structured, command::BLOCK_STATUS, flag::DF, 0, 512, Inval),
        (Headers::Extended, command::READ, flag::PAYLOAD_LEN, 0, 512, Inval),
        (Headers::Simple, 8, 0, 0, 512, Inval),
        (Headers::Simple, 0xffff, 0, 0, 512, Inval),
    ];
    for (headers, kind, flags, offset, length, expected) in cases {
        let plan = plan(headers, kind, flags, offset, length);
        assert_eq!(errno(plan), Some(expected), "{headers:?} {kind} {flags:#x} {offset} {length}");
    }
    let read_only = Session::new(&agreed(Headers::Simple, ALL | feature::READ_ONLY));
    for kind in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
        assert_eq!(errno(read_only.plan(&request(kind, 0, 0, 512))), Some(Perm));
    }
    let nothing = Session::new(&agreed(Headers::Simple, 0));
    for kind in [command::FLUSH, command::TRIM, command::WRITE_ZEROES, command::CACHE] {
        assert_eq!(errno(nothing.plan(&request(kind, 0, 0, 512))), Some(Inval));
    }
}

#[test]
fn a_refused_payload_is_passed_over_and_a_huge_one_breaks() {
    let skip = |headers, kind, flags, length| match plan(headers, kind, flags, SIZE, length) {
        Plan::Refuse { skip, .. } => skip,
        other => panic!("{other:?}"),
    };
    assert_eq!(skip(Headers::Simple, command::WRITE, 0, 4096), 4096);
    assert_eq!(skip(Headers::Simple, command::READ, 0, 4096), 0);
    assert_eq!(skip(Headers::Simple, 99, 0, 4096), 0);
    assert_eq!(skip(Headers::Extended, command::WRITE, flag::PAYLOAD_LEN, 4096), 4096);
    assert_eq!(skip(Headers::Extended, command::TRIM, 0, 4096), 0);
    assert_eq!(skip(Headers::Extended, command::TRIM, flag::PAYLOAD_LEN, 4096), 4096);
    let length = u64::from(MAX_PAYLOAD) + 1;
    let broken = Plan::Break(Broken::Payload { kind: command::WRITE, length });
    assert_eq!(plan(Headers::Simple, command::WRITE, 0, 0, length), broken);
    assert_eq!(plan(Headers::Extended, command::WRITE, flag::PAYLOAD_LEN, 0, length), broken);
}

#[test]
fn a_status_request_may_name_its_contexts() {
    let session = session(Headers::Extended);
    let ask = |flags, bytes| request(command::BLOCK_STATUS, flag::PAYLOAD_LEN | flags, 512, bytes);
    assert_eq!(session.plan(&ask(0, 12)), Plan::StatusFiltered { bytes: 12 });
    assert_eq!(errno(session.plan(&ask(0, MAX_STATUS_PAYLOAD + 4))), Some(NbdErrno::Inval));
    let payload = |length: u64, ids: &[u32]| {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
        bytes
    };
    let good = session.plan_filtered(&ask(flag::REQ_ONE, 12), &payload(4096, &[1]));
    assert_eq!(good, Plan::Status { length: 4096, one: true });
    for bad in
        [payload(4096, &[]), payload(4096, &[2]), payload(4096, &[1, 1]), vec![0; 3], payload(SIZE, &[1])]
    {
        assert_eq!(errno(session.plan_filtered(&ask(0, 0), &bad)), Some(NbdErrno::Inval), "{bad:?}");
    }
}

#[test]
fn replies_byte_for_byte() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(reply::done(Headers::Structured, 7, 512).as_bytes()), "67446698000000000000000000000007");
    assert_eq!(
        hex(reply::done(Headers::Extended, 7, 512).as_bytes()),
        "6e8a278c00010000000000000000000700000000000002000000000000000000"
    );
    let simple = reply::error(Headers::Simple, 7, 512, NbdErrno::NoSpc, "full");
    assert_eq!(hex(simple.as_bytes()), "674466980000001c0000000000000007");
    let structured = reply::error(Headers::Structured, 7, 512, NbdErrno::NoSpc, "full");
    assert_eq!(hex(structured.as_bytes()), "668e33ef0001800100000000000000070000000a0000001c000466756c6c");
    let data = Data { cookie: 7, request_offset: 512, offset: 1024, length: 16, last: true };
    assert_eq!(hex(reply::data(Headers::Simple, &data).as_bytes()), "67446698000000000000000000000007");
    assert_eq!(
        hex(reply::data(Headers::Structured, &data).as_bytes()),
        "668e33ef000100010000000000000007000000180000000000000400"
    );
    assert_eq!(
        hex(reply::data(Headers::Extended, &data).as_bytes()),
        "6e8a278c0001000100000000000000070000000000000200000000000000001800000000000004 00".replace(' ', "")
    );
    assert_eq!(
        hex(reply::status(Headers::Structured, 7, 512, 8).as_bytes()),
        "668e33ef000100050000000000000007 0000000c 00000001".replace(' ', "")
    );
    assert_eq!(
        hex(reply::status(Headers::Extended, 7, 512, 32).as_bytes()),
        "6e8a278c0001000600000000000000070000000000000200000000000000002800000001 00000002".replace(' ', "")
    );
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let text = "ü".repeat(100);
    let bytes = reply::error(Headers::Extended, 1, 0, NbdErrno::Io, &text);
    let bytes = bytes.as_bytes();
    assert!(bytes.len() <= reply::MAX_SMALL);
    let length = usize::from(u16::from_be_bytes([bytes[36], bytes[37]]));
    assert_eq!(bytes.len(), 38 + length);
    assert!(text.starts_with(std::str::from_utf8(&bytes[38..]).expect("whole characters")));
}

fn buffer(extents: &[Extent]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        extents.iter().flat_map(|e| [e.length.to_ne_bytes(), e.flags.to_ne_bytes()].concat()).collect();
    bytes.resize(bytes.len() + 32, 0xee);
    bytes
}

/// Reads descriptors back, as a client does.
fn descriptors(headers: Headers, bytes: &[u8]) -> Vec<(u64, u64)> {
    let number = |b: &[u8]| b.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    let size = if headers == Headers::Extended { 16 } else { 8 };
    bytes.chunks_exact(size).map(|d| (number(&d[..size / 2]), number(&d[size / 2..]))).collect()
}

fn answer(headers: Headers, extents: &[Extent], length: u64, one: bool) -> Option<Vec<(u64, u64)>> {
    let mut bytes = buffer(extents);
    let used = reply::descriptors(headers, &mut bytes, extents.len(), length, one)?;
    Some(descriptors(headers, &bytes[..used]))
}

#[test]
fn extents_become_descriptors() {
    let e = |length, flags| Extent { length, flags };
    let hole = extent::HOLE | extent::ZERO;
    let three = [e(4096, 0), e(8192, hole), e(1 << 40, extent::ZERO)];
    for headers in [Headers::Structured, Headers::Extended] {
        let all = answer(headers, &three, 16384, false).expect("an answer");
        assert_eq!(all, [(4096, 0), (8192, 3), (4096, 2)], "nothing beyond what was asked for");
        assert_eq!(answer(headers, &three, 16384, true), Some(vec![(4096, 0)]));
        let merged = answer(headers, &[e(512, hole), e(512, hole), e(512, 0)], 4096, false);
        assert_eq!(merged, Some(vec![(1024, 3), (512, 0)]));
        assert_eq!(answer(headers, &[], 4096, false), None);
        assert_eq!(answer(headers, &[e(0, 0)], 4096, false), None);
        let mut bytes = buffer(&three);
        assert_eq!(reply::descriptors(headers, &mut bytes, 1000, 4096, false), None, "more than fit");
    }
    let long = answer(Headers::Extended, &[e(u64::MAX, 0)], 1 << 40, false);
    assert_eq!(long, Some(vec![(1 << 40, 0)]));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 0..3) {
        let headers = [Headers::Simple, Headers::Structured, Headers::Extended][kind as usize];
        let session = session(headers);
        if let Parsed::Request(request) = session.parse(&bytes) {
            session.plan(&request);
        }
        session.plan_filtered(&request(command::BLOCK_STATUS, 0, 0, 0), &bytes);
    }

    /// Whatever is asked, a device is asked only for what it has, where it is.
    #[test]
    fn plans_are_within_the_device(
        kind in 0_u16..10,
        flags in 0_u16..64,
        offset in prop_oneof![0..2 * SIZE, any::<u64>()],
        length in prop_oneof![0..2 * SIZE, any::<u64>()],
        headers in 0..3,
        features in 0_u64..1024,
        aligned in any::<bool>(),
    ) {
        let headers = [Headers::Simple, Headers::Structured, Headers::Extended][headers as usize];
        let (offset, length) = if aligned { (offset & !511, length & !511) } else { (offset, length) };
        let session = Session::new(&agreed(headers, features));
        let range = match session.plan(&request(kind, flags, offset, length)) {
            Plan::Read { .. } => (length <= u64::from(MAX_PAYLOAD)).then_some(length),
            Plan::Write(change) | Plan::Plain(change) if change.op != block_op::FLUSH => {
                prop_assert_eq!(features & feature::READ_ONLY == 0 || change.op == block_op::CACHE, true);
                prop_assert!(change.flags & block_flag::FUA == 0 || features & feature::FUA != 0);
                prop_assert!(!change.then_flush || features & feature::FLUSH != 0);
                Some(length)
            }
            Plan::Status { length, .. } => Some(length),
            _ => return Ok(()),
        };
        let length = range.expect("not longer than a payload may be");
        prop_assert!(length > 0 && length % 512 == 0 && offset % 512 == 0);
        prop_assert!(offset.checked_add(length).is_some_and(|end| end <= SIZE));
    }

    #[test]
    fn descriptors_cover_what_extents_cover(
        extents in proptest::collection::vec((1_u64..5000, 0_u64..4), 1..40),
        length in 1_u64..50_000,
        extended in any::<bool>(),
    ) {
        let headers = if extended { Headers::Extended } else { Headers::Structured };
        let extents: Vec<Extent> = extents.iter().map(|(length, flags)| Extent { length: *length, flags: *flags }).collect();
        let made = answer(headers, &extents, length, false).expect("an answer");
        // Byte by byte against the naive reading.
        let expand = |list: &[(u64, u64)]| -> Vec<u64> {
            list.iter().flat_map(|(length, flags)| std::iter::repeat_n(*flags, *length as usize)).collect()
        };
        let naive: Vec<(u64, u64)> = extents.iter().map(|e| (e.length, e.flags)).collect();
        let mut naive = expand(&naive);
        naive.truncate(length as usize);
        prop_assert_eq!(expand(&made), naive);
        prop_assert!(made.windows(2).all(|pair| pair[0].1 != pair[1].1), "neighbours differ");
    }
}
