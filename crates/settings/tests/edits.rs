//! Edits of a driver's file against a naive model: it says what was meant after each of them, and no
//! comment is ever lost.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use steadfast_settings::{DriverFile, Section};
use steadfast_shell::params::{ParamKind, ParamSpec};

const FILE: &str = "\
# what the night shift should know
[global]                 # every port of this driver
io_throttle = 64         # agreed with the array's owner

# the backup host
[port.vol0]
  io_throttle = 8        # it floods otherwise
undefine = [\"request_timeout\"]   # the default will do
log_mask = 0xff
";

fn file(text: &str) -> DriverFile {
    DriverFile::parse(Path::new("parameters/file.toml"), "file", text).expect("good")
}

/// What the file should say: by section, then name.
type Model = BTreeMap<(Section, String), Option<String>>;

#[derive(Clone, Debug)]
enum Edit {
    Set(String),
    Undefine,
    Unset,
}

fn edits() -> impl Strategy<Value = Vec<(Section, String, Edit, bool)>> {
    let section = prop_oneof![
        Just(Section::Global),
        Just(Section::port("vol0")),
        Just(Section::port("san0-a")),
        Just(Section::port("7"))
    ];
    let name = prop_oneof![Just("io_throttle"), Just("request_timeout"), Just("log_mask"), Just("a-b")];
    let value = prop_oneof![
        Just("0".to_owned()),
        Just("0x1F".to_owned()),
        Just("true".to_owned()),
        "[^\0]{0,12}".prop_filter("another way to write a number", |v| v.parse::<i128>().is_err())
    ];
    let edit = prop_oneof![3 => value.prop_map(Edit::Set), 2 => Just(Edit::Undefine), 2 => Just(Edit::Unset)];
    proptest::collection::vec((section, name.prop_map(str::to_owned), edit, any::<bool>()), 1..24)
}

fn starts() -> impl Strategy<Value = String> {
    let crlf = FILE.replace('\n', "\r\n");
    let list = "[port.vol0] # 1\nundefine = [ # 2\n\"a-b\" # 3\n,\n  'log_mask', # 4\n] # 5\n[global] # 6";
    let strings = "[global]\nlog_mask = '''\n # no comment\n''' # 1\n\"io_throttle\"=\"#\"# 2\n# 3";
    let inline = "# 1\nglobal = { io_throttle = 64, undefine = ['a-b'] } # 2\nport.7.log_mask = 3 # 3";
    prop_oneof![
        Just(inline.to_owned()),
        Just(String::new()),
        Just(FILE.to_owned()),
        Just(crlf),
        Just(list.to_owned()),
        Just(strings.to_owned())
    ]
}

/// Comments, as a reader of TOML that knows nothing of this one sees them.
fn comments(text: &str) -> Vec<String> {
    let (mut found, mut quote, mut rest) = (Vec::new(), None, text);
    while let Some(c) = rest.chars().next() {
        let mark = ["'''", "\"\"\"", "'", "\""].into_iter().find(|mark| rest.starts_with(mark));
        let mut step = c.len_utf8();
        match (quote, mark) {
            (None, Some(mark)) => (quote, step) = (Some(mark), mark.len()),
            (None, None) if c == '#' => {
                let line = rest.split('\n').next().unwrap_or(rest);
                found.push(line.trim_end().to_owned());
                step = line.len();
            }
            (Some(open), Some(_)) if rest.starts_with(open) => (quote, step) = (None, open.len()),
            (Some(open), _) if c == '\\' && open.starts_with('"') => {
                step += rest[1..].chars().next().map_or(0, char::len_utf8);
            }
            _ => {}
        }
        rest = &rest[step..];
    }
    found
}

proptest! {
    #[test]
    fn any_edits_come_to_what_they_say_and_every_comment_stays(text in starts(), edits in edits()) {
        let mut file = file(&text);
        let mut model = Model::new();
        let sections: Vec<Section> = file.sections().cloned().collect();
        for section in &sections {
            for entry in file.entries(section) {
                model.insert((section.clone(), entry.name.clone()), entry.value.clone());
            }
        }
        let mut before = comments(&text);
        before.sort();
        for (section, name, edit, number) in edits {
            let spec = number.then(|| ParamSpec::new(name.clone(), ParamKind::U64));
            let key = (section.clone(), name.clone());
            match edit {
                Edit::Set(value) => {
                    file.set(&section, &name, &value, spec.as_ref()).expect("editable");
                    model.insert(key, Some(value));
                }
                Edit::Undefine => {
                    file.undefine(&section, &name).expect("editable");
                    model.insert(key, None);
                }
                Edit::Unset => {
                    let there = file.unset(&section, &name).expect("editable");
                    prop_assert_eq!(there, model.remove(&key).is_some());
                }
            }
            let again = DriverFile::parse(file.path(), "file", file.text()).expect("it stays a good file");
            let mut found = Model::new();
            let sections: Vec<Section> = again.sections().cloned().collect();
            for section in sections {
                for entry in again.entries(&section) {
                    found.insert((section.clone(), entry.name.clone()), entry.value.clone());
                }
            }
            prop_assert_eq!(&found, &model);
            let mut after = comments(file.text());
            after.sort();
            prop_assert_eq!(&after, &before, "{}", file.text());
        }
    }
}
