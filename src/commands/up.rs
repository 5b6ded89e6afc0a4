//! `parcelry up`: runs a tracker and peers here, to stay.

use std::path::Path;

use super::local::{LocalConfig, LocalSwarm};
use super::serving;
use crate::cli::UpArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::human;
use crate::known_swarms::KnownSwarms;
use crate::task::{EndRequests, Tasks};

/// Runs a tracker and peers until it is asked to end.
pub(super) async fn run(context: &Context, data: &Path, tasks: &Tasks, args: UpArgs) -> Result<(), Failure> {
    // Before anything starts: a signal that comes meanwhile is not lost.
    let mut ends = EndRequests::listen()?;
    let names: Vec<String> = (1..=args.peers).map(|number| format!("peer{number}")).collect();
    let data = args.data.unwrap_or_else(|| data.join("up"));
    let config = LocalConfig {
        data: &data,
        listen: args.listen,
        public_url: None,
        peers: &names.iter().map(String::as_str).collect::<Vec<_>>(),
        keep_free_bytes: args.keep_free.as_u64(),
        rules: serving::rules(&args.liveness)?,
    };
    let swarm = LocalSwarm::start(config, tasks).await?;
    let swarms = KnownSwarms::new(&context.state);
    let note = swarms.note_up(&swarm.invite)?;
    let peers = human::count(u64::from(args.peers), "peer");
    let mut head = vec![
        format!("A tracker on {} and {peers} are up.", swarm.tracker.address),
        "Share a file from here: parcelry share FILE".to_owned(),
    ];
    if let Some(other) = swarms.list().into_iter().find(|known| !known.is_in_use) {
        head.push(format!(
            "Commands use this swarm while it runs. To use another:  parcelry swarms use {}",
            other.name
        ));
    }
    let told = serving::tell_ready(context, &head, &swarm.tracker, &data.join("tracker"), args.peers);
    if told.is_ok() {
        serving::until_asked_to_end(context, &mut ends).await;
    }
    // First, so that no command chooses a swarm that is about to end.
    drop(note);
    serving::stop_with(swarm.stop(), &mut ends).await.and(told)
}
