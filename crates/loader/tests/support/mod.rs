//! Modules for tests, written in C and compiled when a test runs.
// Each test program uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use steadfast_loader::ModuleStore;
use tempfile::TempDir;

/// The ABI's structures, written down here a second time on purpose: these modules stand for drivers
/// that were built by somebody else.
const DECLARATIONS: &str = r#"
#include <stddef.h>
#include <stdint.h>
struct str { const void *ptr; size_t len; };
struct driver {
    uint32_t size; uint16_t abi_major, abi_minor; uint32_t class_, pdu_size; struct str manifest;
    void *probe, *prepare, *connect, *disconnect, *reconnect, *release, *queue_start, *queue_stop,
         *event, *timer, *adopt, *param_changed;
    const void *class_ops;
    void *queue_run, *hand_back, *save_state, *event_answer, *events;
    void *later[4];
};
struct block { uint32_t size, reserved; void *submit, *commit, *abort, *submit_many; void *later[4]; };
#define DRIVER_SIZE offsetof(struct driver, queue_run)
#define DRIVER_OF_TODAY offsetof(struct driver, later)
#define BLOCK_SIZE offsetof(struct block, later)
static int entry(void *any) { (void)any; return 0; }
static int submits;
static int submit(void *queue, void *request) { (void)queue; (void)request; return ++submits; }
"#;

/// A module's source, field by field; what a test does not change is right.
#[derive(Clone)]
pub struct Source {
    /// Entries of the manifest.
    pub manifest: Vec<String>,
    /// Fields of `struct driver`.
    driver: Vec<(&'static str, String)>,
    /// Fields of `struct block`.
    block: Vec<(&'static str, String)>,
    /// More C, before the tables.
    pub code: String,
    /// Declaration of the table, up to its name.
    pub symbol: &'static str,
    /// Name of the manifest's section.
    pub section: &'static str,
    /// More arguments of the compiler.
    pub flags: Vec<&'static str>,
}

impl Source {
    pub fn new() -> Source {
        let entries = ["manifest=1", "name=test", "version=1.0.0", "class=block", "abi=1.0", "pdu=test/1:64"];
        let fields =
            |list: &[(&'static str, &str)]| list.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        Source {
            manifest: entries.map(str::to_owned).to_vec(),
            driver: fields(&[
                ("size", "DRIVER_SIZE"),
                ("abi_major", "1"),
                ("abi_minor", "0"),
                ("class_", "1"),
                ("pdu_size", "64"),
                ("manifest", "{ manifest, sizeof manifest }"),
                ("connect", "entry"),
                ("disconnect", "entry"),
                ("reconnect", "entry"),
                ("class_ops", "&block"),
            ]),
            block: fields(&[("size", "BLOCK_SIZE"), ("submit", "submit")]),
            code: String::new(),
            symbol: "const struct driver steadfast_driver",
            section: ".steadfast.manifest",
            flags: Vec::new(),
        }
    }

    /// Replaces the manifest's entry of that key, or adds it.
    pub fn entry(mut self, key: &str, value: &str) -> Source {
        self.manifest.retain(|entry| !entry.starts_with(&format!("{key}=")));
        self.manifest.push(format!("{key}={value}"));
        self
    }

    /// Sets a field of the driver's table.
    pub fn driver(mut self, field: &'static str, value: &str) -> Source {
        self.driver.retain(|(name, _)| *name != field);
        self.driver.push((field, value.to_owned()));
        self
    }

    /// Sets a field of the block table.
    pub fn block(mut self, field: &'static str, value: &str) -> Source {
        self.block.retain(|(name, _)| *name != field);
        self.block.push((field, value.to_owned()));
        self
    }

    pub fn code(mut self, code: &str) -> Source {
        self.code.push_str(code);
        self
    }

    pub fn flag(mut self, flag: &'static str) -> Source {
        self.flags.push(flag);
        self
    }

    fn text(&self) -> String {
        let mut text = String::from(DECLARATIONS);
        let entries: Vec<String> = self.manifest.iter().map(|entry| format!("{entry:?}")).collect();
        let manifest = entries.join("\"\\0\"");
        let table = |fields: &[(&'static str, String)]| {
            fields.iter().fold(String::new(), |mut all, (name, value)| {
                let _ = write!(all, ".{name} = {value}, ");
                all
            })
        };
        let _ = write!(
            text,
            "__attribute__((section({:?}), used)) static const char manifest[] = {manifest};\n\
             {}\nstatic const struct block block = {{ {} }};\n{} = {{ {} }};\n",
            self.section,
            self.code,
            table(&self.block),
            self.symbol,
            table(&self.driver),
        );
        text
    }

    /// Compiles it to `path`.
    pub fn compile(&self, path: &Path) {
        let source = path.with_extension("c");
        fs::write(&source, self.text()).unwrap();
        let mut flags = vec!["-shared", "-fPIC", "-O1", "-w"];
        flags.extend(&self.flags);
        compile(&source, path, &flags);
        fs::remove_file(source).unwrap();
    }
}

/// Runs the C compiler, without which these tests mean nothing.
pub fn compile(source: &Path, to: &Path, flags: &[&str]) {
    let output = Command::new("cc")
        .args(flags)
        .arg("-o")
        .args([to, source])
        .output()
        .unwrap_or_else(|error| panic!("these tests need the C compiler `cc` (package gcc): {error}"));
    assert!(output.status.success(), "cc failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with a store and room for modules.
pub struct Place {
    pub dir: TempDir,
    pub store: ModuleStore,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = ModuleStore::open(dir.path().join("store")).unwrap();
        Place { dir, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Compiles a module and returns its path.
    pub fn module(&self, name: &str, source: &Source) -> PathBuf {
        let path = self.path(name);
        source.compile(&path);
        path
    }

    /// Files in the store's own folder and in its run folder.
    pub fn files(&self) -> (Vec<String>, Vec<String>) {
        (names(self.store.dir()), names(self.store.run_dir()))
    }
}

/// Names in a folder, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}
