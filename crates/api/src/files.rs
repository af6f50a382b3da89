use crate::Saved;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for files of the parameters folder to be examined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LintRequest {
    /// This text instead of the folder.
    #[serde(default)]
    pub file: Option<LintFile>,
}

/// A file that need not be in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LintFile {
    /// Its path, for messages; its name says which driver it is of.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is refused where it is used, or not used at all.
    Fault,
    /// It has no effect.
    Warning,
}

/// Something that is wrong with a file, or not likely to be meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where: file and line.
    pub place: String,
    /// What.
    pub message: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LintReport {
    /// Files that were examined.
    pub files: Vec<String>,
    /// Everything that was found, by file and line.
    pub findings: Vec<Finding>,
}

/// Asks for a file in the classic form to be taken into a driver's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The driver.
    pub driver: String,
    /// The file's path, for messages.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an import has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportReport {
    /// The driver.
    pub driver: String,
    /// The driver's file.
    pub file: String,
    /// It was only said what would be done.
    pub dry_run: bool,
    /// Entries of the driver's file that differ from before.
    pub entries: u32,
    /// Values of ports that differ from before.
    pub changed: Vec<Saved>,
    /// What is not wrong, but not likely to be meant either, with file and line.
    pub warnings: Vec<String>,
}

/// What is saved for a driver, as a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exported {
    /// The driver.
    pub driver: String,
    /// Its file.
    pub file: String,
    /// The text.
    pub text: String,
    /// What is not in it, because the form has no words for it, with file and line.
    #[serde(default)]
    pub warnings: Vec<String>,
}
