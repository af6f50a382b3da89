//! Of the tests: a driver that reads one block in a thousand wrong.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::WRONG_READ }>);
