//! Of the tests: a driver that panics on one page.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::SUBMIT_PANIC }>);
