//! `parcelry man`: prints the manual page.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::{Failure, Kind};

/// Prints it through `progress`, for which a reader that needs no more, as `head`, is no failure.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut text = Vec::new();
    let page = Man::new(Cli::command());
    page.render(&mut text).map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
    context.progress.page(&text);
    Ok(())
}
