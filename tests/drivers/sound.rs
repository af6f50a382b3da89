//! Of the tests: a driver without a fault.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::NONE }>);
