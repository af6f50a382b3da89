/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * steadfast.h - the binary interface between the Steadfast shell and its drivers, in C.
 *
 * A driver is one shared object with two things in it that the shell looks for:
 *
 *   - the ELF section ".steadfast.manifest": text that says what the driver is and what it needs.
 *     It is read from the file; no code of the module runs for it. See STEADFAST_MANIFEST below;
 *   - the data symbol `steadfast_driver` of type sf_driver: the table of entry points.
 *
 * Rules:
 *
 *   - Every structure that crosses the boundary by pointer begins with its own size. Fields are only
 *     ever appended. Who reads one copies the smaller of both sizes and takes the rest as zero.
 *   - Functions return 0 or a number on success, and a negative errno otherwise.
 *   - A driver is code only. Slots, data buffers, private bytes of a request (PDU), arenas, regions,
 *     handles, timers and operations in flight are the shell's, and outlive the driver. A driver has
 *     no threads, no file descriptors, no thread-locals, and no heap that must survive.
 *
 * Who calls what, and from where:
 *
 *   probe, prepare, release            a control thread; the port is served by another driver, or not
 *   connect, disconnect, reconnect,    a queue's thread, or one of the shell's for this call; the port
 *   queue_start, queue_stop, adopt,    is held: nobody is in submit, event or timer on any queue
 *   param_changed, save_state
 *   hand_back                          the thread of the queue passed; the port is held, nobody is in
 *                                      another entry point on this queue
 *   submit, commit, abort, event,      the thread of the queue passed; the port is running
 *   timer, queue_run
 *
 * Nothing is entered twice at the same time on one queue; two queues of one port may be inside at
 * once. Shell calls that take a queue may be made only from that queue's thread.
 *
 * A test compiles this file against the Rust definitions in crates/abi, which say more.
 */
#ifndef STEADFAST_H
#define STEADFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface. Drivers of another major version are refused. */
#define SF_ABI_MAJOR 1
#define SF_ABI_MINOR 1

/* What submit returns when it will call complete later. */
#define SF_PENDING INT32_MAX
/* "No request": the tag of an operation that belongs to the port and not to a request. */
#define SF_NO_TAG UINT32_MAX

/* ---- The manifest ------------------------------------------------------------------------------
 *
 *   STEADFAST_MANIFEST(
 *       STEADFAST_ENTRY("name", "null")
 *       STEADFAST_ENTRY("version", "1.0.0")
 *       STEADFAST_ENTRY("class", "block")
 *       STEADFAST_ENTRY("feature", "flush")
 *       STEADFAST_ENTRY("param.size", "size")
 *       STEADFAST_ENTRY("param.size.default", "1G"));
 *
 *   key                      value                                                        times
 *   name                     lower-case letters, digits, '-'; 1 to 32 of them             once
 *                            (not devices, instances or profiles: other files' names)
 *   version                  semantic version                                             once
 *   class                    block                                                        once
 *   about                    one line for people                                          at most once
 *   hwid                     bus:id with '*' as wildcard, @MIN-MAX revisions behind it    any
 *   state.write, state.read  state schema NAME/N that it can write, read; best first      any
 *   pdu                      SCHEMA:BYTES, its private bytes per request                  at most once
 *   pdu.adopt                PDU schema of another driver that it can take over           any
 *   memory.port              NEEDED:WANTED bytes of arena per port                        at most once
 *   memory.queue             NEEDED:WANTED bytes of arena per queue of a port             at most once
 *   ops                      operations in flight per request, 0 to 16 (default 1)        at most once
 *   port-ops                 operations of no request, 0 to 1024 (default 0), per queue   at most once
 *   feature                  flush, fua, trim, write-zeroes, fast-zero, cache, status,
 *                            read-only, multi-conn, rotational                            any
 *   min_from                 oldest version of the same driver it can update from         at most once
 *   param.NAME               bool, u32, u64, i64, size, str, path, enum                   any
 *   param.NAME.range         MIN..=MAX, or a,b,c for enum
 *   param.NAME.default       value when undefined
 *   param.NAME.required      true: has no default and must be given
 *   param.NAME.unit          unit for people
 *   param.NAME.class         live, reinit (default), reload
 *   param.NAME.scope         port (default), adapter
 *   param.NAME.help          one line for people
 *   x-state                  cbor: the state is a CBOR map with text keys, and is checked when handed on
 */
#define STEADFAST_ENTRY(key, value) key "=" value "\0"
#define SF_TEXT_OF_(major, minor) #major "." #minor
#define SF_TEXT_OF(major, minor) SF_TEXT_OF_(major, minor)
#define STEADFAST_MANIFEST(...)                                                   \
    __attribute__((section(".steadfast.manifest"), used, aligned(1)))             \
    static const char steadfast_manifest[] =                                      \
        STEADFAST_ENTRY("manifest", "1") STEADFAST_ENTRY("abi", SF_TEXT_OF(SF_ABI_MAJOR, SF_ABI_MINOR)) __VA_ARGS__
/* The manifest as sf_driver.manifest wants it. */
#define STEADFAST_MANIFEST_STR { steadfast_manifest, sizeof steadfast_manifest }
/* Before the definition of `steadfast_driver`, the one symbol that a module exports. */
#define STEADFAST_EXPORT __attribute__((visibility("default")))

/* ---- Basics ------------------------------------------------------------------------------------ */

/* Text (UTF-8) or bytes, not NUL-terminated; ptr may be null when len is 0. */
typedef struct sf_str {
    const char *ptr;
    size_t len;
} sf_str;

/* Borrows a string literal. */
#define SF_STR(literal) ((sf_str){ (literal), sizeof(literal) - 1 })

/* Device classes: sf_driver.class_id. */
enum sf_class {
    SF_CLASS_BLOCK = 1,       /* the class table is sf_block_ops */
    SF_CLASS_FILE_SYSTEM = 2, /* reserved */
    SF_CLASS_NETWORK = 3      /* reserved */
};

typedef struct sf_shell_ops sf_shell_ops;

/* One port as one driver sees it: an instance of an adapter. The shell's; valid from prepare to the
 * end of release. The running driver and a candidate each have a port and an arena of their own. */
typedef struct sf_port {
    uint32_t size;
    uint32_t number;  /* within its adapter */
    uint32_t adapter;
    uint32_t queues;  /* that the port is spread over */
    const sf_shell_ops *shell;
    uint8_t *arena;       /* this driver's memory for the port; zeroed at first, page-aligned */
    uint64_t arena_size;  /* at least the manifest's NEEDED, at most its WANTED */
    uint64_t features;    /* that the shell lets the driver use */
    uint64_t driver_data; /* the driver's; zero before prepare */
    void *cx;             /* the shell's own */
} sf_port;

/* One queue of one port. Slots, PDUs and data buffers are addressed by tag: see sf_slot, sf_pdu,
 * sf_data. */
typedef struct sf_queue {
    uint32_t size;
    uint32_t index; /* within the port */
    sf_port *port;
    const sf_shell_ops *shell;
    uint8_t *slots;       /* first sf_request */
    uint8_t *pdus;        /* first PDU, 64-byte aligned */
    uint8_t *data;        /* first data buffer, page-aligned */
    uint32_t slot_stride; /* bytes from one slot to the next */
    uint32_t pdu_stride;
    uint64_t data_stride;
    uint32_t data_size;  /* usable bytes of one data buffer */
    uint32_t slot_count; /* tags run below it */
    uint8_t *arena;      /* this driver's memory for the queue; zeroed at first, page-aligned */
    uint64_t arena_size;
    uint64_t driver_data; /* the driver's; zero before queue_start */
    void *cx;             /* the shell's own */
} sf_queue;

/* ---- Requests ---------------------------------------------------------------------------------- */

/* One request in its slot: the driver's from submit until it completes it, exactly once. */
typedef struct sf_request {
    uint32_t tag;    /* number of the slot in its queue */
    uint32_t device; /* device within the port */
    uint16_t op;     /* enum sf_block_op */
    uint16_t flags;  /* enum sf_block_flag */
    uint32_t serial; /* counts the uses of the slot */
    uint64_t offset; /* first byte on the device */
    uint64_t length; /* bytes */
    uint64_t submitted_ns; /* monotonic; 0 where it was not measured */
    uint64_t reserved[2];
} sf_request;

/* What a request asks of a block device. */
enum sf_block_op {
    SF_BLOCK_READ = 1,
    SF_BLOCK_WRITE = 2,
    SF_BLOCK_FLUSH = 3,        /* all that was completed before is durable when this completes */
    SF_BLOCK_TRIM = 4,         /* not needed any more; may read as anything until written */
    SF_BLOCK_WRITE_ZEROES = 5, /* reads as zeroes afterwards */
    SF_BLOCK_CACHE = 6,        /* bring into cache */
    SF_BLOCK_STATUS = 7        /* fill the data buffer with sf_extents; the result is their number */
};

enum sf_block_flag {
    SF_BLOCK_FUA = 1 << 0,      /* durable when it completes */
    SF_BLOCK_NO_HOLE = 1 << 1,  /* write zeroes without punching holes */
    SF_BLOCK_FAST_ONLY = 1 << 2 /* write zeroes only if quick; else -EOPNOTSUPP */
};

/* Features of a block device: sf_block_device.features. */
enum sf_block_feature {
    SF_FEATURE_FLUSH = 1 << 0,
    SF_FEATURE_FUA = 1 << 1,
    SF_FEATURE_TRIM = 1 << 2,
    SF_FEATURE_WRITE_ZEROES = 1 << 3,
    SF_FEATURE_FAST_ZERO = 1 << 4, /* obeys SF_BLOCK_FAST_ONLY */
    SF_FEATURE_CACHE = 1 << 5,
    SF_FEATURE_STATUS = 1 << 6,
    SF_FEATURE_READ_ONLY = 1 << 7,
    SF_FEATURE_MULTI_CONN = 1 << 8, /* a flush covers what was completed through any connection */
    SF_FEATURE_ROTATIONAL = 1 << 9
};

/* One answer of STATUS or EXTENTS; they follow one another without gaps. */
typedef struct sf_extent {
    uint64_t length; /* bytes */
    uint64_t flags;  /* enum sf_extent_flag */
} sf_extent;

enum sf_extent_flag {
    SF_EXTENT_HOLE = 1 << 0, /* not allocated */
    SF_EXTENT_ZERO = 1 << 1  /* reads as zeroes */
};

/* The request in slot `tag`. */
static inline sf_request *sf_slot(const sf_queue *queue, uint32_t tag) {
    return (sf_request *)(void *)(queue->slots + (size_t)tag * queue->slot_stride);
}

/* The private bytes of the request in slot `tag`. */
static inline void *sf_pdu(const sf_queue *queue, uint32_t tag) {
    return queue->pdus + (size_t)tag * queue->pdu_stride;
}

/* The data buffer of the request in slot `tag`. */
static inline uint8_t *sf_data(const sf_queue *queue, uint32_t tag) {
    return queue->data + (size_t)tag * queue->data_stride;
}

/* ---- Operations -------------------------------------------------------------------------------- */

/* A stretch of the shell's memory. The shell checks that it lies within what it names. A driver that gathers
 * requests names the data of others than the operation's own too: of reads in what reads, of writes in what
 * writes, and no more than they asked for. The operation is in flight for each of them. Anything else is
 * -EFAULT and a fault of the driver. */
typedef struct sf_seg {
    uint32_t memory; /* enum sf_memory */
    uint32_t index;  /* DATA, PDU: the tag. REGION: its number */
    uint64_t offset;
    uint64_t length;
} sf_seg;

enum sf_memory {
    SF_MEMORY_DATA = 1,  /* the data buffer of a request */
    SF_MEMORY_PDU = 2,   /* the private bytes of a request */
    SF_MEMORY_REGION = 3 /* a region of the port */
};

/* Most segments in one operation. */
#define SF_MAX_SEGS 64

/* An operation on a handle, issued by a driver and owned by the shell from then on: its completion
 * comes as an event to whichever driver serves the port at that time. Read during the call only. */
typedef struct sf_op {
    uint32_t size;
    uint16_t code;   /* enum sf_op_code */
    uint16_t flags;  /* enum sf_op_flag */
    uint32_t handle; /* not used by NOP, TIMEOUT */
    uint32_t tag;    /* request that it is part of, or SF_NO_TAG */
    uint64_t cookie; /* comes back in the event */
    uint64_t offset; /* first byte on the handle; TIMEOUT: nanoseconds from now */
    uint64_t length; /* FALLOCATE, EXTENTS: bytes; others: the segments say it */
    uint64_t arg;    /* FALLOCATE: mode; POLL: event mask; SEND, RECV: MSG_ flags */
    const sf_seg *segs;
    uint32_t seg_count;
    uint32_t reserved;
} sf_op;

enum sf_op_code {
    SF_OP_NOP = 0,       /* completes with 0 through the ring */
    SF_OP_READ = 1,      /* result: bytes, fewer only at the end of the file */
    SF_OP_WRITE = 2,     /* result: bytes */
    SF_OP_FSYNC = 3,     /* data and metadata durable */
    SF_OP_FDATASYNC = 4, /* data durable */
    SF_OP_FALLOCATE = 5, /* allocate, punch or zero */
    SF_OP_SEND = 6,
    SF_OP_RECV = 7,
    SF_OP_POLL = 8,
    SF_OP_TIMEOUT = 9,
    SF_OP_NVME = 10,   /* reserved */
    SF_OP_EXTENTS = 11 /* fill the segment with sf_extents; result: their number */
};

enum sf_op_flag {
    SF_OP_FUA = 1 << 0,      /* WRITE, FALLOCATE on a device: durable when it completes */
    SF_OP_NO_HOLE = 1 << 1,  /* FALLOCATE with ZERO_RANGE on a device: the range stays allocated */
    SF_OP_FAST_ONLY = 1 << 2 /* the same: only if that is faster than writing, else -EOPNOTSUPP */
};

/* Modes of FALLOCATE, those of fallocate(2). */
enum sf_fallocate {
    SF_FALLOCATE_KEEP_SIZE = 0x01,
    SF_FALLOCATE_PUNCH_HOLE = 0x02, /* with KEEP_SIZE */
    SF_FALLOCATE_ZERO_RANGE = 0x10
};

/* The completion of an operation. */
typedef struct sf_event {
    uint32_t size;
    uint16_t code; /* the operation's */
    uint16_t flags;
    uint32_t tag;    /* the operation's request, or SF_NO_TAG */
    uint32_t id;     /* what issue returned */
    uint64_t cookie; /* the operation's */
    int64_t result;  /* bytes, a count, or 0; a negative errno when it failed */
    sf_request *request; /* null when there is none */
} sf_event;

/* ---- The shell's functions --------------------------------------------------------------------- */

/* A block device, as announce takes it. */
typedef struct sf_block_device {
    uint32_t struct_size;
    uint32_t number; /* within the port; requests carry it */
    uint64_t size;   /* bytes; a multiple of block_size, not 0 */
    uint32_t block_size;           /* power of two, 1 to 65536; requests are aligned to it */
    uint32_t preferred_block_size; /* power of two, at least block_size */
    uint32_t max_transfer;         /* largest request, bytes; 0 for no limit of its own */
    uint32_t reserved;
    uint64_t features; /* enum sf_block_feature */
    sf_str wwid;       /* world-wide identity; may be empty */
} sf_block_device;

/* What to open. */
typedef struct sf_open {
    uint32_t size;
    uint32_t kind;  /* enum sf_open_kind */
    uint64_t flags; /* enum sf_open_flag */
    sf_str key;     /* name of the handle within the port; the same key finds it again */
    sf_str target;  /* FILE: path. TCP: host:port. DEVICE: its name */
} sf_open;

enum sf_open_kind {
    SF_OPEN_FILE = 1, /* regular file or block device */
    SF_OPEN_TCP = 2,  /* reserved */
    SF_OPEN_PCI = 3,  /* reserved */
    SF_OPEN_DEVICE = 4 /* another device of the same daemon, by name; since 1.1 */
};

enum sf_open_flag {
    SF_OPEN_WRITE = 1 << 0,  /* for writing too */
    SF_OPEN_DIRECT = 1 << 1, /* past the page cache */
    SF_OPEN_LOCK = 1 << 2    /* refuse if another process has it locked, and keep it locked */
};

/* What is behind a handle. */
typedef struct sf_handle_info {
    uint32_t struct_size;
    uint32_t kind; /* enum sf_handle_kind */
    uint64_t size; /* bytes */
    uint32_t block_size; /* alignment that reads and writes need: 1 when buffered */
    uint32_t preferred_block_size;
    uint32_t read_only;
    uint32_t rotational;
    uint32_t can_punch; /* FALLOCATE with PUNCH_HOLE works on it */
    uint32_t can_zero;  /* FALLOCATE with ZERO_RANGE works on it */
    uint64_t features;  /* of a device: what it offers, SF_FEATURE_*; else 0; since 1.1 */
} sf_handle_info;

enum sf_handle_kind {
    SF_HANDLE_REGULAR = 1,
    SF_HANDLE_BLOCK = 2,
    SF_HANDLE_DEVICE = 3 /* another device of the daemon; since 1.1 */
};

/* A region of memory. */
typedef struct sf_region {
    uint32_t struct_size;
    uint32_t number; /* for sf_seg.index */
    uint8_t *data;   /* page-aligned */
    uint64_t size;
    uint32_t created; /* 1 when it was made by this call, and so is all zeroes */
    uint32_t reserved;
} sf_region;

/* A parameter's value. */
typedef struct sf_value {
    uint32_t struct_size;
    uint32_t kind;   /* enum sf_value_kind */
    uint64_t number; /* BOOL, UNSIGNED, SIGNED (two's complement), ENUM (index in the range) */
    sf_str text;     /* STRING, ENUM */
} sf_value;

enum sf_value_kind {
    SF_VALUE_NONE = 0, /* neither set nor defaulted */
    SF_VALUE_BOOL = 1,
    SF_VALUE_UNSIGNED = 2,
    SF_VALUE_SIGNED = 3,
    SF_VALUE_STRING = 4,
    SF_VALUE_ENUM = 5
};

enum sf_level {
    SF_LEVEL_ERROR = 1,
    SF_LEVEL_WARN = 2,
    SF_LEVEL_INFO = 3,
    SF_LEVEL_DEBUG = 4
};

/* Timers per port and queue. */
#define SF_TIMERS 8
/* Most bytes of state of one schema. */
#define SF_MAX_STATE 65536

/* The shell's functions: one constant table. */
struct sf_shell_ops {
    uint32_t size;
    uint16_t abi_major;
    uint16_t abi_minor;

    /* Issues an operation; returns its number. -EINVAL: malformed; -EBADF: no such handle; -EFAULT:
     * memory that is not the driver's; -EAGAIN: more in flight than the manifest allows; -EPERM: while
     * the port is held (see queue_run). */
    int32_t (*issue)(sf_queue *queue, const sf_op *op);
    /* Asks for an operation to end early. Its event comes all the same, once. */
    int32_t (*cancel)(sf_queue *queue, uint32_t id);
    /* Completes the request in slot `tag` with 0, a count (STATUS), or a negative errno. */
    int32_t (*complete)(sf_queue *queue, uint32_t tag, int32_t result);
    /* Calls timer(id) after `ns`; setting it again replaces it, 0 stops it. Survives a swap. */
    int32_t (*timer)(sf_queue *queue, uint32_t id, uint64_t ns);

    /* Leaves state of one schema with the shell, which copies it. Only within disconnect and
     * save_state. */
    int32_t (*set_state)(sf_port *port, sf_str schema, sf_str bytes);
    /* State of the given schema, valid until connect returns, or -ENOENT. Only within connect and
     * reconnect. */
    int32_t (*get_state)(sf_port *port, sf_str schema, sf_str *bytes);

    /* Announces a block device or says that its properties changed. -EBUSY: smaller than, or without
     * features of, what the OS relies on. */
    int32_t (*announce)(sf_port *port, const sf_block_device *device);
    /* Withdraws a device. */
    int32_t (*withdraw)(sf_port *port, uint32_t number);

    /* Opens a resource, or finds it open already under the same key; returns the handle. Opens only
     * within prepare. */
    int32_t (*open)(sf_port *port, const sf_open *open);
    /* Gives a handle up. */
    int32_t (*close)(sf_port *port, uint32_t handle);
    /* Says what is behind a handle; set struct_size first. */
    int32_t (*handle_info)(sf_port *port, uint32_t handle, sf_handle_info *info);

    /* Memory of the port that outlives its drivers, by name, zeroed when new; set struct_size first.
     * Made only within prepare. -EEXIST: it exists with another size. */
    int32_t (*region)(sf_port *port, sf_str name, uint64_t size, sf_region *region);

    /* The current value of a parameter; set struct_size first. Text is valid until the end of the
     * entry point that asked. */
    int32_t (*property)(sf_port *port, sf_str name, sf_value *value);
    /* Writes one line to the log; enum sf_level. */
    void (*log)(sf_port *port, uint32_t level, sf_str message);
    /* Monotonic clock, nanoseconds. */
    uint64_t (*now)(void);

    /* Since 1.1. Returns a request that was not begun: the driver owns it no more. Operations of it that
     * only wait (TIMEOUT, NOP) end without an event. Only within hand_back. -EBUSY: another operation of
     * it is in flight; -EINVAL: the request is not the driver's. */
    int32_t (*give_back)(sf_queue *queue, uint32_t tag);
    /* Since 1.1. Says that a feature is left out because memory is short, and why. Only within prepare,
     * connect and queue_start. */
    int32_t (*reduce)(sf_port *port, sf_str feature, sf_str why);
};

/* ---- The driver -------------------------------------------------------------------------------- */

/* What probe is shown. */
typedef struct sf_probe {
    uint32_t size;
    uint32_t revision; /* 0 where there is none */
    sf_str hwid;       /* bus:id; empty where there is none */
} sf_probe;

/* The class table of block drivers. */
typedef struct sf_block_ops {
    uint32_t size;
    uint32_t reserved;
    /* A request. Returns 0 (done), a negative errno (failed) or SF_PENDING (complete will be called).
     * Required. */
    int32_t (*submit)(sf_queue *queue, sf_request *request);
    /* The shell has submitted what it has for now: a driver that gathers requests issues them. */
    void (*commit)(sf_queue *queue);
    /* Give this request up early if that can be done; it still completes exactly once. */
    int32_t (*abort)(sf_queue *queue, sf_request *request);
} sf_block_ops;

/* The table of entry points, exported as `steadfast_driver`. Constant, as is all it points to. */
typedef struct sf_driver {
    uint32_t size;
    uint16_t abi_major; /* SF_ABI_MAJOR */
    uint16_t abi_minor; /* SF_ABI_MINOR */
    uint32_t class_id;  /* enum sf_class */
    uint32_t pdu_size;  /* equal to the manifest's pdu */
    sf_str manifest;    /* the section: STEADFAST_MANIFEST_STR */

    /* May this driver serve that hardware? Optional: absent means yes. */
    int32_t (*probe)(const sf_probe *probe);
    /* Gets ready while another driver may serve the port: opens handles, asks for regions, reads
     * parameters. After an error `release` is called. Optional. */
    int32_t (*prepare)(sf_port *port);
    /* Takes the port over: reads the state, announces its devices. Within the pause: no opening, no
     * waiting. After an error `disconnect` is not called. Required. */
    int32_t (*connect)(sf_port *port);
    /* Lets the port go and leaves its state, once per schema that it can write. Required. */
    int32_t (*disconnect)(sf_port *port);
    /* Takes the port back after `disconnect`: the replacement failed. Required. */
    int32_t (*reconnect)(sf_port *port);
    /* The last call for this port. Optional. */
    void (*release)(sf_port *port);
    /* Makes one queue ready; after connect. Optional. */
    int32_t (*queue_start)(sf_queue *queue);
    /* The counterpart, before disconnect. Optional. */
    void (*queue_stop)(sf_queue *queue);
    /* An operation has completed; another driver may have issued it. Required if it issues any. */
    void (*event)(sf_queue *queue, const sf_event *event);
    /* A timer has run out. Optional. */
    void (*timer)(sf_queue *queue, uint32_t id);
    /* A request in flight of another driver, its PDU of `schema`: convert the PDU where sf_pdu finds it
     * now. That is a copy, which becomes the request's once this driver serves. An error makes the update go
     * back. Required with the manifest's pdu.adopt. */
    int32_t (*adopt)(sf_queue *queue, sf_request *request, sf_str schema);
    /* A live parameter has a new value; an error refuses it. Optional. */
    int32_t (*param_changed)(sf_port *port, sf_str name);

    const void *class_ops; /* sf_block_ops for SF_CLASS_BLOCK */

    /* The swap is final: start operations that belong to the port. What is logged as an error from here on,
     * before a request is answered, says that it cannot serve: the driver before is put back. Optional. */
    void (*queue_run)(sf_queue *queue);

    /* Since 1.1. The port is about to change drivers: return every request that was not begun, in the
     * order in which they came, with give_back. An error means that it could not, and the driver stays.
     * Optional: without it the mode split is not possible. */
    int32_t (*hand_back)(sf_queue *queue);
    /* Since 1.1. Leaves the state as disconnect does, and goes on serving. Optional. */
    int32_t (*save_state)(sf_port *port);
} sf_driver;

#ifdef __cplusplus
}
#endif

#endif /* STEADFAST_H */
