//! Attempts at a server that may only be busy for a moment.

use std::future::Future;
use std::time::Duration;

use super::ClientError;

/// Pauses between attempts to reach a server again before it counts as a failure.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// Tries again what did not reach its server, a few times.
pub async fn with_retries<T, F>(attempt: impl Fn() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    for pause in RETRY_AFTER {
        match attempt().await {
            Err(ClientError::Unreachable { .. }) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    attempt().await
}
