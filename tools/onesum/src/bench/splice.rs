//! `onesum bench report`: measured tables in documents, between markers.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::markdown::{Form, section};
use super::record::{Record, Report};
use crate::failure::Failure;
use crate::tensor::Files;
use crate::terminal::say;

const HELP: &str = "\
Examples:
  onesum bench --json bench.json
  onesum bench report bench.json --into README.md --into docs/performance.md      of the definitions that the markers name
  onesum bench report bench.json --into README.md --check        changes nothing; exit code 1 if a table is out of date

A document has markers, each alone on its line, and what is between them is replaced:

<!-- onesum bench: softmax -->                               a row for each result of the definition softmax
<!-- onesum bench: softmax/4096x1024 -->                     of those whose names begin with these parts
<!-- onesum bench: softmax by algorithm -->                  a row for each shape, a column for each algorithm
<!-- onesum bench: * summary -->                             a row for each definition, here of all results
<!-- onesum bench: softmax by algorithm from other-gpu -->   of the report other-gpu.json; left alone if that is not given
<!-- end -->                                                 ends each of them

Without 'from', results are those of the first report that has any and that no marker of the document names; where all given
reports are named, such tables are left alone. All files are written, or none.";

/// Put the measured tables of reports into documents, between markers
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Reports of `onesum bench --json`
    #[arg(value_name = "REPORT.json", required = true)]
    reports: Vec<PathBuf>,
    /// A document with markers; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    into: Vec<PathBuf>,
    /// Write nothing: fail if a document is out of date
    #[arg(long)]
    check: bool,
}

const BEGIN: &str = "<!-- onesum bench:";
const END: &str = "<!-- end -->";

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let read = |path: &PathBuf| Ok((stem(path), Report::read(path)?));
    let reports = args.reports.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    if let Some((twice, _)) = reports.iter().enumerate().find_map(|(i, r)| reports[..i].iter().find(|o| o.0 == r.0)) {
        return Err(Failure::usage(format!("two reports are called {twice}: `from {twice}` could be either")));
    }
    let (mut files, mut said, mut stale) = (Files::default(), String::new(), Vec::new());
    for path in &args.into {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| Failure::error(format!("{name}: cannot read: {e}")))?;
        let spliced = splice(&text, &reports).map_err(|why| Failure::error(format!("{name}{why}")))?;
        if spliced.text != text {
            files.text(path, &spliced.text)?;
            stale.push(name.to_string());
        }
        let Spliced { tables, changed, left, ref used, .. } = spliced;
        let left = if left == 0 { String::new() } else { format!("; {left} of other reports left alone") };
        let idle = reports.iter().filter(|(report, _)| !used.contains(report)).map(|(report, _)| report.as_str());
        let idle = idle.collect::<Vec<_>>().join(", ");
        let idle = if idle.is_empty() { idle } else { format!("; nothing of {idle}") };
        let what = if args.check { "out of date" } else { "new" };
        // Writing to a String cannot fail.
        let _ = writeln!(said, "{name}: {tables} tables, {changed} {what}{left}{idle}");
    }
    say(&said)?;
    if !args.check {
        return Ok(files.commit()?);
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(Failure::error(format!("out of date: {}; without --check they are brought up to date", stale.join(", "))))
}

/// The name by which a document asks for a report.
fn stem(path: &Path) -> String {
    path.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned())
}

/// A document with its tables.
#[derive(Debug)]
struct Spliced {
    text: String,
    /// Tables that the reports have.
    tables: usize,
    changed: usize,
    /// Tables of reports that were not given.
    left: usize,
    /// The reports that tables are of.
    used: BTreeSet<String>,
}

/// Puts tables between the markers of a document. What fails is told with its line, to follow the document's name.
fn splice(text: &str, reports: &[(String, Report)]) -> Result<Spliced, String> {
    let slots = slots(text)?;
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut done = Spliced { text: String::new(), tables: 0, changed: 0, left: 0, used: BTreeSet::new() };
    let mut copied = 0;
    let named: Vec<_> = slots.iter().filter_map(|slot| slot.from).collect();
    for slot in slots {
        let Some((report, table)) = slot.table(reports, &named).map_err(|why| format!(":{}: {why}", slot.line))? else {
            done.left += 1;
            continue;
        };
        done.used.insert(report.to_owned());
        let table = table.replace('\n', newline);
        done.text += &text[copied..slot.inside.start];
        done.text += &table;
        copied = slot.inside.end;
        done.tables += 1;
        done.changed += usize::from(text[slot.inside] != *table);
    }
    done.text += &text[copied..];
    if done.tables == 0 {
        let names: Vec<_> = reports.iter().map(|(name, _)| name.as_str()).collect();
        return Err(format!(": no line {BEGIN} ... --> asks for results of {}", names.join(" or ")));
    }
    Ok(done)
}

/// What a document asks for, and where it goes.
#[derive(Debug, PartialEq)]
struct Slot<'a> {
    /// Of the marker, from 1.
    line: usize,
    /// The bytes between the markers' lines.
    inside: Range<usize>,
    /// How the names of its results begin.
    results: &'a str,
    form: Form,
    from: Option<&'a str>,
}

/// The markers of a document, or what is wrong with them.
fn slots(text: &str) -> Result<Vec<Slot<'_>>, String> {
    let (mut slots, mut open, mut at) = (Vec::new(), None::<Slot<'_>>, 0);
    let mut fence = None;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        let (start, marker) = (at, line.trim_end());
        at += line.len();
        // What is shown as code is no marker.
        if let Some(fenced) = ["```", "~~~"].into_iter().find(|fence| marker.trim_start().starts_with(fence)) {
            fence = if fence.is_none() { Some(fenced) } else { fence.filter(|open| *open != fenced) };
        }
        if fence.is_some() {
            continue;
        }
        if let Some(rest) = marker.strip_prefix(BEGIN) {
            if let Some(open) = open {
                return Err(format!(":{number}: a table begins before the one of line {} has ended", open.line));
            }
            let name = rest.strip_suffix("-->").ok_or(format!(":{number}: the marker does not end with -->"))?;
            open = Some(slot(name.trim(), number, at).ok_or(format!(":{number}: {EXPECTED}, got {:?}", name.trim()))?);
        } else if marker == END {
            let mut slot = open.take().ok_or(format!(":{number}: {END}, but no table has begun"))?;
            slot.inside.end = start;
            slots.push(slot);
        }
    }
    match open {
        Some(slot) => Err(format!(":{}: the table has no {END}", slot.line)),
        None => Ok(slots),
    }
}

const EXPECTED: &str = "expected RESULTS [by algorithm|summary] [from REPORT]";

fn slot(name: &str, line: usize, at: usize) -> Option<Slot<'_>> {
    let (name, from) = name.rsplit_once(" from ").map_or((name, None), |(name, from)| (name, Some(from.trim())));
    let name = name.trim();
    let forms = [(" by algorithm", Form::ByAlgorithm), (" summary", Form::Summary)];
    let known = forms.into_iter().find_map(|(words, form)| Some((name.strip_suffix(words)?, form)));
    let (name, form) = known.unwrap_or((name, Form::Records));
    let results = name.trim();
    let filled = !results.is_empty() && from != Some("");
    filled.then_some(Slot { line, inside: at..at, results, form, from })
}

impl Slot<'_> {
    /// Its table, unless it is of a report that was not given. `named` are those that some table asks for by name.
    fn table<'r>(&self, reports: &'r [(String, Report)], named: &[&str]) -> Result<Option<(&'r str, String)>, String> {
        let mut candidates = Vec::new();
        for (name, report) in reports {
            if self.from.map_or(!named.contains(&name.as_str()), |from| from == name) {
                candidates.push((name.as_str(), report, self.of(report)));
            }
        }
        if candidates.is_empty() {
            return Ok(None);
        }
        let names: Vec<_> = candidates.iter().map(|(name, ..)| *name).collect();
        match candidates.into_iter().find(|(.., records)| !records.is_empty()) {
            Some((name, report, records)) => Ok(Some((name, section(report, &records, self.form)))),
            None => Err(format!("no results of {} are called {}", names.join(" or "), self.results)),
        }
    }

    fn of<'a>(&self, report: &'a Report) -> Vec<&'a Record> {
        let named = |name: &str| {
            self.results == "*"
                || name.strip_prefix(self.results).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        report.results.iter().filter(|record| named(&record.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::made_up;
    use super::*;

    fn reports() -> Vec<(String, Report)> {
        vec![("one".to_owned(), made_up::report(made_up::softmaxes()))]
    }

    #[test]
    fn only_what_is_between_markers_changes() {
        let (before, between, after) =
            ("# T\u{fc}\n\n  odd \t \n", "\ntext <!-- end --> inline\n", "last line, no newline");
        let (one, two) = ("<!-- onesum bench: softmax -->", "<!-- onesum bench: softmax/512x32768 by algorithm -->  ");
        let text = |a: &str, b: &str| format!("{before}{one}\n{a}{END}\n{between}{two}\n{b}{END}\n{after}");
        let done = splice(&text("old\n", ""), &reports()).unwrap();
        assert_eq!((done.tables, done.changed, done.left), (2, 2, 0));
        let all: Vec<_> = reports()[0].1.results.clone();
        let (all, some): (Vec<_>, Vec<_>) = (all.iter().collect(), all[3..].iter().collect());
        let report = &reports()[0].1;
        let expected = text(&section(report, &all, Form::Records), &section(report, &some, Form::ByAlgorithm));
        assert_eq!(done.text, expected);
        let again = splice(&done.text, &reports()).unwrap();
        assert_eq!((again.text, again.changed), (expected, 0));
    }

    #[test]
    fn line_ends_are_the_documents() {
        let done = splice("a\r\n<!-- onesum bench: softmax -->\r\n<!-- end -->\r\nb", &reports()).unwrap();
        assert_eq!(done.text.matches('\n').count(), done.text.matches("\r\n").count());
        assert!(done.text.starts_with("a\r\n<!--") && done.text.ends_with("<!-- end -->\r\nb"));
    }

    #[test]
    fn tables_of_other_reports_are_left_alone() {
        let (own, other) =
            ("<!-- onesum bench: softmax -->\n", "<!-- onesum bench: softmax from other -->\nold\n<!-- end -->\n");
        let done = splice(&format!("{own}<!-- end -->\n{other}"), &reports()).unwrap();
        assert_eq!((done.tables, done.left), (1, 1));
        assert!(done.text.ends_with(other));
        assert!(splice(other, &reports()).unwrap_err().ends_with("asks for results of one"));
    }

    /// A report that is asked for by name is not what other tables mean.
    #[test]
    fn tables_without_a_name_are_not_of_a_report_that_has_one() {
        let (any, named) = ("<!-- onesum bench: softmax -->\nold\n", "<!-- onesum bench: softmax from one -->\n");
        let text = format!("{any}<!-- end -->\n{named}<!-- end -->\n");
        let done = splice(&text, &reports()).unwrap();
        assert_eq!((done.tables, done.left), (1, 1));
        assert!(done.text.starts_with(any));
        let both = [reports(), vec![("two".to_owned(), reports().remove(0).1)]].concat();
        assert_eq!(splice(&text, &both).unwrap().tables, 2);
    }

    #[test]
    fn the_first_report_that_has_results_has_the_word() {
        let mut route = made_up::softmaxes();
        for record in &mut route {
            record.definition = "route".to_owned();
        }
        let reports = [reports(), vec![("two".to_owned(), made_up::report(route))]].concat();
        let done = splice(
            "<!-- onesum bench: route -->\n<!-- end -->\n<!-- onesum bench: softmax -->\n<!-- end -->",
            &reports,
        );
        assert_eq!(done.unwrap().tables, 2);
    }

    #[test]
    fn markers_that_make_no_sense_are_refused() {
        let one = "<!-- onesum bench: softmax -->\n";
        for (text, why) in [
            ("no markers", ": no line <!-- onesum bench: ... --> asks for results of one".to_owned()),
            (one, ":1: the table has no <!-- end -->".to_owned()),
            ("a\n<!-- end -->\n", ":2: <!-- end -->, but no table has begun".to_owned()),
            (&*format!("{one}{one}<!-- end -->"), ":2: a table begins before the one of line 1 has ended".to_owned()),
            ("<!-- onesum bench: softmax\n", ":1: the marker does not end with -->".to_owned()),
            ("\n<!-- onesum bench: -->\n", format!(":2: {EXPECTED}, got \"\"")),
            (
                "<!-- onesum bench: by algorithm -->\n<!-- end -->",
                ":1: no results of one are called by algorithm".to_owned(),
            ),
            ("<!-- onesum bench: soft -->\n<!-- end -->", ":1: no results of one are called soft".to_owned()),
            ("<!-- onesum bench: soft from one -->\n<!-- end -->", ":1: no results of one are called soft".to_owned()),
        ] {
            assert_eq!(splice(text, &reports()).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn documents_of_this_repository_have_sound_markers() {
        for text in [include_str!("../../../../README.md"), include_str!("../../../../docs/performance.md")] {
            assert!(!slots(text).unwrap().is_empty());
        }
    }

    /// A document that explains markers shows them within a paragraph, indented, or as code.
    #[test]
    fn markers_stand_alone_on_their_lines() {
        let text = "    <!-- onesum bench: softmax -->\n`<!-- onesum bench: softmax -->`\n    <!-- end -->\n";
        assert_eq!(slots(text), Ok(Vec::new()));
        let marker = "<!-- onesum bench: softmax -->\n<!-- end -->\n";
        let text = format!("```md\n{marker}~~~\n{marker}```\n{marker}");
        let lines: Vec<_> = slots(&text).unwrap().iter().map(|slot| slot.line).collect();
        assert_eq!(lines, [8]);
    }
}
