//! Finding modules by name in folders.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use steadfast_loader::{LoadErrorKind as Kind, ModuleName, find_modules, locate, resolve};
use support::{Source, compile};
use tempfile::TempDir;

/// Two folders, the first searched first.
fn folders() -> (TempDir, [PathBuf; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let folders = [dir.path().join("first"), dir.path().join("second")];
    folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    (dir, folders)
}

fn module(folder: &Path, file: &str, name: &str, version: &str) -> PathBuf {
    let path = folder.join(file);
    Source::new().entry("name", name).entry("version", version).compile(&path);
    path
}

fn found(folders: &[PathBuf]) -> Vec<(String, String, String)> {
    let modules = find_modules(folders).modules.into_iter();
    let file = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    modules.map(|m| (m.manifest.name, m.manifest.version.to_string(), file(m.path))).collect()
}

#[test]
fn modules_are_listed_by_name_and_newest_first() {
    let (_dir, folders) = folders();
    module(&folders[0], "a.so", "file", "1.9.0");
    module(&folders[1], "b.so", "file", "1.10.0");
    module(&folders[1], "c.so", "disk", "2.0.0");
    module(&folders[1], "d.so", "file", "1.9.0");
    let expected = [
        ("disk", "2.0.0", "c.so"),
        ("file", "1.10.0", "b.so"),
        ("file", "1.9.0", "a.so"),
        ("file", "1.9.0", "d.so"),
    ];
    assert_eq!(found(&folders), expected.map(|(n, v, f)| (n.to_owned(), v.to_owned(), f.to_owned())));
}

#[test]
fn a_module_reached_twice_is_listed_once() {
    let (_dir, folders) = folders();
    let path = module(&folders[0], "a.so", "file", "1.0.0");
    symlink(&path, folders[1].join("link.so")).unwrap();
    let twice = [folders[0].clone(), folders[0].clone(), folders[1].clone()];
    assert_eq!(found(&twice).len(), 1);
}

#[test]
fn what_is_no_driver_is_passed_over_and_a_broken_driver_is_told() {
    let (dir, folders) = folders();
    let folder = &folders[0];
    let source = dir.path().join("plain.c");
    fs::write(&source, "int plain;").unwrap();
    compile(&source, &folder.join("plain.so"), &["-shared", "-fPIC"]);
    fs::copy(folder.join("plain.so"), folder.join("libsteadfast_driver_derive-0f.so")).unwrap();
    fs::write(folder.join("text.so"), b"INPUT(libc.so.6)").unwrap();
    fs::write(folder.join("module.txt"), b"").unwrap();
    fs::create_dir(folder.join("folder.so")).unwrap();
    symlink("nowhere", folder.join("dangling.so")).unwrap();
    fs::write(folder.join("libsteadfast_driver_cut.so"), b"\x7fELF").unwrap();
    Source::new().entry("abuot", "typo").compile(&folder.join("typo.so"));
    let found = find_modules(&folders);
    assert!(found.modules.is_empty());
    let refused: Vec<_> = found.refused.iter().map(|error| error.kind()).collect();
    assert_eq!(refused, [Kind::Damaged, Kind::BadManifest]);
    assert!(found.refused[0].to_string().contains("libsteadfast_driver_cut.so: cut off"));
}

#[test]
fn folders_that_are_not_there_are_empty_and_others_are_told() {
    let (dir, _) = folders();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let found = find_modules(&[dir.path().join("missing"), file.clone()]);
    assert!(found.modules.is_empty());
    assert_eq!(found.refused.len(), 1);
    assert_eq!(found.refused[0].file, file);
}

#[test]
fn a_name_means_the_newest_release_and_a_version_itself() {
    let (_dir, folders) = folders();
    for version in ["1.0.0", "1.1.0", "1.1.2", "2.0.0-rc.1"] {
        module(&folders[0], &format!("{version}.so"), "file", version);
    }
    let version = |text: &str| {
        let module = resolve(&text.parse::<ModuleName>().unwrap(), &folders).unwrap();
        module.manifest.version.to_string()
    };
    assert_eq!(version("file"), "1.1.2");
    assert_eq!(version("file@1.1.0"), "1.1.0");
    assert_eq!(version("file@1.1"), "1.1.2");
    assert_eq!(version("file@1"), "1.1.2");
    assert_eq!(version("file@<1.1"), "1.0.0");
    assert_eq!(version("file@>=1.0, <1.1.2"), "1.1.0");
    assert_eq!(version("file@2.0.0-rc.1"), "2.0.0-rc.1");
    module(&folders[0], "only.so", "next", "3.0.0-beta.2");
    assert_eq!(version("next"), "3.0.0-beta.2", "a pre-release where there is no release");
}

#[test]
fn a_driver_that_is_not_there_is_told_with_what_is() {
    let (_dir, folders) = folders();
    module(&folders[0], "a.so", "file", "1.0.0");
    for (name, words) in [("flie", "flie: no such driver: there is file@1.0.0"), ("file@1.0.1", "file@1.0.1")]
    {
        let error = locate(name, &folders).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains(folders[0].to_str().unwrap()), "{error}");
    }
    for odd in ["", "@1.0", "file@", "file@one", "file@1.0.0.0"] {
        assert_eq!(locate(odd, &folders).unwrap_err().kind(), Kind::NotFound, "{odd}");
    }
}

#[test]
fn a_path_is_a_path_and_a_name_a_name() {
    let (_dir, folders) = folders();
    let path = module(&folders[0], "a.so", "file", "1.0.0");
    for text in ["./file", "dir/file@1.0", "file.so", "/a/b"] {
        assert_eq!(locate(text, &folders).unwrap(), Path::new(text));
    }
    assert_eq!(locate("file", &folders).unwrap(), path);
}
