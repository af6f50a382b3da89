//! Of the tests: a driver that fails requests for one page.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::SUBMIT_ERROR }>);
