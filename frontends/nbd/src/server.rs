//! The server: listens, counts, greets.

use crate::clients::{ClientInfo, Clients};
use crate::greet::{Door, greet};
use crate::listen::{BoundAddr, ListenAddr, Listener, NbdError};
use crate::peer::Peer;
use crate::share::Ledgers;
use crate::socket;
use io_uring::{opcode, types};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use steadfast_runtime::{ClientNames, Engine, Frontend, FrontendId, LaneId, Reactor, Tag};
use steadfast_sockets::Access;

/// The queue that accepts.
const ACCEPT_QUEUE: usize = 0;
/// Pause after accepting failed, for example for want of descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Descriptors that no client gets: those that updates, files and the control API need.
const RESERVED_DESCRIPTORS: u64 = 64;
/// About clients that are turned away the log has one line in this time.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// The completion flag that says that a multishot operation goes on.
const MORE: u32 = 1 << 1;

mod token {
    pub(super) const ACCEPT: u32 = 0;
    pub(super) const BACK_OFF: u32 = 1;
}

/// Where a server listens.
#[derive(Debug, Default)]
pub struct Doors {
    /// Addresses to bind.
    pub listen: Vec<ListenAddr>,
    /// Who may connect to the Unix sockets among them.
    pub access: Access,
    /// Sockets that listen already, as a service manager passes them on.
    pub inherited: Vec<OwnedFd>,
}

/// Bounds of a server.
#[derive(Clone, Debug)]
pub struct NbdOptions {
    /// Most clients at a time, those in their handshake included; more are turned away.
    pub max_clients: usize,
    /// Most of them of one user, through Unix sockets.
    pub max_clients_per_user: usize,
    /// Most of them of one process, through Unix sockets.
    pub max_clients_per_process: usize,
    /// Most of them of one host, over TCP: an IPv4 address, or an IPv6 network of 64 bits.
    pub max_clients_per_address: usize,
    /// Time for a whole handshake.
    pub handshake_timeout: Duration,
    /// How long a client may take none of the replies that wait for it; then its connection is closed.
    pub send_timeout: Duration,
}

impl Default for NbdOptions {
    fn default() -> Self {
        NbdOptions {
            max_clients: 1024,
            max_clients_per_user: 768,
            max_clients_per_process: 256,
            max_clients_per_address: 256,
            handshake_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(30),
        }
    }
}

/// A running NBD server. It ends with its engine.
#[derive(Debug)]
pub struct NbdServer {
    engine: Engine,
    addresses: Vec<BoundAddr>,
    clients: Arc<Clients>,
}

impl NbdServer {
    /// Listens on every address of `doors` and serves the devices of `engine` by their names.
    pub fn start(engine: &Engine, doors: Doors, options: NbdOptions) -> Result<NbdServer, NbdError> {
        let inherited =
            doors.inherited.into_iter().map(Listener::inherited).collect::<Result<Vec<_>, _>>()?;
        let mut wanted = doors.listen;
        // What is configured and was passed on too is there already.
        wanted.retain(|address| !address.is_among(&inherited));
        let mut listeners = Listener::bind_all(&wanted, doors.access)?;
        listeners.extend(inherited);
        if listeners.is_empty() {
            return Err(NbdError::NoAddress);
        }
        let addresses = listeners.iter().map(|l| l.address.clone()).collect();
        let clients = Arc::new(Clients::new(options));
        let known = clients.clone();
        engine.name_clients(ClientNames::new(move |port| known.names(port)));
        let ledgers = Arc::new(Ledgers::default());
        let numbers = Arc::new(AtomicU64::new(1));
        for listener in listeners {
            let acceptor = Acceptor {
                engine: engine.clone(),
                listener: Some(listener),
                clients: clients.clone(),
                ledgers: ledgers.clone(),
                numbers: numbers.clone(),
                turned_away: TurnedAway::default(),
                accepting: false,
                backing_off: false,
                stopping: false,
            };
            engine.post(ACCEPT_QUEUE, Box::new(move |rt| acceptor.begin(rt)));
        }
        Ok(NbdServer { engine: engine.clone(), addresses, clients })
    }

    /// Where it listens, with the ports that the system chose.
    pub fn addresses(&self) -> &[BoundAddr] {
        &self.addresses
    }

    /// Clients connected now, those in their handshake included.
    pub fn clients(&self) -> usize {
        self.clients.count()
    }

    /// Every client as it is now, in the order in which they came.
    pub fn client_list(&self) -> Vec<ClientInfo> {
        self.clients.list()
    }

    /// One client as it is now.
    pub fn client(&self, id: u64) -> Option<ClientInfo> {
        self.clients.get(id)
    }

    /// Asks for the end of a client's connection: what it has in flight is answered before that, unless it is to close
    /// `at_once`. It has gone when [`NbdServer::client`] knows it no more. False where there is no such client.
    pub fn disconnect(&self, id: u64, at_once: bool) -> bool {
        self.clients.disconnect(&self.engine, id, at_once)
    }
}

struct Acceptor {
    engine: Engine,
    /// Gone once there is nothing to accept any more.
    listener: Option<Listener>,
    clients: Arc<Clients>,
    ledgers: Arc<Ledgers>,
    numbers: Arc<AtomicU64>,
    turned_away: TurnedAway,
    accepting: bool,
    backing_off: bool,
    stopping: bool,
}

/// Clients that were turned away since the log last said so.
#[derive(Default)]
struct TurnedAway {
    count: u64,
    said: Option<Instant>,
}

impl TurnedAway {
    /// Whoever connects again and again must not fill the log.
    fn say(&mut self, peer: &Peer, why: &dyn std::fmt::Display) {
        self.count += 1;
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            tracing::warn!(client = %peer, "turned away: {why}; {} in all since the last such line", self.count);
            *self = TurnedAway { count: 0, said: Some(Instant::now()) };
        }
    }
}

impl Acceptor {
    fn begin(self, rt: &mut Reactor) {
        if let Some(listener) = &self.listener {
            tracing::info!(address = %listener.address, "listening");
        }
        let me = rt.add_frontend(Box::new(self));
        rt.mark_dirty(me);
    }

    fn accepted(&mut self, rt: &mut Reactor, fd: i32) {
        let client = socket::accepted(fd);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let peer = Peer::of(&client, number);
        let Some(listener) = &self.listener else { return };
        let descriptors = socket::descriptors();
        // The system gives the lowest number that is free.
        if fd as u64 + RESERVED_DESCRIPTORS >= descriptors {
            let why =
                format!("{descriptors} descriptors are allowed (RLIMIT_NOFILE), and nearly all are used");
            return self.turned_away.say(&peer, &why);
        }
        let counted = match self.clients.enter(peer.clone()) {
            Ok(counted) => counted,
            Err(why) => return self.turned_away.say(&peer, &why),
        };
        let patience = self.clients.options().send_timeout;
        socket::tune(&client, matches!(listener.address, BoundAddr::Tcp(_)), patience);
        tracing::debug!(client = %peer, address = %listener.address, "accepted");
        let door = Door::new(self.engine.clone(), self.ledgers.clone());
        greet(rt, client, peer, counted, door);
    }

    fn failed(&mut self, rt: &mut Reactor, me: FrontendId, errno: i32) {
        if self.stopping || matches!(errno, libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
            return;
        }
        tracing::warn!("cannot accept a client: {}", socket::text(errno));
        if !self.backing_off {
            self.backing_off = true;
            rt.timeout(me, token::BACK_OFF, BACK_OFF);
        }
    }
}

impl Frontend for Acceptor {
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, token: u32, result: i32, flags: u32) {
        if token == token::ACCEPT {
            self.accepting = flags & MORE != 0;
            if result >= 0 {
                self.accepted(rt, result);
            } else {
                self.failed(rt, me, -result);
            }
        } else {
            self.backing_off = false;
        }
        rt.mark_dirty(me);
    }

    fn completed(&mut self, rt: &mut Reactor, _: FrontendId, lane: LaneId, tag: Tag, _: u64, _: i32) {
        // A listener submits nothing.
        rt.free(lane, tag);
    }

    fn slots_available(&mut self, _: &mut Reactor, _: FrontendId) {}

    fn flush(&mut self, rt: &mut Reactor, me: FrontendId) {
        if !self.stopping {
            if !self.accepting
                && !self.backing_off
                && let Some(listener) = &self.listener
            {
                let fd = types::Fd(listener.socket.as_raw_fd());
                let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
                self.accepting = true;
                // SAFETY: the operation uses no memory; the socket stays open until it completes.
                unsafe { rt.push(me, token::ACCEPT, entry) };
            }
            return;
        }
        if self.accepting {
            rt.cancel(me, token::ACCEPT);
        }
        if self.backing_off {
            rt.cancel(me, token::BACK_OFF);
        }
        if !self.accepting && !self.backing_off {
            self.listener = None;
            rt.remove_frontend(me);
        }
    }

    fn lane_gone(&mut self, _: &mut Reactor, _: FrontendId, _: LaneId) {
        // No lane is ours.
    }

    fn stop(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.stopping = true;
        rt.mark_dirty(me);
    }
}
