//! Start and stop.

use crate::app::App;
use crate::config::module_path::ModulePath;
use crate::config::{AutoConfig, Config, ConfigError, ConfigErrors, DeviceConfig, nbd_uri};
use crate::files::user::effective_uid;
use crate::params::saved_set::Settings;
use crate::params::{Edits, Notes};
use crate::ports::lost_writes::LostMedia;
use crate::ports::prepare;
use crate::receipts::Receipts;
use crate::serving::{Needs, Serving};
use crate::start::control_socket::ControlSocket;
use crate::start::error::ServeError;
use crate::start::notify::notify;
use crate::start::signals::{self, Obeyed};
use crate::start::state_lock::StateLock;
use crate::start::{named_folders, panics, targets};
use crate::updates::probation::{Baselines, Probations};
use crate::updates::watched_folder::Folder;
use crate::{http, log, ports};
use std::collections::BTreeMap;
use std::env;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use steadfast_api::PortState;
use steadfast_loader::{ModuleStore, Trust};
use steadfast_nbd::{Doors, ListenAddr, NbdServer};
use steadfast_runtime::{Engine, EngineConfig};
use steadfast_sockets::Inherited;
use tokio::runtime::Builder;

/// How long requests in flight may take when the daemon stops.
const GRACE: Duration = Duration::from_secs(30);
/// Heaps of the process; requests of devices need none of them.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 4;

/// Runs the daemon: returns when SIGTERM, SIGINT or SIGQUIT has come and every request in flight has
/// finished. One that comes during the start ends that, cleanly where it gets through within a second. A second
/// signal ends the process at once, whatever hangs; SIGHUP rescans. A panic ends the process with
/// [`PANIC_EXIT`](crate::PANIC_EXIT).
pub fn serve(config: &Config) -> Result<(), ServeError> {
    signals::ignore_others();
    if !config.faults.is_empty() {
        // With all else that is wrong, which the check finds.
        return check(config).map(drop);
    }
    // What is in them would be blamed otherwise.
    let wrong = named_folders::wrong(config);
    if !wrong.is_empty() {
        return Err(ServeError::Config(ConfigErrors(wrong)));
    }
    // Before anything opens a descriptor.
    let mut inherited = Inherited::take()?;
    let state_folder = state(config);
    panics::end_the_process(&state_folder);
    // Before anything is touched that could hang.
    let Obeyed { up, stopping } = signals::obey_from_now_on()?;
    // First, so that a second daemon finds out before it opens anything that belongs to the first.
    let (socket, held, listener) = control_socket(config, inherited.control.take())?;
    let _state = StateLock::take("state", &state_folder)?;
    let _parameters = StateLock::take("parameters", &Settings::of(config, &state_folder).folder)?;
    panics::tell_of_the_last(&state_folder);
    share_heaps();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(64)
        .thread_name("control")
        .build()
        .map_err(|error| ServeError::Io { what: "cannot start the control API", error })?;
    let app = Arc::new(start(config, &socket, inherited.nbd)?);
    app.number_ports();
    app.know_ways_back();
    app.edits.confirms.resume(&app);
    announce(&app, &socket);
    Folder::start(&app);
    app.retry_absent();
    let _ = up.send(Arc::downgrade(&app));
    notify("READY=1");

    let result = runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        tokio::spawn(keep_baselines(Arc::clone(&app)));
        let limits = http::Limits::of(&config.control);
        http::serve(Arc::clone(&app), listener, limits, stopping).await
    });
    notify("STOPPING=1");
    app.folder.begin_stop();
    app.topology.absent.stop();
    app.probations.stop();
    app.edits.delayed.stop();
    app.edits.confirms.stop(&app);
    app.folder.stop();
    app.note_all_in_force();
    // Nobody can ask for anything any more; now what clients of the devices have in flight.
    let stopped = app.engine.stop(GRACE);
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(held);
    app.lost.close();
    app.receipts.close();
    app.serving().iter().for_each(|serving| serving.close());
    if stopped {
        tracing::info!("stopped");
    }
    log::flush();
    result.map_err(|error| ServeError::Io { what: "control API", error })?;
    if stopped { Ok(()) } else { Err(ServeError::NotStopped(GRACE)) }
}

/// The control socket: the one that was passed on, or the one that is configured; with its path, and what holds that.
fn control_socket(
    config: &Config,
    inherited: Option<OwnedFd>,
) -> Result<(PathBuf, Option<ControlSocket>, UnixListener), ServeError> {
    if let Some(socket) = inherited {
        let failed = |error| ServeError::Io { what: "the control socket that was passed on", error };
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let passed = address.as_pathname().map(Path::to_owned).unwrap_or_default();
        if let Some(configured) = config.control.socket.clone().filter(|said| !same_place(said, &passed)) {
            return Err(ServeError::OtherSocket { passed, configured });
        }
        if config.control.access.mode.is_some() || config.control.access.group.is_some() {
            let said = "its mode and group are its unit's, not what is configured";
            tracing::warn!("control socket {}: passed on by the service manager: {said}", passed.display());
        }
        return Ok((passed, None, listener));
    }
    let path = config.control.socket.clone();
    let path = path.unwrap_or_else(|| steadfast_api::default_socket(effective_uid()));
    let (held, listener) = ControlSocket::bind(&path, config.control.access.access())?;
    Ok((path, Some(held), listener))
}

/// Whether two paths lead to one socket.
fn same_place(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    one == other || file(one).is_some_and(|one| file(other) == Some(one))
}

/// Lets the many threads of the control plane share a few heaps: one for each, none of them ever given
/// back, would let the daemon grow with how many calls happened to come at once.
fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers and touches nothing of ours; what does not work changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Says what the configuration would bring up, without bringing it up: what it names is opened and closed again.
pub fn check(config: &Config) -> Result<String, ServeError> {
    let folder = tempfile::tempdir().map_err(|error| ServeError::Io { what: "temporary folder", error })?;
    let store = ModuleStore::open(folder.path()).map_err(ServeError::Store)?.trusting(trust(config)?);
    let settings = Settings::of(config, &state(config));
    let modules = ModulePath::standard(&config.modules);
    let mut wrong = config.faults.clone();
    // What was added while a daemon ran comes up with the next one, too.
    let own = |device: &DeviceConfig| config.devices.iter().any(|own| own.name == device.name);
    let added = ports::added(&settings.folder).unwrap_or_else(|faults| {
        wrong.extend(faults.0);
        Vec::new()
    });
    let all: Vec<DeviceConfig> =
        config.devices.iter().cloned().chain(added.into_iter().filter(|device| !own(device))).collect();
    let (devices, unfit) = prepare::prepare_each(&all, &modules, &store, &settings);
    let folders = named_folders::wrong_or_closed(config);
    // What is no folder has no files to blame.
    let blamed =
        |error: &ConfigError| error.place.to_string().starts_with(&*settings.folder.to_string_lossy());
    let no_folder = !folders.is_empty() && settings.folder.ancestors().any(|p| p.exists() && !p.is_dir());
    wrong.extend(prepare::faults(&unfit).0.into_iter().filter(|error| !(no_folder && blamed(error))));
    wrong.extend(folders);
    wrong.extend(targets::examine(&devices));
    wrong.extend(config.watches_nothing());
    if !wrong.is_empty() {
        return Err(ServeError::Config(ConfigErrors(wrong)));
    }
    Ok(format!("{}configuration is good\n", prepare::describe(&devices)))
}

fn start(config: &Config, socket: &Path, inherited: Vec<OwnedFd>) -> Result<App, ServeError> {
    let mut engine_config = engine_config(config);
    // Before any file is written that a limit could cut short.
    engine_config.check_memory().map_err(ServeError::Engine)?;
    let store = config.store.clone().unwrap_or_else(default_store);
    // What is wrong with it the store itself says.
    let _ = steadfast_settings::make_folder(&store, 0o700);
    let store = ModuleStore::open(&store).map_err(ServeError::Store)?.trusting(trust(config)?);
    let state = state(config);
    let modules = ModulePath::standard(&config.modules);
    let serving = Arc::new(Serving::open(&state, config.unproven));
    serving.write_from_now_on();
    let prepared = ports::start(config, &state, &modules, &store, serving)?;
    // Before anything can be updated: numbers of receipts go on where they were.
    let receipts = Receipts::open(&state, config.history.unwrap_or(steadfast_history::KEEP));
    engine_config.last_receipt = receipts.last_id();
    engine_config.calls = receipts.calls();
    let lost = LostMedia::open(&state);
    engine_config.lost = lost.all();
    engine_config.loss_book = Some(lost.clone());
    let engine = Engine::start(engine_config).map_err(ServeError::Engine)?;
    let topology = prepared.attach(&engine, &receipts)?;
    clear(&topology.settings.folder, &state);
    let doors = doors(config, socket, inherited);
    let nbd = NbdServer::start(&engine, doors, config.nbd.limits.options()).map_err(ServeError::Nbd)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(App {
        engine,
        store,
        modules,
        nbd,
        receipts,
        probations: Probations::default(),
        baselines: Baselines::default(),
        topology,
        edits: Edits::of(&state),
        folder: Folder::new(config.watch.clone(), policies(config)),
        ending: AtomicBool::new(false),
        updates: AtomicUsize::new(0),
        started_unix_ms: now.as_millis() as u64,
        started: Instant::now(),
        admins: config.control.admins.clone(),
        needs: Needs::default(),
        lost,
        state,
    })
}

fn engine_config(config: &Config) -> EngineConfig {
    let default = EngineConfig::default();
    EngineConfig {
        queues: config.queues.unwrap_or(default.queues),
        slots_per_port: config.slots.unwrap_or(default.slots_per_port),
        max_transfer: config.max_transfer.unwrap_or(default.max_transfer),
        busy_poll: config.busy_poll,
        ..default
    }
}

/// Where NBD clients connect: where it is said, or at what was passed on, or beside the control socket.
fn doors(config: &Config, socket: &Path, inherited: Vec<OwnedFd>) -> Doors {
    let mut listen = config.nbd.listen.clone();
    if listen.is_empty() && inherited.is_empty() {
        listen.push(ListenAddr::Unix(socket.with_file_name("nbd.sock")));
    }
    Doors { listen, access: config.nbd.access.access(), inherited }
}

/// A daemon that was killed while it wrote a file of parameters has left what it had written.
fn clear(parameters: &Path, state: &Path) {
    let profiles = steadfast_settings::Profiles::of(parameters);
    let notes = Notes::within(state).clear_unfinished();
    if notes > 0 {
        tracing::info!("{}: {notes} unfinished notes of an earlier daemon cleared", state.display());
    }
    for folder in [parameters, profiles.folder(), state] {
        let count = steadfast_settings::clear_unfinished(folder);
        if count > 0 {
            tracing::info!("{}: {count} unfinished files of an earlier daemon cleared", folder.display());
        }
    }
}

/// Folder of the history.
fn state(config: &Config) -> PathBuf {
    let within = || config.store.clone().unwrap_or_else(default_store).join("state");
    config.state.clone().unwrap_or_else(within)
}

/// Whose modules are taken.
fn trust(config: &Config) -> Result<Trust, ServeError> {
    if config.require_signed && config.trusted_keys.is_none() {
        return Err(ServeError::NoKeys);
    }
    Ok(Trust { keys: config.trusted_keys.clone(), require: config.require_signed })
}

/// The devices' own policies for newer modules.
fn policies(config: &Config) -> BTreeMap<String, AutoConfig> {
    let own = |device: &DeviceConfig| Some((device.name.clone(), device.auto_update.clone()?));
    config.devices.iter().filter_map(own).collect()
}

/// Takes the ports' numbers from time to time, for probations to compare with.
async fn keep_baselines(app: Arc<App>) {
    let mut ticks = tokio::time::interval(Baselines::EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick comes at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let app = Arc::clone(&app);
        let _ = tokio::task::spawn_blocking(move || Baselines::turn_all(&app)).await;
    }
}

/// Says in the log where everything is.
fn announce(app: &App, socket: &Path) {
    for device in app.devices() {
        for address in app.nbd.addresses() {
            let release = device.driver.as_ref().map(|r| format!("{} {}", r.driver, r.version));
            let (name, size) = (&device.name, device.size);
            let uri = nbd_uri::of(address, name);
            tracing::info!("device {name}: {}, {size} bytes, {uri}", release.unwrap_or_default());
        }
    }
    for port in app.ports().iter().filter(|port| port.state == PortState::Down) {
        tracing::info!("port {}: down (admin_state)", port.name);
    }
    let queues = app.engine.queues();
    tracing::info!(
        "ready: {queues} queue(s), module store {}, history {}, control socket {}",
        app.store.dir().display(),
        app.receipts.health().path,
        socket.display()
    );
}

/// `/var/lib/steadfast/modules` for root, a folder of the user's own for others.
fn default_store() -> PathBuf {
    let uid = effective_uid();
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = match uid {
        0 => Some(PathBuf::from("/var/lib")),
        _ => set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state"))),
    };
    match state {
        Some(state) => state.join("steadfast/modules"),
        None => env::temp_dir().join(format!("steadfast-{uid}/modules")),
    }
}
