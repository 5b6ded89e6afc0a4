//! Asks sources for a chunk, one after another, until one serves it as it should be.

use std::sync::Arc;
use std::time::Duration;

use parcelry_core::id::{ChunkId, PeerId};

use super::{ChunkAnswer, PeerClient, Verified};
use crate::buffers::Buffers;
use crate::task::blocking;

/// Returns a chunk of `sealed_len` bytes from the first source that serves it right, if one does. Sources that failed a
/// short while ago are asked last. None is waited for beyond `limit`, and who sent something else is told to `on_wrong`
/// before the next one is asked.
pub async fn first_good<F>(
    mut sources: Vec<&PeerClient>,
    id: ChunkId,
    sealed_len: usize,
    buffers: &Arc<Buffers>,
    limit: Option<Duration>,
    mut on_wrong: impl FnMut(PeerId) -> F + Send,
) -> Option<Verified>
where
    F: Future<Output = ()> + Send,
{
    // Stable, so that the caller's order stays among those that work; cached, as others may fail meanwhile.
    sources.sort_by_cached_key(|source| source.comes_last());
    for source in sources {
        let get = source.get_unverified_chunk(id, sealed_len, buffers);
        let answer = match limit {
            None => get.await,
            Some(limit) => match tokio::time::timeout(limit, get).await {
                Ok(answer) => answer,
                Err(_) => {
                    // The request was dropped before it could note that.
                    source.note_failure();
                    continue;
                }
            },
        };
        match answer {
            // Beyond the limit: that this machine is slow to hash is not the source's fault.
            Ok(ChunkAnswer::Found(sealed)) => match blocking(move || sealed.verify()).await {
                Some(verified) => return Some(verified),
                None => on_wrong(source.id()).await,
            },
            Ok(ChunkAnswer::Wrong) => on_wrong(source.id()).await,
            Ok(ChunkAnswer::Missing) => {}
            Err(error) => {
                tracing::debug!(source = source.name(), %id, %error, "a source failed to serve a chunk");
            }
        }
    }
    None
}
