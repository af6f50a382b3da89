//! Of the tests: a driver without the features that clients rely on.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::FEWER_FEATURES }>);
