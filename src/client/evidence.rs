//! What a peer shows for what it says: the receipt for what it keeps, and proofs that it has it.

use std::time::Duration;

use parcelry_core::api::{AuditRequest, CommitResponse, ProblemKind, Proof, Question, Verdict, questions};
use parcelry_core::chunk_set::ChunkSet;
use parcelry_core::limits::{FIRST_PROOF_PATIENCE, FIRST_SAMPLES};
use parcelry_core::manifest::Manifest;
use parcelry_core::receipt::{Receipt, ReceiptError};
use tokio::time::Instant;

use super::error::{BoxError, Reworded};
use super::{ClientError, PeerClient, with_retries};

/// What a commit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Everything is on stable storage: the peer's receipt.
    All(String),
    /// Nothing was kept, for these chunks are not there.
    Missing(ChunkSet),
}

impl PeerClient {
    /// What this peer's answer to a commit of these chunks says. One without a receipt for them is none.
    pub fn kept(
        &self,
        answer: CommitResponse,
        manifest: &Manifest,
        chunks: &ChunkSet,
    ) -> Result<Kept, ClientError> {
        let protocol = |what: BoxError| ClientError::protocol(self.name(), what);
        if answer.missing.chunk_count() != chunks.chunk_count() {
            return Err(protocol("a set of another number of chunks".into()));
        }
        if !answer.missing.is_empty() {
            return Ok(Kept::Missing(answer.missing));
        }
        let token = answer.receipt.ok_or_else(|| protocol("no receipt".into()))?;
        let confirmed = Receipt::verify(&token).and_then(|receipt| {
            let confirmed = receipt.confirms(manifest.share(), manifest.digest(), chunks.chunk_count())?;
            // Another peer's receipt may be good, but whoever passes it on has shown nothing of its own.
            let is_right = receipt.peer() == self.id() && confirmed.contains_all(chunks);
            if is_right { Ok(()) } else { Err(ReceiptError::Other) }
        });
        confirmed.map_err(|error| {
            let words = format!("a receipt that does not count: {error}");
            protocol(Reworded::new(words, error).into())
        })?;
        Ok(Kept::All(token))
    }

    /// Has the peer prove some of what it gave a receipt for, chosen by chance only now. One that is too busy is asked
    /// again for a while, one that does not answer a few times.
    pub async fn prove(&self, manifest: &Manifest, chunks: &ChunkSet) -> Result<(), ClientError> {
        let asked = questions(manifest, chunks, FIRST_SAMPLES, random_below);
        let request =
            AuditRequest { samples: asked.iter().map(|question| question.sample).collect(), for_drop: false };
        let give_up = Instant::now() + FIRST_PROOF_PATIENCE;
        let mut pause = PAUSE_MIN;
        loop {
            match with_retries(|| self.audit(&request)).await {
                Ok(answer) => return self.judge(&asked, &answer.proofs),
                Err(error) if is_busy(&error) && Instant::now() + pause < give_up => {
                    tracing::debug!(peer = self.name(), %error, "asked for proof again in a while");
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn judge(&self, asked: &[Question], proofs: &[Proof]) -> Result<(), ClientError> {
        for (question, proof) in asked.iter().zip(proofs) {
            let what = match proof.judge(&question.sample, question.len) {
                Verdict::Proven => continue,
                Verdict::NotHeld => "says so itself",
                Verdict::Wrong => "shows something else",
            };
            let root = question.sample.root;
            return Err(ClientError::Refuted {
                server: self.name().to_owned(),
                what: format!("{root}: it {what}"),
            });
        }
        Ok(())
    }
}

/// Pauses between questions to a peer that is too busy.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Whether the peer only has too much to do.
fn is_busy(error: &ClientError) -> bool {
    matches!(error.problem(), Some(ProblemKind::TooManyRequests | ProblemKind::Unavailable))
}

/// A random number below `bound`, good enough to be unforeseen: the little that it favours small ones is below one in
/// a billion.
fn random_below(bound: u64) -> u64 {
    // Without random bytes the system could not have made keys, either.
    getrandom::u64().map_or(0, |random| random % bound.max(1))
}
