//! Queues on io_uring, slots, handles, arenas: what runs the shell.
