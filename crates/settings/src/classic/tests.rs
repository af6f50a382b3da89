use super::*;
use crate::{DriverFile, Section};
use proptest::prelude::*;
use steadfast_shell::params::{ShellDefaults, table as whole_table};

/// The shape of emlxs.conf: names with `-`, blocks of comments, hexadecimal masks, lists over lines.
const CONF: &str = "\
#
# Solaris LightPulse driver: global initialized data.
#

# log-mask: which messages.
# Range:  Min:0  Max:0xffffffff
log-mask=0xffff;


#
# io-slots:  request slots.
#

io-slots = 2048;   request-timeout=0;
emlxs0-io-throttle=8;   # it floods otherwise
emlxs1-io-throttle=16;
zone=\"iqn.a*\",
     \"iqn.b*\";
#io_slots=1;
";

fn table() -> Vec<ParamSpec> {
    let own = [ParamSpec::new("zone", ParamKind::Str), ParamSpec::new("deep-scan", ParamKind::Bool)];
    whole_table(&own, ShellDefaults::default())
}

fn read(text: &str) -> Result<Classic, Vec<String>> {
    parse(Path::new("emlxs.conf"), text, "emlxs", &table())
        .map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
}

fn ports() -> BTreeMap<u32, String> {
    BTreeMap::from([(0, "san0-a".to_owned()), (1, "san0-b".to_owned())])
}

fn empty() -> DriverFile {
    DriverFile::parse(Path::new("parameters/emlxs.toml"), "emlxs", "").expect("empty")
}

#[test]
fn a_file_of_its_kind_is_read_as_its_driver_would() {
    let classic = read(CONF).expect("good");
    let global: Vec<(&str, &str, u32)> =
        classic.global.iter().map(|(n, e)| (n.as_str(), e.value.as_str(), e.line)).collect();
    assert_eq!(
        global,
        [
            ("io_slots", "2048", 14),
            ("log_mask", "0xffff", 7),
            ("request_timeout", "0", 14),
            ("zone", "iqn.a*,iqn.b*", 17)
        ]
    );
    assert_eq!(classic.instances[&0]["io_throttle"].value, "8");
    assert_eq!(classic.instances[&1]["io_throttle"].line, 16);
    let about = |entry: &ClassicEntry| {
        entry.comments.iter().map(|comment| comment.text.as_str()).collect::<Vec<_>>().join("|")
    };
    assert_eq!(about(&classic.global["log_mask"]), "log-mask: which messages.|Range:  Min:0  Max:0xffffffff");
    assert_eq!(about(&classic.global["io_slots"]), "", "a blank line is between");
    assert_eq!(about(&classic.instances[&0]["io_throttle"]), "it floods otherwise");
    assert!(classic.warnings.is_empty());
}

// Complaints 2 and 10.
#[test]
fn every_fault_is_reported_with_its_line_and_what_is_allowed() {
    let text = "io_slot=5;\nio-slots=20000;\nio_throttle 64;\nio_throttle=;\n\
                request_timeout=010;\nzone=\"open;\nzone=\"a\\q\";\nemlxs01-io_slots=256;\n=5;\nlog_mask=1";
    assert_eq!(
        read(text).expect_err("all wrong"),
        [
            "emlxs.conf:1: unknown parameter: io_slot (did you mean io_slots?)",
            "emlxs.conf:2: out of range: io_slots=20000 (allowed 128..=10240)",
            "emlxs.conf:3: expected `=` behind the name, found 64",
            "emlxs.conf:4: expected a value, found \";\"",
            "emlxs.conf:5: request_timeout=010 is octal in this form (allowed the number without the 0 in front)",
            "emlxs.conf:6: expected a closing quote on the same line, found \"\\\"open;\"",
            "emlxs.conf:7: expected \\\", \\\\, \\n, \\r or \\t behind a backslash, found \"\\\\q\"",
            "emlxs.conf:8: unknown parameter: emlxs01-io_slots (`steadfast param list` shows those that there are)",
            "emlxs.conf:9: expected a name, found =5",
            "emlxs.conf:10: expected `;` behind the value, found the end of the file",
        ]
    );
}

#[test]
fn a_byte_order_mark_is_passed_over_and_moves_no_line() {
    let classic = read("\u{feff}# night\nio_slots=256;\n").expect("good");
    assert_eq!((classic.global["io_slots"].value.as_str(), classic.global["io_slots"].line), ("256", 2));
    assert_eq!(read("\u{feff}io_slots=256;\n").expect("good").global["io_slots"].line, 1);
    let wrong = read("\u{feff}io_slots=256;\nio_slot=1;\n").expect_err("unknown");
    assert!(wrong[0].starts_with("emlxs.conf:2: unknown parameter: io_slot"), "{wrong:?}");
}

#[test]
fn an_entry_without_its_end_is_said_where_it_goes_on_in_another_line() {
    let classic = read("io_slots=256\nlog_mask=1;\n").expect("it can be read");
    let warnings: Vec<String> = classic.warnings.iter().map(ToString::to_string).collect();
    let expected = "emlxs.conf:1: io_slots: there is no `;` behind the value; what line 2 says is taken as a part of the \
                    same entry";
    assert_eq!(warnings, [expected]);
    assert!(
        read("io_slots=256 log_mask=1;\n").expect("good").warnings.is_empty(),
        "two on one line are meant"
    );
}

#[test]
fn the_last_definition_counts_and_the_others_are_said() {
    let classic = read("io_slots=256;\nio-slots=512;\nemlxs0-io_slots=1024;\n").expect("good");
    assert_eq!(classic.global["io_slots"].value, "512");
    let warnings: Vec<String> = classic.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["emlxs.conf:2: io-slots was given before, at line 1: this value counts"]);
}

#[test]
fn an_import_keeps_comments_and_what_the_file_has_beside() {
    let mut file = DriverFile::parse(
        Path::new("parameters/emlxs.toml"),
        "emlxs",
        "# ours\n[global]\nio_slots = 1024 # agreed\ndrain_timeout = 5\n",
    )
    .expect("good");
    let classic = read(CONF).expect("good");
    let imported = import(&classic, &mut file, &ports(), &table()).expect("imported");
    assert_eq!(imported.entries, 6);
    let untaken: Vec<String> = imported.untaken.iter().map(ToString::to_string).collect();
    assert_eq!(untaken, ["emlxs.conf:2: comments are not taken, they stand at no entry: lines 2, 11, 19"]);
    assert_eq!(
        file.text(),
        "\
# ours
[global]
io_slots = 2048 # agreed
drain_timeout = 5
# log-mask: which messages.
# Range:  Min:0  Max:0xffffffff
log_mask = \"0xffff\"
request_timeout = 0
zone = \"iqn.a*,iqn.b*\"

[port.san0-a]
# it floods otherwise
io_throttle = 8

[port.san0-b]
io_throttle = 16
"
    );
    assert_eq!(import(&classic, &mut file, &ports(), &table()).expect("again").entries, 0);
}

#[test]
fn comments_that_are_not_taken_are_said_with_their_lines() {
    let file = "[global]\nio_slots = 1024 # agreed\n[port]\nsan0-a = { log_mask = 1 }\n";
    let mut file = DriverFile::parse(Path::new("emlxs.toml"), "emlxs", file).expect("good");
    let text =
        "# why more\nio-slots=2048; # agreed\n# a new one\nlog-mask=1;\nemlxs0-io-throttle=8; # inline\n";
    let imported = import(&read(text).expect("good"), &mut file, &ports(), &table()).expect("imported");
    let untaken: Vec<String> = imported.untaken.iter().map(ToString::to_string).collect();
    assert_eq!(
        untaken,
        ["emlxs.conf:1: comments are not taken, their entries are in the file already, and keep what is \
          written there: lines 1, 5"]
    );
    assert!(file.text().contains("# a new one"), "{}", file.text());
    let again = import(&read("# a new one\nlog-mask=2;\n").expect("good"), &mut file, &ports(), &table());
    assert!(again.expect("imported").untaken.is_empty(), "it is there");
}

#[test]
fn what_an_import_would_refuse_is_found_at_once() {
    let mut table = table();
    table.push(ParamSpec::new("path", ParamKind::Path));
    let text =
        "io_throttle 64;\nemlxs7-io-slots=20000;\nemlxs1-path=rel.img;\nemlxs8-path=other;\nio_slot=1;\n";
    let faults =
        examine(Path::new("emlxs.conf"), text, "emlxs", &table, Some(&ports())).expect_err("all wrong");
    let mut lines: Vec<(u32, &str)> = Vec::new();
    let texts: Vec<String> = faults.0.iter().map(|fault| fault.kind.to_string()).collect();
    for (fault, text) in faults.0.iter().zip(&texts) {
        lines.push((fault.line, text.split([':', '=']).next().unwrap_or_default()));
    }
    assert_eq!(
        lines,
        [
            (1, "expected `"),
            (2, "out of range"),
            (2, "emlxs7-io-slots"),
            (3, "not absolute"),
            (4, "not absolute"),
            (4, "emlxs8-path"),
            (5, "unknown parameter"),
        ]
    );
}

#[test]
fn numbers_that_no_port_has_are_refused_and_nothing_changes() {
    let mut file = empty();
    let classic = read("io_slots=256;\nemlxs2-io_slots=256;\nemlxs7-log-mask=0;\n").expect("good");
    let refused = import(&classic, &mut file, &ports(), &table()).expect_err("two of them").to_string();
    assert_eq!(
        refused,
        "emlxs.conf:2: emlxs2-io_slots: no port of the driver has number 2 (0 is san0-a, 1 is san0-b)\n\
         emlxs.conf:3: emlxs7-log-mask: no port of the driver has number 7 (0 is san0-a, 1 is san0-b)"
    );
    assert_eq!(file.text(), "");
}

#[test]
fn what_the_form_has_no_words_for_is_exported_as_a_comment() {
    let text = "[global]\nio_throttle = 64\n[port.san0-b]\nundefine = [\"io_throttle\"]\n[port.gone]\nlog_mask = 1\n";
    let file = DriverFile::parse(Path::new("emlxs.toml"), "emlxs", text).expect("good");
    let (text, left) = export(&file, &ports(), &table());
    assert_eq!(
        text,
        "\
# Driver emlxs: every port.
io-throttle=64;

# Port gone has no number, and so is not here.

# Port san0-b.
# emlxs1-io-throttle is undefined: the driver's default.
"
    );
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    assert_eq!(
        left,
        [
            "emlxs.toml:4: `undefine` of io_throttle in [port.san0-b] has no classic form: it is not exported, \
             and is there as a comment",
            "emlxs.toml:5: [port.gone], a port without a number, has no classic form: it is not exported, and \
             is there as a comment",
        ]
    );
}

proptest! {
    #[test]
    fn what_is_exported_is_imported_as_it_was(
        values in proptest::collection::vec((0..3_usize, 0..5_usize, "[^\0]{0,16}", 128..10_240_u64), 0..16)
    ) {
        let table = table();
        let mut file = empty();
        for (place, param, text, number) in values {
            let section = [Section::Global, Section::port("san0-a"), Section::port("san0-b")][place].clone();
            let (name, value) = [
                ("zone", text),
                ("deep-scan", "yes".to_owned()),
                ("io_slots", number.to_string()),
                ("log_mask", format!("{number:#x}")),
                ("max_transfer", "0131072".to_owned()),
            ][param].clone();
            let spec = find(&table, name);
            file.set(&section, name, &value, spec).expect("set");
        }
        let (text, _) = export(&file, &ports(), &table);
        let classic = parse(Path::new("emlxs.conf"), &text, "emlxs", &table).expect("it reads its own");
        let mut again = empty();
        import(&classic, &mut again, &ports(), &table).expect("imported");
        let back = import(&classic, &mut file, &ports(), &table).expect("imported");
        prop_assert_eq!(back, Imported::default(), "{}", text);
        for section in [Section::Global, Section::port("san0-a"), Section::port("san0-b")] {
            let all = |file: &DriverFile| -> BTreeMap<String, Option<String>> {
                file.entries(&section).iter().map(|e| (e.name.clone(), e.value.clone())).collect()
            };
            prop_assert_eq!(all(&again), all(&file), "{}", text);
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "([a-z0-9_=;,#\"\\\\ \n-]|\\PC){0,200}") {
        let _ = read(&text);
    }
}
