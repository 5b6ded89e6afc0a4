//! The parcelry command: parses, runs, and turns the outcome into an exit code.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use parcelry::cli::{self, Cli, Command, LogFormat, OutputArgs};
use parcelry::config::{self, OwnDirs};
use parcelry::failure::{Failure, Kind};
use parcelry::log;
use parcelry::progress::{Progress, Style};
use parcelry::secrecy;
use parcelry::task::Tasks;

fn main() -> ExitCode {
    let arguments = match secrecy::arguments() {
        Ok(arguments) => arguments,
        Err(failure) => return failed(&failure, wants_json(&env::args_os().collect::<Vec<_>>())),
    };
    secrecy::forbid_core_dumps();
    let (cli, directories) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    start_log(&cli);
    let progress = Progress::new(style(&cli.output));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            progress.fail(&Failure::new(Kind::Other, format!("cannot start: {error}")));
            return ExitCode::FAILURE;
        }
    };
    let (command, reporting) = (cli.command, progress.clone());
    let running = async move { parcelry::commands::run(command, reporting, &directories).await };
    // As a task: on this thread, all that the command waits for would have to wake one thread more.
    let ended = runtime.block_on(async { Tasks::default().spawn("command", running).await });
    // Disk work that nobody waits for any more must not hold up the exit: journals allow for it.
    runtime.shutdown_background();
    let result = ended.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()));
    match result.and_then(|()| progress.check_written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            progress.fail(&failure);
            ExitCode::from(failure.kind as u8)
        }
    }
}

/// Reads the command line; what is wrong with it was reported when this ends with an exit code.
fn parse(arguments: &[OsString]) -> Result<(Cli, OwnDirs), ExitCode> {
    let refused = |error: clap::Error| refused(&error, wants_json(arguments));
    // Help is to be had whatever the environment and the configuration say.
    let asked = cli::without_environment().try_get_matches_from(arguments);
    let is_manual = |matches: &ArgMatches| matches!(matches.subcommand_name(), Some("completions" | "man"));
    if let Ok(matches) = &asked
        && is_manual(matches)
    {
        return Ok((Cli::from_arg_matches(matches).map_err(refused)?, OwnDirs::default()));
    }
    let is_help = |error: &clap::Error| !error.use_stderr();
    let help = asked.err().filter(is_help);
    match (configured(arguments), help) {
        (Ok(Ok(parsed)), _) => Ok(parsed),
        (Ok(Err(error)), None) => Err(refused(error)),
        // It shows what is configured, if that can be read.
        (Ok(Err(error)), Some(_)) if is_help(&error) => Err(refused(error)),
        (_, Some(help)) => Err(refused(help)),
        (Err(failure), None) => Err(failed(&failure, wants_json(arguments))),
    }
}

/// The command line by what the environment and the configuration file say, too.
fn configured(arguments: &[OsString]) -> Result<Result<(Cli, OwnDirs), clap::Error>, Failure> {
    let directories = OwnDirs::find()?;
    let command = config::with_file(Cli::command(), &directories.config)?;
    let matches = command.try_get_matches_from(arguments);
    Ok(matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, directories))))
}

/// Whether JSON is asked for by a command line that may not be one.
fn wants_json(arguments: &[OsString]) -> bool {
    let mut flags = arguments.iter().take_while(|argument| *argument != "--");
    flags.any(|argument| argument == "--json")
        || env::var_os("PARCELRY_JSON").is_some_and(|set| set == "true")
}

/// Prints the help that was asked for, or what is wrong with the command line.
fn refused(error: &clap::Error, as_json: bool) -> ExitCode {
    if !error.use_stderr() {
        return error.print().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    // It may quote an argument, which may be the name of a file that somebody else made.
    Progress::new(if as_json { Style::Json } else { Style::Text }).usage(&error.render().to_string());
    ExitCode::from(Kind::Usage as u8)
}

fn failed(failure: &Failure, as_json: bool) -> ExitCode {
    Progress::new(if as_json { Style::Json } else { Style::Text }).fail(failure);
    ExitCode::from(failure.kind as u8)
}

const fn style(output: &OutputArgs) -> Style {
    match (output.json, output.quiet) {
        (true, _) => Style::Json,
        (_, true) => Style::Quiet,
        _ => Style::Text,
    }
}

fn start_log(cli: &Cli) {
    let serves = matches!(cli.command, Command::Up(_) | Command::Tracker(_) | Command::Peer(_));
    let level = match (cli.output.quiet, cli.output.verbose) {
        (true, _) => "error",
        (_, 0) => {
            if serves {
                "parcelry=info,warn"
            } else {
                "warn"
            }
        }
        (_, 1) => "parcelry=info,warn",
        _ => "parcelry=debug,info",
    };
    log::start(level, cli.output.log_format == LogFormat::Json);
}
