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
    Ok(())
}
