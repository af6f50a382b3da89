//! The driver is replaced: by itself, and by another release.

use super::requests::{all, fill};
use crate::client::{Ask, Client};
use crate::load::Load;
use crate::rig::{Attached, Rig, writable};
use crate::{Stop, Verdict};
use std::sync::atomic::{AtomicBool, Ordering};
use steadfast_abi::{block_feature, block_op};
use steadfast_loader::StagedModule;
use steadfast_shell::check::choose_mode;
use steadfast_shell::receipt::{Mode, Outcome, Unload};

/// Bytes of a large write-zeroes.
const SWEEP: u64 = 8 << 20;

pub(crate) fn detach(rig: &Rig) -> Verdict {
    for _ in 0..2 {
        let port = rig.attach()?;
        let client = port.open()?;
        client.must(Ask::read(0, u64::from(client.info().block_size)))?;
        drop(client);
        port.check_clean()?;
        match port.detach()? {
            Unload::Unloaded => {}
            other => return Err(Stop::Fail(format!("the module did not leave memory: {other:?}"))),
        }
    }
    Ok(String::new())
}

pub(crate) fn contents(rig: &Rig) -> Verdict {
    let mut port = rig.attach()?;
    let client = port.open()?;
    writable(&client)?;
    if !rig.keeps_contents() {
        return Err(Stop::Skip("the device keeps nothing".into()));
    }
    let block = u64::from(client.info().block_size);
    let unit = u64::from(client.info().preferred_block_size).min(client.info().size / block / 2 * block);
    if unit == 0 {
        return Err(Stop::Skip("the device has fewer than two blocks".into()));
    }
    let last = client.info().size - unit;
    let mut rng = rig.rng(4);
    let (first, second) = (rng.bytes(unit as usize), rng.bytes(unit as usize));
    client.must(Ask::write(0, first.clone()))?;
    client.must(Ask::write(last, second.clone()))?;
    let size = client.info().size;
    for _ in 0..3 {
        port.must_update(&rig.staged, Mode::Drain)?;
        let again = port.open()?;
        if again.info().size != size {
            return Err(Stop::Fail(format!("the size was {size}, and now is {}", again.info().size)));
        }
        if again.must(Ask::read(0, unit))?.data != first || again.must(Ask::read(last, unit))?.data != second
        {
            return Err(Stop::Fail("what was written before the swap does not read after it".into()));
        }
    }
    drop(client);
    port.check_clean()?;
    Ok(port.note())
}

pub(crate) fn drain(rig: &Rig) -> Verdict {
    by_itself(rig, Mode::Drain)
}

pub(crate) fn adopt(rig: &Rig) -> Verdict {
    choose_mode(rig.manifest(), false, rig.manifest(), Some(Mode::Adopt)).map_err(Stop::Skip)?;
    by_itself(rig, Mode::Adopt)
}

fn by_itself(rig: &Rig, mode: Mode) -> Verdict {
    let mut port = rig.attach()?;
    under_load(rig, &mut port, |port| {
        for _ in 0..rig.options.swaps {
            port.must_update(&rig.staged, mode)?;
        }
        Ok(())
    })
}

pub(crate) fn releases(rig: &Rig) -> Verdict {
    let Some(from) = &rig.options.from else {
        return Err(Stop::Skip("no other release was given".into()));
    };
    let other = rig.store.stage(from).map_err(|e| e.to_string())?;
    let mut port = rig.attach_module(&other)?;
    under_load(rig, &mut port, |port| {
        for _ in 0..rig.options.swaps {
            there_and_back(port, &rig.staged, &other)?;
        }
        Ok(())
    })
}

/// To the release under test, which must go, and back again, which may be refused: it may lack a
/// feature that a client relies on, or a state schema.
fn there_and_back(port: &mut Attached<'_>, new: &StagedModule, old: &StagedModule) -> Result<(), String> {
    let mode = choose_mode(&old.manifest, false, &new.manifest, None)?;
    port.must_update(new, mode)?;
    let back = port.update(old, None);
    match back.outcome {
        Outcome::Done => Ok(()),
        // Then the release under test goes on, and the next round replaces it by itself.
        Outcome::Refused => Ok(()),
        other => Err(format!("back to {}: {other:?}: {}", old.manifest.version, back.reason)),
    }
}

/// Does `work` while two clients keep verifying requests in flight.
pub(crate) fn under_load<'r>(
    rig: &Rig,
    port: &mut Attached<'r>,
    work: impl FnOnce(&mut Attached<'r>) -> Result<(), String>,
) -> Verdict {
    let clients = [port.open()?, port.open()?];
    let third = port.open()?;
    let stop = &AtomicBool::new(false);
    let (worked, reports, swept) = std::thread::scope(|scope| {
        let loads: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(i, client)| scope.spawn(move || half(rig, client, i as u64).run(stop, 200)))
            .collect();
        let sweeper = scope.spawn(|| sweep(rig, &third, stop));
        let worked = work(port);
        stop.store(true, Ordering::Release);
        if worked.is_err() {
            port.give_up();
        }
        (worked, loads.into_iter().map(|load| load.join()).collect::<Vec<_>>(), sweeper.join())
    });
    worked?;
    let panicked = |_| "the load itself panicked".to_owned();
    for report in reports {
        report.map_err(panicked)?.verdict()?;
    }
    swept.map_err(panicked)??;
    drop((clients, third));
    port.check_clean()?;
    Ok(port.note())
}

/// Large write-zeroes at the end of the device, one after the other: a driver may do them in many
/// steps, and be replaced in between.
fn sweep(rig: &Rig, client: &Client, stop: &AtomicBool) -> Result<(), String> {
    let (size, block) = (client.info().size, u64::from(client.info().block_size));
    if size < 4 * SWEEP || !client.writable() || !client.has(block_feature::WRITE_ZEROES) {
        return Ok(());
    }
    let start = (size - SWEEP) / block * block;
    while !stop.load(Ordering::Acquire) {
        fill(client, start, 4 * block, 0x5a)?;
        fill(client, start + SWEEP - 4 * block, 4 * block, 0x5a)?;
        client.must(Ask::new(block_op::WRITE_ZEROES, start, SWEEP))?;
        if rig.keeps_contents() {
            all(client, start, 4 * block, 0, "a large write-zeroes, at its start")?;
            all(client, start + SWEEP - 4 * block, 4 * block, 0, "a large write-zeroes, at its end")?;
        }
    }
    Ok(())
}

/// A load on one half of the device.
fn half<'c>(rig: &Rig, client: &'c Client, which: u64) -> Load<'c> {
    let block = u64::from(client.info().block_size);
    let half = client.info().size / block / 2 * block;
    Load::new(client, (which * half, (which + 1) * half), 16, rig.rng(10 + which), rig.keeps_contents())
}
