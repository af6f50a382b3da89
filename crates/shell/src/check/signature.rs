//! A module's signature, as a check row tells it. Verifying is the loader's: it has the bytes.

use std::path::{Path, PathBuf};

use super::CheckRow;

/// What became of looking at a module's signature, and whether policy asks for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// What was found.
    pub state: Signature,
    /// Policy takes signed modules only.
    pub required: bool,
}

/// What was found when a module's signature was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Signature {
    /// Nobody looked: there is no folder of trusted keys.
    #[default]
    NotLooked,
    /// A trusted key signed exactly these bytes.
    Good {
        /// The signature's file.
        file: PathBuf,
        /// The key, as `minisign` prints it.
        key: String,
        /// The trusted key's file.
        key_file: PathBuf,
        /// What the signer wrote into it; covered by the signature.
        comment: String,
    },
    /// There is none.
    Missing {
        /// Where it would be.
        file: PathBuf,
    },
    /// Its key is not trusted.
    UnknownKey {
        /// The signature's file.
        file: PathBuf,
        /// The key, as `minisign` prints it.
        key: String,
        /// The keys that are trusted, and the files that cannot be used, for people.
        trusted: String,
    },
    /// The trusted keys cannot be used at all.
    NoKeys {
        /// Their folder.
        folder: PathBuf,
        /// Why not.
        why: String,
    },
    /// It is wrong: not of these bytes, cut off, of another algorithm.
    Bad {
        /// The signature's file.
        file: PathBuf,
        /// The key, where it can be read that far.
        key: Option<String>,
        /// What is wrong.
        why: String,
    },
}

impl Signed {
    /// Whether the module may be loaded. A signature that is wrong is never right, also where none is
    /// required; one that is not there, or whose key nobody knows, is only wrong where one is.
    pub fn allows(&self) -> bool {
        match self.state {
            Signature::Good { .. } => true,
            Signature::Bad { .. } => false,
            _ => !self.required,
        }
    }

    /// What was found, the module's file being `module`.
    pub fn detail(&self, module: &Path) -> String {
        let module = module.display();
        let found = match &self.state {
            Signature::NotLooked if self.required => "no folder of trusted keys is configured".to_owned(),
            Signature::NotLooked => "not looked at: no folder of trusted keys is configured".to_owned(),
            Signature::Good { key, key_file, comment, .. } => {
                let by = key_file.display();
                format!("{module} is signed by key {key}, trusted by {by}; comment: {comment}")
            }
            Signature::Missing { file } => format!("{module} is not signed: there is no {}", file.display()),
            Signature::UnknownKey { file, key, trusted } => {
                let file = file.display();
                format!("{file} is by key {key}, which is not trusted ({trusted})")
            }
            Signature::NoKeys { folder, why } => {
                format!("{module} cannot be verified: trusted keys {}: {why}", folder.display())
            }
            Signature::Bad { file, key: Some(key), why } => format!("{} by key {key}: {why}", file.display()),
            Signature::Bad { file, key: None, why } => format!("{}: {why}", file.display()),
        };
        match (&self.state, self.required) {
            (Signature::Good { .. } | Signature::Bad { .. }, _) => found,
            (_, true) => format!("{found}; policy requires a signature"),
            (Signature::NotLooked, false) => found,
            (_, false) => format!("{found}; policy does not require a signature"),
        }
    }

    /// The row of a check.
    pub fn row(&self, module: &Path) -> CheckRow {
        CheckRow { name: "signature".to_owned(), ok: self.allows(), detail: self.detail(module) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_refused_and_what_is_missing_only_where_it_is_required() {
        let file = PathBuf::from("/m.so.minisig");
        let (key, trusted) = ("0A".to_owned(), String::new());
        let good = Signature::Good {
            file: file.clone(),
            key: key.clone(),
            key_file: "/k.pub".into(),
            comment: "release".into(),
        };
        let cases = [
            (Signature::NotLooked, true, false),
            (good, true, true),
            (Signature::Missing { file: file.clone() }, true, false),
            (Signature::UnknownKey { file: file.clone(), key, trusted }, true, false),
            (Signature::NoKeys { folder: "/keys".into(), why: "gone".into() }, true, false),
            (Signature::Bad { file, key: None, why: "cut off".into() }, false, false),
        ];
        for (state, free, required) in cases {
            let allows = |required| Signed { state: state.clone(), required }.allows();
            assert_eq!((allows(false), allows(true)), (free, required), "{state:?}");
        }
    }

    #[test]
    fn a_row_names_file_and_key() {
        let state = Signature::UnknownKey {
            file: "/m.so.minisig".into(),
            key: "E7620F1842B4E81F".into(),
            trusted: "trusted: none".into(),
        };
        let row = Signed { state, required: true }.row(Path::new("/m.so"));
        assert!(!row.ok);
        assert_eq!(
            row.detail,
            "/m.so.minisig is by key E7620F1842B4E81F, which is not trusted (trusted: none); policy requires \
             a signature"
        );
    }
}
