//! The connections to one peer over which its chunks come: how many there are, when one is made, and which request goes
//! over which.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future::try_join_all;
use parcelry_core::connection_plan::{self, is_near, part_of};
use parcelry_core::geometry::ChunkSize;
use parcelry_core::id::ChunkId;
use parcelry_core::limits::{RECEIVER_CONNECTIONS_MAX, REQUEST_TIMEOUT};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::addresses::Addresses;
use super::error::ClientError;
use super::pipelined::{ChunkAnswer, PipelinedConnection, RequestError, Wanted};
use crate::buffers::{Buffer, Buffers};

/// The connections to one peer. Its clones share them.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPool {
    shared: Arc<Shared>,
    bounds: Bounds,
}

/// What one of several sources may take of what they share.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    connections: usize,
    /// Buffers for chunks.
    buffers: usize,
}

#[derive(Debug)]
struct Shared {
    addresses: Arc<Addresses>,
    connections: Mutex<Vec<Arc<PipelinedConnection>>>,
    /// How many came about, where further ones did not.
    connections_max: AtomicUsize,
    /// Permits to send a chunk; `permits` tells how many there are by now.
    sending: Semaphore,
    permits: AtomicUsize,
}

impl ConnectionPool {
    /// A pool without connections yet.
    pub(super) fn new(addresses: Arc<Addresses>) -> Self {
        let shared = Shared {
            addresses,
            connections: Mutex::default(),
            connections_max: AtomicUsize::new(usize::MAX),
            sending: Semaphore::new(0),
            permits: AtomicUsize::new(0),
        };
        let bounds = Bounds { connections: usize::MAX, buffers: usize::MAX };
        Self { shared: Arc::new(shared), bounds }
    }

    /// This pool, as that of one of so many sources that receive into the same buffers.
    pub(super) fn one_of(self, sources: usize, buffers: usize) -> Self {
        let connections = part_of(RECEIVER_CONNECTIONS_MAX, sources);
        Self { bounds: Bounds { connections, buffers: part_of(buffers, sources) }, ..self }
    }

    /// How many connections chunks come over.
    pub(super) fn connections(&self) -> usize {
        let connections = connection_plan::connections(self.shared.addresses.round_trip());
        let came_about = self.shared.connections_max.load(Ordering::Relaxed);
        let connections = connections.min(self.bounds.connections).min(came_about);
        // A connection over which whole chunks come may need a buffer to itself.
        if is_near(connections) { connections.min(self.bounds.buffers) } else { connections }
    }

    /// How many chunks to ask the peer for at once.
    pub(super) fn requests(&self, chunk_size: ChunkSize) -> usize {
        let connections = self.connections();
        if is_near(connections) {
            connection_plan::requests(connections, chunk_size)
        } else {
            self.bounds.buffers
        }
    }

    /// Waits until less than [`connection_plan::sends`] chunks are on their way to the peer.
    pub(super) async fn send_permit(&self) -> SemaphorePermit<'_> {
        let sends = connection_plan::sends(self.connections());
        // Of several callers at once only one is told of the old number, and adds what is missing.
        let before = self.shared.permits.fetch_max(sends, Ordering::Relaxed);
        self.shared.sending.add_permits(sends.saturating_sub(before));
        self.shared.sending.acquire().await.expect("the semaphore is never closed")
    }

    /// Gets a chunk of `sealed_len` bytes into one of the buffers: over one connection from near, over all from far away.
    pub(super) async fn get(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer<Buffer>, ClientError> {
        // How far the peer is shows when there is a connection.
        if let Err(error) = self.least_loaded().connect(self.shared.addresses.connect()).await {
            self.check_retry(RequestError::NotConnected(error), Instant::now())?;
        }
        if is_near(self.connections()) {
            self.get_whole(id, sealed_len, buffers).await
        } else {
            self.get_in_pieces(id, sealed_len, buffers).await
        }
    }

    /// Gets a chunk over one connection. The buffer is taken only when the answer begins.
    async fn get_whole(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer<Buffer>, ClientError> {
        let (wanted, begun) = (Wanted { id, sealed_len, range: None }, Instant::now());
        loop {
            let buffer = buffers.take_of(sealed_len);
            let connect = self.shared.addresses.connect();
            match self.least_loaded().begin().get(&wanted, connect, buffer).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.check_retry(error, begun)?,
            }
        }
    }

    /// Gets a chunk over all connections. The buffer is taken first: were it taken when the first piece arrives,
    /// chunks that arrive on the fast connections could keep all buffers from one that the slow ones still owe.
    async fn get_in_pieces(
        &self,
        id: ChunkId,
        sealed_len: usize,
        buffers: &Arc<Buffers>,
    ) -> Result<ChunkAnswer<Buffer>, ClientError> {
        let mut buffer = buffers.take_of(sealed_len).await;
        let piece_len = connection_plan::piece_len(self.connections(), sealed_len);
        let starts = (0..sealed_len).step_by(piece_len);
        let pieces = starts.zip(buffer.chunks_mut(piece_len));
        let gets = pieces.map(|(start, piece)| self.get_piece(id, sealed_len, start, piece));
        // One that fails ends the others, with their connections: it is the peer that does not answer.
        for answer in try_join_all(gets).await? {
            match answer {
                ChunkAnswer::Found(()) => {}
                ChunkAnswer::Missing => return Ok(ChunkAnswer::Missing),
                ChunkAnswer::Wrong => return Ok(ChunkAnswer::Wrong),
            }
        }
        Ok(ChunkAnswer::Found(buffer))
    }

    /// Gets the bytes of a chunk from `start` on that fit the piece.
    async fn get_piece(
        &self,
        id: ChunkId,
        sealed_len: usize,
        start: usize,
        piece: &mut [u8],
    ) -> Result<ChunkAnswer<()>, ClientError> {
        let range = Some(start..start + piece.len());
        let (wanted, begun) = (Wanted { id, sealed_len, range }, Instant::now());
        loop {
            let into = ready(&mut *piece);
            let connect = self.shared.addresses.connect();
            match self.least_loaded().begin().get(&wanted, connect, into).await {
                Ok(answer) => return Ok(answer.map(drop)),
                Err(error) => self.check_retry(error, begun)?,
            }
        }
    }

    /// Returns `Ok` if the request may be tried again on another connection, otherwise the error that it ends with.
    /// Where no further connection comes about, those that are there have to do.
    fn check_retry(&self, error: RequestError, begun: Instant) -> Result<(), ClientError> {
        let error = match error {
            RequestError::Failed(error) => return Err(error),
            RequestError::NotConnected(error @ ClientError::Unreachable { .. }) => {
                let open = self.shared.connections.lock().iter().filter(|one| one.is_open()).count();
                if open == 0 {
                    return Err(error);
                }
                self.shared.connections_max.fetch_min(open, Ordering::Relaxed);
                error
            }
            RequestError::NotConnected(error) => return Err(error),
            RequestError::NotBegun => {
                ClientError::unreachable(self.shared.addresses.name(), "it keeps closing connections")
            }
        };
        // Connections that end because others got wrong answers do so at once; those of a peer that hangs take their time.
        if begun.elapsed() < 2 * REQUEST_TIMEOUT { Ok(()) } else { Err(error) }
    }

    fn least_loaded(&self) -> Arc<PipelinedConnection> {
        let mut connections = self.shared.connections.lock();
        connections.retain(|one| !one.is_broken());
        let least = connections.iter().min_by_key(|one| one.load());
        // A further connection is made only when all are busy. `self.connections()` locks the known round trips within
        // this lock.
        match least {
            Some(one) if one.load() == 0 || connections.len() >= self.connections() => Arc::clone(one),
            _ => {
                let one = Arc::<PipelinedConnection>::default();
                connections.push(Arc::clone(&one));
                one
            }
        }
    }
}
