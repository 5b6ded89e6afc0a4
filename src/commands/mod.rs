//! Carries out each command: one file for each, from its flags to what it tells.

pub mod answers;
mod clean;
mod completions;
mod demo;
mod drain;
mod extend;
mod get;
mod inspect;
mod invite;
mod join;
mod leave;
pub mod local;
mod ls;
mod man;
mod owned;
mod partial;
mod pasted;
mod peer;
mod rm;
mod serving;
mod share;
mod status;
mod swarms;
mod tokens;
mod tracker;
mod up;
mod verify;

use std::path::Path;

use crate::cli::Command;
use crate::client::Http;
use crate::config::OwnDirs;
use crate::context::Context;
use crate::disk::durable;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::task::{EndRequests, Tasks};

/// Carries out a command. An interrupt ends it with a failure that says how to go on.
pub async fn run(command: Command, progress: Progress, directories: &OwnDirs) -> Result<(), Failure> {
    let context = Context { http: Http::new(None)?, progress, state: directories.state.clone() };
    // These keep nothing. For all others the directory with the keys is refused if somebody else can write to it.
    let remembers = !matches!(command, Command::Demo(_) | Command::Completions { .. } | Command::Man);
    if remembers && directories.state.exists() {
        durable::own_directory(&directories.state)?;
    }
    if matches!(command, Command::Up(_) | Command::Tracker(_) | Command::Peer(_)) {
        // It waits for signals itself, and finishes what is in flight.
        return dispatch(command, &context, &directories.data).await;
    }
    let resumable = matches!(command, Command::Share(_) | Command::Get(_));
    let mut ends = EndRequests::listen()?;
    // Other commands are dropped where they are: what they need to go on is on the disk already.
    tokio::select! {
        result = dispatch(command, &context, &directories.data) => result,
        signal = ends.next() => {
            let failure = Failure::new(signal, "interrupted");
            Err(if resumable {
                failure.next("Run the same command again: it goes on from here.")
            } else {
                failure
            })
        }
    }
}

/// Does what a command says; `data` is the directory for trackers and peers that are given none.
async fn dispatch(command: Command, context: &Context, data: &Path) -> Result<(), Failure> {
    let tasks = Tasks::default();
    match command {
        Command::Demo(args) => demo::run(args, &context.progress, &tasks).await,
        Command::Up(args) => up::run(context, data, &tasks, args).await,
        Command::Tracker(args) => tracker::run(context, data, &tasks, args).await,
        Command::Peer(args) => peer::run(context, data, &tasks, args).await,
        Command::Invite(args) => invite::run(context, data, args).await,
        Command::Tokens(args) => tokens::run(context, data, args).await,
        Command::Drain(args) => drain::run(context, data, args).await,
        Command::Join(args) => join::run(context, args).await,
        Command::Swarms(args) => swarms::run(context, args),
        Command::Leave => leave::run(context),
        Command::Share(args) => share::run(context, args).await,
        Command::Get(args) => get::run(context, args).await,
        Command::Inspect(args) => inspect::run(context, args).await,
        Command::Verify(args) => verify::run(context, args).await,
        // It reads only what is here, and cannot fail: what is damaged is listed as that.
        Command::Ls(args) => {
            ls::run(context, &args);
            Ok(())
        }
        Command::Clean(args) => clean::run(context, args).await,
        Command::Rm(args) => rm::run(context, args).await,
        Command::Extend(args) => extend::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Completions { shell } => completions::run(context, shell),
        Command::Man => man::run(context),
    }
}
