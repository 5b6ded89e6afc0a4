//! What a tracker's gateway takes from browsers, and answers: they cannot speak to peers themselves, whose keys
//! no authority knows.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{Blob, ShareSize};
use crate::grant::GrantToken;
use crate::id::ChunkId;
use crate::terms::TermsToken;

/// `POST /v1/shares/{id}/upload`: a browser wants to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadRequest {
    /// How large the share is.
    pub size: ShareSize,
    /// How many peers are to hold each chunk.
    #[schema(minimum = 1, maximum = 16)]
    pub replicas: u8,
}

/// Answer to [`UploadRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadResponse {
    /// What lets the browser send the chunks, and finish. A delegation names it.
    pub grant: GrantToken,
}

/// Answer to `PUT /v1/shares/{id}/delegation`: the peers are ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DelegationResponse {
    /// What the operators of the peers call them.
    pub peers: Vec<String>,
}

/// Answer to `PUT /v1/shares/{id}/chunks/{index}`: the chunk is at its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredChunk {
    /// Its id, which a browser cannot make by itself.
    pub id: ChunkId,
}

/// `PUT /v1/shares/{id}/upload`: every chunk was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishRequest {
    /// The manifest; not in JSON that it follows.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub manifest: Blob,
    /// The signed terms.
    pub terms: TermsToken,
}

/// Answer to [`FinishRequest`]: the share is on stable storage and published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FinishResponse {
    /// What the operators of the peers that hold it call them.
    pub peers: Vec<String>,
}
