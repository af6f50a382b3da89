//! `steadfast profile`.

use super::properties::show;
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output::profiles as output;
use crate::profiles::{ProfileCommand, ProfileSave};
use steadfast_api::{
    Profile, ProfileApplied, ProfileApplyRequest, ProfileDiff, ProfileSaveRequest, ProfileSaved, Profiles,
};

/// `steadfast profile ...`
pub(crate) fn profile(client: &Client, command: ProfileCommand, json: bool) -> Result<Exit, Failure> {
    let path = |name: &str| format!("/profiles/{}", segment(name));
    match command {
        ProfileCommand::List => {
            let all: Profiles = client.get("/profiles")?;
            show(&all, json, output::list)
        }
        ProfileCommand::Show { profile } => {
            let profile: Profile = client.get(&path(&profile))?;
            show(&profile, json, output::show)
        }
        ProfileCommand::Diff { profile, port } => {
            let diff: ProfileDiff =
                client.get(&format!("{}/diff?port={}", path(&profile), segment(&port)))?;
            show(&diff, json, output::diff)?;
            match diff.faults.first() {
                Some(_) => Err(Failure::new(format!("profile {profile} cannot be applied to port {port}"))),
                None if diff.changes.is_empty() => Ok(Exit::Done),
                None => Ok(Exit::Changes),
            }
        }
        ProfileCommand::Apply { profile, ports, dry_run } => {
            let request = ProfileApplyRequest { ports, dry_run };
            let applied: ProfileApplied = client.post(&format!("{}/apply", path(&profile)), &request)?;
            show(&applied, json, output::applied)
        }
        ProfileCommand::Save(ProfileSave { profile, port, about, replace }) => {
            let request = ProfileSaveRequest { port, about, replace };
            let saved: ProfileSaved = client.post(&path(&profile), &request)?;
            show(&saved, json, output::saved)
        }
    }
}
