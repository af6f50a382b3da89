//! qemu-storage-daemon, the peer that can exchange what is under a live export too: its
//! `blockdev-reopen` moves a node from one child to another.

use super::server::{Backing, SIZE, wait_for};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use steadfast_tests::{Peer, TempDir};

/// The peer with two nodes on the same backing, either of which can be under the export `vol0`.
pub(crate) struct Qsd {
    pub(crate) socket: PathBuf,
    monitor: BufReader<UnixStream>,
    second: bool,
    _process: Peer,
    _dir: TempDir,
}

impl Qsd {
    pub(crate) fn start(backing: Backing) -> Result<Qsd> {
        let dir = TempDir::new()?;
        let node = match backing {
            Backing::Null => format!("driver=null-co,size={SIZE},read-zeroes=on"),
            Backing::Memory | Backing::File => {
                let disk = dir.disk("disk.img", SIZE)?;
                format!("driver=file,filename={},locking=off", disk.display())
            }
        };
        Qsd::on(&node, dir)
    }

    /// On nothing, each request taking so long.
    pub(crate) fn slow(latency_us: u64) -> Result<Qsd> {
        let latency_ns = latency_us * 1000;
        Qsd::on(
            &format!("driver=null-co,size={SIZE},read-zeroes=on,latency-ns={latency_ns}"),
            TempDir::new()?,
        )
    }

    fn on(node: &str, dir: TempDir) -> Result<Qsd> {
        let (socket, qmp) = (dir.join("n.sock"), dir.join("qmp.sock"));
        let mut command = Command::new("qemu-storage-daemon");
        for name in ["a", "b"] {
            command.args(["--blockdev", &format!("{node},node-name={name}")]);
        }
        command
            .args(["--blockdev", "driver=raw,node-name=top,file=a"])
            .args(["--nbd-server", &format!("addr.type=unix,addr.path={}", socket.display())])
            .args(["--export", "type=nbd,id=e,node-name=top,name=vol0,writable=on"])
            .args(["--chardev", &format!("socket,path={},server=on,wait=off,id=c", qmp.display())])
            .args(["--monitor", "chardev=c"]);
        let mut process = Peer::start(&mut command)?;
        wait_for(&socket, &mut process)?;
        let monitor = BufReader::new(UnixStream::connect(&qmp)?);
        let mut qsd = Qsd { socket, monitor, second: false, _process: process, _dir: dir };
        qsd.read()?;
        qsd.call(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(qsd)
    }

    /// Moves the export to the other node.
    pub(crate) fn swap(&mut self) -> Result<()> {
        self.second = !self.second;
        let child = if self.second { "b" } else { "a" };
        let options = json!([{ "driver": "raw", "node-name": "top", "file": child }]);
        self.call(&json!({ "execute": "blockdev-reopen", "arguments": { "options": options } }))
    }

    fn call(&mut self, request: &Value) -> Result<()> {
        writeln!(self.monitor.get_mut(), "{request}")?;
        loop {
            let answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("qemu-storage-daemon: {error}");
            }
            // Events come in between.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.monitor.read_line(&mut line)?;
        serde_json::from_str(&line).context("the monitor's answer is no JSON")
    }
}
