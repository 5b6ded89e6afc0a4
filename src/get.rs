//! The story of Bob: look up, verify, fetch from many peers at once, save under the file's own name.

mod download;
mod entries;
mod leftovers;
mod links;
mod merge;
mod output;
mod place;
mod sink;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use swarmdrop_core::api::{LookUpResponse, ProblemKind, SourceInfo};
use swarmdrop_core::chunk_set::ChunkSet;
use swarmdrop_core::geometry::Geometry;
use swarmdrop_core::id::ChunkId;
use swarmdrop_core::limits::LOOK_UP_PATIENCE;
use swarmdrop_core::link::ShareLink;
use swarmdrop_core::manifest::{Listing, Manifest, ManifestError, Opened};
use swarmdrop_core::metadata::Metadata;
use swarmdrop_core::seal::{ShareKeys, access_token};
use swarmdrop_core::terms::{SignedTerms, Terms};

use crate::client::{ClientError, TrackerClient};
use crate::clock;
use crate::context::{Context, tracker_failure, tracker_skew};
use crate::crash::{self, Point};
use crate::durable;
use crate::failure::{Failure, Kind};
use crate::folder::remove_any;
use crate::journal::{DownloadHeader, DownloadJournal, LeftOut, Resumed};
use crate::skew::Skew;
use crate::task::blocking;
use crate::words;
use download::{Download, Halt};
use output::{Output, Reopened, parent};
use place::{Place, Wish, open_stream};
use sink::{Sink, Stream};

/// Pause before a tracker that has just started is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Where to save a share.
#[derive(Debug, Clone)]
pub enum Destination {
    /// In the current folder, under the original name.
    Here,
    /// At this path; inside it, under the original name, if it is a folder.
    Path(PathBuf),
    /// To standard output.
    Stdout,
}

/// A share that has arrived.
#[derive(Debug)]
pub struct Got {
    /// Where it was saved; `None`: standard output.
    pub target: Option<PathBuf>,
    /// The name that the sender gave it.
    pub name: String,
    /// Bytes of all files.
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
        let what = format!("saved, but {} could not be", words::entries(self.left_out));
        Err(Failure::new(Kind::Partial, what).next(
            "They are named above. Where all names are told apart, as on most Linux disks, all can be saved.",
        ))
    }

    /// The last line that the user sees, as in *Saved big.iso (2.2 GB) from 2 peers in 9 s, verified.*
    pub fn sentence(&self) -> String {
        let from = match self.peers.len() {
            0 => String::new(),
            n => format!(" from {}", words::count(n as u64, "peer")),
        };
        let saved_as = self.target.as_ref().and_then(|target| target.file_name());
        let name = saved_as.map_or_else(|| self.name.clone(), |name| name.to_string_lossy().into_owned());
        let (size, took) = (words::bytes(self.size_bytes), words::duration(self.took));
        format!("Saved {name} ({size}){from} in {took}, verified.")
    }
}

/// A share that was looked up and opened, before any chunk is fetched.
pub struct Found {
    /// The verified manifest, of which the metadata was opened.
    pub manifest: Listing,
    /// What only the link's holder may read.
    pub metadata: Metadata,
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
    force: bool,
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
            let wish = Wish { is_file: found.metadata.is_single_file(), is_named, force };
            let place = wish
                .at(&target)
                .map_err(|failure| leftovers::mention(&context.state, link.share, failure))?;
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
    if terms.terms.is_over(clock::now_ms()) {
        // By this machine's clock, which may be wrong.
        return Err(Halt::Failed(over_here(&tracker).await));
    }
    let Opened { keys, metadata, manifest } = opened;
    Ok(Found { manifest, metadata, terms: terms.terms, sources: response.sources, keys })
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
    let none = ChunkSet::empty(found.manifest.geometry().chunk_count());
    let stream = Arc::new(stream);
    let (download, sources) = split(context, link, found, Sink::stream(Arc::clone(&stream)));
    let fetched = download::fetch(Arc::new(download), none, sources, &context.http, &context.progress).await;
    let peers = fetched?;
    let synced = blocking(move || stream.sync()).await;
    synced.map_err(|error| Failure::new(Kind::Other, format!("cannot write the result: {error}")))?;
    Ok(peers)
}

async fn to_disk(
    context: &Context,
    link: &ShareLink,
    found: Found,
    (target, place): (&Path, Place),
    wish: Wish,
) -> Result<Saved, Failure> {
    let (state, owned_target) = (context.state.clone(), target.to_owned());
    let (found, prepared) = blocking(move || {
        let prepared = prepare(&state, &owned_target, place, &found);
        (found, prepared)
    })
    .await;
    let Prepared { output, journal, done, lost } = prepared?;
    let geometry = *found.manifest.geometry();
    if lost {
        context
            .progress
            .say("What was fetched before is not there any more, or not as it was: beginning anew.");
    }
    if !done.is_empty() {
        let here: u64 = done.iter().map(|index| geometry.plain_len(index) as u64).sum();
        let (here, total) = (words::bytes(here), words::bytes(geometry.total()));
        context.progress.say(&format!("Resuming: {here} of {total} are here already."));
    }
    let (output, journal) = (Arc::new(output), Arc::new(journal));
    let sink = Sink::File { geometry, output: Arc::clone(&output), journal: Arc::clone(&journal) };
    let (download, sources) = split(context, link, found, sink);
    let fetched = download::fetch(Arc::new(download), done, sources, &context.http, &context.progress).await;
    let peers = match fetched {
        Ok(fetched) => fetched,
        Err(Halt::Failed(failure)) => return Err(failure),
        Err(Halt::Final(failure)) => return Err(blocking(move || discard(&output, &journal, failure)).await),
    };
    crash::at(Point::AllWritten);
    let left_out = blocking(move || output.finish(wish).map(|()| output.left_out())).await?;
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

struct Prepared {
    output: Output,
    journal: DownloadJournal,
    done: ChunkSet,
    /// Whether chunks that were fetched before are not there any more.
    lost: bool,
}

/// Opens the temporary of an earlier attempt, or makes a new one. What could not begin leaves no journal.
fn prepare(state: &Path, target: &Path, place: Place, found: &Found) -> Result<Prepared, Failure> {
    let target = std::path::absolute(target).map_err(|error| Failure::io("find", target, &error))?;
    let (share, geometry) = (found.manifest.share(), found.manifest.geometry());
    let (mut journal, before) = DownloadJournal::open(state, share, &target, geometry)?;
    let is_new = before.is_none();
    match begin(&mut journal, before, (&target, place), found) {
        Ok((output, done, lost)) => Ok(Prepared { output, journal, done, lost }),
        Err(failure) => {
            if is_new && let Err(error) = journal.forget() {
                tracing::warn!(%error, "cannot remove the journal");
            }
            Err(failure)
        }
    }
}

/// The temporary, the chunks that are in it, and whether others were there before.
fn begin(
    journal: &mut DownloadJournal,
    before: Option<Resumed>,
    (target, place): (&Path, Place),
    found: &Found,
) -> Result<(Output, ChunkSet, bool), Failure> {
    let (share, geometry) = (found.manifest.share(), found.manifest.geometry());
    // What goes into a folder that is there arrives in it: another disk may be mounted there.
    let folder = if place == Place::Folder { target } else { parent(target) };
    if place == Place::Folder {
        merge::check(folder, &found.metadata)?;
    }
    let failed = |error: std::io::Error| Failure::io("prepare", target, &error);
    let lost = before.as_ref().is_some_and(|before| !before.done.is_empty());
    if let Some(before) = before
        && let Some((output, done)) = reopen(&before, target, found)?
    {
        // Before anything is written: what is made again may look whole to the next attempt.
        if done != before.done {
            journal.keep(&done).map_err(failed)?;
        }
        let lost = lost && done.is_empty();
        return Ok((output, done, lost));
    }
    check_space(folder, geometry)?;
    // Not by the share alone: it may be on its way to another name in the same folder.
    let temporary = folder.join(format!(".swarmdrop-{:.16}.part", journal.key()));
    remove_any(&temporary).map_err(|error| Failure::io("clear away", &temporary, &error))?;
    let output = Output::create(&temporary, target, found.metadata.clone()).inspect_err(|_| {
        let _ = remove_any(&temporary);
    })?;
    crash::at(Point::TemporaryMade);
    let inode = output.private_inode().unwrap_or(0);
    let mut header = DownloadHeader::new(share, target.to_owned(), temporary, inode);
    header.left_out = output.left_out();
    journal.begin(&header).map_err(failed).inspect_err(|_| {
        let _ = output.discard();
    })?;
    Ok((output, ChunkSet::empty(geometry.chunk_count()), lost))
}

/// The temporary of an earlier attempt with the chunks that are in it; `None` if it is not there, or if nothing says
/// that it is the one: then it is removed.
fn reopen(before: &Resumed, target: &Path, found: &Found) -> Result<Option<(Output, ChunkSet)>, Failure> {
    let header = &before.header;
    let inode = (header.inode != 0).then_some(header.inode);
    let left_out = header.left_out.clone();
    let reopened = Output::reopen(&header.temporary, target, found.metadata.clone(), inode, left_out);
    let Ok(Some(Reopened { output, is_trusted })) = reopened else { return Ok(None) };
    let done = output.present(&before.done, found.manifest.geometry());
    if before.trusted && is_trusted {
        return Ok(Some((output, done)));
    }
    let done = check_again(&output, found, &done);
    if done.is_empty() {
        output.discard()?;
        return Ok(None);
    }
    Ok(Some((output, done)))
}

/// After a crash of the system the temporary may have lost what was not synced: seals each chunk
/// again, and keeps those that give the id in the manifest.
fn check_again(output: &Output, found: &Found, done: &ChunkSet) -> ChunkSet {
    let geometry = found.manifest.geometry();
    let mut good = ChunkSet::empty(geometry.chunk_count());
    for index in done.iter() {
        let mut bytes = vec![0; geometry.plain_len(index)];
        if output.read(geometry.plain_range(index).start, &mut bytes).is_ok() {
            found.keys.seal_chunk(geometry, index, &mut bytes);
            if ChunkId::of(&bytes) == found.manifest.chunk(index) {
                good.insert(index);
            }
        }
    }
    good
}

fn check_space(folder: &Path, geometry: &Geometry) -> Result<(), Failure> {
    let free = durable::free_bytes(folder).map_err(|error| Failure::io("save in", folder, &error))?;
    if free < geometry.total() {
        let (needed, free) = (words::bytes(geometry.total()), words::bytes(free));
        let what = format!("{needed} are needed in {}, {free} are free", folder.display());
        return Err(Failure::new(Kind::NoSpace, what).next("Make room, or choose another place with -o."));
    }
    Ok(())
}

/// The path that the result will have, and whether the user named it himself; `None` for standard output.
fn target_path(destination: &Destination, metadata: &Metadata) -> Result<Option<(PathBuf, bool)>, Failure> {
    let name = metadata.original_filename.as_str();
    match destination {
        Destination::Stdout => Ok(None),
        Destination::Here => Ok(Some((PathBuf::from(name), false))),
        Destination::Path(path) if path.is_dir() => Ok(Some((path.join(name), false))),
        Destination::Path(path) if path.as_os_str().as_bytes().ends_with(b"/") => {
            fs::create_dir(path).map_err(|error| Failure::io("make the folder", path, &error))?;
            Ok(Some((path.join(name), false)))
        }
        Destination::Path(path) if path.file_name().is_none() => {
            Err(Failure::new(Kind::Usage, format!("{} names no file", path.display())))
        }
        Destination::Path(path) => Ok(Some((path.clone(), true))),
    }
}

fn split(context: &Context, link: &ShareLink, found: Found, sink: Sink) -> (Download, Vec<SourceInfo>) {
    let access = access_token(&link.secret);
    let tracker = TrackerClient::of_link(context.http.clone(), link);
    (Download::new(found.manifest, found.keys, access, tracker, sink), found.sources)
}

fn damaged(error: &ManifestError) -> Failure {
    let failure = Failure::new(Kind::Integrity, error.to_string());
    match error {
        ManifestError::Commitment => failure.next("Ask the sender for the link again, and copy all of it."),
        ManifestError::Header(_) => failure.next("Update swarmdrop, then try again."),
        _ => failure.next("Nothing was downloaded."),
    }
}
