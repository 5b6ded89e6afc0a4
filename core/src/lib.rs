//! The values and decisions of parcelry, without any input or output.
//!
//! Nothing here reads a file, a socket, a clock or a random source: bytes, times and random values
//! come in as arguments, and decisions go out as values. That is what makes the formats easy to
//! test against hostile bytes and the planners easy to simulate.
//!
//! # Terms
//! Those without which nothing here can be read; `docs/glossary.md` has all, each with the file where it lives.
//!
//! * **chunk**: a fixed-size piece of a share's byte stream, sealed; known by its [`ChunkId`](id::ChunkId), its hash.
//! * **manifest**: the signed list of a share's chunks, with the sealed metadata inside.
//! * **terms**: the signed, replaceable conditions of a share: expiry, replicas, deletion.
//! * **owner**: whoever holds a share's key; **owner's token**: the owner's word for one act at one server.
//! * **token**: what an invite admits its bearer by; **grant**: a short-lived word of the tracker that lets its bearer
//!   push one share to named peers, or copy it from them.
//! * **replica**: one peer's copy of one chunk; **replica set**: a run of chunks, and the peers that are each to hold
//!   all of it; **spare**: a peer that takes the place of one that fails.
//! * **receipt**: what a peer signs when it has chunks of a share, verified, on stable storage.
//! * **sample**: a byte of a chunk or manifest that somebody is asked to prove; **proof**: the piece of it in which the
//!   byte lies, with the hashes that lead up to the chunk's id.
//! * **claimed**: what a peer is said to hold; **proven**: what it has shown to the tracker that it holds; **refuted**:
//!   what it was found not to hold.
//! * **dead time**: the silence after which a peer is dead, and its replicas count no more; **failure domain**: a zone or
//!   a machine, whose replicas are lost together.
//! * **run**: one process of a peer, from its start to its end; or chunks that follow each other.
//!
//! # Reading order
//! 1. Values: [`limits`], [`duration`], [`id`], [`address`], [`proxy`], [`geometry`], [`chunk_set`], `tables`, [`name`],
//!    `place` under [`path_table`], [`portability`].
//! 2. The share's format: [`gcm`], [`seal`], [`modes`], [`links`], [`holes`], [`metadata`],
//!    [`manifest`], [`proof`].
//! 3. What is signed, and what admits: `paseto` under [`terms`], [`receipt`], [`owner`] and [`grant`]; [`quota`],
//!    [`token`], [`link`], [`pasted`].
//! 4. A share and a get: [`placement`], [`replica_sets`], [`push`], [`reservation`], [`fetch`],
//!    [`connection_plan`].
//! 5. Who is there: [`traffic`], [`runs`], [`ways`], [`inventory`], [`reach`], [`suspicion`], [`spread`], [`liveness`], [`registry`].
//! 6. Who holds what, and what follows: `claim`, `pair`, [`audit`], [`health`], [`apart`], [`repair`], [`parting`],
//!    [`workload`].
//! 7. What travels over HTTP: `schema`, `sha256_text`, `blob`, `problem`, [`api`], `heartbeat`, `evidence`, [`enclosed`],
//!    [`gateway`], [`dashboard`].

pub mod duration;
pub mod limits;

pub mod address;
pub mod apart;
pub mod audit;
pub mod chunk_set;
mod claim;
pub mod gcm;
pub mod geometry;
pub mod id;

pub mod grant;
pub mod holes;
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
mod tables;
pub mod terms;
pub mod token;

pub mod connection_plan;
pub mod fetch;
pub mod health;
pub mod inventory;
pub mod liveness;
pub mod parting;
pub mod path_table;
mod place;
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
mod blob;
pub mod dashboard;
pub mod enclosed;
mod evidence;
pub mod gateway;
mod heartbeat;
mod problem;
mod schema;
