//! Adapters with several ports: each has its own driver, and comes and goes without the others.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use steadfast_loader::StagedModule;
use steadfast_runtime::{AdapterRef, EngineError, ErrorKind, PortSpec, UpdateOptions};
use steadfast_shell::receipt::Outcome;
use support::Bench;

fn attach(
    bench: &Bench,
    name: &str,
    module: &StagedModule,
    adapter: Option<(&str, u32)>,
) -> Result<(), EngineError> {
    let adapter = adapter.map(|(name, number)| AdapterRef { name: name.into(), number });
    let params = BTreeMap::from([("gate".to_owned(), "/nonexistent".to_owned())]);
    let module = Arc::new(module.load().expect("loaded"));
    bench.engine.attach(PortSpec { name: name.into(), module, params, queues: Some(1), adapter })
}

fn place(bench: &Bench, port: &str) -> String {
    bench.engine.port(port).expect("port").devices[0].wwid.clone()
}

#[test]
fn ports_of_one_adapter_share_its_number_and_have_drivers_of_their_own() {
    let bench = Bench::new(1);
    let one = bench.trouble(&["TELLS_PLACE"]);
    let two = bench.trouble(&["TELLS_PLACE", "VERSION=\"1.1.0\""]);
    for number in 0..3 {
        attach(&bench, &format!("san0-{number}"), &one, Some(("san0", number))).expect("attached");
    }
    attach(&bench, "vol0", &one, None).expect("attached");
    assert_eq!(
        ["san0-0", "san0-1", "san0-2", "vol0"].map(|port| place(&bench, port)),
        ["adapter 0 port 0", "adapter 0 port 1", "adapter 0 port 2", "adapter 1 port 0"]
    );
    let taken = attach(&bench, "other", &one, Some(("san0", 1))).expect_err("taken");
    assert_eq!(taken.kind(), ErrorKind::Exists);
    assert_eq!((bench.engine.free_port_number("san0"), bench.engine.free_port_number("vol0")), (3, 1));

    let receipt = bench.engine.update("san0-1", &two, &UpdateOptions::default());
    assert_eq!((receipt.outcome, receipt.reason.as_str()), (Outcome::Done, ""));
    let seen = bench.engine.ports().into_iter().map(|port| {
        let driver = port.driver.expect("served");
        (port.name, port.adapter, port.number, driver.version, port.generation)
    });
    let is = |name: &str, adapter: &str, number, version: &str, generation| {
        (name.to_owned(), adapter.to_owned(), number, version.to_owned(), generation)
    };
    let expected = [
        is("san0-0", "san0", 0, "1.0.0", 1),
        is("san0-1", "san0", 1, "1.1.0", 2),
        is("san0-2", "san0", 2, "1.0.0", 1),
        is("vol0", "vol0", 0, "1.0.0", 1),
    ];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    assert_eq!(place(&bench, "san0-1"), "adapter 0 port 1", "an update does not move it");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_port_that_comes_again_goes_on_counting_and_the_number_is_free() {
    let bench = Bench::new(1);
    let module = bench.trouble(&["TELLS_PLACE"]);
    attach(&bench, "san0-a", &module, Some(("san0", 0))).expect("attached");
    attach(&bench, "san0-b", &module, Some(("san0", 1))).expect("attached");
    bench.engine.detach("san0-a", false).expect("nobody uses it");
    assert_eq!(bench.engine.free_port_number("san0"), 0);
    attach(&bench, "san0-a", &module, Some(("san0", 0))).expect("attached again");
    let port = bench.engine.port("san0-a").expect("port");
    assert_eq!(port.generation, 2, "a generation is never seen twice under one name");
    assert_eq!(place(&bench, "san0-a"), "adapter 0 port 0", "the adapter was there all the time");
    for port in ["san0-a", "san0-b"] {
        bench.engine.detach(port, false).expect("nobody uses it");
    }
    attach(&bench, "san0-a", &module, Some(("san0", 0))).expect("attached once more");
    assert_eq!(place(&bench, "san0-a"), "adapter 1 port 0", "another adapter of the same name");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn by_force_a_port_goes_whatever_its_driver_does_and_its_neighbour_notices_nothing() {
    for trouble in [&["READ_NS=3600000000000"][..], &["READ_NS=3600000000000", "FAIL_DISCONNECT"]] {
        let bench = Bench::new(1);
        let module = bench.trouble(trouble);
        attach(&bench, "hung", &module, Some(("san0", 0))).expect("attached");
        bench.attach("beside", "ram", &[("size", "1M")], Some(1));
        let (hung, beside) = (bench.load("hung", 1, 8), bench.load("beside", 1, 8));
        // Writes pass; reads stay.
        while bench.engine.port("hung").expect("port").in_flight < 8 {
            std::thread::yield_now();
        }
        let busy = bench.engine.detach("hung", false).expect_err("it is in use");
        assert_eq!(busy.kind(), ErrorKind::Busy);
        assert!(busy.to_string().contains("in use by 1 client"), "{busy}");
        bench.engine.detach("hung", true).expect("taken away");
        let failed = hung.stop();
        // What the driver had fails with it; what came afterwards, if anything did, finds no device.
        assert!(failed.len() >= 8, "{failed:?}");
        let (had, came) = failed.split_at(8);
        assert!(had.iter().all(|f| f.contains("result -5")), "{failed:?}");
        assert!(came.iter().all(|f| f.contains("result -19")), "{failed:?}");
        assert!(bench.engine.port("hung").is_none());
        beside.pass(200);
        assert_eq!(beside.stop(), Vec::<String>::new());
        attach(&bench, "hung", &bench.trouble(&[]), Some(("san0", 0))).expect("the name is free again");
        bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn a_device_does_not_become_another_one_under_its_clients() {
    let bench = Bench::new(1);
    let one = bench.trouble(&["TELLS_PLACE"]);
    let another = bench.trouble(&["VERSION=\"1.1.0\""]);
    attach(&bench, "vol0", &one, None).expect("attached");
    let claim = bench.engine.open_device("vol0").expect("it is there");
    let receipt = bench.engine.update("vol0", &another, &UpdateOptions::default());
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
    assert!(receipt.reason.contains("it is another device"), "{}", receipt.reason);
    assert_eq!(place(&bench, "vol0"), "adapter 0 port 0");
    drop(claim);
    let receipt = bench.engine.update("vol0", &another, &UpdateOptions::default());
    assert_eq!(receipt.outcome, Outcome::Done, "nobody uses it: {receipt:?}");
    bench.engine.stop(Duration::from_secs(10));
}
