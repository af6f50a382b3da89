/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The driver of crates/abi/examples/memory.c with a fault, chosen by -DFAULT=N: each must be found.
 * -DSMALLEST cuts both tables behind the last field that this driver uses, as if they had been
 * defined before the later fields were appended.
 */
#define steadfast_driver good_driver
#define block_ops good_block_ops
#include "steadfast.h"
#undef STEADFAST_EXPORT
#define STEADFAST_EXPORT /* the good table stays inside */
#include "../../abi/examples/memory.c"
#undef steadfast_driver
#undef block_ops

static int32_t bad_submit(sf_queue *queue, sf_request *request) {
    switch (FAULT) {
    case 1: /* loses the last byte of a write */
        if (request->op == SF_BLOCK_WRITE)
            request->length -= 1;
        break;
    case 2: /* answers twice */
        queue->shell->complete(queue, request->tag, submit(queue, request));
        queue->shell->complete(queue, request->tag, 0);
        return SF_PENDING;
    case 3: /* knows no end of the device */
        if (request->offset >= memory_of(queue->port)->size)
            return 0;
        break;
    case 4: /* zeroes too much */
        if (request->op == SF_BLOCK_WRITE_ZEROES) {
            int32_t result = submit(queue, request);
            uint64_t end = request->offset + request->length;
            if (result == 0 && end < memory_of(queue->port)->size)
                memory_of(queue->port)->contents[end] = 0;
            return result;
        }
        break;
    case 5: /* fails flushes */
        if (request->op == SF_BLOCK_FLUSH)
            return -EIO;
        break;
    }
    return submit(queue, request);
}

static int32_t bad_connect(sf_port *port) {
    if (FAULT == 6) /* forgets the contents */
        memset(memory_of(port)->contents, 0, memory_of(port)->size);
    return connect_port(port);
}

static int32_t bad_reconnect(sf_port *port) {
    if (FAULT == 7) /* can't go back */
        return -EIO;
    return connect_port(port);
}

static int32_t bad_disconnect(sf_port *port) {
    if (FAULT == 8) /* leaves state that it can't read */
        return port->shell->set_state(port, SF_STR("c-memory/1"), SF_STR("x"));
    return disconnect(port);
}

#ifdef SMALLEST
#define BLOCK_OPS_SIZE offsetof(sf_block_ops, commit)
#define DRIVER_SIZE offsetof(sf_driver, queue_run)
#else
#define BLOCK_OPS_SIZE sizeof(sf_block_ops)
#define DRIVER_SIZE sizeof(sf_driver)
#endif

static const sf_block_ops block_ops = {
    .size = BLOCK_OPS_SIZE,
    .submit = bad_submit,
#ifdef SMALLEST /* what lies behind the end must not be looked at */
    .commit = (void (*)(sf_queue *))16,
#endif
};

__attribute__((visibility("default"))) const sf_driver steadfast_driver = {
    .size = DRIVER_SIZE,
    .abi_major = SF_ABI_MAJOR,
    .abi_minor = SF_ABI_MINOR,
    .class_id = SF_CLASS_BLOCK,
    .manifest = STEADFAST_MANIFEST_STR,
    .prepare = prepare,
    .connect = bad_connect,
    .disconnect = bad_disconnect,
    .reconnect = bad_reconnect,
    .class_ops = &block_ops,
#ifdef SMALLEST
    .queue_run = (void (*)(sf_queue *))16,
#endif
};
