//! How slow the other side may be: a transfer that waits must still move a little, or its connection, its
//! memory and its descriptor go to somebody else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use swarmdrop_core::limits::{PACE_BYTES_PER_SECOND, PACE_WINDOW};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes moved and time waited for the other side, in the current window.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { window: PACE_WINDOW, waited: Duration::ZERO, bytes: 0 }
    }
}

impl Pace {
    /// How long may be waited until the pace is to be judged.
    pub(super) fn patience(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Takes note of a wait and what came of it; whether the other side is still fast enough.
    pub(super) fn note(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return true;
        }
        let enough = self.bytes >= self.window.as_secs() * PACE_BYTES_PER_SECOND && self.bytes > 0;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

/// A connection whose other side must take what is sent to it at a pace.
pub(super) struct Paced<S> {
    inner: S,
    pace: Pace,
    /// Since when the other side has taken nothing.
    stuck: Option<Stuck>,
}

struct Stuck {
    since: Instant,
    limit: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, pace: Pace::default(), stuck: None }
    }

    /// Ends a wait that moved `bytes`.
    fn moved(&mut self, bytes: usize) -> io::Result<()> {
        let waited = self.stuck.take().map_or(Duration::ZERO, |stuck| stuck.since.elapsed());
        if self.pace.note(waited, bytes as u64) { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// Begins a wait, or goes on with it until it has lasted too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let patience = self.pace.patience();
        let stuck = self.stuck.get_or_insert_with(|| Stuck {
            since: Instant::now(),
            limit: Box::pin(tokio::time::sleep(patience)),
        });
        ready!(stuck.limit.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    fn judge(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => Poll::Ready(self.moved(bytes).map(|()| bytes)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.judge(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.judge(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn a_transfer_that_trickles_is_given_up_at_the_end_of_a_window() {
        let mut pace = Pace::default();
        for _ in 0..29 {
            assert!(pace.note(Duration::from_secs(1), 1));
        }
        assert_eq!(pace.patience(), Duration::from_secs(1));
        assert!(!pace.note(Duration::from_secs(1), 1));
    }

    #[test]
    fn a_slow_but_steady_transfer_goes_on_and_so_does_one_that_never_waits() {
        let mut pace = Pace::default();
        for _ in 0..300 {
            assert!(pace.note(Duration::from_secs(1), 1500));
        }
        for _ in 0..300 {
            assert!(pace.note(Duration::ZERO, 0));
        }
    }

    #[tokio::test]
    async fn e1_a_reader_that_takes_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(1000);
        let mut paced = Paced::new(near);
        paced.pace.window = Duration::from_millis(50);
        let error = paced.write_all(&[0; 5000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_that_pauses_between_answers_is_not() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut paced = Paced::new(near);
        paced.pace.window = Duration::from_millis(50);
        for _ in 0..3 {
            paced.write_all(&[0; 1000]).await.unwrap();
            far.read_exact(&mut [0; 1000]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
