//! `parcelry tracker`: runs a tracker.

use std::path::{Path, PathBuf};

use super::serving;
use crate::cli::TrackerArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::task::{EndRequests, Tasks};
use crate::tls::web_certificate::WebCertificate;
use crate::tracker::{self, TrackerConfig};

/// Runs a tracker until it is asked to end.
pub(super) async fn run(
    context: &Context,
    data: &Path,
    tasks: &Tasks,
    args: TrackerArgs,
) -> Result<(), Failure> {
    let mut ends = EndRequests::listen()?;
    let data = args.data.unwrap_or_else(|| data.join("tracker"));
    let certificate = args.certificate.zip(args.certificate_key);
    let config = TrackerConfig {
        listen: args.listen,
        data: data.clone(),
        public_url: args.public_url,
        rules: serving::rules(&args.liveness)?,
        certificate: certificate.map(|(chain, key)| WebCertificate { chain, key }),
        proxies: args.behind_proxy,
        hosts: args.host_name,
        gateway_bytes_per_second: args.gateway_rate.as_u64(),
    };
    let tracker = tracker::start(config, tasks).await?;
    let head = format!("The tracker listens on {}; others reach it at {}.", tracker.address, tracker.url);
    // If what it is reached at cannot be written, nobody learns of it: it ends, but in order.
    let told = serving::tell_ready(context, &[head], &tracker, &data, 0);
    if told.is_ok() {
        serving::until_asked_to_end(context, &mut ends).await;
    }
    serving::stop_with(tracker.stop(), &mut ends).await.and(told)
}

/// The directory of the tracker that runs here: the one that was named, else that of `parcelry tracker`, else
/// that of `parcelry up`.
pub(super) fn directory_here(data: &Path, named: Option<PathBuf>) -> PathBuf {
    let usual = data.join("tracker");
    let up = data.join("up").join("tracker");
    named.unwrap_or_else(|| if !usual.exists() && up.exists() { up } else { usual })
}
