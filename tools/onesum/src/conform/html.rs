//! A run's record as one page that needs nothing else.

use std::fmt::{Display, Write};

use html_escape::encode_quoted_attribute as escaped;

use super::Again;
use super::record::Record;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --good: #2e7d32; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #a5d6a7; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78em; margin: 2em auto; padding: 0 1.5em; }
h1 { font-size: 1.5em; margin-bottom: 0; }
h2 { font-size: 1.15em; margin-top: 2em; }
p.sum { font-size: 1.15em; font-weight: 600; }
.bad { color: var(--bad); }
.good { color: var(--good); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25em .8em .25em 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; }
td:last-child { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
code, pre { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
article { border-left: 4px solid var(--bad); padding-left: 1em; margin: 1.5em 0; }
article h3 { font-size: 1em; margin: 0; overflow-wrap: anywhere; }
article table { width: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1em 1.5em; }
dd { margin: 0; }
";

/// Elements of a page: text goes in only through [`text`](Self::text), escaped.
#[derive(Default)]
struct Page(String);

impl Page {
    fn open(&mut self, tag: &str, class: &str) {
        // Writing to a String cannot fail.
        let _ = if class.is_empty() { write!(self.0, "<{tag}>") } else { write!(self.0, "<{tag} class=\"{class}\">") };
    }

    fn close(&mut self, tag: &str) {
        let _ = writeln!(self.0, "</{tag}>");
    }

    fn text(&mut self, tag: &str, class: &str, text: impl Display) {
        self.open(tag, class);
        self.0 += &escaped(&text.to_string());
        self.close(tag);
    }

    /// A row of cells, right-aligned where they are numbers.
    fn row(&mut self, tag: &str, cells: &[(&str, String)]) {
        self.open("tr", "");
        for (class, text) in cells {
            self.text(tag, class, text);
        }
        self.close("tr");
    }
}

/// The whole document.
pub fn page(record: &Record<'_>, again: &Again) -> String {
    let report = record.report;
    let mut page = Page::default();
    page.text("title", "", format_args!("onesum conform: {}", report.adapter.name));
    let style = std::mem::take(&mut page.0);
    head(&mut page, record);
    kinds(&mut page, record);
    failures(&mut page, record, again);
    if !report.skipped.is_empty() {
        page.text("h2", "", "Skipped");
        page.open("table", "");
        page.row("th", &[("n", "cases".into()), ("", "because".into())]);
        for (reason, count) in &report.skipped {
            page.row("td", &[("n", count.to_string()), ("", reason.clone())]);
        }
        page.close("table");
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
         content=\"width=device-width\"/>\n{style}<style>{STYLE}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
        page.0
    )
}

fn head(page: &mut Page, record: &Record<'_>) {
    let report = record.report;
    page.text("h1", "", "Conformance of onesum’s kernels");
    let failed = report.failures.len();
    page.text(
        "p",
        if report.ok() { "sum good" } else { "sum bad" },
        format_args!(
            "{} executed, {} passed, {failed} failed, {} skipped",
            report.executed,
            report.passed,
            report.skips()
        ),
    );
    page.open("dl", "");
    let adapter = &report.adapter;
    let [least, most] = adapter.subgroup_sizes;
    let filters = if record.filters.is_empty() { "all kernels".to_owned() } else { record.filters.join(" ") };
    let seed = record.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
    let mut facts = vec![
        ("Adapter", format!("{} ({})", adapter.name, adapter.kind)),
        ("Driver", format!("{} {}", adapter.driver, adapter.driver_info)),
        ("Implementation", record.implementation.clone()),
        ("Subgroups", format!("{least} to {most} invocations")),
        ("Cases", format!("{}{seed}; {filters}", record.profile)),
        ("Time", format!("{:.1} s", record.seconds)),
        ("onesum", report.onesum.to_owned()),
    ];
    facts.extend(report.ended.iter().map(|why| ("Ended early", why.clone())));
    for (what, fact) in facts {
        page.text("dt", "", what);
        page.text("dd", "", fact);
    }
    page.close("dl");
}

fn kinds(page: &mut Page, record: &Record<'_>) {
    page.text("h2", "", "Kernels, schedules, tiers");
    page.open("table", "");
    let numbers = ["executed", "passed", "failed", "skipped", "worst ULP"].map(|name| ("n", name.to_owned()));
    page.row("th", &[&[("", "kind".to_owned())], &numbers[..], &[("", "of case".to_owned())]].concat());
    for (kind, tally) in &record.report.kinds {
        let (ulps, case) = tally.worst.as_ref().map_or_else(Default::default, |w| (w.ulps.to_string(), w.case.clone()));
        let bad = if tally.failed > 0 { "n bad" } else { "n" };
        page.row(
            "td",
            &[
                ("", kind.clone()),
                ("n", tally.executed.to_string()),
                ("n", tally.passed.to_string()),
                (bad, tally.failed.to_string()),
                ("n", tally.skipped.to_string()),
                ("n", ulps),
                ("", case),
            ],
        );
    }
    page.close("table");
}

fn failures(page: &mut Page, record: &Record<'_>, again: &Again) {
    let failures = &record.report.failures;
    if failures.is_empty() {
        return;
    }
    page.text("h2", "bad", "Failures");
    for failed in failures {
        page.open("article", "");
        page.text("h3", "", &failed.case);
        page.text("p", "", &failed.failure);
        if let Some(from) = &failed.from {
            page.text("p", "", format_args!("made smaller from {from}"));
        }
        if !failed.first.is_empty() {
            page.open("table", "");
            page.row("th", &["element", "got", "expected", "ULP", "allowed"].map(|name| ("", name.to_owned())));
            for element in &failed.first {
                let [row, column] = element.index;
                let [ulps, allowed] = element.ulps.clone().unwrap_or_default();
                let element = [format!("{}[{row}, {column}]", element.what), element.got.clone(), element.want.clone()];
                page.row("td", &element.into_iter().chain([ulps, allowed]).map(|t| ("", t)).collect::<Vec<_>>());
            }
            page.close("table");
        }
        page.text("pre", "", again.command(&failed.case));
        page.close("article");
    }
}
