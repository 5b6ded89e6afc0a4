//! The story of the sender: split files into chunks, seal them, push them to peers, publish the share, and have the peers
//! prove that they have it. Then the sender may switch the machine off.

mod awkward;
mod changes;
mod collect;
mod halt;
mod own;
mod push;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parcelry_core::api::{OpenRequest, OpenResponse, ProblemKind, ShareSize};
use parcelry_core::geometry::ChunkSize;
use parcelry_core::link::{Invite, ShareLink};
use parcelry_core::owner::Act;

use crate::client::{TrackerClient, tracker_failure, tracker_skew};
use crate::clock;
use crate::context::Context;
use crate::crash::{self, Point};
use crate::failure::{Failure, Kind};
use crate::human;
use crate::journal::{OwnedShare, OwnedShares, Sent, UploadHeader};
use crate::task::blocking;
use crate::withdraw::withdraw;
use collect::Collected;
use halt::Halt;
use push::Pushed;
use upload::Upload;

/// Pause between two questions whether enough peers are there by now.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What to share.
#[derive(Debug, Clone)]
pub enum Source {
    /// Files and directories.
    Paths(Vec<PathBuf>),
    /// Standard input, to its end.
    Stdin,
}

/// What to share, and how.
#[derive(Debug, Clone)]
pub struct ShareRequest {
    /// What.
    pub source: Source,
    /// The name that the receiver sees, if not the file's own.
    pub name: Option<String>,
    /// How many peers are to hold each chunk.
    pub replicas: u8,
    /// How long the share lives.
    pub expires: Duration,
    /// Size of the chunks, if not the default.
    pub chunk_size: Option<ChunkSize>,
    /// How long to wait for enough peers.
    pub wait: Duration,
    /// Whether nothing is shared if something in a directory cannot be.
    pub strict: bool,
}

impl ShareRequest {
    /// A file or directory as it is, on two peers for an hour.
    pub fn for_an_hour(path: PathBuf) -> Self {
        Self {
            source: Source::Paths(vec![path]),
            name: None,
            replicas: 2,
            expires: Duration::from_secs(3600),
            chunk_size: None,
            wait: Duration::from_secs(10),
            strict: false,
        }
    }
}

/// A share that is safe on its peers.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What to give the receiver.
    pub link: ShareLink,
    /// The name that the receiver sees.
    pub name: String,
    /// Bytes of all files, with their holes.
    pub size_bytes: u64,
    /// The names of the peers that hold it.
    pub peers: Vec<String>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// How long it took.
    pub took: Duration,
    /// Whether a browser warns before it opens the link.
    pub browsers_warn: bool,
    /// How many entries of directories are not in it; each was named.
    pub left_out: u64,
}

impl Shared {
    /// The last line that the user sees, as in *Safe on 2 peers (nas, attic). …*
    pub fn sentence(&self) -> String {
        let peers = human::count(self.peers.len() as u64, "peer");
        let left = human::until(self.expires_ms, clock::now_ms());
        let names = self.peers.join(", ");
        format!("Safe on {peers} ({names}). You can switch this machine off. Expires in {left}.")
    }

    /// The failure at the end if something was left out.
    pub fn check_whole(&self) -> Result<(), Failure> {
        if self.left_out == 0 {
            return Ok(());
        }
        let were = if self.left_out == 1 { "was" } else { "were" };
        let what = format!("shared, but {} {were} left out", human::entries(self.left_out));
        Err(Failure::new(Kind::Partial, what)
            .next("They are named above. With --strict, nothing is shared then."))
    }

    /// What becomes of the link in a browser.
    pub fn in_browsers(&self) -> &'static str {
        if self.browsers_warn {
            "A browser opens the link, too, after a warning: the tracker's certificate is its own."
        } else {
            "A browser opens the link, too."
        }
    }
}

/// Shares files through the swarm: returns once every chunk is on stable storage at `replicas` peers.
pub async fn share(context: &Context, swarm: &Invite, request: ShareRequest) -> Result<Shared, Failure> {
    let started = Instant::now();
    if let Some(shared) = attempt(context, swarm, &request, started).await? {
        return Ok(shared);
    }
    context.progress.say("What was begun of it earlier is over at the tracker: it is shared anew.");
    let shared = attempt(context, swarm, &request, started).await?;
    shared.ok_or_else(|| Failure::new(Kind::NotFound, "the share was ended while it was being sent"))
}

/// Goes on with what was begun, or begins; `None` if what was begun is over, and forgotten by now.
async fn attempt(
    context: &Context,
    swarm: &Invite,
    request: &ShareRequest,
    started: Instant,
) -> Result<Option<Shared>, Failure> {
    let tracker = TrackerClient::of_invite(context.http.clone(), swarm);
    let (collected, skew) = tokio::join!(collect_files(context, request), tracker_skew(&tracker));
    let (collected, skew) = (collected?, skew?);
    awkward::tell(&collected, request.strict, &context.progress)?;
    let left_out = collected.left_out.len() as u64;
    if let Some(off) = skew.check_end(clock::ms_from_now(request.expires))? {
        context.progress.warn(&off);
    }
    let (own, to, asked) = (context.clone(), swarm.clone(), request.clone());
    // Files that were written to since an earlier attempt are read again.
    let prepared = blocking(move || Upload::prepare(&own.state, &to, &asked, collected, &own.progress)).await;
    let upload = Arc::new(prepared?);
    crash::at(Point::KeysKept);
    if let Some((header, sent)) = upload.replaced() {
        take_back(context, swarm, header, sent).await;
    }
    let (length, data) = (upload.length(), upload.geometry().total());
    if data < length {
        let (length, data) = (human::bytes(length), human::bytes(data));
        context.progress.say(&format!("Files have holes, which are not sent: {data} of {length} are."));
    }

    let result = async {
        let open = wait_for_peers(context, &tracker, swarm, &upload, request).await?;
        let browsers_warn = open.browsers_warn;
        let to = push::To { http: &context.http, swarm, tracker: &tracker, skew };
        let pushed = push::push(&upload, request, open, to, &context.progress).await?;
        Ok((pushed, browsers_warn))
    };
    let (pushed, browsers_warn) = match result.await {
        Ok(pushed) => pushed,
        Err(Halt::Gone(_)) if upload.resumed() => {
            upload.forget();
            return Ok(None);
        }
        Err(halt) => return Err(end_early(context, swarm, &upload, halt).await),
    };

    let shared = Shared {
        link: upload.link(swarm),
        name: upload.header().name.to_string(),
        size_bytes: upload.length(),
        peers: peer_names(&pushed),
        expires_ms: pushed.terms.expires_ms,
        took: started.elapsed(),
        browsers_warn,
        left_out,
    };
    save_owner_key(context, &upload, &shared, pushed)?;
    // The link is out before the journal goes: killed in between, the same command prints the same link.
    context.progress.result(&shared.link.expose_text());
    crash::at(Point::LinkPrinted);
    upload.forget();
    Ok(Some(shared))
}

async fn collect_files(context: &Context, request: &ShareRequest) -> Result<Collected, Failure> {
    let (request, context) = (request.clone(), context.clone());
    blocking(move || {
        let name = request.name.as_deref();
        match &request.source {
            Source::Stdin => collect::collect_stdin(&context.state, name, &context.progress),
            Source::Paths(paths) => collect::collect(&context.state, paths, name, &context.progress),
        }
    })
    .await
}

/// Asks the tracker where to push; while too few peers are alive, asks again.
async fn wait_for_peers(
    context: &Context,
    tracker: &TrackerClient,
    swarm: &Invite,
    upload: &Upload,
    request: &ShareRequest,
) -> Result<OpenResponse, Halt> {
    let owner = upload.owner_token(Act::Open, swarm.tracker_id, &swarm.token.expose_text());
    let size = ShareSize::from(upload.geometry());
    let preferred = upload.peers();
    let open = OpenRequest { share: upload.share(), size, replicas: request.replicas, preferred };
    let deadline = Instant::now() + request.wait;
    let mut is_reported = false;
    loop {
        match tracker.open(&open, &owner).await {
            Ok(response) => {
                let peers = response.sets.iter().flat_map(|set| &set.peers).map(|peer| peer.id);
                // Noted before anything is sent: run again, the command asks for those that may have a part.
                upload.set_peers(&peers.collect::<Vec<_>>())?;
                return Ok(response);
            }
            Err(error) if error.problem() == Some(ProblemKind::NotEnoughPeers) => {
                if Instant::now() >= deadline {
                    let hint = "Start more peers, wait longer with --wait, or ask for fewer --replicas.";
                    return Err(tracker_failure(&error).next(hint).into());
                }
                if !is_reported {
                    context.progress.say("Waiting for enough peers to be there…");
                    is_reported = true;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(Halt::of_tracker(&error)),
        }
    }
}

/// Keeps the key that extends and deletes the share, and what its peers signed for.
fn save_owner_key(
    context: &Context,
    upload: &Upload,
    shared: &Shared,
    pushed: Pushed,
) -> Result<(), Failure> {
    let header = upload.header();
    let mut owned = OwnedShare::new(&shared.link, header.seed.clone(), &pushed.terms, shared.name.clone());
    owned.size_bytes = shared.size_bytes;
    owned.file_count = header.files.len();
    owned.receipts = pushed.receipts;
    OwnedShares::new(&context.state).put(&owned)
}

/// Has what peers may have committed of an upload that cannot go on be deleted there, as far as they can be told now.
async fn take_back(context: &Context, swarm: &Invite, header: &UploadHeader, sent: &Sent) {
    if matches!(sent, Sent::To(_))
        && let Err(failure) = withdraw(context, header, sent, Some(&Ok(swarm.clone()))).await
    {
        context.progress.warn(&format!("of what was sent of it before, {}", failure.what));
    }
}

/// Ends an upload early. The journal stays, so that it can go on, unless the files changed.
async fn end_early(context: &Context, swarm: &Invite, upload: &Upload, halt: Halt) -> Failure {
    match halt {
        Halt::Failed(failure) | Halt::Gone(failure) => failure,
        Halt::Changed(path) => {
            match upload.sent() {
                Ok(sent) => {
                    take_back(context, swarm, upload.header(), &sent).await;
                    upload.forget();
                }
                // Without the journal nobody could tell its peers any more.
                Err(failure) => context.progress.warn(&failure.to_string()),
            }
            Failure::new(Kind::Other, format!("{path} changed while it was being shared"))
                .next(
                    "Nothing was published. Run the same command again to share it as it is now. If it changes all the \
                     time, copy it first, or share what is read of it: `cat FILE | parcelry share - --name FILE`.",
                )
        }
    }
}

fn peer_names(pushed: &Pushed) -> Vec<String> {
    let mut names: Vec<String> = pushed.holders.iter().map(|peer| peer.name().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}
