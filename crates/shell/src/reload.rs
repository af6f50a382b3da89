//! Parameters of the class *reload*: one value for all that a module does.
//!
//! A module is mapped once, however many ports it serves, and such a parameter is about what they share. So a
//! change of one takes effect only with every port that runs the module: they are initialised anew in turn,
//! all of them or none ([`Rolling`](crate::rolling::Rolling) says which is next). An activation of one port
//! alone does not carry it out.

use crate::params::ActivationClass;
use crate::receipt::ValueChange;

/// Which ports whoever asks for an activation sees to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reach {
    /// That port, and no other.
    #[default]
    Port,
    /// Every port that runs its module, in turn.
    Module,
}

/// Judges whether an activation of `port` may make these changes. `users`: the ports that run the module, or
/// are to once they come up.
///
/// # Errors
/// A change is of the class reload, and other ports run the module: which, for people.
pub fn judge(changes: &[ValueChange], port: &str, users: &[String], reach: Reach) -> Result<(), String> {
    let reload = changes.iter().filter(|change| change.class == ActivationClass::Reload);
    let names: Vec<&str> = reload.map(|change| change.name.as_str()).collect();
    let others = users.iter().any(|user| user != port);
    if names.is_empty() || !others || reach == Reach::Module {
        return Ok(());
    }
    let (what, verb) = (names.join(", "), if names.len() == 1 { "takes" } else { "take" });
    let mut ports: Vec<&str> = users.iter().map(String::as_str).collect();
    if !ports.contains(&port) {
        ports.push(port);
    }
    ports.sort_unstable();
    Err(format!(
        "{what} {verb} effect only when every port that runs the module is initialised anew ({}); \
         `activate --reload` does that, one after the other",
        ports.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, class: ActivationClass) -> ValueChange {
        ValueChange { name: name.into(), before: None, after: Some("1".into()), class }
    }

    fn users(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_modules_share_changes_with_all_of_their_ports_or_not_at_all() {
        use ActivationClass::{Live, Reinit, Reload};
        let changes = [change("speed", Reinit), change("depth", Reload), change("rate", Reload)];
        let both = users(&["vol1", "vol0"]);
        let why = judge(&changes, "vol0", &both, Reach::Port).expect_err("one of two");
        assert!(why.starts_with("depth, rate take effect only"), "{why}");
        assert!(why.contains("(vol0, vol1)") && !why.contains("speed"), "{why}");
        assert_eq!(judge(&changes, "vol0", &both, Reach::Module), Ok(()));
        // Others do not keep it from what is not theirs.
        for class in [Live, Reinit] {
            assert_eq!(judge(&[change("speed", class)], "vol0", &both, Reach::Port), Ok(()));
        }
        assert_eq!(judge(&[], "vol0", &both, Reach::Port), Ok(()));
    }

    #[test]
    fn a_port_that_has_its_module_for_itself_needs_nobody() {
        let changes = [change("depth", ActivationClass::Reload)];
        for own in [&["vol0"][..], &[]] {
            assert_eq!(judge(&changes, "vol0", &users(own), Reach::Port), Ok(()));
        }
        let why = judge(&changes, "vol0", &users(&["vol1"]), Reach::Port).expect_err("another runs it");
        assert!(why.starts_with("depth takes effect") && why.contains("(vol0, vol1)"), "{why}");
    }
}
