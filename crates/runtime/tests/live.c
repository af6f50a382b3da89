/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A device in memory whose requests take a while, with parameters that change while it runs. It refuses
 * a change when it is entered for anything else meanwhile, and an odd `even`.
 */
#include "steadfast.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

STEADFAST_MANIFEST(
    STEADFAST_ENTRY("name", "live")
    STEADFAST_ENTRY("version", "1.0.0")
    STEADFAST_ENTRY("class", "block")
    STEADFAST_ENTRY("pdu", "live/1:16")
    STEADFAST_ENTRY("memory.port", "4096:4096")
    STEADFAST_ENTRY("ops", "1")
    STEADFAST_ENTRY("feature", "flush")
    STEADFAST_ENTRY("param.delay", "u64")
    STEADFAST_ENTRY("param.delay.default", "100000")
    STEADFAST_ENTRY("param.delay.range", "1000..=100000000")
    STEADFAST_ENTRY("param.delay.class", "live")
    STEADFAST_ENTRY("param.even", "u64")
    STEADFAST_ENTRY("param.even.class", "live")
    STEADFAST_ENTRY("param.gate", "path")
    STEADFAST_ENTRY("param.gate.class", "live")
    STEADFAST_ENTRY("param.fixed", "bool")
    STEADFAST_ENTRY("param.fixed.default", "false"));

struct memory {
    uint8_t *contents; /* a region */
    uint64_t delay;
    volatile uint64_t entered; /* how often any queue has come in */
};

enum { SIZE = 4 << 20 };

static struct memory *memory_of(const sf_port *port) {
    return (struct memory *)(void *)port->arena;
}

static int32_t read_delay(sf_port *port) {
    sf_value value = { .struct_size = sizeof value };
    int32_t result = port->shell->property(port, SF_STR("delay"), &value);
    memory_of(port)->delay = value.number;
    return result;
}

static int32_t prepare(sf_port *port) {
    sf_region region = { .struct_size = sizeof region };
    int32_t result = port->shell->region(port, SF_STR("contents"), SIZE, &region);
    if (result < 0)
        return result;
    memory_of(port)->contents = region.data;
    return read_delay(port);
}

static int32_t connect_port(sf_port *port) {
    sf_block_device device = { .struct_size = sizeof device, .size = SIZE, .block_size = 512,
                               .preferred_block_size = 4096 };
#ifdef MOST
    device.max_transfer = MOST;
#endif
#ifdef CACHE
    device.features = SF_FEATURE_FLUSH;
#endif
    return port->shell->announce(port, &device);
}

static int32_t disconnect(sf_port *port) {
    (void)port;
    return 0;
}

/* Waits while the file that `gate` names is there. */
static void wait_at_gate(sf_port *port) {
    sf_value gate = { .struct_size = sizeof gate };
    char path[4096];
    if (port->shell->property(port, SF_STR("gate"), &gate) < 0 || gate.text.len >= sizeof path)
        return;
    memcpy(path, gate.text.ptr, gate.text.len);
    path[gate.text.len] = 0;
    while (gate.text.len > 0 && access(path, F_OK) == 0)
        usleep(1000);
}

static int32_t param_changed(sf_port *port, sf_str name) {
    sf_value value = { .struct_size = sizeof value };
    uint64_t before = memory_of(port)->entered;
    int32_t result = port->shell->property(port, name, &value);
    usleep(1000);
    if (memory_of(port)->entered != before)
        return -EPROTO; /* the port is not held */
    if (result < 0)
        return result;
    if (name.len == 4 && memcmp(name.ptr, "gate", 4) == 0)
        wait_at_gate(port);
    if (name.len == 4 && memcmp(name.ptr, "even", 4) == 0 && value.number % 2 != 0)
        return -ERANGE;
    return read_delay(port);
}

static int32_t submit(sf_queue *queue, sf_request *request) {
    struct memory *memory = memory_of(queue->port);
    sf_op op = { .size = sizeof op, .code = SF_OP_TIMEOUT, .tag = request->tag, .offset = memory->delay };
    int32_t result;

    memory->entered++;
    if (request->offset > SIZE || request->length > SIZE - request->offset)
        return -EINVAL;
#ifdef MOST
    if (request->length > MOST)
        return -EMSGSIZE;
#endif
    if (request->op == SF_BLOCK_FLUSH)
        return 0;
    if (request->op == SF_BLOCK_WRITE) {
#ifdef CACHE
        if (request->flags & SF_BLOCK_FUA)
            return -EOPNOTSUPP;
#endif
        memcpy(memory->contents + request->offset, sf_data(queue, request->tag), request->length);
        return 0;
    }
    result = queue->shell->issue(queue, &op);
    return result < 0 ? result : SF_PENDING;
}

static void event(sf_queue *queue, const sf_event *event) {
    struct memory *memory = memory_of(queue->port);
    const sf_request *request = event->request;

    memory->entered++;
    memcpy(sf_data(queue, request->tag), memory->contents + request->offset, request->length);
    queue->shell->complete(queue, request->tag, event->result < 0 ? (int32_t)event->result : 0);
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
#ifndef DEAF
    .param_changed = param_changed,
#endif
    .class_ops = &block_ops,
};
