//! Of the tests: a driver that lays out its PDU in another way and converts that of `sound`.

#[path = "common.rs"]
mod common;

steadfast_driver::export!(common::Driver<{ common::fault::OTHER_PDU }>);
