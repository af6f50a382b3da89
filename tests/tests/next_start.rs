//! A start takes no saved set that an activation would have asked about, and says what it takes.

use serde_json::{Value, json};
use std::os::unix::fs::FileExt;
use steadfast_tests::params::{ends, param};
use steadfast_tests::{Daemon, Result, Setup, TempDir};

fn receipts(daemon: &Daemon, device: &str) -> Result<Vec<Value>> {
    let all = daemon.api()?.get(&format!("/v1/receipts?device={device}"))?.1;
    Ok(all.as_array().cloned().unwrap_or_default())
}

fn of_start(daemon: &Daemon, device: &str) -> Result<Value> {
    let all = receipts(daemon, device)?;
    Ok(all.into_iter().rev().find(|receipt| receipt["by"]["cause"] == "start").unwrap_or_default())
}

#[test]
fn a_saved_path_to_other_contents_waits_for_an_activation() -> Result {
    let dir = TempDir::new()?;
    let (disk, other) = (dir.disk("disk.img", 32 << 20)?, dir.disk("other.img", 16 << 20)?);
    std::fs::OpenOptions::new().write(true).open(&other)?.write_all_at(b"other", 0)?;
    let setup = || Setup::device(format!("vol0=file:{}", disk.display()));
    let mut daemon = setup().start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", &format!("path={}", other.display())])?;
    let listed = ends(&daemon, 0, &["device", "list"])?;
    assert!(
        listed.contains("the next start comes up with what serves now") && listed.contains("waits"),
        "{listed}"
    );
    for round in 0..2 {
        match round {
            0 => assert!(daemon.stop()?.success()),
            _ => daemon.kill(),
        }
        daemon = setup().start(&dir)?;
        assert_eq!(daemon.device("vol0")?["size"], json!(32 << 20), "round {round}");
        assert_eq!(param(&daemon, "vol0", "path")?["current"], disk.display().to_string());
        daemon.logs("is not known to have the same contents")?;
        let receipt = of_start(&daemon, "vol0")?;
        assert_eq!((&receipt["kind"], &receipt["outcome"]), (&json!("activation"), &json!("refused")));
        assert!(receipt["reason"].to_string().contains("--force"), "{receipt:#}");
    }
    // A deliberate word takes it, and from then on it is what serves.
    ends(&daemon, 0, &["activate", "vol0", "--force"])?;
    assert!(daemon.stop()?.success());
    let daemon = setup().start(&dir)?;
    assert_eq!(daemon.device("vol0")?["size"], json!(16 << 20));
    assert!(!ends(&daemon, 0, &["device", "list"])?.contains("next start"));
    Ok(())
}

#[test]
fn a_saved_size_that_is_smaller_waits_for_an_activation_and_a_larger_one_is_taken_and_said() -> Result {
    let dir = TempDir::new()?;
    let setup = || Setup::device("vol0=ram:8M");
    let mut daemon = setup().start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "size=4M"])?;
    assert!(daemon.stop()?.success());
    let mut daemon = setup().start(&dir)?;
    assert_eq!(daemon.device("vol0")?["size"], json!(8 << 20));
    let receipt = of_start(&daemon, "vol0")?;
    assert_eq!(receipt["outcome"], "refused", "{receipt:#}");
    assert!(receipt["reason"].to_string().contains("smaller"), "{receipt:#}");
    ends(&daemon, 0, &["param", "set", "vol0", "size=16M", "io_slots=256"])?;
    for shown in [&["device", "list"][..], &["status"], &["device", "show", "vol0"]] {
        let text = ends(&daemon, 0, shown)?;
        assert!(text.contains("the next start comes up with") && text.contains("io_slots = 256"), "{text}");
    }
    assert!(daemon.stop()?.success());
    let daemon = setup().start(&dir)?;
    assert_eq!(daemon.device("vol0")?["size"], json!(16 << 20));
    let receipt = of_start(&daemon, "vol0")?;
    assert_eq!(receipt["outcome"], "done", "{receipt:#}");
    assert!(receipt["notes"].to_string().contains("io_slots"), "{receipt:#}");
    daemon.logs("which was not in force before")
}

#[test]
fn what_the_configuration_was_edited_to_is_meant_and_said() -> Result {
    let dir = TempDir::new()?;
    let (disk, other) = (dir.disk("disk.img", 8 << 20)?, dir.disk("other.img", 4 << 20)?);
    let mut daemon = Setup::device(format!("vol0=file:{}", disk.display())).start(&dir)?;
    assert!(daemon.stop()?.success());
    let daemon = Setup::device(format!("vol0=file:{}", other.display())).start(&dir)?;
    assert_eq!(daemon.device("vol0")?["size"], json!(4 << 20));
    let receipt = of_start(&daemon, "vol0")?;
    assert_eq!(receipt["outcome"], "done", "{receipt:#}");
    assert!(receipt["notes"].to_string().contains("other.img"), "{receipt:#}");
    Ok(())
}
