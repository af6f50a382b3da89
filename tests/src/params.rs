//! Commands and parameters of a daemon, as tests ask for them.

use crate::{Daemon, Result};
use anyhow::ensure;
use serde_json::Value;
use std::path::PathBuf;

/// Runs a command: exit code, standard output, standard error.
pub fn cli(daemon: &Daemon, args: &[&str]) -> Result<(i32, String, String)> {
    let output = daemon.cli(args)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

/// Runs a command that has to end with that code; what it printed, on either.
pub fn ends(daemon: &Daemon, code: i32, args: &[&str]) -> Result<String> {
    let (got, out, error) = cli(daemon, args)?;
    ensure!(got == code, "{args:?}: exit code {got}, not {code}: {out}{error}");
    Ok(out + &error)
}

/// All parameters of a port.
pub fn params(daemon: &Daemon, port: &str) -> Result<Value> {
    let (status, all) = daemon.api()?.get(&format!("/v1/ports/{port}/params"))?;
    ensure!(status == 200, "port {port}: status {status}: {all}");
    Ok(all)
}

/// One of them.
pub fn param(daemon: &Daemon, port: &str, name: &str) -> Result<Value> {
    let all = params(daemon, port)?;
    let found = all["properties"].as_array().and_then(|list| list.iter().find(|p| p["name"] == name));
    Ok(found.unwrap_or(&Value::Null).clone())
}

/// Count of the port's attaches.
pub fn generation(daemon: &Daemon, port: &str) -> Result<u64> {
    Ok(params(daemon, port)?["generation"].as_u64().unwrap_or(0))
}

/// Names of what is pending.
pub fn pending(daemon: &Daemon, port: &str) -> Result<Vec<String>> {
    let all = params(daemon, port)?;
    let list = all["properties"].as_array().cloned().unwrap_or_default();
    Ok(list
        .iter()
        .filter(|p| p["pending"] == true)
        .map(|p| p["name"].as_str().unwrap_or("").into())
        .collect())
}

/// The file that a driver's parameters are saved in.
pub fn file_of(daemon: &Daemon, port: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(params(daemon, port)?["file"].as_str().unwrap_or("")))
}
