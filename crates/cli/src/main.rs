//! The `steadfast` command: the daemon, the control API's client, and the demonstration.

mod args;
mod client;
mod commands;
mod demo;
mod develop;
mod failure;
mod output;

use args::{Cli, Command, DeviceCommand, DriverCommand, General, Output, ReceiptCommand};
use clap::CommandFactory;
use client::Client;
use failure::{Exit, Failure};
use std::path::PathBuf;
use std::process::ExitCode;
use steadfast_api::ProblemKind;

fn main() -> ExitCode {
    steadfast_daemon::answer_rehearsals();
    let mut serves = false;
    let (result, json) = match Cli::of_process() {
        Ok(cli) => {
            let json = cli.general.output == Output::Json
                || matches!(&cli.command, Command::Demo(demo) if demo.json);
            serves = matches!(&cli.command, Command::Serve(_));
            (run(cli), json)
        }
        Err(error) => {
            let json = wants_json(std::env::args());
            (usage(&error, json), json)
        }
    };
    let exit = result.unwrap_or_else(|failure| {
        let text = if json { format!("{}\n", failure.json()) } else { failure.to_string() };
        // Of the daemon too, whose log nobody may be reading.
        steadfast_daemon::log::last_words(&text);
        if serves {
            // Queues that did not stop may be inside modules, whose destructors are not to run under them.
            steadfast_daemon::leave(failure.exit as u8);
        }
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// Prints what clap has to say. Its own exit code for a wrong command line is 2, which means
/// something else here.
fn usage(error: &clap::Error, json: bool) -> Result<Exit, Failure> {
    if json && error.use_stderr() {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        return Err(Failure { kind: Some(ProblemKind::BadRequest), ..Failure::new(text) });
    }
    let _ = error.print();
    Ok(if error.use_stderr() { Exit::Error } else { Exit::Done })
}

/// Whether a command line that could not be parsed asks for JSON.
fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<String> = args.collect();
    let pair = |pair: &[String]| matches!(pair[0].as_str(), "-o" | "--output") && pair[1] == "json";
    let word = |arg: &String| matches!(arg.as_str(), "-ojson" | "-o=json" | "--output=json");
    args.windows(2).any(pair) || args.iter().any(word)
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let General { socket, output, wide } = cli.general;
    let json = output == Output::Json;
    let said = socket.clone();
    if wide {
        output::wide();
    }
    let socket = socket.unwrap_or_else(default_socket);
    let client = || Client::new(socket.clone());
    match cli.command {
        Command::Serve(serve) => commands::serve(serve, said),
        Command::Status => commands::status(&client()?, json),
        Command::Device(DeviceCommand::List) => commands::device::list(&client()?, json),
        Command::Device(DeviceCommand::Show { device }) => commands::device::show(&client()?, &device, json),
        Command::Device(DeviceCommand::State { device }) => {
            commands::device::state(&client()?, &device, json)
        }
        Command::Device(DeviceCommand::Set { device, set, unset }) => {
            Err(commands::device::no_set(&device, &set, &unset))
        }
        Command::Device(DeviceCommand::Watch { device, interval }) => {
            commands::watch(&client()?, device.as_deref(), interval, json)
        }
        Command::Device(DeviceCommand::Add(add)) => commands::ports::add_device(&client()?, add, json),
        Command::Device(DeviceCommand::Remove { device, force }) => {
            commands::ports::remove_device(&client()?, &device, force, json)
        }
        Command::Adapter(command) => commands::ports::adapter(&client()?, command, json),
        Command::Port(command) => commands::ports::port(&client()?, command, json),
        Command::Client(command) => commands::clients::client(&client()?, &command, json),
        Command::Rescan { port } => commands::ports::rescan(&client()?, port, json),
        Command::Driver(DriverCommand::Load { module }) => commands::ports::load(&client()?, &module, json),
        Command::Driver(DriverCommand::Unload { driver }) => {
            commands::ports::unload(&client()?, driver, json)
        }
        Command::Driver(DriverCommand::List { modules }) => commands::driver::list(client, modules, json),
        Command::Driver(DriverCommand::Check(check)) => commands::driver::check(client, check, json),
        Command::Driver(DriverCommand::Test(test)) => commands::test(&test, json),
        Command::Driver(DriverCommand::New(new)) => develop::new(&new),
        Command::Driver(DriverCommand::Watch(watch)) => develop::watch(&client()?, &watch, json),
        Command::Receipt(ReceiptCommand::List { device, outcome, limit }) => {
            commands::receipt::list(&client()?, device.as_deref(), outcome, limit, json)
        }
        Command::Receipt(ReceiptCommand::Show { id, device }) => {
            commands::receipt::show(&client()?, id, device.as_deref(), json)
        }
        Command::Update(update) => commands::update(&client()?, &update, json),
        Command::Param(command) => commands::params::param(&client()?, command, json),
        Command::Profile(command) => commands::profiles::profile(&client()?, command, json),
        Command::Config(command) => commands::files::config(&client()?, command, json),
        Command::Plan(plan) => commands::params::plan(&client()?, &plan, json),
        Command::Activate(activate) => commands::params::activate(&client()?, &activate, json),
        Command::Confirm(confirm) => commands::params::confirm(&client()?, &confirm, json),
        Command::History { port, limit } => commands::params::history(&client()?, &port, limit, json),
        Command::Rollback(rollback) => commands::params::rollback(&client()?, &rollback, json),
        Command::Demo(demo) => demo::run(&demo, json || demo.json),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "steadfast", &mut text);
            output::print(&String::from_utf8_lossy(&text))?;
            Ok(Exit::Done)
        }
    }
}

fn default_socket() -> PathBuf {
    steadfast_api::default_socket(steadfast_daemon::effective_uid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_wrong_command_line_for_a_program_is_answered_for_a_program() {
        let wants = |line: &str| wants_json(line.split(' ').map(str::to_owned));
        assert!(wants("steadfast -o json devic") && wants("steadfast devic --output=json"));
        assert!(!wants("steadfast devic -o table") && !wants("steadfast json"));
        let error = Cli::try_parse_from(["steadfast", "devic", "-o", "json"]).expect_err("no such command");
        let failure = usage(&error, true).expect_err("an object");
        assert_eq!(failure.exit, Exit::Error);
        assert!(failure.json().starts_with(r#"{"hint":"","kind":"bad_request","message":"unrecognized"#));
    }
}
