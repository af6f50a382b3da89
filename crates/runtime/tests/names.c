/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A device over a file whose operations name memory as the first block of a request says, in its `offset`
 * counted in blocks of 4096. Block 0 keeps its request until block 15 comes.
 */
#include "steadfast.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

STEADFAST_MANIFEST(
    STEADFAST_ENTRY("name", "names")
    STEADFAST_ENTRY("version", "1.0.0")
    STEADFAST_ENTRY("class", "block")
    STEADFAST_ENTRY("pdu", "names/1:16")
    STEADFAST_ENTRY("memory.port", "4096:4096")
    STEADFAST_ENTRY("ops", "4")
    STEADFAST_ENTRY("param.path", "path"));

enum { SIZE = 1 << 20, BLOCK = 4096, NOBODY = 0xffffffff };

struct memory {
    uint32_t handle;
    uint32_t kept; /* the request of block 0 */
};

static struct memory *memory_of(const sf_port *port) {
    return (struct memory *)(void *)port->arena;
}

/* Sizes that no memory has: granting one would be granting nothing. */
static int refuses_impossible_regions(sf_port *port) {
    const uint64_t sizes[] = { UINT64_MAX, UINT64_MAX - 4094, UINT64_MAX - 4095, (uint64_t)1 << 63, (uint64_t)1 << 62 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sf_region region = { .struct_size = sizeof region };
        if (port->shell->region(port, SF_STR("impossible"), sizes[i], &region) >= 0)
            return 0;
    }
    return 1;
}

static int32_t prepare(sf_port *port) {
    sf_value path = { .struct_size = sizeof path };
    sf_open open = { .size = sizeof open, .kind = SF_OPEN_FILE, .flags = SF_OPEN_WRITE, .key = SF_STR("file") };
    int32_t handle;

    if (!refuses_impossible_regions(port) || port->shell->property(port, SF_STR("path"), &path) < 0)
        return -EPROTO;
    open.target = path.text;
    handle = port->shell->open(port, &open);
    if (handle < 0)
        return handle;
    memory_of(port)->handle = (uint32_t)handle;
    memory_of(port)->kept = NOBODY;
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

static sf_seg of(uint32_t memory, uint32_t tag, uint64_t offset, uint64_t length) {
    sf_seg seg = { .memory = memory, .index = tag, .offset = offset, .length = length };
    return seg;
}

static int32_t submit(sf_queue *queue, sf_request *request) {
    struct memory *memory = memory_of(queue->port);
    const uint32_t tag = request->tag, kept = memory->kept;
    const uint16_t code = request->op == SF_BLOCK_WRITE ? SF_OP_WRITE : SF_OP_READ;
    sf_seg segs[2] = { of(SF_MEMORY_DATA, tag, 0, BLOCK), of(SF_MEMORY_DATA, kept, 0, BLOCK) };
    sf_op op = { .size = sizeof op, .code = code, .handle = memory->handle, .tag = tag, .segs = segs, .seg_count = 1 };
    int early = 0;
    int32_t result;

    switch (request->offset / BLOCK) {
    case 0: /* keeps it */
        memory->kept = tag;
        return SF_PENDING;
    case 1: /* its own data, and then that of the kept one: they are gathered */
        op.seg_count = 2;
        break;
    case 2: /* only that of the kept one */
        segs[0] = segs[1];
        break;
    case 3: /* more of the kept one's than it asked for */
        segs[1].length = 2 * BLOCK;
        op.seg_count = 2;
        break;
    case 4: /* a slot that nobody uses */
        segs[0].index = queue->slot_count - 1;
        break;
    case 5: /* no slot at all */
        segs[0].index = NOBODY - 1;
        break;
    case 6: /* ends beyond the last number */
        segs[0].offset = UINT64_MAX - BLOCK + 1;
        break;
    case 7:
        segs[0].offset = UINT64_MAX;
        break;
    case 8: /* an operation of no request, with the kept one's data */
        op.tag = SF_NO_TAG;
        segs[0] = segs[1];
        break;
    case 9: /* gathered, and the kept one completed before the operation is */
        op.seg_count = 2;
        early = 1;
        break;
    case 10: /* an operation of no request, with the data of no request */
        op.tag = SF_NO_TAG;
        segs[0].index = SF_NO_TAG;
        break;
    case 15: /* lets it go */
        if (kept != NOBODY)
            queue->shell->complete(queue, kept, 0);
        memory->kept = NOBODY;
        return 0;
    default:
        break;
    }
    result = queue->shell->issue(queue, &op);
    if (result < 0)
        return result;
    if (early) {
        queue->shell->complete(queue, kept, 0);
        memory->kept = NOBODY;
    }
    return op.tag == SF_NO_TAG ? 0 : SF_PENDING;
}

static void event(sf_queue *queue, const sf_event *event) {
    if (event->request)
        queue->shell->complete(queue, event->tag, event->result < 0 ? (int32_t)event->result : 0);
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
    .class_ops = &block_ops,
};
