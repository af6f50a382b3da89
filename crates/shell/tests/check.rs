//! The check before an update: what is allowed, what is refused, and why.

use std::collections::BTreeMap;
use std::path::Path;

use steadfast_abi::block_feature::{FLUSH, FUA, TRIM};
use steadfast_shell::check::{
    CheckInput, CheckRow, Contents, ContentsSide, DeviceSide, Hardware, Libraries, Limits, PendingSide,
    Policy, PortSide, Side, Signed, check, choose_mode, common_state_schema, passed, refusals,
};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::ShellDefaults;
use steadfast_shell::receipt::Mode;

fn manifest(name: &str, version: &str, more: &[&str]) -> Manifest {
    let mut text = format!("manifest=1\0name={name}\0version={version}\0class=block\0abi=1.0\0");
    more.iter().for_each(|entry| text.extend([entry, "\0"]));
    Manifest::parse(text.as_bytes()).unwrap()
}

/// Everything that is compared, so that a test changes one thing.
struct Case {
    running: Manifest,
    candidate: Manifest,
    same_file: bool,
    first: bool,
    offered: u64,
    limits: Limits,
    properties: BTreeMap<String, String>,
    hardware: Option<(&'static str, u32)>,
    policy: Policy,
    swaps: u64,
    devices: Vec<DeviceSide>,
    hands_back: bool,
    wanted: Option<Mode>,
    signature: Option<Signed>,
    libraries: Option<Libraries>,
    contents: Option<ContentsSide<'static>>,
}

impl Case {
    fn new(running: Manifest, candidate: Manifest) -> Case {
        Case {
            running,
            candidate,
            same_file: false,
            first: false,
            offered: 0,
            limits: Limits::NONE,
            properties: BTreeMap::new(),
            hardware: None,
            policy: Policy::default(),
            swaps: 0,
            devices: Vec::new(),
            hands_back: false,
            wanted: None,
            signature: None,
            libraries: None,
            contents: None,
        }
    }

    /// The same driver, 1.0.0 to 1.1.0, the candidate with more entries.
    fn candidate(more: &[&str]) -> Case {
        Case::new(manifest("file", "1.0.0", &[]), manifest("file", "1.1.0", more))
    }

    fn versions(running: &str, candidate: &str, more: &[&str]) -> Case {
        Case::new(manifest("file", running, &[]), manifest("file", candidate, more))
    }

    fn rows(&self) -> Vec<CheckRow> {
        let running = Side { manifest: &self.running, hash: "aa" };
        let hash = if self.same_file { "aa" } else { "bb" };
        check(&CheckInput {
            running: (!self.first).then_some(running),
            candidate: Side { manifest: &self.candidate, hash },
            offered_features: self.offered,
            limits: self.limits,
            properties: &self.properties,
            shell: ShellDefaults::default(),
            hardware: self.hardware.map(|(hwid, revision)| Hardware { hwid, revision }),
            port: PortSide {
                swaps: self.swaps,
                devices: &self.devices,
                contents: self.contents,
                pending: Some(PendingSide { hands_back: self.hands_back, wanted: self.wanted }),
            },
            signature: self.signature.as_ref().map(|signed| (signed, Path::new("/m.so"))),
            libraries: self.libraries.as_ref(),
            policy: self.policy,
        })
    }

    /// Only this row refuses, and says so.
    #[track_caller]
    fn refused(&self, name: &str, words: &str) {
        let rows = self.rows();
        let failed: Vec<&str> = rows.iter().filter(|row| !row.ok).map(|row| row.name.as_str()).collect();
        assert_eq!(failed, [name], "{rows:#?}");
        assert!(!passed(&rows) && refusals(&rows).contains(words), "{} / {words}", refusals(&rows));
    }

    #[track_caller]
    fn allowed(&self, name: &str, words: &str) {
        let rows = self.rows();
        assert!(passed(&rows), "{}", refusals(&rows));
        let row = rows.iter().find(|row| row.name == name).expect(name);
        assert!(row.detail.contains(words), "{} / {words}", row.detail);
    }
}

#[test]
fn every_row_is_reported() {
    let mut case = Case::candidate(&[]);
    case.signature = Some(Signed::default());
    case.libraries = Some(Libraries::default());
    case.contents = Some(contents(Contents::Same, 0));
    let names: Vec<String> = case.rows().into_iter().map(|row| row.name).collect();
    let all = [
        "abi",
        "hardware",
        "signature",
        "libraries",
        "class",
        "driver",
        "state",
        "version",
        "min_from",
        "once",
        "size",
        "contents",
        "pending",
        "features",
        "pdu",
        "memory.port",
        "memory.queue",
        "parameters",
    ];
    assert_eq!(names, all);
}

#[test]
fn every_reason_is_listed() {
    let mut case = Case::versions("2.0.0", "1.0.0", &["memory.port=10:10", "pdu=x/1:65"]);
    case.offered = TRIM;
    case.limits = Limits { pdu_bytes: 64, port_bytes: 9, queue_bytes: 0, ..Limits::NONE };
    let reasons = refusals(&case.rows());
    for words in ["version: ", "features: ", "pdu: ", "memory.port: "] {
        assert!(reasons.contains(words), "{reasons}");
    }
}

#[test]
fn the_first_attach_has_nobody_to_be_compared_with() {
    let mut case = Case::versions("2.0.0", "1.0.0", &["min_from=1.0.0"]);
    case.first = true;
    assert!(passed(&case.rows()));
}

#[test]
fn another_abi_is_refused_and_a_newer_minor_one_is_not() {
    let with_abi = |abi| {
        let mut case = Case::candidate(&[]);
        case.candidate.abi = abi;
        case
    };
    with_abi((2, 0)).refused("abi", "file 1.1.0 was built against ABI 2.0, the shell has 1.");
    with_abi((1, 99)).allowed("abi", "1.99");
}

#[test]
fn hardware_that_it_does_not_serve_is_refused() {
    let mut case = Case::candidate(&["hwid=file:regular@2-3"]);
    case.hardware = Some(("file:regular", 3));
    case.allowed("hardware", "file:regular@2-3");
    case.hardware = Some(("file:regular", 4));
    case.refused("hardware", "serves file:regular@2-3, the port has file:regular revision 4");
    case.candidate.hwids.clear();
    case.allowed("hardware", "any hardware");
}

#[test]
fn state_must_be_readable() {
    let sides = |written: &[&str], read: &[&str]| {
        Case::new(manifest("file", "1.0.0", written), manifest("file", "1.1.0", read))
    };
    sides(&[], &[]).allowed("state", "none to hand on");
    sides(&[], &["state.read=a/1"]).allowed("state", "none to hand on");
    sides(&["state.write=a/1"], &["state.read=a/2", "state.read=a/1"]).allowed("state", "a/1 is handed on");
    sides(&["state.write=a/1"], &["state.read=a/2"]).refused(
        "state",
        "state schema a/1 written by the running file 1.0.0; file 1.1.0 reads a/2: none in common",
    );
    sides(&["state.write=a/1"], &[]).refused("state", "reads nothing");
}

#[test]
fn the_candidates_order_decides_the_schema() {
    let old = manifest("a", "1.0.0", &["state.write=s/1", "state.write=s/2"]);
    let new = manifest("a", "1.0.0", &["state.read=s/3", "state.read=s/2", "state.read=s/1"]);
    assert_eq!(common_state_schema(&old, &new).unwrap().to_string(), "s/2");
    assert_eq!(common_state_schema(&new, &old), None);
}

#[test]
fn another_driver_must_know_the_state() {
    let mut case = Case::new(manifest("ram", "1.0.0", &[]), manifest("null", "1.0.0", &[]));
    case.refused(
        "driver",
        "null 1.0.0 replaces ram 1.0.0: another driver, and no state schema that both know",
    );
    case.policy.allow_other = true;
    case.allowed("driver", "policy allows");
    let reads = ["state.read=ram/1"];
    Case::new(manifest("ram", "1.0.0", &["state.write=ram/1"]), manifest("ram2", "0.1.0", &reads))
        .allowed("driver", "reads its state ram/1");
}

#[test]
fn older_is_refused_unless_allowed() {
    let mut case = Case::versions("1.1.0", "1.0.9", &[]);
    case.refused("version", "1.0.9 is older than the running 1.1.0");
    case.policy.allow_older = true;
    case.allowed("version", "which was allowed");
    Case::versions("1.1.0", "1.1.0-rc.1", &[]).refused("version", "older");
    Case::versions("1.1.0+a", "1.1.0+b", &[]).allowed("version", "1.1.0+b as the running 1.1.0+a");
    let mut same = Case::versions("1.1.0", "1.1.0", &[]);
    same.same_file = true;
    same.allowed("driver", "the same module again");
}

#[test]
fn no_increment_is_skipped() {
    Case::versions("1.0.0", "3.0.0", &["min_from=2.0.0"])
        .refused("min_from", "3.0.0 updates from 2.0.0 on, 1.0.0 is running");
    Case::versions("2.0.0", "3.0.0", &["min_from=2.0.0"]).allowed("min_from", "updates from 2.0.0 on");
    let mut case = Case::versions("1.0.0", "3.0.0", &[]);
    case.allowed("min_from", "from any version");
    case.policy.require_min_from = true;
    case.refused("min_from", "policy requires");
}

#[test]
fn a_skip_can_be_allowed_where_the_state_can_be_handed_on() {
    let skip = |written: &str| {
        let candidate = manifest("file", "3.0.0", &["min_from=2.0.0", "state.read=file/1"]);
        let mut case = Case::new(manifest("file", "1.0.0", &[written]), candidate);
        case.policy.allow_skip = true;
        case
    };
    skip("state.write=file/1").allowed("min_from", "1.0.0 is running; the skip was allowed");
    skip("state.write=file/0").refused("state", "none in common");
}

#[test]
fn a_driver_is_replaced_once_per_start_where_policy_says_so() {
    let mut case = Case::candidate(&[]);
    case.swaps = 1;
    case.allowed("once", "replaced once already since the daemon started; policy allows any number");
    case.policy.once_per_start = true;
    case.refused("once", "replaced once already since the daemon started; policy allows one per start");
    case.policy.allow_again = true;
    case.allowed("once", "another was allowed");
    (case.policy.allow_again, case.swaps) = (false, 0);
    case.allowed("once", "not replaced yet since the daemon started");
}

#[test]
fn hardware_that_is_not_known_yet_is_said_to_be_so() {
    Case::candidate(&["hwid=file:*"])
        .allowed("hardware", "serves file:*, what the port has is not known yet");
}

#[test]
fn a_device_that_would_become_smaller_is_refused_before_anything_is_loaded() {
    let device = |clients, shrinks_to| DeviceSide {
        name: "vol0".to_owned(),
        size: 1 << 20,
        block_size: 512,
        clients,
        shrinks_to,
    };
    let with = |device| {
        let mut case = Case::candidate(&[]);
        case.devices.push(device);
        case
    };
    with(device(2, Some(4096))).refused("size", "becomes smaller: 4096 bytes in the place of 1048576");
    with(device(0, Some(4096))).refused("size", "takes --force");
    let forced = |clients| {
        let mut case = with(device(clients, Some(4096)));
        case.policy.allow_smaller = true;
        case
    };
    forced(0).allowed("size", "it was allowed");
    forced(2).refused("size", "not while clients use it");
    with(device(2, None)).allowed("size", "vol0 has 1M in blocks of 512, used by 2 clients");
    with(device(2, None)).allowed("size", "file 1.1.0 announces");
}

#[test]
fn the_mode_is_told_and_why_it_is_no_better_one() {
    let (one, two) = (["pdu=file/1:8"], ["pdu=file/2:8"]);
    let case = |new: &[&str]| Case::new(manifest("file", "1.0.0", &one), manifest("file", "1.1.0", new));
    case(&one).allowed("pending", "adopt: operations in flight go on under the new driver");
    let mut other = case(&two);
    let why = "not adopt: file 1.0.0 has requests of PDU schema file/1, file 1.1.0 takes file/2";
    other.allowed("pending", why);
    other.allowed("pending", "not split: file 1.0.0 cannot hand requests back");
    other.wanted = Some(Mode::Adopt);
    other.refused("pending", "adopt is not possible");
    other.wanted = Some(Mode::Split);
    other.refused("pending", "split is not possible: file 1.0.0 cannot hand requests back");
    other.hands_back = true;
    other.allowed("pending", why);
    other.allowed("pending", "split: the old driver finishes what it has begun");
    let mut drained = case(&one);
    drained.wanted = Some(Mode::Drain);
    drained.allowed("pending", "adopt would be possible");
}

#[test]
fn what_clients_rely_on_is_kept() {
    let mut case = Case::candidate(&["feature=flush", "feature=trim"]);
    case.offered = FLUSH;
    case.allowed("features", "clients rely on flush, file 1.1.0 has flush, trim");
    case.offered = FLUSH | FUA;
    case.refused("features", "it lacks fua");
    case.offered = FLUSH | 1 << 63;
    case.refused("features", "it lacks bit 63");
}

#[test]
fn memory_must_fit_and_may_be_less_than_wanted() {
    let mut case = Case::candidate(&["memory.port=4096:8192", "memory.queue=0:100", "pdu=p/1:64"]);
    case.limits = Limits { pdu_bytes: 64, port_bytes: 8192, queue_bytes: 100, ..Limits::NONE };
    case.allowed("memory.port", "needs 4K, wants 8K, the shell has 8K");
    case.limits.port_bytes = 8191;
    case.allowed("memory.port", "reduced features");
    case.limits.port_bytes = 4095;
    case.refused("memory.port", "needs 4K, wants 8K, the shell has 4095");
    case.limits = Limits { pdu_bytes: 63, ..Limits::NONE };
    case.refused("pdu", "needs 64 bytes per request, the shell has 63");
}

#[test]
fn live_properties_must_be_valid_for_the_candidate() {
    let mut case = Case::candidate(&["param.depth=u32", "param.depth.range=1..=8"]);
    case.properties.insert("depth".into(), "8".into());
    case.allowed("parameters", "takes all 1 properties");
    case.properties.insert("depth".into(), "9".into());
    case.refused("parameters", "out of range: depth=9 (allowed 1..=8)");
    case.properties = BTreeMap::from([("dept".to_owned(), "1".to_owned())]);
    case.refused("parameters", "did you mean depth?");
}

#[test]
fn requests_are_adopted_where_their_private_bytes_are_known() {
    let with = |more: &[&str]| manifest("file", "1.0.0", more);
    let mode = |old: &Manifest, new: &Manifest, wanted| choose_mode(old, false, new, wanted);
    let (one, two) = (with(&["pdu=p/1:8"]), with(&["pdu=p/2:8"]));
    let adopts = with(&["pdu=p/2:16", "pdu.adopt=p/1"]);
    assert_eq!(mode(&one, &one, None), Ok(Mode::Adopt));
    assert_eq!(mode(&one, &adopts, None), Ok(Mode::Adopt));
    assert_eq!(mode(&one, &two, None), Ok(Mode::Drain));
    assert_eq!(mode(&one, &one, Some(Mode::Drain)), Ok(Mode::Drain));
    assert_eq!(mode(&one, &adopts, Some(Mode::Adopt)), Ok(Mode::Adopt));
    assert_eq!(
        mode(&adopts, &one, Some(Mode::Adopt)).unwrap_err(),
        "adopt is not possible: file 1.0.0 has requests of PDU schema p/2, file 1.0.0 takes p/1"
    );
    let (silent, idle) = (with(&[]), with(&["ops=0"]));
    assert_eq!(mode(&silent, &silent, None), Ok(Mode::Drain), "its requests mean nothing to another");
    assert!(mode(&silent, &silent, Some(Mode::Adopt)).unwrap_err().contains("names no PDU schema"));
    assert_eq!(mode(&idle, &one, Some(Mode::Adopt)), Ok(Mode::Adopt), "it has nothing in flight");
}

fn contents(known: Contents, clients: u32) -> ContentsSide<'static> {
    ContentsSide {
        known,
        what: "ram 1.0.0 with a file",
        clients,
        used: "port vol0 is in use by 3 clients",
        forced: false,
    }
}

#[test]
fn other_contents_are_put_under_clients_by_force_only() {
    let mut case = Case::candidate(&[]);
    for known in [Contents::Same, Contents::Later] {
        case.contents = Some(contents(known, 3));
        case.allowed("contents", "ram 1.0.0 with a file");
    }
    for (known, words) in [
        (Contents::Other, "other contents"),
        (Contents::Unknown, "not known to be the same, so other contents"),
    ] {
        case.contents = Some(contents(known, 3));
        case.refused("contents", &format!("{words}; port vol0 is in use by 3 clients"));
        case.contents = Some(ContentsSide { forced: true, ..contents(known, 3) });
        case.allowed("contents", "which was forced");
        case.contents = Some(contents(known, 0));
        case.allowed("contents", "nobody has it open");
    }
}
