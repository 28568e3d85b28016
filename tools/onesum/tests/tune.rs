//! `onesum tune`, and `--tuning` where it is used.

mod common;

use std::path::Path;

use common::{Folder, bad, complaint, good, numbers, onesum, run, text};
use onesum::tuning::{Adapter, Entry, Tuning};
use serde_json::Value;

fn read(path: &str) -> Tuning {
    Tuning::from_toml(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_tiny_grid_of_every_kernel() {
    let folder = Folder::new();
    let file = folder.path("t.toml");
    let tune = |more: &[&str]| good(&[&["tune", "-o", &file], more].concat());
    let said = tune(&["--kernel", "softmax", "gumbel", "sample", "--shape", "16x64", "3x33"]);
    for part in ["softmax f32", "gumbel f32", "sample f32", "16 x 64", "3 x 33", "  2 shapes", "all: 6 shapes"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let tuning = read(&file);
    assert!(!tuning.adapter.name.is_empty() && !tuning.adapter.driver.is_empty());
    let v = &tuning.variants;
    // x4 and x1 are no neighbours.
    assert_eq!((v.softmax.len(), v.gumbel.len(), v.sample.len()), (2, 2, 2));
    assert_eq!((v.softmax[0].rows, v.softmax[0].cols), ([3, 3], [33, 33]));
    assert!(!v.softmax[0].variant.quads && v.softmax[1].variant.quads);

    let routing = ["router", "plan", "dispatch", "combine", "stats", "expert_choice"];
    let said = tune(&[&["--kernel"], &routing[..], &["--shape", "16x64x4"]].concat());
    assert!(said.contains("16 x 64 x 4") && said.contains("all: 6 shapes"), "{said}");
    let v = read(&file).variants;
    let lengths =
        [v.router.len(), v.plan.len(), v.dispatch.len(), v.combine.len(), v.stats.len(), v.expert_choice.len()];
    assert_eq!(lengths, [1; 6]);
    assert_eq!(v.router[0].choices, Some([4, 4]));
    // As many tokens as choose an expert otherwise.
    assert_eq!(v.expert_choice[0].choices, Some([1, 1]));
    assert_eq!(folder.names(), ["t.toml"]);
}

/// What there is no time for is left out, and said to be.
#[test]
fn a_budget_is_kept() {
    let folder = Folder::new();
    let file = folder.path("t.toml");
    let said = good(&["tune", "--kernel", "stats", "--budget-seconds", "1", "-o", &file]);
    let number =
        |line: Option<&str>| line.map_or(0, |line| line.split_whitespace().find_map(|w| w.parse().ok()).unwrap());
    let measured: usize = number(said.lines().find(|line| line.starts_with("  ") && line.contains(" shapes, another")));
    let left_out = number(said.lines().find(|line| line.starts_with("left out:")));
    assert_eq!(measured + left_out, 15, "{said}");
    assert!(read(&file).variants.stats.len() <= measured);
}

#[test]
fn types_and_standard_output() {
    let args = ["tune", "-o", "-", "--kernel", "softmax", "combine", "router", "--dtype", "f16", "bf16", "--shape"];
    let said = bad(&[&args[..], &["8x64x2"]].concat(), 2);
    assert!(said.contains("--shape of softmax has two numbers"), "{said}");
    let tuning = Tuning::from_toml(&good(&[&args[..], &["8x64"]].concat())).unwrap();
    let names: Vec<_> = tuning.variants.softmax.iter().map(|e| e.variant.to_string()).collect();
    assert!(names.len() == 2 && names[0].contains("/f16") && names[1].contains("/bf16/"), "{names:?}");
    assert_eq!(tuning.variants.combine.len(), 2);
    // Of routing, f32 is tuned.
    assert_eq!(tuning.variants.router.len(), 0);
}

#[test]
fn a_wrong_variant_is_left_out() {
    let folder = Folder::new();
    let file = folder.path("t.toml");
    let name = "softmax/stream/f32/baseline/w8/x4";
    let args = ["tune", "--kernel", "softmax", "--shape", "16x256", "-o", &file];
    let output = run(&[&args[..], &["--plant-fault", name]].concat());
    let said = complaint(&output, 3);
    assert!(said.contains("1 results are outside their error budget") && said.contains(name), "{said}");
    assert!(text(&output.stdout).contains(&format!("WRONG {name} at 16 x 256: planted")));
    let entries = read(&file).variants.softmax;
    assert!(entries.len() == 1 && entries[0].variant.to_string() != name);
}

#[test]
fn what_makes_no_sense_leaves_the_file_alone() {
    let folder = Folder::new();
    let file = folder.write("t.toml", b"mine");
    for (more, code, expected) in [
        (&["--kernel", "relu"][..], 2, "relu"),
        (&["--shape", "8"], 2, "ROWSxCOLUMNS"),
        (&["--dtype", "f64", "--kernel", "softmax"], 2, "f64"),
        (&["--budget-seconds", "0"], 2, "budget"),
        (&["--kernel", "router", "--shape", "4x8x9"], 1, "choices must be at most the number of experts"),
        (&["--kernel", "softmax", "dispatch", "stats", "--shape", "4294967295x4294967295x8"], 2, "two numbers"),
        (&["--kernel", "softmax", "sample", "--shape", "4294967295x4294967295"], 1, "nothing was measured"),
        (&["--kernel", "dispatch", "stats", "--shape", "4294967295x4294967295x8"], 1, "nothing was measured"),
        (&["--kernel", "softmax", "--adapter", "no such adapter"], 1, "no adapter matches"),
    ] {
        let said = bad(&[&["tune", "-o", &file], more].concat(), code);
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }
    assert!(bad(&["tune"], 2).contains("--output"));
    let nowhere = folder.path("none/t.toml");
    assert!(bad(&["tune", "-o", &nowhere], 1).contains("there is no folder"));
    assert_eq!(folder.names(), ["t.toml"]);
}

/// A tuning of one softmax, by hand, for the adapter that runs the tests.
fn by_hand(folder: &Folder, variant: &str, adapter: Option<&str>) -> String {
    let measured = good(&["tune", "-o", "-", "--kernel", "softmax", "--shape", "4x4"]);
    let mut tuning = Tuning::from_toml(&measured).unwrap();
    if let Some(name) = adapter {
        tuning.adapter = Adapter { name: name.into(), ..tuning.adapter };
    }
    let entry = Entry { rows: [1, 64], cols: [100, 200], choices: None, variant: variant.parse().unwrap() };
    tuning.variants.softmax = vec![entry];
    folder.write("by_hand.toml", tuning.to_toml().as_bytes())
}

#[test]
fn runs_and_benchmarks_use_it() {
    let folder = Folder::new();
    let name = "softmax/split/f32/baseline/w8/x4";
    let tuning = by_hand(&folder, name, None);
    let (input, output) = (folder.npy("x.npy", &[6, 128], &numbers(6 * 128)), folder.path("y.npy"));
    let args = ["run", "softmax", "-i", &input, "-o", &output, "--json"];
    let plain: Value = serde_json::from_str(&good(&args)).unwrap();
    assert_ne!(plain["variant"], name);
    let tuned: Value = serde_json::from_str(&good(&[&args[..], &["--tuning", &tuning]].concat())).unwrap();
    assert_eq!(tuned["variant"], name);
    // What is named goes before.
    let other = plain["variant"].as_str().unwrap();
    let named = good(&[&args[..], &["--tuning", &tuning, "--variant", other]].concat());
    assert_eq!(serde_json::from_str::<Value>(&named).unwrap()["variant"], other);
    let bench = ["bench", "--quick", "--repeats", "1", "--shape", "6x128"];
    let said = good(&[&bench[..], &["--tuning", &tuning]].concat());
    let chosen = said.lines().find(|line| line.contains("chosen")).unwrap();
    assert!(chosen.contains(name), "{said}");
    // Other kernels have no entries.
    let tokens = folder.path("tokens.npy");
    good(&["run", "sample", "-i", &input, "-o", &tokens, "--tuning", &tuning]);
    assert!(Path::new(&tokens).exists());
}

#[test]
fn another_adapters_tuning_is_used_but_remarked_on() {
    let folder = Folder::new();
    let tuning = by_hand(&folder, "softmax/split/f32/baseline/w8/x4", Some("Another GPU"));
    let (input, output) = (folder.npy("x.npy", &[6, 128], &numbers(6 * 128)), folder.path("y.npy"));
    let args = ["run", "softmax", "-i", &input, "-o", &output, "--tuning", &tuning];
    let said = onesum().args(args).output().unwrap();
    assert_eq!(said.status.code(), Some(0));
    assert!(text(&said.stdout).contains("softmax/split/f32/baseline/w8/x4"));
    assert!(
        text(&said.stderr).starts_with("onesum: the tuning was measured on another adapter or driver: Another GPU")
    );
}

#[test]
fn bad_tunings_are_refused() {
    let folder = Folder::new();
    let (input, output) = (folder.npy("x.npy", &[2, 3], &numbers(6)), folder.path("y.npy"));
    let args = ["run", "softmax", "-i", &input, "-o", &output, "--tuning"];
    let none = folder.path("none.toml");
    assert!(bad(&[&args[..], &[none.as_str()]].concat(), 1).contains("none.toml: cannot read"));
    let file = folder.write("bad.toml", b"version = 1\n[adapter]\nnam = \"a\"\n");
    let said = bad(&[&args[..], &[file.as_str()]].concat(), 1);
    assert!(said.contains("bad.toml: no tuning: line 3: unknown field `nam`"), "{said}");
    assert!(bad(&[&args[..], &[output.as_str()]].concat(), 2).contains("name the same file"));
    assert!(!Path::new(&output).exists());
}
