//! How slow the other side may be: a transfer that waits must still move a little, or its connection, its
//! memory and its descriptor go to somebody else. Servers and clients judge alike: at the end of a window of
//! waiting, by the bytes of that window, however many or few those before it moved.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parcelry_core::limits::{PACE_BYTES_PER_SECOND, PACE_WINDOW};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The environment variable with which a test shortens the window of a process, in milliseconds.
pub const WINDOW_VARIABLE: &str = "PARCELRY_PACE_WINDOW";

/// How long a window of waiting is. A release build has one length.
pub fn window() -> Duration {
    if !cfg!(debug_assertions) {
        return PACE_WINDOW;
    }
    let told = std::env::var(WINDOW_VARIABLE).ok().and_then(|text| text.parse().ok());
    told.map_or(PACE_WINDOW, Duration::from_millis)
}

/// Bytes moved and time waited for the other side, in the current window.
#[derive(Debug)]
pub struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { window: window(), waited: Duration::ZERO, bytes: 0 }
    }
}

impl Pace {
    /// How long may be waited until the pace is to be judged.
    pub fn remaining(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Takes note of a wait and what came of it. Returns whether the other side is still fast enough.
    pub fn note(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return true;
        }
        let least = self.window.as_secs() * PACE_BYTES_PER_SECOND;
        let enough = self.bytes >= least.max(1);
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }

    /// Waits for what a step of the transfer brings, which `bytes` counts, for as long as the pace is kept.
    pub async fn keep<T>(
        &mut self,
        step: impl Future<Output = T>,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<T, TooSlow> {
        let mut step = pin!(step);
        loop {
            let asked = Instant::now();
            let moved = tokio::time::timeout(self.remaining(), &mut step).await.ok();
            let count = moved.as_ref().map_or(0, &bytes);
            if !self.note(asked.elapsed(), count as u64) {
                return Err(TooSlow);
            }
            if let Some(moved) = moved {
                return Ok(moved);
            }
        }
    }
}

/// The other side let a window pass with too few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it moved less than {} bytes a second for {} seconds", PACE_BYTES_PER_SECOND, PACE_WINDOW.as_secs())]
pub struct TooSlow;

impl From<TooSlow> for io::Error {
    fn from(slow: TooSlow) -> Self {
        Self::new(io::ErrorKind::TimedOut, slow)
    }
}

/// A connection whose other side must take what is sent to it at a pace.
#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    pace: Pace,
    /// Since when the other side has taken nothing.
    stuck: Option<Stuck>,
}

#[derive(Debug)]
struct Stuck {
    since: Instant,
    limit: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    /// Judges how this connection's other side takes what is written.
    pub fn new(inner: S) -> Self {
        Self { inner, pace: Pace::default(), stuck: None }
    }

    /// Ends a wait that moved `bytes`.
    fn moved(&mut self, bytes: usize) -> io::Result<()> {
        let waited = self.stuck.take().map_or(Duration::ZERO, |stuck| stuck.since.elapsed());
        if self.pace.note(waited, bytes as u64) { Ok(()) } else { Err(TooSlow.into()) }
    }

    /// Begins a wait, or goes on with it for as long as each window that ends in it had bytes enough of its own.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let remaining = self.pace.remaining();
            let stuck = self.stuck.get_or_insert_with(|| Stuck {
                since: Instant::now(),
                limit: Box::pin(tokio::time::sleep(remaining)),
            });
            ready!(stuck.limit.as_mut().poll(cx));
            if let Err(slow) = self.moved(0) {
                return Poll::Ready(slow);
            }
        }
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
        assert_eq!(pace.remaining(), Duration::from_secs(1));
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

    /// Writes without an end to a reader that takes `bytes` at a time, every so often. Returns how long that went well.
    async fn written_to(bytes: usize, every: Duration) -> Duration {
        let (near, mut far) = tokio::io::duplex(1000);
        let (mut paced, start) = (Paced::new(near), Instant::now());
        let reading = async {
            let mut buffer = vec![0; bytes];
            loop {
                tokio::time::sleep(every).await;
                far.read_exact(&mut buffer).await.unwrap();
            }
        };
        let writing = async { while paced.write_all(&[0; 8 << 10]).await.is_ok() {} };
        tokio::select! {
            () = writing => {}
            () = reading => {}
            () = tokio::time::sleep(4 * PACE_WINDOW) => {}
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn s7_a_slow_reader_is_never_cut_off_and_a_slower_one_at_the_end_of_a_window() {
        let slowest = usize::try_from(PACE_BYTES_PER_SECOND).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(written_to(2 * slowest, second).await, 4 * PACE_WINDOW);
        assert_eq!(written_to(28 * 2 * slowest, 28 * second).await, 4 * PACE_WINDOW, "in gulps");
        assert_eq!(written_to(slowest / 2, second).await.as_secs(), PACE_WINDOW.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn s7_every_step_of_a_transfer_is_judged_with_the_window_that_it_ends_in() {
        let least = usize::try_from(PACE_BYTES_PER_SECOND * PACE_WINDOW.as_secs()).unwrap();
        let mut pace = Pace::default();
        let mut step = async |seconds, bytes| {
            pace.keep(tokio::time::sleep(Duration::from_secs(seconds)), |()| bytes).await
        };
        for _ in 0..3 {
            step(29, least).await.unwrap();
            step(1, 0).await.unwrap();
        }
        step(20, least).await.unwrap();
        let start = Instant::now();
        assert_eq!(step(3600, least).await, Err(TooSlow), "silence");
        assert_eq!(start.elapsed().as_secs(), 10 + 30, "the rest of one window, and all of the next");
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
