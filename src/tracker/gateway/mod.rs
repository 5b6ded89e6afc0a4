//! The gateway: lets browsers get and share through the tracker. What passes through is sealed; it is held to a
//! rate, a number of calls and a number of bytes, and goes nowhere but to chunks of the share that is named.

mod download;
mod slots;
mod upload;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use parcelry_core::address::counted_as;
use parcelry_core::api::ProblemKind;
use parcelry_core::geometry::ChunkSize;
use parcelry_core::id::ShareId;
use parcelry_core::limits::{
    CHUNK_LOG2_MAX, CHUNK_LOG2_MIN, GATEWAY_CALLS_PER_ADDRESS_MAX, GATEWAY_CHUNK_TIME,
    GATEWAY_PACE_BYTES_PER_SECOND, GATEWAY_WINDOWS,
};
use parking_lot::Mutex;

use crate::buffers::{Buffer, Buffers};
use crate::client::Http;
use crate::server::{Asker, Frames, Refusal};
use crate::throttle::Throttle;
use download::ShareCache;
use slots::UploadSlots;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use upload::BrowserUpload;

/// What the gateway has under way.
pub(super) struct Gateway {
    http: Http,
    /// `None`: the operator closed the gateway.
    throttle: Option<Throttle>,
    /// Buffers for chunks, by size.
    pools: Vec<Arc<Buffers>>,
    calls: Arc<Calls>,
    cache: Mutex<ShareCache>,
    uploads: Mutex<HashMap<ShareId, Arc<BrowserUpload>>>,
    slots: UploadSlots,
}

/// What each address has under way.
type Calls = Mutex<HashMap<IpAddr, Caller>>;

#[derive(Debug)]
struct Caller {
    calls: usize,
    /// As many permits as there may be calls; one for a large chunk takes several.
    permits: Arc<Semaphore>,
}

/// A call of a browser that is under way.
#[derive(Debug)]
pub(super) struct Call {
    from: IpAddr,
    calls: Arc<Calls>,
    permits: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Gateway {
    /// A gateway that passes on so many bytes a second; with 0 it is closed.
    pub(super) fn new(http: Http, bytes_per_second: u64) -> Self {
        let sizes = (CHUNK_LOG2_MIN..=CHUNK_LOG2_MAX).filter_map(|log2| ChunkSize::from_log2(log2).ok());
        let pools = sizes.map(|size| Buffers::for_chunks(size.window() * GATEWAY_WINDOWS, size));
        Self {
            http,
            throttle: (bytes_per_second > 0).then(|| Throttle::new(bytes_per_second)),
            pools: pools.collect(),
            calls: Arc::default(),
            cache: Mutex::default(),
            uploads: Mutex::default(),
            slots: UploadSlots::new(),
        }
    }

    /// Lets a browser's call in, unless its address has enough under way.
    pub(super) fn enter(&self, from: IpAddr) -> Result<Call, Refusal> {
        if self.throttle.is_none() {
            return Err(Refusal::new(ProblemKind::GatewayClosed, "this tracker serves no browsers"));
        }
        let from = counted_as(from);
        let mut calls = self.calls.lock();
        let caller = calls.entry(from).or_insert_with(Caller::new);
        if caller.calls >= GATEWAY_CALLS_PER_ADDRESS_MAX {
            let what = "too many chunks at once from one address";
            return Err(Refusal::later(ProblemKind::TooManyRequests, what, 1));
        }
        caller.calls += 1;
        let permits = Arc::clone(&caller.permits);
        drop(calls);
        Ok(Call { from, calls: Arc::clone(&self.calls), permits, held: None })
    }

    /// Waits until a chunk of so many bytes may pass.
    async fn admit(&self, bytes: usize) {
        if let Some(throttle) = &self.throttle {
            throttle.admit(bytes as u64).await;
        }
    }

    /// The buffers for chunks of this size.
    fn pool(&self, size: ChunkSize) -> &Arc<Buffers> {
        &self.pools[usize::from(size.log2() - CHUNK_LOG2_MIN)]
    }

    /// Reads a body of exactly `sealed_len` bytes into a buffer.
    async fn read(&self, size: ChunkSize, sealed_len: usize, body: Body) -> Result<Buffer, Refusal> {
        let refuse = |detail: String| Refusal::new(ProblemKind::BadRequest, detail);
        let wanted = || refuse(format!("this chunk has {sealed_len} bytes when it is sealed"));
        if body.size_hint().exact() != Some(sealed_len as u64) {
            return Err(wanted());
        }
        let mut buffer = self.pool(size).take().await;
        buffer.clear();
        let reading = async {
            let mut frames = Frames::of(body);
            while let Some(frame) = frames.next().await? {
                if buffer.len() + frame.len() > sealed_len {
                    return Err(wanted());
                }
                buffer.extend_from_slice(&frame);
            }
            if buffer.len() < sealed_len { Err(wanted()) } else { Ok(buffer) }
        };
        let slow = |_| Refusal::later(ProblemKind::Unavailable, "the chunk came too slowly", 1);
        tokio::time::timeout(chunk_timeout(sealed_len), reading).await.map_err(slow)?
    }
}

impl Caller {
    fn new() -> Self {
        Self { calls: 0, permits: Arc::new(Semaphore::new(GATEWAY_CALLS_PER_ADDRESS_MAX)) }
    }
}

impl Call {
    /// Who calls.
    fn asker(&self) -> Asker {
        Asker::new(None, self.from)
    }

    /// Waits until its address holds fewer chunks of this size than one receiver may: the gateway has room for
    /// several of them.
    async fn wait_for_permits(&mut self, size: ChunkSize) {
        let at_once = size.window().min(GATEWAY_CALLS_PER_ADDRESS_MAX);
        let permits = u32::try_from(GATEWAY_CALLS_PER_ADDRESS_MAX / at_once).unwrap_or(1);
        // The semaphore is never closed.
        self.held = Arc::clone(&self.permits).acquire_many_owned(permits).await.ok();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.calls.lock();
        if let Some(caller) = calls.get_mut(&self.from) {
            caller.calls -= 1;
            if caller.calls == 0 {
                calls.remove(&self.from);
            }
        }
    }
}

/// How long a chunk may take between a browser and here.
fn chunk_timeout(bytes: usize) -> Duration {
    GATEWAY_CHUNK_TIME + Duration::from_secs(bytes as u64 / GATEWAY_PACE_BYTES_PER_SECOND)
}

/// A chunk as bytes that several may hold: its buffer returns to its pool after the last of them.
fn shared(buffer: Buffer) -> Bytes {
    Bytes::from_owner(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_bounded_number_of_calls_and_others_have_theirs() {
        let gateway = Gateway::new(Http::new(None).unwrap(), 1);
        let (one, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut calls: Vec<_> =
            (0..GATEWAY_CALLS_PER_ADDRESS_MAX).map(|_| gateway.enter(one).unwrap()).collect();
        assert_eq!(gateway.enter(one).unwrap_err().problem.kind, ProblemKind::TooManyRequests);
        gateway.enter(other).unwrap();
        calls.pop();
        calls.push(gateway.enter(one).unwrap());
        calls.clear();
        assert!(gateway.calls.lock().is_empty(), "nobody is remembered who has nothing under way");
    }

    #[tokio::test]
    async fn one_address_holds_no_more_large_chunks_than_one_receiver() {
        let gateway = Gateway::new(Http::new(None).unwrap(), 1);
        let size = |log2| ChunkSize::from_log2(log2).unwrap();
        let one: IpAddr = [10, 0, 0, 1].into();
        let mut calls = Vec::new();
        for _ in 0..GATEWAY_CALLS_PER_ADDRESS_MAX {
            let mut call = gateway.enter(one).unwrap();
            call.wait_for_permits(size(20)).await;
            calls.push(call);
        }
        calls.clear();
        let (mut first, mut second) = (gateway.enter(one).unwrap(), gateway.enter(one).unwrap());
        first.wait_for_permits(size(CHUNK_LOG2_MAX)).await;
        let moment = Duration::from_millis(20);
        assert!(tokio::time::timeout(moment, second.wait_for_permits(size(CHUNK_LOG2_MAX))).await.is_err());
        gateway.enter([10, 0, 0, 2].into()).unwrap().wait_for_permits(size(CHUNK_LOG2_MAX)).await;
        drop(first);
        second.wait_for_permits(size(CHUNK_LOG2_MAX)).await;
    }

    #[test]
    fn a_closed_gateway_lets_nobody_in() {
        let gateway = Gateway::new(Http::new(None).unwrap(), 0);
        assert_eq!(gateway.enter([10, 0, 0, 1].into()).unwrap_err().problem.kind, ProblemKind::GatewayClosed);
    }
}
