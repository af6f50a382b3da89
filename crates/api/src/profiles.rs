use crate::Saved;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One profile in the list of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileSummary {
    /// Name.
    pub name: String,
    /// What it is for; may be empty.
    pub about: String,
    /// It comes with Steadfast.
    pub built_in: bool,
    /// The profile that it extends.
    pub extends: Option<String>,
    /// Its file, where it has one.
    pub file: Option<String>,
    /// Parameters that it has values for, those that it extends included.
    pub params: u32,
    /// How many of these no driver here has.
    pub not_here: u32,
    /// What is wrong with it; it cannot be applied then.
    pub faults: Vec<String>,
}

/// All profiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profiles {
    /// The profiles, those that come with Steadfast first.
    pub profiles: Vec<ProfileSummary>,
    /// Folder of the administrator's own.
    pub folder: String,
}

/// A value of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileParam {
    /// Parameter.
    pub name: String,
    /// Value.
    pub value: String,
    /// Why; may be empty.
    pub why: String,
    /// Where it is said.
    pub source: String,
    /// Drivers here that have the parameter; `*` where every driver has it, empty where none does.
    pub drivers: Vec<String>,
}

/// A profile: a named set of values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// What it is for; may be empty.
    pub about: String,
    /// It comes with Steadfast.
    pub built_in: bool,
    /// The profile that it extends.
    pub extends: Option<String>,
    /// Its file, where it has one.
    pub file: Option<String>,
    /// All values, those of the profiles that it extends included.
    pub params: Vec<ProfileParam>,
}

/// What applying a profile would do to one parameter of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileChange {
    /// Parameter.
    pub name: String,
    /// Value in force; missing where it is undefined.
    pub current: Option<String>,
    /// Value that is saved.
    pub saved: Option<String>,
    /// Value that would be saved.
    pub would_be: Option<String>,
    /// What a change takes: `live`, `reinit` or `reload`.
    pub class: String,
    /// What would happen, for people.
    pub effect: String,
    /// The profile's reason for it; may be empty.
    pub why: String,
    /// Where the profile says it.
    pub source: String,
}

/// What applying a profile would change on a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileDiff {
    /// Profile.
    pub profile: String,
    /// Port.
    pub port: String,
    /// Values that would differ from those that are saved, or from those in force.
    pub changes: Vec<ProfileChange>,
    /// Parameters that have the profile's value already, saved and in force.
    pub same: Vec<String>,
    /// Values of the profile for parameters that the port does not have.
    pub missing: Vec<ProfileParam>,
    /// Why it could not be applied.
    pub faults: Vec<String>,
}

/// Asks for a profile's values to be saved for ports: for all of those named, or for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileApplyRequest {
    /// The ports. One of the three has to be given.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Every port of this adapter, by number.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Every port that runs this driver, by name.
    #[serde(default)]
    pub all_of: Option<String>,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// Parameters of a profile that a port does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileMissing {
    /// Port.
    pub port: String,
    /// Parameters.
    pub params: Vec<String>,
}

/// What applying a profile has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileApplied {
    /// Profile.
    pub profile: String,
    /// The files that were changed.
    pub files: Vec<String>,
    /// It was only said what would be done.
    pub dry_run: bool,
    /// Values that differ from before.
    pub changed: Vec<Saved>,
    /// What the ports do not have.
    pub missing: Vec<ProfileMissing>,
}

/// Asks for the saved values of a port to become a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileSaveRequest {
    /// The port.
    pub port: String,
    /// What it is for; when missing, as it was.
    #[serde(default)]
    pub about: Option<String>,
    /// In the place of one of that name.
    #[serde(default)]
    pub replace: bool,
}

/// A profile that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileSaved {
    /// The profile as it is now.
    pub profile: Profile,
    /// Parameters that belong to the port alone, and so are not in it.
    pub left_out: Vec<String>,
}
