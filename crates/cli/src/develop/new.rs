//! `steadfast driver new`: a small, complete driver project.

use super::sdk;
use crate::args::develop::{DriverNew, Language};
use crate::failure::{Exit, Failure};
use crate::output;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The name that stands in the templates.
const TEMPLATE: &str = "my-driver";

const RUST: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../templates/rust/Cargo.toml")),
    ("README.md", include_str!("../../templates/rust/README.md")),
    (".gitignore", include_str!("../../templates/rust/gitignore")),
    ("src/lib.rs", include_str!("../../templates/rust/src/lib.rs")),
    ("tests/conformance.rs", include_str!("../../templates/rust/tests/conformance.rs")),
];

const C: &[(&str, &str)] = &[
    ("Makefile", include_str!("../../templates/c/Makefile")),
    ("README.md", include_str!("../../templates/c/README.md")),
    (".gitignore", include_str!("../../templates/c/gitignore")),
];

/// Names that a Rust crate can't have, or that the project's own dependencies have.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "minicbor",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc-macro2",
    "pub",
    "quote",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "steadfast-abi",
    "steadfast-driver",
    "steadfast-driver-derive",
    "struct",
    "super",
    "syn",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unicode-ident",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Writes the project and says what to do next.
pub(crate) fn new(new: &DriverNew) -> Result<Exit, Failure> {
    check_name(&new.name, new.lang)?;
    if new.sdk.is_some() && new.lang == Language::C {
        return Err(Failure::new("--sdk is for Rust; a driver in C needs nothing but the header"));
    }
    let folder = new.path.clone().unwrap_or_else(|| PathBuf::from(&new.name));
    let files = match new.lang {
        Language::Rust => rust(&new.name, new.sdk.as_deref())?,
        Language::C => c(&new.name),
    };
    make_folder(&folder)?;
    for (name, text) in &files {
        write(&folder.join(name), text)?;
    }
    output::print(&next(&new.name, new.lang, &folder, files.len()))?;
    Ok(Exit::Done)
}

/// The rule for a driver's name is the manifest's; Rust has rules of its own on top.
fn check_name(name: &str, lang: Language) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::new(format!("driver name `{name}`: {why}")));
    if let Err(allowed) = steadfast_daemon::check_driver_name(name) {
        return refuse(&format!("allowed is {allowed}"));
    }
    if !name.as_bytes()[0].is_ascii_lowercase() || name.ends_with('-') {
        return refuse("begins with a letter and does not end with `-`");
    }
    if lang == Language::Rust && TAKEN.contains(&name) {
        return refuse("a crate can't be called that: it means something to Rust, or to the SDK");
    }
    Ok(())
}

/// Path and contents of every file of a project in Rust.
fn rust(name: &str, sdk: Option<&Path>) -> Result<BTreeMap<String, String>, Failure> {
    let mut files = filled(RUST, name);
    match sdk {
        Some(folder) => {
            let place = find_sdk(folder)?;
            let own = "path = \"sdk/driver\"";
            if let Some(manifest) = files.get_mut("Cargo.toml") {
                // A string of TOML with these two escaped is any path that is UTF-8.
                let place = place.replace('\\', "\\\\").replace('"', "\\\"");
                *manifest = manifest.replace(own, &format!("path = \"{place}\""));
            }
            if let Some(readme) = files.get_mut("README.md") {
                *readme = readme.replace(" `sdk/` is a copy of the SDK that it is built with.", "");
            }
        }
        None => {
            files.extend(sdk::files().map(|(path, text)| (format!("sdk/{path}"), text.to_owned())));
        }
    }
    Ok(files)
}

/// Where the crate `steadfast-driver` is, in a folder that the user names.
fn find_sdk(folder: &Path) -> Result<String, Failure> {
    let here = [folder.join("driver"), folder.join("crates/driver"), folder.to_owned()];
    let is_sdk = |place: &&PathBuf| {
        let manifest = steadfast_daemon::read_text(&place.join("Cargo.toml"));
        manifest.is_ok_and(|text| text.lines().any(|line| line.trim() == "name = \"steadfast-driver\""))
    };
    let shown = folder.display();
    let Some(place) = here.iter().find(is_sdk) else {
        return Err(Failure::new(format!("--sdk {shown}: there is no crate steadfast-driver in it"))
            .hint("name the folder `crates` of Steadfast's sources, or leave --sdk out: a copy comes with the project"));
    };
    let place = fs::canonicalize(place).map_err(|e| Failure::new(format!("--sdk {shown}: {e}")))?;
    place
        .into_os_string()
        .into_string()
        .map_err(|_| Failure::new(format!("--sdk {shown}: the path is not UTF-8")))
}

/// Path and contents of every file of a project in C.
fn c(name: &str) -> BTreeMap<String, String> {
    let mut files = filled(C, name);
    files.insert("steadfast.h".to_owned(), sdk::HEADER.to_owned());
    files.insert("driver.c".to_owned(), driver_c(name));
    files
}

/// The example that comes with the header, under another name and with a beginning of its own.
fn driver_c(name: &str) -> String {
    let (_, body) = sdk::EXAMPLE.split_once("#include \"steadfast.h\"").unwrap_or(("", sdk::EXAMPLE));
    let head = format!(
        "/* {name}: a device in memory that keeps its contents while its driver is replaced.\n \
         *\n \
         * Edit, `make`, `steadfast update` (or let `steadfast driver watch` do that): the device stays.\n \
         */\n"
    );
    format!("{head}#include \"steadfast.h\"{}", body.replace("c-memory", name))
}

fn filled(templates: &[(&str, &str)], name: &str) -> BTreeMap<String, String> {
    let (dashes, underscores) = (TEMPLATE, TEMPLATE.replace('-', "_"));
    let fill = |text: &str| text.replace(dashes, name).replace(&underscores, &name.replace('-', "_"));
    templates.iter().map(|(path, text)| ((*path).to_owned(), fill(text))).collect()
}

/// Makes the folder; one that is there must be empty.
fn make_folder(folder: &Path) -> Result<(), Failure> {
    let failed = |e| Failure::new(format!("{}: {e}", folder.display()));
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::new(format!("{}: the folder is not empty", folder.display()))
                .hint("nothing is ever overwritten; choose another folder with --path DIR")),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => fs::create_dir_all(folder).map_err(failed),
        Err(e) => Err(failed(e)),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |e| Failure::new(format!("{}: {e}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}

fn next(name: &str, lang: Language, folder: &Path, count: usize) -> String {
    let shown = folder.display();
    let (build, module) = match lang {
        Language::Rust => ("cargo build", format!("target/debug/lib{}.so", name.replace('-', "_"))),
        Language::C => ("make", format!("./{name}.so")),
    };
    format!(
        "{shown}: {count} files\n\n\
         \x20   cd {shown}\n\
         \x20   {build}\n\
         \x20   steadfast driver test {module}\n\
         \x20   steadfast driver watch DEVICE . --build '{build}'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, lang: Language) -> String {
        check_name(name, lang).expect_err("not a name").message
    }

    #[test]
    fn names_are_those_that_a_manifest_takes() {
        for name in ["a", "my-disk", "disk2"] {
            assert!(check_name(name, Language::Rust).is_ok(), "{name}");
        }
        for name in ["", "My-Disk", "my_disk", "../x", "-x", "2x", "x-", &"x".repeat(33)] {
            assert!(refused(name, Language::C).contains(&format!("`{name}`")));
        }
        assert!(refused("fn", Language::Rust).contains("crate"));
        assert!(check_name("fn", Language::C).is_ok(), "C does not mind");
    }

    #[test]
    fn nothing_of_the_templates_name_is_left() {
        let rust = rust("my-disk", None).expect("the SDK that comes along");
        for (path, text) in rust.iter().filter(|(path, _)| !path.starts_with("sdk/")).chain(&c("my-disk")) {
            for word in ["my-driver", "my_driver", "c-memory", "crates/"] {
                assert!(path == "steadfast.h" || !text.contains(word), "{path}: {word}");
            }
        }
        assert!(rust["src/lib.rs"].contains("schema = \"my-disk/1\""));
        assert!(rust["tests/conformance.rs"].contains("libmy_disk.so"));
        assert!(c("my-disk")["driver.c"].contains("STEADFAST_ENTRY(\"name\", \"my-disk\")"));
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("README.md");
        fs::write(&path, "mine").expect("written");
        assert!(make_folder(folder.path()).expect_err("not empty").message.contains("not empty"));
        assert!(write(&path, "other").is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "mine");
    }
}
