//! Replacements that fail: the driver under test must go on as if nothing had been tried.

use super::swaps::under_load;
use crate::rig::{Attached, Rig};
use crate::sabotage::{Victim, copy};
use crate::{Stop, Verdict};
use steadfast_loader::StagedModule;
use steadfast_shell::check::choose_mode;
use steadfast_shell::receipt::{Mode, Outcome};

pub(crate) fn prepare(rig: &Rig) -> Verdict {
    let bad = copy(rig, Victim::Prepare).map_err(Stop::Skip)?;
    let mut port = rig.attach()?;
    under_load(rig, &mut port, |port| {
        for _ in 0..rig.options.swaps {
            expect(port, &bad, Mode::Drain, Outcome::Refused)?;
        }
        Ok(())
    })
}

pub(crate) fn connect(rig: &Rig) -> Verdict {
    let bad = copy(rig, Victim::Connect).map_err(Stop::Skip)?;
    let adopts = choose_mode(rig.manifest(), false, rig.manifest(), Some(Mode::Adopt)).is_ok();
    let mut port = rig.attach()?;
    under_load(rig, &mut port, |port| {
        for i in 0..rig.options.swaps {
            let mode = if adopts && i % 2 == 1 { Mode::Adopt } else { Mode::Drain };
            expect(port, &bad, mode, Outcome::RolledBack)?;
        }
        port.must_update(&rig.staged, Mode::Drain)?;
        Ok(())
    })
}

fn expect(port: &mut Attached<'_>, bad: &StagedModule, mode: Mode, wanted: Outcome) -> Result<(), String> {
    let receipt = port.update(bad, Some(mode));
    if receipt.outcome == wanted {
        return Ok(());
    }
    Err(format!(
        "a replacement that fails, {}: {:?} instead of {wanted:?}: {}",
        mode.name(),
        receipt.outcome,
        receipt.reason
    ))
}
