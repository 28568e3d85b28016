//! Tables for people, records for machines.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use onesum::conformance::Adapter;
use onesum::host::Gpu;
use serde::Serialize;

use super::rounds::{Outcome, Plan, Spread, Standing, Yardstick};

/// The report of a run. Field names are stable; fields may be added.
#[derive(Serialize)]
pub struct Report {
    /// Of this format.
    version: u32,
    onesum: &'static str,
    wgpu: String,
    /// UTC, ISO 8601.
    date: String,
    adapter: Adapter,
    /// Those enabled on the device.
    features: Vec<String>,
    method: Method,
    results: Vec<Record>,
}

/// How times were measured.
#[derive(Serialize)]
struct Method {
    clock: &'static str,
    rounds: u32,
    /// Competitors take turns within a round, and ratios are taken within it.
    order: &'static str,
    data: &'static str,
    /// Operands rotate over at least so many bytes.
    rotate_bytes: u64,
    /// Seconds of work in one submit, about.
    submit_seconds: f64,
}

/// One competitor at one shape.
#[derive(Clone, Serialize)]
pub struct Record {
    /// Tokens, of routing.
    rows: u32,
    /// Experts, of routing; elements of a token, of its permutation.
    cols: u32,
    /// Choices of a token, of routing.
    choices: Option<u32>,
    variant: String,
    /// `copy`, `read` or `empty` (the yardstick), `chosen` (by `select`), `other` or `rival`.
    role: &'static str,
    /// `timed`, `wrong` or `refused`; the rest is null unless timed.
    status: &'static str,
    /// Why it was not timed.
    reason: Option<String>,
    ms: Option<Spread>,
    /// 10^9 bytes per second of ideal traffic: one read and, of a softmax or a permutation, one write of each element.
    gb_per_s: Option<f64>,
    /// Time per byte over the copy's of the same round; null of sampling.
    x_copy: Option<Spread>,
    /// The same of the process's CPU time; null unless the adapter runs on the CPU.
    x_copy_cpu: Option<Spread>,
    /// Time over that of a kernel that only reads, of the same round; null of softmax.
    x_read: Option<Spread>,
    /// The same of the process's CPU time.
    x_read_cpu: Option<Spread>,
    /// Time over that of routing alone, where more is done.
    x_route: Option<Spread>,
    x_route_cpu: Option<Spread>,
    /// Time over that of a dispatch that does nothing.
    x_empty: Option<Spread>,
    x_empty_cpu: Option<Spread>,
    worst_ulp: Option<f64>,
    rows_checked: Option<usize>,
}

impl Record {
    fn new(outcome: &Outcome, variant: &str, role: &'static str, over: Yardstick, standing: &Standing) -> Self {
        let (status, reason, timing) = match standing {
            Standing::Timed(timing) => ("timed", None, Some(*timing)),
            Standing::Wrong(why) => ("wrong", Some(why.clone()), None),
            Standing::Refused(why) => ("refused", Some(why.clone()), None),
        };
        let ms = |s: Spread| Spread { q1: s.q1 * 1e3, median: s.median * 1e3, q3: s.q3 * 1e3 };
        let checked = timing.filter(|t| t.rows_checked > 0);
        let (ratio, cpu) = (timing.map(|t| t.ratio), timing.and_then(|t| t.cpu_ratio));
        let (x, x_cpu) = (|unit| ratio.filter(|_| over == unit), |unit| cpu.filter(|_| over == unit));
        Self {
            rows: outcome.shape.0,
            cols: outcome.shape.1,
            choices: outcome.choices,
            variant: variant.to_owned(),
            role,
            status,
            reason,
            ms: timing.map(|t| ms(t.seconds)),
            gb_per_s: timing.filter(|_| outcome.yardstick != Yardstick::Empty).map(|t| t.bandwidth * 1e-9),
            x_copy: x(Yardstick::Copy),
            x_copy_cpu: x_cpu(Yardstick::Copy),
            x_read: x(Yardstick::Read),
            x_read_cpu: x_cpu(Yardstick::Read),
            x_route: x(Yardstick::Route),
            x_route_cpu: x_cpu(Yardstick::Route),
            x_empty: x(Yardstick::Empty),
            x_empty_cpu: x_cpu(Yardstick::Empty),
            worst_ulp: checked.and_then(|t| t.worst_ulp),
            rows_checked: checked.map(|t| t.rows_checked),
        }
    }

    /// Its one ratio, what that is over, and the same of CPU time.
    fn ratio(&self) -> Option<(Spread, &'static str, Option<Spread>)> {
        [
            (self.x_copy, Yardstick::Copy, self.x_copy_cpu),
            (self.x_read, Yardstick::Read, self.x_read_cpu),
            (self.x_route, Yardstick::Route, self.x_route_cpu),
            (self.x_empty, Yardstick::Empty, self.x_empty_cpu),
        ]
        .into_iter()
        .find_map(|(x, over, cpu)| Some((x?, over.name(), cpu)))
    }
}

/// The records of one shape, the yardstick first.
pub fn records(outcome: &Outcome) -> Vec<Record> {
    let (unit, timing) = &outcome.unit;
    let yardstick = outcome.yardstick;
    let mut records = vec![Record::new(outcome, unit, yardstick.name(), yardstick, &Standing::Timed(*timing))];
    records.extend(outcome.entrants.iter().map(|e| Record::new(outcome, &e.name, e.role, e.over, &e.standing)));
    records
}

/// The table of one shape.
pub fn table(outcome: &Outcome) -> String {
    let records = records(outcome);
    let (cpu, unit) = (outcome.unit.1.cpu_ratio.is_some(), outcome.yardstick.name());
    let width = records.iter().map(|r| r.variant.len()).max().unwrap_or(0);
    let mut text = format!(
        "\n{}\n  {:width$}  {:6}  {:>9}  {:>8}  {:>7}  {:>11}{}  {:>9}\n",
        outcome.title,
        "variant",
        "",
        "ms",
        "GB/s",
        format!("x {unit}"),
        "quartiles",
        if cpu { format!("  x {unit} CPU") } else { String::new() },
        "worst ULP"
    );
    for record in &records {
        let role = if record.role == "other" { "" } else { record.role };
        let _ = write!(text, "  {:width$}  {role:6}", record.variant);
        let _ = match (&record.reason, record.ms, record.ratio()) {
            (Some(reason), ..) => {
                writeln!(text, "  {}: {reason}", if record.status == "wrong" { "WRONG" } else { "not run" })
            }
            (None, Some(ms), Some((x, over, cpu))) => {
                let quartiles = format!("{:.2}..{:.2}", x.q1, x.q3);
                let cpu = cpu.map_or(String::new(), |c| format!("  {:>1$.2}", c.median, unit.len() + 6));
                let ulp = record.worst_ulp.map_or("-".to_owned(), number);
                let gb = record.gb_per_s.map_or("-".to_owned(), |gb| format!("{gb:.2}"));
                let over = if over == unit { String::new() } else { format!("  x {over}") };
                writeln!(text, "  {:>9.3}  {gb:>8}  {:>7.2}  {quartiles:>11}{cpu}  {ulp:>9}{over}", ms.median, x.median)
            }
            _ => writeln!(text),
        };
    }
    text
}

/// Whole numbers without decimals.
fn number(x: f64) -> String {
    if x.fract() == 0.0 { format!("{x:.0}") } else { format!("{x:.3}") }
}

impl Report {
    /// All results of a run.
    pub fn new(gpu: &Gpu, plan: &Plan, results: Vec<Record>) -> Self {
        Self {
            version: 1,
            onesum: env!("CARGO_PKG_VERSION"),
            wgpu: wgpu_version(),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())),
            adapter: Adapter::new(&gpu.info),
            features: gpu.device.features().iter_names().map(|(name, _)| name.to_owned()).collect(),
            method: Method {
                clock: plan.method(),
                rounds: plan.repeats,
                order: "interleaved: yardstick, A, B, C, yardstick, A, B, C, ...; ratios within a round",
                data: "uniform in [-10, 10), SplitMix64, seed 1",
                rotate_bytes: plan.rotate,
                submit_seconds: plan.submit,
            },
            results,
        }
    }

    /// How many results were wrong.
    pub fn wrong(&self) -> usize {
        self.results.iter().filter(|r| r.status == "wrong").count()
    }

    /// The records, a line each. No field holds a quote.
    pub fn csv(&self) -> String {
        let mut text =
            "rows,cols,variant,role,status,ms,gb_per_s,x_copy,x_copy_q1,x_copy_q3,x_copy_cpu,worst_ulp,x_read,x_read_q1,x_read_q3,x_read_cpu,choices,x_route,x_route_cpu,x_empty,x_empty_cpu\n".to_owned();
        let cell = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
        for r in &self.results {
            let x = |part: fn(&Spread) -> f64| cell(r.x_copy.as_ref().map(part));
            let cells = [
                cell(r.ms.map(|s| s.median)),
                cell(r.gb_per_s),
                x(|s| s.median),
                x(|s| s.q1),
                x(|s| s.q3),
                cell(r.x_copy_cpu.map(|s| s.median)),
                cell(r.worst_ulp),
                cell(r.x_read.map(|s| s.median)),
                cell(r.x_read.map(|s| s.q1)),
                cell(r.x_read.map(|s| s.q3)),
                cell(r.x_read_cpu.map(|s| s.median)),
                cell(r.choices.map(f64::from)),
                cell(r.x_route.map(|s| s.median)),
                cell(r.x_route_cpu.map(|s| s.median)),
                cell(r.x_empty.map(|s| s.median)),
                cell(r.x_empty_cpu.map(|s| s.median)),
            ];
            let name = if r.variant.contains(',') { format!("\"{}\"", r.variant) } else { r.variant.clone() };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{},{},{name},{},{},{}", r.rows, r.cols, r.role, r.status, cells.join(","));
        }
        text
    }
}

/// As the workspace's lock file has it: wgpu does not say.
pub fn wgpu_version() -> String {
    let lock = include_str!("../../../../Cargo.lock");
    let version = lock.lines().skip_while(|line| *line != "name = \"wgpu\"").nth(1);
    version.and_then(|line| line.split('"').nth(1)).unwrap_or("unknown").to_owned()
}

/// Seconds since 1970 as `2026-01-31T12:34:56Z` (Hinnant, "chrono-compatible low-level date algorithms").
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_767_225_599), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn the_lock_file_names_wgpu() {
        assert!(wgpu_version().starts_with("30."));
    }
}
