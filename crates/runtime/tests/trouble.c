/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A device in memory whose reads take their time, so that requests are always in flight, and that
 * makes trouble as -D says.
 */
#include "steadfast.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#ifdef TELLS_THREAD
#include <sys/prctl.h>
#endif
#include <unistd.h>

#ifndef READ_NS
#define READ_NS 5000000 /* how long a read takes */
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifndef PDU
#define PDU "trouble/1"
#endif
#ifndef NEEDS
#define NEEDS "4096:4096"
#endif
#ifndef STATE
#define STATE "opaque"
#endif
#ifndef MARK
#define MARK 1 /* the state that disconnect leaves, and the only one that reconnect takes */
#endif

STEADFAST_MANIFEST(
    STEADFAST_ENTRY("name", "trouble")
    STEADFAST_ENTRY("version", VERSION)
    STEADFAST_ENTRY("class", "block")
    STEADFAST_ENTRY("state.write", "trouble/1")
    STEADFAST_ENTRY("state.read", "trouble/1")
    STEADFAST_ENTRY("x-state", STATE)
    STEADFAST_ENTRY("pdu", PDU ":16")
#ifdef ADOPTS /* the schema of requests that it takes over */
    STEADFAST_ENTRY("pdu.adopt", ADOPTS)
#endif
    STEADFAST_ENTRY("memory.port", NEEDS)
    STEADFAST_ENTRY("ops", "1")
    STEADFAST_ENTRY("port-ops", "4")
#ifdef HANG_PARAM
    STEADFAST_ENTRY("param.level", "u64")
    STEADFAST_ENTRY("param.level.default", "1")
    STEADFAST_ENTRY("param.level.class", "live")
#endif
    STEADFAST_ENTRY("param.gate", "path")
    STEADFAST_ENTRY("param.gate.default", "/nonexistent"));

struct memory {
    uint8_t *contents; /* a region */
    sf_queue *queue;   /* the first one */
};

enum { SIZE = 4 << 20 };

static struct memory *memory_of(const sf_port *port) {
    return (struct memory *)(void *)port->arena;
}

static int32_t announce(sf_port *port) {
    sf_block_device device = { .struct_size = sizeof device, .size = SIZE, .block_size = 512,
                               .preferred_block_size = 4096 };
#ifdef TELLS_PLACE /* where it is, as its identity */
    char place[64];
    snprintf(place, sizeof place, "adapter %u port %u", port->adapter, port->number);
    device.wwid = (sf_str){ place, strlen(place) };
#endif
    return port->shell->announce(port, &device);
}

/* Waits while the file is there, and says beside it that it is waited at. */
__attribute__((unused)) static int32_t wait_at_gate(sf_port *port) {
    sf_value gate = { .struct_size = sizeof gate };
    char path[4096];
    if (port->shell->property(port, SF_STR("gate"), &gate) < 0 || gate.text.len >= sizeof path)
        return -EINVAL;
    memcpy(path, gate.text.ptr, gate.text.len);
    path[gate.text.len] = 0;
    if (access(path, F_OK) == 0) {
        char reached[4104];
        snprintf(reached, sizeof reached, "%s.reached", path);
        close(creat(reached, 0600));
    }
    while (access(path, F_OK) == 0)
        usleep(1000);
    return 0;
}

#ifdef HANG_PROBE /* as long as there is this file */
static int32_t probe(const sf_probe *what) {
    (void)what;
    if (access(HANG_PROBE, F_OK) == 0)
        close(creat(HANG_PROBE ".reached", 0600));
    while (access(HANG_PROBE, F_OK) == 0)
        usleep(1000);
    return 0;
}
#endif

#ifdef HANG_RELEASE
static void release(sf_port *port) {
    wait_at_gate(port);
}
#endif

static int32_t prepare(sf_port *port) {
    sf_region region = { .struct_size = sizeof region };
    int32_t result = port->shell->region(port, SF_STR("contents"), SIZE, &region);
    if (result < 0)
        return result;
    memory_of(port)->contents = region.data;
#ifdef HANG_PREPARE
    if (wait_at_gate(port) < 0)
        return -EIO;
#endif
#ifdef SLOW_PREPARE
    usleep(SLOW_PREPARE);
#endif
#ifdef EXTRA /* a region of a size that others do not want */
    region.struct_size = sizeof region;
    result = port->shell->region(port, SF_STR("extra"), EXTRA, &region);
    if (result < 0)
        return result;
#endif
#ifdef EARLY /* says that there is no device any more, before it serves */
    if (port->shell->withdraw(port, 0) != -EPERM || announce(port) != -EPERM)
        return -EIO;
#endif
    return 0;
}

#ifdef TELLS_THREAD /* beside the gate, each time on a line: which thread connects it */
static void tell_thread(sf_port *port) {
    sf_value gate = { .struct_size = sizeof gate };
    char path[4096], thread[17] = "";
    if (port->shell->property(port, SF_STR("gate"), &gate) < 0 || gate.text.len > 4000)
        return;
    snprintf(path, sizeof path, "%.*s.thread", (int)gate.text.len, gate.text.ptr);
    prctl(PR_GET_NAME, thread);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file >= 0) {
        dprintf(file, VERSION " %s\n", thread);
        close(file);
    }
}
#endif

static int32_t connect_port(sf_port *port) {
#ifdef TELLS_THREAD
    tell_thread(port);
#endif
#ifdef HANG
    if (wait_at_gate(port) < 0)
        return -EIO;
#endif
#ifdef SLOW
    usleep(SLOW);
#endif
#ifdef FAIL_CONNECT
    return -EIO;
#else
    return announce(port);
#endif
}

static int32_t reconnect(sf_port *port) {
    sf_str state = { 0 };
#ifdef HANG_RECONNECT
    wait_at_gate(port);
#endif
#ifdef FAIL_RECONNECT
    return -EIO;
#endif
    if (port->shell->get_state(port, SF_STR("trouble/1"), &state) < 0 || state.len != 1)
        return -EPROTO;
    if (*(const uint8_t *)state.ptr != MARK)
        return -EPROTO;
    return announce(port);
}

static int32_t disconnect(sf_port *port) {
    const char mark = (char)MARK;
    sf_str state = { &mark, 1 };
    struct memory *memory = memory_of(port);

#ifdef HANG_DISCONNECT
    wait_at_gate(port);
#endif
#ifdef FAIL_DISCONNECT
    return -EBUSY;
#endif
    if (memory->queue && port->shell->cancel(memory->queue, 0) != -EPERM)
        return -EIO; /* the ring is not this thread's */
    if (port->shell->withdraw(port, 0) != -EPERM)
        return -EIO; /* clients still have it */
    return port->shell->set_state(port, SF_STR("trouble/1"), state);
}

__attribute__((unused)) static int32_t save_state(sf_port *port) {
    const char mark = (char)MARK;
    sf_str state = { &mark, 1 };
#ifdef HANG_SAVE
    wait_at_gate(port);
#endif
    return port->shell->set_state(port, SF_STR("trouble/1"), state);
}

static int32_t queue_start(sf_queue *queue) {
    if (queue->index == 0)
        memory_of(queue->port)->queue = queue;
#ifdef HANG_QUEUE_START
    wait_at_gate(queue->port);
#endif
#ifdef FAIL_QUEUE_START
    return -EIO;
#else
    return 0;
#endif
}

static void queue_run(sf_queue *queue) {
#ifdef HANG_QUEUE_RUN
    wait_at_gate(queue->port);
#endif
#ifdef FAIL_QUEUE_RUN /* which has no result: it is said */
    queue->shell->log(queue->port, SF_LEVEL_ERROR, SF_STR("queue_run: nothing to run on"));
#endif
#ifdef TICKS
    sf_op op = { .size = sizeof op, .code = SF_OP_NOP, .tag = SF_NO_TAG };
    queue->shell->issue(queue, &op);
    queue->shell->timer(queue, 0, TICKS);
#else
    (void)queue;
#endif
}

#ifdef HANG_QUEUE_STOP
static void queue_stop(sf_queue *queue) {
    wait_at_gate(queue->port);
}
#endif

#ifdef HANG_PARAM
static int32_t param_changed(sf_port *port, sf_str name) {
    (void)name;
    wait_at_gate(port);
    return 0;
}
#endif

#ifdef HANG_COMMIT
static void commit(sf_queue *queue) {
    wait_at_gate(queue->port);
}
#endif

#ifdef HANG_ABORT
static int32_t abort_request(sf_queue *queue, sf_request *request) {
    (void)request;
    wait_at_gate(queue->port);
    return 0;
}
#endif

static void timer(sf_queue *queue, uint32_t id) {
#ifdef HANG_TIMER
    wait_at_gate(queue->port);
#endif
#ifdef TICKS
    queue->shell->timer(queue, id, TICKS);
#else
    (void)queue, (void)id;
#endif
}

/* Every request in flight carries the name of the schema that its PDU is of. */
static const char schema[16] = PDU;

#ifdef ADOPTS
static int32_t adopt(sf_queue *queue, sf_request *request, sf_str name) {
    static const char known[16] = ADOPTS;
    (void)name;
    if (memcmp(sf_pdu(queue, request->tag), known, sizeof known) != 0)
        return -EPROTO;
#ifdef HANG_ADOPT
    wait_at_gate(queue->port);
#endif
    memcpy(sf_pdu(queue, request->tag), schema, sizeof schema);
    return 0;
}
#endif

static int32_t submit(sf_queue *queue, sf_request *request) {
    uint8_t *at = memory_of(queue->port)->contents + request->offset;
    sf_op op = { .size = sizeof op, .code = SF_OP_TIMEOUT, .tag = request->tag, .offset = READ_NS };
    int32_t result;

    if (request->offset > SIZE || request->length > SIZE - request->offset)
        return -EINVAL;
#ifdef HANG_SUBMIT
    wait_at_gate(queue->port);
#endif
#ifdef FAIL_FIRST /* says so, and answers */
    queue->shell->log(queue->port, SF_LEVEL_ERROR, SF_STR("submit: no request can be carried out"));
    return -EIO;
#endif
    if (request->op == SF_BLOCK_WRITE) {
        memcpy(at, sf_data(queue, request->tag), request->length);
        return 0;
    }
#ifdef STEALS /* a handle that it has not opened */
    sf_seg seg = { .memory = SF_MEMORY_DATA, .index = request->tag, .length = 512 };
    sf_op theft = { .size = sizeof theft, .code = SF_OP_READ, .tag = request->tag, .segs = &seg, .seg_count = 1 };
    if (queue->shell->issue(queue, &theft) != -EBADF)
        return -EIO;
#endif
    memcpy(sf_pdu(queue, request->tag), schema, sizeof schema);
    result = queue->shell->issue(queue, &op);
    return result < 0 ? result : SF_PENDING;
}

static void event(sf_queue *queue, const sf_event *event) {
    const sf_request *request = event->request;
#ifdef HANG_EVENT
    wait_at_gate(queue->port);
#endif
    if (request == NULL)
        return;
    if (memcmp(sf_pdu(queue, request->tag), schema, sizeof schema) != 0) {
        queue->shell->complete(queue, request->tag, -EPROTO);
        return;
    }
    memcpy(sf_data(queue, request->tag), memory_of(queue->port)->contents + request->offset, request->length);
    queue->shell->complete(queue, request->tag, event->result < 0 ? (int32_t)event->result : 0);
}

__attribute__((unused)) static int32_t event_answer(sf_queue *queue, const sf_event *report) {
    event(queue, report);
    return SF_PENDING;
}

/* What a read waits for is not begun: every one of them can be returned. */
__attribute__((unused)) static int32_t hand_back(sf_queue *queue) {
#ifdef HANG_HAND_BACK
    wait_at_gate(queue->port);
#endif
    for (uint32_t tag = 0; tag < queue->slot_count; tag++)
        queue->shell->give_back(queue, tag);
    return 0;
}

static const sf_block_ops block_ops = {
    .size = sizeof block_ops,
    .submit = submit,
#ifdef HANG_COMMIT
    .commit = commit,
#endif
#ifdef HANG_ABORT
    .abort = abort_request,
#endif
};

STEADFAST_EXPORT const sf_driver steadfast_driver = {
    .size = sizeof steadfast_driver,
    .abi_major = SF_ABI_MAJOR,
    .abi_minor = SF_ABI_MINOR,
    .class_id = SF_CLASS_BLOCK,
    .pdu_size = 16,
    .manifest = STEADFAST_MANIFEST_STR,
#ifdef HANG_PROBE
    .probe = probe,
#endif
#ifdef HANG_RELEASE
    .release = release,
#endif
    .prepare = prepare,
    .connect = connect_port,
    .disconnect = disconnect,
    .reconnect = reconnect,
    .queue_start = queue_start,
#ifdef HANG_QUEUE_STOP
    .queue_stop = queue_stop,
#endif
#ifdef HANG_PARAM
    .param_changed = param_changed,
#endif
    .event = event,
#ifdef ANSWERS
    .event_answer = event_answer,
#endif
    .timer = timer,
    .class_ops = &block_ops,
    .queue_run = queue_run,
#ifdef HANDS_BACK
    .hand_back = hand_back,
#endif
#ifdef ADOPTS
    .adopt = adopt,
#endif
#ifdef SAVES_STATE
    .save_state = save_state,
#endif
};
