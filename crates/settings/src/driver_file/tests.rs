use super::*;
use crate::FaultKind;
use std::fs;
use steadfast_shell::params::{ParamKind, ParamSpec, Range};

const TEXT: &str = "\
# Ports of the file driver.
[global]
io_throttle = 64        # agreed with the array's owner

# The slow one.
[port.vol0]
io_throttle = 8
log_mask = 0xffff_ffff
# Until the firmware is fixed.
undefine = [\"request_timeout\", \"drain_timeout\"] # both
";

fn parse(text: &str) -> DriverFile {
    DriverFile::parse(Path::new("p/file.toml"), "file", text).expect("good")
}

fn faults(text: &str) -> Vec<String> {
    let faults = DriverFile::parse(Path::new("p/file.toml"), "file", text).expect_err("bad");
    faults.0.iter().map(ToString::to_string).collect()
}

fn said(file: &DriverFile, section: &Section) -> Vec<(String, Option<String>, u32)> {
    file.entries(section).iter().map(|e| (e.name.clone(), e.value.clone(), e.line)).collect()
}

fn vol0() -> Section {
    Section::port("vol0")
}

#[test]
fn every_entry_has_its_line() {
    let file = parse(TEXT);
    let is = |name: &str, value: Option<&str>, line| (name.to_owned(), value.map(str::to_owned), line);
    assert_eq!(said(&file, &Section::Global), [is("io_throttle", Some("64"), 3)]);
    assert_eq!(
        said(&file, &vol0()),
        [
            is("io_throttle", Some("8"), 7),
            is("log_mask", Some("0xffffffff"), 8),
            is("request_timeout", None, 10),
            is("drain_timeout", None, 10),
        ]
    );
    let layer = file.said(&vol0());
    let source = |i: usize| layer[i].1.as_ref().map(|d| d.source.to_string());
    assert_eq!((source(0).as_deref(), source(2)), (Some("p/file.toml:7"), None));
    assert!(file.entries(&Section::port("vol1")).is_empty());
    assert!(parse("").sections().next().is_none());
}

#[test]
fn tables_may_be_written_in_any_form() {
    for text in [
        "[port.vol0]\nio_slots = 256\n",
        "port.vol0.io_slots = 256\n",
        "[port]\nvol0.io_slots = 256\n",
        "[port]\nvol0 = { io_slots = 256 }\n",
        "port = { vol0 = { io_slots = 256 } }\n",
        "port = { vol0.io_slots = 256 }\n",
    ] {
        assert_eq!(
            parse(text).entry(&vol0(), "io_slots").and_then(|e| e.value.as_deref()),
            Some("256"),
            "{text}"
        );
    }
}

#[test]
fn every_fault_is_reported_with_line_key_value_and_what_is_allowed() {
    let found = faults(
        "globl = 1\n[global]\nio_throttle = 1.5\nio_throttle = 2\nIO = 3\nundefine = \"x\"\n\
         [port.\"a b\"]\nx = 1\n[port.c]\nx = [1]\ny = 1\nundefine = [\"y\", \"z\", \"z\", 3]\n",
    );
    assert_eq!(
        found,
        [
            "p/file.toml:1: unknown: globl (allowed [global] and [port.NAME]; did you mean global?)",
            "p/file.toml:3: global.io_throttle=1.5 is not allowed (a string, an integer, true or false)",
            "p/file.toml:4: io_throttle is defined twice",
            "p/file.toml:5: IO is no parameter's name (allowed 1 to 64 lower-case letters, digits, '_' and '-', \
             a letter first)",
            "p/file.toml:6: global.undefine=\"\\\"x\\\"\" is not allowed (a list of parameters' names)",
            "p/file.toml:7: \"a b\" is no port's name (allowed 1 to 64 letters, digits, '_' and '-', the first a \
             letter or digit)",
            "p/file.toml:10: port.c.x=\"[1]\" is not allowed (a string, an integer, true or false)",
            "p/file.toml:12: z is defined twice",
            "p/file.toml:12: port.c.undefine=3 is not allowed (a list of parameters' names)",
            "p/file.toml:12: y is both undefined here and defined at line 11 (allowed one of the two)",
        ]
    );
    let twice = faults("[port.a]\nx = 1\n[port.a]\nx = 2\n");
    assert_eq!(twice, ["p/file.toml:3: a is defined twice", "p/file.toml:4: x is defined twice"]);
    let broken = faults("[global]\nx = = 1\n");
    assert!(broken[0].starts_with("p/file.toml:2: "), "{broken:?}");
    assert!(matches!(
        DriverFile::parse(Path::new("f"), "file", "x").expect_err("bad").0[0].kind,
        FaultKind::Syntax(_)
    ));
}

#[test]
fn what_is_not_edited_stays_to_the_byte() {
    let mut file = parse(TEXT);
    assert!(file.set(&vol0(), "io_throttle", "16", None).expect("set"));
    assert!(file.set(&Section::Global, "io_slots", "2048", None).expect("set"));
    assert!(file.unset(&Section::Global, "io_throttle").expect("unset"));
    assert!(file.set(&Section::port("vol1"), "admin_state", "down", None).expect("set"));
    assert_eq!(
        file.text(),
        "\
# Ports of the file driver.
[global]
# agreed with the array's owner
io_slots = 2048

# The slow one.
[port.vol0]
io_throttle = 16
log_mask = 0xffff_ffff
# Until the firmware is fixed.
undefine = [\"request_timeout\", \"drain_timeout\"] # both

[port.vol1]
admin_state = \"down\"
"
    );
}

#[test]
fn undefining_and_defining_take_each_other_back() {
    let mut file = parse(TEXT);
    assert!(file.undefine(&vol0(), "io_throttle").expect("undefined"));
    assert!(
        file.text().contains("undefine = [\"request_timeout\", \"drain_timeout\", \"io_throttle\"] # both")
    );
    assert!(!file.undefine(&vol0(), "io_throttle").expect("is already"));
    assert!(file.set(&vol0(), "request_timeout", "0", None).expect("set"));
    assert!(file.text().contains("undefine = [\"drain_timeout\", \"io_throttle\"] # both"));
    assert!(file.unset(&vol0(), "io_throttle").expect("unset"));
    assert!(file.unset(&vol0(), "drain_timeout").expect("unset"));
    assert!(
        file.text().ends_with("# Until the firmware is fixed.\n# both\nrequest_timeout = 0\n"),
        "{}",
        file.text()
    );
    assert!(!file.unset(&vol0(), "drain_timeout").expect("nothing to do"));
    assert!(file.undefine(&Section::port("new"), "x").expect("undefined"));
    assert!(file.text().ends_with("\n[port.new]\nundefine = [\"x\"]\n"), "{}", file.text());
}

#[test]
fn inline_and_dotted_forms_are_edited_as_they_are() {
    let edit = |text: &str| {
        let mut file = parse(text);
        file.set(&vol0(), "b", "2", None).expect("set");
        file.unset(&vol0(), "a").expect("unset");
        file.text().to_owned()
    };
    assert_eq!(edit("[port]\nvol0 = { a = 1 }\n"), "[port]\nvol0 = { b = 2 }\n");
    assert_eq!(edit("[port]\nvol0 = {}\n"), "[port]\nvol0 = { b = 2 }\n");
    assert_eq!(edit("port.vol0.a = 1 # why\n"), "# why\nport.vol0.b = 2\n");
    assert_eq!(edit("[port]\n  vol0.a = 1\n  vol1.a = 1\n"), "[port]\n  vol0.b = 2\n  vol1.a = 1\n");
    assert_eq!(edit("[port.vol0]\r\na = 1\r\n"), "[port.vol0]\r\nb = 2\r\n");
    assert_eq!(edit("[port.vol0]"), "[port.vol0]\nb = 2");
    let mut deep = parse("port = { vol0.a = 1 }\n");
    let refused = deep.set(&vol0(), "b", "2", None).expect_err("cannot be edited").to_string();
    assert!(refused.starts_with("p/file.toml:1: b cannot be changed in the form"), "{refused}");
    assert_eq!(deep.text(), "port = { vol0.a = 1 }\n");
    let mut closed = parse("port = { vol0 = { a = 1 } }\n");
    assert!(closed.set(&Section::port("vol1"), "b", "2", None).is_err(), "a header cannot extend it");
    assert_eq!(closed.text(), "port = { vol0 = { a = 1 } }\n");
}

#[test]
fn values_are_written_as_their_kind_says() {
    let spec = |kind| ParamSpec::new("p", kind);
    let mut choice = spec(ParamKind::Enum);
    choice.range = Some(Range::Choices(vec!["auto".into(), "8".into()]));
    for (spec, value, is) in [
        (spec(ParamKind::Bool), "on", "true"),
        (spec(ParamKind::U32), "64", "64"),
        (spec(ParamKind::U32), "0064", "64"),
        (spec(ParamKind::U32), "0xff", "\"0xff\""),
        (spec(ParamKind::I64), "-1", "-1"),
        (spec(ParamKind::Size), "4096", "4096"),
        (spec(ParamKind::Size), "64M", "\"64M\""),
        (spec(ParamKind::U64), "18446744073709551615", "\"18446744073709551615\""),
        (spec(ParamKind::Str), "true", "\"true\""),
        (spec(ParamKind::Path), "a\"b\\c", "\"a\\\"b\\\\c\""),
        (choice, "8", "\"8\""),
    ] {
        let mut file = parse("");
        file.set(&Section::Global, "p", value, Some(&spec)).expect("set");
        assert_eq!(file.text(), format!("[global]\np = {is}\n"));
        let read = file.entry(&Section::Global, "p").and_then(|e| e.value.clone()).expect("there");
        assert_eq!(spec.parse_value(&read), spec.parse_value(value));
    }
    // What says the same already stays as somebody has written it.
    let mut file = parse("[global]\np = 0x40 # mask\n");
    assert!(!file.set(&Section::Global, "p", "64", Some(&spec(ParamKind::U32))).expect("the same"));
}

#[test]
fn names_and_values_that_cannot_be_written_are_refused() {
    let mut file = parse(TEXT);
    for (section, name, value) in [
        (Section::port("a.b"), "x", "1"),
        (vol0(), "X", "1"),
        (vol0(), "undefine", "1"),
        (vol0(), "x", "a\0b"),
        (vol0(), "x", &"a".repeat(5000)),
    ] {
        let refused = file.set(&section, name, value, None).expect_err("cannot be").to_string();
        assert!(!refused.is_empty());
    }
    assert_eq!(file.text(), TEXT);
    let driver = DriverFile::load(Path::new("/nowhere"), "devices").expect_err("another file");
    assert!(driver.to_string().contains("driver name devices is not allowed"), "{driver}");
}

#[test]
fn it_is_saved_whole_and_never_over_anothers_change() {
    let folder = tempfile::tempdir().expect("folder");
    let mut file = DriverFile::load(folder.path(), "file").expect("empty");
    assert!(!file.save().expect("nothing to save"));
    file.set(&vol0(), "io_throttle", "8", None).expect("set");
    assert!(file.save().expect("saved") && !file.is_edited());
    let mut other = DriverFile::load(folder.path(), "file").expect("good");
    other.set(&vol0(), "io_throttle", "9", None).expect("set");
    other.save().expect("saved");
    file.set(&vol0(), "io_throttle", "10", None).expect("set");
    let refused = file.save().expect_err("another wrote it").to_string();
    assert!(refused.contains("file.toml was changed by somebody else since it was read"), "{refused}");
    let on_disk = fs::read_to_string(file.path()).expect("there");
    assert_eq!(on_disk, "[port.vol0]\nio_throttle = 9\n");
}

#[test]
fn what_is_taken_back_is_as_it_was_and_not_there_where_it_was_not() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("file.toml");
    for before in [None, Some(TEXT)] {
        if let Some(text) = before {
            fs::write(&path, text).expect("written");
        }
        let earlier = DriverFile::load(folder.path(), "file").expect("readable");
        let mut file = earlier.clone();
        file.set(&vol0(), "io_slots", "256", None).expect("set");
        assert!(file.save().expect("saved"));
        file.restore(&earlier).expect("taken back");
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), before);
        file.set(&vol0(), "io_slots", "512", None).expect("set");
        assert!(file.save().expect("it goes on from there"));
        fs::write(&path, "# somebody else's\n").expect("written");
        assert!(matches!(file.restore(&earlier), Err(SettingsError::Changed { .. })));
    }
}

#[test]
fn a_section_goes_whole_and_others_keep_their_comments() {
    let gone = |text: &str, wanted: &str, entries: usize| {
        let mut file = parse(text);
        assert_eq!(file.remove_section(&vol0()).expect("removed"), entries, "{text}");
        assert_eq!(file.text(), wanted, "{text}");
        assert!(file.entries(&vol0()).is_empty(), "{text}");
    };
    gone(
        TEXT,
        "# Ports of the file driver.\n[global]\nio_throttle = 64        # agreed with the array's owner\n",
        4,
    );
    gone(
        "# ours\n[port.vol0]\nio_slots = 256 # many\n\n# The other.\n[port.vol1] # here\nio_slots = 128\n",
        "# ours\n\n# The other.\n[port.vol1] # here\nio_slots = 128\n",
        1,
    );
    gone(
        "[port.vol1]\nio_slots = 128\n# still vol1's\n[port.vol0]\n# within\nio_slots = 256",
        "[port.vol1]\nio_slots = 128\n# still vol1's\n",
        1,
    );
    gone("[port.vol1]\n\n[port.vol0]\n\n[port.vol2]\n", "[port.vol1]\n\n[port.vol2]\n", 0);
    gone("[port]\nvol0.io_slots = 256\nvol1.io_slots = 128\n", "[port]\nvol1.io_slots = 128\n", 1);
    gone("[port]\nvol0 = { io_slots = 256 }\n", "[port]\nvol0 = {  }\n", 1);
    gone("[global]\n", "[global]\n", 0);
    let mut deep = parse("port = { vol0.io_slots = 256 }\n");
    assert!(deep.remove_section(&vol0()).is_err(), "it cannot be edited in that form");
    assert_eq!(deep.text(), "port = { vol0.io_slots = 256 }\n");
}
