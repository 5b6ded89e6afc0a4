//! Who may speak plain HTTP for others. Names are looked up again and again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parcelry_core::address::canonical;
use parcelry_core::proxy::Declared;
use parking_lot::RwLock;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Pause between two look-ups of a name.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);
/// The port of a look-up, which needs one.
const ANY_PORT: u16 = 0;

/// The declared proxies of a server, with the addresses that their names have now.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    declared: Arc<[Declared]>,
    found: Arc<RwLock<BTreeSet<IpAddr>>>,
}

impl Proxies {
    /// Those that were declared. Their names have no addresses until they are looked up.
    pub fn new(declared: Vec<Declared>) -> Self {
        Self { declared: declared.into(), found: Arc::default() }
    }

    /// Whether a machine is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.declared.iter().any(|proxy| proxy.covers(ip)) || self.found.read().contains(&ip)
    }

    /// Looks the names up again and again; `first` goes when they were once, or need not be. An answer that does not come
    /// holds up no stop.
    pub(super) async fn keep_looking_up(self, stop: CancellationToken, first: oneshot::Sender<()>) {
        let mut first = Some(first);
        while self.names().next().is_some() {
            let look = async {
                self.look_up().await;
                drop(first.take());
                tokio::time::sleep(LOOK_UP_EVERY).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = look => {}
            }
        }
    }

    /// Takes the addresses that the names have now. As long as one has none, the earlier ones of all stay.
    async fn look_up(&self) {
        let mut found = BTreeSet::new();
        for name in self.names() {
            match tokio::net::lookup_host((name, ANY_PORT)).await {
                Ok(addresses) => found.extend(addresses.map(|address| canonical(address.ip()))),
                Err(error) => {
                    tracing::warn!(%name, %error, "cannot look up a proxy's address");
                    found.extend(self.found.read().iter().copied());
                }
            }
        }
        *self.found.write() = found;
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().filter_map(|proxy| match proxy {
            Declared::Name(name) => Some(name.as_str()),
            Declared::Network(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Tasks, blocking};

    #[tokio::test]
    async fn a_name_has_the_addresses_that_are_found_and_keeps_them_while_none_are() {
        let proxies = Proxies::new(vec!["localhost".parse().unwrap()]);
        let is_home = |proxies: &Proxies| {
            let both: [IpAddr; 2] = [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
            both.into_iter().any(|ip| proxies.contains(ip))
        };
        assert!(!is_home(&proxies));
        proxies.look_up().await;
        assert!(is_home(&proxies));
        let declared = vec!["no.such.host.invalid".parse().unwrap()];
        let lost = Proxies { declared: declared.into(), ..proxies };
        lost.look_up().await;
        assert!(is_home(&lost));
    }

    #[test]
    fn a_look_up_that_hangs_holds_up_no_stop() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // The only thread for look-ups has something else to do.
            let (release, released) = std::sync::mpsc::channel::<()>();
            let tasks = Tasks::default();
            let busy = tasks.spawn("busy", blocking(move || released.recv()));
            let (proxies, stop) =
                (Proxies::new(vec!["localhost".parse().unwrap()]), CancellationToken::new());
            let (first, mut looked_up) = oneshot::channel();
            let keeping = tasks.spawn("proxies", proxies.keep_looking_up(stop.clone(), first));
            tokio::task::yield_now().await;
            assert_eq!(looked_up.try_recv(), Err(oneshot::error::TryRecvError::Empty));
            stop.cancel();
            tokio::time::timeout(Duration::from_secs(30), keeping).await.unwrap().unwrap();
            drop(release);
            busy.await.unwrap().unwrap_err();
        });
    }

    #[tokio::test]
    async fn who_waits_for_the_first_look_up_waits_no_longer() {
        for (name, is_found) in [("localhost", true), ("no.such.host.invalid", false), ("192.0.2.1", false)] {
            let (proxies, stop) = (Proxies::new(vec![name.parse().unwrap()]), CancellationToken::new());
            let (first, looked_up) = oneshot::channel();
            let looking = proxies.clone().keep_looking_up(stop.clone(), first);
            let keeping = Tasks::default().spawn("proxies", looking);
            tokio::time::timeout(Duration::from_secs(60), looked_up).await.unwrap().unwrap_err();
            assert_eq!(!proxies.found.read().is_empty(), is_found, "{name}");
            stop.cancel();
            keeping.await.unwrap();
        }
    }
}
