//! Records as Markdown tables.

use std::fmt::Write;

use super::group::{Group, distinct, groups};
use super::record::{Record, Report, Status};
use super::report::number;
use super::rounds::Spread;

/// What of the records a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A row for each.
    Records,
    /// A row for each shape, a column for each algorithm.
    ByAlgorithm,
    /// A row for each definition.
    Summary,
}

/// All of a report.
pub fn document(report: &Report) -> String {
    let preset = report.preset.as_ref().map_or(String::new(), |preset| format!(", preset {preset}"));
    let mut text = format!("# onesum bench{preset}\n\n{}\n", place(report));
    for group in groups(&report.results) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n## {}\n\n{}\n{}", cell(&group.title()), by_algorithm(&group), records(&group));
    }
    text
}

/// Some records of a report in one form, and where they were measured.
pub fn section(report: &Report, chosen: &[&Record], form: Form) -> String {
    let groups = groups(chosen.iter().copied());
    let mut text = format!("{}\n", place(report));
    if form == Form::Summary {
        return text + "\n" + &summary(&groups);
    }
    for group in &groups {
        let table = if form == Form::Records { records(group) } else { by_algorithm(group) };
        let title = if groups.len() > 1 { format!("**{}**\n\n", cell(&group.title())) } else { String::new() };
        let _ = write!(text, "\n{title}{table}");
    }
    text
}

/// The report's line, and what part the submit has in its times.
fn place(report: &Report) -> String {
    let empty = report.empty_submit_us.map_or(String::new(), |s| format!("; an empty submit takes {:.0} µs", s.median));
    format!("{}{empty}.", cell(&report.line()))
}

/// One row for each record.
fn records(group: &Group<'_>) -> String {
    let all = &group.records;
    let columns: Vec<Column> =
        COLUMNS.into_iter().filter(|column| all.iter().any(|r| (column.1)(r).is_some())).collect();
    let heads: Vec<&str> = ["shape", "variant"].into_iter().chain(columns.iter().map(|column| column.0)).collect();
    let mut text = head(&heads);
    for record in all {
        let role = if record.role == "chosen" { " (chosen)" } else { "" };
        let mut cells = vec![shape(record), format!("`{}`{role}", cell(&record.label()))];
        match (record.status, &record.reason) {
            (Status::Timed, _) => {
                cells.extend(columns.iter().map(|column| (column.1)(record).unwrap_or_else(|| "—".to_owned())));
            }
            (status, reason) => {
                let what = if status == Status::Wrong { "**wrong**" } else { "not run" };
                cells.push(format!("{what}: {}", cell(reason.as_deref().unwrap_or("no reason given"))));
                cells.resize(heads.len(), String::new());
            }
        }
        text += &row(&cells);
    }
    text + footnote(group)
}

/// What the marks of noisy records mean, if there are any.
fn footnote(group: &Group<'_>) -> &'static str {
    let noisy = group.records.iter().any(|record| record.noisy);
    if noisy { "\n\\* The rounds differed more than those of a quiet machine do.\n" } else { "" }
}

/// A heading, and what a record has there.
type Column = (&'static str, fn(&Record) -> Option<String>);

/// Those that no record of a table has anything in are left out.
const COLUMNS: [Column; 8] = [
    ("ms", |r| Some(format!("{:.3}{}", r.ms?.median, if r.noisy { " \\*" } else { "" }))),
    ("GB/s", |r| Some(format!("{:.2}", r.gb_per_s?))),
    ("of the limit", |r| Some(format!("{:.0} %", r.fraction_of_limit? * 100.0))),
    ("time over", |r| r.ratio.as_ref().map(|ratio| format!("{:.2} {}", ratio.time.median, ratio.over))),
    ("quartiles", |r| r.ratio.as_ref().map(|ratio| quartiles(ratio.time))),
    ("CPU time over", |r| Some(format!("{:.2}", r.ratio.as_ref()?.cpu?.median))),
    ("first use, ms", |r| Some(format!("{:.0}", r.first_use_ms?))),
    ("worst ULP", |r| r.worst_ulp.map(number)),
];

fn quartiles(s: Spread) -> String {
    format!("{:.2}–{:.2}", s.q1, s.q3)
}

/// One row for each shape.
fn by_algorithm(group: &Group<'_>) -> String {
    let algorithms = group.algorithms();
    let cpu = group.competitors().any(|r| r.ratio.as_ref().is_some_and(|ratio| ratio.cpu.is_some()));
    let several = |shape| group.competitors().filter(move |r| r.shape_numbers() == shape);
    // Where each kernel has but one variant, all of them are chosen.
    let contested = group.competitors().any(|r| r.role != "chosen");
    let ulp = group.competitors().any(|r| r.worst_ulp.is_some());
    let mut text = "Time over that of what column “over” names, in the same round, median".to_owned();
    text += if cpu { "; in parentheses, of the process's CPU time" } else { "" };
    text += if contested { "; bold: the variant that is chosen.\n\n" } else { ".\n\n" };
    let mut heads = vec!["shape", "over"];
    heads.extend(&algorithms);
    heads.extend(ulp.then_some("worst ULP: chosen / others"));
    text += &head(&heads);
    for shape_of in group.shapes() {
        let yardstick = group.records.iter().find(|r| r.is_yardstick() && r.shape_numbers() == shape_of);
        let over = yardstick.map_or(String::new(), |r| {
            let speed = r.gb_per_s.map_or(String::new(), |gb| format!(", {gb:.2} GB/s"));
            format!("{}{speed}", r.role)
        });
        let first = several(shape_of).next().or(yardstick.copied());
        let mut cells = vec![first.map_or(String::new(), shape), over];
        for algorithm in &algorithms {
            let own = several(shape_of).filter(|r| group.algorithm(r) == *algorithm);
            let unit = yardstick.map_or("", |r| r.role.as_str());
            cells.push(
                own.min_by(|a, b| time(a).total_cmp(&time(b))).map_or(String::new(), |r| ratio(r, unit, contested)),
            );
        }
        cells.extend(ulp.then(|| {
            let worst = |chosen: bool| {
                let ulps = several(shape_of).filter(|r| (r.role == "chosen") == chosen).filter_map(|r| r.worst_ulp);
                ulps.max_by(f64::total_cmp)
            };
            let parts = distinct([worst(true), worst(false)].into_iter().flatten().map(number));
            parts.join(" / ")
        }));
        text += &row(&cells);
    }
    text + footnote(group)
}

/// One row for each definition and what its times are over, then for each kernel: median and worst of its shapes.
fn summary(groups: &[Group<'_>]) -> String {
    let mut definitions: Vec<(String, String, Vec<Standings>)> = Vec::new();
    let mut kernels: Vec<(String, String, Vec<Standings>)> = Vec::new();
    for group in groups {
        let Some(kernel) = group.competitors().next().map(|r| r.kernel.as_str()) else { continue };
        for shape_of in group.shapes() {
            let of_kernel = || group.competitors().filter(|r| r.kernel == kernel && r.shape_numbers() == shape_of);
            let best = |role: &str| {
                let timed = of_kernel().filter(|r| r.role == role && r.ratio.is_some());
                timed.min_by(|a, b| time(a).total_cmp(&time(b)))
            };
            let Some((chosen, over)) = best("chosen").and_then(|r| Some((time(r), &r.ratio.as_ref()?.over))) else {
                continue;
            };
            let beside = |role: &str| best(role).map(|r| time(r) / chosen);
            let standings = || Standings { chosen, other: beside("other"), rival: beside("rival") };
            for (rows, name) in [(&mut definitions, group.title()), (&mut kernels, format!("all of {kernel}"))] {
                match rows.iter_mut().find(|row| (&row.0, &row.1) == (&name, over)) {
                    Some(row) => row.2.push(standings()),
                    None => rows.push((name, over.clone(), vec![standings()])),
                }
            }
        }
    }
    let mut text = "Time of the variant that is chosen over that of what column “over” names, in the same round; then that of our \
                    next best schedule, and of the best rival, over the chosen one's. Median of the shapes, and the worst: the \
                    greatest in the first column, the least in the others.\n\n"
        .to_owned();
    text += &head(&["definition", "shapes", "over", "chosen", "next schedule", "rival"]);
    for (name, over, shapes) in definitions.into_iter().chain(kernels) {
        let least = |of: fn(&Standings) -> Option<f64>| {
            let all: Vec<_> = shapes.iter().filter_map(of).collect();
            let least = all.iter().copied().min_by(f64::total_cmp);
            least.map_or(String::new(), |least| format!("{:.2}, {least:.2}", Spread::of(all.into_iter()).median))
        };
        let chosen = || shapes.iter().map(|s| s.chosen);
        let worst = chosen().fold(0.0, f64::max);
        text += &row(&[
            cell(&name),
            shapes.len().to_string(),
            over,
            format!("{:.2}, {worst:.2}", Spread::of(chosen()).median),
            least(|s| s.other),
            least(|s| s.rival),
        ]);
    }
    text
}

/// Times at one shape.
struct Standings {
    /// The chosen variant's over the yardstick's.
    chosen: f64,
    /// That of the next best schedule over the chosen one's.
    other: Option<f64>,
    /// The same of the best rival.
    rival: Option<f64>,
}

/// What was not timed comes last.
fn time(record: &Record) -> f64 {
    record.ratio.as_ref().map_or(f64::INFINITY, |ratio| ratio.time.median)
}

/// `1.86 (1.87)`, and what it is over where that is not `unit`.
fn ratio(record: &Record, unit: &str, contested: bool) -> String {
    let Some(ratio) = &record.ratio else {
        return if record.status == Status::Wrong { "**wrong**" } else { "not run" }.to_owned();
    };
    let cpu = ratio.cpu.map_or(String::new(), |cpu| format!(" ({:.2})", cpu.median));
    let over = if ratio.over == unit { String::new() } else { format!(" x {}", ratio.over) };
    let noisy = if record.noisy { " \\*" } else { "" };
    let text = format!("{:.2}{cpu}{over}", ratio.time.median);
    if contested && record.role == "chosen" { format!("**{text}**{noisy}") } else { text + noisy }
}

/// `4096 x 1024`, `4096 x 64, 6`.
fn shape(record: &Record) -> String {
    let choices = record.choices.map_or(String::new(), |choices| format!(", {choices}"));
    format!("{} x {}{choices}", record.rows, record.cols)
}

fn head(cells: &[&str]) -> String {
    let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
    format!("{}|{}\n", row(&cells), "---|".repeat(cells.len()))
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Text that a table's cell can hold.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::record::{Ratio, made_up};
    use super::*;

    const PLACE: &str = "Some GPU, cpu, vulkan, some driver 1.2, Some CPU, 2 threads; onesum 0.1.0, wgpu 30.0.1; \
                         21 rounds, submit to done; 2026-01-31.\n";

    #[test]
    fn a_row_for_each_record() {
        let mut results = made_up::softmaxes();
        results.truncate(3);
        results[1].noisy = true;
        results[2] = made_up::untimed(Status::Wrong, "row 1 | column\n2", results[2].clone());
        let report = made_up::report(results);
        let all: Vec<_> = report.results.iter().collect();
        let expected = "
| shape | variant | ms | GB/s | of the limit | time over | quartiles | CPU time over | worst ULP |
|---|---|---|---|---|---|---|---|---|
| 4096 x 1024 | `copy/f32/baseline/w8q128/x4` | 1.000 | 10.00 | 100 % | 1.00 copy | 0.98–1.02 | 1.00 | — |
| 4096 x 1024 | `softmax/onchip/f32/shuffle/w8k32/x4` (chosen) | 1.500 \\* | 6.67 | 67 % | 1.50 copy | 1.47–1.53 | 1.50 | 2 |
| 4096 x 1024 | `softmax/online/f32/baseline/w8l1/x4` | **wrong**: row 1 \\| column 2 |  |  |  |  |  |  |

\\* The rounds differed more than those of a quiet machine do.
";
        assert_eq!(section(&report, &all, Form::Records), format!("{PLACE}{expected}"));
    }

    #[test]
    fn a_row_for_each_shape() {
        let report = made_up::report(made_up::softmaxes());
        let all: Vec<_> = report.results.iter().collect();
        let expected = "
Time over that of what column “over” names, in the same round, median; in parentheses, of the process's CPU time; bold: the variant that is chosen.

| shape | over | onchip | online | stream | worst ULP: chosen / others |
|---|---|---|---|---|---|
| 4096 x 1024 | copy, 10.00 GB/s | **1.50 (1.50)** | 2.00 (2.00) |  | 2 |
| 512 x 32768 | copy, 10.00 GB/s |  | 2.50 (2.50) | **1.75 (1.75)** | 2 |
";
        assert_eq!(section(&report, &all, Form::ByAlgorithm), format!("{PLACE}{expected}"));
    }

    #[test]
    fn a_row_for_each_definition() {
        let report = made_up::report(made_up::softmaxes());
        let all: Vec<_> = report.results.iter().collect();
        let text = section(&report, &all, Form::Summary);
        let expected = "
| definition | shapes | over | chosen | next schedule | rival |
|---|---|---|---|---|---|
| softmax, f32 | 2 | copy | 1.62, 1.75 |  | 1.38, 1.33 |
| all of softmax | 2 | copy | 1.62, 1.75 |  | 1.38, 1.33 |
";
        assert!(text.starts_with(PLACE) && text.ends_with(expected), "{text}");
    }

    #[test]
    fn what_is_over_something_else_says_so() {
        let mut results = made_up::softmaxes();
        results.truncate(3);
        let over_route = Ratio { over: "route".to_owned(), time: made_up::exactly(1.25), cpu: None };
        results[2] = Record { kernel: "route + plan".to_owned(), ratio: Some(over_route), ..results[2].clone() };
        results[1].noisy = true;
        let report = made_up::report(results);
        let text = document(&report);
        assert_eq!(text.matches("\n\\* The rounds differed").count(), 2, "{text}");
        assert!(text.starts_with("# onesum bench, preset quick\n\nSome GPU"), "{text}");
        assert!(text.contains("\n## softmax, f32\n\nTime over"), "{text}");
        assert!(text.contains("| shape | over | onchip | route + plan | worst"), "{text}");
        assert!(text.contains("| **1.50 (1.50)** \\* | 1.25 x route |") && text.contains("| 1.25 route |"), "{text}");
    }
}
