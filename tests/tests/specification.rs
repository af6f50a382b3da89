//! The specification names tests; they must exist.

use std::path::Path;
use steadfast_tests::Result;

#[test]
fn every_test_that_the_specification_names_exists() -> Result {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let text = std::fs::read_to_string(root.join("SPECIFICATION.md"))?;
    let names = text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once(".rs: "));
    let mut count = 0;
    for (file, function) in names {
        let path = root.join(format!("{file}.rs"));
        let source = std::fs::read_to_string(&path)
            .map_err(|e| anyhow::anyhow!("the specification names {}: {e}", path.display()))?;
        let test = format!("fn {function}(");
        assert!(source.contains(&test), "{} has no test {function}", path.display());
        count += 1;
    }
    assert!(count > 30, "only {count} tests are named");
    let mut seen = std::collections::BTreeSet::new();
    for number in text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()) {
        let is_number = number.ends_with(|c: char| c.is_ascii_digit()) && !number.contains(' ');
        assert!(!is_number || seen.insert(number), "two promises have the number {number}");
    }
    Ok(())
}

#[test]
fn every_path_that_the_documents_name_exists() -> Result {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/guide.md",
        "docs/operating.md",
        "docs/driver-guide.md",
        "docs/abi.md",
        "docs/simulation.md",
        "docs/threat-model.md",
    ];
    let folders = ["crates/", "frontends/", "drivers/", "tests/", "xtask/", "fuzz/", "docs/", "sim/"];
    let mut missing = Vec::new();
    for document in documents {
        let path = root.join(document);
        let text = std::fs::read_to_string(&path)?;
        let quoted = text.split('`').skip(1).step_by(2);
        for name in quoted.filter(|q| folders.iter().any(|f| q.starts_with(f)) && !q.contains([' ', '*'])) {
            if !root.join(name).exists() {
                missing.push(format!("{document}: `{name}`"));
            }
        }
        let beside = path.parent().unwrap_or(root);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|l| !l.contains(':') && !l.starts_with('#')) {
            let file = link.split('#').next().unwrap_or(link);
            if !beside.join(file).exists() {
                missing.push(format!("{document}: link to {link}"));
            }
        }
    }
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
    Ok(())
}
