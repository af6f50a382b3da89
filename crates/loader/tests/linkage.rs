//! What the dynamic linker would take on trust is looked at before it sees a module: what it would load
//! beside it, and whether its dynamic sections make sense.

mod support;

use std::fs;

use object::LittleEndian as Le;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader};
use steadfast_loader::LoadErrorKind as Kind;
use support::{Place, Source, compile};

/// A module with a little of everything: another symbol, thread-local data, constructors, calls of libc.
fn rich() -> Source {
    Source::new()
        .code(
            "#include <stdlib.h>\n#include <string.h>\n#include <stdio.h>\n\
             __thread int mine = 7; __thread char more[64];\n\
             __attribute__((constructor)) static void start(void) { mine++; more[0] = 1; }\n\
             __attribute__((destructor)) static void stop(void) { mine--; }\n\
             void *table[] = { (void *)malloc, (void *)free, (void *)memcpy, (void *)start };\n\
             int use(void) { char b[64]; snprintf(b, 64, \"%d\", rand()); return (int)strlen(b) + mine; }\n",
        )
        .flag("-Wl,--build-id")
}

#[test]
fn a_module_of_any_linker_is_taken() {
    let place = Place::new();
    for (name, flags) in [
        ("plain", &[][..]),
        ("both-hashes", &["-Wl,--hash-style=both"]),
        ("old-hash", &["-Wl,--hash-style=sysv"]),
        ("now", &["-Wl,-z,now", "-Wl,-z,relro"]),
        ("lazy", &["-Wl,-z,lazy", "-Wl,-z,norelro"]),
        ("one-segment", &["-Wl,-z,noseparate-code"]),
        ("large-pages", &["-Wl,-z,max-page-size=65536"]),
        ("symbolic", &["-Wl,-Bsymbolic"]),
        ("soname", &["-Wl,-soname,mine.so"]),
        ("thread-descriptors", &["-mtls-dialect=gnu2"]),
        ("maths", &["-lm", "-lgcc_s", "-lpthread", "-Wl,--no-as-needed"]),
    ] {
        let mut source = rich();
        source.flags.extend(flags);
        if cfg!(target_arch = "aarch64") && name == "thread-descriptors" {
            continue;
        }
        let staged =
            place.store.stage(place.module("module.so", &source)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(staged.refusal().map(|e| e.to_string()), None, "{name}");
        staged.load().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// A library that leaves a mark when it is loaded.
fn library(place: &Place, name: &str) {
    let source = place.path("library.c");
    let mark = place.path("it-ran");
    let code = format!(
        "#include <fcntl.h>\n__attribute__((constructor)) static void run(void) {{ open({mark:?}, O_CREAT, 0600); }}\n\
         int other(void) {{ return 1; }}\n"
    );
    fs::write(&source, code).unwrap();
    compile(&source, &place.path(name), &["-shared", "-fPIC"]);
}

/// Stages and loads a module that was linked with more arguments; it must be refused, and nothing but its
/// own code may have run.
fn refused(place: &Place, flags: &[String], kind: Kind, words: &str) {
    let path = place.path("module.so");
    let mut module = Source::new().code("int other(void); int use(void) { return other(); }");
    module.flags.extend(flags.iter().map(|flag| &*Box::leak(flag.clone().into_boxed_str())));
    module.compile(&path);
    let staged = place.store.stage(&path).unwrap();
    let row = staged.libraries.row();
    assert!(!row.ok && row.detail.contains(words), "{words}: {row:?}");
    assert!(!staged.path.exists(), "it is in the store");
    let error = staged.load().expect_err("it was loaded");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(!place.path("it-ran").exists(), "{words}: the library's code ran");
    assert_eq!(place.store.try_out(&staged).unwrap_err().kind(), kind);
}

#[test]
fn a_module_brings_no_other_file_along() {
    let place = Place::new();
    library(&place, "libother.so");
    let dir = place.dir.path().display();
    let with = |more: &[String]| {
        [
            vec!["-L".to_owned() + &dir.to_string(), "-Wl,--no-as-needed".to_owned(), "-lother".to_owned()],
            more.to_vec(),
        ]
        .concat()
    };
    refused(&place, &with(&[]), Kind::Libraries, "it needs libother.so");
    let path = place.path("libother.so").display().to_string();
    refused(&place, &["-Wl,--no-as-needed".to_owned(), path], Kind::Libraries, "libother.so");
    let runpath = format!("-Wl,--enable-new-dtags,-rpath,{dir}");
    refused(&place, &with(&[runpath]), Kind::Libraries, "it has DT_RUNPATH");
    let rpath = format!("-Wl,--disable-new-dtags,-rpath,{dir}");
    refused(&place, &with(&[rpath]), Kind::Libraries, "it has DT_RPATH");
    for (flag, entry) in [
        ("--audit", "DT_AUDIT"),
        ("--depaudit", "DT_DEPAUDIT"),
        ("--filter", "DT_FILTER"),
        ("--auxiliary", "DT_AUXILIARY"),
    ] {
        let path = format!("-Wl,{flag}={dir}/libother.so");
        refused(&place, &[path, "-Wl,-z,undefs".to_owned()], Kind::Libraries, entry);
    }
    refused(
        &place,
        &["-Wl,-soname,libm.so.6".to_owned()],
        Kind::Libraries,
        "it goes by the name of libm.so.6",
    );
}

#[test]
fn a_module_whose_code_would_be_written_to_is_refused() {
    let place = Place::new();
    let source = Source::new()
        .code("__attribute__((section(\".text\"))) void *in_code = (void *)&submits;")
        .flag("-Wl,-z,notext");
    let error = place.store.stage(place.module("module.so", &source)).expect_err("it was taken");
    assert_eq!(error.kind(), Kind::Unmappable, "{error}");
    assert!(error.to_string().contains("-fPIC"), "{error}");
}

/// Parts of a module that the dynamic linker reads: their names, where they are, how long.
fn parts(bytes: &[u8]) -> Vec<(String, usize, usize)> {
    let header = FileHeader64::<Le>::parse(bytes).unwrap();
    let sections = header.sections(Le, bytes).unwrap();
    let named = [
        ".dynamic",
        ".dynsym",
        ".dynstr",
        ".gnu.hash",
        ".hash",
        ".rela.dyn",
        ".rela.plt",
        ".gnu.version",
        ".gnu.version_r",
    ];
    let mut parts: Vec<(String, usize, usize)> = sections
        .iter()
        .filter_map(|section| {
            let name = String::from_utf8_lossy(sections.section_name(Le, section).unwrap()).into_owned();
            let (at, size) = section.file_range(Le)?;
            named.contains(&name.as_str()).then_some((name, at as usize, size as usize))
        })
        .collect();
    let programs = usize::from(header.e_phnum(Le)) * size_of::<elf::ProgramHeader64<Le>>();
    parts.push(("program headers".to_owned(), header.e_phoff(Le) as usize, programs));
    parts
}

/// The next of a row of numbers that only look like chance.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn most_damages_are_seen_without_mapping_anything_and_none_is_met_with_a_panic() {
    let place = Place::new();
    let path = place.module("module.so", &rich().flag("-Wl,--hash-style=both"));
    let whole = fs::read(&path).unwrap();
    let parts = parts(&whole);
    assert!(parts.len() >= 9, "{parts:?}");
    let (mut state, mut seen, mut tried) = (0x5eed_0001, 0, 0);
    let mut unseen = std::collections::BTreeMap::new();
    for round in 0..1500 {
        let (name, at, size) = &parts[round % parts.len()];
        let mut bytes = whole.clone();
        let place_in = at + next(&mut state) as usize % size;
        let length = [1, 1, 4, 8][next(&mut state) as usize % 4].min(at + size - place_in);
        let value = next(&mut state).to_le_bytes();
        bytes[place_in..place_in + length].copy_from_slice(&value[..length]);
        if bytes == whole {
            continue;
        }
        tried += 1;
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = place.store.examine(&path) {
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()), "{name}: {text}");
            seen += 1;
        } else {
            *unseen.entry(name).or_insert(0) += 1;
        }
    }
    // What is left are other strings and other numbers that make sense.
    assert!(seen * 10 > tried * 8, "{seen} of {tried} damages were seen, not these: {unseen:?}");
}

#[test]
fn a_file_that_is_written_to_meanwhile_is_not_taken_for_a_module() {
    let place = Place::new();
    let path = place.module("module.so", &Source::new());
    let staged = place.store.examine(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = place.store.try_out(&staged).expect_err("it is another file by now");
    assert!(error.to_string().contains("being written to"), "{error}");
}
