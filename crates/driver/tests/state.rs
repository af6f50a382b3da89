//! State: encoding, older and newer schemas, damage.

use steadfast_driver::{Errno, Result, State};

#[derive(Debug, PartialEq, State)]
#[state(schema = "disk/1")]
struct Old {
    size: u64,
}

#[derive(Debug, PartialEq, State)]
#[state(schema = "disk/2", also(Old))]
struct New {
    size: u64,
    name: String,
    limit: Option<u32>,
    #[state(default)]
    merged: u64,
}

impl From<Old> for New {
    fn from(old: Old) -> New {
        New { size: old.size, name: "old".into(), limit: None, merged: 0 }
    }
}

impl From<&New> for Old {
    fn from(new: &New) -> Old {
        Old { size: new.size }
    }
}

fn save(state: &impl State) -> Vec<(String, Vec<u8>)> {
    let mut saved = Vec::new();
    state
        .save(&mut |schema, bytes| {
            saved.push((schema.to_owned(), bytes.to_vec()));
            Ok(())
        })
        .unwrap();
    saved
}

fn load<S: State>(saved: &[(String, Vec<u8>)]) -> Result<Option<S>> {
    S::load(&|schema| Ok(saved.iter().find(|(name, _)| name == schema).map(|(_, bytes)| &bytes[..])))
}

fn new() -> New {
    New { size: 7, name: "x".into(), limit: Some(3), merged: 9 }
}

#[test]
fn it_comes_back_as_it_was() {
    let saved = save(&new());
    assert_eq!(saved.iter().map(|(s, _)| s.as_str()).collect::<Vec<_>>(), ["disk/2", "disk/1"]);
    assert_eq!(load::<New>(&saved).unwrap(), Some(new()));
}

#[test]
fn both_releases_read_each_other() {
    assert_eq!(load::<Old>(&save(&new())).unwrap(), Some(Old { size: 7 }));
    let read = load::<New>(&save(&Old { size: 5 })).unwrap().unwrap();
    assert_eq!((read.size, read.name.as_str()), (5, "old"));
}

#[test]
fn nothing_left_is_not_an_error() {
    assert_eq!(load::<New>(&[]).unwrap(), None);
}

#[test]
fn unknown_keys_are_passed_over_and_defaults_filled_in() {
    // {"size": 1, "name": "a", "limit": null, "later": [1, {"a": 2}]}
    let bytes = b"\xa4\x64size\x01\x64name\x61a\x65limit\xf6\x65later\x82\x01\xa1\x61a\x02".to_vec();
    let read = load::<New>(&[("disk/2".into(), bytes)]).unwrap().unwrap();
    assert_eq!(read, New { size: 1, name: "a".into(), limit: None, merged: 0 });
}

#[test]
fn a_map_of_unknown_length_is_read_too() {
    let read = load::<Old>(&[("disk/1".into(), b"\xbf\x64size\x05\xff".to_vec())]).unwrap();
    assert_eq!(read, Some(Old { size: 5 }));
}

#[test]
fn damage_is_an_error_that_names_the_schema() {
    for bytes in [&b"\xa1\x64size\x61a"[..], b"\xa1\x64siz", b"", b"\x01", b"\xa1\x64nope\x01"] {
        let error = load::<Old>(&[("disk/1".into(), bytes.to_vec())]).unwrap_err();
        assert_eq!(error.errno(), Errno::PROTO);
        assert!(error.to_string().starts_with("state disk/1: "), "{error}");
    }
}
