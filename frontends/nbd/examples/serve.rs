//! Serves one driver module over NBD, without the daemon around it: for measuring and for debuggers.
//!
//! ```text
//! serve MODULE.so ADDRESS [NAME=VALUE...] [--swap MODULE.so MILLISECONDS]
//! ```
//!
//! The device is named `vol0`. With `--swap` the driver is replaced by the other module and back, at
//! that interval. Ends at the end of standard input.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use steadfast_loader::{ModuleStore, StagedModule};
use steadfast_nbd::{Doors, NbdOptions, NbdServer};
use steadfast_runtime::{Engine, EngineConfig, PortSpec, UpdateOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let level =
        if std::env::var_os("DEBUG").is_some() { tracing::Level::DEBUG } else { tracing::Level::INFO };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let swap = args.iter().position(|a| a == "--swap").map(|at| args.split_off(at));
    let [module, address, params @ ..] = &args[..] else {
        return Err("usage: serve MODULE.so ADDRESS [NAME=VALUE...] [--swap MODULE.so MILLISECONDS]".into());
    };
    let params: BTreeMap<String, String> =
        params.iter().filter_map(|p| p.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();

    let store = std::env::temp_dir().join(format!("steadfast-serve-{}", std::process::id()));
    let modules = ModuleStore::open(&store)?;
    let first = modules.stage(module)?;
    let queues = std::env::var("QUEUES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let engine = Engine::start(EngineConfig { queues, ..EngineConfig::default() })?;
    let spec = PortSpec {
        name: "vol0".into(),
        module: Arc::new(first.load()?),
        params,
        queues: None,
        adapter: None,
    };
    engine.attach(spec)?;
    let doors = Doors { listen: vec![address.parse()?], ..Doors::default() };
    let server = NbdServer::start(&engine, doors, NbdOptions::default())?;
    println!("{}", server.addresses()[0]);

    if let Some([_, other, every]) = swap.as_deref() {
        let (second, every) = (modules.stage(other)?, Duration::from_millis(every.parse()?));
        let engine = engine.clone();
        std::thread::spawn(move || swap_for_ever(&engine, &[second, first], every));
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    engine.stop(Duration::from_secs(10));
    std::fs::remove_dir_all(store)?;
    Ok(())
}

fn swap_for_ever(engine: &Engine, modules: &[StagedModule], every: Duration) {
    let options = UpdateOptions { allow_older: true, allow_other: true, ..UpdateOptions::default() };
    for staged in modules.iter().cycle() {
        std::thread::sleep(every);
        let receipt = engine.update("vol0", staged, &options);
        eprintln!(
            "{:?} {:?} pause {} us {}",
            receipt.outcome,
            receipt.mode,
            receipt.pause_ns / 1000,
            receipt.reason
        );
    }
}
