//! `steadfast profile`.

use super::rolling::meant;
use crate::args::ports::{Ports, Which};
use crate::args::profiles::{ProfileCommand, ProfileSave};
use crate::client::{Client, segment};
use crate::commands::params::show;
use crate::failure::{Exit, Failure};
use crate::output::profiles as output;
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
        ProfileCommand::Diff { profile, port, which } => {
            let fetch = |port: &String| {
                client.get::<ProfileDiff>(&format!("{}/diff?port={}", path(&profile), segment(port)))
            };
            let diffs = match &port {
                Some(port) => vec![fetch(port)?],
                None => meant(client, &which)?.iter().map(fetch).collect::<Result<_, _>>()?,
            };
            match &diffs[..] {
                [diff] if port.is_some() => show(diff, json, output::diff)?,
                diffs => show(&diffs, json, |diffs| diffs.iter().map(output::diff).collect())?,
            };
            if let Some(diff) = diffs.iter().find(|diff| !diff.faults.is_empty()) {
                let what = format!("profile {profile} cannot be applied to port {}", diff.port);
                return Err(Failure::new(what));
            }
            let same = diffs.iter().all(|diff| diff.changes.is_empty());
            Ok(if same { Exit::Done } else { Exit::Changes })
        }
        ProfileCommand::Apply { profile, ports, dry_run } => {
            let Ports { ports, which: Which { adapter, all_of } } = ports;
            let request = ProfileApplyRequest { ports, adapter, all_of, dry_run };
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
