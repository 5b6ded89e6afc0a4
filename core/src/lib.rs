//! The values and decisions of swarmdrop, without any input or output.
//!
//! Nothing here reads a file, a socket, a clock or a random source: bytes, times and random values
//! come in as arguments, and decisions go out as values. That is what makes the formats easy to
//! test against hostile bytes and the planners easy to simulate.
//!
//! # Glossary
//! * **chunk**: a fixed-size piece of a share's byte stream, sealed; known by its [`ChunkId`](id::ChunkId).
//! * **manifest**: the signed list of a share's chunks, with the sealed metadata inside.
//! * **terms**: the signed, replaceable conditions of a share: expiry, replicas, deletion.
//! * **replica**: one peer's copy of one chunk.
//! * **receipt**: what a peer signs when it has chunks of a share, verified, on stable storage.
//! * **sample**: a byte of a chunk or manifest that somebody is asked to prove; **proof**: the piece of it in which the
//!   byte lies, with the hashes that lead up to the chunk's id; **audit**: asking a peer for proofs.
//! * **parting**: how a peer lets go of surplus: others prove that they have it, and promise to keep it for a day.
//! * **claimed**: what a peer is said to hold; **proven**: what it has shown to the tracker that it holds; **refuted**:
//!   what it was found not to hold.
//! * **placement**: which peers are to hold which chunks; **set**: a run of chunks, and the peers that are each to hold all
//!   of it; **spare**: a peer that takes the place of one that fails.
//! * **mark**: the list of what came for an upload; only what a mark names is ever collected.
//! * **grant**: a short-lived token signed by the tracker that lets its bearer push one share to named peers.
//! * **owner**: whoever holds a share's key.
//! * **owner's token**: the owner's word for one act (open, offer, commit, publish) at one server; it goes with a
//!   credential and ends with it. **delegation**: one by which a tracker acts for the owner, as for browsers.
//! * **token**: what an invite admits its bearer by; **role**: what the token lets the bearer do.
//! * **run**: one process of a peer, from its start to its end; it registers, and speaks for the peer until another does.
//! * **unreachable**: said of a peer that beats, but does not answer where others are sent to it.
//! * **inventory**: all that a peer says it holds; the tracker asks each run for it once.
//! * **allowance**: what the maker of an invite allows by it; **quota**: bytes of all shares of its bearers at once.
//! * **workload**: work that a peer lets in at so many bytes a second.
//! * **reservation**: space that a peer has promised to a share whose chunks are to arrive.
//! * **link**: what the sender gives the receiver; **invite**: what an operator gives a new peer or sender.
//!
//! # Reading order
//! Values first ([`limits`], [`duration`], [`id`], [`address`], [`geometry`],
//! [`chunk_set`], [`name`], [`path_table`], [`portability`]), then the share format ([`seal`],
//! [`modes`], [`links`], [`metadata`], [`manifest`], [`terms`], [`proof`], [`receipt`], [`grant`], [`owner`], [`link`]), then the decisions
//! ([`placement`], [`replica_sets`], [`push`], [`quota`], [`reservation`], [`fetch`], [`distance`], [`spread`], [`runs`],
//! [`ways`], [`inventory`], [`reach`], [`suspicion`], [`workload`], [`parting`], [`liveness`], [`registry`], [`traffic`],
//! [`health`], [`repair`]), and last the types that travel over HTTP ([`api`], [`dashboard`]).
//!
//! What the tracker believes of its peers is in [`audit`], how far apart replicas are in [`apart`].

pub mod duration;
pub mod limits;

pub mod address;
pub mod apart;
pub mod audit;
pub mod chunk_set;
mod claim;
pub mod geometry;
pub mod id;

pub mod grant;
pub mod link;
pub mod links;
pub mod manifest;
pub mod metadata;
pub mod modes;
pub mod name;
pub mod owner;
mod pair;
mod paseto;
pub mod pasted;
pub mod proof;
pub mod receipt;
pub mod seal;
mod sha256_text;
pub mod terms;
pub mod token;

pub mod distance;
pub mod fetch;
pub mod health;
pub mod inventory;
pub mod liveness;
pub mod parting;
pub mod path_table;
pub mod placement;
pub mod portability;
pub mod proxy;
pub mod push;
pub mod quota;
pub mod reach;
pub mod registry;
pub mod repair;
pub mod replica_sets;
pub mod reservation;
pub mod runs;
pub mod spread;
pub mod suspicion;
pub mod traffic;
pub mod ways;
pub mod workload;

pub mod api;
pub mod dashboard;
pub mod enclosed;
mod evidence;
pub mod gateway;
mod heartbeat;
mod problem;
mod schema;
