//! The servers that are measured: Steadfast and its peers, on the same kind of backing.

use crate::tools::present;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use steadfast_tests::{Daemon, Peer, Setup, TempDir, nbd};

/// Bytes of the device that is measured.
pub(crate) const SIZE: u64 = 1 << 30;

/// What is under the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Nothing: data is thrown away.
    Null,
    /// Memory.
    Memory,
    /// A file, through the page cache.
    File,
}

impl Backing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Backing::Null => "null",
            Backing::Memory => "memory",
            Backing::File => "file",
        }
    }
}

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Steadfast,
    Nbdkit,
    QemuNbd,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Steadfast, Kind::Nbdkit, Kind::QemuNbd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Steadfast => "steadfast",
            Kind::Nbdkit => "nbdkit",
            Kind::QemuNbd => "qemu-nbd",
        }
    }

    /// Those that are installed; the others are named as skipped.
    pub(crate) fn available() -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| *kind == Kind::Steadfast || here(kind.name())).collect()
    }
}

/// Is the peer here? Says so by name when it is not.
pub(crate) fn here(program: &str) -> bool {
    let found = present(program);
    if !found {
        println!("{program}: SKIPPED: not installed");
    }
    found
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    pub(crate) uri: String,
    pub(crate) pid: u32,
    pub(crate) export: &'static str,
    _process: Process,
    // The folder goes after the process.
    _dir: TempDir,
}

#[expect(dead_code, reason = "held so that the process ends with the server")]
enum Process {
    Daemon(Box<Daemon>),
    Peer(Peer),
}

/// Starts a server on a backing of its own, filled, so that no one reads holes. Steadfast has a queue
/// per core, as the guide says; the peers spread over their own threads.
pub(crate) fn start(kind: Kind, backing: Backing) -> Result<Server> {
    let dir = TempDir::new()?;
    let disk = dir.join("disk.img");
    match backing {
        Backing::File => fill(&disk)?,
        Backing::Null | Backing::Memory => {}
    }
    let server = match kind {
        Kind::Steadfast => steadfast(dir, backing)?,
        Kind::Nbdkit => nbdkit(dir, backing)?,
        Kind::QemuNbd => qemu_nbd(dir, backing)?,
    };
    if backing == Backing::Memory {
        let from = server._dir.join("fill.img");
        fill(&from)?;
        steadfast_tests::ok(Command::new("nbdcopy").arg("--allocated").arg(&from).arg(&server.uri))?;
        std::fs::remove_file(from)?;
    }
    Ok(server)
}

/// Writes the whole file with something that is not zero.
pub(crate) fn fill(path: &Path) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    let block: Vec<u8> = (0..1u32 << 20).map(|n| (n % 251) as u8 + 1).collect();
    for _ in 0..SIZE >> 20 {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(())
}

fn steadfast(dir: TempDir, backing: Backing) -> Result<Server> {
    let queues = std::thread::available_parallelism().map_or(1, usize::from);
    let spec = match backing {
        Backing::Null => format!("vol0=null:{SIZE},queues={queues}"),
        Backing::Memory => format!("vol0=ram:{SIZE},queues={queues}"),
        Backing::File => format!("vol0=file:{},queues={queues}", dir.join("disk.img").display()),
    };
    let daemon = Setup::device(spec).arg("--queues").arg(queues.to_string()).start(&dir)?;
    Ok(Server {
        socket: daemon.nbd().to_owned(),
        uri: daemon.uri("vol0"),
        pid: daemon.pid(),
        export: "vol0",
        _process: Process::Daemon(Box::new(daemon)),
        _dir: dir,
    })
}

fn nbdkit(dir: TempDir, backing: Backing) -> Result<Server> {
    let mut command = Command::new("nbdkit");
    command.args(["--foreground", "--unix"]).arg(dir.join("n.sock"));
    match backing {
        Backing::Null => command.args(["null", &SIZE.to_string()]),
        Backing::Memory => command.args(["memory", &SIZE.to_string()]),
        Backing::File => command.arg("file").arg(dir.join("disk.img")),
    };
    peer(dir, command, "")
}

fn qemu_nbd(dir: TempDir, backing: Backing) -> Result<Server> {
    let mut command = Command::new("qemu-nbd");
    command.args(["--persistent", "--shared=8", "--socket"]).arg(dir.join("n.sock"));
    match backing {
        Backing::Null => command.arg("--image-opts").arg(format!("driver=null-co,size={SIZE}")),
        // QEMU has no memory of its own to serve: a file in a file system of memory is the nearest.
        Backing::Memory => {
            let file = std::fs::File::create(shm(&dir))?;
            file.set_len(SIZE)?;
            command.args(["-f", "raw"]).arg(shm(&dir))
        }
        Backing::File => {
            command.args(["-f", "raw", "--cache=writeback", "--aio=threads"]).arg(dir.join("disk.img"))
        }
    };
    let server = peer(dir, command, "")?;
    // The open file lives on without its name.
    let _ = std::fs::remove_file(shm(&server._dir));
    Ok(server)
}

fn shm(dir: &TempDir) -> PathBuf {
    let name = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    Path::new("/dev/shm").join(format!("{name}.img"))
}

fn peer(dir: TempDir, mut command: Command, export: &'static str) -> Result<Server> {
    let socket = dir.join("n.sock");
    let mut peer = Peer::start(&mut command)?;
    wait_for(&socket, &mut peer)?;
    Ok(Server {
        uri: format!("nbd+unix:///{export}?socket={}", socket.display()),
        socket,
        pid: peer.pid(),
        export,
        _process: Process::Peer(peer),
        _dir: dir,
    })
}

/// Waits until the peer answers on its socket.
pub(crate) fn wait_for(socket: &Path, peer: &mut Peer) -> Result<()> {
    let begin = Instant::now();
    while !nbd::answers(socket) {
        if peer.ended() || begin.elapsed() > Duration::from_secs(10) {
            bail!("the peer does not answer on {}", socket.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
