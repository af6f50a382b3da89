use crate::output::{Table, ports};
use steadfast_api::{CheckReport, Drivers};

/// Drivers, one line each, then what is wrong with files that are none.
pub(crate) fn list(drivers: &Drivers) -> String {
    let mut text = String::new();
    if drivers.drivers.is_empty() {
        text.push_str(&format!("no driver modules in {}\n", drivers.search_path.join(", ")));
    } else {
        let mut table = Table::new(&["DRIVER", "VERSION", "CLASS", "ABI", "PORTS", "MODULE", "ABOUT"]);
        for driver in &drivers.drivers {
            let ports = if driver.ports.is_empty() { "-".to_owned() } else { driver.ports.join(",") };
            table.row([
                &driver.name,
                &driver.version,
                &driver.class,
                &driver.abi,
                &ports,
                &driver.path,
                &driver.about,
            ]);
        }
        text.push_str(&table.to_string());
    }
    if !drivers.loaded.is_empty() {
        text.push_str(&format!("\n{}", ports::loaded(&drivers.loaded)));
    }
    for problem in &drivers.problems {
        text.push_str(&format!("not usable: {}\n", problem.reason));
    }
    text
}

/// What a check found: every row, then the verdict.
pub(crate) fn report(report: &CheckReport) -> String {
    let module = format!("{} {}", report.module.driver, report.module.version);
    let mut table = Table::new(&["CHECK", "RESULT", "DETAIL"]);
    for row in &report.rows {
        let result = if row.ok { "ok" } else { "FAILED" };
        table.row([row.name.as_str(), result, row.detail.as_str()]);
    }
    let running = report.running.as_ref().map(|r| format!("{} {}", r.driver, r.version));
    let verdict = match (report.ok, running) {
        (true, Some(old)) => {
            let mode = report.mode.map_or("?", |mode| mode.name());
            format!("{module} can replace {old} (mode {mode})")
        }
        (true, None) => format!("{module} is a usable module"),
        (false, Some(old)) => format!("{module} cannot replace {old}"),
        (false, None) => format!("{module} is not usable"),
    };
    format!("{table}{verdict}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_api::{CheckRow, Mode, Release};

    #[test]
    fn a_report_ends_with_the_verdict() {
        let release = |v: &str| Release { driver: "file".into(), version: v.into(), hash: String::new() };
        let row = |ok| CheckRow { name: "abi".into(), ok, detail: "1.0 and 1.0".into() };
        let mut check = CheckReport {
            module: release("1.1.0"),
            running: Some(release("1.0.0")),
            ok: true,
            mode: Some(Mode::Adopt),
            rows: vec![row(true)],
        };
        assert!(report(&check).ends_with("file 1.1.0 can replace file 1.0.0 (mode adopt)\n"));
        check.ok = false;
        check.rows.push(row(false));
        let text = report(&check);
        assert!(text.contains("abi    FAILED  1.0 and 1.0\n"), "{text}");
        assert!(text.ends_with("file 1.1.0 cannot replace file 1.0.0\n"), "{text}");
    }

    #[test]
    fn no_drivers_says_where_was_looked() {
        let drivers = Drivers { search_path: vec!["/a".into(), "/b".into()], ..Drivers::default() };
        assert_eq!(list(&drivers), "no driver modules in /a, /b\n");
    }
}
