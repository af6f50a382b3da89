//! Any bytes as a client's requests: each is planned within the device, refused, or breaks the
//! connection; and any extents as a driver's answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast_nbd::export::{Agreed, Export};
use steadfast_nbd::reply;
use steadfast_nbd::request::{Parsed, Plan, Session};
use steadfast_nbd::wire::{Headers, MAX_PAYLOAD};

const SIZE: u64 = 1 << 30;

fn within(offset: u64, length: u64) {
    assert!(length > 0 && offset.checked_add(length).is_some_and(|end| end <= SIZE));
    assert!(offset.is_multiple_of(512) && length.is_multiple_of(512));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, mut bytes)) = bytes.split_first() else { return };
    let headers = [Headers::Simple, Headers::Structured, Headers::Extended][usize::from(first % 3)];
    let features = u64::from(*first) << 1 | u64::from(*first) >> 7;
    let export = Export {
        name: "vol0".into(),
        description: String::new(),
        size: SIZE,
        block_size: 512,
        preferred_block_size: 4096,
        features,
    };
    let session = Session::new(&Agreed { headers, export, status: first % 2 == 0 });

    let mut extents = bytes.to_vec();
    let count = extents.first().map_or(0, |count| usize::from(*count));
    let length = 1 + u64::from(extents.get(1).copied().unwrap_or(0)) * 1024;
    if let Some(used) = reply::descriptors(headers, &mut extents, count, length, first % 5 == 0) {
        assert!(used > 0 && used <= count * 16);
    }

    while let Parsed::Request(request) = session.parse(bytes) {
        bytes = &bytes[headers.request_bytes()..];
        let mut plan = session.plan(&request);
        if let Plan::StatusFiltered { bytes: payload } = plan {
            let Some((front, rest)) = bytes.split_at_checked(payload) else { return };
            plan = session.plan_filtered(&request, front);
            bytes = rest;
        }
        let skip = match plan {
            Plan::Read { .. } => {
                within(request.offset, request.length);
                assert!(request.length <= u64::from(MAX_PAYLOAD));
                0
            }
            Plan::Write(_) => {
                within(request.offset, request.length);
                assert!(request.length <= u64::from(MAX_PAYLOAD));
                request.length
            }
            Plan::Plain(_) => 0,
            Plan::Status { length, .. } | Plan::AllData { length } => {
                within(request.offset, length);
                0
            }
            Plan::Refuse { errno, why, skip } => {
                let small = reply::error(headers, request.cookie, request.offset, errno, why);
                assert!(small.as_bytes().len() <= reply::MAX_SMALL);
                skip
            }
            Plan::StatusFiltered { .. } => unreachable!("a filtered status request was planned"),
            Plan::Disconnect | Plan::Break(_) => return,
        };
        let Some(rest) = usize::try_from(skip).ok().and_then(|skip| bytes.get(skip..)) else { return };
        bytes = rest;
    }
});
