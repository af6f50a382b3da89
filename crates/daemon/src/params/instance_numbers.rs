//! Numbers of ports within their drivers: what `file0` means in the classic form.

use crate::app::App;
use crate::params::view::file_problem;
use std::collections::BTreeMap;
use steadfast_api::Problem;
use steadfast_settings::{Instances, SettingsError};
use steadfast_shell::sync::lock;

impl App {
    /// Gives each port that has none a number. A daemon goes on without: what needs them says why not.
    pub(crate) fn number_ports(&self) {
        if let Err(e) = self.numbered() {
            tracing::warn!("ports have no numbers within their drivers: {e}");
        }
    }

    /// The ports of a driver by number.
    pub(super) fn numbers(&self, driver: &str) -> Result<BTreeMap<u32, String>, Problem> {
        self.numbered().map(|instances| instances.ports(driver)).map_err(|e| file_problem(&e))
    }

    /// All numbers; ports that had none have one now.
    pub(super) fn numbered(&self) -> Result<Instances, SettingsError> {
        let _numbering = lock(&self.edits.numbering);
        let mut instances = Instances::load(&self.topology.settings.folder)?;
        for port in self.engine.ports() {
            if let Some(release) = &port.module {
                instances.assign(&release.driver, &port.name)?;
            }
        }
        instances.save()?;
        Ok(instances)
    }

    /// Gives the number of a port that is gone for good free.
    pub(crate) fn forget_number(&self, port: &str) {
        let _numbering = lock(&self.edits.numbering);
        let forgotten = Instances::load(&self.topology.settings.folder).and_then(|mut instances| {
            let drivers: Vec<String> = instances.drivers().map(str::to_owned).collect();
            for driver in drivers {
                instances.forget(&driver, port);
            }
            instances.save()
        });
        if let Err(e) = forgotten {
            tracing::warn!("port {port} keeps its number: {e}");
        }
    }
}
