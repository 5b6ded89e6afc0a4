//! Every command and flag.

mod serve;

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use parcelry_core::geometry::ChunkSize;
use parcelry_core::limits::{EXPIRY_MAX, REPLICAS_MAX};

pub use serve::{
    DrainArgs, InviteArgs, InviteRole, LivenessArgs, PeerArgs, TokensAction, TokensArgs, TrackerArgs, UpArgs,
};

/// Hand over large files through a swarm of your own machines: encrypted, replicated, resumable.
#[derive(Debug, Parser)]
#[command(name = "parcelry", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Start with `parcelry demo`: it needs nothing and shows everything.")]
pub struct Cli {
    /// How to report.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to report.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Print JSON on stdout: events for long commands, one document for short ones
    #[arg(long, global = true, env = "PARCELRY_JSON")]
    pub json: bool,
    /// Print results and errors only
    #[arg(short, long, global = true, env = "PARCELRY_QUIET", conflicts_with = "verbose")]
    pub quiet: bool,
    /// How to log
    #[arg(long, global = true, value_name = "FORMAT", env = "PARCELRY_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Log more; twice: even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// The command line without what environment variables say: help is to be had whatever they do.
pub fn without_environment() -> clap::Command {
    fn strip(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.env(None::<&str>)).mut_subcommands(strip)
    }
    strip(<Cli as clap::CommandFactory>::command())
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole swarm here for a moment: share, lose a peer, get, compare
    Demo(DemoArgs),
    /// Run a tracker and peers here, to stay
    Up(UpArgs),
    /// Run a tracker
    Tracker(TrackerArgs),
    /// Run a peer
    Peer(PeerArgs),
    /// Make an invite for a new peer or sender, on the tracker's machine
    Invite(InviteArgs),
    /// List or revoke the tokens behind invites, on the tracker's machine
    Tokens(TokensArgs),
    /// Empty a peer before it leaves, or forget a dead one, on the tracker's machine
    Drain(DrainArgs),
    /// Remember a swarm, so that other commands need no flags
    Join(JoinArgs),
    /// List the swarms that are known here, choose the one to use, forget one
    Swarms(SwarmsArgs),
    /// Forget the swarm that is in use
    Leave,
    /// Share files or folders; prints the link for the receiver
    #[command(visible_aliases = ["alice", "send"])]
    Share(ShareArgs),
    /// Get what a link is for
    #[command(visible_aliases = ["bob", "receive"])]
    Get(GetArgs),
    /// Show what a link is for and how healthy it is, without getting it
    Inspect(InspectArgs),
    /// Read every copy of every chunk behind a link, and keep nothing
    Verify(LinkArgs),
    /// List the shares that were made from here
    Ls(LsArgs),
    /// Remove what was begun from here and not finished
    Clean(CleanArgs),
    /// Delete a share that was made from here
    Rm(LinkArgs),
    /// Let a share that was made from here live longer
    Extend(ExtendArgs),
    /// Show the peers, space and health of the swarm
    Status(StatusArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// What to share; a generated sample if none
    pub path: Option<PathBuf>,
}

/// `join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The invite; `-` reads stdin, a file's path reads the file, none asks
    pub invite: Option<String>,
    /// What to call the swarm here; its tracker's name if none
    #[arg(long)]
    pub name: Option<String>,
}

/// `swarms`.
#[derive(Debug, Args)]
pub struct SwarmsArgs {
    /// What to do with them; they are listed if nothing is said.
    #[command(subcommand)]
    pub action: Option<SwarmsAction>,
}

/// What to do with the swarms that are known here.
#[derive(Debug, Subcommand)]
pub enum SwarmsAction {
    /// List them: name, tracker, which is in use
    Ls,
    /// Use one from now on
    Use {
        /// Its name, from the list
        name: String,
    },
    /// Forget one that was joined
    Forget {
        /// Its name, from the list
        name: String,
    },
}

#[derive(Args)]
struct SwarmFlags {
    /// The invite of the swarm, if not the one in use; `-` reads stdin
    #[arg(long, env = "PARCELRY_INVITE", hide_env_values = true)]
    invite: Option<String>,
    /// The swarm, by its name in `parcelry swarms`, instead of --invite
    #[arg(long, value_name = "NAME", env = "PARCELRY_SWARM")]
    swarm: Option<String>,
}

/// Which swarm to speak to, said in one way at most: where both are, the one that was said nearer to the command.
#[derive(Debug, Default)]
pub struct SwarmArgs {
    /// Its invite.
    pub invite: Option<String>,
    /// Its name here.
    pub swarm: Option<String>,
}

impl FromArgMatches for SwarmArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let SwarmFlags { invite, swarm } = SwarmFlags::from_arg_matches(matches)?;
        let (of_invite, of_swarm) = (distance(matches, "invite"), distance(matches, "swarm"));
        if (of_invite, of_swarm) == (0, 0) {
            let what = "--invite and --swarm both say which swarm it is: give one of them\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, what));
        }
        // Of two variables, or two lines of the file, the name counts.
        let (invite, swarm) = if of_invite < of_swarm { (invite, None) } else { (None, swarm) };
        Ok(Self { invite, swarm })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SwarmArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        SwarmFlags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        SwarmFlags::augment_args_for_update(command)
    }
}

/// How far from the command something was said: by a flag, a variable, the configuration file, nowhere.
fn distance(matches: &ArgMatches, flag: &str) -> u8 {
    match matches.value_source(flag) {
        Some(ValueSource::CommandLine) => 0,
        Some(ValueSource::EnvVariable) => 1,
        Some(_) => 2,
        None => 3,
    }
}

/// `share`.
#[derive(Debug, Args)]
pub struct ShareArgs {
    /// Files and folders; `-` shares stdin
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// How many peers are to hold each chunk
    #[arg(long, default_value_t = 2, env = "PARCELRY_REPLICAS",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(REPLICAS_MAX)))]
    pub replicas: u8,
    /// How long the share lives, at most 90 days
    #[arg(long, default_value = "7d", env = "PARCELRY_EXPIRES", value_parser = parse_expiry)]
    pub expires: Duration,
    /// Size of the chunks: a power of two from 64KiB to 16MiB; 1MiB unless the share is very large
    #[arg(long, env = "PARCELRY_CHUNK_SIZE", value_parser = parse_chunk_size)]
    pub chunk_size: Option<ChunkSize>,
    /// How long to wait for enough peers
    #[arg(long, default_value = "60s", env = "PARCELRY_WAIT", value_parser = humantime::parse_duration)]
    pub wait: Duration,
    /// The name that the receiver sees, if not the file's own
    #[arg(long, value_parser = parse_share_name)]
    pub name: Option<String>,
    /// Share nothing if something in a folder cannot be shared; else all but that is shared, and the exit code is 3
    #[arg(long)]
    pub strict: bool,
    /// Which swarm to share through.
    #[command(flatten)]
    pub swarm: SwarmArgs,
}

/// `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The link; `-` reads stdin, a file's path reads the file, none asks
    pub link: Option<String>,
    /// Where to save it: a file, a folder (`new/` makes one), a device or fifo, or `-` for stdout
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Let a file replace a file, and a folder's files go into a folder that is there
    #[arg(long)]
    pub force: bool,
    /// Begin anew, whatever was fetched before; needed only if that was on a disk that is gone for good
    #[arg(long)]
    pub anew: bool,
}

/// Commands about one link.
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// The link; `-` reads stdin, a file's path reads the file, none asks
    pub link: Option<String>,
}

/// `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The link; `-` reads stdin, a file's path reads the file, none asks
    pub link: Option<String>,
    /// Show what the peers signed for when the share was made here, too
    #[arg(long)]
    pub receipts: bool,
}

/// `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// List what was begun and not finished instead, on either side
    #[arg(long)]
    pub partial: bool,
}

/// `clean`.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Do not ask first
    #[arg(short, long)]
    pub yes: bool,
    /// Leave what was touched within this time, as in 7d
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true,
        value_parser = humantime::parse_duration)]
    pub older_than: Duration,
    /// Forget uploads whose peers cannot be told to drop what they have
    #[arg(short, long)]
    pub force: bool,
    /// A swarm that uploads went to, beside those that were joined.
    #[command(flatten)]
    pub swarm: SwarmArgs,
}

/// `extend`.
#[derive(Debug, Args)]
pub struct ExtendArgs {
    /// The link; `-` reads stdin, a file's path reads the file
    pub link: String,
    /// How long it lives from now on, at most 90 days
    #[arg(value_parser = parse_expiry)]
    pub duration: Duration,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which swarm.
    #[command(flatten)]
    pub swarm: SwarmArgs,
}

fn parse_expiry(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match duration {
        _ if duration > EXPIRY_MAX => Err("a share lives at most 90 days".into()),
        _ if duration < Duration::from_secs(1) => Err("a share lives at least a second".into()),
        _ => Ok(duration),
    }
}

/// What a file or directory can be called; the rest of the rules is checked where all names are.
fn parse_share_name(text: &str) -> Result<String, String> {
    if text.contains('/') {
        return Err("a name has no / in it: the receiver chooses the folder".into());
    }
    if text.trim_matches(['.', ' ']).is_empty() {
        return Err("a name has more than dots".into());
    }
    Ok(text.to_owned())
}

fn parse_chunk_size(text: &str) -> Result<ChunkSize, String> {
    let bytes: ByteSize = text.parse()?;
    ChunkSize::from_bytes(bytes.as_u64()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// A machine may run a tracker and a peer, and its user may share.
    #[test]
    fn no_variable_speaks_to_two_roles() {
        let command = Cli::command();
        let variables = |name: &str| -> BTreeSet<String> {
            let role = command.find_subcommand(name).unwrap();
            role.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())).collect()
        };
        for (one, other) in [("tracker", "peer"), ("tracker", "share"), ("peer", "share"), ("up", "peer")] {
            let both: Vec<_> = variables(one).intersection(&variables(other)).cloned().collect();
            assert!(both.is_empty(), "{one} and {other}: {both:?}");
        }
    }

    #[test]
    fn sizes_and_times_are_read_as_people_write_them() {
        assert_eq!(parse_chunk_size("4MiB").map(ChunkSize::bytes), Ok(4 << 20));
        assert!(parse_chunk_size("1MB").unwrap_err().contains("power of two"));
        assert_eq!(parse_expiry("7d"), Ok(Duration::from_secs(7 * 86400)));
        assert!(parse_expiry("0s").unwrap_err().contains("at least a second"));
        assert!(parse_expiry("91d").unwrap_err().contains("90 days"));
    }
}
