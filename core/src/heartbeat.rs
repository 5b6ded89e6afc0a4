//! What peers and tracker tell each other with every heartbeat.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::api::{Blob, PeerAddress};
use crate::chunk_set::ChunkSet;
use crate::grant::GrantToken;
use crate::id::{PeerId, RunId, ShareId};
use crate::registry::{ScrubProgress, Usage};
use crate::terms::TermsToken;
use crate::traffic::Traffic;

/// `POST /v1/peers/{id}/heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The peer's run: random, drawn when its process started.
    pub run: RunId,
    /// The usage of the peer's disk.
    pub usage: Usage,
    /// Terms that it took over since the last heartbeat.
    pub applied: Vec<AppliedTerms>,
    /// Chunks that it found to be damaged or gone since the last heartbeat.
    pub lost: Vec<ShareChunks>,
    /// Chunks that it copied since the last heartbeat; they are on stable storage.
    #[serde(default)]
    pub copied: Vec<ShareChunks>,
    /// Shares of which it could not copy what it was asked for.
    #[serde(default)]
    pub failed: Vec<ShareId>,
    /// Shares of which it dropped what it was asked to.
    #[serde(default)]
    pub dropped: Vec<ShareChunks>,
    /// Wrong chunks that other peers served while it copied.
    #[serde(default)]
    pub wrong: Vec<WrongChunks>,
    /// Bytes that it has moved since it started.
    #[serde(default)]
    pub traffic: Traffic,
    /// How far it is with reading everything again.
    #[serde(default)]
    pub scrub: Option<ScrubProgress>,
    /// Shares of which a record on its disk cannot be read, or whose terms it could not settle since; at most 16 are
    /// looked at.
    #[serde(default)]
    pub damaged: Vec<ShareId>,
    /// Shares that it serves no more since the last heartbeat, as it was asked to.
    #[serde(default)]
    pub withheld: Vec<ShareId>,
}

impl HeartbeatRequest {
    /// A heartbeat that tells nothing but that this run is there.
    pub fn new(run: RunId, usage: Usage) -> Self {
        Self {
            run,
            usage,
            applied: Vec::new(),
            lost: Vec::new(),
            copied: Vec::new(),
            failed: Vec::new(),
            dropped: Vec::new(),
            wrong: Vec::new(),
            traffic: Traffic::default(),
            scrub: None,
            damaged: Vec::new(),
            withheld: Vec::new(),
        }
    }
}

/// Chunks of a share that a peer served with wrong bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WrongChunks {
    /// The peer that served them.
    pub peer: PeerId,
    /// The share.
    pub share: ShareId,
    /// The chunks.
    pub chunks: ChunkSet,
}

/// Chunks of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareChunks {
    /// The share.
    pub share: ShareId,
    /// The chunks.
    pub chunks: ChunkSet,
}

/// Terms that a peer knows by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppliedTerms {
    /// The share.
    pub share: ShareId,
    /// When they were issued.
    pub issued_ms: u64,
}

/// Answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatResponse {
    /// What the peer is to do.
    #[schema(value_type = Vec<Task>)]
    pub tasks: Tasks,
    /// The tracker's wall clock; none while it has reason to doubt it.
    pub now_ms: Option<u64>,
    /// After how long the peer is to tell its inventory; none: it was heard.
    pub inventory_after_ms: Option<u64>,
}

/// Tasks, as a tracker tells and a peer hears them. What a newer tracker asks for besides, in a task of another kind or
/// with another field, is passed over: half of an order is not carried out, and the others do not wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Tasks {
    /// Those that are understood.
    pub known: Vec<Task>,
    /// The kinds of the others.
    #[serde(skip)]
    pub unknown: Vec<String>,
}

impl From<Vec<Task>> for Tasks {
    fn from(known: Vec<Task>) -> Self {
        Self { known, unknown: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for Tasks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Heard {
            Known(Task),
            Unknown { kind: String },
        }
        let mut tasks = Self::default();
        for heard in Vec::<Heard>::deserialize(deserializer)? {
            match heard {
                Heard::Known(task) => tasks.known.push(task),
                Heard::Unknown { kind } => tasks.unknown.push(kind),
            }
        }
        Ok(tasks)
    }
}

/// What a tracker asks of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Task {
    /// Take over these newer terms, signed by the share's owner; drop the share if they delete it.
    Terms {
        /// The share.
        share: ShareId,
        /// The signed terms.
        terms: TermsToken,
    },
    /// Serve this share to nobody any more, and keep what is held of it: the operator took it down.
    Withhold {
        /// The share.
        share: ShareId,
    },
    /// Read these chunks again and report those that are not what they should be.
    Verify(ShareChunks),
    /// Copy chunks from other peers. It is asked for with every heartbeat until it is reported.
    Copy(CopyTask),
    /// Let go of these chunks, as far as enough of these other peers prove that they hold them.
    Drop(DropTask),
    /// Make the records of a share whole again.
    Restore(RestoreTask),
}

/// Chunks that are surplus at a peer, and who else holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DropTask {
    /// The share.
    pub share: ShareId,
    /// The chunks.
    pub chunks: ChunkSet,
    /// Other peers that hold them: whom to ask for proof.
    pub holders: Vec<PeerAddress>,
}

/// Where a peer can have the records of a share that it cannot read any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreTask {
    /// The share.
    pub share: ShareId,
    /// Other peers that hold some of it.
    pub sources: Vec<PeerAddress>,
    /// The token that lets this peer read the share's manifest and terms there.
    pub grant: GrantToken,
    /// The newest terms that the tracker knows.
    pub terms: Option<TermsToken>,
    /// The manifest as the tracker has it, unless it is too large for this answer.
    pub manifest: Option<Blob>,
}

/// Chunks that a peer is to copy from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyTask {
    /// The share.
    pub share: ShareId,
    /// The chunks.
    pub chunks: ChunkSet,
    /// Peers to copy from, best first.
    pub sources: Vec<PeerAddress>,
    /// The token that lets this peer read the share's manifest there.
    pub grant: GrantToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_any_kind_with_a_field_that_is_not_known_is_not_carried_out() {
        let share = ShareId::from_bytes([7; 32]);
        let chunks = ChunkSet::full(3);
        let (grant, sources) = (GrantToken::from("grant"), Vec::new());
        let all = [
            Task::Terms { share, terms: "signed".into() },
            Task::Withhold { share },
            Task::Verify(ShareChunks { share, chunks: chunks.clone() }),
            Task::Copy(CopyTask {
                share,
                chunks: chunks.clone(),
                sources: sources.clone(),
                grant: grant.clone(),
            }),
            Task::Drop(DropTask { share, chunks, holders: Vec::new() }),
            Task::Restore(RestoreTask { share, sources, grant, terms: None, manifest: None }),
        ];
        for task in all {
            let mut told = serde_json::to_value(&task).unwrap();
            let heard = |told: &serde_json::Value| {
                serde_json::from_value::<Tasks>(serde_json::json!([told])).unwrap()
            };
            assert_eq!(heard(&told), Tasks::from(vec![task]));
            told["unless"] = "something that this version knows nothing of".into();
            let unknown = vec![told["kind"].as_str().unwrap().to_owned()];
            assert_eq!(heard(&told), Tasks { known: Vec::new(), unknown });
        }
    }

    #[test]
    fn what_only_a_newer_tracker_asks_for_is_passed_over() {
        let share = ShareId::from_bytes([7; 32]);
        let known =
            vec![Task::Withhold { share }, Task::Verify(ShareChunks { share, chunks: ChunkSet::full(3) })];
        let mut answer = serde_json::to_value(HeartbeatResponse {
            tasks: known.clone().into(),
            now_ms: None,
            inventory_after_ms: None,
        })
        .unwrap();
        let mut narrowed = answer["tasks"][1].clone();
        narrowed["unless"] = "something that this version knows nothing of".into();
        let tasks = answer["tasks"].as_array_mut().unwrap();
        tasks.insert(1, narrowed);
        tasks.insert(0, serde_json::json!({ "kind": "polish", "share": share, "with": [{ "a": 1 }, null] }));
        let heard: HeartbeatResponse = serde_json::from_value(answer.clone()).unwrap();
        let unknown = vec!["polish".to_owned(), "verify".to_owned()];
        assert_eq!(heard.tasks, Tasks { known, unknown });
        answer["tasks"][0] = 1.into();
        assert!(
            serde_json::from_value::<HeartbeatResponse>(answer).is_err(),
            "a task is an object with a kind"
        );
    }
}
