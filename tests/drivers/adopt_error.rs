//! Of the tests: a driver that spoils and refuses what it is to adopt.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::ADOPT_ERROR }>);
