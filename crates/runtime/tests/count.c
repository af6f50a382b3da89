/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A device in memory whose requests take a while. It counts those that it has, over all queues, and fails
 * one that is one too many (`most`), or that comes out of turn (`ordered`: each queue's requests follow one
 * another on the device). Those of the last block it keeps to itself until it is told to complete them, and
 * then does so with the next request of their queue. The counts are in a region, and so stay when the driver
 * is replaced.
 */
#include "steadfast.h"

#include <errno.h>
#include <string.h>

#ifndef VERSION
#define VERSION "1.0.0"
#endif

STEADFAST_MANIFEST(
    STEADFAST_ENTRY("name", "count")
    STEADFAST_ENTRY("version", VERSION)
    STEADFAST_ENTRY("class", "block")
    STEADFAST_ENTRY("pdu", "count/1:16")
    STEADFAST_ENTRY("memory.port", "4096:4096")
    STEADFAST_ENTRY("ops", "1")
    STEADFAST_ENTRY("param.delay", "u64")
    STEADFAST_ENTRY("param.delay.default", "100000")
    STEADFAST_ENTRY("param.delay.class", "live")
    STEADFAST_ENTRY("param.most", "u64")
    STEADFAST_ENTRY("param.most.default", "0")
    STEADFAST_ENTRY("param.most.class", "live")
    STEADFAST_ENTRY("param.ordered", "bool")
    STEADFAST_ENTRY("param.ordered.default", "false")
    STEADFAST_ENTRY("param.keep", "bool")
    STEADFAST_ENTRY("param.keep.default", "false")
    STEADFAST_ENTRY("param.keep.class", "live"));

enum { SIZE = 4 << 20, BLOCK = 4096, QUEUES = 8, KEPT = 64 };

struct counts {
    uint64_t have;
    uint64_t next[QUEUES];
};

struct memory {
    uint8_t *contents;
    struct counts *counts;
    uint64_t delay, most, ordered;
    volatile uint64_t keep;
};

static struct memory *memory_of(const sf_port *port) {
    return (struct memory *)(void *)port->arena;
}

static uint64_t number(sf_port *port, sf_str name) {
    sf_value value = { .struct_size = sizeof value };
    port->shell->property(port, name, &value);
    return value.number;
}

static void read_params(sf_port *port) {
    struct memory *memory = memory_of(port);
    memory->delay = number(port, SF_STR("delay"));
    memory->most = number(port, SF_STR("most"));
    memory->ordered = number(port, SF_STR("ordered"));
    memory->keep = number(port, SF_STR("keep"));
}

static int32_t prepare(sf_port *port) {
    sf_region region = { .struct_size = sizeof region };
    int32_t result = port->shell->region(port, SF_STR("contents"), SIZE, &region);
    if (result < 0)
        return result;
    memory_of(port)->contents = region.data;
    region.struct_size = sizeof region;
    result = port->shell->region(port, SF_STR("counts"), BLOCK, &region);
    if (result < 0)
        return result;
    memory_of(port)->counts = (struct counts *)(void *)region.data;
    read_params(port);
    return 0;
}

static int32_t connect_port(sf_port *port) {
    sf_block_device device = { .struct_size = sizeof device, .size = SIZE, .block_size = 512,
                               .preferred_block_size = BLOCK };
    return port->shell->announce(port, &device);
}

static int32_t disconnect(sf_port *port) {
    (void)port;
    return 0;
}

static int32_t param_changed(sf_port *port, sf_str name) {
    (void)name;
    read_params(port);
    return 0;
}

static void move(const sf_queue *queue, const sf_request *request) {
    uint8_t *at = memory_of(queue->port)->contents + request->offset;
    if (request->op == SF_BLOCK_WRITE)
        memcpy(at, sf_data(queue, request->tag), request->length);
    else
        memcpy(sf_data(queue, request->tag), at, request->length);
}

/* The request is not the driver's any more. */
static int32_t done(const sf_queue *queue, int32_t result) {
    __atomic_fetch_sub(&memory_of(queue->port)->counts->have, 1, __ATOMIC_SEQ_CST);
    return result;
}

/* Tags of requests that are kept, in the arena behind the port's own. */
struct kept {
    uint32_t count;
    uint32_t tags[KEPT];
};

static struct kept *kept_of(const sf_queue *queue) {
    uint8_t *base = queue->port->arena + sizeof(struct memory);
    return (struct kept *)(void *)(base + queue->index * sizeof(struct kept));
}

static void complete_kept(sf_queue *queue) {
    struct kept *kept = kept_of(queue);
    while (kept->count > 0) {
        uint32_t tag = kept->tags[--kept->count];
        done(queue, 0);
        queue->shell->complete(queue, tag, 0);
    }
}

static int32_t submit(sf_queue *queue, sf_request *request) {
    struct memory *memory = memory_of(queue->port);
    struct counts *counts = memory->counts;
    sf_op op = { .size = sizeof op, .code = SF_OP_TIMEOUT, .tag = request->tag, .offset = memory->delay };
    uint64_t have = __atomic_add_fetch(&counts->have, 1, __ATOMIC_SEQ_CST);
    uint64_t expected = counts->next[queue->index];
    int32_t result;

    counts->next[queue->index] = (request->offset + request->length) % SIZE;
    if (request->offset > SIZE || request->length > SIZE - request->offset)
        return done(queue, -EINVAL);
    if (memory->most != 0 && have > memory->most)
        return done(queue, -EUSERS);
    if (memory->ordered && request->offset != expected)
        return done(queue, -EILSEQ);
    if (request->length > queue->data_size || request->tag >= queue->slot_count)
        return done(queue, -EMSGSIZE);
    if (!memory->keep)
        complete_kept(queue);
    else if (request->offset == SIZE - BLOCK && kept_of(queue)->count < KEPT) {
        kept_of(queue)->tags[kept_of(queue)->count++] = request->tag;
        return SF_PENDING;
    }
    if (memory->delay == 0) {
        move(queue, request);
        return done(queue, 0);
    }
    result = queue->shell->issue(queue, &op);
    return result < 0 ? done(queue, result) : SF_PENDING;
}

static void event(sf_queue *queue, const sf_event *event) {
    int32_t result = event->result < 0 ? (int32_t)event->result : 0;
    if (result == 0)
        move(queue, event->request);
    done(queue, 0);
    queue->shell->complete(queue, event->request->tag, result);
}

static const sf_block_ops block_ops = { .size = sizeof block_ops, .submit = submit };

STEADFAST_EXPORT const sf_driver steadfast_driver = {
    .size = sizeof steadfast_driver,
    .abi_major = SF_ABI_MAJOR,
    .abi_minor = SF_ABI_MINOR,
    .class_id = SF_CLASS_BLOCK,
    .pdu_size = 16,
    .manifest = STEADFAST_MANIFEST_STR,
    .prepare = prepare,
    .connect = connect_port,
    .disconnect = disconnect,
    .reconnect = connect_port,
    .event = event,
    .param_changed = param_changed,
    .class_ops = &block_ops,
};
