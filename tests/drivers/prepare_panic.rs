//! Of the tests: a driver that panics in prepare.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::PREPARE_PANIC }>);
