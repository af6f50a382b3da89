//! Of the tests: a driver that panics in connect.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::CONNECT_PANIC }>);
