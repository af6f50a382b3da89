use super::*;
use std::fs;
use steadfast_shell::params::{ParamKind, ShellDefaults, Value, table};
use steadfast_shell::properties::Definition;

/// The file driver has all of them.
fn specs(with_depth: bool) -> Vec<ParamSpec> {
    let delay = |name: &str, default: i64| {
        let mut spec = ParamSpec::new(name, ParamKind::I64);
        spec.default = Some(Value::I64(default));
        spec
    };
    let mut own = vec![delay("fast_fail_delay", 5), delay("failover_delay", 30)];
    own.extend(with_depth.then(|| ParamSpec::new("depth", ParamKind::U32)));
    own.extend(with_depth.then(|| ParamSpec::new("path", ParamKind::Path)));
    table(&own, ShellDefaults::default())
}

fn given(name: &str, value: &str, line: u32) -> Said {
    let source = Source::File { path: "steadfast.toml".to_owned(), line };
    (name.to_owned(), Some(Definition { value: value.to_owned(), source }))
}

fn known() -> Known {
    let port = |given| KnownPort { table: specs(true), given };
    let file = KnownDriver {
        table: specs(true),
        ports: BTreeMap::from([
            ("vol0".to_owned(), port(vec![given("io_slots", "256", 4)])),
            ("vol1".to_owned(), port(Vec::new())),
        ]),
        // One that is away keeps its number.
        numbers: Some([(0, "vol0"), (2, "away")].map(|(n, port)| (n, port.to_owned())).into()),
        away: BTreeSet::from(["away".to_owned()]),
    };
    let ram = KnownDriver {
        table: specs(false),
        ports: BTreeMap::from([("ram0".to_owned(), port(Vec::new()))]),
        numbers: None,
        ..KnownDriver::default()
    };
    Known::from([("file".to_owned(), file), ("ram".to_owned(), ram)])
}

fn found(name: &str, body: &str) -> Vec<String> {
    let findings = text(Path::new(name), body, Path::new("/nowhere"), &known());
    findings.iter().map(|f| format!("{} {:?}: {}", f.place, f.severity, f.message)).collect()
}

#[test]
fn names_that_nobody_has_are_faults_with_the_nearest() {
    assert_eq!(
        found("fil.toml", "[global]\nio_slots = 256\n"),
        ["fil.toml:1 Fault: there is no driver fil, so nobody reads this (did you mean file?)"]
    );
    let body = "[global]\nio_slot = 256\n[port.vol00]\nio_throttle = 1\n[port.ram0]\n[port.else]\n";
    assert_eq!(
        found("file.toml", body),
        [
            "file.toml:2 Fault: unknown parameter: io_slot (did you mean io_slots?)",
            "file.toml:3 Fault: driver file has no port vol00, so nobody reads this (did you mean vol0?)",
            "file.toml:5 Fault: port ram0 is one of driver ram, not of file: nobody reads this",
            "file.toml:6 Fault: driver file has no port else, so nobody reads this (there is: vol0, vol1)",
        ]
    );
    assert!(found("file.toml", "[global]\nx = = 1\n")[0].starts_with("file.toml:2 Fault: "));
}

#[test]
fn values_are_judged_alone_and_together() {
    let body = "[global]\nio_throttle = 9000\n";
    assert_eq!(
        found("file.toml", body),
        ["file.toml:2 Fault: out of range: io_throttle=9000 (allowed 0..=8192)"]
    );
    let body = "[global]\nio_throttle = 90\n[port.vol1]\nfast_fail_delay = 40\nundefine = [\"nothing\"]\n";
    let found = found("file.toml", body);
    assert!(
        found.iter().any(
            |f| f.starts_with("file.toml:4 Fault: port vol1: do not suit each other: fast_fail_delay=40")
        ),
        "{found:?}"
    );
    assert!(
        found.iter().any(|f| f.starts_with("file.toml:5 Fault: unknown parameter: nothing")),
        "{found:?}"
    );
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let body = "[global]\nio_slots = 512\nio_throttle = 8\nundefine = [\"log_mask\"]\n\
                [port.vol0]\nio_slots = 1024\nio_throttle = 9\nundefine = [\"depth\"]\n\
                [port.vol1]\nundefine = [\"io_slots\"]\nio_throttle = 0\n";
    assert_eq!(
        found("file.toml", body),
        [
            "file.toml:2 Warning: io_slots counts for no port: it is said again for vol0 at file.toml:6, vol1 at file.toml:10",
            "file.toml:3 Warning: io_throttle counts for no port: it is said again for vol0 at file.toml:7, vol1 at file.toml:11",
            "file.toml:4 Warning: log_mask is undefined without effect: below [global] are the driver's defaults alone",
            "file.toml:8 Warning: depth is undefined without effect: nothing else defines it for this port",
            "steadfast.toml:4 Warning: io_slots counts for no port: it is said again for vol0 at file.toml:6",
        ]
    );
    assert!(
        found("file.toml", "[global]\nio_throttle = 8\n[port.vol0]\nio_throttle = 9\n").is_empty(),
        "vol1 has it"
    );
}

#[test]
fn a_whole_folder_is_examined_by_file_and_line() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    fs::create_dir(folder.path().join("profiles")).expect("made");
    write("file.toml", "[global]\nio_slots = 5\n");
    write("rma.toml", "");
    write("devices.toml", "what the daemon reads");
    write(".file.toml.new", "not whole");
    write("instances.toml", "[file]\n0 = \"vol0\"\n[gone]\n0 = \"x\"\n");
    write("profiles/db.toml", "[params]\nio_slotz = 5\n");
    write("profiles/oltp.toml", "");
    write("profiles/more.toml", "extends = \"db\"\n");
    let (files, findings) = super::folder(folder.path(), &known());
    assert_eq!(files.len(), 6, "{files:?}");
    let lines: Vec<String> = findings
        .iter()
        .map(|f| {
            format!("{:?} {}: {}", f.severity, f.place, f.message)
                .replace(&format!("{}/", folder.path().display()), "")
        })
        .collect();
    let begins = |start: &str| assert!(lines.iter().any(|l| l.starts_with(start)), "{start}: {lines:#?}");
    begins("Fault file.toml:2: out of range: io_slots=5");
    begins("Fault rma.toml:1: there is no driver rma");
    begins("Warning instances.toml:1: there is no driver gone");
    begins("Fault profiles/db.toml:2: io_slotz is no parameter of any driver here");
    begins("Fault profiles/oltp.toml:1: ");
    assert_eq!(
        lines.iter().filter(|l| l.contains("io_slotz")).count(),
        1,
        "said once, where it is: {lines:#?}"
    );
}

#[test]
fn a_classic_file_is_examined_too() {
    let one = found("file.conf", "io-slots=5;\nlog-mask=1;\nlog-mask=2;\n");
    assert_eq!(one, ["file.conf:1 Fault: out of range: io_slots=5 (allowed 128..=10240)"]);
    assert_eq!(found("file.conf", "log-mask=1;\nlog-mask=2;\n").len(), 1, "given twice");
    assert_eq!(
        found("file.conf", "file0-log-mask=1;\nfile2-log-mask=1;\nfile1-log-mask=1;\n"),
        ["file.conf:3 Fault: file1-log-mask: no port of the driver has number 1 (0 is vol0, 2 is away)"]
    );
    assert_eq!(found("ram.conf", "ram7-log-mask=1;\n"), [""; 0], "numbers are not known");
}

#[test]
fn a_section_of_a_port_that_is_away_is_read_when_it_comes_back() {
    assert_eq!(
        found("file.toml", "[port.away]\nio_slots = 256\nio_throttle = 9000\n"),
        [
            "file.toml:1 Warning: port away is away: this is read when it comes back, with the daemon's next start",
            "file.toml:3 Fault: out of range: io_throttle=9000 (allowed 0..=8192)",
        ]
    );
}

#[test]
fn what_an_import_would_refuse_is_found_in_a_classic_file() {
    assert_eq!(
        found("file.conf", "file0-path=rel.img;\nfile0-path=/abs.img;\n"),
        ["file.conf:1 Fault: not absolute: file0-path=rel.img (allowed a path that begins with /)"]
    );
    // Values that are right by themselves, and do not suit what else is saved for a port.
    let pair = found("file.conf", "# of nobody\n\nfile0-fast-fail-delay=40;\n");
    assert_eq!(pair.len(), 2, "{pair:?}");
    assert!(pair[0].starts_with("file.conf:1 Warning: comments are not taken"), "{pair:?}");
    assert!(pair[1].starts_with("file.conf:3 Fault: port vol0: do not suit each other"), "{pair:?}");
    // A driver's file that cannot be read keeps every import away.
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("file.toml"), "[globl]\n").expect("written");
    let findings = text(Path::new("file.conf"), "log-mask=1;\n", folder.path(), &known());
    assert!(findings[0].place.to_string().ends_with("file.toml:1"), "{findings:?}");
}

#[test]
fn a_profiles_values_are_judged_by_the_drivers_that_have_the_parameter() {
    let mut known = known();
    let wide = known.get_mut("ram").expect("there");
    wide.table = vec![ParamSpec::new("io_slots", ParamKind::U32)];
    wide.ports.clear();
    let body = "[params]\nio_throttle = 99999\nio_slots = 20000\ndepth = \"x\"\nlog_mask = 1\n";
    let findings = text(Path::new("profiles/db.toml"), body, Path::new("/nowhere"), &known);
    let findings: Vec<String> =
        findings.iter().map(|f| format!("{} {:?}: {}", f.place, f.severity, f.message)).collect();
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert_eq!(
        findings[0],
        "profiles/db.toml:2 Fault: out of range: io_throttle=99999 (allowed 0..=8192): no driver that has the \
         parameter takes it"
    );
    assert_eq!(
        findings[1],
        "profiles/db.toml:3 Warning: out of range: io_slots=20000 (allowed 128..=10240) with driver file; others \
         take it"
    );
    assert!(findings[2].starts_with("profiles/db.toml:4 Fault: ") && findings[2].contains("depth=x"));
}
