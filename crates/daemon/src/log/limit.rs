//! How many lines somebody may bring about: every client, all clients together, the driver of every port, and the
//! daemon itself on account of a port.
//!
//! What a driver says hides nothing that the daemon has to say of its port, and what the daemon has to say often hides
//! none of its errors.
//! No lock is waited for: a queue's thread asks.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use steadfast_runtime::DRIVER_LINES;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// Buckets of each kind; names of one kind share them by hash.
const BUCKETS: usize = 1024;
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
/// One port, by what its driver says, by what the daemon says of it, and by its errors: each for itself.
const PORT: Rate = Rate { burst: 200, every: Duration::from_millis(100) };

/// Buckets of one kind, which nobody outside can choose to share with another.
#[derive(Debug)]
struct Table {
    hashes: RandomState,
    /// When each would be empty again, nanoseconds since the limiter began.
    buckets: Vec<AtomicU64>,
}

impl Default for Table {
    fn default() -> Table {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Table { hashes: RandomState::new(), buckets }
    }
}

impl Table {
    fn bucket(&self, name: &str) -> &AtomicU64 {
        &self.buckets[self.hashes.hash_one(name) as usize % BUCKETS]
    }
}

/// Who says something of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    Driver,
    Daemon,
    /// An error of the daemon's own: that it cannot go back, that something was taken away by force.
    Error,
}

impl Voice {
    /// `None`: it is not on account of any port.
    fn of(metadata: &Metadata<'_>) -> Option<Voice> {
        match metadata.target() {
            DRIVER_LINES => Some(Voice::Driver),
            target if !target.starts_with("steadfast_runtime") => None,
            _ if *metadata.level() == Level::ERROR => Some(Voice::Error),
            _ => Some(Voice::Daemon),
        }
    }
}

/// Decides which lines are written.
#[derive(Debug)]
pub(super) struct Limiter {
    begin: Instant,
    client: Table,
    /// When the one of all clients would be empty again.
    clients: AtomicU64,
    driver: Table,
    daemon: Table,
    errors: Table,
    limited: AtomicU64,
    held_back: Mutex<BTreeMap<String, u64>>,
    /// Held back while somebody else had the names.
    unnamed: AtomicU64,
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter {
            begin: Instant::now(),
            client: Table::default(),
            clients: AtomicU64::new(0),
            driver: Table::default(),
            daemon: Table::default(),
            errors: Table::default(),
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
        match Voice::of(event.metadata()) {
            Some(voice) if !who.port.is_empty() => self.port(now, &who.port, voice),
            _ => true,
        }
    }

    fn client(&self, now: u64, name: &str) -> bool {
        let allowed = take(self.client.bucket(name), now, CLIENT) && take(&self.clients, now, CLIENTS);
        if !allowed {
            self.hold_back(format!("client {name}"));
        }
        allowed
    }

    fn port(&self, now: u64, name: &str, voice: Voice) -> bool {
        let (table, whose) = match voice {
            Voice::Driver => (&self.driver, "the driver of "),
            Voice::Daemon => (&self.daemon, ""),
            Voice::Error => (&self.errors, "errors of "),
        };
        let allowed = take(table.bucket(name), now, PORT);
        if !allowed {
            self.hold_back(format!("{whose}port {name}"));
        }
        allowed
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
    fn what_a_driver_says_hides_nothing_that_the_daemon_has_to_say() {
        let limiter = Limiter::default();
        let said = |port: &str, voice| (0..1000).filter(|_| limiter.port(1, port, voice)).count() as u64;
        assert_eq!(said("vol0", Voice::Driver), PORT.burst);
        assert_eq!(said("vol0", Voice::Daemon), PORT.burst);
        assert!(limiter.port(1, "vol0", Voice::Error), "it cannot go back");
        assert_eq!(said("vol0", Voice::Error), PORT.burst - 1);
        let held = limiter.take();
        assert_eq!(held.get("the driver of port vol0"), Some(&(1000 - PORT.burst)), "{held:?}");
    }

    #[test]
    fn clients_take_nothing_from_ports_whatever_they_are_called() {
        let limiter = Limiter::default();
        // Enough to fill every bucket that there is.
        for n in 0..20 * BUCKETS {
            let name = format!("{n}");
            let bucket = limiter.client.bucket(&name);
            while take(bucket, 1, CLIENT) {}
        }
        assert!(!limiter.client(1, "one more"));
        for voice in [Voice::Driver, Voice::Daemon, Voice::Error] {
            assert!(limiter.port(1, "vol0", voice), "{voice:?}");
        }
    }

    #[test]
    fn who_speaks_is_told_by_where_it_is_said() {
        use std::sync::{Arc, Mutex};
        use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

        struct Notes(Arc<Mutex<Vec<Option<Voice>>>>);
        impl<S: tracing::Subscriber> Layer<S> for Notes {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                self.0.lock().expect("not poisoned").push(Voice::of(event.metadata()));
            }
        }

        let notes = Arc::new(Mutex::default());
        let subscriber = tracing_subscriber::registry().with(Notes(Arc::clone(&notes)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: DRIVER_LINES, port = "vol0", driver = "x", "said by it");
            tracing::error!(target: "steadfast_runtime::first", port = "vol0", "it goes back");
            tracing::warn!(target: "steadfast_runtime::job", port = "vol0", "it waits");
            tracing::error!(target: "steadfast_daemon::app", port = "vol0", "not of the runtime");
        });
        let told = notes.lock().expect("not poisoned").clone();
        assert_eq!(told, [Some(Voice::Driver), Some(Voice::Error), Some(Voice::Daemon), None]);
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
