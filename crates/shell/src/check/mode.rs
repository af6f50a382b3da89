use crate::manifest::{Manifest, Schema};
use crate::receipt::Mode;

/// How requests in flight are treated: as `wanted` where both drivers can do that, else the least
/// disruptive way that they can.
///
/// Adopting needs a candidate that knows the private bytes (PDU) of the running driver's requests:
/// its own schema or one that it can adopt. A running driver that may have no operation in flight at
/// all leaves nothing to know. Splitting needs a running driver that hands back what it has not begun
/// (`hands_back`: its entry point of that name is there). Draining can always be done.
///
/// # Errors
/// Why what is wanted cannot be done.
pub fn choose_mode(
    running: &Manifest,
    hands_back: bool,
    candidate: &Manifest,
    wanted: Option<Mode>,
) -> Result<Mode, String> {
    match wanted {
        Some(Mode::Drain) => Ok(Mode::Drain),
        Some(Mode::Split) => match can_split(running, hands_back) {
            Ok(()) => Ok(Mode::Split),
            Err(reason) => Err(format!("split is not possible: {reason}")),
        },
        Some(Mode::Adopt) => match can_adopt(running, candidate) {
            Ok(()) => Ok(Mode::Adopt),
            Err(reason) => Err(format!("adopt is not possible: {reason}")),
        },
        None if can_adopt(running, candidate).is_ok() => Ok(Mode::Adopt),
        None if hands_back => Ok(Mode::Split),
        None => Ok(Mode::Drain),
    }
}

pub(super) fn can_split(running: &Manifest, hands_back: bool) -> Result<(), String> {
    if hands_back {
        return Ok(());
    }
    Err(format!("{} {} cannot hand requests back", running.name, running.version))
}

pub(super) fn can_adopt(running: &Manifest, candidate: &Manifest) -> Result<(), String> {
    let Some(pdu) = &running.pdu else {
        if running.ops == 0 && running.port_ops == 0 {
            return Ok(());
        }
        return Err(format!("{} {} names no PDU schema", running.name, running.version));
    };
    if knows(candidate, &pdu.schema) {
        return Ok(());
    }
    let own = candidate.pdu.iter().map(|own| &own.schema);
    let known: Vec<String> = own.chain(&candidate.pdu_adopt).map(Schema::to_string).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(format!(
        "{} {} has requests of PDU schema {}, {} {} takes {known}",
        running.name, running.version, pdu.schema, candidate.name, candidate.version
    ))
}

fn knows(candidate: &Manifest, schema: &Schema) -> bool {
    candidate.pdu.as_ref().is_some_and(|own| own.schema == *schema) || candidate.pdu_adopt.contains(schema)
}

/// The schema by which state goes from one driver to the other: the best for the candidate of those
/// that the running driver can write. None when there is none in common.
pub fn common_state_schema(running: &Manifest, candidate: &Manifest) -> Option<Schema> {
    candidate.state_read.iter().find(|schema| running.state_write.contains(schema)).cloned()
}
