//! Of the tests: release 1 of the driver that does one thing wrong.

#[path = "matrix.rs"]
mod matrix;

steadfast_driver::export!(matrix::Driver<1>);
