//! The story of the receiver: look up, verify, fetch from many peers at once, save under the file's own name.

mod download;
mod entries;
mod late;
mod leftovers;
mod links;
mod merge;
mod output;
mod place;
mod prepare;
mod sink;
mod temporary;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parcelry_core::api::{LookUpResponse, ProblemKind, SourceInfo};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::id::ShareId;
use parcelry_core::limits::LOOK_UP_PATIENCE;
use parcelry_core::link::ShareLink;
use parcelry_core::manifest::{ChunkList, Manifest, ManifestError, Opened};
use parcelry_core::metadata::Metadata;
use parcelry_core::seal::{ShareKeys, access_token};
use parcelry_core::terms::{SignedTerms, Terms};

use crate::client::{ClientError, TrackerClient, tracker_failure, tracker_skew};
use crate::clock::{self, Skew};
use crate::context::Context;
use crate::crash::{self, Point};
use crate::failure::{Failure, Kind};
use crate::human;
use crate::journal::{DownloadJournal, LeftOut};
use crate::task::blocking;
use download::{Download, Halt};
use leftovers::Before;
use output::Output;
use place::{Place, Wish, open_stream};
use prepare::{Prepared, prepare};
use sink::{AnyOrder, InOrder, Sink, Stream};

/// Pause before a tracker that has just started is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Where to save a share.
#[derive(Debug, Clone)]
pub enum Destination {
    /// In the current directory, under the original name.
    Here,
    /// At this path; inside it, under the original name, if it is a directory.
    Path(PathBuf),
    /// To standard output.
    Stdout,
}

/// What may become of what is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Whether a file may replace a file, and a directory's files may go into a directory.
    pub force: bool,
    /// Whether what an earlier attempt fetched is forgotten, although its disk may come back.
    pub anew: bool,
}

/// A share that has arrived.
#[derive(Debug)]
pub struct Got {
    /// Where it was saved; `None`: standard output.
    pub target: Option<PathBuf>,
    /// The name that the sender gave it.
    pub name: String,
    /// Bytes of all files, with their holes.
    pub size_bytes: u64,
    /// The names of the peers that served it.
    pub peers: Vec<String>,
    /// How long it took.
    pub took: Duration,
    /// How many entries could not be saved; each was named.
    pub left_out: u64,
}

impl Got {
    /// The failure at the end if something was left out.
    pub fn check_whole(&self) -> Result<(), Failure> {
        if self.left_out == 0 {
            return Ok(());
        }
        let what = format!("saved, but {} could not be", human::entries(self.left_out));
        Err(Failure::new(Kind::Partial, what).next(
            "They are named above. Where all names are told apart, as on most Linux disks, all can be saved.",
        ))
    }

    /// The last line that the user sees, as in *Saved big.iso (2.2 GB) from 2 peers in 9 s, verified.*
    pub fn sentence(&self) -> String {
        let from = match self.peers.len() {
            0 => String::new(),
            n => format!(" from {}", human::count(n as u64, "peer")),
        };
        let saved_as = self.target.as_ref().and_then(|target| target.file_name());
        let name = saved_as.map_or_else(|| self.name.clone(), |name| name.to_string_lossy().into_owned());
        let (size, took) = (human::bytes(self.size_bytes), human::duration(self.took));
        format!("Saved {name} ({size}){from} in {took}, verified.")
    }
}

/// A share that was looked up and opened, before any chunk is fetched.
pub struct Found {
    /// The verified manifest, of which the metadata was opened.
    pub manifest: ChunkList,
    /// What only the link's holder may read.
    pub metadata: Arc<Metadata>,
    /// The verified terms.
    pub terms: Terms,
    /// Peers that hold chunks of it.
    pub sources: Vec<SourceInfo>,
    keys: ShareKeys,
}

/// Gets a share: returns once it is whole, verified and on stable storage under its name.
pub async fn get(
    context: &Context,
    link: &ShareLink,
    destination: &Destination,
    manner: Manner,
) -> Result<Got, Failure> {
    let started = Instant::now();
    let found = match find(context, link).await {
        Ok(found) => found,
        Err(halt) => {
            let (state, share) = (context.state.clone(), link.share);
            return Err(blocking(move || leftovers::of_no_share(&state, share, halt)).await);
        }
    };
    let name = found.metadata.original_filename.to_string();
    let size_bytes = found.metadata.size;
    let mut left_out = Vec::new();
    let (peers, target) = match target_path(destination, &found.metadata)? {
        None => (to_stream(context, link, found, Stream::Stdout).await?, None),
        Some((target, is_named)) => {
            let wish = Wish { is_file: found.metadata.is_single_file(), is_named, manner };
            // What is in the way is found before a byte is fetched.
            let (state, before) = (context.state.clone(), Before::of(&found, &target)?);
            let (share, destination, at) = (link.share, destination.clone(), target.clone());
            let place = blocking(move || place(&state, &before, share, (&destination, &at), wish)).await?;
            let peers = match place {
                Place::Stream => {
                    let path = target.clone();
                    let opened = blocking(move || open_stream(&path)).await?;
                    to_stream(context, link, found, Stream::Special(opened)).await?
                }
                place => {
                    let saved = to_disk(context, link, found, (&target, place), wish).await?;
                    left_out = saved.left_out;
                    saved.peers
                }
            };
            (peers, Some(target))
        }
    };
    for LeftOut { path, why } in &left_out {
        context.progress.left_out(path.as_str(), why);
    }
    let left_out = left_out.len() as u64;
    Ok(Got { target, name, size_bytes, peers, took: started.elapsed(), left_out })
}

/// What becomes of what stands at the target; what is to be fetched anew is forgotten. Blocks.
fn place(
    state: &Path,
    before: &Before,
    share: ShareId,
    (destination, target): (&Destination, &Path),
    wish: Wish,
) -> Result<Place, Failure> {
    if !wish.manner.anew {
        before.check_in_reach(state)?;
    }
    make_named_directory(destination)?;
    let place = wish.at(target).map_err(|failure| leftovers::mention(state, share, failure))?;
    if wish.manner.anew {
        before.forget(state)?;
    }
    Ok(place)
}

/// Looks a share up and checks all that comes back: signature, key commitment, metadata, terms.
pub async fn look_up(context: &Context, link: &ShareLink) -> Result<Found, Failure> {
    Ok(find(context, link).await?)
}

async fn find(context: &Context, link: &ShareLink) -> Result<Found, Halt> {
    let tracker = TrackerClient::of_link(context.http.clone(), link);
    let response = patient_look_up(context, &tracker, link).await;
    let response = response.map_err(|error| match error.problem() {
        Some(ProblemKind::ShareNotFound) => Halt::Failed(
            Failure::new(Kind::NotFound, format!("{} knows no share of this link", link.tracker))
                .next("Is the link complete? It may also have expired or been deleted."),
        ),
        _ => gone(&error).map_or_else(|| Halt::Failed(tracker_failure(&error)), Halt::Final),
    })?;
    let manifest = Manifest::decode(response.manifest.0, link.share).map_err(|error| damaged(&error))?;
    let opened = manifest.open(&link.secret).map_err(|error| damaged(&error))?;
    let terms = SignedTerms::verify(&response.terms, link.share)
        .map_err(|error| Failure::new(Kind::Integrity, error.to_string()))?;
    if terms.is_over(clock::now_ms()) {
        // By this machine's clock, which may be wrong.
        return Err(Halt::Failed(over_here(&tracker).await));
    }
    let Opened { keys, metadata, manifest } = opened;
    let metadata = Arc::new(metadata);
    Ok(Found { manifest, metadata, terms: terms.into_terms(), sources: response.sources, keys })
}

/// What to say of a share that is over by this machine's clock, and not by the tracker's.
async fn over_here(tracker: &TrackerClient) -> Failure {
    let off = tracker_skew(tracker).await.ok().and_then(Skew::of_this_machine);
    let (what, next) = match off {
        Some(off) => (format!("{off}, and by it the share has expired"), "Set it right, then try again."),
        None => ("the share has expired".to_owned(), "Ask the sender to share it again."),
    };
    Failure::new(Kind::NotFound, what).next(next)
}

/// What to say if the tracker says that the share is over: who ended it.
fn gone(error: &ClientError) -> Option<Failure> {
    let ClientError::Refused { problem, .. } = error else { return None };
    (problem.kind == ProblemKind::ShareGone).then(|| {
        Failure::new(Kind::NotFound, format!("the share is gone: {}", problem.detail))
            .next("Ask the sender to share it again.")
    })
}

/// Asks again for a while if the tracker has just started and does not know yet.
async fn patient_look_up(
    context: &Context,
    tracker: &TrackerClient,
    link: &ShareLink,
) -> Result<LookUpResponse, ClientError> {
    let (started, mut told) = (Instant::now(), false);
    loop {
        match tracker.look_up(link.share, &access_token(&link.secret)).await {
            Err(error)
                if error.problem() == Some(ProblemKind::Unavailable)
                    && started.elapsed() < LOOK_UP_PATIENCE =>
            {
                // A document in JSON is to be the only thing on standard output.
                if !told && !context.progress.is_json() {
                    context
                        .progress
                        .say("The tracker has just started, and waits for its peers; asking again.");
                    told = true;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            answer => return answer,
        }
    }
}

async fn to_stream(
    context: &Context,
    link: &ShareLink,
    found: Found,
    stream: Stream,
) -> Result<Vec<String>, Failure> {
    if !found.metadata.is_single_file() {
        return Err(Failure::new(Kind::Usage, "a folder cannot be written to standard output")
            .next("Give a folder with -o PATH."));
    }
    let geometry = *found.manifest.geometry();
    let none = ChunkSet::empty(geometry.chunk_count());
    let holes = found.metadata.files.first().map(|only| only.holes.clone()).unwrap_or_default();
    let in_order = Arc::new(InOrder::new(stream, geometry, holes));
    let (download, sources) = new_download(context, link, found, Sink::InOrder(Arc::clone(&in_order)));
    let fetched = download::fetch(Arc::new(download), none, sources, &context.http, &context.progress).await;
    let peers = fetched?;
    in_order
        .finish()
        .await
        .map_err(|error| Failure::new(Kind::Other, format!("cannot write the result: {error}")))?;
    Ok(peers)
}

async fn to_disk(
    context: &Context,
    link: &ShareLink,
    found: Found,
    (target, place): (&Path, Place),
    wish: Wish,
) -> Result<Saved, Failure> {
    let (owned, owned_target) = (context.clone(), target.to_owned());
    // `found` goes in and out: it is large, and the closure must own what it uses.
    let (found, prepared) = blocking(move || {
        let prepared = prepare(&owned, &owned_target, (place, wish.manner), &found);
        (found, prepared)
    })
    .await;
    let Prepared { output, journal, done } = prepared?;
    let geometry = *found.manifest.geometry();
    if !done.is_empty() {
        let here: u64 = done.iter().map(|index| geometry.plain_len(index) as u64).sum();
        let (here, total) = (human::bytes(here), human::bytes(geometry.total()));
        context.progress.say(&format!("Resuming: {here} of {total} are here already."));
    }
    let (output, journal) = (Arc::new(output), Arc::new(journal));
    let any_order = AnyOrder::new(geometry, Arc::clone(&output), Arc::clone(&journal));
    let (download, sources) = new_download(context, link, found, Sink::AnyOrder(any_order));
    let fetched = download::fetch(Arc::new(download), done, sources, &context.http, &context.progress).await;
    let peers = match fetched {
        Ok(fetched) => fetched,
        Err(Halt::Failed(failure)) => return Err(failure),
        Err(Halt::Final(failure)) => return Err(blocking(move || discard(&output, &journal, failure)).await),
    };
    crash::at(Point::AllWritten);
    let left_out = blocking(move || output.finish(wish).map(|()| output.left_out())).await?;
    // Only now: killed before, the same command finds everything here and names it again.
    crash::at(Point::ResultNamed);
    if let Err(error) = journal.forget() {
        tracing::warn!(%error, "cannot remove the journal");
    }
    Ok(Saved { peers, left_out })
}

/// What came to disk.
struct Saved {
    /// The names of the peers that served it.
    peers: Vec<String>,
    left_out: Vec<LeftOut>,
}

/// Removes what was fetched of a share of which nothing can become; the failure, which says so.
fn discard(output: &Output, journal: &DownloadJournal, failure: Failure) -> Failure {
    let removed = output.discard();
    let forgotten = journal.forget().map_err(|error| Failure::io("forget", Path::new("the journal"), &error));
    let said = match removed.and(forgotten) {
        Ok(()) => "What was fetched of it was removed.".to_owned(),
        Err(error) => format!("What was fetched of it was not removed: {}.", error.what),
    };
    leftovers::also(failure, said)
}

/// The path that the result will have, and whether the user named it himself; `None` for standard output.
fn target_path(destination: &Destination, metadata: &Metadata) -> Result<Option<(PathBuf, bool)>, Failure> {
    let name = metadata.original_filename.as_str();
    match destination {
        Destination::Stdout => Ok(None),
        Destination::Here => Ok(Some((PathBuf::from(name), false))),
        Destination::Path(path) if path.is_dir() => Ok(Some((path.join(name), false))),
        Destination::Path(path) if is_directory_to_be(path) => Ok(Some((path.join(name), false))),
        Destination::Path(path) if path.file_name().is_none() => {
            Err(Failure::new(Kind::Usage, format!("{} names no file", path.display())))
        }
        Destination::Path(path) => Ok(Some((path.clone(), true))),
    }
}

/// Makes the directory that the user wants the result to be in, as in `new/`.
fn make_named_directory(destination: &Destination) -> Result<(), Failure> {
    match destination {
        Destination::Path(path) if is_directory_to_be(path) && !path.is_dir() => {
            fs::create_dir(path).map_err(|error| Failure::io("make the folder", path, &error))
        }
        _ => Ok(()),
    }
}

fn is_directory_to_be(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

fn new_download(
    context: &Context,
    link: &ShareLink,
    found: Found,
    sink: Sink,
) -> (Download, Vec<SourceInfo>) {
    let access = access_token(&link.secret);
    let tracker = TrackerClient::of_link(context.http.clone(), link);
    (Download::new(found.manifest, found.keys, access, tracker, sink), found.sources)
}

fn damaged(error: &ManifestError) -> Failure {
    let failure = Failure::new(Kind::Integrity, error.to_string());
    match error {
        ManifestError::Commitment => failure.next("Ask the sender for the link again, and copy all of it."),
        ManifestError::Header(_) => failure.next("Update parcelry, then try again."),
        _ => failure.next("Nothing was downloaded."),
    }
}
