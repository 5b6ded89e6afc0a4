//! A connection on which requests for chunks follow each other without waiting for the answers (pipelining, RFC
//! 9112 §9.3.2): a server far away is never idle between two of them. An answer goes straight from the
//! connection into the buffer that it is opened in, with no copy in between.
//!
//! It is written by hand as hyper offers neither of the two. Its client does not pipeline, on purpose, and it hands out a
//! body in pieces of its own, over HTTP/2 as well, which would all have to be copied once more. With HTTP/2, the chunks of
//! a connection would also share a flow-control window (RFC 9113 §5.2) that has to be as large as the line is long, and
//! several connections would be needed all the same, where packets are lost. It is no whole HTTP: one method, bodies
//! whose length is known beforehand, and a connection that ends at the first doubt.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use parcelry_core::api::ProblemKind;
use parcelry_core::id::ChunkId;
use parcelry_core::limits::{ANSWER_HEAD_BYTES_MAX, HEADER_TIMEOUT, JSON_BODY_BYTES_MAX, REQUEST_TIMEOUT};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, OnceCell, watch};

use super::connector::SecureStream;
use super::error::{BoxError, ClientError};
use super::http::refused;
use crate::pace::{self, Pace};

/// The turn of a connection that can be used no more.
const BROKEN: u64 = u64::MAX;
/// Header fields that an answer may have.
const FIELDS_MAX: usize = 32;

/// What a peer served for a chunk id.
#[derive(Debug)]
pub enum ChunkAnswer<B> {
    /// Bytes of the right length.
    Found(B),
    /// The peer does not have the chunk.
    Missing,
    /// Something else.
    Wrong,
}

impl<B> ChunkAnswer<B> {
    /// Returns the same answer, with other bytes if it has some.
    pub(super) fn map<C>(self, of_bytes: impl FnOnce(B) -> C) -> ChunkAnswer<C> {
        match self {
            Self::Found(bytes) => ChunkAnswer::Found(of_bytes(bytes)),
            Self::Missing => ChunkAnswer::Missing,
            Self::Wrong => ChunkAnswer::Wrong,
        }
    }
}

/// One connection, made when it is first used.
#[derive(Debug, Default)]
pub(super) struct PipelinedConnection {
    established: OnceCell<Result<Established, ClientError>>,
    waiting: AtomicUsize,
    /// Whose answer comes next.
    turn: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct Established {
    server: String,
    writer: Mutex<Writer>,
    reader: Mutex<Reader>,
    opened: Instant,
}

#[derive(Debug)]
struct Writer {
    half: WriteHalf<SecureStream>,
    /// The number of the next request.
    next: u64,
}

/// Reads answers; what was read beyond a head waits in `ahead`.
#[derive(Debug)]
struct Reader {
    half: ReadHalf<SecureStream>,
    ahead: Vec<u8>,
}

/// What a request is for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) id: ChunkId,
    /// How long the chunk is.
    pub(super) sealed_len: usize,
    /// The bytes of the chunk that are wanted; `None`: all.
    pub(super) range: Option<Range<usize>>,
}

/// A request that is on a connection, or about to be.
#[derive(Debug)]
pub(super) struct Request<'a> {
    on: &'a PipelinedConnection,
    /// The connection's turn when this is dropped: `BROKEN` unless the answer was read whole, for the rest of it would be
    /// taken for the next one.
    turn_after: u64,
}

/// Why a connection gave no answer.
#[derive(Debug)]
pub(super) enum RequestError {
    /// The connection ended before the answer began: another one may do, as the request changes nothing.
    NotBegun,
    /// No connection came about: one that is there already may do.
    NotConnected(ClientError),
    /// The request failed.
    Failed(ClientError),
}

impl From<ClientError> for RequestError {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

impl PipelinedConnection {
    /// Requests that are on it.
    pub(super) fn load(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether it can be used no more.
    pub(super) fn is_broken(&self) -> bool {
        *self.turn.borrow() == BROKEN
    }

    /// The connection itself, which `connect` makes if there is none yet. If none comes about, this can be used no more.
    pub(super) async fn connect(
        &self,
        connect: impl Future<Output = Result<(String, SecureStream), ClientError>> + Send,
    ) -> Result<&Established, ClientError> {
        let established = self.established.get_or_init(|| async {
            let (server, stream) = connect.await?;
            Ok(Established::over(server, stream))
        });
        established.await.as_ref().map_err(|error| {
            self.turn.send_replace(BROKEN);
            error.clone()
        })
    }

    /// Whether it was made and can be used.
    pub(super) fn is_open(&self) -> bool {
        !self.is_broken() && self.established.get().is_some_and(Result::is_ok)
    }

    /// Begins a request.
    pub(super) fn begin(&self) -> Request<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Request { on: self, turn_after: BROKEN }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.on.waiting.fetch_sub(1, Ordering::Relaxed);
        let turn_after = self.turn_after;
        self.on.turn.send_modify(|turn| *turn = turn_after.max(*turn));
    }
}

impl Request<'_> {
    /// Gets what is wanted over the connection that `connect` makes. The buffer, as long as the answer has to be, is
    /// taken only when the answer is the next to come.
    pub(super) async fn get<B: AsMut<[u8]> + Send>(
        mut self,
        wanted: &Wanted,
        connect: impl Future<Output = Result<(String, SecureStream), ClientError>> + Send,
        buffer: impl Future<Output = B> + Send,
    ) -> Result<ChunkAnswer<B>, RequestError> {
        let connection = self.on.connect(connect).await.map_err(RequestError::NotConnected)?;
        let was_idle = connection.is_idle_for_long();
        let number = connection.send(wanted).await?;
        let mut turns = self.on.turn.subscribe();
        // `PipelinedConnection` has the other end of the channel.
        let turn = turns.wait_for(|&turn| turn >= number).await.map_or(BROKEN, |turn| *turn);
        if turn == BROKEN {
            return Err(RequestError::NotBegun);
        }
        let asked = Instant::now();
        let buffer = buffer.await;
        // A server gives up who takes nothing for long: then it is not the server's fault.
        let was_kept_waiting = asked.elapsed() > pace::window() / 2;
        let answer = connection.receive(wanted, buffer).await;
        let (answer, keeps) = answer.map_err(|error| match error {
            RequestError::Failed(ClientError::Unreachable { .. }) if was_kept_waiting => {
                RequestError::NotBegun
            }
            RequestError::NotBegun if number == 0 && !was_kept_waiting && !was_idle => {
                connection.unreachable("it closed the connection").into()
            }
            error => error,
        })?;
        if keeps {
            self.turn_after = number + 1;
        }
        Ok(answer?)
    }
}

impl Established {
    fn over(server: String, stream: SecureStream) -> Self {
        tracing::debug!(server, "opened a connection for chunks");
        let (reader, writer) = tokio::io::split(stream);
        let reader = Mutex::new(Reader { half: reader, ahead: Vec::new() });
        Self { server, writer: Mutex::new(Writer { half: writer, next: 0 }), reader, opened: Instant::now() }
    }

    /// Whether a server that was sent nothing may have closed it for that.
    fn is_idle_for_long(&self) -> bool {
        self.opened.elapsed() > HEADER_TIMEOUT / 2
    }

    fn unreachable(&self, why: impl Into<BoxError>) -> ClientError {
        ClientError::unreachable(&self.server, why)
    }

    /// Sends a request. Returns its number.
    async fn send(&self, wanted: &Wanted) -> Result<u64, RequestError> {
        let Wanted { id, range, .. } = wanted;
        let range = range.as_ref().map(|range| format!("range: bytes={}-{}\r\n", range.start, range.end - 1));
        let range = range.unwrap_or_default();
        let request = format!("GET /v1/chunks/{id} HTTP/1.1\r\nhost: {}\r\n{range}\r\n", self.server);
        // Number and bytes under one lock: answers come in the order in which requests were written.
        let mut writer = self.writer.lock().await;
        let number = writer.next;
        writer.next += 1;
        let sending = async {
            writer.half.write_all(request.as_bytes()).await?;
            writer.half.flush().await
        };
        match in_time(REQUEST_TIMEOUT, sending).await {
            Ok(()) => Ok(number),
            Err(error)
                if (number > 0 || self.is_idle_for_long()) && error.kind() != io::ErrorKind::TimedOut =>
            {
                Err(RequestError::NotBegun)
            }
            Err(error) => Err(self.unreachable(error).into()),
        }
    }

    /// Receives the next answer. Returns what it is, and whether another one may follow.
    async fn receive<B: AsMut<[u8]>>(
        &self,
        wanted: &Wanted,
        mut buffer: B,
    ) -> Result<(Result<ChunkAnswer<B>, ClientError>, bool), RequestError> {
        // Nobody else waits for it: it is this request's turn.
        let mut reader = self.reader.lock().await;
        let head = reader.head(&self.server).await?;
        let broke_off = |error: io::Error| self.unreachable(error);
        let status = if wanted.range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        // A piece of a chunk that is too long could be right: that the chunk is not would stay unknown.
        let is_sound = head.whole.is_none_or(|whole| whole == wanted.sealed_len);
        if head.status == status && head.length == Some(buffer.as_mut().len()) && is_sound {
            reader.body(buffer.as_mut()).await.map_err(broke_off)?;
            return Ok((Ok(ChunkAnswer::Found(buffer)), head.keeps));
        }
        if head.status.is_success() || head.status.is_redirection() {
            // Its body is left in the connection, which therefore ends here.
            return Ok((Ok(ChunkAnswer::Wrong), false));
        }
        // A refusal is read to its end, so that the connection goes on; one that is too long ends it.
        let mut body = vec![0; head.length.unwrap_or(0).min(JSON_BODY_BYTES_MAX)];
        reader.body(&mut body).await.map_err(broke_off)?;
        let refused = refused(&self.server, head.status, &body);
        let keeps = head.keeps && head.length == Some(body.len());
        let answer = match refused.problem() {
            Some(ProblemKind::ChunkNotFound | ProblemKind::ShareGone) => Ok(ChunkAnswer::Missing),
            Some(ProblemKind::RangeNotSatisfiable) => Ok(ChunkAnswer::Wrong),
            _ => Err(refused),
        };
        Ok((answer, keeps))
    }
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Its own length.
    bytes: usize,
    status: StatusCode,
    /// Bytes of the body, if the answer says so.
    length: Option<usize>,
    /// Bytes of the whole of which this is a range, if the answer says so.
    whole: Option<usize>,
    /// Whether another answer may follow on the connection.
    keeps: bool,
}

impl Reader {
    async fn head(&mut self, server: &str) -> Result<Head, RequestError> {
        let protocol = |what: BoxError| ClientError::protocol(server, what);
        let mut begun = None;
        loop {
            if let Some(head) = parse_head(&self.ahead).map_err(|error| protocol(error.into()))? {
                self.ahead.drain(..head.bytes);
                return Ok(head);
            }
            if self.ahead.len() >= ANSWER_HEAD_BYTES_MAX {
                return Err(protocol("a head that does not end".into()).into());
            }
            // A head that has begun is a few hundred bytes: one that drips in is not waited for.
            let limit = if self.ahead.is_empty() {
                REQUEST_TIMEOUT
            } else {
                let bound = HEADER_TIMEOUT.min(pace::window());
                bound.saturating_sub(begun.get_or_insert_with(Instant::now).elapsed())
            };
            match in_time(limit, self.half.read_buf(&mut self.ahead)).await {
                Ok(0) if self.ahead.is_empty() => return Err(RequestError::NotBegun),
                Err(error) if self.ahead.is_empty() && error.kind() != io::ErrorKind::TimedOut => {
                    return Err(RequestError::NotBegun);
                }
                Ok(0) => return Err(protocol("half a head".into()).into()),
                Ok(_) => {}
                Err(error) => return Err(ClientError::unreachable(server, error).into()),
            }
        }
    }

    /// Fills the buffer.
    async fn body(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let here = self.ahead.len().min(buffer.len());
        buffer[..here].copy_from_slice(&self.ahead[..here]);
        self.ahead.drain(..here);
        let mut filled = here;
        let mut pace = Pace::default();
        while filled < buffer.len() {
            let read = self.half.read(&mut buffer[filled..]);
            match pace.keep(read, |read| *read.as_ref().unwrap_or(&0)).await?? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }
}

/// Reads the head of an answer; `None` if it is not whole yet. One that is only preliminary is none of ours.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(bytes) = response.parse(bytes)? else { return Ok(None) };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| !status.is_informational()).ok_or(httparse::Error::Status)?;
    let (mut lengths, mut whole, mut keeps) = (Vec::new(), None, response.version == Some(1));
    for field in response.headers.iter() {
        let value = str::from_utf8(field.value).unwrap_or_default().trim();
        match field.name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.parse().ok()),
            "transfer-encoding" => lengths.push(None),
            "content-range" => whole = value.rsplit_once('/').and_then(|(_, whole)| whole.parse().ok()),
            "connection" if value.eq_ignore_ascii_case("close") => keeps = false,
            _ => {}
        }
    }
    // Two lengths are none: where one answer ends and the next begins must be beyond doubt.
    let length = if let [length] = lengths[..] { length } else { None };
    Ok(Some(Head { bytes, status, length, whole, keeps: keeps && length.is_some() }))
}

async fn in_time<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
    tokio::time::timeout(limit, step).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Option<Head> {
        parse_head(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_head_says_how_long_the_body_is_and_whether_more_may_follow() {
        let ok = |length, keeps| Some((StatusCode::OK, length, keeps));
        for (fields, expected) in [
            ("Content-Length: 7\r\n", ok(Some(7), true)),
            ("content-length: 7\r\nConnection: Close\r\n", ok(Some(7), false)),
            ("", ok(None, false)),
            ("Content-Length: 7\r\nContent-Length: 8\r\n", ok(None, false)),
            ("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", ok(None, false)),
            ("Content-Length: -1\r\n", ok(None, false)),
        ] {
            let found = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\nbody"));
            assert_eq!(found.map(|head| (head.status, head.length, head.keeps)), expected, "{fields}");
        }
        assert_eq!(head("HTTP/1.1 200 OK\r\nContent-Len"), None);
        assert!(parse_head(b"HTTP/1.1 100 Continue\r\n\r\n").is_err());
        assert!(parse_head(b"SSH-2.0-OpenSSH\r\n").is_err());
    }

    #[tokio::test]
    async fn a_server_that_could_not_be_reached_is_tried_again_on_another_connection() {
        let connection = PipelinedConnection::default();
        let refused = async || Err(ClientError::unreachable("peer.example:9091", "connection refused"));
        assert!(connection.connect(refused()).await.is_err());
        assert!(connection.is_broken());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse_head(&bytes);
            let _ = parse_head(&[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat());
        }
    }
}
