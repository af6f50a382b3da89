//! Any bytes as a manifest section: a manifest or an error, and a manifest that holds what it says.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use steadfast_shell::check::{CheckInput, Limits, Policy, PortSide, Side, check, choose_mode};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ShellDefaults, resolve};

fuzz_target!(|section: &[u8]| {
    let manifest = match Manifest::parse(section) {
        Ok(manifest) => manifest,
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains('\n') && message.len() < 16 * 1024, "{message:?}");
            return;
        }
    };
    assert!(manifest.memory_port.needed <= manifest.memory_port.wanted);
    assert!(manifest.ops <= 16 && manifest.port_ops <= 1024);
    for param in &manifest.params {
        if let Some(default) = &param.default {
            assert_eq!(param.parse_value(&default.to_string()).as_ref(), Ok(default));
        }
    }
    // Its own text as properties, and a comparison with itself, find something to say about anything.
    let properties: BTreeMap<String, String> = manifest.extra.iter().cloned().collect();
    let _ = resolve(&manifest.params, &properties);
    let side = Side { manifest: &manifest, hash: "" };
    let rows = check(&CheckInput {
        running: Some(side),
        candidate: side,
        offered_features: manifest.features,
        limits: Limits::NONE,
        properties: &properties,
        shell: ShellDefaults::default(),
        hardware: None,
        port: PortSide::default(),
        signature: None,
        libraries: None,
        policy: Policy::default(),
    });
    assert!(
        rows.iter()
            .all(|row| row.ok || matches!(row.name.as_str(), "abi" | "state" | "parameters" | "min_from"))
    );
    let _ = choose_mode(&manifest, false, &manifest, None);
});
