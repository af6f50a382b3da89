//! What a module would have loaded beside itself, as a check row tells it. Reading it is the loader's: it
//! has the bytes.

use super::CheckRow;

/// Libraries that a module may need: the system's own, which the daemon runs with too. A signature
/// covers a module's bytes and not those of another file, and a library of C++ keeps a module from
/// leaving memory, so anything else is to be linked into the module.
pub const ALLOWED: &[&str] = &[
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// What the dynamic linker would load with a module, and where it would look for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Libraries {
    /// Libraries that it needs (`DT_NEEDED`).
    pub needs: Vec<String>,
    /// What else makes the linker load files, or look for them elsewhere: the entry and what it names.
    pub brings: Vec<String>,
    /// The name by which others could ask for it (`DT_SONAME`); empty where it has none.
    pub name: String,
}

impl Libraries {
    /// Why the module may not be loaded; none when it may.
    pub fn refusal(&self) -> Option<String> {
        let strange = self.needs.iter().filter(|name| !ALLOWED.contains(&name.as_str()));
        let mut reasons: Vec<String> = strange.map(|name| format!("it needs {name}")).collect();
        reasons.extend(self.brings.iter().map(|entry| format!("it has {entry}")));
        if ALLOWED.contains(&self.name.as_str()) {
            reasons.push(format!("it goes by the name of {}", self.name));
        }
        let allowed = ALLOWED.join(", ");
        let rule =
            format!("a module may need {allowed}, wherever the system has them; link the rest into it");
        (!reasons.is_empty()).then(|| format!("{}: {rule}", reasons.join(", ")))
    }

    /// The row of a check.
    pub fn row(&self) -> CheckRow {
        let needs = if self.needs.is_empty() { "nothing".to_owned() } else { self.needs.join(", ") };
        let (ok, detail) = match self.refusal() {
            Some(why) => (false, why),
            None => (true, format!("it needs {needs}")),
        };
        CheckRow { name: "libraries".to_owned(), ok, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_systems_is_refused_by_name() {
        let needs = |needs: &[&str]| Libraries {
            needs: needs.iter().map(ToString::to_string).collect(),
            ..Libraries::default()
        };
        assert!(needs(&[]).row().ok && needs(ALLOWED).row().ok);
        for other in ["libevil.so", "/tmp/libc.so.6", "libstdc++.so.6", "./libc.so.6", ""] {
            let row = needs(&["libc.so.6", other]).row();
            assert!(!row.ok && row.detail.starts_with(&format!("it needs {other}:")), "{row:?}");
        }
    }

    #[test]
    fn where_it_would_look_and_what_it_calls_itself_count_too() {
        let path = Libraries { brings: vec!["DT_RUNPATH $ORIGIN".to_owned()], ..Libraries::default() };
        assert!(path.row().detail.contains("it has DT_RUNPATH $ORIGIN"));
        let name = Libraries { name: "libm.so.6".to_owned(), ..Libraries::default() };
        assert!(!name.row().ok, "another module's libm would be this");
        assert!(Libraries { name: "my.so".to_owned(), ..Libraries::default() }.row().ok);
    }
}
