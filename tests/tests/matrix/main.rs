//! Every phase of an update x every mode x every fault that can occur there, on a real daemon while fio
//! writes and verifies: no client sees an error, the outcome is the one that was promised, exactly one
//! driver serves afterwards, and the next update works.
//!
//! A table of all cells is printed; one that cannot exist is listed with the reason.

mod bench;
mod cells;
mod stops;
mod table;

use bench::Bench;
use steadfast_tests::Result;
use table::{FAULTS, MODES, PHASES, Table};

fn run(queues: u32) -> Result {
    let mut table = Table::new(queues);
    table.impossible();
    for mode in MODES {
        let mut bench = Bench::new(queues, mode)?;
        cells::before_the_pause(&mut bench, &mut table)?;
        cells::pending(&mut bench, &mut table)?;
        cells::of_the_old_driver(&mut bench, &mut table)?;
        cells::of_the_new_driver(&mut bench, &mut table)?;
        cells::in_the_midst(&mut bench, &mut table)?;
        let rounds = bench.finish()?;
        println!("mode {mode}: {rounds} rounds of fio, every byte as written, no error");
        stops::all(queues, mode, &mut table)?;
    }
    table.print();
    assert_eq!(table.missing(), Vec::<String>::new(), "cells that were neither run nor shown impossible");
    assert_eq!(table.len(), PHASES.len() * FAULTS.len() * MODES.len());
    Ok(())
}

#[test]
fn every_phase_every_mode_every_fault() -> Result {
    run(1)
}

#[test]
fn every_phase_every_mode_every_fault_on_two_queues() -> Result {
    run(2)
}
