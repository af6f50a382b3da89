/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * batches.c - a driver for the tests that uses all that ABI 1.2 added, and holds the shell to it.
 *
 * A device in memory. `submit` gathers; `commit` issues one wait for each request, all in one call; when a wait is
 * over the request is carried out on the bytes that map_data finds. Of four requests
 *
 *   one is answered by what event_answer returns,
 *   one by complete_serial,
 *   one by complete_many, behind a stale serial, which must be refused without harm,
 *   one by complete_serial, after a try with a stale serial.
 *
 * Whatever the shell does otherwise than the interface says ends as EPROTO at the client.
 */
#include "steadfast.h"

#include <errno.h>
#include <string.h>

STEADFAST_MANIFEST(
    STEADFAST_ENTRY("name", "batches")
    STEADFAST_ENTRY("version", "1.0.0")
    STEADFAST_ENTRY("class", "block")
    STEADFAST_ENTRY("about", "For the tests: memory, with all that ABI 1.2 added")
    STEADFAST_ENTRY("state.write", "batches/1")
    STEADFAST_ENTRY("state.read", "batches/1")
    STEADFAST_ENTRY("memory.port", "4096:4096")
    STEADFAST_ENTRY("memory.queue", "262144:262144")
    STEADFAST_ENTRY("data", "segments")
    STEADFAST_ENTRY("ops", "1")
    STEADFAST_ENTRY("feature", "flush")
    STEADFAST_ENTRY("feature", "multi-conn")
    STEADFAST_ENTRY("param.size", "size")
    STEADFAST_ENTRY("param.size.range", "4096..=1G")
    STEADFAST_ENTRY("param.size.default", "16M"));

#define BATCH 64

/* In the port's arena. */
struct port_memory {
    uint8_t *contents; /* a region, which outlives the driver */
    uint64_t size;
    uint32_t reserved_is_right; /* what the shell has no use for yet says so */
};

/* In the queue's arena: what was submitted and has no wait yet. */
struct queue_memory {
    uint32_t gathered;
    uint32_t tags[16384];
};

static struct port_memory *memory_of(const sf_port *port) {
    return (struct port_memory *)(void *)port->arena;
}

static struct queue_memory *gathered_of(const sf_queue *queue) {
    return (struct queue_memory *)(void *)queue->arena;
}

static int32_t prepare(sf_port *port) {
    struct port_memory *memory = memory_of(port);
    sf_value value = { .struct_size = sizeof value };
    sf_region region = { .struct_size = sizeof region };
    sf_open endpoint = { .size = sizeof endpoint, .kind = SF_OPEN_TCP, .key = SF_STR("peer"),
                         .target = SF_STR("localhost:1"), .local = SF_STR("localhost") };
    int32_t result = port->shell->property(port, SF_STR("size"), &value);

    if (result < 0)
        return result;
    memory->size = value.number & ~(uint64_t)4095;
    if (port->shell->abi_minor < 2 || port->shell->size < sizeof *port->shell)
        return -EPROTO;
    memory->reserved_is_right =
        port->shell->table(port, SF_STR("luns"), SF_STR("luns/1"), 4096, &region) == -EOPNOTSUPP &&
        port->shell->open(port, &endpoint) == -EOPNOTSUPP;
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
        .features = (SF_FEATURE_FLUSH | SF_FEATURE_MULTI_CONN) & port->features,
    };

    return memory->reserved_is_right ? port->shell->announce(port, &device) : -EPROTO;
}

static int32_t disconnect(sf_port *port) {
    return port->shell->set_state(port, SF_STR("batches/1"), SF_STR("none"));
}

static int32_t submit(sf_queue *queue, sf_request *request) {
    struct queue_memory *memory = gathered_of(queue);
    uint64_t size = memory_of(queue->port)->size;

    if (request->offset > size || request->length > size - request->offset)
        return -EINVAL;
    if (request->op != SF_BLOCK_READ && request->op != SF_BLOCK_WRITE && request->op != SF_BLOCK_FLUSH)
        return -EOPNOTSUPP;
    if (memory->gathered == sizeof memory->tags / sizeof memory->tags[0])
        return -EBUSY;
    memory->tags[memory->gathered++] = request->tag;
    return SF_PENDING;
}

static void fail(sf_queue *queue, uint32_t tag, int32_t result) {
    queue->shell->complete_serial(queue, tag, sf_slot(queue, tag)->serial, result);
}

/* Waits for these requests, in one call. */
static void wait_for(sf_queue *queue, const uint32_t *tags, uint32_t count) {
    sf_op ops[BATCH];
    int32_t ids[BATCH];
    int32_t issued;

    for (uint32_t i = 0; i < count; i++)
        ops[i] = (sf_op){ .size = sizeof ops[i], .code = SF_OP_TIMEOUT, .tag = tags[i], .offset = 50000 };
    issued = queue->shell->issue_many(queue, ops, count, ids);
    for (uint32_t i = 0; i < count; i++) {
        if (issued < 0 || (int32_t)i > issued)
            fail(queue, tags[i], -EPROTO);
        else if ((int32_t)i == issued)
            fail(queue, tags[i], ids[i] < 0 ? ids[i] : -EPROTO);
        else if (ids[i] < 0)
            fail(queue, tags[i], -EPROTO);
    }
}

static void commit(sf_queue *queue) {
    struct queue_memory *memory = gathered_of(queue);
    uint32_t from = 0;

    while (from < memory->gathered) {
        uint32_t count = memory->gathered - from < BATCH ? memory->gathered - from : BATCH;

        wait_for(queue, memory->tags + from, count);
        from += count;
    }
    memory->gathered = 0;
}

/* What is gathered between `commit` and a change has no wait: it goes back. */
static int32_t hand_back(sf_queue *queue) {
    struct queue_memory *memory = gathered_of(queue);

    for (uint32_t i = 0; i < memory->gathered; i++)
        queue->shell->give_back(queue, memory->tags[i]);
    memory->gathered = 0;
    return 0;
}

static int32_t work(sf_queue *queue, const sf_request *request) {
    uint8_t *at = memory_of(queue->port)->contents + request->offset;
    uint8_t *data = NULL;

    if (queue->shell->map_data(queue, request->tag, &data) != 0 || data != sf_data(queue, request->tag))
        return -EPROTO;
    if (request->op == SF_BLOCK_READ)
        memcpy(data, at, request->length);
    else if (request->op == SF_BLOCK_WRITE)
        memcpy(at, data, request->length);
    return 0;
}

static int32_t event_answer(sf_queue *queue, const sf_event *event) {
    const sf_shell_ops *shell = queue->shell;
    const sf_request *request = event->request;
    uint32_t tag, serial;
    int32_t result;
    sf_op reserved = { .size = sizeof reserved, .code = SF_OP_PATH, .tag = event->tag };
    sf_dma dma = { .struct_size = sizeof dma };

    if (request == NULL)
        return SF_PENDING;
    tag = request->tag;
    serial = request->serial;
    result = event->result < 0 ? (int32_t)event->result : work(queue, request);
    if (shell->issue(queue, &reserved) != -EOPNOTSUPP || shell->dma(queue, NULL, &dma) != -EOPNOTSUPP)
        result = -EPROTO;
    switch (serial % 4) {
    case 0:
        return result;
    case 1:
        shell->complete_serial(queue, tag, serial, result);
        return SF_PENDING;
    case 2: {
        sf_completion both[] = {
            { .tag = tag, .serial = serial - 1, .result = -EIO },
            { .tag = tag, .serial = serial, .result = result },
        };

        /* It is answered by now, so that a wrong count can only be a fault. */
        return shell->complete_many(queue, both, 2) == 1 ? SF_PENDING : -EPROTO;
    }
    default:
        if (shell->complete_serial(queue, tag, serial - 1, -EIO) != -ESTALE)
            return -EPROTO;
        shell->complete_serial(queue, tag, serial, result);
        return SF_PENDING;
    }
}

static const sf_block_ops block_ops = { .size = sizeof block_ops, .submit = submit, .commit = commit };

STEADFAST_EXPORT const sf_driver steadfast_driver = {
    .size = sizeof steadfast_driver,
    .abi_major = SF_ABI_MAJOR,
    .abi_minor = SF_ABI_MINOR,
    .class_id = SF_CLASS_BLOCK,
    .manifest = STEADFAST_MANIFEST_STR,
    .prepare = prepare,
    .connect = connect_port,
    .disconnect = disconnect,
    .reconnect = connect_port,
    .class_ops = &block_ops,
    .hand_back = hand_back,
    .event_answer = event_answer,
};
