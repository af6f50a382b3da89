//! Parameters of the class *reload*: every port that runs the module is initialised anew, or none.

use serde_json::Value;
use steadfast_tests::nbd::Client;
use steadfast_tests::params::ends;
use steadfast_tests::{Daemon, Result, Setup, TempDir, test_module};

/// Generations of the ports.
fn generations(daemon: &Daemon) -> Result<Vec<u64>> {
    let (_, ports) = daemon.api()?.get("/v1/ports")?;
    let ports = ports.as_array().cloned().unwrap_or_default();
    Ok(ports.iter().map(|port| port["generation"].as_u64().unwrap_or(0)).collect())
}

/// The mark that each of the ports reads.
fn marks(daemon: &Daemon) -> Result<Vec<u8>> {
    let mark = |port: &str| -> Result<u8> {
        let read = Client::connect(daemon.nbd(), port)?.read(0, 1)?;
        Ok(read.ok().and_then(|data| data.first().copied()).unwrap_or(0))
    };
    ["vol0", "vol1", "vol2"].into_iter().map(mark).collect()
}

fn start(dir: &TempDir) -> Result<Daemon> {
    let module = test_module("shared")?.display().to_string();
    let mut setup = Setup::device(format!("vol0={module}"));
    for port in ["vol1", "vol2"] {
        setup = setup.and_device(format!("{port}={module}"));
    }
    setup.and_device("other=ram:1M").start(dir)
}

#[test]
fn what_a_module_shares_changes_on_all_of_its_ports_in_turn() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let before = generations(&daemon)?;
    let said = ends(&daemon, 0, &["param", "set", "vol0", "mark=7", "--global"])?;
    assert!(
        said.contains("vol2: mark 1 -> 7, saved, waits for `steadfast activate --reload vol2`"),
        "{said}"
    );
    let planned = ends(&daemon, 2, &["plan", "vol0"])?;
    assert!(planned.contains("activate --reload"), "{planned}");
    // One port alone will not do, and it is said which are meant.
    let said = ends(&daemon, 1, &["activate", "vol0"])?;
    assert!(said.contains("mark takes effect only") && said.contains("(vol0, vol1, vol2)"), "{said}");
    assert_eq!((generations(&daemon)?, marks(&daemon)?), (before.clone(), vec![1, 1, 1]));
    let said = ends(&daemon, 0, &["activate", "--reload", "vol1"])?;
    assert!(said.contains("3 ports were initialised anew"), "{said}");
    assert_eq!(marks(&daemon)?, [7, 7, 7]);
    let expected: Vec<u64> = before.iter().enumerate().map(|(at, g)| g + u64::from(at > 0)).collect();
    assert_eq!(generations(&daemon)?, expected, "`other` is the first, and did not notice");
    assert!(ends(&daemon, 0, &["history", "vol2"])?.contains("mark 1 -> 7"));
    Ok(())
}

#[test]
fn a_port_that_does_not_attach_takes_those_before_it_back() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol2", "refuses=9"])?;
    ends(&daemon, 0, &["activate", "vol2"])?;
    ends(&daemon, 0, &["param", "set", "vol0", "mark=9", "--global"])?;
    let said = ends(&daemon, 4, &["activate", "--reload", "vol0"])?;
    assert!(said.contains("vol2: ") && said.contains("not with mark 9"), "{said}");
    assert_eq!(marks(&daemon)?, [1, 1, 1]);
    let (_, all) = daemon.api()?.get("/v1/ports/vol0/params")?;
    let mark = all["properties"].as_array().and_then(|list| list.iter().find(|p| p["name"] == "mark"));
    let mark = mark.cloned().unwrap_or(Value::Null);
    assert_eq!(
        (&mark["current"], &mark["saved"], &mark["pending"]),
        (&"1".into(), &"9".into(), &true.into())
    );
    // A set that will not do is found before the first port is touched.
    let before = generations(&daemon)?;
    let file = all["file"].as_str().unwrap_or_default();
    let text = std::fs::read_to_string(file)?;
    std::fs::write(file, format!("{text}\n[port.vol1]\nmark = 300\n"))?;
    let said = ends(&daemon, 1, &["activate", "--reload", "vol0"])?;
    assert!(
        said.contains("vol1: ") && said.contains("mark=300") && said.contains("no port was touched"),
        "{said}"
    );
    assert_eq!(generations(&daemon)?, before);
    Ok(())
}
