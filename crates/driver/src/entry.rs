//! The entry points that the shell calls: from the C ABI to the [`Block`] trait and back.
//!
//! Protocol. The port's value lies at the start of the port's arena and is live from a successful
//! `prepare` (`Port::driver_data` is 1) to `release` (0). A queue's value lies at the start of the
//! queue's arena and is live from a successful `queue_start` (`Queue::driver_data` is the address of
//! the port's value) to `queue_stop` (0). Nothing outside this file reads or writes those words.

use crate::panic::{guard, install_hook};
use crate::request::complete;
use crate::{
    Adopted, Block, Errno, Error, Event, Io, Params, Parked, Pdu, Port, Prepare, Request, Result, State,
};
use std::ffi::c_void;
use std::marker::PhantomData;
use steadfast_abi as abi;

/// What lies in the port's arena.
pub(crate) struct PortCell<D> {
    driver: D,
}

/// Page size: what the shell aligns arenas to.
const ARENA_ALIGN: usize = 4096;

/// The tables of `D`.
struct Table<D>(PhantomData<D>);

impl<D: Block> Table<D> {
    const FITS: () = {
        assert!(align_of::<PortCell<D>>() <= ARENA_ALIGN, "the driver's alignment is above a page");
        assert!(align_of::<D::Queue>() <= ARENA_ALIGN, "the queue's alignment is above a page");
        assert!(align_of::<D::Pdu>() <= 64, "the PDU's alignment is above 64");
        assert!(
            size_of::<D::Pdu>() == 0 || !<D::Pdu as Pdu>::SCHEMA.is_empty(),
            "a PDU needs a schema: #[pdu(schema = \"NAME/1\")]"
        );
    };

    const BLOCK: &'static abi::BlockOps = &abi::BlockOps {
        size: size_of::<abi::BlockOps>() as u32,
        reserved: 0,
        submit: Some(submit::<D>),
        commit: Some(commit::<D>),
        abort: Some(abort::<D>),
        submit_many: None,
    };
}

/// The entry-point table of `D`; for [`export!`](crate::export).
#[doc(hidden)]
pub const fn table<D: Block>(manifest: &'static [u8]) -> abi::Driver {
    let () = Table::<D>::FITS;
    abi::Driver {
        size: size_of::<abi::Driver>() as u32,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        class: abi::class::BLOCK,
        pdu_size: size_of::<D::Pdu>() as u32,
        manifest: abi::Str { ptr: manifest.as_ptr(), len: manifest.len() },
        probe: Some(probe::<D>),
        prepare: Some(prepare::<D>),
        connect: Some(connect::<D>),
        disconnect: Some(disconnect::<D>),
        reconnect: Some(reconnect::<D>),
        release: Some(release::<D>),
        queue_start: Some(queue_start::<D>),
        queue_stop: Some(queue_stop::<D>),
        event: Some(event::<D>),
        timer: Some(timer::<D>),
        adopt: Some(adopt::<D>),
        param_changed: Some(param_changed::<D>),
        class_ops: (Table::<D>::BLOCK as *const abi::BlockOps).cast::<c_void>(),
        queue_run: Some(queue_run::<D>),
        hand_back: if D::HANDS_BACK { Some(hand_back::<D>) } else { None },
        event_answer: None,
        events: None,
        save_state: if D::SAVES_STATE { Some(save_state::<D>) } else { None },
    }
}

/// Runs an entry point that answers with an error number; errors and panics go to the log.
///
/// # Safety
/// `port` is null or live.
unsafe fn control(port: *mut abi::Port, entry: &str, body: impl FnOnce() -> Result<()>) -> i32 {
    // SAFETY: by the caller's promise.
    match unsafe { guard(port, entry, body) } {
        Some(Ok(())) => 0,
        Some(Err(e)) => {
            // SAFETY: by the caller's promise.
            unsafe { crate::log::write(port, crate::Level::Error, format_args!("{entry}: {e}")) };
            e.errno().code()
        }
        None => Errno::NOTRECOVERABLE.code(),
    }
}

/// # Safety
/// `text` is valid UTF-8 that lives for `'a`, or empty.
unsafe fn text<'a>(text: abi::Str) -> &'a str {
    // SAFETY: by the caller's promise.
    std::str::from_utf8(unsafe { text.bytes() }).unwrap_or("")
}

/// Where the value of type `T` lies in an arena.
fn place<T>(arena: *mut u8) -> *mut T {
    if size_of::<T>() == 0 { std::ptr::without_provenance_mut(align_of::<T>()) } else { arena.cast::<T>() }
}

/// The port's value, if there is one.
///
/// # Safety
/// `port` is live and nobody else is inside the driver for it.
unsafe fn driver_mut<'a, D: Block>(port: *mut abi::Port) -> Result<&'a mut D> {
    // SAFETY: the value is live while `driver_data` is set; the caller promises to be alone.
    unsafe {
        if (*port).driver_data == 0 {
            return Err(Error::new(Errno::INVAL, "called before prepare"));
        }
        Ok(&mut (*place::<PortCell<D>>((*port).arena)).driver)
    }
}

/// The port's value and the queue's.
///
/// # Safety
/// `queue` is live, started, and entered on this thread only; nobody is in a call that takes the
/// port's value mutably.
#[inline(always)]
unsafe fn parts<'a, D: Block>(queue: *mut abi::Queue) -> (&'a D, &'a mut D::Queue) {
    // SAFETY: `driver_data` is the address of the live port value, the queue's value is live in its
    // arena, and only this thread uses it.
    unsafe {
        let driver = std::ptr::with_exposed_provenance::<D>((*queue).driver_data as usize);
        (&*driver, &mut *place::<D::Queue>((*queue).arena))
    }
}

unsafe extern "C" fn probe<D: Block>(probe: *const abi::Probe) -> i32 {
    install_hook();
    // SAFETY: the shell passes a live `Probe`; no port is there yet.
    unsafe {
        control(std::ptr::null_mut(), "probe", || {
            D::probe(&crate::Probe { hwid: text((*probe).hwid), revision: (*probe).revision })
        })
    }
}

unsafe extern "C" fn prepare<D: Block>(port: *mut abi::Port) -> i32 {
    install_hook();
    // SAFETY: the shell passes a live port that no driver value lives in yet.
    unsafe {
        control(port, "prepare", || {
            let wanted = size_of::<PortCell<D>>() as u64;
            if (*port).arena_size < wanted {
                let text = format!("arena of {} bytes, {wanted} are needed", (*port).arena_size);
                return Err(Error::new(Errno::NOMEM, text));
            }
            let mut cx = Prepare { port: Port::new(port) };
            let params = D::Params::load(&cx)?;
            let driver = D::prepare(&mut cx, params)?;
            place::<PortCell<D>>((*port).arena).write(PortCell { driver });
            (*port).driver_data = 1;
            Ok(())
        })
    }
}

/// # Safety
/// `port` is live and nobody else is inside the driver for it.
unsafe fn take_over<D: Block>(
    port: *mut abi::Port,
    entry: &str,
    body: impl FnOnce(&mut D, &mut Port<'_>, Option<D::State>) -> Result<()>,
) -> i32 {
    // SAFETY: by the caller's promise.
    unsafe {
        control(port, entry, || {
            let mut cx = Port::new(port);
            let state = D::State::load(&|schema| cx.get_state(schema))?;
            body(driver_mut::<D>(port)?, &mut cx, state)
        })
    }
}

unsafe extern "C" fn connect<D: Block>(port: *mut abi::Port) -> i32 {
    // SAFETY: the shell holds the port while it calls this.
    unsafe { take_over::<D>(port, "connect", |driver, cx, state| driver.connect(cx, state)) }
}

unsafe extern "C" fn reconnect<D: Block>(port: *mut abi::Port) -> i32 {
    // SAFETY: the shell holds the port while it calls this.
    unsafe { take_over::<D>(port, "reconnect", |driver, cx, state| driver.reconnect(cx, state)) }
}

unsafe extern "C" fn disconnect<D: Block>(port: *mut abi::Port) -> i32 {
    // SAFETY: the shell holds the port while it calls this.
    unsafe {
        control(port, "disconnect", || {
            let mut cx = Port::new(port);
            let state = driver_mut::<D>(port)?.disconnect(&mut cx)?;
            state.save(&mut |schema, bytes| cx.set_state(schema, bytes))
        })
    }
}

unsafe extern "C" fn save_state<D: Block>(port: *mut abi::Port) -> i32 {
    // SAFETY: the shell holds the port while it calls this.
    unsafe {
        control(port, "save_state", || {
            let mut cx = Port::new(port);
            let state = driver_mut::<D>(port)?.save_state(&mut cx)?;
            state.save(&mut |schema, bytes| cx.set_state(schema, bytes))
        })
    }
}

unsafe extern "C" fn hand_back<D: Block>(queue: *mut abi::Queue) -> i32 {
    // SAFETY: the shell passes a live, started queue on its own thread.
    unsafe {
        control((*queue).port, "hand_back", || {
            let (driver, local) = parts::<D>(queue);
            driver.hand_back(local, &mut Io::new(queue));
            Ok(())
        })
    }
}

unsafe extern "C" fn release<D: Block>(port: *mut abi::Port) {
    // SAFETY: the shell's last call for the port; the value is live if `driver_data` says so.
    unsafe {
        if (*port).driver_data != 0 {
            (*port).driver_data = 0;
            let cell = place::<PortCell<D>>((*port).arena);
            guard(port, "release", || cell.drop_in_place());
        }
    }
}

unsafe extern "C" fn queue_start<D: Block>(queue: *mut abi::Queue) -> i32 {
    // SAFETY: the shell passes a live queue on its own thread, after `connect` or `reconnect`.
    unsafe {
        queue_stop::<D>(queue);
        let port = (*queue).port;
        control(port, "queue_start", || {
            if (*queue).arena_size < size_of::<D::Queue>() as u64 {
                return Err(Error::new(Errno::NOMEM, "the queue's arena is smaller than the manifest says"));
            }
            let driver: *const D = driver_mut::<D>(port)?;
            let value = (*driver).queue_start(&mut Io::new(queue))?;
            // What a driver before the last `queue_stop` left there is not this one's.
            let spare = crate::io::spare_offset::<D>();
            if let Some(bytes) = ((*queue).arena_size as usize).checked_sub(spare) {
                (*queue).arena.add(spare).write_bytes(0, bytes);
            }
            place::<D::Queue>((*queue).arena).write(value);
            (*queue).driver_data = driver.expose_provenance() as u64;
            Ok(())
        })
    }
}

unsafe extern "C" fn queue_stop<D: Block>(queue: *mut abi::Queue) {
    // SAFETY: the queue is live, on its own thread; its value is live if `driver_data` says so.
    unsafe {
        if (*queue).driver_data != 0 {
            (*queue).driver_data = 0;
            let value = place::<D::Queue>((*queue).arena);
            guard((*queue).port, "queue_stop", || value.drop_in_place());
        }
    }
}

unsafe extern "C" fn queue_run<D: Block>(queue: *mut abi::Queue) {
    // SAFETY: the shell passes a live, started queue on its own thread.
    unsafe {
        guard((*queue).port, "queue_run", || {
            let (driver, local) = parts::<D>(queue);
            driver.queue_run(local, &mut Io::new(queue));
        });
    }
}

unsafe extern "C" fn submit<D: Block>(queue: *mut abi::Queue, request: *mut abi::Request) -> i32 {
    // SAFETY: the shell passes a live, started queue on its own thread and a slot that is the
    // driver's from here on.
    unsafe {
        let op = (*request).op;
        if !(abi::block_op::READ..=abi::block_op::STATUS).contains(&op) {
            return Errno::OPNOTSUPP.code();
        }
        let answer = guard((*queue).port, "submit", || {
            let (driver, local) = parts::<D>(queue);
            let mut io = Io::new(queue);
            driver.submit(local, &mut io, Request::new(queue, request)).into_code((*request).tag)
        });
        // After a panic the token, or the answer made from it, was dropped and has answered EIO.
        answer.unwrap_or(abi::PENDING)
    }
}

unsafe extern "C" fn commit<D: Block>(queue: *mut abi::Queue) {
    // SAFETY: the shell passes a live, started queue on its own thread.
    unsafe {
        guard((*queue).port, "commit", || {
            let (driver, local) = parts::<D>(queue);
            driver.commit(local, &mut Io::new(queue));
        });
    }
}

unsafe extern "C" fn abort<D: Block>(queue: *mut abi::Queue, request: *mut abi::Request) -> i32 {
    // SAFETY: the shell passes a live, started queue on its own thread and a slot of it.
    unsafe {
        let parked = Parked { tag: (*request).tag, serial: (*request).serial };
        guard((*queue).port, "abort", || {
            let (driver, local) = parts::<D>(queue);
            driver.abort(local, &mut Io::new(queue), parked);
        });
    }
    0
}

unsafe extern "C" fn event<D: Block>(queue: *mut abi::Queue, raw: *const abi::Event) {
    // SAFETY: the shell passes a live, started queue on its own thread, a live event, and in it null
    // or a slot that is the driver's.
    unsafe {
        guard((*queue).port, "event", || {
            let (driver, local) = parts::<D>(queue);
            let mut io = Io::new(queue);
            let event = Event::new(&*raw);
            let request = (*raw).request;
            if request.is_null() {
                return driver.port_event(local, &mut io, event);
            }
            let tag = (*request).tag;
            let code = driver.event(local, &mut io, Request::new(queue, request), event).into_code(tag);
            if code != abi::PENDING {
                complete(queue, tag, code);
            }
        });
    }
}

unsafe extern "C" fn timer<D: Block>(queue: *mut abi::Queue, id: u32) {
    // SAFETY: the shell passes a live, started queue on its own thread.
    unsafe {
        guard((*queue).port, "timer", || {
            let (driver, local) = parts::<D>(queue);
            driver.timer(local, &mut Io::new(queue), id);
        });
    }
}

unsafe extern "C" fn adopt<D: Block>(
    queue: *mut abi::Queue,
    request: *mut abi::Request,
    schema: abi::Str,
) -> i32 {
    // SAFETY: the shell passes a live, started queue on its own thread, a slot that is the driver's
    // from here on, and text that lives during the call.
    unsafe {
        control((*queue).port, "adopt", || {
            let (driver, local) = parts::<D>(queue);
            let schema = text(schema);
            driver
                .adopt(local, &Adopted::new(Request::new(queue, request)), schema)
                .map_err(|e| Error::new(e, format!("request {} with PDU {schema}: {e}", (*request).tag)))
        })
    }
}

unsafe extern "C" fn param_changed<D: Block>(port: *mut abi::Port, name: abi::Str) -> i32 {
    // SAFETY: the shell holds the port while it calls this; the name lives during the call.
    unsafe {
        control(port, "param_changed", || {
            let mut cx = Port::new(port);
            let params = D::Params::load(&cx)?;
            driver_mut::<D>(port)?.param_changed(&mut cx, text(name), params)
        })
    }
}
