//! Carries out each command: from its flags to the module that does the work.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use parcelry_core::duration::millis;
use parcelry_core::link::Invite;
use parcelry_core::name::printable;
use parcelry_core::quota::Allowance;
use parcelry_core::registry::Rules;
use parcelry_core::token::Role;

use crate::answers::{GetSummary, PeerReady, ScrubSummary, ShareSummary, TrackerReady};
use crate::cli::{
    CleanArgs, Cli, Command, DemoArgs, GetArgs, InviteRole, JoinArgs, LivenessArgs, LsArgs, PeerArgs,
    ShareArgs, SwarmArgs, SwarmsAction, SwarmsArgs, TokensAction, TokensArgs, TrackerArgs, UpArgs,
};
use crate::client::Http;
use crate::config::{self, Folders};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::get::{self, Destination, Manner};
use crate::local::{LocalConfig, LocalSwarm};
use crate::peer::{self, Maintenance, PeerConfig, Scrub};
use crate::progress::Progress;
use crate::share::{self, ShareRequest};
use crate::swarm::KnownSwarms;
use crate::task::{EndRequests, Tasks};
use crate::tls::web_certificate::WebCertificate;
use crate::tracker::{self, FirstInvites, RunningTracker, TrackerConfig};
use crate::{clean, clock, demo, durable, manage, operate, pasted, swarms, verify, words};

/// Carries out a command. An interrupt ends it with a failure that says how to go on.
pub async fn run(command: Command, progress: Progress, folders: &Folders) -> Result<(), Failure> {
    let runner = Runner {
        context: Context { http: Http::new(None)?, progress, state: folders.state.clone() },
        data: folders.data.clone(),
        tasks: Tasks::default(),
    };
    // These keep nothing. For all others the folder with the keys is refused if somebody else can write to it.
    let remembers = !matches!(command, Command::Demo(_) | Command::Completions { .. } | Command::Man);
    if remembers && folders.state.exists() {
        durable::own_folder(&folders.state)?;
    }
    let role = match command {
        Command::Up(_) => Some("up"),
        Command::Tracker(_) => Some("tracker"),
        Command::Peer(_) => Some("peer"),
        _ => None,
    };
    if let Some(role) = role {
        if let Some(role) = Cli::command().find_subcommand(role) {
            config::refuse_renamed(role, |name| std::env::var_os(name).is_some())?;
        }
        // It waits for signals itself, and finishes what is in flight.
        return runner.dispatch(command).await;
    }
    let resumable = matches!(command, Command::Share(_) | Command::Get(_));
    let mut ends = EndRequests::listen()?;
    // Other commands are dropped where they are: what they need to go on is on the disk already.
    tokio::select! {
        result = runner.dispatch(command) => result,
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

struct Runner {
    context: Context,
    data: PathBuf,
    tasks: Tasks,
}

impl Runner {
    async fn dispatch(&self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Demo(DemoArgs { path }) => demo::run(path, &self.context.progress, &self.tasks).await,
            Command::Up(args) => self.up(args).await,
            Command::Tracker(args) => self.tracker(args).await,
            Command::Peer(args) => self.peer(args).await,
            Command::Invite(args) => {
                let role = match args.role {
                    InviteRole::Peer => Role::Peer,
                    InviteRole::Sender => Role::Sender,
                };
                let allowance = Allowance {
                    quota_bytes: args.quota.map(|size| size.as_u64()),
                    share_bytes_max: args.share_max.map(|size| size.as_u64()),
                    life_ms_max: args.expires_max.map(millis),
                    replicas_max: args.replicas_max,
                    peers_max: args.count,
                    zone: args.zone,
                };
                let data = self.tracker_data(args.data);
                operate::invite(&self.context, &data, role, &args.name, args.expires, allowance).await
            }
            Command::Tokens(TokensArgs { action: TokensAction::Ls { revoked, data } }) => {
                operate::list_tokens(&self.context, &self.tracker_data(data), revoked).await
            }
            Command::Tokens(TokensArgs { action: TokensAction::Revoke { ids, data } }) => {
                operate::revoke_tokens(&self.context, &self.tracker_data(data), &ids).await
            }
            Command::Drain(args) => {
                let data = self.tracker_data(args.data);
                operate::drain(&self.context, &data, &args.peer, args.undo).await
            }
            Command::Join(JoinArgs { invite, name }) => {
                swarms::join(&self.context, &pasted::invite(invite).await?, name.as_deref()).await
            }
            Command::Swarms(SwarmsArgs { action }) => self.swarms(action),
            Command::Leave => swarms::forget(&self.context, None),
            Command::Share(args) => self.share(args).await,
            Command::Get(args) => self.get(args).await,
            Command::Inspect(args) => {
                manage::inspect(&self.context, &pasted::link(args.link).await?, args.receipts).await
            }
            Command::Verify(args) => verify::verify(&self.context, &pasted::link(args.link).await?).await,
            Command::Ls(LsArgs { partial: true }) => {
                clean::list(&self.context);
                Ok(())
            }
            Command::Ls(LsArgs { partial: false }) => manage::list(&self.context),
            Command::Clean(args) => self.clean(args).await,
            Command::Rm(args) => manage::remove(&self.context, &pasted::link(args.link).await?).await,
            Command::Extend(args) => {
                manage::extend(&self.context, &pasted::link(Some(args.link)).await?, args.duration).await
            }
            Command::Status(args) => manage::status(&self.context, &self.swarm(args.swarm).await?).await,
            // Printed through `progress`, for which a reader that needs no more, as `head`, is no failure.
            Command::Completions { shell } => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "parcelry", &mut text);
                self.print(&text)
            }
            Command::Man => {
                let mut text = Vec::new();
                let page = clap_mangen::Man::new(Cli::command());
                page.render(&mut text).map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
                self.print(&text)
            }
        }
    }

    async fn up(&self, args: UpArgs) -> Result<(), Failure> {
        // Before anything starts: a signal that comes meanwhile is not lost.
        let mut ends = EndRequests::listen()?;
        let names: Vec<String> = (1..=args.peers).map(|number| format!("peer{number}")).collect();
        let data = args.data.unwrap_or_else(|| self.data.join("up"));
        let config = LocalConfig {
            data: &data,
            listen: args.listen,
            public_url: None,
            peers: &names.iter().map(String::as_str).collect::<Vec<_>>(),
            keep_free_bytes: args.keep_free.as_u64(),
            rules: rules(&args.liveness)?,
        };
        let swarm = LocalSwarm::start(config, &self.tasks).await?;
        let swarms = KnownSwarms::new(&self.context.state);
        let note = swarms.note_up(&swarm.invite)?;
        let peers = words::count(u64::from(args.peers), "peer");
        let mut head = vec![
            format!("A tracker on {} and {peers} are up.", swarm.tracker.address),
            "Share a file from here:       parcelry share FILE".to_owned(),
        ];
        if let Some(other) = swarms.list().into_iter().find(|known| !known.is_in_use) {
            head.push(format!(
                "Commands use this swarm while it runs. To use another:  parcelry swarms use {}",
                other.name
            ));
        }
        let told = self.ready(&head, &swarm.tracker, &data.join("tracker"), args.peers);
        if told.is_ok() {
            self.until_asked_to_end(&mut ends).await;
        }
        // First, so that no command chooses a swarm that is about to end.
        drop(note);
        stop_with(swarm.stop(), &mut ends).await.and(told)
    }

    async fn tracker(&self, args: TrackerArgs) -> Result<(), Failure> {
        let mut ends = EndRequests::listen()?;
        let data = args.data.unwrap_or_else(|| self.data.join("tracker"));
        let certificate = args.certificate.zip(args.certificate_key);
        let config = TrackerConfig {
            listen: args.listen,
            data: data.clone(),
            public_url: args.public_url,
            rules: rules(&args.liveness)?,
            certificate: certificate.map(|(chain, key)| WebCertificate { chain, key }),
            proxies: args.behind_proxy,
            hosts: args.host_name,
            gateway_bytes_per_second: args.gateway_rate.as_u64(),
        };
        let tracker = tracker::start(config, &self.tasks).await?;
        let head = format!("The tracker listens on {}; others reach it at {}.", tracker.address, tracker.url);
        let told = self.ready(&[head], &tracker, &data, 0);
        if told.is_ok() {
            self.until_asked_to_end(&mut ends).await;
        }
        stop_with(tracker.stop(), &mut ends).await.and(told)
    }

    async fn peer(&self, args: PeerArgs) -> Result<(), Failure> {
        let mut ends = EndRequests::listen()?;
        let config = PeerConfig {
            invite: self.swarm(SwarmArgs { invite: args.invite, swarm: None }).await?,
            listen: args.listen,
            data: args.data.unwrap_or_else(|| self.data.join("peer")),
            name: args.name.unwrap_or_else(machine_name),
            capacity_bytes: args.capacity.map(|size| size.as_u64()),
            keep_free_bytes: args.keep_free.as_u64(),
            zone: args.zone,
            public_addr: args.public_addr,
            maintenance: Maintenance {
                copy_bytes_per_second: args.repair_rate.as_u64(),
                audit_bytes_per_second: args.audit_rate.as_u64(),
                scrub_every: args.scrub_every,
            },
        };
        // It waits for its tracker for as long as it takes.
        let peer = tokio::select! {
            peer = peer::start(config, &self.tasks) => peer?,
            signal = ends.next() => return Err(Failure::new(signal, "interrupted")),
        };
        let (free, announced) = (words::bytes(peer.free_bytes), peer.announced.join(", "));
        let text = format!(
            "Peer {} listens on {} and has joined the swarm, which reaches it at {announced}. {free} free.",
            peer.name, peer.address
        );
        let (name, addresses) = (peer.name.as_str(), peer.announced.as_slice());
        let ready = PeerReady { id: peer.id, name, address: peer.address.to_string(), addresses };
        self.context.progress.summary(&text, ready);
        if args.scrub_now {
            tokio::select! {
                scrub = peer.scrub() => self.tell_scrub(scrub?),
                signal = ends.next() => {
                    stop_with(peer.stop(), &mut ends).await?;
                    return Err(Failure::new(signal, "interrupted before everything was read"));
                }
            }
        }
        self.until_asked_to_end(&mut ends).await;
        stop_with(peer.stop(), &mut ends).await
    }

    fn tell_scrub(&self, scrub: Scrub) {
        let read = format!("Read {} ({})", words::count(scrub.chunks, "chunk"), words::bytes(scrub.bytes));
        let text = match scrub.damaged {
            0 => format!("{read}: all are as they should be."),
            n => format!(
                "{read}: {} damaged and set aside; the swarm makes new copies.",
                words::count(n, "chunk")
            ),
        };
        let Scrub { chunks, bytes, damaged } = scrub;
        self.context.progress.summary(&text, ScrubSummary { chunks, bytes, damaged });
    }

    async fn share(&self, args: ShareArgs) -> Result<(), Failure> {
        let stdin = args.paths.iter().any(|path| path == Path::new("-"));
        if stdin && args.paths.len() > 1 {
            return Err(Failure::new(Kind::Usage, "standard input is shared alone, without other paths"));
        }
        let request = ShareRequest {
            paths: if stdin { Vec::new() } else { args.paths },
            stdin,
            name: args.name,
            replicas: args.replicas,
            expires: args.expires,
            chunk_size: args.chunk_size,
            wait: args.wait,
            strict: args.strict,
        };
        let shared = share::share(&self.context, &self.swarm(args.swarm).await?, request).await?;
        let summary = ShareSummary {
            link: shared.link.expose_text(),
            name: shared.name.clone(),
            size_bytes: shared.size_bytes,
            peers: shared.peers.clone(),
            expires: clock::rfc3339(shared.expires_ms),
            browsers_warn: shared.browsers_warn,
            left_out: shared.left_out,
            warnings: self.context.progress.warnings(),
        };
        // The link is told in any case: only then it fails for what was left out.
        self.context.progress.explain(shared.in_browsers());
        self.context.progress.summary(&shared.sentence(), summary);
        shared.check_whole()
    }

    async fn get(&self, args: GetArgs) -> Result<(), Failure> {
        let destination = match args.output {
            None => Destination::Here,
            Some(path) if path == Path::new("-") => Destination::Stdout,
            Some(path) => Destination::Path(path),
        };
        if self.context.progress.is_json() && matches!(destination, Destination::Stdout) {
            return Err(Failure::new(Kind::Usage, "--json and -o - both want standard output"));
        }
        let link = pasted::link(args.link).await?;
        let manner = Manner { force: args.force, anew: args.anew };
        let got = get::get(&self.context, &link, &destination, manner).await?;
        let summary = GetSummary {
            name: got.name.clone(),
            size_bytes: got.size_bytes,
            peers: got.peers.clone(),
            path: got.target.as_ref().map(|path| path.to_string_lossy().into_owned()),
            left_out: got.left_out,
            warnings: self.context.progress.warnings(),
        };
        self.context.progress.summary(&got.sentence(), summary);
        got.check_whole()
    }

    fn swarms(&self, action: Option<SwarmsAction>) -> Result<(), Failure> {
        match action.unwrap_or(SwarmsAction::Ls) {
            SwarmsAction::Ls => swarms::list(&self.context),
            SwarmsAction::Use { name } => swarms::choose(&self.context, &name)?,
            SwarmsAction::Forget { name } => swarms::forget(&self.context, Some(&name))?,
        }
        Ok(())
    }

    async fn clean(&self, args: CleanArgs) -> Result<(), Failure> {
        let is_named = args.swarm.invite.is_some() || args.swarm.swarm.is_some();
        let named = if is_named { Some(self.swarm(args.swarm).await) } else { None };
        let wish =
            clean::Wish { untouched_for: args.older_than, is_sure: args.yes, even_untold: args.force, named };
        clean::clean(&self.context, wish).await
    }

    async fn swarm(&self, SwarmArgs { invite, swarm }: SwarmArgs) -> Result<Invite, Failure> {
        let invite = match invite {
            Some(text) => Some(pasted::invite(Some(text)).await?),
            None => None,
        };
        KnownSwarms::new(&self.context.state).choose(swarm.as_deref(), invite)
    }

    /// Tells that a tracker is ready, and how others come in: words on stderr, at the first start the invites
    /// on stdout, the one for peers first.
    fn ready(
        &self,
        head: &[String],
        tracker: &RunningTracker,
        data: &Path,
        peers: u8,
    ) -> Result<(), Failure> {
        let progress = &self.context.progress;
        let expose =
            |FirstInvites { peer, sender }: &FirstInvites| (peer.expose_text(), sender.expose_text());
        let first = tracker.first.as_ref().map(expose);
        let (peer_invite, sender_invite) = first.clone().unzip();
        let (address, browsers_warn) = (tracker.address.to_string(), tracker.browsers_warn);
        let ready = TrackerReady { address, peers, browsers_warn, peer_invite, sender_invite };
        progress.summary(&head[0], ready);
        head[1..].iter().for_each(|line| progress.explain(line));
        progress.explain(if tracker.browsers_warn {
            "Browsers open links after a warning: the tracker's certificate is its own. See `parcelry tracker --certificate`."
        } else {
            "Browsers open links by the certificate that you gave."
        });
        let Some((peer, sender)) = first else {
            let data = data.display();
            let invite = format!("Invite another peer:          parcelry invite --role peer --data '{data}'");
            progress.explain(&invite);
            let invite =
                format!("Invite another sender:        parcelry invite --role sender --data '{data}'");
            progress.explain(&invite);
            return progress.check_written();
        };
        let add = match peers {
            0 => "Add a peer; two are needed",
            1 => "Add a peer; one more is needed",
            _ => "Add another peer",
        };
        progress.explain(&format!("{add}: parcelry peer --invite INVITE, with this one:"));
        progress.result(&peer);
        progress.explain("Join as a sender: parcelry join INVITE, with this one:");
        progress.result(&sender);
        progress.explain("More invites: parcelry invite --help");
        // They are shown once.
        progress.check_written().map_err(|failure| {
            let data = data.display();
            failure.next(format!(
                "Nobody has seen the first invites. Make others: parcelry invite --role peer --data '{data}'"
            ))
        })
    }

    /// The folder of the tracker that runs here: the one that was named, else that of `parcelry tracker`, else
    /// that of `parcelry up`.
    fn tracker_data(&self, named: Option<PathBuf>) -> PathBuf {
        let usual = self.data.join("tracker");
        let up = self.data.join("up").join("tracker");
        named.unwrap_or_else(|| if !usual.exists() && up.exists() { up } else { usual })
    }

    fn print(&self, text: &[u8]) -> Result<(), Failure> {
        let text = std::str::from_utf8(text).map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
        self.context.progress.page(text);
        Ok(())
    }

    async fn until_asked_to_end(&self, ends: &mut EndRequests) {
        ends.next().await;
        self.context
            .progress
            .say("Stopping: what is in flight is finished first. Ask again to stop at once.");
    }
}

/// An orderly stop is what was asked for; a second request makes it an abrupt one.
async fn stop_with(stop: impl Future<Output = ()>, ends: &mut EndRequests) -> Result<(), Failure> {
    tokio::select! {
        () = stop => Ok(()),
        signal = ends.next() => Err(Failure::new(signal, "stopped before everything was finished")),
    }
}

fn rules(args: &LivenessArgs) -> Result<Rules, Failure> {
    if args.heartbeat.is_zero() || args.dead_after <= args.heartbeat * 3 {
        let what = "a peer must have time for more than three heartbeats before it is taken for dead";
        return Err(
            Failure::new(Kind::Usage, what).next("Give a longer --dead-after or a shorter --heartbeat.")
        );
    }
    Ok(Rules { heartbeat: args.heartbeat, dead_after: args.dead_after })
}

fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = printable(&name).chars().take(32).collect();
    if name.is_empty() { "peer".into() } else { name }
}
