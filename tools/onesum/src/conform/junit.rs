//! A run's record as `JUnit` XML: a suite for each kernel, schedule and tier.

use std::collections::BTreeMap;

use onesum::conformance::Outcome;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::record::Record;
use super::{Again, Tried};
use crate::failure::Failure;

/// The whole document.
pub fn xml(record: &Record<'_>, again: &Again) -> Result<String, Failure> {
    let failures = record.failures();
    let mut suites = BTreeMap::<String, TestSuite>::new();
    for tried in record.tried {
        let Tried { name, outcome } = tried;
        let kind = tried.kind();
        let status = match outcome {
            Outcome::Passed(_) => TestCaseStatus::success(),
            Outcome::Skipped(reason) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(reason.as_str());
                status
            }
            Outcome::Failed(failure) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(failure.to_string());
                let details = failures
                    .get(name.as_str())
                    .map(|failed| format!("{failed}\nagain: {}", again.command(&failed.case)));
                status.set_description(details.unwrap_or_default());
                status
            }
        };
        let mut case = TestCase::new(name.as_str(), status);
        case.set_classname(kind.replace('/', "."));
        suites.entry(kind.clone()).or_insert_with(|| TestSuite::new(kind)).add_test_case(case);
    }
    let mut report = Report::new(format!("onesum conform, {}", record.report.adapter.line()));
    report.add_test_suites(suites.into_values());
    Ok(report.to_string()?)
}
