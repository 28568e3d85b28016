//! `onesum info`, `wgsl`, `bench`, `demo` and the help.

mod common;

use common::{Folder, bad, good, npy_bytes, numbers};
use serde_json::Value;

#[test]
fn info_says_what_runs_where() {
    let said = good(&["info"]);
    assert!(said.starts_with("0: "), "{said}");
    for part in ["baseline", "subgroup", "run here", "16384 x 128", "softmax/", "4096 x 256  8  router/", "plan/"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(good(&["info", "--variants"]).contains("softmax/stream/f32/baseline/w64/x4"));
    let of_first = good(&["info", "--adapter", "0"]);
    assert!(said.starts_with(&of_first) && !of_first.contains("\n1: "), "{of_first}");
    assert!(
        bad(&["info", "--adapter", "nonsense"], 1).contains("no adapter matches \"nonsense\"; these are here: 0: ")
    );
}

#[test]
fn info_probes() {
    let said = good(&["info", "--probe"]);
    for part in
        ["Floating Point Accuracy", "inverseSqrt", "max(NaN, 1)", "iterations of one loop", "what results rely on"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let info: Value = serde_json::from_str(&good(&["info", "--json", "--probe"])).unwrap();
    for adapter in info["adapters"].as_array().unwrap() {
        assert_eq!(adapter["probe"]["functions"].as_array().unwrap().len(), 14);
        assert_eq!(adapter["probe"]["limits"][0]["got"], adapter["limits"]["max_compute_invocations_per_workgroup"]);
    }
}

#[test]
fn info_in_json() {
    let info: Value = serde_json::from_str(&good(&["info", "--json", "--variants"])).unwrap();
    // Gumbel-Softmax has the variants of softmax.
    let names = good(&["wgsl", "--list"]).lines().filter(|name| !name.starts_with("gumbel/")).count();
    for (index, adapter) in info["adapters"].as_array().unwrap().iter().enumerate() {
        assert_eq!(adapter["index"], index);
        for field in ["name", "type", "backend", "driver", "driver_info"] {
            assert!(adapter[field].is_string(), "{field}");
        }
        assert!(adapter["limits"]["max_storage_buffer_binding_size"].as_u64().unwrap() > 0);
        assert!(adapter["features"]["subgroup"].is_boolean());
        assert_eq!(adapter["selected"].as_array().unwrap().len(), 8 + 9);
        let routing = adapter["routing"].as_array().unwrap();
        assert_eq!(routing.len(), 9);
        for name in ["router", "plan", "stats", "expert_choice"] {
            assert!(routing.iter().all(|r| r[name].as_str().unwrap().starts_with(&format!("{name}/"))), "{name}");
        }
        assert_eq!(adapter["variants"].as_object().unwrap().len(), names);
        let mut all = 0;
        for tier in adapter["tiers"].as_array().unwrap() {
            let (total, runs) = (tier["variants"].as_u64().unwrap(), tier["supported"].as_u64().unwrap());
            let lacking: u64 = tier["lacking"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
            assert_eq!(runs + lacking, total);
            all += total;
        }
        assert_eq!(all, names as u64);
    }
}

#[test]
fn wgsl_of_every_kind() {
    let all = good(&["wgsl", "--list"]);
    assert!(all.lines().count() > 100);
    let filtered = good(&["wgsl", "--list", "split/f32"]);
    assert!(filtered.lines().all(|name| name.contains("split/f32")) && !filtered.is_empty());
    let text = good(&["wgsl", "softmax/stream/f32/subgroup/w256/x4"]);
    assert!(text.contains("@compute") && !text.contains("enable subgroups;"));
    assert!(text.starts_with("// softmax/stream/f32/subgroup/w256/x4, dispatch 1 of 1\n"));
    assert!(text.contains("\n// overrides: WIDTH = 256, LANES = 256\n"));
    let browser = good(&["wgsl", "softmax/stream/f32/subgroup/w256/x4", "--browser"]);
    assert!(browser.contains("enable subgroups;"));
    let split = good(&["wgsl", "softmax/split/f32/baseline/w256/x4"]);
    assert!(split.contains("dispatch 2 of 2"));
    // One name of each kernel of routing.
    for (name, dispatches) in [
        ("router/lane/f32/baseline/w8/x4", 1),
        ("plan/one/w1", 1),
        ("stats/bf16/w256l16/x4", 2),
        ("expert_choice/serial/f32/w8", 3),
        ("permute/combine/f16-f32/w256l32/x1", 1),
    ] {
        assert!(all.lines().any(|line| line == name), "{name}");
        let text = good(&["wgsl", name]);
        assert!(
            text.contains("@compute") && text.contains(&format!("dispatch {dispatches} of {dispatches}")),
            "{name}"
        );
    }
    assert!(bad(&["wgsl", "plan/nonsense"], 2).contains("no variant is called"));
    assert!(bad(&["wgsl", "softmax/nonsense"], 2).contains("no variant is called"));
    assert!(bad(&["wgsl", "--list", "nonsense"], 2).contains("no variant's name contains"));
}

#[test]
fn bench_tells_people_and_machines() {
    let folder = Folder::new();
    let (json, csv) = (folder.path("b.json"), folder.path("b.csv"));
    let args = ["bench", "--quick", "--repeats", "3", "--json", &json, "--csv", &csv, "--shape", "64x128", "5x33"];
    let said = good(&args);
    for part in ["64 x 128", "5 x 33", "copy/f32", "chosen", "rival", "worst ULP"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    for field in ["onesum", "wgpu", "date"] {
        assert!(report[field].is_string(), "{field}");
    }
    assert!(report["adapter"]["driver"].is_string() && report["features"].is_array());
    assert_eq!(report["method"]["rounds"], 3);
    let results = report["results"].as_array().unwrap();
    for shape in [(64, 128), (5, 33)] {
        let here: Vec<_> = results.iter().filter(|r| (r["rows"] == shape.0) && (r["cols"] == shape.1)).collect();
        let count = |role: &str| here.iter().filter(|r| r["role"] == role).count();
        assert_eq!((count("copy"), count("chosen"), count("rival")), (1, 1, 3), "{shape:?}");
        for result in here {
            assert_eq!(result["status"], "timed");
            assert!(result["ms"]["median"].as_f64().unwrap() > 0.0);
            assert_eq!(result["ratio"]["over"], "copy");
            assert!(result["ratio"]["time"]["q1"].as_f64() <= result["ratio"]["time"]["q3"].as_f64());
            assert!(result["fraction_of_limit"].as_f64().unwrap() > 0.0);
        }
    }
    let csv = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(csv.lines().count(), results.len() + 1);
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns));
}

/// Sampling is measured against a kernel that only reads, and every rival is checked before it is timed.
#[test]
fn bench_of_sampling() {
    let folder = Folder::new();
    let (json, csv) = (folder.path("b.json"), folder.path("b.csv"));
    let args =
        ["bench", "sample", "--quick", "--repeats", "2", "--shape", "3x1000", "2x30", "--json", &json, "--csv", &csv];
    let said = good(&args);
    for name in ["read/f32/baseline", "sample/block/", "arg max: sample/", "softmax, then inverse cdf", "x read"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let results = report["results"].as_array().unwrap();
    assert!(results.iter().all(|r| r["status"] == "timed" && r["ratio"]["over"] == "read"), "{results:?}");
    assert!(results.iter().all(|r| r["ratio"]["time"]["median"].as_f64().unwrap() > 0.0));
    let header = std::fs::read_to_string(&csv).unwrap().lines().next().unwrap().to_owned();
    assert!(header.contains("over,ratio,ratio_q1,ratio_q3,ratio_cpu"), "{header}");
    let named = ["bench", "sample", "--repeats", "1", "--shape", "2x64", "--variant"];
    let said = good(&[&named[..], &["sample/stream/f32/baseline/w8/"]].concat());
    assert!(said.contains("sample/stream/f32/baseline/w8/x4") && !said.contains("arg max"), "{said}");
    assert!(bad(&[&named[..], &["sample/nonsense"]].concat(), 2).contains("no variant's name contains"));
}

/// Routing is measured against a read, its plan against the routing, and a few tokens against an empty dispatch.
#[test]
fn bench_of_routing() {
    let folder = Folder::new();
    let (json, csv) = (folder.path("b.json"), folder.path("b.csv"));
    let args = ["bench", "route", "--quick", "--repeats", "2", "--json", &json, "--csv", &csv];
    let said = good(&[&args[..], &["--shape", "70x64x6", "2x64x6"]].concat());
    let parts = ["70 tokens, 6 of 64 experts", "route: router/", "deepseek-v2-lite: router/", "route + plan: plan/"];
    for part in
        [&parts[..], &["stats/f32/", "expert_choice/", "x read", "empty dispatch", "x empty", "x route"]].concat()
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let results = report["results"].as_array().unwrap();
    assert!(results.iter().all(|r| r["status"] == "timed" && r["choices"] == 6), "{results:?}");
    assert!(results.iter().all(|r| r["ratio"]["time"]["median"].as_f64().is_some_and(|x| x > 0.0)), "{results:?}");
    let over = |what: &str| results.iter().filter(|r| r["ratio"]["over"] == what).count();
    assert_eq!((over("read"), over("route"), over("empty"), over("copy")), (5, 2, 4, 0));
    let mut csv = csv::Reader::from_path(&csv).unwrap();
    assert_eq!(csv.records().map(Result::unwrap).count(), results.len());

    let named = ["bench", "route", "--repeats", "1", "--shape", "3x64", "--variant", "router/row/f32/baseline/w8/x4"];
    let said = good(&named);
    assert!(said.contains("route: router/row/f32/baseline/w8/x4") && said.contains("8 of 64"), "{said}");
}

/// Dispatch and combine, against a copy of the same bytes.
#[test]
fn bench_of_permutations() {
    let said = good(&["bench", "permute", "--repeats", "1", "--quick", "--shape", "9x32x3"]);
    for part in
        ["9 tokens of 32 f32, 3 choices", "9 tokens of 32 bf16", "permute/dispatch/", "permute/combine/bf16", "x copy"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!said.contains("WRONG") && !said.contains("not run"), "{said}");
}

#[test]
fn bench_takes_variants() {
    let named = |shape, variant| good(&["bench", "--quick", "--repeats", "1", "--shape", shape, "--variant", variant]);
    let said = named("8x64", "stream/f32/baseline");
    let lines: Vec<_> = said.lines().filter(|l| l.contains("softmax/")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|l| l.contains("softmax/stream/f32/baseline/") && l.contains("/x4")));
    let said = named("8x12", "rows/bf16-f16/baseline/w8l1k8");
    assert!(said.contains("softmax/rows/bf16-f16/baseline/w8l1k8/x4"), "{said}");
    assert!(bad(&["bench", "nonsense"], 2).contains("no definition's name contains"));
    assert!(bad(&["bench", "--json", "no/such/folder.json"], 1).contains("there is no folder"));
    assert!(bad(&["bench", "--json", "."], 1).contains("it is a folder"));
    let folder = Folder::new();
    let text = "[[bench]]\nname = 'mine'\nkernel = 'softmax'\nshapes = ['4x8']\noptions = { soft-cap = -1.0 }\n";
    let mine = folder.write("mine.toml", text.as_bytes());
    assert!(bad(&["bench", "--definitions", &mine], 1).contains("nothing that was asked for runs here"));
}

#[test]
fn demo_shows_the_likeliest() {
    let folder = Folder::new();
    let mut logits = numbers(2 * 100);
    (logits[7], logits[100 + 42]) = (20.0, 30.0);
    let file = folder.npy("logits.npy", &[2, 100], &logits);
    let tokens = r#"{"model": "Tiny", "rows": [
        {"prompt": "one", "tokens": {"7": " seven\n"}}, {"prompt": "two", "tokens": {"1": "x"}}]}"#;
    let tokens = folder.write("tokens.json", tokens.as_bytes());
    let said = good(&["demo", "--logits", &file, "--tokens", &tokens, "--top", "2"]);
    for part in [
        "Tiny",
        "\"one\"",
        "100.000 %  \" seven\\n\"",
        "token 42",
        "2 rows, 200 elements",
        "speed of a copy",
        "4096 random tokens to 8 of 256 experts",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }

    let short = folder.write("short.json", br#"{"model": "Tiny", "rows": []}"#);
    let said = bad(&["demo", "--logits", &file, "--tokens", &short], 1);
    assert!(said.contains("expected 2 prompts"), "{said}");
    let broken = folder.write("broken.json", b"{");
    assert!(bad(&["demo", "--logits", &file, "--tokens", &broken], 1).contains("not a file of tokens"));
    assert!(bad(&["demo", "--logits", &file, "--tokens", "none.json"], 1).contains("none.json: cannot read"));
    let line = folder.write("line.npy", &npy_bytes("<f4", &[2], &[0; 8]));
    assert!(bad(&["demo", "--logits", &line, "--tokens", &tokens], 1).contains("[prompts, tokens]"));
}

#[test]
fn help_documents_the_exit_codes() {
    let help = good(&["--help"]);
    for part in ["Exit codes:", "  0    all is well", "  3    a result is further", "onesum run softmax --input"] {
        assert!(help.contains(part), "{part}");
    }
    for command in ["info", "run", "bench", "conform", "wgsl", "demo"] {
        assert!(help.contains(command));
        good(&[command, "--help"]);
    }
    assert!(good(&["run", "softmax", "--help"]).contains("Examples:"));
    assert!(good(&["--version"]).starts_with("onesum "));
}
