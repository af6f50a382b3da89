//! Where driver modules are looked for, and what is there.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use steadfast_api::{CheckReport, Driver, DriverProblem, Drivers, Problem, ProblemKind};
use steadfast_loader::{FoundModule, LoadError, LoadErrorKind, ModuleStore, StagedModule, Trust};
use steadfast_shell::check::{CheckInput, Limits, Policy, PortSide, Side, check, passed};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ParamSpec, ShellDefaults};

/// Folders that are searched for modules, the first one first.
#[derive(Clone, Debug)]
pub struct ModulePath {
    folders: Vec<PathBuf>,
}

impl ModulePath {
    /// These folders and no others.
    pub fn only(folders: Vec<PathBuf>) -> ModulePath {
        ModulePath { folders }
    }

    /// `first`, then those of `STEADFAST_MODULES`, then those beside this program: where a build
    /// leaves modules, and where an installation does.
    pub fn standard(first: &[PathBuf]) -> ModulePath {
        let mut folders = first.to_vec();
        if let Some(paths) = env::var_os("STEADFAST_MODULES") {
            folders.extend(env::split_paths(&paths).filter(|p| !p.as_os_str().is_empty()));
        }
        if let Some(beside) = env::current_exe().ok().as_deref().and_then(Path::parent) {
            folders.push(beside.join("deps"));
            folders.push(beside.to_owned());
            folders.extend(beside.parent().map(|up| up.join("lib/steadfast/modules")));
        }
        ModulePath { folders }
    }

    /// The file that `text` means: a path, or the newest module of a driver name.
    pub fn locate(&self, text: &str) -> Result<PathBuf, LoadError> {
        steadfast_loader::locate(text, &self.folders)
    }

    /// What every module that is there says of itself. Nothing is run.
    pub(crate) fn manifests(&self) -> Vec<Manifest> {
        let found = steadfast_loader::find_modules(&self.folders);
        found.modules.into_iter().map(|module| module.manifest).collect()
    }

    /// Everything that is there. Nothing is run.
    pub fn list(&self) -> Drivers {
        let found = steadfast_loader::find_modules(&self.folders);
        Drivers {
            search_path: self.folders.iter().map(|f| f.display().to_string()).collect(),
            loaded: Vec::new(),
            drivers: found.modules.iter().map(describe).collect(),
            // Build folders hold other shared objects too; one that is no driver at all is no problem.
            problems: found
                .refused
                .iter()
                .filter(|e| e.kind() != LoadErrorKind::NotAModule)
                .map(|e| DriverProblem { path: e.file.display().to_string(), reason: e.to_string() })
                .collect(),
        }
    }
}

/// Whether `text` is a module's path and not a driver's name: it has a slash, or ends in `.so`.
pub fn is_module_path(text: &str) -> bool {
    text.contains('/') || text.ends_with(".so")
}

fn describe(module: &FoundModule) -> Driver {
    let manifest = &module.manifest;
    Driver {
        name: manifest.name.clone(),
        version: manifest.version.to_string(),
        class: manifest.class.name().to_owned(),
        about: manifest.about.clone(),
        abi: format!("{}.{}", manifest.abi.0, manifest.abi.1),
        path: module.path.display().to_string(),
        features: manifest.feature_names().into_iter().map(str::to_owned).collect(),
        params: manifest.params.iter().map(describe_param).collect(),
        ports: Vec::new(),
    }
}

fn describe_param(spec: &ParamSpec) -> String {
    let mut text = format!("{}: {} ({})", spec.name, spec.kind, spec.allowed());
    if !spec.unit.is_empty() {
        text.push_str(&format!(" {}", spec.unit));
    }
    match &spec.default {
        Some(default) => text.push_str(&format!(", default {}", default)),
        None if spec.required => text.push_str(", required"),
        None => {}
    }
    text.push_str(&format!(", {}", spec.class.name()));
    if !spec.help.is_empty() {
        text.push_str(&format!(": {}", spec.help));
    }
    text
}

/// The parameter that `DRIVER:TARGET` means: the one that must be given, or else the first one.
pub(crate) fn target_param(manifest: &Manifest) -> Option<&ParamSpec> {
    manifest.params.iter().find(|p| p.required).or_else(|| manifest.params.first())
}

/// What is wrong with a module, for a client of the control API.
pub(crate) fn load_problem(error: &LoadError) -> Problem {
    match error.kind() {
        LoadErrorKind::NotFound => Problem::new(ProblemKind::NotFound, error.to_string())
            .hint("`steadfast driver list` shows what there is"),
        LoadErrorKind::Store => Problem::new(ProblemKind::Internal, error.to_string()),
        _ => Problem::new(ProblemKind::BadModule, error.to_string()),
    }
}

/// Checks a module by itself, in this process: its file, its manifest, and that it can be mapped and
/// keeps what its manifest says; in a process of its own first. Nothing of it stays.
pub fn check_module(modules: &ModulePath, text: &str, trust: Trust) -> Result<CheckReport, Problem> {
    let path = modules.locate(text).map_err(|e| load_problem(&e))?;
    let internal = |e: std::io::Error| Problem::new(ProblemKind::Internal, format!("temporary folder: {e}"));
    let folder = tempfile::tempdir().map_err(internal)?;
    let staged = ModuleStore::open(folder.path())
        .and_then(|store| store.trusting(trust).stage(&path))
        .map_err(|e| load_problem(&e))?;
    let mut report = report(&staged, None, check(&input(&staged, &BTreeMap::new())));
    // By itself there are no parameters that it could be given.
    report.rows.retain(|row| row.name != "parameters");
    let loaded = staged.load().map(|module| format!("mapped, and {}", unloaded(module.unload())));
    let (loaded, how) = match loaded {
        Ok(how) => (Ok(()), how),
        Err(e) => (Err(e), String::new()),
    };
    report.rows.push(load_row(&staged, loaded, &how));
    report.ok = report.rows.iter().all(|row| row.ok);
    Ok(report)
}

/// The row that says whether a module can be mapped, and how that was seen.
pub(crate) fn load_row(
    staged: &StagedModule,
    tried: Result<(), LoadError>,
    how: &str,
) -> steadfast_api::CheckRow {
    let (ok, detail) = match tried {
        Ok(()) => (true, how.to_owned()),
        // The rows of the signature and of the libraries say why.
        Err(_) if staged.refusal().is_some() => {
            (false, "not mapped: a row above does not allow it".to_owned())
        }
        Err(e) => (false, e.to_string()),
    };
    steadfast_api::CheckRow { name: "load".to_owned(), ok, detail }
}

/// What the module in a file is, from its bytes alone: nothing of it is mapped, and nothing is written.
///
/// # Errors
/// Why it is no whole module.
pub fn examine_module(path: &Path) -> Result<steadfast_api::Release, String> {
    let folder = tempfile::tempdir().map_err(|e| format!("temporary folder: {e}"))?;
    let store = ModuleStore::open(folder.path()).map_err(|e| e.to_string())?;
    store.examine(path).map(|staged| staged.release()).map_err(|e| e.to_string())
}

fn unloaded(unload: steadfast_api::Unload) -> &'static str {
    match unload {
        steadfast_api::Unload::Unloaded => "left memory again",
        _ => "stays in memory: something in it keeps it there",
    }
}

fn input<'a>(staged: &'a StagedModule, properties: &'a BTreeMap<String, String>) -> CheckInput<'a> {
    CheckInput {
        running: None,
        candidate: Side { manifest: &staged.manifest, hash: &staged.hash },
        offered_features: 0,
        limits: Limits::NONE,
        properties,
        shell: ShellDefaults::default(),
        hardware: None,
        port: PortSide::default(),
        signature: Some((&staged.signature, &staged.source)),
        libraries: Some(&staged.libraries),
        policy: Policy::default(),
    }
}

/// Rows of a check as the control API shows them.
pub(crate) fn report(
    staged: &StagedModule,
    running: Option<steadfast_api::Release>,
    rows: Vec<steadfast_shell::check::CheckRow>,
) -> CheckReport {
    CheckReport {
        module: staged.release(),
        running,
        ok: passed(&rows),
        mode: None,
        rows: rows
            .into_iter()
            .map(|row| steadfast_api::CheckRow { name: row.name, ok: row.ok, detail: row.detail })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        assert!(is_module_path("./x") && is_module_path("libx.so") && is_module_path("/a/b"));
        assert!(!is_module_path("file") && !is_module_path("file@1.1.0"));
    }

    #[test]
    fn what_is_given_is_searched_first() {
        let path = ModulePath::standard(&[PathBuf::from("/first")]);
        assert_eq!(path.folders[0], Path::new("/first"));
        assert!(path.folders.iter().any(|f| f.ends_with("deps")), "{path:?}");
    }

    #[test]
    fn an_unknown_module_is_not_found() {
        let empty = tempfile::tempdir().expect("a folder");
        let modules = ModulePath::only(vec![empty.path().to_owned()]);
        let problem = check_module(&modules, "nonesuch", Trust::default()).expect_err("there is none");
        assert_eq!(problem.kind, ProblemKind::NotFound);
        assert!(problem.message.contains("nonesuch"), "{problem}");
    }

    #[test]
    fn a_file_that_is_no_module_is_said_to_be_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk.so");
        std::fs::write(&path, "not a module at all").expect("written");
        let problem =
            check_module(&ModulePath::only(Vec::new()), path.to_str().expect("UTF-8"), Trust::default());
        let problem = problem.expect_err("it is text");
        assert_eq!(problem.kind, ProblemKind::BadModule);
        assert!(problem.message.contains("disk.so"), "{problem}");
    }
}
