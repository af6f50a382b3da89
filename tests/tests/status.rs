//! `steadfast status`: one screen, and an exit code from health.

use serde_json::Value;
use steadfast_tests::{Daemon, Result, Setup, TempDir, until};

/// Its exit code and what it prints.
fn status(daemon: &Daemon) -> Result<(Option<i32>, String)> {
    let output = daemon.cli(&["status"])?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn one_screen_and_an_exit_code_say_whether_somebody_is_needed() -> Result {
    let dir = TempDir::new()?;
    let image = dir.disk("a.img", 1 << 20)?;
    let daemon = Setup::device("vol0=file:a.img").and_device("vol1=ram:1M").start(&dir)?;
    let (code, text) = status(&daemon)?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("healthy") && text.contains("vol0") && text.contains("vol1"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    std::fs::remove_file(image)?;
    let wrong = until("the missing file is seen", || {
        let (code, text) = status(&daemon)?;
        Ok((code == Some(6)).then_some(text))
    })?;
    assert!(wrong.contains("! port vol0: missing") && !wrong.contains("! port vol1"), "{wrong}");
    let json: Value = serde_json::from_slice(&daemon.cli(&["status", "-o", "json"])?.stdout)?;
    assert_eq!(json["health"]["troubles"][0]["port"], "vol0", "{json:#}");
    assert_eq!(json["devices"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[test]
fn what_is_wrong_is_said_once_and_what_goes_back_is_shown() -> Result {
    let dir = TempDir::new()?;
    let gone = format!("gone=file:{},required=false", dir.join("gone.img").display());
    let daemon = Setup::device("vol0=ram:16M").and_device(gone).start(&dir)?;
    daemon.cli(&["param", "set", "vol0", "link_speed=16"])?;
    daemon.cli(&["activate", "vol0", "--confirm-within", "60m"])?;
    let (code, text) = status(&daemon)?;
    assert_eq!(code, Some(6), "{text}");
    assert_eq!(text.matches("! port gone").count(), 1, "{text}");
    assert!(text.contains("! port gone: absent: ") && !text.contains("absent: absent"), "{text}");
    assert!(text.contains("unless it is confirmed"), "{text}");
    let listed = daemon.cli(&["device", "list"])?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("unless it is confirmed"), "{listed}");
    let health = daemon.api()?.get("/v1/health")?.1;
    assert_eq!(
        (&health["troubles"][0]["code"], &health["troubles"][0]["port"]),
        (&"absent".into(), &"gone".into())
    );
    assert!(health["degraded"].to_string().contains("port gone: absent: "), "{health:#}");
    Ok(())
}

#[test]
fn a_configuration_that_cannot_be_read_again_is_said_until_it_can() -> Result {
    let dir = TempDir::new()?;
    let good = "[device.vol0]\ndriver = \"ram\"\ntarget = \"1M\"\n";
    let file = dir.join("steadfast.toml");
    std::fs::write(&file, good)?;
    let daemon = Setup::default().arg("--config").arg(file.display().to_string()).start(&dir)?;
    let (code, text) = status(&daemon)?;
    assert_eq!(code, Some(0), "{text}");
    std::fs::write(&file, format!("{good}drivr = \"ram\"\n"))?;
    let said = daemon.cli(&["rescan"])?;
    assert!(String::from_utf8_lossy(&said.stdout).contains("drivr"), "{said:?}");
    let (code, text) = status(&daemon)?;
    assert_eq!(code, Some(6), "{text}");
    assert!(
        text.starts_with("degraded") && text.contains("steadfast.toml:4") && text.contains("drivr"),
        "{text}"
    );
    let health = daemon.api()?.get("/v1/health")?.1;
    let trouble = &health["troubles"][0];
    assert_eq!((&trouble["code"], &trouble["port"]), (&"configuration".into(), &"".into()), "{health:#}");
    assert!(trouble["since_unix_ms"].as_u64() > Some(0) && health["healthy"] == true, "{health:#}");
    // A port that serves on is not what is wrong; and what is mended is over.
    std::fs::write(&file, good)?;
    daemon.cli(&["rescan"])?;
    let (code, text) = status(&daemon)?;
    assert_eq!(code, Some(0), "{text}");
    Ok(())
}
