//! Parameters that drivers of the usual kinds have, so that a profile may name them on a machine that has
//! no such driver.

/// Their names.
pub const WELL_KNOWN: [&str; 27] = [
    "admin_state",
    "auth",
    "connection_queue",
    "data_digest",
    "drain_timeout",
    "failover_delay",
    "fast_fail_delay",
    "header_digest",
    "io_queues",
    "io_slots",
    "io_throttle",
    "keepalive_interval",
    "keepalive_timeout",
    "link_speed",
    "linkup_delay",
    "log_mask",
    "login_timeout",
    "lun_queue_depth",
    "lun_scan",
    "max_targets",
    "max_transfer",
    "reconnect_delay",
    "request_timeout",
    "target_map",
    "target_queue_depth",
    "topology",
    "zone",
];
