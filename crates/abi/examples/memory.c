/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * memory.c - a driver in C: a device in memory that keeps its contents across driver changes.
 *
 *     cc -shared -fPIC -O2 -fvisibility=hidden -I crates/abi/include memory.c -o memory.so
 *     steadfast driver test memory.so
 */
#include "steadfast.h"

#include <errno.h>
#include <string.h>

STEADFAST_MANIFEST(
    STEADFAST_ENTRY("name", "c-memory")
    STEADFAST_ENTRY("version", "1.0.0")
    STEADFAST_ENTRY("class", "block")
    STEADFAST_ENTRY("about", "A device in memory, written in C")
    STEADFAST_ENTRY("state.write", "c-memory/1")
    STEADFAST_ENTRY("state.read", "c-memory/1")
    STEADFAST_ENTRY("memory.port", "4096:4096")
    STEADFAST_ENTRY("ops", "0")
    STEADFAST_ENTRY("feature", "flush")
    STEADFAST_ENTRY("feature", "fua")
    STEADFAST_ENTRY("feature", "trim")
    STEADFAST_ENTRY("feature", "write-zeroes")
    STEADFAST_ENTRY("feature", "multi-conn")
    STEADFAST_ENTRY("param.size", "size")
    STEADFAST_ENTRY("param.size.range", "4096..=1G")
    STEADFAST_ENTRY("param.size.default", "16M")
    STEADFAST_ENTRY("param.size.unit", "bytes")
    STEADFAST_ENTRY("param.size.help", "Size of the device."));

#define FEATURES                                                                     \
    (SF_FEATURE_FLUSH | SF_FEATURE_FUA | SF_FEATURE_TRIM | SF_FEATURE_WRITE_ZEROES | \
     SF_FEATURE_MULTI_CONN)

/* What lies in the port's arena: the shell's memory, zeroed at first. */
struct memory {
    uint8_t *contents; /* a region, which outlives this driver */
    uint64_t size;
    uint64_t attached; /* how often a driver has been connected */
};

static struct memory *memory_of(const sf_port *port) {
    return (struct memory *)(void *)port->arena;
}

static int32_t prepare(sf_port *port) {
    struct memory *memory = memory_of(port);
    sf_value size = { .struct_size = sizeof size };
    sf_region region = { .struct_size = sizeof region };
    int32_t result;

    if (port->arena_size < sizeof *memory)
        return -ENOMEM;
    result = port->shell->property(port, SF_STR("size"), &size);
    if (result < 0)
        return result;
    memory->size = size.number & ~(uint64_t)4095;
    result = port->shell->region(port, SF_STR("contents"), memory->size, &region);
    if (result < 0) {
        port->shell->log(port, SF_LEVEL_ERROR, SF_STR("no region for the contents"));
        return result;
    }
    memory->contents = region.data;
    return 0;
}

static int32_t connect_port(sf_port *port) {
    struct memory *memory = memory_of(port);
    sf_block_device device = {
        .struct_size = sizeof device,
        .number = 0,
        .size = memory->size,
        .block_size = 512,
        .preferred_block_size = 4096,
        .features = FEATURES & port->features,
    };
    sf_str state = { 0 };

    memory->attached = 0;
    if (port->shell->get_state(port, SF_STR("c-memory/1"), &state) == 0) {
        if (state.len != sizeof memory->attached)
            return -EPROTO;
        memcpy(&memory->attached, state.ptr, sizeof memory->attached);
    }
    memory->attached++;
    return port->shell->announce(port, &device);
}

static int32_t disconnect(sf_port *port) {
    struct memory *memory = memory_of(port);
    sf_str state = { (const char *)&memory->attached, sizeof memory->attached };

    return port->shell->set_state(port, SF_STR("c-memory/1"), state);
}

static int32_t submit(sf_queue *queue, sf_request *request) {
    struct memory *memory = memory_of(queue->port);
    uint8_t *at;

    if (request->offset > memory->size || request->length > memory->size - request->offset)
        return -EINVAL;
    at = memory->contents + request->offset;
    switch (request->op) {
    case SF_BLOCK_READ:
        if (request->length > queue->data_size)
            return -EINVAL;
        memcpy(sf_data(queue, request->tag), at, request->length);
        return 0;
    case SF_BLOCK_WRITE:
        if (request->length > queue->data_size)
            return -EINVAL;
        memcpy(at, sf_data(queue, request->tag), request->length);
        return 0;
    case SF_BLOCK_WRITE_ZEROES:
        if (request->flags & SF_BLOCK_FAST_ONLY)
            return -EOPNOTSUPP;
        memset(at, 0, request->length);
        return 0;
    case SF_BLOCK_TRIM: /* advice, not taken */
    case SF_BLOCK_FLUSH:
        return 0;
    default:
        return -EOPNOTSUPP;
    }
}

static const sf_block_ops block_ops = {
    .size = sizeof block_ops,
    .submit = submit,
};

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
    .save_state = disconnect, /* it only leaves the state, so it may be asked at any time */
};
