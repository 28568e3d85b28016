//! `onesum bench compare`, `plot` and `report`: what is done with the records of runs, here made up; and that a run's
//! own records are such.

mod common;

use common::{Folder, bad, complaint, good, run, text};
use serde_json::{Value, json};

/// A softmax at two shapes; the second one's times over the copy's are those given.
fn report(chosen: f64, rival: f64) -> Value {
    let spread = |x: f64| json!({"q1": x * 0.99, "median": x, "q3": x * 1.01});
    let record = |shape: (u32, u32), variant: &str, role: &str, name: &str, x: f64| {
        json!({
            "name": format!("softmax/{}x{}/f32/{name}", shape.0, shape.1),
            "definition": "softmax", "kernel": if role == "copy" { role } else { "softmax" },
            "rows": shape.0, "cols": shape.1, "choices": null, "dtype": "f32", "options": null,
            "variant": variant, "role": role, "status": "timed", "reason": null,
            "ms": spread(x), "cpu_ms": null, "gb_per_s": 10.0 / x, "limit_gb_per_s": 10.0, "fraction_of_limit": 1.0 / x,
            "ratio": {"over": "copy", "time": spread(x), "cpu": null},
            "first_use_ms": null, "worst_ulp": null, "rows_checked": null,
        })
    };
    let at = |shape, chosen, rival| {
        [
            record(shape, "copy/f32/baseline/w64q4/x4", "copy", "copy", 1.0),
            record(shape, "softmax/stream/f32/baseline/w64/x4", "chosen", "chosen", chosen),
            record(shape, "softmax/online/f32/baseline/w64/x4", "rival", "online/f32/baseline/w64/x4", rival),
        ]
    };
    let results = [at((2048, 4096), 1.5, 2.0), at((512, 32_768), chosen, rival)].concat();
    json!({
        "version": 2, "onesum": "0.1.0", "wgpu": "30.0.1", "date": "2026-01-31T12:34:56Z", "preset": null,
        "adapter": {"name": "Some GPU", "type": "discrete-gpu", "backend": "vulkan", "driver": "d", "driver_info": "1",
            "subgroup_sizes": [32, 32]},
        "host": {"cpu": "Some CPU", "threads": 2, "system": "linux x86_64"}, "features": [],
        "method": {"clock": "GPU timestamps", "rounds": 21, "order": "interleaved", "data": "uniform",
            "rotate_bytes": 536_870_912, "submit_seconds": 0.003},
        "empty_submit_us": null, "results": results,
    })
}

fn written(folder: &Folder, name: &str, report: &Value) -> String {
    folder.write(name, report.to_string().as_bytes())
}

#[test]
fn regressions_have_an_exit_code() {
    let folder = Folder::new();
    let before = written(&folder, "before.json", &report(1.75, 2.5));
    let after = written(&folder, "after.json", &report(2.1, 2.0));
    let output = run(&["bench", "compare", &before, &after]);
    let said = text(&output.stdout);
    assert_eq!(complaint(&output, 3), "slower than 1.10 times or wrong: softmax/512x32768/f32/chosen");
    let line = said.lines().find(|line| line.starts_with("softmax/512x32768/f32/chosen")).unwrap();
    assert!(line.contains("1.750") && line.contains("2.100") && line.contains("1.200") && line.ends_with("SLOWER"));
    assert!(said.contains("time over the yardstick's") && said.contains("4 compared: 1 slower, 1 faster"), "{said}");
    for args in [&["--threshold", "1.25"][..], &["online"], &["2048x4096", "--by", "time"]] {
        good(&[&["bench", "compare", &before, &after], args].concat());
    }
    assert!(good(&["bench", "compare", &before, &before]).contains("geometric mean 1.000"));
}

#[test]
fn comparisons_are_for_programs_too() {
    let folder = Folder::new();
    let before = written(&folder, "before.json", &report(1.75, 2.5));
    let mut other = report(1.75, 2.5);
    other["adapter"]["driver_info"] = json!("2");
    other["results"].as_array_mut().unwrap().pop();
    let after = written(&folder, "after.json", &other);
    let json: Value = serde_json::from_str(&good(&["bench", "compare", &before, &after, "--json", "-"])).unwrap();
    assert_eq!(json["differences"], json!([{"what": "driver", "before": "d 1", "after": "d 2"}]));
    assert_eq!(json["unpaired"][0]["why"], "only before");
    assert_eq!((&json["slower"], &json["results"][1]["by"]), (&json!(0), &json!("ratio")));
    let file = folder.path("comparison.json");
    let said = good(&["bench", "compare", &before, &after, "--json", &file]);
    assert!(said.contains("driver differs: d 1 / d 2") && said.contains("compare how near"), "{said}");
    assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap(), json);
}

#[test]
fn files_that_are_no_reports_are_refused() {
    let folder = Folder::new();
    let good = written(&folder, "good.json", &report(1.75, 2.5));
    let old = folder.write("old.json", br#"{"version": 1, "onesum": "0.1.0", "results": []}"#);
    let broken = folder.write("broken.json", b"{");
    let svg = folder.path("x.svg");
    for (file, why) in [(&*old, "a report of version 1"), (&broken, "not a report"), ("none.json", "cannot read")] {
        assert!(bad(&["bench", "compare", &good, file], 1).contains(why), "{file}");
        assert!(bad(&["bench", "plot", file, "-o", &svg], 1).contains(why), "{file}");
        assert!(bad(&["bench", "report", file, "--into", &good], 1).contains(why), "{file}");
    }
    assert!(bad(&["bench", "compare", &good, &good, "nonsense"], 1).contains("no result in common"));
    bad(&["bench", "compare", &good], 2);
    bad(&["bench", "compare", &good, &good, "--threshold", "0.9"], 2);
    bad(&["bench", "compare", &good, &good, "--by", "weight"], 2);
    assert!(bad(&["bench", "plot", &good, "-o", &folder.path("x.gif")], 2).contains(".svg or .png"));
    assert!(bad(&["bench", "plot", &good, "nonsense", "-o", &svg], 1).contains("no result whose name contains"));
    assert!(!folder.names().contains(&"x.svg".to_owned()));
}

#[test]
fn pictures_of_two_kinds() {
    let folder = Folder::new();
    let file = written(&folder, "paper.json", &report(1.75, 2.5));
    let (svg, png) = (folder.path("x.svg"), folder.path("x.PNG"));
    assert_eq!(good(&["bench", "plot", &file, "-o", &svg]) + &good(&["bench", "plot", &file, "--output", &png]), "");
    let svg = std::fs::read_to_string(svg).unwrap();
    let tree = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<_> = tree.descendants().filter_map(|node| node.text()).map(str::trim).collect();
    for text in ["copy: the limit", "stream", "online", "4,096", "GB/s"] {
        assert!(texts.contains(&text), "{text} is not in {texts:?}");
    }
    assert!(std::fs::read(png).unwrap().starts_with(b"\x89PNG"));
    assert_eq!(good(&["bench", "plot", &file, "-o", "-"]), svg);
}

#[test]
fn tables_go_between_markers() {
    let folder = Folder::new();
    let file = written(&folder, "bench.json", &report(1.75, 2.5));
    let text = "# Title\n\n<!-- onesum bench: softmax by algorithm -->\nold\n<!-- end -->\n\nrest\n";
    let (one, two) = (folder.write("one.md", text.as_bytes()), folder.write("two.md", text.as_bytes()));
    let arguments = ["bench", "report", &file, "--into", &one, "--into", &two];
    let stale = bad(&[&arguments[..], &["--check"]].concat(), 1);
    assert!(stale.starts_with("out of date: ") && stale.contains("one.md") && stale.contains("two.md"), "{stale}");
    assert_eq!(std::fs::read_to_string(&one).unwrap(), text);
    assert!(good(&arguments).contains("one.md: 1 tables, 1 new\n"));
    good(&[&arguments[..], &["--check"]].concat());
    let done = std::fs::read_to_string(&one).unwrap();
    assert!(done.starts_with("# Title\n\n<!-- onesum bench: softmax by algorithm -->\nSome GPU"), "{done}");
    assert!(done.contains("| 512 x 32768 | copy, 10.00 GB/s | **1.75** | 2.50 |\n<!-- end -->\n\nrest\n"), "{done}");

    // One document without markers, and none is written.
    let newer = written(&folder, "newer.json", &report(1.5, 2.5));
    let three = folder.write("three.md", b"no markers");
    let said = bad(&["bench", "report", &newer, "--into", &one, "--into", &three], 1);
    assert!(said.contains("three.md: no line <!-- onesum bench: ... --> asks for results of newer"), "{said}");
    folder.write("three.md", b"<!-- onesum bench: softmax -->\n");
    let said = bad(&["bench", "report", &newer, "--into", &one, "--into", &three], 1);
    assert!(said.contains("three.md:1: the table has no <!-- end -->"), "{said}");
    assert_eq!(std::fs::read_to_string(&one).unwrap(), done);
}

/// A run's own records are compared, drawn and shown without complaint.
#[test]
fn a_run_leaves_such_records() {
    let folder = Folder::new();
    let [json, csv, markdown, svg] = ["r.json", "r.csv", "r.md", "r.svg"].map(|name| folder.path(name));
    let args = ["bench", "softmax", "--repeats", "2", "--shape", "64x128", "5x33", "--json", &json, "--csv", &csv];
    good(&[&args[..], &["--markdown", &markdown]].concat());
    let said = good(&["bench", "compare", &json, &json]);
    assert!(said.contains("softmax/64x128/f32/chosen") && said.contains("fewer than 7 rounds"), "{said}");
    good(&["bench", "plot", &json, "-o", &svg]);
    let markdown = std::fs::read_to_string(markdown).unwrap();
    assert!(markdown.starts_with("# onesum bench\n") && markdown.contains("## softmax, f32\n"), "{markdown}");
    let document = folder.write("x.md", b"<!-- onesum bench: softmax/64x128 -->\n<!-- end -->");
    good(&["bench", "report", &json, "--into", &document]);
    assert!(std::fs::read_to_string(document).unwrap().contains("(chosen)"));
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!((&report["version"], report["host"]["threads"].as_u64() > Some(0)), (&json!(2), true));
    let mut reader = csv::Reader::from_path(csv).unwrap();
    let names: Vec<String> = reader.records().map(|line| line.unwrap()[0].to_owned()).collect();
    let expected: Vec<_> = report["results"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, expected);
}
