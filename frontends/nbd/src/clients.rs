//! The clients of a server: how many there may be, who they are, and how one is sent away.
//!
//! A client's numbers are written by the thread of its queue, once in a turn of the loop, and read by the control
//! plane; nobody waits for anybody. The lock is taken when a client comes, moves to another queue, and goes.

use crate::peer::{Group, Origin, Peer};
use crate::server::NbdOptions;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use steadfast_runtime::{Engine, FrontendId};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All clients of one server.
#[derive(Debug)]
pub(crate) struct Clients {
    options: NbdOptions,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    records: BTreeMap<u64, Arc<Record>>,
    groups: HashMap<Group, usize>,
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMany {
    /// As many as the server takes.
    InAll(usize),
    /// As many as it takes of one user, process or host.
    Of(Group, usize),
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TooMany::InAll(most) => write!(f, "there are {most} clients (nbd.max_clients)"),
            TooMany::Of(group, most) => {
                let key = match group {
                    Group::User(_) => "user",
                    Group::Process(_) => "process",
                    Group::Host(_) => "address",
                };
                write!(f, "{group} has {most} connections (nbd.max_clients_per_{key})")
            }
        }
    }
}

impl Clients {
    pub(crate) fn new(options: NbdOptions) -> Clients {
        Clients { options, all: Mutex::default() }
    }

    pub(crate) fn options(&self) -> &NbdOptions {
        &self.options
    }

    /// Clients connected now, those in their handshake included.
    pub(crate) fn count(&self) -> usize {
        lock(&self.all).records.len()
    }

    /// Takes a client in, unless there are as many as may be.
    pub(crate) fn enter(self: &Arc<Clients>, peer: Peer) -> Result<Counted, TooMany> {
        let mut all = lock(&self.all);
        if all.records.len() >= self.options.max_clients {
            return Err(TooMany::InAll(self.options.max_clients));
        }
        for group in peer.origin().groups() {
            let most = self.most(group);
            if all.groups.get(&group).is_some_and(|count| *count >= most) {
                return Err(TooMany::Of(group, most));
            }
        }
        for group in peer.origin().groups() {
            *all.groups.entry(group).or_default() += 1;
        }
        let record = Arc::new(Record::new(peer));
        all.records.insert(record.peer.number(), record.clone());
        Ok(Counted { clients: self.clone(), record })
    }

    fn most(&self, group: Group) -> usize {
        match group {
            Group::User(_) => self.options.max_clients_per_user,
            Group::Process(_) => self.options.max_clients_per_process,
            Group::Host(_) => self.options.max_clients_per_address,
        }
    }

    fn leave(&self, record: &Record) {
        let mut all = lock(&self.all);
        all.records.remove(&record.peer.number());
        for group in record.peer.origin().groups() {
            if let Some(count) = all.groups.get_mut(&group) {
                *count -= 1;
                if *count == 0 {
                    all.groups.remove(&group);
                }
            }
        }
    }

    /// Every client as it is now, in the order in which they came.
    pub(crate) fn list(&self) -> Vec<ClientInfo> {
        let records: Vec<_> = lock(&self.all).records.values().cloned().collect();
        records.iter().map(|record| record.info()).collect()
    }

    /// Those that use devices of this port, for people.
    pub(crate) fn names(&self, port: &str) -> Vec<String> {
        let of_port = |device: &str| device.split_once('.').map_or(device, |(port, _)| port) == port;
        let all = self.list();
        let of_it = all.iter().filter(|client| client.device.as_deref().is_some_and(of_port));
        of_it.map(|client| format!("client {}, {}", client.id, client.origin)).collect()
    }

    /// One client as it is now.
    pub(crate) fn get(&self, number: u64) -> Option<ClientInfo> {
        let record = lock(&self.all).records.get(&number).cloned();
        record.map(|record| record.info())
    }

    /// Asks a client's connection to end; false where there is no such client.
    pub(crate) fn disconnect(&self, engine: &Engine, number: u64, at_once: bool) -> bool {
        let Some(record) = lock(&self.all).records.get(&number).cloned() else { return false };
        record.asked.fetch_max(if at_once { AT_ONCE } else { POLITELY }, Ordering::Relaxed);
        // Without a place it is on its way between two queues, and looks when it arrives.
        if let Some((queue, frontend)) = lock(&record.seat).place {
            // Should the number be another frontend's by then, that one looks in vain.
            engine.post(queue, Box::new(move |rt| rt.mark_dirty(frontend)));
        }
        true
    }
}

const POLITELY: u8 = 1;
const AT_ONCE: u8 = 2;

/// What somebody wants of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing.
    Nothing,
    /// To take no more requests, answer those that it has, and close.
    End,
    /// To close.
    Close,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Record {
    peer: Peer,
    since: SystemTime,
    seat: Mutex<Seat>,
    asked: AtomicU8,
    in_flight: AtomicU32,
    slots: AtomicU32,
    unsent: AtomicU32,
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

#[derive(Debug, Default)]
struct Seat {
    device: Option<String>,
    place: Option<(usize, FrontendId)>,
}

/// A connection's numbers, as its thread has them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) in_flight: u32,
    pub(crate) slots: u32,
    pub(crate) unsent: u32,
    pub(crate) requests: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Record {
    fn new(peer: Peer) -> Record {
        Record {
            peer,
            since: SystemTime::now(),
            seat: Mutex::default(),
            asked: AtomicU8::new(0),
            in_flight: AtomicU32::new(0),
            slots: AtomicU32::new(0),
            unsent: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// It is a frontend of that queue from now on.
    pub(crate) fn sit(&self, queue: usize, frontend: FrontendId) {
        lock(&self.seat).place = Some((queue, frontend));
    }

    /// It leaves that place.
    pub(crate) fn stand_up(&self) {
        lock(&self.seat).place = None;
    }

    /// It uses that device from now on.
    pub(crate) fn uses(&self, device: &str) {
        lock(&self.seat).device = Some(device.to_owned());
    }

    /// What is wanted of it.
    #[inline]
    pub(crate) fn asked(&self) -> Asked {
        match self.asked.load(Ordering::Relaxed) {
            0 => Asked::Nothing,
            POLITELY => Asked::End,
            _ => Asked::Close,
        }
    }

    /// Its numbers are these now.
    #[inline]
    pub(crate) fn publish(&self, numbers: Numbers) {
        self.in_flight.store(numbers.in_flight, Ordering::Relaxed);
        self.slots.store(numbers.slots, Ordering::Relaxed);
        self.unsent.store(numbers.unsent, Ordering::Relaxed);
        self.requests.store(numbers.requests, Ordering::Relaxed);
        self.received.store(numbers.received, Ordering::Relaxed);
        self.sent.store(numbers.sent, Ordering::Relaxed);
    }

    fn info(&self) -> ClientInfo {
        let seat = lock(&self.seat);
        ClientInfo {
            id: self.peer.number(),
            origin: self.peer.origin().clone(),
            device: seat.device.clone(),
            queue: seat.place.map(|(queue, _)| queue),
            since: self.since,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            slots: self.slots.load(Ordering::Relaxed),
            unsent: self.unsent.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            bytes_received: self.received.load(Ordering::Relaxed),
            bytes_sent: self.sent.load(Ordering::Relaxed),
        }
    }
}

/// One client as it is now.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// Its number; never used twice while the server runs.
    pub id: u64,
    /// Who is at the other end.
    pub origin: Origin,
    /// The device that it uses; none while it is in its handshake.
    pub device: Option<String>,
    /// The queue that serves it.
    pub queue: Option<usize>,
    /// When it connected.
    pub since: SystemTime,
    /// Slots of requests that are with the device.
    pub in_flight: u32,
    /// Slots that it has in all: with the device, being filled, and with data that it has not taken.
    pub slots: u32,
    /// Answers that it has not taken.
    pub unsent: u32,
    /// Requests that it has made.
    pub requests: u64,
    /// Bytes that came from it.
    pub bytes_received: u64,
    /// Bytes that went to it.
    pub bytes_sent: u64,
}

/// A client that is counted; it has gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    clients: Arc<Clients>,
    record: Arc<Record>,
}

impl Counted {
    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    pub(crate) fn options(&self) -> &NbdOptions {
        self.clients.options()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.clients.leave(&self.record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn clients(options: NbdOptions) -> Arc<Clients> {
        Arc::new(Clients::new(options))
    }

    /// Ourselves.
    fn peer(number: u64) -> Peer {
        let (socket, _other) = UnixStream::pair().expect("a pair");
        Peer::of(&socket, number)
    }

    #[test]
    fn clients_are_bounded_in_all_and_of_each_peer() {
        let all = clients(NbdOptions { max_clients: 1, ..NbdOptions::default() });
        let one = all.enter(peer(1)).expect("counted");
        assert_eq!(all.enter(peer(2)).expect_err("full"), TooMany::InAll(1));
        drop(one);
        let two = all.enter(peer(3)).expect("there is room again");
        assert_eq!((all.count(), two.record().info().id), (1, 3));

        let few = clients(NbdOptions { max_clients_per_process: 2, ..NbdOptions::default() });
        let _some = [few.enter(peer(1)).expect("one"), few.enter(peer(2)).expect("two")];
        let refused = few.enter(peer(3)).expect_err("a third of this process");
        let process = Group::Process(std::process::id() as i32);
        assert_eq!(refused, TooMany::Of(process, 2));
        assert!(refused.to_string().contains("nbd.max_clients_per_process"), "{refused}");
        let few = clients(NbdOptions { max_clients_per_user: 1, ..NbdOptions::default() });
        let _one = few.enter(peer(1)).expect("one");
        assert!(matches!(few.enter(peer(2)), Err(TooMany::Of(Group::User(_), 1))));
    }

    #[test]
    fn whoever_has_gone_is_counted_nowhere() {
        let all = clients(NbdOptions::default());
        for number in 0..10 {
            drop(all.enter(peer(number)).expect("counted"));
        }
        assert!(all.list().is_empty() && lock(&all.all).groups.is_empty());
        assert!(all.get(3).is_none());
    }

    #[test]
    fn a_client_is_shown_as_it_is() {
        let all = clients(NbdOptions::default());
        let one = all.enter(peer(7)).expect("counted");
        one.record().uses("vol0");
        one.record().publish(Numbers {
            in_flight: 1,
            slots: 2,
            unsent: 3,
            requests: 4,
            received: 5,
            sent: 6,
        });
        let info = all.get(7).expect("there");
        assert_eq!(info.device.as_deref(), Some("vol0"));
        assert_eq!((info.in_flight, info.slots, info.unsent), (1, 2, 3));
        assert_eq!((info.requests, info.bytes_received, info.bytes_sent), (4, 5, 6));
        assert!(matches!(info.origin, Origin::Process { pid, .. } if pid == std::process::id() as i32));
    }
}
