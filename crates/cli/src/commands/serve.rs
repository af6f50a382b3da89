use crate::args::Serve;
use crate::failure::{Exit, Failure};
use crate::output;
use std::path::PathBuf;
use steadfast_daemon::log::{self, LogOptions};
use steadfast_daemon::{Config, ServeError, parse_device};

/// `steadfast serve`: runs the daemon until it is told to stop.
pub(crate) fn serve(serve: Serve, socket: Option<PathBuf>) -> Result<Exit, Failure> {
    let check = serve.check;
    let options = LogOptions { level: serve.log, format: serve.log_format };
    let config = configuration(serve, socket)?;
    if check {
        let report = steadfast_daemon::check(&config).map_err(failure)?;
        output::print(&report)?;
        return Ok(Exit::Done);
    }
    log::start(options).map_err(|e| Failure::new(format!("the log: {e}")))?;
    steadfast_daemon::serve(&config).map_err(failure)?;
    Ok(Exit::Done)
}

fn failure(error: ServeError) -> Failure {
    let hint = error.hint().to_owned();
    Failure::new(error).hint(hint)
}

/// The file, if there is one, and over it what the command line says.
fn configuration(serve: Serve, socket: Option<PathBuf>) -> Result<Config, Failure> {
    let mut config = match &serve.config {
        Some(path) => Config::read_whole(path).map_err(Failure::new)?,
        None => Config::default(),
    };
    for spec in &serve.device {
        let device = parse_device(spec).map_err(Failure::new)?;
        config.add_device(device).map_err(Failure::new)?;
    }
    if !serve.doors.nbd.is_empty() {
        let parse = |text: &String| text.parse().map_err(|e| Failure::new(format!("--nbd {text}: {e}")));
        config.nbd.listen = serve.doors.nbd.iter().map(parse).collect::<Result<_, _>>()?;
    }
    serve.doors.apply(&mut config);
    if let Some(queues) = serve.queues {
        let max = steadfast_daemon::MAX_QUEUES;
        if !(1..=max).contains(&queues) {
            return Err(Failure::new(format!("--queues {queues} is not allowed (1 to {max})")));
        }
        config.queues = Some(queues);
    }
    config.busy_poll |= serve.busy_poll;
    if serve.store.is_some() {
        config.store = serve.store;
    }
    config.state = serve.state.or(config.state);
    config.trusted_keys = serve.trusted_keys.or(config.trusted_keys);
    config.require_signed |= serve.require_signed;
    config.once_per_start |= serve.once_per_start;
    config.require_min_from |= serve.require_min_from;
    config.modules.splice(0..0, serve.modules);
    config.watch.folders.extend(serve.watch);
    if let Some(policy) = serve.auto_update {
        config.watch.default.policy = policy;
    }
    config.control.socket = serve.doors.control.clone().or(config.control.socket).or(socket);
    Ok(config)
}
