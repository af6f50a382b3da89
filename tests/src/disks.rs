//! Block devices for tests that run as root.

use crate::{Result, ok};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop device over a file; taken away when this goes.
#[derive(Debug)]
pub struct Loop(PathBuf);

impl Loop {
    /// One that can be written.
    pub fn over(file: &Path) -> Result<Loop> {
        Loop::with(file, &[])
    }

    /// The same with options of `losetup`.
    pub fn with(file: &Path, options: &[&str]) -> Result<Loop> {
        let name = ok(Command::new("losetup").args(["--find", "--show"]).args(options).arg(file))?;
        Ok(Loop(PathBuf::from(name.trim())))
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Whoever gets this one next does not want it read-only.
        let _ = ok(Command::new("blockdev").arg("--setrw").arg(&self.0));
        let _ = ok(Command::new("losetup").arg("--detach").arg(&self.0));
    }
}

/// A file system in memory with so much room; unmounted when this goes.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// At a new folder.
    pub fn at(folder: PathBuf, size: &str) -> Result<Tmpfs> {
        std::fs::create_dir_all(&folder)?;
        let size = format!("size={size}");
        ok(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&folder))?;
        Ok(Tmpfs(folder))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = ok(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}
