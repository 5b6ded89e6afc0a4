//! Places at which a test has a process die, as by kill -9 just there, and syncs that a test has fail. They do nothing in
//! a release build.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A place between two steps that a crash must be allowed to separate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A peer has written an arriving chunk, which has no name yet.
    ChunkWritten,
    /// A peer has given an arrived chunk its name.
    ChunkNamed,
    /// A peer has synced a share's chunks, and noted nothing yet.
    ChunksSynced,
    /// A peer has noted a share's chunks, not yet its terms.
    ChunksNoted,
    /// A peer has noted a share's terms, not yet its manifest.
    TermsNoted,
    /// A peer has kept a share, and not yet said so.
    ShareKept,
    /// A peer has all chunks of a copy, and has kept nothing yet.
    CopyArrived,
    /// A peer has kept a copy, and not yet said so.
    CopyKept,
    /// A peer has quarantined a chunk, and noted nothing yet.
    ChunkQuarantined,
    /// A peer has forgotten a share that is over, whose chunks are still there.
    ShareForgotten,
    /// A tracker has kept a registration, and not yet answered.
    PeerKept,
    /// A tracker has kept a published share, and not yet answered.
    SharePublished,
    /// A tracker has kept newer terms, and not yet answered.
    TermsReplaced,
    /// A tracker has taken in what a heartbeat told, and not yet answered.
    ReportsTaken,
    /// A tracker has taken in an inventory, and not yet answered.
    InventoryTaken,
    /// A sender has kept a new share's keys, and sent nothing yet.
    KeysKept,
    /// A sender has noted a chunk's id, and not yet sent it.
    ChunkNoted,
    /// A sender has kept the manifest, while chunks may still be on their way.
    ManifestKept,
    /// A sender has every chunk confirmed, and has not yet published.
    ShareConfirmed,
    /// A sender has published, and not yet kept the owner's key.
    PublishAnswered,
    /// A sender has printed the link, and not yet forgotten the journal.
    LinkPrinted,
    /// A receiver has made the temporary, and no journal yet.
    TemporaryMade,
    /// A receiver has created a small file, whose bytes have come, and not yet written it.
    FileCreated,
    /// A receiver has written a chunk, and not yet noted it.
    PlainWritten,
    /// A receiver has everything, and has not yet synced it.
    AllWritten,
    /// A receiver has given the temporary the mode of the result, and not yet its name.
    ModesGiven,
    /// A receiver has moved one entry into a directory that is there, and not yet the next.
    EntryMoved,
    /// A receiver has given the result its name, and not yet forgotten the journal.
    ResultNamed,
}

/// Where peers may die.
pub const PEER: &[Point] = &[
    Point::ChunkWritten,
    Point::ChunkNamed,
    Point::ChunksSynced,
    Point::ChunksNoted,
    Point::TermsNoted,
    Point::ShareKept,
    Point::CopyArrived,
    Point::CopyKept,
    Point::ChunkQuarantined,
    Point::ShareForgotten,
];

/// Where trackers may die.
pub const TRACKER: &[Point] = &[
    Point::PeerKept,
    Point::SharePublished,
    Point::TermsReplaced,
    Point::ReportsTaken,
    Point::InventoryTaken,
];

/// Where senders may die.
pub const SENDER: &[Point] = &[
    Point::KeysKept,
    Point::ChunkNoted,
    Point::ManifestKept,
    Point::ShareConfirmed,
    Point::PublishAnswered,
    Point::LinkPrinted,
];

/// Where receivers may die, whatever they get.
pub const RECEIVER: &[Point] =
    &[Point::TemporaryMade, Point::PlainWritten, Point::AllWritten, Point::ModesGiven, Point::ResultNamed];

/// The environment variable that names the point, as in `ChunkNamed`.
pub const VARIABLE: &str = "PARCELRY_CRASH_AT";

/// Ends the process here, if a test wants it.
#[inline]
pub fn at(point: Point) {
    if cfg!(debug_assertions) && std::env::var(VARIABLE).is_ok_and(|wanted| wanted == format!("{point:?}")) {
        std::process::abort();
    }
}

/// The environment variable that says which sync of a peer's store fails, counted from 1.
pub const FAILING_SYNC: &str = "PARCELRY_FAILING_SYNC";
/// The environment variable that says how many milliseconds each of them takes at least.
pub const SLOW_SYNC: &str = "PARCELRY_SLOW_SYNC";

/// Fails or takes long in the place of a sync, if a test wants it.
pub fn check_sync() -> io::Result<()> {
    static SYNCS: AtomicU32 = AtomicU32::new(0);
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let setting = |name| std::env::var(name).ok()?.parse().ok();
    if let Some(slow_ms) = setting(SLOW_SYNC) {
        std::thread::sleep(Duration::from_millis(slow_ms));
    }
    if setting(FAILING_SYNC) == Some(u64::from(SYNCS.fetch_add(1, Ordering::Relaxed)) + 1) {
        return Err(io::Error::other("a test has this sync fail"));
    }
    Ok(())
}
