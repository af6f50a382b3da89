//! Updates under load, on real modules: nothing is lost, nothing is wrong, whatever happens.

mod support;

use std::time::Duration;
use steadfast_runtime::{PortState, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome, Unload};
use support::Bench;

#[test]
fn a_ram_disk_keeps_its_contents_while_its_driver_is_replaced() {
    let bench = Bench::new(1);
    bench.attach("vol0", "ram", &[("size", "4M")], None);
    let module = bench.stage("ram");
    let load = bench.load("vol0", 1, 32);
    for _ in 0..100 {
        let receipt = bench.engine.update("vol0", &module, &UpdateOptions::default());
        assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
        assert_eq!(receipt.unload, Unload::Unloaded, "{receipt:?}");
        load.pass(100);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    let info = bench.engine.port("vol0").expect("port");
    assert_eq!((info.swaps, info.errors, info.state), (100, 0, PortState::Running));
    bench.engine.stop(Duration::from_secs(10));
}
