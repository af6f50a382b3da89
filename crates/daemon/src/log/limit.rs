//! How many lines somebody may bring about: every client, all clients together, and every port.
//!
//! No lock is waited for: a queue's thread asks.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::Event;
use tracing::field::{Field, Visit};

/// Buckets; clients and ports share them by hash.
const BUCKETS: usize = 512;
/// Most names that are told apart of whom lines were held back.
const NAMES: usize = 64;

/// Lines at once, and how long it takes until there may be one more.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u64,
    every: Duration,
}

/// One client, by its address without its port or by its process.
const CLIENT: Rate = Rate { burst: 60, every: Duration::from_millis(500) };
/// All clients together.
const CLIENTS: Rate = Rate { burst: 600, every: Duration::from_millis(25) };
/// One port, by what its driver and its queues say.
const PORT: Rate = Rate { burst: 200, every: Duration::from_millis(100) };

/// Decides which lines are written.
#[derive(Debug)]
pub(super) struct Limiter {
    begin: Instant,
    /// When each would be empty again, nanoseconds since `begin`.
    buckets: Vec<AtomicU64>,
    clients: AtomicU64,
    limited: AtomicU64,
    held_back: Mutex<BTreeMap<String, u64>>,
    /// Held back while somebody else had the names.
    unnamed: AtomicU64,
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter {
            begin: Instant::now(),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            clients: AtomicU64::new(0),
            limited: AtomicU64::new(0),
            held_back: Mutex::default(),
            unnamed: AtomicU64::new(0),
        }
    }
}

impl Limiter {
    /// Whether this line may be written; counts it where it may not.
    pub(super) fn allows(&self, event: &Event<'_>) -> bool {
        let mut who = Who::default();
        event.record(&mut who);
        let now = self.begin.elapsed().as_nanos() as u64;
        if !who.client.is_empty() {
            return self.client(now, identity(&who.client));
        }
        let runtime = event.metadata().target().starts_with("steadfast_runtime");
        if !runtime || who.port.is_empty() {
            return true;
        }
        let allowed = take(self.bucket("port", &who.port), now, PORT);
        if !allowed {
            self.hold_back(format!("port {}", who.port));
        }
        allowed
    }

    fn client(&self, now: u64, name: &str) -> bool {
        let allowed = take(self.bucket("client", name), now, CLIENT) && take(&self.clients, now, CLIENTS);
        if !allowed {
            self.hold_back(format!("client {name}"));
        }
        allowed
    }

    fn bucket(&self, kind: &str, name: &str) -> &AtomicU64 {
        let mut hasher = DefaultHasher::new();
        (kind, name).hash(&mut hasher);
        &self.buckets[hasher.finish() as usize % BUCKETS]
    }

    #[cold]
    fn hold_back(&self, name: String) {
        self.limited.fetch_add(1, Ordering::Relaxed);
        match self.held_back.try_lock() {
            Ok(mut names) if names.len() < NAMES || names.contains_key(&name) => {
                *names.entry(name).or_default() += 1;
            }
            _ => {
                self.unnamed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Lines held back since the start.
    pub(super) fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }

    /// Whose lines were held back since the last call, and how many.
    pub(super) fn take(&self) -> BTreeMap<String, u64> {
        let mut names = match self.held_back.lock() {
            Ok(mut names) => std::mem::take(&mut *names),
            Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
        };
        match self.unnamed.swap(0, Ordering::Relaxed) {
            0 => {}
            count => *names.entry("others".to_owned()).or_default() += count,
        }
        names
    }
}

/// Takes one from a bucket that holds `rate.burst` and gets one more every `rate.every`.
fn take(bucket: &AtomicU64, now: u64, rate: Rate) -> bool {
    let every = rate.every.as_nanos() as u64;
    let latest = now + every * (rate.burst - 1);
    let one_more = |empty: u64| (empty <= latest).then(|| empty.max(now) + every);
    bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
}

/// Who a client is, however many connections it makes: its name in lines without the connection's number
/// and without the port that it chose.
fn identity(client: &str) -> &str {
    let inner = client.split_once('(').map_or(client, |(_, rest)| rest.trim_end_matches(')'));
    match inner.starts_with("tcp:") {
        true => inner.rsplit_once(':').map_or(inner, |(host, _)| host),
        false => inner,
    }
}

/// The fields of a line that say on whose account it is.
#[derive(Default)]
struct Who {
    client: String,
    port: String,
}

impl Visit for Who {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "client" => self.client.push_str(value),
            "port" => self.port.push_str(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "client" => write!(self.client, "{value:?}"),
            "port" => write!(self.port, "{value:?}"),
            _ => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_one_however_often_it_comes() {
        assert_eq!(identity("#12 (tcp:10.0.0.1:5678)"), "tcp:10.0.0.1");
        assert_eq!(identity("#12 (tcp:[::1]:5678)"), "tcp:[::1]");
        assert_eq!(identity("#3 (unix, process 77)"), "unix, process 77");
    }

    #[test]
    fn one_client_has_so_many_lines_and_takes_none_from_others() {
        let limiter = Limiter::default();
        let second = 1_000_000_000;
        let passed = (0..1000).filter(|_| limiter.client(second, "a")).count() as u64;
        assert_eq!(passed, CLIENT.burst);
        assert!(limiter.client(second, "b"));
        assert_eq!(limiter.take(), BTreeMap::from([("client a".to_owned(), 1000 - CLIENT.burst)]));
        assert!(limiter.take().is_empty());
        // After a while there may be some again, and never more than at first.
        let passed = (0..1000).filter(|_| limiter.client(3 * second, "a")).count();
        assert_eq!(passed, 4);
        let passed = (0..1000).filter(|_| limiter.client(3000 * second, "a")).count() as u64;
        assert_eq!(passed, CLIENT.burst);
    }

    #[test]
    fn all_clients_together_have_a_limit_and_names_too() {
        let limiter = Limiter::default();
        let passed = (0..10_000).filter(|n| limiter.client(1, &format!("{n}"))).count() as u64;
        assert!(passed <= CLIENTS.burst, "{passed}");
        let held = limiter.take();
        assert!(held.len() <= NAMES + 1);
        assert_eq!(held.values().sum::<u64>(), 10_000 - passed);
        assert_eq!(limiter.limited(), 10_000 - passed);
    }
}
