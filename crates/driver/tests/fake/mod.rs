//! Just enough of a shell to load one module and call its entry points: one port, one queue, four
//! slots, no ring.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use steadfast_abi as abi;

const SLOTS: u32 = 4;
const DATA: u32 = 4096;

/// What the shell remembers.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) log: Vec<String>,
    pub(crate) completed: Vec<(u32, i32)>,
    pub(crate) issued: Vec<(u32, u32)>,
    pub(crate) state: HashMap<String, Vec<u8>>,
    pub(crate) choices: HashMap<String, (u64, String)>,
    pub(crate) devices: Vec<u64>,
}

/// A page-aligned piece of memory, and what lies in it.
#[repr(C, align(4096))]
struct Page([u8; 16384]);

/// One loaded module and one port of it.
pub(crate) struct Fake {
    library: *mut c_void,
    pub(crate) path: PathBuf,
    driver: *const abi::Driver,
    pub(crate) port: Box<abi::Port>,
    pub(crate) queue: Box<abi::Queue>,
    memory: *mut Memory,
    _pages: Vec<Box<Page>>,
}

impl Fake {
    pub(crate) fn load(module: &Path) -> Fake {
        // A path of its own, as the loader does, so that the maps tell this copy from others.
        static COPIES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let copy = COPIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{copy}.so", std::process::id()));
        std::fs::copy(module, &path).unwrap_or_else(|e| panic!("{}: {e}", module.display()));
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: plain calls of the dynamic linker; the module has no constructors that misbehave.
        let (library, driver) = unsafe {
            let library = libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            assert!(!library.is_null(), "dlopen failed: {}", path.display());
            (library, libc::dlsym(library, c"steadfast_driver".as_ptr()) as *const abi::Driver)
        };
        assert!(!driver.is_null(), "no steadfast_driver in {}", path.display());
        let mut pages: Vec<Box<Page>> = (0..5).map(|_| Box::new(Page([0; 16384]))).collect();
        let mut at = pages.iter_mut().map(|page| page.0.as_mut_ptr());
        let mut next = || at.next().unwrap();
        let memory = Box::into_raw(Box::<Memory>::default());
        let mut port = Box::new(abi::Port {
            size: size_of::<abi::Port>() as u32,
            number: 0,
            adapter: 0,
            queues: 1,
            shell: &SHELL,
            arena: next(),
            arena_size: 16384,
            features: u64::MAX,
            driver_data: 0,
            cx: memory.cast(),
        });
        let queue = Box::new(abi::Queue {
            size: size_of::<abi::Queue>() as u32,
            index: 0,
            port: &mut *port,
            shell: &SHELL,
            slots: next(),
            pdus: next(),
            data: next(),
            slot_stride: 64,
            pdu_stride: 64,
            data_stride: u64::from(DATA),
            data_size: DATA,
            slot_count: SLOTS,
            arena: next(),
            arena_size: 16384,
            driver_data: 0,
            cx: std::ptr::null_mut(),
        });
        Fake { library, path, driver, port, queue, memory, _pages: pages }
    }

    pub(crate) fn driver(&self) -> &abi::Driver {
        // SAFETY: the table lives until the module is unloaded, and that consumes `self`.
        unsafe { &*self.driver }
    }

    pub(crate) fn memory(&mut self) -> &mut Memory {
        // SAFETY: allocated in `load`; nobody else looks at it between two calls of the driver.
        unsafe { &mut *self.memory }
    }

    pub(crate) fn choose(&mut self, name: &str, index: u64, text: &str) {
        self.memory().choices.insert(name.into(), (index, text.into()));
    }

    fn call(&mut self, entry: Option<unsafe extern "C" fn(*mut abi::Port) -> i32>) -> i32 {
        // SAFETY: the port is live and the entry point is the module's.
        unsafe { entry.unwrap()(&mut *self.port) }
    }

    pub(crate) fn prepare(&mut self) -> i32 {
        self.call(self.driver().prepare)
    }

    pub(crate) fn connect(&mut self) -> i32 {
        let result = self.call(self.driver().connect);
        if result == 0 { self.start() } else { result }
    }

    pub(crate) fn reconnect(&mut self) -> i32 {
        let result = self.call(self.driver().reconnect);
        if result == 0 { self.start() } else { result }
    }

    fn start(&mut self) -> i32 {
        let start = self.driver().queue_start.unwrap();
        // SAFETY: the queue is live, on this thread.
        unsafe { start(&mut *self.queue) }
    }

    pub(crate) fn disconnect(&mut self) -> i32 {
        let stop = self.driver().queue_stop.unwrap();
        // SAFETY: the queue is live, on this thread.
        unsafe { stop(&mut *self.queue) };
        self.call(self.driver().disconnect)
    }

    pub(crate) fn submit(&mut self, tag: u32, op: u16, offset: u64) -> i32 {
        let slot = abi::Request { tag, op, offset, length: 512, serial: 1, ..abi::Request::default() };
        // SAFETY: the class table is `BlockOps`; the slot is one of the queue's.
        unsafe {
            let ops = &*self.driver().class_ops.cast::<abi::BlockOps>();
            let at = self.queue.slots.add(tag as usize * 64).cast::<abi::Request>();
            at.write(slot);
            ops.submit.unwrap()(&mut *self.queue, at)
        }
    }

    /// Completes the oldest operation in flight with `result`.
    pub(crate) fn event(&mut self, result: i64) {
        let (tag, id) = self.memory().issued.remove(0);
        let event = self.driver().event.unwrap();
        // SAFETY: the queue is live, on this thread; the tag is one of its slots.
        unsafe {
            let request = self.queue.slots.add(tag as usize * 64).cast::<abi::Request>();
            let raw = abi::Event {
                size: size_of::<abi::Event>() as u32,
                code: 0,
                flags: 0,
                tag,
                id,
                cookie: 0,
                result,
                request,
            };
            event(&mut *self.queue, &raw);
        }
    }

    /// Releases the port and unloads the module; true when no mapping of it is left.
    pub(crate) fn unload(mut self) -> bool {
        let release = self.driver().release.unwrap();
        // SAFETY: the last calls; nothing of the module is used after them.
        unsafe {
            release(&mut *self.port);
            assert_eq!(libc::dlclose(self.library), 0);
            drop(Box::from_raw(self.memory));
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let left = maps.contains(self.path.to_str().unwrap());
        let _ = std::fs::remove_file(&self.path);
        !left
    }
}

/// # Safety
/// `port` is one of a [`Fake`].
unsafe fn memory<'a>(port: *mut abi::Port) -> &'a mut Memory {
    // SAFETY: `cx` is the memory that `load` made.
    unsafe { &mut *(*port).cx.cast::<Memory>() }
}

/// # Safety
/// `s` is valid text.
unsafe fn text(s: abi::Str) -> String {
    // SAFETY: by the caller's promise.
    String::from_utf8(unsafe { s.bytes() }.to_vec()).unwrap()
}

unsafe extern "C" fn issue(queue: *mut abi::Queue, op: *const abi::Op) -> i32 {
    // SAFETY: called by the driver as the ABI says.
    unsafe {
        let issued = &mut memory((*queue).port).issued;
        issued.push(((*op).tag, issued.len() as u32));
        issued.len() as i32 - 1
    }
}

unsafe extern "C" fn complete(queue: *mut abi::Queue, tag: u32, result: i32) -> i32 {
    // SAFETY: called by the driver as the ABI says.
    unsafe { memory((*queue).port).completed.push((tag, result)) };
    0
}

unsafe extern "C" fn set_state(port: *mut abi::Port, schema: abi::Str, bytes: abi::Str) -> i32 {
    // SAFETY: called by the driver as the ABI says.
    unsafe { memory(port).state.insert(text(schema), bytes.bytes().to_vec()) };
    0
}

unsafe extern "C" fn get_state(port: *mut abi::Port, schema: abi::Str, bytes: *mut abi::Str) -> i32 {
    // SAFETY: called by the driver as the ABI says.
    unsafe {
        let Some(state) = memory(port).state.get(&text(schema)) else { return -libc::ENOENT };
        *bytes = abi::Str { ptr: state.as_ptr(), len: state.len() };
    }
    0
}

unsafe extern "C" fn announce(port: *mut abi::Port, device: *const abi::BlockDevice) -> i32 {
    // SAFETY: called by the driver as the ABI says.
    unsafe { memory(port).devices.push((*device).size) };
    0
}

unsafe extern "C" fn property(port: *mut abi::Port, name: abi::Str, value: *mut abi::Value) -> i32 {
    // SAFETY: called by the driver as the ABI says.
    unsafe {
        let choice = memory(port).choices.get(&text(name));
        (*value).kind = if choice.is_some() { abi::value_kind::ENUM } else { abi::value_kind::NONE };
        if let Some((index, text)) = choice {
            (*value).number = *index;
            (*value).text = abi::Str::new(text);
        }
    }
    0
}

unsafe extern "C" fn log(port: *mut abi::Port, _: u32, message: abi::Str) {
    // SAFETY: called by the driver as the ABI says.
    unsafe { memory(port).log.push(text(message)) };
}

static SHELL: abi::ShellOps = abi::ShellOps {
    size: size_of::<abi::ShellOps>() as u32,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    issue: Some(issue),
    cancel: None,
    complete: Some(complete),
    timer: None,
    set_state: Some(set_state),
    get_state: Some(get_state),
    announce: Some(announce),
    withdraw: None,
    open: None,
    close: None,
    handle_info: None,
    region: None,
    property: Some(property),
    log: Some(log),
    now: None,
    give_back: None,
    reduce: None,
    complete_serial: None,
    complete_many: None,
    issue_many: None,
    map_data: None,
    table: None,
    dma: None,
};
