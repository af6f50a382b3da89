//! `steadfast adapter`, `port`, `device add` and `remove`, `rescan`, `driver load` and `unload`.

use super::module_argument;
use crate::args::ports::{AdapterCommand, DeviceAdd, Force, PortCommand};
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use serde::Serialize;
use steadfast_api::{
    Adapter, AdapterAddRequest, DeviceAddRequest, Found, LoadRequest, Port, PortAddRequest, Receipt,
    RemoveRequest, RescanReport, RescanRequest, TopologyReport, UnloadRequest,
};

/// `steadfast adapter ...`
pub(crate) fn adapter(client: &Client, command: AdapterCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        AdapterCommand::List => {
            let adapters: Vec<Adapter> = client.get("/adapters")?;
            show(&adapters, json, output::ports::adapters)
        }
        AdapterCommand::Show { adapter } => {
            let adapter: Adapter = client.get(&format!("/adapters/{}", segment(&adapter)))?;
            show(&adapter, json, output::ports::adapter)
        }
        AdapterCommand::Add(add) => {
            let (name, driver) = add.spec;
            let request = AdapterAddRequest {
                name,
                driver: module_argument(&driver)?,
                ports: add.port,
                base: Some(folder()?),
                temporary: add.how.temporary,
                dry_run: add.how.dry_run,
            };
            change(client, "/adapters", &request, json)
        }
        AdapterCommand::Remove { adapter, force } => remove(client, "adapters", &adapter, force, json),
    }
}

/// `steadfast port ...`
pub(crate) fn port(client: &Client, command: PortCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        PortCommand::List => {
            let ports: Vec<Port> = client.get("/ports")?;
            show(&ports, json, |ports| output::ports::ports(ports))
        }
        PortCommand::Show { port } => {
            let port: Port = client.get(&format!("/ports/{}", segment(&port)))?;
            show(&port, json, output::ports::port)
        }
        PortCommand::Add(add) => {
            let request = PortAddRequest {
                spec: add.spec,
                driver: add.driver.as_deref().map(module_argument).transpose()?,
                base: Some(folder()?),
                temporary: add.how.temporary,
                dry_run: add.how.dry_run,
            };
            change(client, &format!("/adapters/{}/ports", segment(&add.adapter)), &request, json)
        }
        PortCommand::Remove { port, force } => remove(client, "ports", &port, force, json),
    }
}

/// `steadfast device add`
pub(crate) fn add_device(client: &Client, add: DeviceAdd, json: bool) -> Result<Exit, Failure> {
    let request = DeviceAddRequest {
        spec: add.spec,
        base: Some(folder()?),
        temporary: add.how.temporary,
        dry_run: add.how.dry_run,
    };
    change(client, "/devices", &request, json)
}

/// `steadfast device remove`
pub(crate) fn remove_device(client: &Client, name: &str, force: Force, json: bool) -> Result<Exit, Failure> {
    remove(client, "devices", name, force, json)
}

/// `steadfast rescan`: fails when something could not be read or attached.
pub(crate) fn rescan(client: &Client, port: Option<String>, json: bool) -> Result<Exit, Failure> {
    let report: RescanReport = client.post("/rescan", &RescanRequest { port })?;
    show(&report, json, output::ports::rescan)?;
    let bad = |found| matches!(found, Found::Failed | Found::Replaced | Found::Missing | Found::ReadOnly);
    let failed = report.ports.iter().any(|port| bad(port.found)) || !report.problems.is_empty();
    Ok(if failed { Exit::Error } else { Exit::Done })
}

/// `steadfast driver load`
pub(crate) fn load(client: &Client, module: &str, json: bool) -> Result<Exit, Failure> {
    let request = LoadRequest { module: module_argument(module)? };
    let receipt: Receipt = client.post("/drivers/load", &request)?;
    show(&receipt, json, |receipt| output::ports::sentence(receipt).unwrap_or_default())
}

/// `steadfast driver unload`
pub(crate) fn unload(client: &Client, driver: String, json: bool) -> Result<Exit, Failure> {
    let receipt: Receipt = client.post("/drivers/unload", &UnloadRequest { driver })?;
    show(&receipt, json, |receipt| output::ports::sentence(receipt).unwrap_or_default())
}

fn remove(client: &Client, kind: &str, name: &str, force: Force, json: bool) -> Result<Exit, Failure> {
    let path = format!("/{kind}/{}/remove", segment(name));
    change(client, &path, &RemoveRequest { force: force.force, dry_run: force.dry_run }, json)
}

fn change(client: &Client, path: &str, request: &impl Serialize, json: bool) -> Result<Exit, Failure> {
    let report: TopologyReport = client.post(path, request)?;
    show(&report, json, output::ports::report)
}

fn show<T: Serialize>(document: &T, json: bool, text: impl Fn(&T) -> String) -> Result<Exit, Failure> {
    if json {
        output::json(document)?;
    } else {
        let text = text(document);
        output::print(&if text.ends_with('\n') { text } else { text + "\n" })?;
    }
    Ok(Exit::Done)
}

/// The folder that relative paths start from: this process's, not the daemon's.
fn folder() -> Result<String, Failure> {
    let folder = std::env::current_dir().map_err(|e| Failure::new(format!("current folder: {e}")))?;
    folder
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::new(format!("current folder {}: it is not UTF-8", path.display())))
}
