//! What came of a run, as text.

use std::fmt::Write;

use onesum::conformance::Report;

use super::Again;

/// Cases that were made smaller, a table by kind, reasons of skips, the sum.
pub fn text(report: &Report, again: &Again) -> String {
    let mut text = String::new();
    for failed in report.failures.iter().filter(|failed| failed.from.is_some()) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{failed}\n       again: {}", again.command(&failed.case));
    }
    if !report.kinds.is_empty() {
        table(&mut text, report);
    }
    for (reason, count) in &report.skipped {
        let _ = writeln!(text, "skipped {count}: {reason}");
    }
    if let Some(why) = &report.ended {
        let _ = writeln!(text, "ended early: {why}");
    }
    let (executed, passed, failed, skipped) = (report.executed, report.passed, report.failures.len(), report.skips());
    let _ = writeln!(text, "conformance: {executed} executed, {passed} passed, {failed} failed, {skipped} skipped");
    text
}

fn table(text: &mut String, report: &Report) {
    let width = report.kinds.keys().map(String::len).max().unwrap_or(0).max("kind".len());
    let head = ["executed", "passed", "failed", "skipped", "worst ULP"];
    let _ = writeln!(text, "{:width$}  {}  of case", "kind", head.join("  "));
    for (kind, tally) in &report.kinds {
        let (ulps, case) = tally.worst.as_ref().map_or((String::new(), ""), |w| (w.ulps.to_string(), w.case.as_str()));
        let (executed, passed, failed, skipped) = (tally.executed, tally.passed, tally.failed, tally.skipped);
        let line = format!("{kind:width$}  {executed:>8}  {passed:>6}  {failed:>6}  {skipped:>7}  {ulps:>9}  {case}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
