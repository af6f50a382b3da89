//! `include/steadfast.h` says what the Rust definitions say: every size, offset and constant is
//! compiled into a C file full of `_Static_assert`s. And the header is enough to build drivers with.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use steadfast_abi as abi;

/// Size, alignment and every field of one structure. Leaving a field out does not compile.
macro_rules! layout {
    ($out:ident, $rust:ident, $c:literal, { $($field:ident $(as $name:literal)?),* $(,)? }) => {{
        #[allow(clippy::needless_pass_by_value, dead_code)]
        fn every_field(v: &abi::$rust) { let abi::$rust { $($field: _),* } = v; }
        writeln!($out, "SAME(sizeof({}), {});", $c, size_of::<abi::$rust>()).unwrap();
        writeln!($out, "SAME(_Alignof({}), {});", $c, align_of::<abi::$rust>()).unwrap();
        $(
            let name = stringify!($field);
            $( let name = { let _ = name; $name }; )?
            let name = name.trim_start_matches("r#");
            writeln!($out, "SAME(offsetof({}, {name}), {});", $c, offset_of!(abi::$rust, $field)).unwrap();
        )*
    }};
}

fn layouts(out: &mut String) {
    layout!(out, Str, "sf_str", { ptr, len });
    layout!(out, Port, "sf_port", {
        size, number, adapter, queues, shell, arena, arena_size, features, driver_data, cx
    });
    layout!(out, Queue, "sf_queue", {
        size, index, port, shell, slots, pdus, data, slot_stride, pdu_stride, data_stride, data_size,
        slot_count, arena, arena_size, driver_data, cx
    });
    layout!(out, Request, "sf_request", {
        tag, device, op, flags, serial, offset, length, submitted_ns, result, reserved
    });
    layout!(out, Extent, "sf_extent", { length, flags });
    layout!(out, Seg, "sf_seg", { memory, index, offset, length });
    layout!(out, Op, "sf_op", {
        size, code, flags, handle, tag, cookie, offset, length, arg, segs, seg_count, reserved
    });
    layout!(out, Event, "sf_event", { size, code, flags, tag, id, cookie, result, request });
    layout!(out, BlockDevice, "sf_block_device", {
        struct_size, number, size, block_size, preferred_block_size, max_transfer, reserved, features, wwid
    });
    layout!(out, Open, "sf_open", { size, kind, flags, key, target, local, options });
    layout!(out, HandleInfo, "sf_handle_info", {
        struct_size, kind, size, block_size, preferred_block_size, read_only, rotational, can_punch, can_zero,
        features, path, reserved
    });
    layout!(out, Region, "sf_region", { struct_size, number, data, size, created, reserved });
    layout!(out, Completion, "sf_completion", { tag, serial, result, reserved });
    layout!(out, Dma, "sf_dma", { struct_size, flags, address, length });
    layout!(out, Value, "sf_value", { struct_size, kind, number, text });
    layout!(out, ShellOps, "sf_shell_ops", {
        size, abi_major, abi_minor, issue, cancel, complete, timer, set_state, get_state, announce, withdraw,
        open, close, handle_info, region, property, log, now, give_back, reduce, complete_serial, complete_many, issue_many, map_data, table, dma
    });
    layout!(out, Probe, "sf_probe", { size, revision, hwid });
    layout!(out, BlockOps, "sf_block_ops", { size, reserved, submit, commit, abort, submit_many });
    layout!(out, Driver, "sf_driver", {
        size, abi_major, abi_minor, class as "class_id", pdu_size, manifest, probe, prepare, connect,
        disconnect, reconnect, release, queue_start, queue_stop, event, timer, adopt, param_changed,
        class_ops, queue_run, hand_back, save_state, event_answer, events
    });
}

/// A type of the definition as C writes it.
fn c_type(rust: &str) -> String {
    let name = |rust: &str| {
        let words = rust.chars().fold(String::new(), |mut all, letter| {
            if letter.is_ascii_uppercase() {
                all.push('_');
            }
            all.push(letter.to_ascii_lowercase());
            all
        });
        format!("sf{words}")
    };
    match rust.trim() {
        "i32" => "int32_t".to_owned(),
        "u32" => "uint32_t".to_owned(),
        "u64" => "uint64_t".to_owned(),
        other => match (other.strip_prefix("*mut "), other.strip_prefix("*const ")) {
            (Some(to), _) => format!("{} *", c_type(to)),
            (_, Some(to)) => format!("const {} *", c_type(to)),
            _ => name(other),
        },
    }
}

/// Every entry point has in C the type that the one definition of its table gives it.
fn entry_points(out: &mut String, table: &str, fields: &[abi::Field]) -> usize {
    let entries = fields.iter().filter(|field| field.kind != abi::FieldKind::Data);
    entries.fold(0, |count, field| {
        let signature = field.signature.split_whitespace().collect::<Vec<_>>().join(" ");
        let (head, result) = signature.rsplit_once("->").unwrap_or((&signature, "void"));
        let (_, arguments) = head.split_once("fn(").expect("a function");
        let arguments = arguments.trim().trim_end_matches(')').trim_end_matches(',');
        let argument = |text: &str| c_type(text.split_once(':').map_or(text, |(_, kind)| kind));
        let arguments: Vec<String> = arguments.split(',').map(argument).collect();
        let result = if result == "void" { result.to_owned() } else { c_type(result) };
        let (name, arguments) = (field.name, arguments.join(", "));
        writeln!(
            out,
            "_Static_assert(__builtin_types_compatible_p(__typeof__((({table} *)0)->{name}), \
             {result} (*)({arguments})), \"{table}.{name}\");"
        )
        .unwrap();
        count + 1
    })
}

/// How the constants of each Rust module begin in C.
const PREFIXES: &[(&str, &str)] = &[
    ("", "SF_"),
    ("class", "SF_CLASS_"),
    ("block_op", "SF_BLOCK_"),
    ("block_flag", "SF_BLOCK_"),
    ("block_feature", "SF_FEATURE_"),
    ("extent", "SF_EXTENT_"),
    ("op", "SF_OP_"),
    ("op_flag", "SF_OP_"),
    ("fallocate", "SF_FALLOCATE_"),
    ("memory", "SF_MEMORY_"),
    ("level", "SF_LEVEL_"),
    ("open_kind", "SF_OPEN_"),
    ("open_flag", "SF_OPEN_"),
    ("handle_kind", "SF_HANDLE_"),
    ("value_kind", "SF_VALUE_"),
    ("path", "SF_PATH_"),
    ("dma_flag", "SF_DMA_"),
];

/// Every integer constant in the Rust source, by its own text, so that none is forgotten. Returns how
/// many there are.
fn constants(out: &mut String, source: &str) -> usize {
    let mut module = String::new();
    let mut count = 0;
    for line in source.lines() {
        let text = line.trim();
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|l| l.strip_suffix(" {")) {
            module = name.to_owned();
        } else if line == "}" {
            module.clear();
        } else if let Some(rest) = text.strip_prefix("pub const ") {
            let Some((name, rest)) = rest.split_once(": ") else { continue };
            let Some((kind, value)) = rest.split_once(" = ") else { continue };
            if !["u16", "u32", "u64", "i32", "usize"].contains(&kind) {
                continue;
            }
            let prefix = PREFIXES.iter().find(|(rust, _)| *rust == module);
            let (_, prefix) = prefix.unwrap_or_else(|| panic!("no C prefix for the constants of {module}"));
            let value = value.trim_end_matches(';');
            let value = value.replace("i32::MAX", "INT32_MAX").replace("u32::MAX", "UINT32_MAX");
            writeln!(out, "SAME({prefix}{name}, {value});").unwrap();
            count += 1;
        }
    }
    count
}

fn compile(args: &[&str], input: &Path, output: &Path) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let result = Command::new(&compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(include)
        .args(args)
        .arg(input)
        .arg("-o")
        .arg(output)
        .output()
        .unwrap_or_else(|e| panic!("{compiler}: {e}"));
    assert!(result.status.success(), "{}: {}", input.display(), String::from_utf8_lossy(&result.stderr));
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn the_c_header_agrees_with_rust() {
    let mut out =
        String::from("#include \"steadfast.h\"\n#define SAME(c, rust) _Static_assert((c) == (rust), #c)\n");
    layouts(&mut out);
    let entries = entry_points(&mut out, "sf_driver", abi::Driver::FIELDS)
        + entry_points(&mut out, "sf_block_ops", abi::BlockOps::FIELDS);
    assert!(entries >= 21, "only {entries} entry points");
    let sources = [
        include_str!("../src/lib.rs"),
        include_str!("../src/block.rs"),
        include_str!("../src/driver.rs"),
        include_str!("../src/operation.rs"),
        include_str!("../src/shell.rs"),
    ];
    let found: usize = sources.iter().map(|source| constants(&mut out, source)).sum();
    assert!(found > 60, "only {found} constants were found in the source");
    let input = scratch("header_check.c");
    std::fs::write(&input, out).unwrap();
    compile(&["-std=c11", "-c"], &input, &scratch("header_check.o"));
}

#[test]
fn the_header_is_valid_cplusplus() {
    let input = scratch("header_check.cc");
    std::fs::write(&input, "#include \"steadfast.h\"\nsf_driver table;\n").unwrap();
    compile(&["-x", "c++", "-std=c++17", "-c"], &input, &scratch("header_check_cc.o"));
}

#[test]
fn the_driver_in_c_builds_and_has_its_manifest() {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/memory.c");
    let output = scratch("memory.so");
    compile(&["-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"], &input, &output);
    let image = std::fs::read(&output).unwrap();
    let wanted = b"manifest=1\0abi=1.2\0name=c-memory\0version=1.0.0\0class=block\0";
    assert!(image.windows(wanted.len()).any(|w| w == wanted), "no manifest in {}", output.display());
}
