//! `onesum bench`: definitions, presets, and what is measured beside speed.

mod common;

use common::{Folder, bad, good};
use serde_json::Value;

/// Every preset has what it promises, and a case is named once.
#[test]
fn presets_are_listed() {
    let list = |preset| good(&["bench", "--list", "--preset", preset]);
    let cases =
        |text: &str| text.lines().filter(|l| l.starts_with("  ")).map(|l| l.trim().to_owned()).collect::<Vec<_>>();
    let paper = cases(&list("paper"));
    assert!(
        paper.contains(&"two-pass/32768x128/f32".to_owned()) && paper.contains(&"two-pass/1x10000000/f32".to_owned())
    );
    let llm = cases(&list("llm"));
    for name in [
        "attention-llama3-8b-prefill/2048x4096/f16/queries=64,scale=0.088388346",
        "sample-qwen3/8x151936/f32/temperature=0.7",
        "route-deepseek-v3/4096x256x8/f32/model=deepseek-v3",
    ] {
        assert!(llm.iter().any(|case| case == name), "{name} is not in {llm:?}");
    }
    let all = cases(&list("all"));
    assert!(llm.iter().chain(&paper).all(|case| all.contains(case)));
    for list in [&all, &cases(&list("quick"))] {
        let mut names = list.clone();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), list.len());
        for kernel in ["softmax", "gumbel", "sample", "route", "permute"] {
            assert!(names.iter().any(|name| name.starts_with(kernel)), "{kernel}");
        }
    }
    let chosen = good(&["bench", "route-mixtral", "--list", "--dtype", "bf16"]);
    assert!(chosen.starts_with("route-mixtral (route; llm, all): Mixtral"), "{chosen}");
    assert_eq!(cases(&chosen)[0], "route-mixtral/1x8x2/bf16/model=mixtral");
}

/// The records of a run on these definitions.
fn records(folder: &Folder, text: &str, more: &[&str]) -> (String, Value) {
    let (file, json) = (folder.write("mine.toml", text.as_bytes()), folder.path("b.json"));
    let said = good(&[&["bench", "--definitions", &file, "--repeats", "2", "--json", &json], more].concat());
    (said, serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap())
}

/// Every option of every kernel changes what is computed, and the reference agrees.
#[test]
fn options_are_checked_too() {
    let text = "
        [[bench]]
        name = 'attention'
        kernel = 'softmax'
        shapes = ['12x40']
        dtypes = ['f32', 'f16', 'bf16-f32']
        options = { scale = 0.25, soft-cap = 3.0, queries = 4, temperature = 0.5 }
        check = 'all'
        [[bench]]
        name = 'logarithms'
        kernel = 'softmax'
        shapes = ['3x33']
        options = { log = true }
        variants = ['chosen', 'online']
        [[bench]]
        name = 'relaxed'
        kernel = 'gumbel'
        shapes = ['3x40']
        options = { scale = 2.0, temperature = 0.5 }
        variants = ['chosen', 'recompute']
        [[bench]]
        name = 'beams'
        kernel = 'sample'
        shapes = ['3x1000']
        dtypes = ['f32', 'bf16']
        options = { temperature = 0.7, k = 4 }
        [[bench]]
        name = 'sigmoids'
        kernel = 'route'
        shapes = ['70x64x6']
        dtypes = ['f32', 'f16']
        options = { scoring = 'sigmoid' }
        variants = ['chosen', 'others', 'plan', 'stats', 'expert-choice']
        [[bench]]
        name = 'model'
        kernel = 'route'
        shapes = ['80x256x8']
        options = { model = 'deepseek-v3' }
        variants = ['chosen', 'model', 'plan/']
        [[bench]]
        name = 'moved'
        kernel = 'permute'
        shapes = ['5x64x2']
        dtypes = ['f16']
        options = { experts = 4 }
    ";
    let folder = Folder::new();
    let (said, report) = records(&folder, text, &[]);
    assert!(!said.contains("WRONG"), "{said}");
    let results = report["results"].as_array().unwrap();
    let of = |definition: &str| results.iter().filter(|r| r["definition"] == definition).collect::<Vec<_>>();
    for (definition, competitors) in [("relaxed", 2), ("logarithms", 2), ("model", 2), ("moved", 2)] {
        let timed =
            of(definition).iter().filter(|r| r["status"] == "timed" && r["ratio"]["over"] != Value::Null).count();
        assert!(timed > competitors, "{definition}: {said}");
    }
    assert!(of("attention").iter().any(|r| r["dtype"] == "bf16-f32" && r["role"] == "rival" && r["status"] == "timed"));
    assert!(of("relaxed").iter().any(|r| r["variant"].as_str().unwrap().starts_with("gumbel/recompute/f32/")));
    assert!(of("beams").iter().any(|r| r["kernel"] == "top k" && r["dtype"] == "bf16"));
    assert!(of("beams").iter().all(|r| r["options"] == "k=4,temperature=0.7"));
    let kernels: Vec<_> = of("sigmoids").iter().map(|r| r["kernel"].as_str().unwrap().to_owned()).collect();
    for kernel in ["route", "route + plan", "stats", "expert_choice"] {
        assert!(kernels.iter().any(|k| k == kernel), "{kernel}: {kernels:?}");
    }
    // It is the model's routing already.
    assert!(of("model").iter().all(|r| r["kernel"] != "deepseek-v3"));
}

/// A figure stands beside what limits it and what it costs at first.
#[test]
fn records_have_what_surrounds_a_time() {
    let text = "
        [[bench]]
        name = 'mine'
        kernel = 'softmax'
        presets = ['paper']
        shapes = ['64x512']
    ";
    let folder = Folder::new();
    let (said, report) = records(&folder, text, &["--preset", "paper"]);
    assert!(
        said.contains("an empty submit:") && said.contains("first ms") && said.contains("mine: 64 x 512, f32"),
        "{said}"
    );
    assert_eq!(report["preset"], "paper");
    assert!(report["empty_submit_us"]["median"].as_f64().unwrap() > 0.0);
    for record in report["results"].as_array().unwrap() {
        let yardstick = record["role"] == "copy";
        assert!(record["limit_gb_per_s"].as_f64().unwrap() > 0.0);
        assert!(record["fraction_of_limit"].as_f64().unwrap() > 0.0);
        assert_eq!(record["first_use_ms"].is_null(), yardstick, "{record}");
        assert!(record["noisy"].is_boolean());
        // One dispatch of those that were timed is cheaper than compiling it, and both are counted.
        assert!(yardstick || record["first_use_ms"].as_f64() > record["ms"]["median"].as_f64(), "{record}");
    }
}

/// What is wrong with a definition is said with its place.
#[test]
fn definitions_are_strict() {
    let folder = Folder::new();
    let refused = |text: &str, expected: &str| {
        let file = folder.write("mine.toml", text.as_bytes());
        let said = bad(&["bench", "--definitions", &file], 1);
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
    };
    let bench = |more: &str| format!("[[bench]]\nname = 'mine'\nkernel = 'sample'\nshapes = ['2x40']\n{more}\n");
    refused("bench = 3", "mine.toml:1: invalid type");
    refused("[[bench]]\nname = 'mine'\n", "missing field `kernel`");
    refused(&bench("shape = '3x4'"), "mine.toml:5: unknown field `shape`, expected one of");
    refused(&bench("dtypes = ['f64']"), "mine.toml:5: expected f32, f16 or bf16");
    refused(&bench("dtypes = ['f16-f32']"), "mine.toml:2: bench \"mine\": dtype f16-f32: only softmax and gumbel");
    refused(&bench("presets = ['some']"), "mine.toml:5: unknown variant `some`");
    refused(&bench("presets = []"), "presets is empty");
    refused(&bench("variants = ['online']"), "no variant's name contains \"online\"");
    refused(&bench("check = 'none'"), "mine.toml:5: unknown variant `none`");
    refused(&bench("options = { tau = 1.0 }"), "options: unknown field `tau`, expected `temperature` or `k`");
    refused(&bench("options = { k = 65 }"), "options: k: 1 to 64, got 65");
    refused(&bench("options = { k = 41 }"), "shape 2x40: with k = 41");
    refused(&bench("options = { temperature = nan }"), "options: temperature: a finite f32, got nan");
    refused(&bench("options = { temperature = 1e39 }"), "options: temperature: a finite f32");
    refused(&bench(&bench("")), "mine.toml:6: bench \"mine\": there is another one");
    refused(&bench("").replace("'mine'", "'a b'"), "a name has small letters");
    refused(&bench("").replace("2x40", "2x40x3"), "only rows that are routed have choices");
    refused(&bench("").replace("2x40", "2x"), "mine.toml:4: expected ROWSxCOLUMNS");
    refused(&bench("").replace("'sample'", "'sampling'"), "mine.toml:3: unknown variant `sampling`");
    let route = bench("").replace("'sample'", "'route'");
    refused(&route, "three numbers, the third one the choices");
    let route = route.replace("2x40", "2x40x4");
    refused(&format!("{route}options = {{ model = 'gpt-5' }}"), "no router is called \"gpt-5\"");
    refused(&format!("{route}options = {{ model = 'qwen3' }}"), "qwen3 has 128 experts and 8 choices");
    refused(&format!("{route}options = {{ scoring = 'hard' }}"), "scoring: one of softmax, sigmoid");
    refused(&format!("{route}options = {{ scoring = 'none', model = 'qwen3' }}"), "either model or scoring");
    let softmax = bench("options = { queries = 3 }").replace("'sample'", "'softmax'");
    refused(&softmax, "with queries = 3, rows are a multiple");
    let none = folder.path("none.toml");
    assert!(bad(&["bench", "--definitions", &none], 1).contains("none.toml: cannot read"));
}

/// What does not fit the device, or what nothing runs of, is told and left out; if nothing is left, that is an error.
#[test]
fn what_cannot_be_measured_is_told() {
    let folder = Folder::new();
    let text = "
        [[bench]]
        name = 'huge'
        kernel = 'softmax'
        shapes = ['4294967295x4294967295', '2x64']
        variants = ['chosen']
    ";
    let (said, report) = records(&folder, text, &[]);
    assert!(said.contains("huge/4294967295x4294967295/f32: not run: a matrix of"), "{said}");
    assert_eq!(report["results"].as_array().unwrap().len(), 2);
    let args = ["bench", "--shape", "2x100000", "--variant", "softmax/rows/f32"];
    assert!(bad(&args, 1).contains("nothing was measured"));
}

/// Records can go to another program without a file between.
#[test]
fn records_on_standard_output() {
    let small = ["bench", "--shape", "2x64", "--variant", "chosen", "--repeats", "2"];
    let report: Value = serde_json::from_str(&good(&[&small[..], &["--json", "-"]].concat())).unwrap();
    assert_eq!(report["results"].as_array().unwrap().len(), 2);
    let table = good(&[&small[..], &["--csv", "-"]].concat());
    assert!(table.lines().count() == 3 && table.starts_with("name,"), "{table}");
    assert!(bad(&[&small[..], &["--csv", "-", "--json", "-"]].concat(), 2).contains("standard output"));
}
