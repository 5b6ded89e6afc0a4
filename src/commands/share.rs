//! `parcelry share`: shares files, directories or standard input.

use std::path::Path;

use super::answers::ShareSummary;
use super::swarms;
use crate::cli::ShareArgs;
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::share::{self, ShareRequest, Source};

/// Shares what the arguments name, and prints the link.
pub(super) async fn run(context: &Context, args: ShareArgs) -> Result<(), Failure> {
    let stdin = args.paths.iter().any(|path| path == Path::new("-"));
    if stdin && args.paths.len() > 1 {
        return Err(Failure::new(Kind::Usage, "standard input is shared alone, without other paths"));
    }
    let request = ShareRequest {
        source: if stdin { Source::Stdin } else { Source::Paths(args.paths) },
        name: args.name,
        replicas: args.replicas,
        expires: args.expires,
        chunk_size: args.chunk_size,
        wait: args.wait,
        strict: args.strict,
    };
    let shared = share::share(context, &swarms::chosen(context, args.swarm).await?, request).await?;
    let summary = ShareSummary {
        link: shared.link.expose_text(),
        name: shared.name.clone(),
        size_bytes: shared.size_bytes,
        peers: shared.peers.clone(),
        expires: clock::rfc3339(shared.expires_ms),
        browsers_warn: shared.browsers_warn,
        left_out: shared.left_out,
        warnings: context.progress.warnings(),
    };
    // The link is told in any case: only then it fails for what was left out.
    context.progress.explain(shared.in_browsers());
    context.progress.summary(&shared.sentence(), summary);
    shared.check_whole()
}
