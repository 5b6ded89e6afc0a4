//! The swarmdrop command: parses, runs, and turns the outcome into an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use swarmdrop::cli::{Cli, Command, OutputArgs};
use swarmdrop::config::{self, Folders};
use swarmdrop::failure::{Failure, Kind};
use swarmdrop::progress::{Progress, Style};
use swarmdrop::secrecy;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = secrecy::arguments();
    secrecy::forbid_core_dumps();
    let (cli, folders) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(failure) => {
            Progress::new(Style::Text).fail(&failure);
            return ExitCode::from(failure.kind as u8);
        }
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
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            progress.fail(&failure);
            ExitCode::from(failure.kind as u8)
        }
    }
}

fn parse(arguments: Vec<OsString>) -> Result<(Cli, Folders), Failure> {
    let folders = Folders::find()?;
    let matches = config::with_file(Cli::command(), &folders.config)?.get_matches_from(arguments);
    let cli =
        Cli::from_arg_matches(&matches).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
    Ok((cli, folders))
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
    let filter = EnvFilter::try_from_env("SWARMDROP_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
