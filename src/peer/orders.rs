//! What the tracker asks for with every heartbeat until it is done: what it asks for now takes the place of what it asked
//! for before.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Orders of one kind, the most urgent first.
#[derive(Debug)]
pub(super) struct Orders<T> {
    queue: Mutex<VecDeque<T>>,
    new: Notify,
}

impl<T> Default for Orders<T> {
    fn default() -> Self {
        Self { queue: Mutex::default(), new: Notify::new() }
    }
}

impl<T> Orders<T> {
    /// Takes over what the tracker asks for now; what it no longer asks for is not begun any more.
    pub(super) fn replace(&self, orders: Vec<T>) {
        let is_any = !orders.is_empty();
        *self.queue.lock() = orders.into();
        if is_any {
            self.new.notify_one();
        }
    }

    /// The most urgent order, as soon as there is one.
    pub(super) async fn next(&self) -> T {
        loop {
            let first = self.queue.lock().pop_front();
            match first {
                Some(order) => return order,
                None => self.new.notified().await,
            }
        }
    }
}
