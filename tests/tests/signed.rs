//! Signed modules, the signatures made by `minisign` itself: what no trusted key has signed is refused
//! before it is mapped, and the device goes on.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, ok, run, steadfast};

/// Modules, keys and signatures in a folder.
struct Signer {
    dir: TempDir,
    module: PathBuf,
}

impl Signer {
    /// With a trusted key `vendor`, and a copy of the module `ram` that it has signed.
    fn new() -> Result<Signer> {
        let dir = TempDir::new()?;
        std::fs::create_dir(dir.join("keys"))?;
        std::fs::create_dir(dir.join("modules"))?;
        let module_file = dir.join("modules/ram.so");
        std::fs::copy(module("ram")?, &module_file)?;
        let signer = Signer { dir, module: module_file };
        signer.key("vendor")?;
        std::fs::copy(signer.dir.join("vendor.pub"), signer.dir.join("keys/vendor.pub"))?;
        signer.sign("vendor", "release of today")?;
        Ok(signer)
    }

    fn key(&self, name: &str) -> Result {
        let (public, secret) = (self.dir.join(&format!("{name}.pub")), self.dir.join(name));
        minisign(Command::new("minisign").args(["-G", "-f", "-W", "-p"]).arg(public).arg("-s").arg(secret))
    }

    fn sign(&self, key: &str, comment: &str) -> Result {
        let mut command = Command::new("minisign");
        command.args(["-S", "-t", comment, "-s"]).arg(self.dir.join(key)).arg("-m").arg(&self.module);
        minisign(&mut command)
    }

    fn number(&self, key: &str) -> Result<String> {
        let text = std::fs::read_to_string(self.dir.join(&format!("{key}.pub")))?;
        let number = text.lines().next().and_then(|line| line.rsplit(' ').next());
        Ok(number.context("a comment with the key's number")?.to_owned())
    }

    /// A daemon that takes signed modules only.
    fn daemon(&self) -> Result<Daemon> {
        Setup::device(format!("vol0={}:1M", self.module.display()))
            .arg("--require-signed")
            .arg("--trusted-keys")
            .arg(self.dir.join("keys").display().to_string())
            .start(&self.dir)
    }

    /// The signature's row of the receipt of an update to `module`, which must be refused by it alone.
    fn refused(&self, daemon: &mut Daemon, module: &Path) -> Result<String> {
        let receipt = daemon.api()?.update("vol0", module, json!({}))?;
        assert_eq!(receipt["outcome"], "refused", "{receipt:#}");
        let phases: Vec<&Value> =
            receipt["phases"].as_array().expect("phases").iter().map(|p| &p["phase"]).collect();
        assert_eq!(phases, ["stage", "check"], "it never came to mapping it");
        let hash = receipt["to"]["hash"].as_str().expect("a hash");
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.pid()))?;
        assert!(!maps.contains(hash), "it is mapped");
        assert!(!self.dir.join(&format!("store/{hash}.so")).exists(), "it is in the store");
        daemon.check_serves("vol0")?;
        let row = signature(&receipt)?;
        assert_eq!(row["ok"], false, "{row}");
        let detail = row["detail"].as_str().expect("text").to_owned();
        assert!(detail.contains(&module.display().to_string()), "{detail} does not name the file");
        Ok(detail)
    }
}

fn minisign(command: &mut Command) -> Result {
    let output = run(command).context("minisign is needed (Debian: apt-get install minisign)")?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn signature(receipt: &Value) -> Result<Value> {
    let rows = receipt["checks"].as_array().context("rows")?;
    rows.iter().find(|row| row["name"] == "signature").cloned().context("a row of the signature")
}

#[test]
fn a_signed_module_is_taken_and_its_comment_shown() -> Result {
    let signer = Signer::new()?;
    let daemon = signer.daemon()?;
    let receipt = daemon.update("vol0", &signer.module)?;
    let row = signature(&receipt)?;
    let detail = row["detail"].as_str().context("text")?;
    for part in [&*signer.number("vendor")?, "vendor.pub", "comment: release of today"] {
        assert!(detail.contains(part), "no {part} in: {detail}");
    }
    let shown = ok(Command::new(steadfast()?)
        .env("STEADFAST_SOCKET", daemon.control())
        .args(["receipt", "show", "last"]))?;
    assert!(shown.contains("release of today"), "{shown}");
    Ok(())
}

#[test]
fn what_nobody_trusted_has_signed_is_never_mapped() -> Result {
    let signer = Signer::new()?;
    let mut daemon = signer.daemon()?;
    // Not signed at all.
    let unsigned = signer.dir.join("modules/unsigned.so");
    std::fs::copy(module("ram")?, &unsigned)?;
    std::fs::OpenOptions::new()
        .append(true)
        .open(&unsigned)
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"x"))?;
    assert!(signer.refused(&mut daemon, &unsigned)?.contains("is not signed"));
    // Signed, then changed.
    let signature = signer.dir.join("modules/unsigned.so.minisig");
    std::fs::copy(signer.dir.join("modules/ram.so.minisig"), &signature)?;
    let detail = signer.refused(&mut daemon, &unsigned)?;
    assert!(detail.contains("not the signature of this module"), "{detail}");
    assert!(detail.contains(&signer.number("vendor")?), "{detail}");
    // A signature that is not whole.
    let whole = std::fs::read(&signature)?;
    std::fs::write(&signature, &whole[..whole.len() / 2])?;
    assert!(signer.refused(&mut daemon, &unsigned)?.contains("not a whole minisign signature"));
    // Signed by somebody else.
    signer.key("stranger")?;
    let stranger = Signer { dir: TempDir::new()?, module: unsigned.clone() };
    for file in ["stranger", "stranger.pub"] {
        std::fs::copy(signer.dir.join(file), stranger.dir.join(file))?;
    }
    stranger.sign("stranger", "mine")?;
    let detail = signer.refused(&mut daemon, &unsigned)?;
    assert!(detail.contains(&signer.number("stranger")?) && detail.contains("not trusted"), "{detail}");
    // And once its key is trusted, it is taken: keys are read anew each time.
    std::fs::copy(stranger.dir.join("stranger.pub"), signer.dir.join("keys/stranger.pub"))?;
    daemon.update("vol0", &unsigned)?;
    Ok(())
}

#[test]
fn a_daemon_does_not_start_with_what_it_would_not_take() -> Result {
    let signer = Signer::new()?;
    let serve = |args: &[&str]| -> Result<String> {
        let mut command = Command::new(steadfast()?);
        command.arg("serve").args(args).args(["--check", "--store", "store"]).current_dir(signer.dir.path());
        let output = run(&mut command)?;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let device = format!("vol0={}:1M", signer.module.display());
    let text = serve(&["--device", &device, "--require-signed"])?;
    assert!(text.contains("no folder of trusted keys") && text.contains("--trusted-keys"), "{text}");
    std::fs::remove_file(signer.dir.join("modules/ram.so.minisig"))?;
    let text = serve(&["--device", &device, "--require-signed", "--trusted-keys", "keys"])?;
    assert!(text.contains("ram.so is not signed"), "{text}");
    Ok(())
}
