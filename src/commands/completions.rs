//! `parcelry completions`: prints completions for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::{Failure, Kind};

/// Prints them through `progress`, for which a reader that needs no more, as `head`, is no failure.
pub(super) fn run(context: &Context, shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "parcelry", &mut text);
    let text = String::from_utf8(text).map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
    context.progress.page(&text);
    Ok(())
}
