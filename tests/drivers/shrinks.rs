//! Of the tests: a driver that announces a smaller device than clients know.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::SHRINKS }>);
