//! Of the tests: release 2 of the driver that does one thing wrong.

#[path = "matrix.rs"]
mod matrix;

steadfast_driver::export!(matrix::Driver<2>);
