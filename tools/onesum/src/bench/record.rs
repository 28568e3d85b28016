//! What a run leaves: to compare other runs with, to make tables and pictures of.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use onesum::conformance::Adapter;
use onesum::host::Gpu;
use serde::{Deserialize, Serialize};

use super::rounds::{Plan, Spread};
use crate::failure::Failure;

/// Of the format. Another number means that fields of the same name mean something else; fields may be added without.
pub const VERSION: u32 = 2;

/// The report of a run. Field names are stable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    pub onesum: String,
    pub wgpu: String,
    /// UTC, ISO 8601.
    pub date: String,
    /// The preset that was run, if any was.
    pub preset: Option<String>,
    pub adapter: Adapter,
    pub host: Host,
    /// Those enabled on the device.
    pub features: Vec<String>,
    pub method: Method,
    /// Microseconds from submit to done of nothing: part of every time where the clock is not the GPU's own.
    pub empty_submit_us: Option<Spread>,
    pub results: Vec<Record>,
}

/// The machine around the adapter; where that runs on the CPU, what the figures are those of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The CPU's name for itself, if it has one.
    pub cpu: Option<String>,
    /// Hardware threads that this process may run on.
    pub threads: usize,
    /// `linux x86_64`.
    pub system: String,
}

/// How times were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Method {
    pub clock: String,
    pub rounds: u32,
    /// Competitors take turns within a round, and ratios are taken within it.
    pub order: String,
    pub data: String,
    /// Operands rotate over at least so many bytes.
    pub rotate_bytes: u64,
    /// Seconds of work in one submit, about.
    pub submit_seconds: f64,
}

/// One competitor at one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What records of two runs are paired by: the definition, shape, element type, options, and the variant or, where
    /// runs may choose different ones, its role. [`Report::new`] makes it.
    pub name: String,
    /// What asked for it: records of one definition are shown together.
    pub definition: String,
    /// What was run: `softmax`, `route`, `arg max`; of the yardstick, its role.
    pub kernel: String,
    /// Tokens, of routing.
    pub rows: u32,
    /// Experts, of routing; elements of a token, of its permutation.
    pub cols: u32,
    /// Choices of a token, of routing.
    pub choices: Option<u32>,
    /// Of the elements: `f32`, or `bf16-f32` where inputs and outputs differ.
    pub dtype: String,
    /// Beside the plain kernel: `temperature=0.7`.
    pub options: Option<String>,
    pub variant: String,
    /// `copy`, `read` or `empty` (the yardstick), `chosen` (by `select`), `other`, or `rival`.
    pub role: String,
    /// What follows is null unless it was timed.
    pub status: Status,
    /// Why it was not.
    pub reason: Option<String>,
    /// Of one dispatch.
    pub ms: Option<Spread>,
    /// The process's CPU time of one dispatch; null unless the adapter runs on the CPU.
    pub cpu_ms: Option<Spread>,
    /// 10^9 bytes per second of ideal traffic: one read and, of a softmax or a permutation, one write of each element.
    pub gb_per_s: Option<f64>,
    /// The yardstick's.
    pub limit_gb_per_s: Option<f64>,
    /// `gb_per_s` over `limit_gb_per_s`.
    pub fraction_of_limit: Option<f64>,
    pub ratio: Option<Ratio>,
    /// Milliseconds from a specification to the end of the first dispatch, with nothing compiled before but what the driver's own
    /// cache has.
    pub first_use_ms: Option<f64>,
    pub worst_ulp: Option<f64>,
    pub rows_checked: Option<usize>,
    /// The rounds differed more than those of a quiet machine do.
    #[serde(default)]
    pub noisy: bool,
}

/// Time per byte over that of something else in the same round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// `copy`, `read`, `empty` (a dispatch that does nothing), or `route` (routing alone, where more is done).
    pub over: String,
    pub time: Spread,
    /// The same of the process's CPU time; null unless the adapter runs on the CPU.
    pub cpu: Option<Spread>,
}

/// What came of a competitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Right and timed.
    Timed,
    /// Outside its error budget: its time means nothing.
    Wrong,
    /// Could not be built or bound here.
    Refused,
}

impl Status {
    /// As in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timed => "timed",
            Self::Wrong => "wrong",
            Self::Refused => "refused",
        }
    }
}

impl Record {
    /// `4096x1024`, `4096x256x8`.
    pub fn shape(&self) -> String {
        let choices = self.choices.map_or(String::new(), |choices| format!("x{choices}"));
        format!("{}x{}{choices}", self.rows, self.cols)
    }

    /// Rows, columns, choices.
    pub fn shape_numbers(&self) -> (u32, u32, Option<u32>) {
        (self.rows, self.cols, self.choices)
    }

    /// The variant's name, after what it does where the name does not say that.
    pub fn label(&self) -> String {
        if self.is_yardstick() || self.within_kernel().is_some() {
            return self.variant.clone();
        }
        format!("{}: {}", self.kernel, self.variant)
    }

    /// What tells it from others of its definition, whose first competitor is of kernel `main`: that one's schedule, or
    /// another kernel.
    pub fn algorithm(&self, main: &str) -> &str {
        match self.within_kernel().and_then(|rest| rest.split('/').next()) {
            Some(schedule) if self.kernel == main && !schedule.is_empty() && !is_dtype(schedule) => schedule,
            _ => &self.kernel,
        }
    }

    /// Whether it is what others are measured by.
    pub fn is_yardstick(&self) -> bool {
        matches!(self.role.as_str(), "copy" | "read" | "empty")
    }

    /// The variant's name without the kernel's, if that is its beginning: `route` is not that of `router/row/...`.
    fn within_kernel(&self) -> Option<&str> {
        let rest = self.variant.strip_prefix(&self.kernel)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }

    fn key(&self) -> String {
        // Which variant is chosen, and which yardstick is the fastest, may differ from run to run.
        let by_role = self.is_yardstick() || self.role == "chosen";
        let variant = self.within_kernel().unwrap_or(&self.variant);
        let who = if by_role { self.role.as_str() } else { variant };
        let (definition, shape) = (self.definition.as_str(), self.shape());
        let options = self.options.as_deref().unwrap_or_default();
        let mut parts = vec![definition, &shape, &self.dtype, options];
        // `softmax-quick` says that it is of softmax.
        let said = definition.strip_prefix(&self.kernel).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        parts.extend(if said { None } else { Some(&*self.kernel) });
        parts.extend((who != definition).then_some(who));
        parts.retain(|part| !part.is_empty());
        parts.dedup();
        parts.join("/")
    }
}

impl Report {
    /// All results of a run.
    pub fn new(gpu: &Gpu, plan: &Plan, results: Vec<Record>) -> Self {
        Self {
            version: VERSION,
            onesum: env!("CARGO_PKG_VERSION").to_owned(),
            wgpu: wgpu_version(),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())),
            preset: None,
            adapter: Adapter::new(&gpu.info),
            host: Host::here(),
            features: gpu.device.features().iter_names().map(|(name, _)| name.to_owned()).collect(),
            method: Method {
                clock: plan.method.to_owned(),
                rounds: plan.repeats,
                order: "interleaved: yardstick, A, B, C, yardstick, A, B, C, ...; ratios within a round".to_owned(),
                data: "uniform in [-10, 10), SplitMix64, seed 1".to_owned(),
                rotate_bytes: plan.rotate,
                submit_seconds: plan.submit,
            },
            empty_submit_us: Some(plan.empty_submit.scaled(1e6)),
            results: named(results),
        }
    }

    /// Reads the report in a file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        /// What all versions have.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::error(format!("{}: cannot read: {e}", path.display())))?;
        let unlike = |e| Failure::error(format!("{}: not a report of `onesum bench --json`: {e}", path.display()));
        let Head { version } = serde_json::from_str(&text).map_err(unlike)?;
        if version != VERSION {
            return Err(Failure::error(format!(
                "{}: a report of version {version}, and this onesum reads version {VERSION}: measure again, or use the \
                 onesum that wrote it",
                path.display()
            )));
        }
        let report: Self = serde_json::from_str(&text).map_err(unlike)?;
        let mut names = HashSet::new();
        match report.results.iter().find(|record| !names.insert(&record.name)) {
            Some(twice) => Err(Failure::error(format!("{}: two results are called {}", path.display(), twice.name))),
            None => Ok(report),
        }
    }

    /// How many results were wrong.
    pub fn wrong(&self) -> usize {
        self.results.iter().filter(|r| r.status == Status::Wrong).count()
    }

    /// What was measured, and where: a line for people.
    pub fn line(&self) -> String {
        let Host { cpu, threads, .. } = &self.host;
        let host = cpu.as_ref().map(|cpu| format!(", {cpu}, {threads} thread{}", if *threads == 1 { "" } else { "s" }));
        let day = self.date.split('T').next().unwrap_or_default();
        format!(
            "{}{}; onesum {}, wgpu {}; {} rounds, {}; {day}",
            self.adapter.line(),
            host.unwrap_or_default(),
            self.onesum,
            self.wgpu,
            self.method.rounds,
            self.method.clock
        )
    }

    /// The records, a line each.
    pub fn csv(&self) -> Result<String, Failure> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for record in &self.results {
            writer.serialize(Line::of(record))?;
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }
}

/// `f32`, `bf16-f32`.
pub fn is_dtype(part: &str) -> bool {
    part.split('-').all(|t| matches!(t, "f32" | "f16" | "bf16"))
}

/// Gives each record its name, and those that would share one a number.
fn named(mut records: Vec<Record>) -> Vec<Record> {
    let mut seen = HashMap::<String, u32>::new();
    for record in &mut records {
        let key = record.key();
        let times = seen.entry(key.clone()).or_default();
        *times += 1;
        record.name = if *times == 1 { key } else { format!("{key}#{times}") };
    }
    records
}

impl Host {
    fn here() -> Self {
        let system = sysinfo::System::new_with_specifics(
            sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing()),
        );
        let brand = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
        Self {
            cpu: brand.filter(|brand| !brand.is_empty()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// A record in a line of CSV: the columns are stable, new ones come last.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    definition: &'a str,
    kernel: &'a str,
    rows: u32,
    cols: u32,
    choices: Option<u32>,
    dtype: &'a str,
    options: Option<&'a str>,
    variant: &'a str,
    role: &'a str,
    status: Status,
    reason: Option<&'a str>,
    ms: Option<f64>,
    ms_q1: Option<f64>,
    ms_q3: Option<f64>,
    cpu_ms: Option<f64>,
    gb_per_s: Option<f64>,
    limit_gb_per_s: Option<f64>,
    fraction_of_limit: Option<f64>,
    over: Option<&'a str>,
    ratio: Option<f64>,
    ratio_q1: Option<f64>,
    ratio_q3: Option<f64>,
    ratio_cpu: Option<f64>,
    first_use_ms: Option<f64>,
    worst_ulp: Option<f64>,
    rows_checked: Option<usize>,
    noisy: bool,
}

impl<'a> Line<'a> {
    fn of(r: &'a Record) -> Self {
        let (ratio, time) = (r.ratio.as_ref(), r.ratio.as_ref().map(|ratio| ratio.time));
        Self {
            name: &r.name,
            definition: &r.definition,
            kernel: &r.kernel,
            rows: r.rows,
            cols: r.cols,
            choices: r.choices,
            dtype: &r.dtype,
            options: r.options.as_deref(),
            variant: &r.variant,
            role: &r.role,
            status: r.status,
            reason: r.reason.as_deref(),
            ms: r.ms.map(|s| s.median),
            ms_q1: r.ms.map(|s| s.q1),
            ms_q3: r.ms.map(|s| s.q3),
            cpu_ms: r.cpu_ms.map(|s| s.median),
            gb_per_s: r.gb_per_s,
            limit_gb_per_s: r.limit_gb_per_s,
            fraction_of_limit: r.fraction_of_limit,
            over: ratio.map(|ratio| ratio.over.as_str()),
            ratio: time.map(|s| s.median),
            ratio_q1: time.map(|s| s.q1),
            ratio_q3: time.map(|s| s.q3),
            ratio_cpu: ratio.and_then(|ratio| ratio.cpu).map(|s| s.median),
            first_use_ms: r.first_use_ms,
            worst_ulp: r.worst_ulp,
            rows_checked: r.rows_checked,
            noisy: r.noisy,
        }
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

/// Reports that were never measured, for tests.
#[cfg(test)]
pub mod made_up {
    use super::*;

    /// The same number thrice: no spread.
    pub fn exactly(x: f64) -> Spread {
        Spread { q1: x, median: x, q3: x }
    }

    /// A softmax at 10 GB/s over `x`, `x` times as slow as the copy.
    pub fn record(rows: u32, cols: u32, variant: &str, role: &str, x: f64) -> Record {
        Record {
            name: String::new(),
            definition: "softmax".to_owned(),
            kernel: if role == "copy" { role } else { "softmax" }.to_owned(),
            rows,
            cols,
            choices: None,
            dtype: "f32".to_owned(),
            options: None,
            variant: variant.to_owned(),
            role: role.to_owned(),
            status: Status::Timed,
            reason: None,
            ms: Some(Spread { q1: x * 0.99, median: x, q3: x * 1.01 }),
            cpu_ms: Some(exactly(x * 1.9)),
            gb_per_s: Some(10.0 / x),
            limit_gb_per_s: Some(10.0),
            fraction_of_limit: Some(1.0 / x),
            ratio: Some(Ratio {
                over: "copy".to_owned(),
                time: Spread { q1: x * 0.98, median: x, q3: x * 1.02 },
                cpu: Some(Spread { q1: x * 0.99, median: x, q3: x * 1.01 }),
            }),
            first_use_ms: None,
            worst_ulp: (role != "copy").then_some(2.0),
            rows_checked: (role != "copy").then_some(32),
            noisy: false,
        }
    }

    /// One that was not timed.
    pub fn untimed(status: Status, reason: &str, record: Record) -> Record {
        Record {
            status,
            reason: Some(reason.to_owned()),
            ms: None,
            cpu_ms: None,
            gb_per_s: None,
            limit_gb_per_s: None,
            fraction_of_limit: None,
            ratio: None,
            worst_ulp: None,
            rows_checked: None,
            ..record
        }
    }

    /// A copy, the chosen variant and a rival at two shapes.
    pub fn softmaxes() -> Vec<Record> {
        vec![
            record(4096, 1024, "copy/f32/baseline/w8q128/x4", "copy", 1.0),
            record(4096, 1024, "softmax/onchip/f32/shuffle/w8k32/x4", "chosen", 1.5),
            record(4096, 1024, "softmax/online/f32/baseline/w8l1/x4", "rival", 2.0),
            record(512, 32_768, "copy/f32/baseline/w8q128/x4", "copy", 1.0),
            record(512, 32_768, "softmax/stream/f32/shuffle/w8/x4", "chosen", 1.75),
            record(512, 32_768, "softmax/online/f32/baseline/w8l1/x4", "rival", 2.5),
        ]
    }

    /// A report of them.
    pub fn report(results: Vec<Record>) -> Report {
        Report {
            version: VERSION,
            onesum: "0.1.0".to_owned(),
            wgpu: "30.0.1".to_owned(),
            date: "2026-01-31T12:34:56Z".to_owned(),
            preset: Some("quick".to_owned()),
            adapter: Adapter {
                name: "Some GPU".to_owned(),
                kind: "cpu".to_owned(),
                backend: "vulkan".to_owned(),
                driver: "some driver".to_owned(),
                driver_info: "1.2".to_owned(),
                subgroup_sizes: [8, 8],
            },
            host: Host { cpu: Some("Some CPU".to_owned()), threads: 2, system: "linux x86_64".to_owned() },
            features: vec!["SUBGROUP".to_owned()],
            method: Method {
                clock: "submit to done".to_owned(),
                rounds: 21,
                order: "interleaved".to_owned(),
                data: "uniform".to_owned(),
                rotate_bytes: 1 << 27,
                submit_seconds: 0.03,
            },
            empty_submit_us: None,
            results: named(results),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(report: &Report) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), serde_json::to_string(report).unwrap()).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_read() {
        let report = made_up::report(made_up::softmaxes());
        assert_eq!(Report::read(written(&report).path()).unwrap(), report);
    }

    #[test]
    fn other_versions_and_other_files_are_refused() {
        let refused = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Report::read(file.path()).unwrap_err().line().unwrap()
        };
        assert!(refused(r#"{"version": 1, "results": []}"#).contains("version 1, and this onesum reads version 2"));
        assert!(refused(r#"{"version": 2}"#).contains("not a report of `onesum bench --json`: missing field"));
        assert!(refused("[]").contains("not a report"));
        let mut report = made_up::report(made_up::softmaxes());
        report.results[1].name = report.results[0].name.clone();
        let twice = Report::read(written(&report).path()).unwrap_err().line().unwrap();
        assert!(twice.ends_with("two results are called softmax/4096x1024/f32/copy"), "{twice}");
        let none = Report::read(Path::new("no/such.json")).unwrap_err().line().unwrap();
        assert!(none.starts_with("no/such.json: cannot read"), "{none}");
    }

    /// Which variant is chosen, and which copy is the fastest, must not keep two runs from being compared.
    #[test]
    fn names_are_stable() {
        let report = made_up::report(made_up::softmaxes());
        let names: Vec<_> = report.results.iter().take(3).map(|r| r.name.as_str()).collect();
        let expected = [
            "softmax/4096x1024/f32/copy",
            "softmax/4096x1024/f32/chosen",
            "softmax/4096x1024/f32/online/f32/baseline/w8l1/x4",
        ];
        assert_eq!(names, expected);
        let plan = Record {
            definition: "route".to_owned(),
            kernel: "route + plan".to_owned(),
            choices: Some(6),
            options: Some("bias".to_owned()),
            ..made_up::record(4096, 64, "plan/one/w1", "chosen", 1.5)
        };
        let twice = made_up::report(vec![plan.clone(), plan]);
        let names: Vec<_> = twice.results.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names[0], "route/4096x64x6/f32/bias/route + plan/chosen");
        assert_eq!(names[1], format!("{}#2", names[0]));
        assert_eq!(twice.results[0].label(), "route + plan: plan/one/w1");
        let route = Record {
            definition: "route".to_owned(),
            kernel: "route".to_owned(),
            ..made_up::record(8, 64, "router/row/f32/w8", "other", 1.5)
        };
        let route = &made_up::report(vec![route]).results[0];
        assert_eq!((&*route.name, &*route.label()), ("route/8x64/f32/router/row/f32/w8", "route: router/row/f32/w8"));
    }

    #[test]
    fn csv_has_a_line_for_each() {
        let mut report = made_up::report(made_up::softmaxes());
        let last = report.results.pop().unwrap();
        report.results.push(made_up::untimed(Status::Wrong, "row 1, \"column\" 2\nof 3", last));
        let text = report.csv().unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let lines: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(lines.len(), report.results.len());
        let cell = |line: usize, name: &str| &lines[line][header.iter().position(|h| h == name).unwrap()];
        assert_eq!((cell(1, "name"), cell(1, "ratio")), ("softmax/4096x1024/f32/chosen", "1.5"));
        assert_eq!((cell(1, "over"), cell(1, "limit_gb_per_s")), ("copy", "10.0"));
        assert_eq!((cell(5, "status"), cell(5, "ms")), ("wrong", ""));
        assert_eq!(cell(5, "reason"), "row 1, \"column\" 2\nof 3");
    }

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
