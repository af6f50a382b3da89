/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * vintage.c - a driver whose binaries, built against ABI 1.0, are kept beside it: see README.md.
 *
 * A device in memory. Each request takes two operations, one after the other, so that at every swap
 * some are half-way through; what has been done lies in the request's private bytes, and whoever gets
 * the next event goes on from there. A request that is not found as it was left fails with EPROTO.
 *
 * Built against the header of today, the same source is the newer release.
 */
#include "steadfast.h"

#include <errno.h>
#include <string.h>

#ifndef RELEASE
#define RELEASE "1.0.0"
#endif

STEADFAST_MANIFEST(
    STEADFAST_ENTRY("name", "vintage")
    STEADFAST_ENTRY("version", RELEASE)
    STEADFAST_ENTRY("class", "block")
    STEADFAST_ENTRY("about", "For the tests: memory, built against ABI 1.0")
    STEADFAST_ENTRY("state.write", "vintage/1")
    STEADFAST_ENTRY("state.read", "vintage/1")
    STEADFAST_ENTRY("pdu", "vintage/1:16")
    STEADFAST_ENTRY("memory.port", "4096:4096")
    STEADFAST_ENTRY("memory.queue", "4096:4096")
    STEADFAST_ENTRY("ops", "1")
    STEADFAST_ENTRY("feature", "flush")
    STEADFAST_ENTRY("feature", "fua")
    STEADFAST_ENTRY("feature", "write-zeroes")
    STEADFAST_ENTRY("feature", "multi-conn")
    STEADFAST_ENTRY("param.size", "size")
    STEADFAST_ENTRY("param.size.range", "4096..=1G")
    STEADFAST_ENTRY("param.size.default", "16M")
    STEADFAST_ENTRY("param.delay_us", "u32")
    STEADFAST_ENTRY("param.delay_us.range", "0..=1000000")
    STEADFAST_ENTRY("param.delay_us.default", "100"));

#define FEATURES (SF_FEATURE_FLUSH | SF_FEATURE_FUA | SF_FEATURE_WRITE_ZEROES | SF_FEATURE_MULTI_CONN)

/* In the port's arena. */
struct port_memory {
    uint8_t *contents; /* a region, which outlives the driver */
    uint64_t size;
    uint64_t delay_ns;
    uint64_t attached; /* how often a driver was connected: the state */
};

/* A request's private bytes. */
struct progress {
    uint64_t mark; /* of this use of the slot */
    uint64_t operations; /* completed so far */
};

static struct port_memory *memory_of(const sf_port *port) {
    return (struct port_memory *)(void *)port->arena;
}

static uint64_t mark_of(const sf_request *request) {
    return ((uint64_t)request->serial << 32 | request->tag) ^ 0x76696e7461676531u;
}

static int32_t prepare(sf_port *port) {
    struct port_memory *memory = memory_of(port);
    sf_value value = { .struct_size = sizeof value };
    sf_region region = { .struct_size = sizeof region };
    int32_t result = port->shell->property(port, SF_STR("size"), &value);

    if (result < 0)
        return result;
    memory->size = value.number & ~(uint64_t)4095;
    value.struct_size = sizeof value;
    result = port->shell->property(port, SF_STR("delay_us"), &value);
    if (result < 0)
        return result;
    memory->delay_ns = value.number * 1000;
    result = port->shell->region(port, SF_STR("contents"), memory->size, &region);
    if (result < 0)
        return result;
    memory->contents = region.data;
    return 0;
}

static int32_t connect_port(sf_port *port) {
    struct port_memory *memory = memory_of(port);
    sf_block_device device = {
        .struct_size = sizeof device,
        .size = memory->size,
        .block_size = 512,
        .preferred_block_size = 4096,
        .features = FEATURES & port->features,
    };
    sf_str state = { 0 };

    memory->attached = 0;
    if (port->shell->get_state(port, SF_STR("vintage/1"), &state) == 0) {
        if (state.len != sizeof memory->attached)
            return -EPROTO;
        memcpy(&memory->attached, state.ptr, sizeof memory->attached);
    }
    memory->attached++;
#ifdef FAIL_CONNECT
    return -EIO;
#endif
    return port->shell->announce(port, &device);
}

static int32_t disconnect(sf_port *port) {
    sf_str state = { (const char *)&memory_of(port)->attached, sizeof memory_of(port)->attached };

    return port->shell->set_state(port, SF_STR("vintage/1"), state);
}

static int32_t issue(sf_queue *queue, const sf_request *request) {
    sf_op op = { .size = sizeof op, .code = SF_OP_TIMEOUT, .tag = request->tag };
    int32_t result;

    op.offset = memory_of(queue->port)->delay_ns;
    result = queue->shell->issue(queue, &op);
    return result < 0 ? result : SF_PENDING;
}

static int32_t work(sf_queue *queue, const sf_request *request) {
    uint8_t *at = memory_of(queue->port)->contents + request->offset;

    switch (request->op) {
    case SF_BLOCK_READ:
        memcpy(sf_data(queue, request->tag), at, request->length);
        break;
    case SF_BLOCK_WRITE:
        memcpy(at, sf_data(queue, request->tag), request->length);
        break;
    case SF_BLOCK_WRITE_ZEROES:
        memset(at, 0, request->length);
        break;
    default: /* a flush: memory is as durable as it gets */
        break;
    }
    return 0;
}

static int32_t submit(sf_queue *queue, sf_request *request) {
    struct progress *progress = sf_pdu(queue, request->tag);
    uint64_t size = memory_of(queue->port)->size;

    if (request->offset > size || request->length > size - request->offset)
        return -EINVAL;
    if (request->op == SF_BLOCK_READ || request->op == SF_BLOCK_WRITE) {
        if (request->length > queue->data_size)
            return -EINVAL;
    } else if (request->op != SF_BLOCK_FLUSH && request->op != SF_BLOCK_WRITE_ZEROES) {
        return -EOPNOTSUPP;
    } else if (request->flags & SF_BLOCK_FAST_ONLY) {
        return -EOPNOTSUPP;
    }
    progress->mark = mark_of(request);
    progress->operations = 0;
    return issue(queue, request);
}

static void event(sf_queue *queue, const sf_event *event) {
    const sf_request *request = event->request;
    struct progress *progress;
    int32_t result;

    if (request == NULL)
        return;
    progress = sf_pdu(queue, request->tag);
    if (progress->mark != mark_of(request) || progress->operations > 1)
        result = -EPROTO;
    else if (event->result < 0)
        result = (int32_t)event->result;
    else
        result = progress->operations++ == 0 ? issue(queue, request) : work(queue, request);
    if (result != SF_PENDING)
        queue->shell->complete(queue, request->tag, result);
}

#if SF_ABI_MINOR >= 2
/* The same, answered by what it returns. */
static int32_t event_answer(sf_queue *queue, const sf_event *event) {
    const sf_request *request = event->request;
    struct progress *progress;

    if (request == NULL)
        return SF_PENDING;
    progress = sf_pdu(queue, request->tag);
    if (progress->mark != mark_of(request) || progress->operations > 1)
        return -EPROTO;
    if (event->result < 0)
        return (int32_t)event->result;
    return progress->operations++ == 0 ? issue(queue, request) : work(queue, request);
}
#endif

#if SF_ABI_MINOR >= 1
/* Every request is begun as soon as it comes: there is nothing to hand back. */
static int32_t hand_back(sf_queue *queue) {
    (void)queue;
    return 0;
}
#endif

static const sf_block_ops block_ops = { .size = sizeof block_ops, .submit = submit };

STEADFAST_EXPORT const sf_driver steadfast_driver = {
    .size = sizeof steadfast_driver,
    .abi_major = SF_ABI_MAJOR,
    .abi_minor = SF_ABI_MINOR,
    .class_id = SF_CLASS_BLOCK,
    .pdu_size = sizeof(struct progress),
    .manifest = STEADFAST_MANIFEST_STR,
    .prepare = prepare,
    .connect = connect_port,
    .disconnect = disconnect,
    .reconnect = connect_port,
    .event = event,
    .class_ops = &block_ops,
#if SF_ABI_MINOR >= 1
    .hand_back = hand_back,
#endif
#if SF_ABI_MINOR >= 2
    .event_answer = event_answer,
#endif
};
