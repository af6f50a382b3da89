use super::*;

fn read(text: &str) -> Result<Config, String> {
    parse(text, Path::new("/etc/sf.toml")).map_err(|e| e.to_string())
}

fn error(text: &str) -> String {
    read(text).expect_err("this is a mistake")
}

#[test]
fn a_whole_file() {
    let config = read(
        r#"
        store = "store"
        modules = ["/usr/lib/modules", "own"]
        queues = 2
        slots = 512
        max_transfer = "256K"
        busy_poll = true
        [control]
        socket = "/run/sf.sock"
        mode = "0660"
        admins = [1000]
        [nbd]
        listen = ["unix:/run/nbd.sock"]
        group = "root"
        [device.zeta]
        driver = "file@1.0"
        target = "disk.img"
        [device.zeta.params]
        io_depth = 64
        direct = true
        [device.alpha]
        driver = "null"
        queues = 2
        "#,
    )
    .expect("valid");
    assert_eq!(config.store, Some(PathBuf::from("/etc/store")));
    assert_eq!(config.modules, [PathBuf::from("/usr/lib/modules"), PathBuf::from("/etc/own")]);
    assert_eq!((config.queues, config.slots, config.max_transfer), (Some(2), Some(512), Some(262_144)));
    assert!(config.busy_poll);
    assert_eq!(config.control.access.mode, Some(0o660));
    assert_eq!(config.control.admins, [1000]);
    assert_eq!(config.nbd.listen.len(), 1);
    assert_eq!((config.nbd.access.mode, config.nbd.access.group), (None, Some(0)));
    assert_eq!(config.nbd.access.access().mode, 0o660, "a group is given so that it may connect");
    let names: Vec<_> = config.devices.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["zeta", "alpha"], "devices keep the order of the file");
    assert_eq!(config.devices[0].params["io_depth"], "64");
    assert_eq!(config.devices[0].params["direct"], "true");
    assert_eq!(config.devices[0].base, Path::new("/etc"));
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = read("").expect("valid");
    assert!(config.devices.is_empty() && config.store.is_none());
}

#[test]
fn an_error_names_file_line_column_value_and_range() {
    assert_eq!(error("store = \"s\"\nqueues = 0\n"), "/etc/sf.toml:2:10: queues: 0 is not allowed (1 to 64)");
    assert_eq!(
        error("[device.v]\ndriver = 3\n"),
        "/etc/sf.toml:2:10: device.v.driver: 3 is not allowed (a string)"
    );
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    assert_eq!(error("quues = 1"), "/etc/sf.toml:1:1: unknown key `quues`: did you mean `queues`?");
    let text = error("[device.v]\ndriver = \"null\"\nparam = {}");
    assert_eq!(text, "/etc/sf.toml:3:1: unknown key `device.v.param`: did you mean `params`?");
    assert!(error("colour = 1").contains("there is: store, "));
}

#[test]
fn every_error_is_reported() {
    let text = error("queues = -1\nslots = 5\n[control]\nmode = \"0777\"\n[device.\"a b\"]\ndriver=\"x\"");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[3].contains("mode") || lines[2].contains("mode"), "{text}");
}

#[test]
fn syntax_errors_have_a_place() {
    let text = error("store = \"s\"\nqueues = = 1\n");
    assert!(text.starts_with("/etc/sf.toml:2:"), "{text}");
}

#[test]
fn a_device_needs_a_driver() {
    let text = error("[device.v]\ntarget = \"x\"\n");
    assert!(text.starts_with("/etc/sf.toml:1:9: device.v: `driver` is missing"), "{text}");
}

#[test]
fn a_bad_listen_address_is_named() {
    let text = error("[nbd]\nlisten = [\"udp:1\"]\n");
    assert!(text.starts_with("/etc/sf.toml:2:11: nbd.listen:"), "{text}");
    assert!(text.contains("udp:1"), "{text}");
}

#[test]
fn a_socket_is_for_whom_it_is_said() {
    for (text, says) in [
        ("[nbd]\nmode = \"0777\"\n", "/etc/sf.toml:2:8: nbd.mode: `0777` is not allowed"),
        ("[nbd]\ngroup = \"nobody-at-all\"\n", "/etc/sf.toml:2:9: nbd.group: `nobody-at-all` is no group"),
        ("[nbd]\nmax_clients = 0\n", "/etc/sf.toml:2:15: nbd.max_clients: 0 is not allowed (1 to 100000)"),
        (
            "[nbd]\nsend_timeout = \"10ms\"\n",
            "/etc/sf.toml:2:16: nbd.send_timeout: \"10ms\" is not allowed (1s to",
        ),
        (
            "[control]\nmax_connections = 1e9\n",
            "/etc/sf.toml:2:19: control.max_connections: 1e9 is not allowed",
        ),
        ("[control]\ngroup = 5\n", "/etc/sf.toml:2:9: control.group: 5 is not allowed (a string)"),
    ] {
        assert!(error(text).starts_with(says), "{}", error(text));
    }
}

#[test]
fn an_adapter_has_ports_that_share_what_it_says() {
    let config = read(
        r#"
        [adapter.san0]
        driver = "file@1.0"
        queues = 2
        params = { direct = true }
        [adapter.san0.port.b]
        target = "b.img"
        [adapter.san0.port.a]
        target = "a.img"
        queues = 1
        number = 0
        params = { direct = false }
        [adapter.san0.port.c]
        driver = "file@1.1"
        "#,
    )
    .expect("valid");
    let seen = config.devices.iter().map(|d| {
        let adapter = d.adapter.as_ref().expect("an adapter");
        (d.name.as_str(), d.driver.as_str(), adapter.number, d.queues, d.params["direct"].as_str())
    });
    let expected = [
        ("san0-b", "file@1.0", 1, Some(2), "true"),
        ("san0-a", "file@1.0", 0, Some(1), "false"),
        ("san0-c", "file@1.1", 2, Some(2), "true"),
    ];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    for (text, says) in [
        ("[adapter.s.port.a]", "adapter.s: `driver` is missing"),
        (
            "[adapter.s]\ndriver = 'x'\n[adapter.s.port.a]\ndrive = 'y'",
            "unknown key `adapter.s.port.a.drive`",
        ),
        (
            "[device.s-a]\ndriver = 'x'\n[adapter.s]\ndriver = 'x'\n[adapter.s.port.a]",
            "`s-a` is defined twice",
        ),
        ("[adapter.s]\ndriver = 'x'\n[adapter.s.port.'a b']", "`s-a b` is not allowed"),
    ] {
        let error = error(text);
        assert!(error.contains(says) && error.contains("/etc/sf.toml:"), "{error}");
    }
}
