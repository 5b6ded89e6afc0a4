//! Keeps work at a number of bytes a second, so that others have the rest.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A rate that work keeps to. Work of a size is admitted when all before it would be done at that rate.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Throttle {
    /// At most this many bytes a second; at least one.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until work on so many bytes may begin. Whoever does not wait to the end takes nothing of the rate.
    pub async fn admit(&self, bytes: u64) {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        let takes = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().await;
        let begins = (*free_at).max(Instant::now());
        tokio::time::sleep_until(begins).await;
        *free_at = begins + takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_keeps_to_its_rate() {
        let (throttle, start) = (Throttle::new(1000), Instant::now());
        for _ in 0..10 {
            throttle.admit(500).await;
        }
        assert_eq!(start.elapsed().as_millis(), 4500, "the first begins at once");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = Instant::now();
        throttle.admit(500).await;
        assert_eq!(later.elapsed().as_millis(), 0, "what was not used is not owed");
        throttle.admit(1).await;
        assert_eq!(later.elapsed().as_millis(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_queue_takes_nothing() {
        let (throttle, start) = (Throttle::new(1000), Instant::now());
        throttle.admit(500).await;
        for _ in 0..10 {
            let leaves = tokio::time::timeout(Duration::from_millis(1), throttle.admit(100_000));
            assert!(leaves.await.is_err());
        }
        throttle.admit(1).await;
        assert_eq!(start.elapsed().as_millis(), 500);
    }
}
