//! The handshake, as clients go through it and as nobody should.

mod common;

use common::{ALL, Client, LISTED, Shelf, export, info, option, queries, replies, shelf};
use proptest::prelude::*;
use steadfast_abi::block_feature as feature;
use steadfast_nbd::handshake::{Closing, Handshake, MAX_OPTION_DATA, MAX_SKIPPED_DATA, Step};
use steadfast_nbd::wire::{
    BASE_ALLOCATION, BASE_ALLOCATION_ID, Headers, IHAVEOPT, MAX_PAYLOAD, NBDMAGIC, option as opt,
    option_reply as rep, transmission_flag as flag,
};

#[test]
fn greeting_is_fixed_newstyle_without_zeroes() {
    let bytes = Handshake::greeting();
    assert_eq!(bytes[..8], NBDMAGIC.to_be_bytes());
    assert_eq!(bytes[8..16], IHAVEOPT.to_be_bytes());
    assert_eq!(bytes[16..], [0, 3]);
}

#[test]
fn go_leads_to_an_agreement_with_everything_a_client_asks_for() {
    let mut client = Client::new(shelf());
    assert_eq!(client.simple(opt::STRUCTURED_REPLY, &[]), rep::ACK);
    let (step, replies) = client.option(opt::GO, &info("vol0", &[1, 2, 3, 99]));
    let Step::Agreed(agreed) = step else { panic!("{step:?}") };
    assert_eq!(agreed.headers, Headers::Structured);
    assert_eq!(agreed.export.name, "vol0");
    assert!(!agreed.status);
    assert_eq!(client.shelf.opened, ["vol0"]);

    let flags = agreed.export.transmission_flags(Headers::Structured, false);
    let mut expected = vec![0, 0];
    expected.extend((1_u64 << 30).to_be_bytes());
    expected.extend(flags.to_be_bytes());
    assert_eq!(replies[0], (rep::INFO, expected));
    assert_eq!(replies[1], (rep::INFO, b"\0\x01vol0".to_vec()));
    assert_eq!(replies[2], (rep::INFO, b"\0\x02about vol0".to_vec()));
    let mut sizes = vec![0, 3];
    sizes.extend([512, 4096, MAX_PAYLOAD].iter().flat_map(|n| n.to_be_bytes()));
    assert_eq!(replies[3], (rep::INFO, sizes));
    assert_eq!(replies[4], (rep::ACK, vec![]));
    assert_eq!(replies.len(), 5);
}

#[test]
fn info_describes_and_goes_on() {
    let mut client = Client::new(shelf());
    let (step, replies) = client.option(opt::INFO, &info("vol1", &[]));
    assert_eq!(step, Step::Next);
    assert_eq!(replies.last().expect("replies").0, rep::ACK);
    assert!(client.shelf.opened.is_empty());
    let (step, replies) = client.option(opt::INFO, &info("nothing", &[]));
    assert_eq!((step, replies[0].0), (Step::Next, rep::ERR_UNKNOWN));
    assert!(String::from_utf8_lossy(&replies[0].1).contains("nothing"));
}

#[test]
fn the_empty_name_is_the_first_export() {
    let mut client = Client::new(shelf());
    let (step, _) = client.option(opt::GO, &info("", &[]));
    assert!(matches!(step, Step::Agreed(a) if a.export.name == "vol0"));
}

#[test]
fn list_has_every_export() {
    let mut client = Client::new(shelf());
    let (_, replies) = client.option(opt::LIST, &[]);
    assert_eq!(replies[0], (rep::SERVER, b"\0\0\0\x04vol0about vol0".to_vec()));
    assert_eq!(replies[1], (rep::SERVER, b"\0\0\0\x04vol1about vol1".to_vec()));
    assert_eq!(replies[2], (rep::ACK, vec![]));
    assert_eq!(client.simple(opt::LIST, b"x"), rep::ERR_INVALID);
}

#[test]
fn a_long_list_comes_in_parts_and_what_is_behind_it_waits() {
    let mut client = Client::new(Shelf::default());
    client.shelf.exports = (0..3000).map(|n| export(&format!("vol{n:04}"), 0)).collect();
    let mut both = option(opt::LIST, &[]);
    let length = both.len();
    both.extend(option(opt::INFO, &info("vol0007", &[])));
    let mut taken = 0;
    let mut parts = 0;
    let step = loop {
        let before = replies(&client.out, opt::LIST).len();
        let (count, step) = client.handshake.feed(&both[taken..], &mut client.shelf, &mut client.out);
        taken += count;
        assert_eq!(taken, length, "nothing of the next message before the list has ended");
        assert!(replies(&client.out, opt::LIST).len() - before <= LISTED, "all in one go");
        if step != Step::Again {
            break step;
        }
        parts += 1;
    };
    assert_eq!((step, parts), (Step::Next, 3000 / LISTED));
    let mut all = replies(&std::mem::take(&mut client.out), opt::LIST);
    assert_eq!(all.pop(), Some((rep::ACK, vec![])));
    let names: Vec<_> = all.iter().map(|(_, data)| data[4..11].to_vec()).collect();
    assert!(names.len() == 3000 && names.is_sorted(), "each once, in their order");
    assert_eq!(client.send(&both[taken..]), Step::Next);
    assert_eq!(replies(&client.out, opt::INFO).last().expect("replies").0, rep::ACK);

    client.out.clear();
    let (_, step) = client.handshake.feed(&option(opt::LIST, &[]), &mut client.shelf, &mut client.out);
    assert_eq!(step, Step::Again);
    client.shelf.stopping = true;
    assert_eq!(client.handshake.feed(&[], &mut client.shelf, &mut client.out), (0, Step::Next));
    assert_eq!(replies(&client.out, opt::LIST).last().expect("replies").0, rep::ERR_SHUTDOWN);
}

#[test]
fn export_name_without_and_with_zeroes() {
    let mut client = Client::new(shelf());
    let step = client.send(&option(opt::EXPORT_NAME, b"vol0"));
    assert!(matches!(step, Step::Agreed(a) if a.headers == Headers::Simple));
    assert_eq!(client.out.len(), 10);
    assert_eq!(client.out[..8], (1_u64 << 30).to_be_bytes());

    let mut client = Client { handshake: Handshake::default(), shelf: shelf(), out: vec![] };
    client.send(&1_u32.to_be_bytes());
    client.send(&option(opt::EXPORT_NAME, b""));
    assert_eq!(client.out.len(), 134);
    assert!(client.out[10..].iter().all(|b| *b == 0));
}

#[test]
fn export_name_of_nothing_closes() {
    let mut client = Client::new(shelf());
    let step = client.send(&option(opt::EXPORT_NAME, b"vol9"));
    assert_eq!(step, Step::Close(Closing::NoSuchExport("vol9".into())));
    let mut client = Client::new(shelf());
    assert_eq!(client.send(&option(opt::EXPORT_NAME, &[0xff])), Step::Close(Closing::BadName));
}

#[test]
fn abort_is_acknowledged_and_closes() {
    let mut client = Client::new(shelf());
    let (step, replies) = client.option(opt::ABORT, b"whatever");
    assert_eq!(step, Step::Close(Closing::Abort));
    assert_eq!(replies, [(rep::ACK, vec![])]);
}

#[test]
fn what_is_not_there_is_refused_and_the_handshake_goes_on() {
    let mut client = Client::new(shelf());
    assert_eq!(client.simple(opt::STARTTLS, &[]), rep::ERR_UNSUP);
    assert_eq!(client.simple(4, &[]), rep::ERR_UNSUP);
    assert_eq!(client.simple(4711, &[1, 2, 3]), rep::ERR_UNSUP);
    assert_eq!(client.simple(opt::STARTTLS, &[1]), rep::ERR_INVALID);
    assert_eq!(client.simple(opt::STRUCTURED_REPLY, &[1]), rep::ERR_INVALID);
    assert_eq!(client.simple(opt::EXTENDED_HEADERS, &[1]), rep::ERR_INVALID);
    assert_eq!(client.simple(opt::STRUCTURED_REPLY, &[]), rep::ACK);
}

#[test]
fn extended_headers_take_precedence() {
    let mut client = Client::new(shelf());
    assert_eq!(client.simple(opt::STRUCTURED_REPLY, &[]), rep::ACK);
    assert_eq!(client.simple(opt::STRUCTURED_REPLY, &[]), rep::ERR_INVALID);
    assert_eq!(client.simple(opt::EXTENDED_HEADERS, &[]), rep::ACK);
    assert_eq!(client.simple(opt::EXTENDED_HEADERS, &[]), rep::ERR_INVALID);
    assert_eq!(client.simple(opt::STRUCTURED_REPLY, &[]), rep::ERR_EXT_HEADER_REQD);
    let step = client.send(&option(opt::EXPORT_NAME, b"vol0"));
    assert_eq!(step, Step::Close(Closing::ExportNameAfterExtended));

    let mut client = Client::new(shelf());
    assert_eq!(client.simple(opt::EXTENDED_HEADERS, &[]), rep::ACK);
    let (step, _) = client.option(opt::GO, &info("vol0", &[]));
    assert!(matches!(step, Step::Agreed(a) if a.headers == Headers::Extended));
}

#[test]
fn metadata_contexts_are_listed_and_selected() {
    let mut client = Client::new(shelf());
    assert_eq!(client.simple(opt::SET_META_CONTEXT, &queries("vol0", &[])), rep::ERR_INVALID);
    client.simple(opt::STRUCTURED_REPLY, &[]);
    let context = |id: u32| {
        let mut data = id.to_be_bytes().to_vec();
        data.extend(BASE_ALLOCATION.as_bytes());
        vec![(rep::META_CONTEXT, data), (rep::ACK, vec![])]
    };
    for asked in [&[][..], &["base:"], &["x-other:", "base:allocation"]] {
        let (_, replies) = client.option(opt::LIST_META_CONTEXT, &queries("vol0", asked));
        assert_eq!(replies, context(0), "{asked:?}");
    }
    for asked in [&[][..], &["base:"], &["qemu:dirty-bitmap:x"], &["base:nothing"]] {
        assert_eq!(client.simple(opt::SET_META_CONTEXT, &queries("vol0", asked)), rep::ACK, "{asked:?}");
    }
    let (_, replies) = client.option(opt::SET_META_CONTEXT, &queries("vol0", &["base:allocation"]));
    assert_eq!(replies, context(BASE_ALLOCATION_ID));
    let (step, _) = client.option(opt::GO, &info("vol0", &[]));
    assert!(matches!(step, Step::Agreed(a) if a.status));
}

#[test]
fn a_context_of_another_export_or_of_an_earlier_selection_does_not_count() {
    let status = export("other", feature::STATUS);
    let cases: [(&str, &[&[&str]]); 3] =
        [("vol0", &[]), ("other", &[&["base:allocation"]]), ("vol0", &[&["base:allocation"], &[]])];
    for (name, selections) in cases {
        let mut exports = shelf();
        exports.exports.push(status.clone());
        let mut client = Client::new(exports);
        client.simple(opt::EXTENDED_HEADERS, &[]);
        for selection in selections {
            client.option(opt::SET_META_CONTEXT, &queries(name, selection));
        }
        let (step, replies) = client.option(opt::GO, &info("vol0", &[]));
        let Step::Agreed(agreed) = step else { panic!("{step:?}") };
        assert!(!agreed.status, "{name} {selections:?}");
        let flags = u16::from_be_bytes(replies[0].1[10..].try_into().expect("flags"));
        assert_eq!(flags & flag::BLOCK_STATUS_PAYLOAD, 0);
    }
}

#[test]
fn a_device_that_cannot_say_has_no_context() {
    let mut client = Client::new(shelf());
    client.simple(opt::STRUCTURED_REPLY, &[]);
    assert_eq!(client.simple(opt::SET_META_CONTEXT, &queries("vol1", &["base:allocation"])), rep::ACK);
    assert_eq!(client.simple(opt::LIST_META_CONTEXT, &queries("vol1", &[])), rep::ACK);
    assert_eq!(client.simple(opt::LIST_META_CONTEXT, &queries("vol7", &[])), rep::ERR_UNKNOWN);
}

#[test]
fn lengths_that_lie_are_refused() {
    let mut client = Client::new(shelf());
    client.simple(opt::STRUCTURED_REPLY, &[]);
    let mut long_name = info("vol0", &[]);
    long_name[3] = 200;
    let mut more_infos = info("vol0", &[1]);
    more_infos[9] = 2;
    for data in [&[][..], &[0, 0], &long_name, &more_infos, &[&info("vol0", &[])[..], &[0]].concat()] {
        assert_eq!(client.simple(opt::GO, data), rep::ERR_INVALID, "{data:?}");
    }
    let mut more_queries = queries("vol0", &["base:"]);
    more_queries[11] = 2;
    for data in [&[][..], &more_queries, &[&queries("vol0", &[])[..], &[0]].concat()] {
        assert_eq!(client.simple(opt::LIST_META_CONTEXT, data), rep::ERR_INVALID, "{data:?}");
    }
    assert_eq!(client.simple(opt::INFO, &info(&"n".repeat(4097), &[])), rep::ERR_TOO_BIG);
    assert_eq!(client.simple(opt::INFO, &info(&"n".repeat(4096), &[])), rep::ERR_UNKNOWN);
}

#[test]
fn long_options_are_passed_over_and_longer_ones_close() {
    let mut client = Client::new(shelf());
    let mut bytes = option(opt::LIST, &vec![7; MAX_OPTION_DATA + 1]);
    bytes.extend(option(opt::LIST, &[]));
    let mut steps = Vec::new();
    let mut at = 0;
    // In pieces, as they come out of a socket.
    for end in [10, 16, 1000, 9000, bytes.len()] {
        while at < end {
            let (taken, step) = client.handshake.feed(&bytes[at..end], &mut client.shelf, &mut client.out);
            at += taken;
            if step == Step::More {
                break;
            }
            steps.push(step);
        }
    }
    assert_eq!(steps, [Step::Next, Step::Next, Step::Next]);
    let replies = replies(&client.out, opt::LIST);
    let kinds: Vec<u32> = replies.iter().map(|r| r.0).collect();
    assert_eq!(kinds, [rep::ERR_TOO_BIG, rep::SERVER, rep::SERVER, rep::ACK]);

    let mut header = option(opt::LIST, &[]);
    let length = MAX_SKIPPED_DATA as u32 + 1;
    header[12..].copy_from_slice(&length.to_be_bytes());
    assert_eq!(client.send(&header), Step::Close(Closing::OptionLength { option: opt::LIST, length }));
}

#[test]
fn wrong_magic_and_unknown_client_flags_close() {
    let mut client = Client::new(shelf());
    let (_, step) = client.handshake.feed(&[0x55; 16], &mut client.shelf, &mut client.out);
    assert_eq!(step, Step::Close(Closing::OptionMagic(0x5555_5555_5555_5555)));
    let mut client = Client { handshake: Handshake::default(), shelf: shelf(), out: vec![] };
    assert_eq!(client.send(&7_u32.to_be_bytes()), Step::Close(Closing::ClientFlags(7)));
}

#[test]
fn a_server_that_stops_says_so() {
    let mut client = Client::new(Shelf { stopping: true, ..shelf() });
    assert_eq!(client.simple(opt::LIST, &[]), rep::ERR_SHUTDOWN);
    assert_eq!(client.simple(opt::GO, &info("vol0", &[])), rep::ERR_SHUTDOWN);
    assert_eq!(client.option(opt::ABORT, &[]).0, Step::Close(Closing::Abort));
}

/// Options that look right often enough to get somewhere.
fn some_option() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![Just("vol0".to_owned()), Just(String::new()), "[a-z]{0,8}"];
    let data = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        (name.clone(), proptest::collection::vec(0_u16..5, 0..4)).prop_map(|(n, i)| info(&n, &i)),
        name.prop_map(|n| queries(&n, &["base:allocation"])),
        Just(vec![]),
    ];
    (0_u32..14, data).prop_map(|(code, data)| option(code, &data))
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        run(&bytes, &[512]);
    }

    /// However the bytes are cut, the replies and the outcome are the same.
    #[test]
    fn cuts_do_not_matter(
        options in proptest::collection::vec(some_option(), 0..8),
        cuts in proptest::collection::vec(1_usize..40, 1..40),
    ) {
        let mut bytes = 3_u32.to_be_bytes().to_vec();
        bytes.extend(options.concat());
        prop_assert_eq!(run(&bytes, &[bytes.len().max(1)]), run(&bytes, &cuts));
    }
}

/// Feeds bytes in pieces of the given lengths, as a connection does.
fn run(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<Step>) {
    let mut exports = Shelf { exports: vec![export("vol0", ALL)], ..Shelf::default() };
    let (mut handshake, mut out) = (Handshake::default(), Vec::new());
    let (mut at, mut end) = (0, 0);
    for cut in cuts.iter().cycle() {
        end = bytes.len().min(end + cut);
        loop {
            let before = out.len();
            let (taken, step) = handshake.feed(&bytes[at..end], &mut exports, &mut out);
            assert!(taken <= end - at);
            at += taken;
            match step {
                Step::More => break,
                Step::Next | Step::Again => assert!(taken > 0 || out.len() > before, "progress"),
                over => return (out, Some(over)),
            }
        }
        if end == bytes.len() {
            return (out, None);
        }
    }
    unreachable!("cuts are not empty")
}

/// A device whose blocks are larger than the sectors that every client keeps to.
fn large_blocks() -> Client {
    let mut shelf = shelf();
    shelf.exports[0].block_size = 4096;
    Client::new(shelf)
}

#[test]
fn a_device_with_large_blocks_is_for_clients_that_ask_for_them() {
    let mut client = large_blocks();
    let (step, replies) = client.option(opt::GO, &info("vol0", &[1]));
    assert_eq!(step, Step::Next, "it may try again");
    let kinds: Vec<u32> = replies.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [rep::INFO, rep::ERR_BLOCK_SIZE_REQD]);
    assert_eq!(replies[0].1[..6], [0, 3, 0, 0, 16, 0], "with the block size that it should have asked for");
    assert!(client.shelf.opened.is_empty(), "nothing was opened for it");
    let (step, _) = client.option(opt::GO, &info("vol0", &[3]));
    assert!(matches!(step, Step::Agreed(_)), "{step:?}");
    // Asked for before, or for another export.
    let mut client = large_blocks();
    client.option(opt::INFO, &info("vol1", &[3]));
    let (step, _) = client.option(opt::GO, &info("vol0", &[]));
    assert_eq!(step, Step::Next);
    client.option(opt::INFO, &info("vol0", &[3]));
    let (step, _) = client.option(opt::GO, &info("vol0", &[]));
    assert!(matches!(step, Step::Agreed(_)), "{step:?}");
}

#[test]
fn export_name_hangs_up_where_blocks_are_large() {
    let mut client = large_blocks();
    let (step, replies) = client.option(opt::EXPORT_NAME, b"vol0");
    assert_eq!(step, Step::Close(Closing::BlockSize("vol0".into(), 4096)));
    assert!(replies.is_empty() && client.shelf.opened.is_empty());
    let mut client = large_blocks();
    assert!(matches!(client.send(&option(opt::EXPORT_NAME, b"vol1")), Step::Agreed(_)), "512 is for all");
}

#[test]
fn a_device_that_takes_no_more_clients_says_why() {
    let mut client = Client::new(shelf());
    client.shelf.full = true;
    let (step, replies) = client.option(opt::GO, &info("vol0", &[]));
    assert_eq!(step, Step::Next);
    assert_eq!(replies[0], (rep::ERR_POLICY, b"no room".to_vec()));
    let (step, _) = client.option(opt::EXPORT_NAME, b"vol0");
    assert_eq!(step, Step::Close(Closing::Full("no room".into())));
}
