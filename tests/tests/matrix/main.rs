//! Every phase of an update x every mode x every fault that can occur there, on a real daemon while fio
//! writes and verifies: no client sees an error, the outcome is the one that was promised, exactly one
//! driver serves afterwards, and the next update works.
//!
//! A table of all cells is printed; one that cannot exist is listed with the reason.

mod bench;
mod cells;
mod product;
mod stops;
mod table;

use bench::Bench;
use product::Product;
use steadfast_tests::Result;
use table::Table;

fn run(mode: &'static str, queues: u32) -> Result {
    let mut table = Table::new(mode, queues);
    let mut bench = Bench::new(queues, mode)?;
    cells::before_the_pause(&mut bench, &mut table)?;
    cells::pending(&mut bench, &mut table)?;
    cells::of_the_old_driver(&mut bench, &mut table)?;
    cells::of_the_new_driver(&mut bench, &mut table)?;
    cells::in_the_midst(&mut bench, &mut table)?;
    let rounds = bench.finish()?;
    stops::all(queues, mode, &mut table)?;
    table.print();
    println!("{rounds} rounds of fio, every byte as written, no error");
    assert_eq!(table.missing(), Vec::<String>::new(), "cells that were neither run nor shown impossible");
    Ok(())
}

#[test]
fn adopt_every_phase_every_fault() -> Result {
    run("adopt", 1)
}

#[test]
fn split_every_phase_every_fault() -> Result {
    run("split", 1)
}

#[test]
fn drain_every_phase_every_fault() -> Result {
    run("drain", 1)
}

#[test]
fn adopt_every_phase_every_fault_on_two_queues() -> Result {
    run("adopt", 2)
}

#[test]
fn split_every_phase_every_fault_on_two_queues() -> Result {
    run("split", 2)
}

#[test]
fn drain_every_phase_every_fault_on_two_queues() -> Result {
    run("drain", 2)
}

fn run_product(mode: &'static str, queues: u32) -> Result {
    let mut table = Table::new(mode, queues);
    let mut bench = Product::new(queues, mode)?;
    product::of_the_new_driver(&mut bench, &mut table)?;
    product::of_the_old_driver(&mut bench, &mut table)?;
    product::of_requests(&mut bench, &mut table)?;
    let rounds = bench.finish()?;
    println!("what `error`, `delay`, `hang` and `crash` can make:");
    table.print();
    println!("{rounds} rounds of fio, every byte as written, no error");
    Ok(())
}

#[test]
fn adopt_with_the_fault_drivers() -> Result {
    run_product("adopt", 1)
}

#[test]
fn split_with_the_fault_drivers() -> Result {
    run_product("split", 2)
}

#[test]
fn drain_with_the_fault_drivers() -> Result {
    run_product("drain", 1)
}
