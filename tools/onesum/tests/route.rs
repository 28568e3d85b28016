//! `onesum run route`: where tokens go, and what is written about it.

mod common;

use std::collections::BTreeMap;

use common::{Folder, bad, close, good, npy_bytes, numbers, read, softmax};
use serde_json::Value;

const NONE: u32 = u32::MAX;

/// Shape and values of a `.npy` file of u32.
fn indices(path: &str) -> (String, Vec<u32>) {
    let bytes = std::fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..start]).into_owned();
    assert!(header.contains("'descr': '<u4'"), "{header}");
    let shape = header[header.find("'shape': ").unwrap() + 9..].split(')').next().unwrap().to_owned() + ")";
    (shape, words(&bytes[start..]))
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect()
}

/// The arrays of a `.safetensors` file, all of four bytes an element: type, shape, bits.
fn arrays(path: &str) -> BTreeMap<String, (String, Vec<u64>, Vec<u32>)> {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let array = |(name, info): (&String, &Value)| {
        let numbers = |key: &str| info[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect::<Vec<_>>();
        let at = numbers("data_offsets");
        let values = words(&data[at[0] as usize..at[1] as usize]);
        (name.clone(), (info["dtype"].as_str().unwrap().to_owned(), numbers("shape"), values))
    };
    header.as_object().unwrap().iter().map(array).collect()
}

/// Files of one run, and its arguments.
struct Run {
    folder: Folder,
    input: String,
    weights: String,
    experts: String,
}

impl Run {
    fn new(shape: &[usize]) -> Self {
        let folder = Folder::new();
        let input = folder.npy("x.npy", shape, &numbers(shape.iter().product()));
        Self { input, weights: folder.path("w.npy"), experts: folder.path("e.npy"), folder }
    }

    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let files = ["run", "route", "-i", &self.input, "-w", &self.weights, "-e", &self.experts];
        [&files[..], more].concat()
    }

    /// The report.
    fn json(&self, more: &[&str]) -> Value {
        let report: Value = serde_json::from_str(&good(&self.args(&[more, &["--json"]].concat()))).unwrap();
        assert_eq!(report["compared"], report["tokens"]);
        report
    }

    fn results(&self) -> (Vec<u32>, Vec<f32>) {
        (indices(&self.experts).1, read(&self.weights).values)
    }
}

/// A plan is that of the experts: every choice in a slot of its expert, slots of an expert together and in order.
fn consistent(plan: &BTreeMap<String, (String, Vec<u64>, Vec<u32>)>, experts: &[u32], block: usize) {
    let [counts, offsets, sorted, inverse] = ["counts", "offsets", "sorted", "inverse"].map(|name| &plan[name].2);
    let dropped = plan.get("dropped").map_or(&[][..], |d| &d.2);
    assert_eq!((inverse.len(), offsets.len()), (experts.len(), counts.len() + 1));
    for (pair, (&expert, &slot)) in experts.iter().zip(inverse).enumerate() {
        let kept = (expert as usize) < counts.len() && !dropped.contains(&(pair as u32));
        assert_eq!(slot != NONE, kept, "{pair}");
        if kept {
            assert_eq!(sorted[slot as usize] as usize, pair);
            assert!((offsets[expert as usize]..offsets[expert as usize + 1]).contains(&slot), "{pair}");
        }
    }
    for (e, &count) in counts.iter().enumerate() {
        let (first, end) = (offsets[e] as usize, offsets[e + 1] as usize);
        assert_eq!(end - first, (count as usize).next_multiple_of(block));
        let own = &sorted[first..first + count as usize];
        assert!(own.is_sorted() && sorted[first + count as usize..end].iter().all(|&s| s == NONE), "{own:?}");
        if let Some((_, _, blocks)) = plan.get("blocks") {
            assert!(blocks[first / block..end / block].iter().all(|&b| b as usize == e));
        }
    }
    assert!(sorted[offsets[counts.len()] as usize..].iter().all(|&s| s == NONE));
}

/// The greatest logits, the softmax of them, and everything that is told about it.
#[test]
fn softmax_of_the_chosen() {
    let run = Run::new(&[2, 5, 8]);
    let (plan, stats, svg) = (run.folder.path("p.safetensors"), run.folder.path("s.json"), run.folder.path("h.svg"));
    let said = good(&run.args(&["-k", "3", "--plan", &plan, "--stats", &stats, "--histogram", &svg, "--block", "4"]));
    for part in
        ["router   3 of 8 experts, softmax, renormalized", "check    10 tokens", "balance  max / mean", "  0  #"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let (shape, experts) = indices(&run.experts);
    assert_eq!(shape, "(2, 5, 3)");
    let (x, weights) = (numbers(80), read(&run.weights));
    assert_eq!((weights.shape, weights.descr.as_str()), (vec![2, 5, 3], "<f4"));
    for ((row, chosen), weights) in x.chunks(8).zip(experts.chunks(3)).zip(weights.values.chunks(3)) {
        let mut order: Vec<u32> = (0..8).collect();
        order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
        assert_eq!(chosen, &order[..3]);
        close(weights, &softmax(&chosen.iter().map(|&e| f64::from(row[e as usize])).collect::<Vec<_>>()));
    }

    let arrays = arrays(&plan);
    assert_eq!(arrays.keys().collect::<Vec<_>>(), ["blocks", "counts", "inverse", "offsets", "sorted"]);
    assert!(arrays.values().all(|(dtype, ..)| dtype == "U32") && arrays["inverse"].1 == [2, 5, 3]);
    consistent(&arrays, &experts, 4);

    let stats: Value = serde_json::from_str(&std::fs::read_to_string(stats).unwrap()).unwrap();
    let counts: Vec<u64> = (0..8).map(|e| experts.iter().filter(|&&x| x == e).count() as u64).collect();
    assert_eq!(stats["state"]["counts"], Value::from(counts.clone()));
    assert_eq!(
        (&stats["state"]["tokens"], &stats["tokens"], &stats["num_experts"]),
        (&10.into(), &10.into(), &8.into())
    );
    let most = *counts.iter().max().unwrap() as f64;
    assert!((stats["figures"]["max_over_mean"].as_f64().unwrap() - most * 8.0 / 30.0).abs() < 1e-12);
    for figure in ["load_cv2", "importance_cv2", "entropy", "unused", "balance_loss", "z_loss"] {
        assert!(stats["figures"][figure].is_f64(), "{figure}");
    }
    assert_eq!(stats["options"]["experts_per_token"], 3);
    assert!(stats["wgpu"].is_string() && stats["onesum"].is_string() && stats["adapter"]["name"].is_string());
    let svg = std::fs::read_to_string(svg).unwrap();
    for part in ["<svg", "10 tokens: 3 of 8 experts", "choices of each expert"] {
        assert!(svg.contains(part), "{part}");
    }
}

/// Groups, a bias that selects, a cap, a factor, shared experts and padding, of f16.
#[test]
fn options_together() {
    let run = Run::new(&[6, 16]);
    let input = run.folder.npy_f16("half.npy", &[6, 16], &numbers(96));
    let bias = run.folder.npy("b.npy", &[16], &numbers(16));
    let run = Run { input, ..run };
    let report = run.json(&[
        "--experts-per-token",
        "4",
        "--scoring",
        "sigmoid",
        "--renormalize",
        "--least-sum",
        "1e-6",
        "--scaling-factor",
        "2.5",
        "--n-group",
        "4",
        "--topk-group",
        "2",
        "--group-score",
        "max",
        "--bias",
        &bias,
        "--bias-role",
        "select",
        "--soft-cap",
        "30",
        "--shared-experts",
        "2",
        "--shared-weight",
        "0.5",
        "--valid-tokens",
        "5",
    ]);
    let options = &report["options"];
    assert_eq!(
        (&options["group_score"], &options["bias_role"], &report["dtype"]),
        (&"max".into(), &"select".into(), &"f16".into())
    );
    let (experts, weights) = run.results();
    for (token, (experts, weights)) in experts.chunks(6).zip(weights.chunks(6)).enumerate() {
        if token == 5 {
            assert_eq!((experts, weights), (&[NONE; 6][..], &[0.0; 6][..]));
            continue;
        }
        let groups: std::collections::BTreeSet<_> = experts[..4].iter().map(|e| e / 4).collect();
        assert!(groups.len() <= 2 && experts[..4].iter().all(|&e| e < 16), "{experts:?}");
        assert_eq!((&experts[4..], &weights[4..]), (&[16, 17][..], &[0.5, 0.5][..]));
        assert!((weights[..4].iter().sum::<f32>() - 2.5).abs() < 1e-5, "{weights:?}");
    }
}

/// Token t has the noise of its position: a batch that begins later goes where the tail of the first one went.
#[test]
fn noise_goes_by_position() {
    let run = Run::new(&[4, 8]);
    let noise = ["-k", "2", "--noise", "gumbel", "--seed", "7", "--position"];
    let report = run.json(&[&noise[..], &["10"]].concat());
    assert_eq!((&report["options"]["seed"], &report["options"]["position"]), (&7.into(), &10.into()));
    let all = run.results();
    let input = run.folder.npy("tail.npy", &[2, 8], &numbers(32)[16..]);
    let tail = Run { input, ..run };
    tail.json(&[&noise[..], &["12"]].concat());
    assert_eq!(tail.results(), (all.0[4..].to_vec(), all.1[4..].to_vec()));

    // Noisy top-K: deviations, and a bias of the logits.
    let (deviations, bias) = (tail.folder.npy("d.npy", &[2, 8], &[0.5; 16]), tail.folder.npy("b.npy", &[8], &[1.0; 8]));
    let normal = ["-k", "2", "--noise", "normal", "--noise-logits", &deviations, "--bias", &bias];
    let said = tail.json(&[&normal[..], &["--bias-role", "logit", "--scoring", "sqrtsoftplus"]].concat());
    assert_eq!((&said["options"]["noise"], &said["options"]["scoring"]), (&"normal".into(), &"sqrtsoftplus".into()));
}

/// A capacity drops the choices of the tokens with the least weight; variants go by name; logits may be the weights.
#[test]
fn capacity_and_variants() {
    let run = Run::new(&[12, 8]);
    let plan = run.folder.path("p.safetensors");
    let report = run.json(&[
        "-k",
        "2",
        "--scoring",
        "none",
        "--plan",
        &plan,
        "--capacity",
        "2",
        "--drop",
        "batch-prioritised",
        "--variant",
        "router/row/f32/baseline/w8/x1",
        "--variant",
        "stats/f32/w8l1/x1",
        "--variant",
        "plan/serial/w8",
    ]);
    assert_eq!(
        (&report["variant"], &report["plan"]["variant"]),
        (&"router/row/f32/baseline/w8/x1".into(), &"plan/serial/w8".into())
    );
    assert_eq!(
        (&report["stats_variant"], &report["options"]["renormalize"]),
        (&"stats/f32/w8l1/x1".into(), &false.into())
    );
    let (experts, weights) = run.results();
    let x = numbers(96);
    assert!(experts.iter().zip(&weights).enumerate().all(|(i, (&e, w))| x[i / 2 * 8 + e as usize] == *w));
    let arrays = arrays(&plan);
    consistent(&arrays, &experts, 1);
    assert_eq!(arrays["dropped_count"].2, [arrays["dropped"].2.len() as u32]);
    assert!(arrays["counts"].2.iter().all(|&n| n <= 2) && report["plan"]["dropped"].as_u64().unwrap() >= 24 - 16);
}

/// A shard knows its own experts by its own numbers; the load stays that of the whole router.
#[test]
fn shards() {
    let run = Run::new(&[7, 8]);
    run.json(&["-k", "3"]);
    let (whole, weights) = run.results();
    let map: Vec<u8> = [-1_i64, -1, 0, 1, 2, -1, -1, -1].iter().flat_map(|e| e.to_le_bytes()).collect();
    let map = run.folder.write("m.npy", &npy_bytes("<i8", &[8], &map));
    let plan = run.folder.path("p.safetensors");
    let report = run.json(&["-k", "3", "--expert-map", &map, "--plan", &plan]);
    let own = |&e: &u32| if (2..5).contains(&e) { e - 2 } else { NONE };
    let (experts, same) = run.results();
    assert_eq!((&experts, same), (&whole.iter().map(own).collect(), weights));
    consistent(&arrays(&plan), &experts, 1);
    assert_eq!(report["plan"]["experts"], 3);
    // A few tokens at a time make no difference, nor does padding.
    let pieces = ["-k", "3", "--expert-map", &map, "--batch-bytes", "600"];
    run.json(&pieces);
    assert_eq!(run.results().0, experts);
    run.json(&[&pieces[..], &["--valid-tokens", "4", "--noise", "gumbel"]].concat());
    assert!(run.results().0[12..].iter().all(|&e| e == NONE));
    // Words of 32 bits say the same.
    let narrow = run.folder.words("m4.npy", "<u4", &[8], &[NONE, NONE, 0, 1, 2, NONE, NONE, NONE]);
    let again = run.json(&["-k", "3", "--expert-map", &narrow]);
    assert_eq!((run.results().0, &again["figures"]), (experts, &report["figures"]));
}

/// Models: what they set is printed, biases are asked for, safetensors hold experts and weights.
#[test]
fn presets() {
    let run = Run::new(&[3, 256]);
    let said = bad(&run.args(&["--preset", "deepseek-v3"]), 2);
    assert!(said.contains("--no-bias to go on with zeros"), "{said}");
    assert_eq!(run.folder.names(), ["x.npy"]);
    let experts = run.folder.path("e.safetensors");
    let args = ["run", "route", "-i", &run.input, "-w", &experts.replace("e.", "w."), "-e", &experts];
    let said = good(&[&args[..], &["--preset", "deepseek-v3", "--no-bias", "--topk-group", "3"]].concat());
    for part in
        ["preset   deepseek-v3: 8 of 256 experts", "the 4 of 8 groups", "the 3 of 8 groups", "the bias is zeros"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let (experts, weights) = (arrays(&experts), arrays(&experts.replace("e.", "w.")));
    assert_eq!((&experts["experts"].0, &experts["experts"].1), (&"U32".into(), &vec![3, 8]));
    assert_eq!((&weights["weights"].0, &weights["weights"].1), (&"F32".into(), &vec![3, 8]));

    let run = Run::new(&[3, 16]);
    let report = run.json(&["--preset", "llama4"]);
    assert_eq!(
        (&report["options"]["experts_per_token"], &report["options"]["scoring"]),
        (&1.into(), &"sigmoid".into())
    );
    let said = bad(&run.args(&["--preset", "mixtral"]), 1);
    assert!(said.contains("mixtral has 8 experts, the input has 16"), "{said}");
    let report = run.json(&["--preset", "mixtral", "--experts-per-token", "2", "--no-renormalize"]);
    assert_eq!((&report["options"]["preset"], &report["options"]["renormalize"]), (&"mixtral".into(), &false.into()));
}

/// No tokens are a batch, too; bf16 is read as it is.
#[test]
fn empty_and_bf16() {
    let run = Run::new(&[0, 8]);
    let plan = run.folder.path("p.safetensors");
    let report = run.json(&["-k", "2", "--plan", &plan]);
    assert_eq!((&report["tokens"], indices(&run.experts)), (&0.into(), ("(0, 2)".into(), vec![])));
    assert_eq!(arrays(&plan)["counts"].2, [0; 8]);
    let types = common::fixture("types.safetensors");
    let run = Run { input: types, ..run };
    assert_eq!(run.json(&["--tensor", "brain", "-k", "2"])["dtype"], "bf16");
}

#[test]
fn a_wrong_result_is_refused() {
    let run = Run::new(&[3, 8]);
    let plan = run.folder.path("p.safetensors");
    for (fault, said) in [
        ("weights", "token 2 gives expert"),
        ("experts", "token 2 goes to"),
        ("plan", "the plan's sorted are not the CPU's"),
        ("load", "the load is wrong: counts"),
    ] {
        let complaint = bad(&run.args(&["-k", "2", "--plan", &plan, "--plant-fault", fault]), 3);
        assert!(complaint.contains(said) && complaint.contains("nothing was written"), "{complaint}");
    }
    assert_eq!(run.folder.names(), ["x.npy"]);
    good(&run.args(&["-k", "2", "--no-check", "--plant-fault", "weights"]));
}

#[test]
fn what_cannot_be_measured_has_no_loss() {
    let run = Run::new(&[2, 8]);
    run.folder.npy("x.npy", &[2, 8], &[f32::NAN; 16]);
    let said = good(&run.args(&["-k", "2"]));
    assert!(said.contains("loss     balance -, z -\n"), "{said}");
    let record: Value = serde_json::from_str(&good(&run.args(&["-k", "2", "--json"]))).unwrap();
    assert!(record["figures"]["balance_loss"].is_null() && record["figures"]["z_loss"].is_null());
}
