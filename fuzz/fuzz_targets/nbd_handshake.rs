//! Any bytes as a client's handshake: replies that can be told apart, an agreement, or a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast_nbd::export::{Export, Exports, NotOpened};
use steadfast_nbd::handshake::{Handshake, Step};
use steadfast_nbd::wire::OPTION_REPLY_MAGIC;

struct One;

fn export() -> Export {
    Export {
        name: "vol0".into(),
        description: "a device".into(),
        size: 1 << 30,
        block_size: 512,
        preferred_block_size: 4096,
        features: u64::MAX,
    }
}

impl Exports for One {
    fn list(&mut self, after: &str) -> (Vec<Export>, Option<String>) {
        // In two parts.
        if after.is_empty() { (vec![export()], Some("vol0".into())) } else { (Vec::new(), None) }
    }
    fn find(&mut self, name: &str) -> Option<Export> {
        (name.is_empty() || name == "vol0").then(export)
    }
    fn open(&mut self, name: &str) -> Result<Export, NotOpened> {
        self.find(name).ok_or(NotOpened::Unknown)
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((cut, mut bytes)) = bytes.split_first() else { return };
    let mut seen = 0;
    let (mut handshake, mut out) = (Handshake::default(), Vec::new());
    loop {
        seen = bytes.len().min(seen + 1 + usize::from(*cut));
        let whole = seen == bytes.len();
        loop {
            let before = out.len();
            let (taken, step) = handshake.feed(&bytes[..seen], &mut One, &mut out);
            bytes = &bytes[taken..];
            seen -= taken;
            assert!(out.len() - before < 64 * 1024, "a reply without bounds");
            match step {
                Step::More => break,
                Step::Again => assert!(out.len() > before, "no progress"),
                Step::Next => assert!(taken > 0 || out.len() > before, "no progress"),
                Step::Agreed(agreed) => {
                    assert_eq!(agreed.export.name, "vol0");
                    return;
                }
                Step::Close(why) => {
                    assert!(!why.to_string().contains('\n'));
                    return;
                }
            }
        }
        if whole {
            break;
        }
    }
    let mut replies = &out[..];
    while let Some(header) = replies.first_chunk::<20>() {
        assert_eq!(header[..8], OPTION_REPLY_MAGIC.to_be_bytes());
        let length = u32::from_be_bytes([header[16], header[17], header[18], header[19]]) as usize;
        replies = &replies[20 + length..];
    }
    assert!(replies.is_empty());
});
