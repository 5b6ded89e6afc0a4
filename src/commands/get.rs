//! `parcelry get`: gets what a link is for.

use std::path::Path;

use super::answers::GetSummary;
use super::pasted;
use crate::cli::GetArgs;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::get::{self, Destination, Manner};

/// Saves or prints as the arguments say, and tells what arrived.
pub(super) async fn run(context: &Context, args: GetArgs) -> Result<(), Failure> {
    let destination = match args.output {
        None => Destination::Here,
        Some(path) if path == Path::new("-") => Destination::Stdout,
        Some(path) => Destination::Path(path),
    };
    if context.progress.is_json() && matches!(destination, Destination::Stdout) {
        return Err(Failure::new(Kind::Usage, "--json and -o - both want standard output"));
    }
    let link = pasted::link(args.link).await?;
    let manner = Manner { force: args.force, anew: args.anew };
    let got = get::get(context, &link, &destination, manner).await?;
    let summary = GetSummary {
        name: got.name.clone(),
        size_bytes: got.size_bytes,
        peers: got.peers.clone(),
        path: got.target.as_ref().map(|path| path.to_string_lossy().into_owned()),
        left_out: got.left_out,
        warnings: context.progress.warnings(),
    };
    context.progress.summary(&got.sentence(), summary);
    got.check_whole()
}
