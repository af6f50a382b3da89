//! Writes that a port's medium has lost, and who is told of it.

use crate::handle::contents::Contents;
use crate::handle::lost_writes::Lost;
use crate::port::Port;
use std::sync::Arc;
use steadfast_shell::sync::lock;

/// Ports on media that have lost writes, which somebody is about to accept.
#[derive(Debug)]
pub(crate) struct Accepting(Vec<Arc<Port>>);

impl Drop for Accepting {
    fn drop(&mut self) {
        for port in &self.0 {
            lock(&port.inner).accepting -= 1;
        }
    }
}

impl Port {
    /// What is known to be lost of these.
    pub(crate) fn losses(&self, contents: &[Contents]) -> Vec<Lost> {
        self.directory.upgrade().map_or_else(Vec::new, |engine| engine.media.losses(contents))
    }

    /// Whether clients can be told from here on that what they write is safe again: those that are connected may
    /// not have heard that it was not. Clients of any port on the same medium count.
    ///
    /// # Errors
    /// Who uses which port. Otherwise nobody gets a device of any of them until what is returned goes.
    pub(crate) fn begin_accepting(self: &Arc<Self>, force: bool) -> Result<Accepting, String> {
        let behind = lock(&self.inner).behind();
        let Some(engine) = self.directory.upgrade().filter(|engine| !engine.media.losses(&behind).is_empty())
        else {
            return Ok(Accepting(Vec::new()));
        };
        let all = engine.all_ports();
        let shares = |port: &Arc<Port>| {
            Arc::ptr_eq(port, self) || lock(&port.inner).behind().iter().any(|theirs| behind.contains(theirs))
        };
        let accepting = Accepting(all.into_iter().filter(shares).collect());
        let used: Vec<String> = accepting.0.iter().filter_map(|port| port.begin_being_accepted()).collect();
        if used.is_empty() || force {
            return Ok(accepting);
        }
        let used = used.join(", ");
        Err(format!("{used}, for whom flushes would succeed that must not: writes of theirs may be lost"))
    }

    /// Nobody gets a device of it from here on; who has one, in words.
    fn begin_being_accepted(&self) -> Option<String> {
        let clients = {
            let mut inner = lock(&self.inner);
            inner.accepting += 1;
            inner.clients()
        };
        (clients > 0).then(|| self.used_by(clients))
    }

    /// Somebody who was told goes on with what is behind the port as it is.
    pub(crate) fn accept_loss(&self, who: &str) -> String {
        let Some(engine) = self.directory.upgrade() else { return String::new() };
        let behind = lock(&self.inner).behind();
        let accepted = engine.media.forgive(&behind);
        for loss in &accepted {
            tracing::warn!(port = self.name, "accepted by {who}: {}", loss.why());
        }
        let whys: Vec<String> = accepted.iter().map(Lost::why).collect();
        if whys.is_empty() { String::new() } else { format!("; accepted: {}", whys.join(", ")) }
    }
}
