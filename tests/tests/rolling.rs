//! Updates of several ports, one after the other: all of them, or all as they were.

use serde_json::{Value, json};
use steadfast_tests::nbd::Client;
use steadfast_tests::params::{cli, ends, param};
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, test_module};

const PORTS: [&str; 4] = ["p-a", "p-b", "p-c", "p-d"];

/// A daemon with an adapter of four ports under the tests' own driver.
fn daemon(dir: &TempDir) -> Result<Daemon> {
    let daemon = Setup::device("keep=null:1M").start(dir)?;
    let driver = test_module("sound")?;
    let ports: Vec<String> = ["a", "b", "c", "d"].map(|p| format!("{p}:8M,delay_us=0")).to_vec();
    let body = json!({ "name": "p", "driver": driver, "ports": ports, "temporary": true });
    let (status, report) = daemon.api()?.post("/v1/adapters", &body)?;
    assert_eq!(status, 200, "{report:#}");
    Ok(daemon)
}

fn ports(daemon: &Daemon) -> Result<Vec<Value>> {
    PORTS.iter().map(|name| Ok(daemon.api()?.get(&format!("/v1/ports/{name}"))?.1)).collect()
}

fn hashes(daemon: &Daemon) -> Result<Vec<Value>> {
    Ok(ports(daemon)?.into_iter().map(|port| port["driver"]["hash"].clone()).collect())
}

/// `steadfast update ... -o json`: exit code and report.
fn update(daemon: &Daemon, args: &[&str]) -> Result<(i32, Value)> {
    let output = daemon.cli(&[&["update"], args, &["-o", "json"]].concat())?;
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&output.stderr).into_owned()));
    Ok((output.status.code().unwrap_or(-1), report))
}

fn fates(report: &Value) -> Vec<&str> {
    report["ports"].as_array().into_iter().flatten().filter_map(|port| port["fate"].as_str()).collect()
}

/// A module that fails on a port whose device has a client: it announces less than that knows.
fn failing() -> Result<String> {
    Ok(test_module("shrinks")?.display().to_string())
}

#[test]
fn the_third_port_fails_and_every_port_runs_what_it_ran_before() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "p-c")?;
    let before = hashes(&daemon)?;
    let (code, report) = update(&daemon, &["--adapter", "p", &failing()?, "--rolling", "--force"])?;
    assert_eq!((code, &report["outcome"]), (4, &json!("rolled_back")), "{report:#}");
    assert_eq!(fates(&report), ["taken_back", "taken_back", "failed", "untouched"], "{report:#}");
    assert!(report["reason"].as_str().is_some_and(|why| why.starts_with("p-c: ")), "{report:#}");
    assert_eq!(hashes(&daemon)?, before);
    let generations: Vec<Value> = ports(&daemon)?.into_iter().map(|p| p["generation"].clone()).collect();
    assert_eq!(
        generations,
        [json!(3), json!(3), json!(1), json!(1)],
        "there and back; the others never moved"
    );
    // The last one updated goes back first, and every receipt says what it belongs to.
    let name = report["name"].as_str().expect("a name");
    let (_, all) = daemon.api()?.get("/v1/receipts")?;
    let joined: Vec<(&str, &str)> = all
        .as_array()
        .into_iter()
        .flatten()
        .filter(|receipt| receipt["source"].as_str().is_some_and(|source| source.contains(name)))
        .filter_map(|receipt| Some((receipt["port"].as_str()?, receipt["by"]["cause"].as_str()?)))
        .collect();
    let expected =
        [("p-a", "operator"), ("p-b", "operator"), ("p-c", "operator"), ("p-b", "revert"), ("p-a", "revert")];
    assert_eq!(joined, expected, "{all:#}");
    assert_eq!(client.read(0, 4096)?, Ok(vec![0; 4096]));
    daemon.check_serves("p-a")
}

#[test]
fn all_of_them_are_updated_in_order_each_after_its_probation() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let sound = test_module("other_pdu")?.display().to_string();
    let (code, report) = update(&daemon, &["p-d,p-b", &sound, "--rolling", "--probation", "1s"])?;
    // As for one port: they serve, and too little was seen to judge them by.
    assert_eq!((code, fates(&report)), (7, vec!["updated", "updated"]), "{report:#}");
    for port in report["ports"].as_array().into_iter().flatten() {
        assert_eq!(port["receipt"]["probation"]["outcome"], "unjudged", "{port:#}");
    }
    let ends = |at: usize| report["ports"][at]["receipt"]["id"].as_u64();
    assert!(
        report["ports"][0]["port"] == "p-d" && ends(0) < ends(1),
        "in the order that was given: {report:#}"
    );
    let (code, report) = update(&daemon, &["--all-of", "test", &sound, "--rolling"])?;
    assert_eq!((code, fates(&report).len()), (0, 4), "{report:#}");
    let now = hashes(&daemon)?;
    assert!(now.iter().all(|hash| *hash == now[0]), "{now:?}");
    Ok(())
}

#[test]
fn a_refusal_for_one_leaves_all_untouched() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let before = ports(&daemon)?;
    // A client of the third port relies on what the module cannot do: that is known beforehand.
    let client = Client::connect(daemon.nbd(), "p-c")?;
    let lacks = test_module("fewer_features")?.display().to_string();
    let (code, report) = update(&daemon, &["--adapter", "p", &lacks, "--rolling"])?;
    assert_eq!((code, &report["outcome"]), (1, &json!("refused")), "{report:#}");
    assert_eq!(fates(&report), ["untouched"; 4], "{report:#}");
    let why = report["reason"].as_str().unwrap_or_default();
    assert!(why.contains("p-c") && why.contains("no port was touched"), "{why}");
    drop(client);
    // Another driver altogether is refused at the first.
    let null = module("null")?.display().to_string();
    let (code, report) = update(&daemon, &["p-a,keep", &null, "--rolling"])?;
    assert_eq!((code, &report["outcome"]), (1, &json!("refused")), "{report:#}");
    for (before, now) in before.iter().zip(ports(&daemon)?) {
        assert_eq!(before["generation"], now["generation"], "{now:#}");
    }
    Ok(())
}

#[test]
fn without_rolling_those_before_the_failure_stay() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let _client = Client::connect(daemon.nbd(), "p-b")?;
    let before = hashes(&daemon)?;
    let (code, report) = update(&daemon, &["p-a,p-b,p-c", &failing()?, "--force"])?;
    assert_eq!((code, &report["outcome"]), (1, &json!("stopped")), "{report:#}");
    assert_eq!(fates(&report), ["updated", "failed", "untouched"], "{report:#}");
    let now = hashes(&daemon)?;
    assert!(now[0] != before[0] && now[1..] == before[1..], "{now:?}");
    Ok(())
}

#[test]
fn what_is_meant_has_to_be_clear() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    for (args, says) in [
        (&["p-a,p-a", "null", "--rolling"][..], "named twice"),
        (&["p-a,nothing", "null", "--rolling"], "no device `nothing`"),
        (&["--adapter", "q", "null"], "no adapter `q`"),
        (&["--all-of", "nonesuch", "null"], "no port runs driver `nonesuch`"),
        (&["p-a,p-b", "null", "--trial", "1s", "--trial-only"], "replaces nothing"),
    ] {
        let (code, report) = update(&daemon, args)?;
        assert!(code == 1 && report.to_string().contains(says), "{args:?}: {code}: {report}");
    }
    Ok(())
}

/// `steadfast activate ... -o json`: exit code and report.
fn activate(daemon: &Daemon, args: &[&str]) -> Result<(i32, Value)> {
    let (code, out, error) = cli(daemon, &[&["activate"], args, &["-o", "json"]].concat())?;
    Ok((code, serde_json::from_str(&out).unwrap_or(Value::String(error))))
}

#[test]
fn an_adapters_ports_are_planned_and_activated_as_they_are_updated() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let before: Vec<Value> = ports(&daemon)?.into_iter().map(|port| port["generation"].clone()).collect();
    // Of a profile all of the adapter's ports get the values, or none.
    let said = ends(&daemon, 0, &["profile", "apply", "backup", "--adapter", "p", "--dry-run"])?;
    assert!(PORTS.iter().all(|port| said.contains(&format!("{port}: "))), "{said}");
    let said = ends(&daemon, 2, &["profile", "diff", "backup", "--adapter", "p"])?;
    assert!(PORTS.iter().all(|port| said.contains(port)), "{said}");
    ends(&daemon, 0, &["plan", "--adapter", "p"])?;
    ends(&daemon, 1, &["profile", "apply", "backup", "--adapter", "nonesuch"])?;
    for port in PORTS {
        ends(&daemon, 0, &["param", "set", port, "link_speed=16"])?;
    }
    let said = ends(&daemon, 2, &["plan", "--adapter", "p"])?;
    assert!(PORTS.iter().all(|port| said.contains(port)), "{said}");
    // One of them would go down under its client: that is known before the first one is touched.
    let client = Client::connect(daemon.nbd(), "p-c")?;
    ends(&daemon, 0, &["param", "set", "p-c", "admin_state=down"])?;
    let (code, report) = activate(&daemon, &["--adapter", "p"])?;
    assert_eq!((code, fates(&report)), (3, vec!["untouched"; 4]), "{report:#}");
    let why = report["reason"].as_str().unwrap_or_default();
    assert!(why.starts_with("p-c: ") && why.contains("no port was touched"), "{why}");
    ends(&daemon, 0, &["param", "unset", "p-c", "admin_state"])?;
    drop(client);
    let (code, report) = activate(&daemon, &["--adapter", "p"])?;
    assert_eq!((code, fates(&report)), (0, vec!["updated"; 4]), "{report:#}");
    let named: Vec<&str> =
        report["ports"].as_array().into_iter().flatten().filter_map(|p| p["port"].as_str()).collect();
    assert_eq!(named, PORTS, "by number");
    let now: Vec<Value> = ports(&daemon)?.into_iter().map(|port| port["generation"].clone()).collect();
    let one_more = |generation: &Value| json!(generation.as_u64().unwrap_or(0) + 1);
    assert_eq!(now, before.iter().map(one_more).collect::<Vec<_>>());
    ends(&daemon, 0, &["plan", "--all-of", "test"])?;
    let said = ends(&daemon, 1, &["activate", "--all-of", "nonesuch"])?;
    assert!(said.contains("no port runs driver `nonesuch`"), "{said}");
    for both in [&["activate", "p-a", "--adapter", "p"][..], &["plan", "p-a", "--adapter", "p"]] {
        assert!(ends(&daemon, 1, both)?.contains("cannot be used with"), "{both:?}");
    }
    Ok(())
}

#[test]
fn what_one_port_takes_of_an_activation_an_adapter_takes_too() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let speeds = || -> Result<Vec<Value>> {
        PORTS.iter().map(|port| Ok(param(&daemon, port, "link_speed")?["current"].clone())).collect()
    };
    for port in PORTS {
        ends(&daemon, 0, &["param", "set", port, "link_speed=16"])?;
    }
    // To come later, and called off, by name or by adapter.
    ends(&daemon, 0, &["activate", "--adapter", "p", "--delay", "60m"])?;
    let wait = || -> Result<Vec<bool>> {
        Ok(ports(&daemon)?.iter().map(|port| port["delayed"].is_object()).collect())
    };
    assert_eq!(wait()?, [true; 4]);
    ends(&daemon, 0, &["activate", "p-b,p-c", "--call-off"])?;
    // What is called off already takes nothing from the others.
    let said = ends(&daemon, 1, &["activate", "--adapter", "p", "--call-off"])?;
    assert!(said.contains("p-b") && said.contains("called off: p-a, p-d"), "{said}");
    assert_eq!(wait()?, [false; 4]);
    assert_eq!(speeds()?, ["auto"; 4]);
    // To be confirmed.
    ends(&daemon, 0, &["activate", "--adapter", "p", "--confirm-within", "60m"])?;
    assert_eq!(speeds()?, ["16"; 4]);
    ends(&daemon, 0, &["confirm", "--adapter", "p"])?;
    let said = ends(&daemon, 1, &["confirm", "p-a", "p-b"])?;
    assert!(said.contains("nothing waits to be confirmed"), "{said}");
    // Waiting is for what comes later.
    assert!(ends(&daemon, 1, &["activate", "--adapter", "p", "--wait"])?.contains("--delay"));
    Ok(())
}

#[test]
fn an_activation_of_an_adapter_that_fails_goes_back_with_rolling_and_stays_without() -> Result {
    let dir = TempDir::new()?;
    let module = test_module("shared")?.display().to_string();
    let setup = ["vol1", "vol2"].iter().fold(Setup::device(format!("vol0={module}")), |setup, port| {
        setup.and_device(format!("{port}={module}"))
    });
    let daemon = setup.start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol1", "refuses=1"])?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    let ports = ["vol0", "vol1", "vol2"];
    let (code, report) = activate(&daemon, &[&ports[..], &["--rolling"]].concat())?;
    assert_eq!((code, fates(&report)), (4, vec!["taken_back", "failed", "untouched"]), "{report:#}");
    assert_eq!(param(&daemon, "vol0", "link_speed")?["current"], "auto");
    let (code, report) = activate(&daemon, &["--all-of", "shared"])?;
    assert_eq!((code, fates(&report)), (1, vec!["updated", "failed", "untouched"]), "{report:#}");
    assert_eq!(param(&daemon, "vol0", "link_speed")?["current"], "16");
    Ok(())
}
