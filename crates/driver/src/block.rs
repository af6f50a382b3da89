//! The trait that a block driver implements.

use crate::{
    Adopted, Errno, Event, Info, Io, Params, Parked, Pdu, Port, Prepare, Request, Result, State, Submitted,
};

/// The hardware that a driver is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// `bus:id`; empty where there is none.
    pub hwid: &'a str,
    /// Revision; 0 where there is none.
    pub revision: u32,
}

/// A block driver. The value is one port; it lies in the port's arena.
///
/// Life of a port: `prepare`, `connect`, any number of requests, `disconnect`, then either the value
/// is dropped or `reconnect` and on again. Everything from `connect` to `disconnect` happens on the
/// queues' threads; nothing is called while another call for the same queue is inside, and nothing
/// that takes `&mut self` while any other call for the port is inside.
pub trait Block: Sized + Send + Sync + 'static {
    /// Parameters; `()` for none.
    type Params: Params;
    /// State for the next driver; `()` for none.
    type State: State;
    /// Private bytes of each request; `()` for none.
    type Pdu: Pdu;
    /// What each queue has for itself, in the queue's arena; `()` for nothing.
    type Queue: Default + Send;

    /// Name, version, features: the manifest.
    const INFO: Info;

    /// May this driver serve that hardware?
    fn probe(probe: &Probe<'_>) -> Result<()> {
        let _ = probe;
        Ok(())
    }

    /// Gets everything ready while another driver may be serving the port: opens handles, makes
    /// regions, checks parameters.
    fn prepare(cx: &mut Prepare<'_>, params: Self::Params) -> Result<Self>;

    /// Takes the port over and announces its devices. `state` is what the driver before left; there is
    /// none at the first attach. Within the pause, so no opening and no waiting.
    fn connect(&mut self, cx: &mut Port<'_>, state: Option<Self::State>) -> Result<()>;

    /// Lets the port go. What it returns is left with the shell in every schema that it knows.
    /// The value stays, and `reconnect` may come.
    fn disconnect(&mut self, cx: &mut Port<'_>) -> Result<Self::State>;

    /// Takes the port back after `disconnect`, because the replacement failed.
    fn reconnect(&mut self, cx: &mut Port<'_>, state: Option<Self::State>) -> Result<()> {
        self.connect(cx, state)
    }

    /// Makes a queue ready. Within the pause: no operation can be issued yet.
    fn queue_start(&self, io: &mut Io<'_, Self>) -> Result<Self::Queue> {
        let _ = io;
        Ok(Self::Queue::default())
    }

    /// The swap is final: start the operations and timers that belong to the port and not to a
    /// request. Before any request or event.
    fn queue_run(&self, queue: &mut Self::Queue, io: &mut Io<'_, Self>) {
        let _ = (queue, io);
    }

    /// A request. Answer it by what is returned: `req.done()`, `req.fail(errno)`, or `req.pending()`
    /// after issuing an operation for it.
    fn submit<'q>(
        &self,
        queue: &mut Self::Queue,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
    ) -> Submitted<'q>;

    /// The shell has submitted what it has for now: time to issue what was gathered.
    fn commit(&self, queue: &mut Self::Queue, io: &mut Io<'_, Self>) {
        let _ = (queue, io);
    }

    /// An operation of a request has completed.
    fn event<'q>(
        &self,
        queue: &mut Self::Queue,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        let _ = (queue, io, event);
        req.fail(Errno::NOSYS)
    }

    /// An operation of the port has completed.
    fn port_event(&self, queue: &mut Self::Queue, io: &mut Io<'_, Self>, event: Event) {
        let _ = (queue, io, event);
    }

    /// A timer has run out.
    fn timer(&self, queue: &mut Self::Queue, io: &mut Io<'_, Self>, id: u32) {
        let _ = (queue, io, id);
    }

    /// Give a pending request up early if that can be done; it is still to be answered exactly once
    /// (with [`Io::unpark`] and [`Request::complete`], now or later).
    fn abort(&self, queue: &mut Self::Queue, io: &mut Io<'_, Self>, parked: Parked) {
        let _ = (queue, io, parked);
    }

    /// A request that another driver issued, its PDU of `schema`, is now this driver's: convert the
    /// PDU. Called before the first event. The same schema needs no conversion, so the default is
    /// right for drivers that adopt only their own.
    fn adopt(&self, queue: &mut Self::Queue, req: &Adopted<'_, Self>, schema: &str) -> Result<(), Errno> {
        let _ = (queue, req);
        if schema == <Self::Pdu as Pdu>::SCHEMA { Ok(()) } else { Err(Errno::OPNOTSUPP) }
    }

    /// The driver keeps requests waiting that it has not begun, and can return them: `hand_back` is
    /// there. That makes the mode *split* possible, and *adopt* for such a driver.
    const HANDS_BACK: bool = false;

    /// The port is about to change drivers: return every request that was not begun, in the order in
    /// which they came, with [`Io::give_back`].
    fn hand_back(&self, queue: &mut Self::Queue, io: &mut Io<'_, Self>) {
        let _ = (queue, io);
    }

    /// The state can be written while the driver serves: `save_state` is there.
    const SAVES_STATE: bool = false;

    /// What `disconnect` would return, without letting the port go.
    fn save_state(&self, cx: &mut Port<'_>) -> Result<Self::State> {
        let _ = cx;
        Err(crate::Error::new(Errno::OPNOTSUPP, "the state cannot be written while the driver serves"))
    }

    /// A live parameter has changed; `params` has every current value.
    fn param_changed(&mut self, cx: &mut Port<'_>, name: &str, params: Self::Params) -> Result<()> {
        let _ = (cx, params);
        Err(crate::Error::new(Errno::OPNOTSUPP, format!("parameter {name} can't be changed live")))
    }
}
