//! Of the tests: a driver that fails when a queue starts.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::QUEUE_START_ERROR }>);
