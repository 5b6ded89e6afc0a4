//! The swarmdrop command: parses, runs, and turns the outcome into an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use swarmdrop::cli::{Cli, Command, OutputArgs};
use swarmdrop::config::{self, Folders};
use swarmdrop::failure::{Failure, Kind};
use swarmdrop::progress::{self, Progress, Style};
use swarmdrop::secrecy;

fn main() -> ExitCode {
    let arguments = match secrecy::arguments() {
        Ok(arguments) => arguments,
        Err(failure) => {
            Progress::new(Style::Text).fail(&failure);
            return ExitCode::from(failure.kind as u8);
        }
    };
    secrecy::forbid_core_dumps();
    let (cli, folders) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    log(&cli);
    let progress = Progress::new(style(&cli.output));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            progress.fail(&Failure::new(Kind::Other, format!("cannot start: {error}")));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(swarmdrop::commands::run(cli.command, progress.clone(), &folders));
    // Disk work that nobody waits for any more must not hold up the exit: journals allow for it.
    runtime.shutdown_background();
    match result.and_then(|()| progress.check_written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            progress.fail(&failure);
            ExitCode::from(failure.kind as u8)
        }
    }
}

/// Reads the command line; what is wrong with it was reported when this ends with an exit code.
fn parse(arguments: Vec<OsString>) -> Result<(Cli, Folders), ExitCode> {
    let progress = Progress::new(Style::Text);
    let failed = |failure: Failure| {
        progress.fail(&failure);
        ExitCode::from(failure.kind as u8)
    };
    let refused = |error: clap::Error| match error.use_stderr() {
        // It may quote an argument, which may be the name of a file that somebody else made.
        true => {
            progress.usage(&error.render().to_string());
            ExitCode::from(Kind::Usage as u8)
        }
        // The help or the version was asked for.
        false => error.print().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
    };
    let folders = Folders::find().map_err(failed)?;
    let command = config::with_file(Cli::command(), &folders.config).map_err(failed)?;
    let matches = command.try_get_matches_from(arguments).map_err(refused)?;
    Ok((Cli::from_arg_matches(&matches).map_err(refused)?, folders))
}

const fn style(output: &OutputArgs) -> Style {
    match (output.json, output.quiet) {
        (true, _) => Style::Json,
        (_, true) => Style::Quiet,
        _ => Style::Text,
    }
}

fn log(cli: &Cli) {
    let serves = matches!(cli.command, Command::Up(_) | Command::Tracker(_) | Command::Peer(_));
    let level = match (cli.output.quiet, cli.output.verbose) {
        (true, _) => "error",
        (_, 0) => {
            if serves {
                "swarmdrop=info,warn"
            } else {
                "warn"
            }
        }
        (_, 1) => "swarmdrop=info,warn",
        _ => "swarmdrop=debug,info",
    };
    progress::start_log(level);
}
