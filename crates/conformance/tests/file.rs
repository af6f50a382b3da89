//! What the driver `file` says when it can't serve a file, and what it does to a file that it can.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use steadfast_loader::{ModuleStore, StagedModule};
use steadfast_runtime::{DeviceInfo, Engine, EngineConfig, PortSpec};

struct Bench {
    engine: Engine,
    folder: tempfile::TempDir,
    module: StagedModule,
}

impl Bench {
    fn new(driver: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let exe = std::env::current_exe().unwrap();
        let module = exe.parent().unwrap().join(format!("libsteadfast_driver_{driver}.so"));
        let store = ModuleStore::open(folder.path().join("store")).unwrap();
        let module = store.stage(&module).unwrap();
        let engine = Engine::start(EngineConfig::default()).unwrap();
        Bench { engine, folder, module }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    fn attach(&self, port: &str, params: &[(&str, &str)]) -> Result<DeviceInfo, String> {
        let spec = PortSpec {
            name: port.into(),
            module: Arc::new(self.module.load().unwrap()),
            params: params.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            queues: None,
            adapter: None,
        };
        self.engine.attach(spec).map_err(|e| e.to_string())?;
        Ok(self.engine.devices().into_iter().find(|d| d.port == port).unwrap())
    }

    fn attach_path(&self, port: &str, path: &Path) -> Result<DeviceInfo, String> {
        self.attach(port, &[("path", path.to_str().unwrap())])
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for port in self.engine.ports() {
            let _ = self.engine.detach(&port.name, true);
        }
        self.engine.stop(Duration::from_millis(200));
    }
}

fn both(test: impl Fn(Bench)) {
    for driver in ["file_1_0", "file_1_1"] {
        test(Bench::new(driver));
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    both(|bench| {
        let path = bench.path("nowhere.img");
        let error = bench.attach_path("a", &path).unwrap_err();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(bench.engine.ports().is_empty());
    });
}

#[test]
fn an_empty_file_is_named_with_its_size() {
    both(|bench| {
        let path = bench.file("empty.img", 0);
        let error = bench.attach_path("a", &path).unwrap_err();
        assert!(error.contains(&format!("{}: size 0", path.display())), "{error}");
    });
}

#[test]
fn a_folder_is_refused() {
    both(|bench| {
        let path = bench.folder.path().to_owned();
        let error = bench.attach_path("a", &path).unwrap_err();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    });
}

#[test]
fn a_missing_path_is_named() {
    both(|bench| {
        let error = bench.attach("a", &[]).unwrap_err();
        assert!(error.contains("path"), "{error}");
    });
}

#[test]
fn a_file_is_served_once_at_a_time() {
    both(|bench| {
        let path = bench.file("disk.img", 1 << 20);
        bench.attach_path("a", &path).unwrap();
        let error = bench.attach_path("b", &path).unwrap_err();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        bench.engine.detach("a", false).unwrap();
        bench.attach_path("b", &path).unwrap();
    });
}

#[test]
fn the_device_is_as_large_as_the_file() {
    both(|bench| {
        let device = bench.attach_path("a", &bench.file("odd.img", 123_457)).unwrap();
        assert_eq!(device.size, 123_457);
        assert!(device.feature_names.iter().any(|f| f == "flush"));
    });
}

#[test]
fn a_read_only_device_says_so_and_leaves_the_file_as_it_was() {
    both(|bench| {
        let path = bench.file("disk.img", 1 << 20);
        let params = [("path", path.to_str().unwrap()), ("read_only", "true")];
        let device = bench.attach("a", &params).unwrap();
        assert!(device.feature_names.iter().any(|f| f == "read-only"), "{:?}", device.feature_names);
        assert!(!device.feature_names.iter().any(|f| f == "trim" || f == "write-zeroes"));
    });
}
