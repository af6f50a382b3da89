/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A device in a file, and a region with a mark in it; as a candidate on trial it does wrong what -D
 * says.
 */
#include "steadfast.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifdef STATE
#define STATE_ENTRIES                                                                                        \
    STEADFAST_ENTRY("state.write", "candidate/1") STEADFAST_ENTRY("state.read", "candidate/1")
#else
#define STATE_ENTRIES
#endif

STEADFAST_MANIFEST(
    STEADFAST_ENTRY("name", "candidate")
    STEADFAST_ENTRY("version", "1.0.0")
    STEADFAST_ENTRY("class", "block")
    STATE_ENTRIES
    STEADFAST_ENTRY("memory.port", "4096:4096")
    STEADFAST_ENTRY("ops", "2")
    STEADFAST_ENTRY("param.gate", "path")
    STEADFAST_ENTRY("param.gate.default", "/nonexistent")
    STEADFAST_ENTRY("param.path", "path")
    STEADFAST_ENTRY("param.path.required", "true"));

struct memory {
    int32_t file;
    uint32_t *mark; /* a region */
};

enum { SIZE = 4 << 20, MARK = 0x5465, FIRST = 1, SECOND = 2 };

static struct memory *memory_of(const sf_port *port) {
    return (struct memory *)(void *)port->arena;
}

static int32_t text(sf_port *port, sf_str name, char path[4096]) {
    sf_value value = { .struct_size = sizeof value };
    if (port->shell->property(port, name, &value) < 0 || value.text.len >= 4096)
        return -EINVAL;
    memcpy(path, value.text.ptr, value.text.len);
    path[value.text.len] = 0;
    return 0;
}

/* Waits while the file is there. */
__attribute__((unused)) static int32_t wait_at_gate(sf_port *port) {
    char path[4096];
    if (text(port, SF_STR("gate"), path) < 0)
        return -EINVAL;
    while (access(path, F_OK) == 0)
        usleep(1000);
    return 0;
}

static int32_t prepare(sf_port *port) {
    sf_value path = { .struct_size = sizeof path };
    sf_open open = { .size = sizeof open, .kind = SF_OPEN_FILE, .flags = SF_OPEN_WRITE | SF_OPEN_LOCK };
    sf_region region = { .struct_size = sizeof region };
    int32_t result = port->shell->property(port, SF_STR("path"), &path);
    if (result < 0)
        return result;
    open.key = SF_STR("backing");
    open.target = path.text;
#ifdef OTHER_OPEN
    open.flags = SF_OPEN_WRITE;
#endif
    memory_of(port)->file = port->shell->open(port, &open);
    if (memory_of(port)->file < 0)
        return memory_of(port)->file;
    result = port->shell->region(port, SF_STR("mark"), 4096, &region);
    if (result < 0)
        return result;
    memory_of(port)->mark = (uint32_t *)(void *)region.data;
    if (region.created)
        *memory_of(port)->mark = MARK;
    return 0;
}

static int32_t connect_port(sf_port *port) {
    sf_block_device device = { .struct_size = sizeof device, .size = SIZE, .block_size = 512,
                               .preferred_block_size = 4096 };
#ifdef HANG
    if (wait_at_gate(port) < 0)
        return -EIO;
#endif
#ifdef NEEDS /* the state that another one left */
    sf_str state = { 0 };
    if (port->shell->get_state(port, SF_STR("candidate/1"), &state) < 0 || state.len != 1)
        return -EPROTO;
#endif
#ifdef FAIL_CONNECT
    return -EIO;
#endif
    return port->shell->announce(port, &device);
}

static int32_t disconnect(sf_port *port) {
#ifdef STATE
    return port->shell->set_state(port, SF_STR("candidate/1"), SF_STR("x"));
#else
    (void)port;
    return 0;
#endif
}

__attribute__((unused)) static int32_t save_state(sf_port *port) {
    return disconnect(port);
}

static int32_t issue(sf_queue *queue, sf_request *request, uint16_t code, uint64_t cookie) {
    sf_seg seg = { .memory = SF_MEMORY_DATA, .index = request->tag, .offset = 0, .length = request->length };
    sf_op op = { .size = sizeof op, .code = code, .handle = (uint32_t)memory_of(queue->port)->file,
                 .tag = request->tag, .cookie = cookie, .offset = request->offset, .segs = &seg,
                 .seg_count = 1 };
    return queue->shell->issue(queue, &op);
}

static int32_t submit(sf_queue *queue, sf_request *request) {
    int32_t result;

    if (*memory_of(queue->port)->mark != MARK)
        return -EPROTO;
    if (request->op == SF_BLOCK_WRITE) {
        result = issue(queue, request, SF_OP_WRITE, SECOND);
        return result < 0 ? result : SF_PENDING;
    }
#ifdef MUTE
    return SF_PENDING;
#endif
#ifdef FAIL_READS
    return -EIO;
#endif
#ifdef WRITES /* zeroes over what is asked for; and whoever is refused goes on */
    memset(sf_data(queue, request->tag), 0, request->length);
    issue(queue, request, SF_OP_WRITE, 0);
#endif
#ifdef FLUSHES
    result = issue(queue, request, SF_OP_FDATASYNC, FIRST);
#else
    result = issue(queue, request, SF_OP_READ, SECOND);
#endif
    return result < 0 ? result : SF_PENDING;
}

static void finish(sf_queue *queue, const sf_request *request) {
#ifdef WRONG /* one block in a thousand */
    if (request->offset / 4096 % 1000 == 7)
        sf_data(queue, request->tag)[100] ^= 1;
#endif
#ifdef STORES /* into a region, which the live driver looks at */
    *memory_of(queue->port)->mark = MARK;
    memory_of(queue->port)->mark[1 + request->tag % 100] = 0xdead;
#endif
#ifdef TWICE
    queue->shell->complete(queue, request->tag, 0);
#endif
    queue->shell->complete(queue, request->tag, 0);
}

static void event(sf_queue *queue, const sf_event *event) {
    sf_request *request = event->request;
    if (event->cookie == 0)
        return;
    if (event->result < 0) {
        queue->shell->complete(queue, request->tag, (int32_t)event->result);
        return;
    }
    if (event->cookie == FIRST) {
        int32_t result = issue(queue, request, SF_OP_READ, SECOND);
        if (result < 0)
            queue->shell->complete(queue, request->tag, result);
        return;
    }
#ifdef LATE
    if (event->cookie == SECOND && request->op == SF_BLOCK_READ) {
        sf_op op = { .size = sizeof op, .code = SF_OP_TIMEOUT, .tag = request->tag, .cookie = 3,
                     .offset = LATE };
        if (queue->shell->issue(queue, &op) >= 0)
            return;
    }
#endif
    finish(queue, request);
}

static const sf_block_ops block_ops = { .size = sizeof block_ops, .submit = submit };

STEADFAST_EXPORT const sf_driver steadfast_driver = {
    .size = sizeof steadfast_driver,
    .abi_major = SF_ABI_MAJOR,
    .abi_minor = SF_ABI_MINOR,
    .class_id = SF_CLASS_BLOCK,
    .pdu_size = 0,
    .manifest = STEADFAST_MANIFEST_STR,
    .prepare = prepare,
    .connect = connect_port,
    .disconnect = disconnect,
    .reconnect = connect_port,
#ifdef SAVES
    .save_state = save_state,
#endif
    .event = event,
    .class_ops = &block_ops,
};
