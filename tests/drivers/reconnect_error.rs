//! Of the tests: a driver that cannot be put back.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::RECONNECT_ERROR }>);
