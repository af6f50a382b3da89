//! Of the tests: a driver that takes the process with it when it gets ready.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::PREPARE_ABORT }>);
