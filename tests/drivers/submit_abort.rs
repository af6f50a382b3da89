//! Of the tests: a driver that takes the process with it, on one page.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::SUBMIT_ABORT }>);
