use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One value that was to change.
#[derive(ToSchema)]
pub struct ValueChange {
    /// Parameter.
    pub name: String,
    /// Value before; missing where it was undefined.
    pub before: Option<String>,
    /// Value that was wanted.
    pub after: Option<String>,
    /// What a change of it takes: `live`, `reinit` or `reload`.
    pub class: String,
}

/// Where a definition was made.
#[derive(ToSchema, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the shell's type of the same name says what each is")]
pub enum Source {
    File { path: String, line: u32 },
    Option { text: String },
    Command { who: String },
    Environment { name: String },
}

/// A value, and where it was said.
#[derive(ToSchema)]
pub struct Definition {
    /// The value, as text.
    pub value: String,
    /// Where it was said.
    pub source: Source,
}

/// What proves that a port was initialised anew.
#[derive(ToSchema)]
pub struct Stamp {
    /// Count of the port's attaches.
    pub generation: u64,
    /// Wall clock of the last one, milliseconds since 1970.
    pub epoch_unix_ms: u64,
}

/// A step of an activation.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the shell's type of the same name says what each is")]
pub enum Step {
    Parse,
    Collect,
    Stamp,
    Clear,
    Undefine,
    Define,
    Delay,
    Idle,
    Block,
    Reinit,
    Compare,
    Restore,
    Unblock,
}

/// Time spent in one step, and what came of it.
#[derive(ToSchema)]
pub struct StepTime {
    /// Which step.
    pub step: Step,
    /// Nanoseconds.
    pub ns: u64,
    /// What was found or done, for people; may be empty.
    pub detail: String,
}

/// What a receipt says of properties.
#[derive(ToSchema)]
pub struct PropertiesReport {
    /// Values that were to change.
    pub changes: Vec<ValueChange>,
    /// Everything that was defined before.
    pub before: BTreeMap<String, Definition>,
    /// Everything that was to be defined.
    pub after: BTreeMap<String, Definition>,
    /// Generation and epoch before.
    pub stamp_before: Stamp,
    /// Generation and epoch after; a greater generation means that the port was initialised anew.
    pub stamp_after: Stamp,
    /// Steps of an activation, in order.
    pub steps: Vec<StepTime>,
    /// It was to be done only if no I/O flowed.
    pub idle_only: bool,
    /// The time that was asked to pass first, milliseconds.
    pub delay_ms: u64,
    /// Until when it had to be confirmed, milliseconds since 1970.
    pub confirm_until_unix_ms: Option<u64>,
    /// It was confirmed, or it was not and went back; missing while that is open or was not asked for.
    pub confirmed: Option<bool>,
}
