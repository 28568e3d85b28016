//! `onesum conform`: selection, what is shown, reports, exit codes.

mod common;

use std::process::Stdio;

use common::{Folder, bad, complaint, good, onesum, run, text};

/// What the library refuses: a case that fails on any adapter.
const REFUSED: &str = "router/lane/f32/baseline/w8/x4:tokens=3,experts=8,k=9,scoring=softmax,fill=normal";
const ONE: &str = "plan/serial/w8:tokens=7,experts=5,k=2,fill=zipf";

fn json(path: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn names_select() {
    let all = good(&["conform", "--list"]);
    assert!(all.lines().count() > 500);
    for kernel in ["softmax", "gumbel", "sample", "router", "plan", "permute", "expert_choice", "stats"] {
        let mine = good(&["conform", "--list", &format!("{kernel}/")]);
        assert!(mine.lines().count() > 5 && mine.lines().all(|name| name.starts_with(kernel) && all.contains(name)));
    }
    let some = good(&["conform", "--list", "softmax/stream:fill=ties", "plan/one", "--profile", "standard"]);
    let (ties, plan): (Vec<_>, Vec<_>) = some.lines().partition(|name| name.starts_with("softmax/stream/"));
    assert!(!ties.is_empty() && ties.iter().all(|name| name.contains("fill=ties")));
    assert!(!plan.is_empty() && plan.iter().all(|name| name.starts_with("plan/one/")));
    assert_eq!(good(&["conform", "--list", ONE]), format!("{ONE}\n"));
}

#[test]
fn all_that_is_listed_is_counted() {
    let listed = good(&["conform", "--list", "plan"]).lines().count();
    let said = good(&["conform", "plan"]);
    assert!(
        said.ends_with(&format!("conformance: {listed} executed, {listed} passed, 0 failed, 0 skipped\n")),
        "{said}"
    );
    assert!(said.lines().any(|line| line.starts_with("plan/serial/w8 ")), "{said}");
}

#[test]
fn what_selects_nothing_is_refused() {
    for (filter, expected) in [
        ("softmx", "is \"softmx\" meant to be \"softmax\"?"),
        ("relu", "there are softmax, gumbel"),
        ("softmax/strem", "is \"strem\" meant to be \"stream\"?"),
        ("softmax:fill=tees", "is \"tees\" meant to be \"ties\"?"),
        ("softmax:fil=ties", "is \"fil\" meant to be \"fill\"?"),
        ("softmax:fill", "is not KEY=VALUE"),
        ("softmax:rows=77777", "selects no case"),
        ("plan/serial/w8:experts=5,tokens=7,k=2,fill=zipf", "'plan/serial/w8:tokens=7,experts=5,k=2,fill=zipf'?"),
        ("softmax/stream/f32/baseline/w8/x4:rows=-1,cols=3,gap=0,fill=wide", "rows: invalid digit"),
    ] {
        let said = bad(&["conform", "plan", filter], 2);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn command_lines_without_sense() {
    for args in [
        &["--seed", "3"][..],
        &["--budget-seconds", "-1"],
        &["--profile", "random", "--seed", "-1"],
        &["--profile", "random", "--list"],
        &["--profile", "huge"],
        &["--json", "-", "--html", "-"],
        &["--list", "--json", "x"],
        &["--table", "x", "--list"],
    ] {
        bad(&[&["conform"], args].concat(), 2);
    }
    assert!(bad(&["conform", "--json", "/nowhere/x.json"], 1).contains("/nowhere"));
    assert!(bad(&["conform", "--adapter", "77", "plan"], 1).contains("no adapter matches"));
    for empty in ["", ":", " "] {
        assert!(bad(&["conform", "plan", empty, "--list"], 2).contains("is empty"));
        assert!(bad(&["bench", "softmax", " ", "--list"], 2).contains("is empty"));
    }
    // The examples of the help and the documents.
    good(&["conform", "--list", "sample:fill=special", "router:options=cap", "softmax/onchip"]);
    // Nothing ran, so nothing is known.
    let none = run(&["conform", "--budget-seconds", "0"]);
    assert!(complaint(&none, 1).contains("no case ran: the time was over"));
}

#[cfg(target_os = "linux")]
#[test]
fn outputs_are_tried_first() {
    let folder = Folder::new();
    let said = bad(&["conform", "plan", "--html", folder.path("").as_str()], 1);
    assert!(said.contains("cannot write"), "{said}");
    let full = run(&["conform", ONE, "--json", "/dev/full"]);
    assert!(complaint(&full, 1).contains("No space left on device"));
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn reports_hold_what_happened() {
    let folder = Folder::new();
    let [a, x, h] = ["a.json", "a.xml", "a.html"].map(|name| folder.path(name));
    // One that is skipped everywhere, one that fails, many that pass.
    let skipped = "softmax/stream/f32/baseline/w8/x4:rows=0,cols=4,gap=0,fill=wide";
    let output = run(&["conform", REFUSED, skipped, "plan/one", "--json", &a, "--junit", &x, "--html", &h]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(complaint(&output, 3).contains("1 of "));
    assert!(said.contains(&format!("FAILED {REFUSED}\n       choices must be at most")), "{said}");

    let report = json(&a);
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(report["failures"][0]["case"], REFUSED);
    assert_eq!((count("executed"), report["profile"].as_str()), (count("passed") + 1, Some("quick")));
    let passed = report["passed_cases"].as_array().unwrap();
    assert!(passed.len() as u64 == count("passed") && passed.iter().any(|n| n.as_str().unwrap().starts_with("plan/")));
    let skips: u64 = report["skipped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(skips, 1);

    let xml = std::fs::read_to_string(&x).unwrap();
    let xml = roxmltree::Document::parse(&xml).unwrap();
    let all = |tag: &str| xml.descendants().filter(|n| n.has_tag_name(tag)).collect::<Vec<_>>();
    assert_eq!(all("testcase").len() as u64, count("executed") + skips);
    assert_eq!(all("testsuite").len(), report["kinds"].as_object().unwrap().len());
    assert_eq!((all("failure").len(), all("skipped").len() as u64), (1, skips));
    assert_eq!(all("failure")[0].parent_element().unwrap().attribute("name"), Some(REFUSED));
    assert!(all("failure")[0].attribute("message").unwrap().contains("choices must be at most"));

    let html = std::fs::read_to_string(&h).unwrap();
    let html = html.strip_prefix("<!DOCTYPE html>").unwrap();
    let page = roxmltree::Document::parse(html).unwrap();
    let words: String = page.descendants().filter_map(|n| n.text()).collect();
    assert!(words.contains(&format!("onesum conform '{REFUSED}'")) && words.contains("choices must be at most"));
    assert!(!html.contains("http") && !html.contains("src="));
}

/// Whatever a user types comes back as text.
#[test]
fn pages_escape() {
    let folder = Folder::new();
    let page = folder.path("a.html");
    let hostile = "plan:fill=zipf,,";
    good(&["conform", hostile, "--html", &page]);
    let odd = "<script>&'\"";
    assert!(bad(&["conform", odd, "--html", &page], 2).contains("no kernel"));
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains(hostile));
    roxmltree::Document::parse(html.strip_prefix("<!DOCTYPE html>").unwrap()).unwrap();
}

#[test]
fn a_failure_says_how_to_repeat_it() {
    let output = run(&["conform", "--adapter", "0", REFUSED]);
    let said = text(&output.stdout);
    let again = said.lines().find_map(|line| line.trim().strip_prefix("again: ")).unwrap();
    assert_eq!(again, format!("onesum conform --adapter 0 '{REFUSED}'"));
    let again = again.replacen("onesum", env!("CARGO_BIN_EXE_onesum"), 1);
    let repeated = std::process::Command::new("sh").args(["-c", &again]).output().unwrap();
    assert_eq!((repeated.status.code(), text(&repeated.stdout)), (Some(3), said));
}

#[test]
fn the_first_failure_can_be_the_last_case() {
    let output = run(&["conform", REFUSED, "softmax", "--fail-fast"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3));
    assert!(said.contains("ended early: a case failed"), "{said}");
}

#[test]
fn random_cases_have_a_seed() {
    let folder = Folder::new();
    let path = folder.path("a.json");
    let said =
        good(&["conform", "--profile", "random", "--seed", "7", "--budget-seconds", "3", "plan", "--json", &path]);
    assert!(said.contains("random cases, --seed 7\n"), "{said}");
    let report = json(&path);
    assert_eq!((report["seed"].as_u64(), report["profile"].as_str()), (Some(7), Some("random")));
    assert!(report["executed"].as_u64().unwrap() > 0);
    let other = good(&["conform", "--profile", "random", "--budget-seconds", "1", "plan"]);
    assert!(other.contains("random cases, --seed ") && !other.contains("--seed 7\n"), "{other}");
}

#[test]
fn standard_output_is_a_file_or_closed() {
    let said = good(&["conform", ONE, "--json", "-"]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["passed_cases"][0], ONE);
    for args in [&["conform", "--list", "--profile", "full"][..], &["conform", "plan"]] {
        let mut child = onesum().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    }
}

#[test]
fn reports_side_by_side() {
    let folder = Folder::new();
    let [a, b] = ["a.json", "b.json"].map(|name| folder.path(name));
    good(&["conform", "plan/one", "softmax/rows/f32/baseline:fill=wide", "--json", &a]);
    assert_eq!(run(&["conform", "plan", REFUSED, "--json", &b]).status.code(), Some(3));
    let table = good(&["conform", "--table", &a, &b]);
    let one = good(&["conform", "--list", "plan/one"]).lines().count();
    let equal = format!("equal on {one} common cases in all 2 runs (plan {one}).");
    assert!(table.contains(&equal) && table.contains(REFUSED), "{table}");
    assert_eq!(table.lines().filter(|line| line.contains("| baseline |")).count(), 2, "{table}");
    run(&["conform", REFUSED, "softmax", "--fail-fast", "--json", &b]);
    let table = good(&["conform", "--table", &a, &b]);
    assert!(table.contains("is not complete: a case failed.") && table.contains("equal on 0 common cases"), "{table}");
    assert!(bad(&["conform", "--table", &folder.write("c.json", b"{}")], 1).contains("not a report"));
}

#[test]
fn cases_are_exported() {
    let folder = Folder::new();
    let dir = folder.path("export");
    let said = good(&["conform", "--export", &dir, "plan", "sample/stream:fill=equal"]);
    let index = json(&format!("{dir}/index.json"));
    let cases = index["cases"].as_array().unwrap();
    assert!(cases.len() > 10 && said.contains(&cases.len().to_string()), "{said}");
    assert!(cases.iter().all(|case| case["script"].as_array().unwrap().len() > 2));
    for program in index["programs"].as_array().unwrap() {
        let text = std::fs::read_to_string(format!("{dir}/{}", program["file"].as_str().unwrap())).unwrap();
        assert!(text.contains("@compute"));
    }
    // A folder that is something else stays as it is.
    let other = folder.path("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(format!("{other}/letter"), "dear").unwrap();
    assert!(bad(&["conform", "--export", &other, "plan"], 1).contains("letter"));
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
}

/// A case that passes leaves nothing, one that fails a folder of its own.
#[test]
fn failing_cases_are_saved() {
    let folder = Folder::new();
    let dir = folder.path("saved");
    let said = text(&run(&["conform", "--save", &dir, REFUSED, ONE]).stdout);
    let folders: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1, "{said}");
    assert!(said.contains(&format!("saved {}", folders[0].display())), "{said}");
    let index = json(folders[0].join("index.json").to_str().unwrap());
    assert_eq!(index["cases"][0]["name"], REFUSED);
}

#[test]
fn mutants_die() {
    let said = good(&["conform", "--mutants", "softmax_merge", "lib/normal_extended@14:43"]);
    assert!(said.lines().last().unwrap().contains(" 0 not reached"), "{said}");
    assert!(said.contains("killed"), "{said}");
    let said = bad(&["conform", "--mutants", "nothing/of/this"], 2);
    assert!(said.contains("no mutant's name begins so"), "{said}");
}
