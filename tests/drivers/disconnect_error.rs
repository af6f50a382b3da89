//! Of the tests: a driver that does not let go.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::DISCONNECT_ERROR }>);
