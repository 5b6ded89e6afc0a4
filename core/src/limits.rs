//! Every bound of the system in one place, each with its reason.

use std::time::Duration;

/// Smallest chunk, as a power of two: 64 KiB. Below it, per-chunk costs outweigh the payload.
pub const CHUNK_LOG2_MIN: u8 = 16;
/// Largest chunk, as a power of two: 16 MiB. Above it, a lost chunk costs too much to send again.
pub const CHUNK_LOG2_MAX: u8 = 24;
/// Chunk size unless the share is very large or the user asks otherwise: 1 MiB.
pub const CHUNK_LOG2_DEFAULT: u8 = 20;
/// Chunks of one share: keeps a manifest below 33 MiB of ids.
pub const CHUNKS_MAX: u32 = 1 << 20;
/// Bytes that AES-GCM adds to each chunk (SP 800-38D tag).
pub const TAG_BYTES: usize = 16;

/// Files of one share: bounds the receiver's table and the metadata's size.
pub const FILES_MAX: usize = 100_000;
/// Directories of one share, named or on the way to a file: each costs a receiver a directory.
pub const DIRS_MAX: usize = 100_000;
/// Components of one path: more than people make, and few enough for every tool that walks down a tree.
pub const COMPONENTS_MAX: usize = 128;
/// Components of all paths of a share, those of a directory that follows itself counted once: each costs a hash.
pub const COMPONENTS_SUM_MAX: usize = 4_000_000;
/// Symlinks on the way of one: as many as Linux follows.
pub const LINK_HOPS_MAX: usize = 40;
/// Holes of the files of one share: bounds the receiver's memory, and what it does for each of them.
pub const HOLES_MAX: usize = 100_000;
/// Bytes of the smallest hole that a sender looks for, and the step at which it lets one begin and end: smaller ones save
/// less than they cost.
pub const HOLE_BYTES_MIN: u64 = 64 << 10;
/// Bytes of all files of a share together, with their holes: what every reader can count, also one that has no integers
/// but those of floating point numbers.
pub const LENGTH_BYTES_MAX: u64 = (1 << 53) - 1;
/// Bytes of a file that does not tell its length, as those that a kernel makes up: it is read before it is shared.
pub const UNTOLD_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one path component: what ext4, XFS, APFS and NTFS can hold.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Bytes of a whole path: `PATH_MAX` of Linux.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of the metadata JSON, sealed or open.
pub const METADATA_BYTES_MAX: usize = 32 << 20;
/// Bytes of metadata that is read in one pass. What it lists takes at most eight times as much memory, but for the texts of
/// `dirs`, of which [`DIRS_MAX`] are held at most; with these, and with the table by which all paths are checked, that is
/// less than the bytes of the largest metadata.
pub const METADATA_AT_ONCE_BYTES_MAX: usize = 2 << 20;
/// Bytes of one text in the metadata as it is written: the longest target of a symlink, with each byte as `\u00xx`.
pub const METADATA_TEXT_BYTES_MAX: usize = 6 * (PATH_BYTES_MAX + COMPONENTS_MAX);
/// Bytes of an encoded manifest: the largest chunk list and the largest metadata.
pub const MANIFEST_BYTES_MAX: usize = 256 + 32 * CHUNKS_MAX as usize + METADATA_BYTES_MAX;
/// Bytes of a terms token: a few hundred are used.
pub const TERMS_BYTES_MAX: usize = 2048;
/// Bytes of an owner's token: some three hundred are used.
pub const OWNER_TOKEN_BYTES_MAX: usize = 1024;
/// Bytes of a grant token: a placement of the largest kind names 136 peers of 45 bytes each, base64 adds a third.
pub const GRANT_BYTES_MAX: usize = 10 << 10;
/// Shortest life of a grant: room for a share that has to wait for its peers.
pub const GRANT_LIFE_MIN: Duration = Duration::from_secs(3600);
/// Longest life of a grant: a sender that takes longer asks for another one.
pub const GRANT_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The slowest upload, in bytes a second, for which one grant lasts.
pub const GRANT_BYTES_PER_SECOND: u64 = 64 << 10;
/// Difference between the clocks of tracker and peer at which a grant still counts as issued.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);
/// Bytes of a token's name.
pub const TOKEN_NAME_BYTES_MAX: usize = 64;
/// Peers that one invite admits unless its maker says otherwise, ever: as many as an operator sets up in a day. Who
/// got hold of one cannot outnumber the others by it.
pub const PEERS_PER_INVITE: u32 = 8;
/// Peers that one invite may admit at most.
pub const PEERS_PER_INVITE_MAX: u32 = 1000;
/// Shares that the bearers of one invite have at once: a page of the list for each day of their longest life.
pub const TOKEN_SHARES_MAX: u64 = 10_000;
/// Shares that they are sending at once: each reserves space at peers, and is remembered until its grant ends.
pub const TOKEN_UPLOADS_MAX: u64 = 256;
/// Bytes of the manifests of their shares, which the tracker keeps: 32 TiB in chunks of 1 MiB have as much.
pub const TOKEN_MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the manifests that the peers of one invite announce of shares that nobody published here: what a tracker
/// learns from them after it lost its database.
pub const ANNOUNCED_MANIFEST_BYTES_MAX: u64 = 4 << 30;
/// How often a peer holds what an invite's quota allows for all peers together: it may hear later than the tracker that a
/// share was deleted, whose bytes another one takes meanwhile.
pub const QUOTA_AT_PEER: u64 = 2;
/// Bytes of a link or an invite: a host name, two ids and a secret.
pub const LINK_BYTES_MAX: usize = 1024;
/// Bytes of a text in which a link is looked for: a mail.
pub const PASTED_BYTES_MAX: usize = 1 << 20;

/// Bytes of the piece of a blob that a proof shows: the leaf of BLAKE3's tree.
pub const PROOF_PIECE_BYTES: usize = 1024;

/// Runs of chunks that a receipt names: a peer is given one, and keeps what it had of others.
pub const RECEIPT_RUNS_MAX: usize = 64;
/// Bytes of a receipt: that many runs, two ids and a key, in base64.
pub const RECEIPT_BYTES_MAX: usize = 4096;
/// Receipts with which a share is published: one of each peer that the largest grant names.
pub const RECEIPTS_MAX: usize = 2 * PREFERRED_MAX + SPARES_MAX;
/// Samples of one audit: as many as chunks of the usual size may be read for it.
pub const AUDIT_SAMPLES_MAX: usize = 64;
/// Bytes that a peer reads for one audit, a second's work of a slow disk; a single larger blob has room.
pub const AUDIT_BYTES_MAX: u64 = 64 << 20;
/// Bytes that a peer reads in a second to answer audits: half of what a scrub may take.
pub const AUDIT_BYTES_PER_SECOND: u64 = 32 << 20;
/// Chunks of which a peer is asked for proof before a share is called safe: one that has nothing is found out, and
/// one that has half with fifteen of sixteen.
pub const FIRST_SAMPLES: usize = 4;
/// Time for which a peer that is too busy to prove anything is asked again.
pub const FIRST_PROOF_PATIENCE: Duration = Duration::from_secs(60);
/// Time for which a peer keeps what it has proved to one that wanted to let go of it.
pub const PROMISE: Duration = Duration::from_secs(24 * 3600);
/// Time for which it does so by its own book: a promise that is asked for again within the hour is not written again.
pub const PROMISE_RENEWED: Duration = Duration::from_secs(25 * 3600);
/// Promises of a peer for chunks that it holds no more, until their time is over: beyond them it promises only what it
/// holds. As many may stand twice in its file.
pub const PROMISES_SPARE: usize = 1 << 16;
/// Time in which others must have proved what a peer wants to let go of: meanwhile it does not serve it.
pub const PARTING_PATIENCE: Duration = Duration::from_secs(10);
/// Time after which a peer asks again when others did not prove enough.
pub const PARTING_AGAIN: Duration = Duration::from_secs(15);
/// Chunks that audits found to be wrong and that wait to be looked at; further ones are the scrub's.
pub const DOUBTS_MAX: usize = 256;
/// Work that is let in beyond a rate, as the time that it takes at it: one large audit waits for no other.
pub const WORKLOAD_BACKLOG: Duration = Duration::from_secs(4);
/// Bytes that the smallest piece of work counts as: a disk reads so many in the time of a seek. Each proof does, too.
pub const WORKLOAD_BYTES_MIN: u64 = 64 << 10;
/// Addresses whose work is remembered before those that owe nothing are forgotten.
pub const WORKLOAD_ADDRESSES_KEPT: usize = 1024;

/// Replicas that may be asked for: more would only multiply the sender's upload.
pub const REPLICAS_MAX: u8 = 16;
/// Longest life of a share, so that forgotten ones end by themselves.
pub const EXPIRY_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// Time for which a deleted share is remembered: until no earlier terms can still run, whatever a sender's clock said,
/// and a day for clocks that differ.
pub const GONE_KEPT: Duration = Duration::from_secs(EXPIRY_MAX.as_secs() + 2 * 24 * 3600);
/// Deletions of shares that a tracker does not know, which it remembers for the peers of one invite: after it lost its
/// database they tell it, of which each remembers [`GONE_MAX`]. Anybody can make keys and delete what never was.
pub const ANNOUNCED_GONE_MAX: u64 = 2 * GONE_MAX as u64;
/// Deletions of shares that it does not know which a tracker takes from one sender: uploads that he gave up after peers had
/// confirmed them. Each costs peers a file, of which they keep [`GONE_NOT_HELD_MAX`].
pub const WITHDRAWN_MAX: u64 = 1 << 10;
/// Peers of grants that a tracker remembers, to tell them of the end of what they may hold: some 50 MiB if each is of
/// another share.
pub const GRANTED_NOTED_MAX: usize = 1 << 18;
/// Those of them that the grants of one token name.
pub const GRANTED_NOTED_TOKEN_MAX: usize = GRANTED_NOTED_MAX / 16;
/// A tracker that has no room for more of them looks for those that are over at most so often.
pub const GRANTED_SWEPT_EVERY: Duration = Duration::from_secs(60);
/// Ends of shares that one peer is to hear of and may hold nothing of: those beyond it hears when it tells its inventory.
pub const UNTOLD_MAX: usize = 1 << 12;
/// Those of them that are of shares the tracker never knew, by the word of their senders alone.
pub const UNTOLD_WITHDRAWN_MAX: usize = UNTOLD_MAX / 4;
/// For how long a peer that is silent is to hear of them.
pub const UNTOLD_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Deleted shares that a peer remembers, so that they stay deleted: one file of a block each, 256 MiB. Beyond them the
/// one is forgotten of which earlier terms would end first.
pub const GONE_MAX: usize = 1 << 16;
/// Deleted shares that a peer remembers and never held: a tracker could name any number.
pub const GONE_NOT_HELD_MAX: usize = 1 << 14;
/// Deleted shares in one page of a peer's inventory: the next page brings the rest.
pub const INVENTORY_GONE_MAX: usize = 256;
/// Commits of one share that wait for the one that is under way; each takes a thread. A sender makes one, and another
/// when it has waited too long.
pub const COMMITS_WAITING_MAX: usize = 2;
/// Spares named with a placement: as many failures as one upload may survive.
pub const SPARES_MAX: usize = 8;

/// Peers that a resumed share may name as its own: as many as the largest placement has.
pub const PREFERRED_MAX: usize = 64;

/// Bytes of an ordinary JSON body.
pub const JSON_BODY_BYTES_MAX: usize = 256 << 10;
/// Bytes of a JSON body that carries a manifest in base64, with room for a placement.
pub const MANIFEST_BODY_BYTES_MAX: usize = MANIFEST_BYTES_MAX / 3 * 4 + (8 << 20);
/// Bytes of the JSON before a manifest in a request: as many receipts as a publication may have take half of it.
pub const ENCLOSED_JSON_BYTES_MAX: usize = 1 << 20;
/// Bytes of a request whose manifest follows its JSON.
pub const ENCLOSED_BODY_BYTES_MAX: usize = 4 + ENCLOSED_JSON_BYTES_MAX + MANIFEST_BYTES_MAX;
/// Bytes of an offer's body: the ids of all the chunks that an interrupted share had sent.
pub const OFFER_BODY_BYTES_MAX: usize = 32 * CHUNKS_MAX as usize / 3 * 4 + (64 << 10);
/// Addresses that one peer may announce.
pub const PEER_ADDRESSES_MAX: usize = 8;
/// Bytes of a peer's name or zone.
pub const PEER_NAME_BYTES_MAX: usize = 64;
/// Tasks in one heartbeat's answer: the next heartbeat brings the rest.
pub const TASKS_MAX: usize = 256;

/// Copies that a peer is asked for at once: as many small shares as it makes between two heartbeats.
pub const ORDERS_MAX: usize = 64;
/// Bytes of the copies that a peer is asked for at once; one order may be larger. What is most endangered when
/// they are made comes next.
pub const ORDERS_BYTES_MAX: u64 = 1 << 30;
/// Peers that are named as holders of what another one is to drop: twice as many as may have to prove it.
pub const DROP_HOLDERS_MAX: usize = 2 * REPLICAS_MAX as usize;
/// Holders of a share that are compared when there are too many or in the wrong places; the oldest are.
pub const HOLDERS_COMPARED_MAX: usize = 128;
/// Groups of chunks, each with other holders, that are compared at once: peers could make one of each chunk.
pub const HOLDER_GROUPS_MAX: usize = 64;
/// Peers that are named as sources of one copy.
pub const ORDER_SOURCES_MAX: usize = 8;
/// Bytes that a peer copies in a second for the swarm's sake: a third of a gigabit line.
pub const COPY_BYTES_PER_SECOND: u64 = 40 << 20;
/// Bytes after which a peer syncs and reports what it has copied.
pub const COPY_BATCH_BYTES: u64 = 64 << 20;
/// Chunks that a peer copies at once.
pub const COPY_CHUNKS_MAX: usize = 4;
/// Dead times that a surplus of replicas and a suspicion of the own network last, an hour at a dead time of five minutes:
/// long enough for a machine to be mended, short enough for shares that live a day.
pub const HOUR_WINDOWS: u32 = 12;
/// Windows of silence in a day, at the dead time of five minutes: within a day every peer is asked for a sample of
/// every share that it holds; a week of proofs makes a replica as good as an old one.
pub const DAY_WINDOWS: u32 = 288;
/// See [`DAY_WINDOWS`].
pub const WEEK_WINDOWS: u32 = 7 * DAY_WINDOWS;
/// Samples that a tracker asks a peer for at once: so many chunks of 1 MiB are read in a tenth of a second.
pub const AUDIT_TURN_SAMPLES: usize = 16;
/// Samples of what a peer has claimed and not proven yet: who lacks half of it passes once in sixteen times.
pub const AUDIT_SAMPLES_FIRST: u8 = 4;
/// Samples, at most, of a share of which a peer lacked a chunk: they double with each. With what is kept for others
/// they have room in one request.
pub const AUDIT_SAMPLES_DENSE: u8 = 12;
/// Peers that a tracker audits at once: a thousand that do not answer hold it up for a quarter of an hour.
pub const AUDITS_AT_ONCE: usize = 32;
/// Time after which a tracker writes down what was proven, and proofs in one such transaction: a crash costs a minute
/// of proofs, which are given again.
pub const PROOFS_SAVED_EVERY: Duration = Duration::from_secs(60);
/// See [`PROOFS_SAVED_EVERY`].
pub const PROOFS_SAVED_MAX: usize = 4096;
/// Shares that a tracker looks at in one round of repair: a round takes well under a second.
pub const REPAIR_SHARES_MAX: usize = 1024;

/// Time in which a peer reads everything that it holds again.
pub const SCRUB_EVERY: Duration = Duration::from_secs(14 * 24 * 3600);
/// Bytes that a scrub reads in a second at most: disks that serve somebody have more.
pub const SCRUB_BYTES_PER_SECOND: u64 = 64 << 20;
/// Time for which chunks that are damaged, surplus or unfinished stay in quarantine, for the operator and to be taken back.
pub const QUARANTINE_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Difference between two clocks, or between a clock and the time that has passed, from which on nothing is
/// dropped because of the time.
pub const CLOCK_JUMP: Duration = Duration::from_secs(3600);
/// Bytes of the manifests that one answer to a heartbeat carries for peers whose own are damaged: those of most shares;
/// a larger one is to be had at other holders, or asked for.
pub const RESTORE_MANIFESTS_BYTES_MAX: u64 = 256 << 10;
/// Time without another jump after which a clock that jumped is trusted again.
pub const CLOCK_SETTLES: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the answer to a heartbeat.
pub const HEARTBEAT_ANSWER_BYTES_MAX: usize = 1 << 20;

/// Shares in one page of a peer's inventory: the next page brings the rest.
pub const INVENTORY_SHARES_MAX: usize = 256;
/// Bytes of the sets of chunks in one page of an inventory; one set of the largest share has room.
pub const INVENTORY_BYTES_MAX: usize = CHUNKS_MAX as usize / 8 / 3 * 4 + 1024;

/// Time between two inventories that a tracker asks for: one of a thousand shares takes it a few milliseconds.
pub const INVENTORY_STEP: Duration = Duration::from_millis(50);
/// Time within which all peers are asked for their inventories, however many there are: after that a tracker that was
/// restored from an old copy of its database knows what it had forgotten.
pub const INVENTORY_SPREAD: Duration = Duration::from_secs(60);

/// Heartbeats for which a tracker that starts answers no look-up of a share of which it has not heard a holder.
pub const SETTLING_BEATS: u32 = 2;
/// Shares that are published in that time and known not to be waited for; further ones are.
pub const PUBLISHED_NOTED_MAX: usize = 1024;
/// Time for which a receiver asks a tracker again that has just started: two default heartbeats, and some.
pub const LOOK_UP_PATIENCE: Duration = Duration::from_secs(25);

/// Connections that a server holds open at once, if its descriptors allow; a further one takes the place of
/// the one that has been idle for longest.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections of one address, counted in the same way: enough for an office behind one address, too few to
/// crowd out everybody else.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 512;
/// Descriptors that a server keeps for its files, whatever the number of connections.
pub const DESCRIPTORS_RESERVED: usize = 128;
/// Time for a client to say the first byte, and to finish the TLS handshake (slow-loris).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a client to send its request head (slow-loris).
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Header fields of a request: ours have about ten.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request head and of the buffers of a connection: a grant in it is the largest field by far.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Waiting time at whose end a transfer must have moved [`PACE_BYTES_PER_SECOND`] in it, on both ends; the next
/// window of it begins anew.
pub const PACE_WINDOW: Duration = Duration::from_secs(30);
/// The slowest that a transfer may be: 32 chunks at once over a line of half a megabit a second are faster.
pub const PACE_BYTES_PER_SECOND: u64 = 1 << 10;
/// Bytes of all request and response bodies beyond [`JSON_BODY_BYTES_MAX`] that are in memory at once, with what
/// is made of them; further ones wait. One half is for texts that come and go, one for what is made of them: one of
/// the largest has room in both.
pub const LARGE_VALUES_BYTES_MAX: u64 = 512 << 20;
/// Time in which such a body must come or be taken, and the slowest that it may be beyond it: what is held in memory
/// makes others wait, and a share whose manifest is that large has a line that is faster.
pub const LARGE_BODY_TIME: Duration = Duration::from_secs(30);
/// See [`LARGE_BODY_TIME`].
pub const LARGE_BODY_BYTES_PER_SECOND: u64 = 64 << 10;
/// Complaints about one peer that wait for its next heartbeat; further ones are dropped, for the peer checks
/// everything it holds in time anyway.
pub const COMPLAINTS_MAX: usize = 256;
/// A peer is asked to check one chunk at most once in this time: false complaints cost it one read an hour.
pub const COMPLAINT_AGAIN: Duration = Duration::from_secs(3600);
/// Time for which the admin stays signed in: a working day.
pub const SIGN_IN_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Browsers that are signed in at once; a further one takes the place of the oldest.
pub const SIGN_INS_MAX: usize = 64;
/// Failed sign-ins of one address, as a burst and in a minute. The token cannot be guessed: it is to keep the log
/// and the database quiet.
pub const SIGN_IN_FAILURES_PER_MINUTE: u32 = 5;
/// Streams of events that a tracker serves at once: as many pages as operators open.
pub const EVENT_STREAMS_MAX: usize = 16;
/// Time after which a stream that has nothing to tell says that it is there.
pub const EVENT_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time between two looks at the swarm for the operator's page.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// Looks at the swarm that are remembered: ten minutes.
pub const SAMPLES_MAX: usize = 300;
/// Rows of peers in one event: some 100 KB.
pub const PEER_ROWS_MAX: usize = 256;
/// Copies that are listed one by one.
pub const COPIES_LISTED_MAX: usize = 100;
/// What happened lately, that is remembered for the operator's page.
pub const LOG_ENTRIES_MAX: usize = 200;
/// Shares in one page of the operator's list.
pub const SHARE_PAGE_MAX: usize = 200;
/// Shares in a page of the operator's list that does not say how many it wants.
pub const SHARE_PAGE_DEFAULT: usize = 100;
/// Registering peers that a tracker dials back at once; further ones wait.
pub const DIALS_MAX: usize = 16;
/// Peers that a tracker asks at once whether they can be reached; further ones wait. Each takes a connection.
pub const QUESTIONS_MAX: usize = 32;
/// Time for a peer to answer that it is there is a sixth of a dead time, so that two questions fit beside the wait between
/// them; but at least this, and at most [`CONNECT_TIMEOUT`].
pub const QUESTION_TIMEOUT_MIN: Duration = Duration::from_millis(500);
/// A tracker looks whom to ask four times in a heartbeat, but not oftener than this.
pub const ASKING_PACE_MIN: Duration = Duration::from_millis(50);
/// See [`ASKING_PACE_MIN`]; and at least as often as this, so that those that are due do not come all at once.
pub const ASKING_PACE_MAX: Duration = Duration::from_secs(1);
/// Time for which a share stays known after its end, so that late readers learn that it ended.
pub const TOMBSTONE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Grants whose signature a peer remembers to be good: as many senders at once as it will ever see.
pub const GRANTS_REMEMBERED_MAX: usize = 1024;
/// Time that requests in flight get to finish at shutdown.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Uploads of one peer that are being written at once; further ones wait.
pub const UPLOADS_MAX: u64 = 64;
/// Bytes of a chunk that a peer holds in memory at once while it serves it: a quarter of an ordinary sealed chunk. Of one
/// that it receives it holds two: one is written while the next one arrives.
pub const PIECE_BYTES: usize = (256 << 10) + TAG_BYTES;
/// Pieces that a peer keeps in memory for the next answers and uploads.
pub const PIECES_KEPT: usize = 16;
/// Space that a peer leaves free on its disk, at least.
pub const DISK_RESERVE_BYTES: u64 = 1 << 30;
/// Time for which an offer's reservation holds before bytes must follow, as fast as the slowest sender's
/// ([`GRANT_BYTES_PER_SECOND`]), if others ask for the space.
pub const RESERVATION_GRACE: Duration = Duration::from_secs(60);
/// Life of an offer's reservation without any chunk arriving.
pub const RESERVATION_IDLE: Duration = Duration::from_secs(3600);

/// Bytes of a manifest beside its chunk ids that are reserved before it is known: a small share's metadata.
pub const MANIFEST_RESERVE_BYTES: u64 = 4 << 10;

/// Age at which the last look at the disk is too old to reserve any room by it: a disk that does not answer has none.
pub const DISK_LOOK_AGE_MAX: Duration = Duration::from_secs(30);
/// Shares with records that cannot be read, of which one heartbeat tells: one answer brings what makes them whole.
pub const DAMAGED_TOLD_MAX: usize = 16;
/// Time after which a peer asks again for the terms of a share that two sources have not agreed on.
pub const UNSETTLED_AGAIN: Duration = Duration::from_secs(600);

/// Age at which a chunk that no share holds is removed: its grant ended a day ago at the latest.
pub const ORPHAN_AGE: Duration = Duration::from_secs(GRANT_LIFE_MAX.as_secs() + 24 * 3600);

/// Chunks that browsers of one address get or send through a tracker's gateway at once: more than a page asks for.
pub const GATEWAY_CALLS_PER_ADDRESS_MAX: usize = 8;
/// Chunks of one size that a gateway holds in memory at once, as a multiple of what one receiver does.
pub const GATEWAY_WINDOWS: usize = 4;
/// Bytes that a gateway passes on in a second, unless the operator says otherwise: half a gigabit line.
pub const GATEWAY_BYTES_PER_SECOND: u64 = 64 << 20;
/// Time in which a browser must have taken or sent a chunk, and the slowest it may be beyond it: what holds a
/// chunk in the gateway's memory makes others wait.
pub const GATEWAY_CHUNK_TIME: Duration = Duration::from_secs(30);
/// See [`GATEWAY_CHUNK_TIME`].
pub const GATEWAY_PACE_BYTES_PER_SECOND: u64 = 32 << 10;
/// Bytes of a chunk that a gateway hands to a browser's connection at once: how slowly it takes them shows between.
pub const GATEWAY_PIECE_BYTES: usize = 64 << 10;
/// Time in which a source must begin to serve a chunk to the gateway before another one is asked, and the slowest
/// it may be.
pub const GATEWAY_SOURCE_TIMEOUT: Duration = Duration::from_secs(15);
/// See [`GATEWAY_SOURCE_TIMEOUT`]: the largest chunks take as long over an uplink of two megabits a second.
pub const GATEWAY_SOURCE_PACE_BYTES_PER_SECOND: u64 = 256 << 10;
/// Bytes of the manifests that a gateway keeps at hand.
pub const GATEWAY_MANIFESTS_BYTES_MAX: usize = 64 << 20;
/// Time without a request after which a gateway lets go of a share's manifest and of the connections to its sources.
pub const GATEWAY_SHARE_IDLE: Duration = Duration::from_secs(60);
/// Age at which a gateway asks again who holds a share.
pub const GATEWAY_SOURCES_AGE: Duration = Duration::from_secs(5);
/// Uploads of browsers that are under way at once.
pub const BROWSER_UPLOADS_MAX: u64 = 64;
/// Chunks of all these uploads: the gateway keeps 32 bytes for each.
pub const BROWSER_UPLOADS_CHUNKS_MAX: u32 = 2 * CHUNKS_MAX;
/// Life of an upload without any chunk arriving; the peers' reservations end then, too.
pub const BROWSER_UPLOAD_IDLE: Duration = RESERVATION_IDLE;

/// Time for the answer to a heartbeat is one heartbeat, within these bounds; then it is sent again over a new connection,
/// and may take the longest of them: a tracker that is busy is asked twice, not more.
pub const HEARTBEAT_PATIENCE_MIN: Duration = Duration::from_millis(500);
/// See [`HEARTBEAT_PATIENCE_MIN`].
pub const HEARTBEAT_PATIENCE_MAX: Duration = Duration::from_secs(10);
/// Time to reach a server.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a small request and its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a chunk that is sent must move on, and for its end: half a megabyte may wait in buffers on its way.
pub const PUT_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for which a source that failed is asked after all others, so that one that drips or is silent does not hold up
/// every chunk anew.
pub const ASKED_LAST: Duration = Duration::from_secs(60);
/// Time for a peer to sync and verify a whole share.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes that are read from a connection at once.
pub const READ_AHEAD_BYTES: usize = 64 << 10;
/// Bytes that are encrypted before they are written to a connection at once: 128 KiB of a body, with an ordinary head
/// before it and a tag behind it.
pub const WRITE_BEHIND_BYTES: usize = (128 << 10) + (4 << 10);
/// Bytes of the head of an answer.
pub const ANSWER_HEAD_BYTES_MAX: usize = 16 << 10;
/// Servers whose TLS sessions a client remembers, to resume them: the peers of a swarm that one share needs.
pub const SESSIONS_MAX: usize = 256;
/// Bytes of the list of peers that a client reads: some hundred for each.
pub const PEER_LIST_BYTES_MAX: usize = 16 << 20;
/// Characters of a server's explanation that a client shows.
pub const PROBLEM_CHARS_MAX: usize = 300;
/// Characters of a line that is printed for people: room for the two longest paths, and no more of a text that another
/// party made up.
pub const LINE_CHARS_MAX: usize = 10_000;
/// Attempts in a row that a peer may fail before it is given up.
pub const FAILURES_MAX: u32 = 3;
/// Bytes of chunks that a sender or receiver holds in memory at once.
pub const WINDOW_BYTES: u64 = 24 << 20;
/// Chunks that a sender or receiver holds in memory at once, however small they are.
pub const WINDOW_CHUNKS_MAX: usize = 32;
/// Chunks that a receiver asks for at once. What they take in memory is bounded by buffers.
pub const REQUESTS_MAX: usize = 256;
/// Connections over which a receiver gets chunks at once, over all sources.
pub const RECEIVER_CONNECTIONS_MAX: usize = 24;
/// Replicas that a check of a share reads of one peer at once.
pub const VERIFIED_AT_ONCE: usize = 8;
/// Time after which a source counts as late at the earliest, however fast the others are.
pub const HEDGE_AFTER_MIN: Duration = Duration::from_millis(50);
/// Time after which a source counts as late as long as it is not known how fast the others are.
pub const HEDGE_AFTER_UNKNOWN: Duration = Duration::from_secs(4);

const _: () = assert!(CHUNK_LOG2_MIN <= CHUNK_LOG2_DEFAULT && CHUNK_LOG2_DEFAULT <= CHUNK_LOG2_MAX);
const _: () =
    assert!(LARGE_VALUES_BYTES_MAX / 2 > 2 * MANIFEST_BODY_BYTES_MAX as u64, "one manifest must have room");
const _: () =
    assert!(INVENTORY_BYTES_MAX + INVENTORY_SHARES_MAX * 100 < JSON_BODY_BYTES_MAX, "a page must fit");
const _: () = assert!(
    METADATA_AT_ONCE_BYTES_MAX / 2 <= COMPONENTS_SUM_MAX,
    "each component takes two bytes: what is read in one pass has not too many of them"
);
const _: () = assert!(MANIFEST_BODY_BYTES_MAX > MANIFEST_BYTES_MAX, "base64 grows a manifest by a third");
const _: () = assert!(
    ENCLOSED_JSON_BYTES_MAX
        > RECEIPTS_MAX * (RECEIPT_BYTES_MAX + 3) + INVENTORY_BYTES_MAX + 2 * TERMS_BYTES_MAX,
    "all that a request may say of a manifest must fit"
);
const _: () =
    assert!(ENCLOSED_BODY_BYTES_MAX < MANIFEST_BODY_BYTES_MAX, "room for the one is room for the other");
const _: () =
    assert!(WINDOW_BYTES >= 1 << CHUNK_LOG2_MAX, "the window must hold at least one of the largest chunks");
