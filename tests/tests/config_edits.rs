//! The daemon's own configuration is edited while it runs: what it says of parameters waits for the next
//! activation, as what every other file says does.

use std::path::PathBuf;
use steadfast_tests::params::{ends, param};
use steadfast_tests::{Daemon, Result, Setup, TempDir};

struct Edited {
    dir: TempDir,
    config: PathBuf,
}

impl Edited {
    fn new() -> Result<Edited> {
        let dir = TempDir::new()?;
        let config = dir.join("sf.toml");
        Ok(Edited { dir, config })
    }

    fn write(&self, params: &str) -> Result {
        Ok(std::fs::write(
            &self.config,
            format!("[device.vol0]\ndriver = \"ram\"\ntarget = \"4M\"\n{params}"),
        )?)
    }

    fn start(&self) -> Result<Daemon> {
        Setup::default().arg("--config").arg(self.config.display().to_string()).start(&self.dir)
    }
}

#[test]
fn what_the_configuration_says_now_is_pending_and_taken_by_an_activation() -> Result {
    let edited = Edited::new()?;
    edited.write("params = { io_throttle = 8, request_timeout = 20 }\n")?;
    let daemon = edited.start()?;
    let of = |name: &str| param(&daemon, "vol0", name);
    assert_eq!(
        (&of("io_throttle")?["current"], &of("io_throttle")?["pending"]),
        (&"8".into(), &false.into())
    );

    edited.write("params = { io_throttle = 16 }\n")?;
    let throttle = of("io_throttle")?;
    assert_eq!((&throttle["current"], &throttle["saved"]), (&"8".into(), &"16".into()), "{throttle}");
    assert_eq!(throttle["pending"], true);
    assert!(throttle["saved_source"].as_str().is_some_and(|said| said.ends_with("sf.toml:4")), "{throttle}");
    assert_eq!(of("request_timeout")?["pending"], true, "what it does not say any more is the default again");
    let said = ends(&daemon, 2, &["plan", "vol0"])?;
    assert!(said.contains("io_throttle") && said.contains("request_timeout"), "{said}");
    ends(&daemon, 0, &["activate", "vol0"])?;
    for name in ["io_throttle", "request_timeout"] {
        assert_eq!(of(name)?["pending"], false, "{name}");
    }
    assert_eq!(of("io_throttle")?["current"], "16");
    Ok(())
}

#[test]
fn a_fault_in_the_configuration_is_told_and_nothing_is_taken_from_it() -> Result {
    let edited = Edited::new()?;
    edited.write("params = { io_throttle = 8 }\n")?;
    let daemon = edited.start()?;
    edited.write("params = { io_throttle = 16 }\nsize\n")?;
    let said = ends(&daemon, 1, &["activate", "vol0"])?;
    assert!(said.contains("sf.toml:5"), "{said}");
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "8");
    // A file that is gone says what it said when the daemon started.
    std::fs::remove_file(&edited.config)?;
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "8");
    Ok(())
}

#[test]
fn a_live_value_that_was_never_saved_is_said_to_be_undone_by_an_activation() -> Result {
    let edited = Edited::new()?;
    edited.write("params = { io_throttle = 8 }\n")?;
    let daemon = edited.start()?;
    ends(&daemon, 0, &["param", "set", "--temporary", "vol0", "io_throttle=4"])?;
    let throttle = param(&daemon, "vol0", "io_throttle")?;
    assert_eq!((&throttle["undone"], &throttle["current"]), (&true.into(), &"4".into()), "{throttle}");
    let said = ends(&daemon, 0, &["param", "list", "vol0"])?;
    assert!(said.contains("not saved: io_throttle=4; an activation undoes that"), "{said}");
    assert!(!said.contains("pending: "), "{said}");
    let said = ends(&daemon, 2, &["plan", "vol0"])?;
    assert!(said.contains("undoes io_throttle=4, which was never saved"), "{said}");
    // What is saved and waits is still pending.
    edited.write("params = { io_throttle = 8, io_slots = 256 }\n")?;
    let said = ends(&daemon, 0, &["param", "list", "vol0"])?;
    assert!(said.contains("pending: io_slots;"), "{said}");
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "8");
    Ok(())
}
