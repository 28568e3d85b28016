//! `onesum run sample`: what it draws and writes.

mod common;

use common::{Folder, bad, good, numbers};

/// Shape and values of a `.npy` file of u32.
fn indices(path: &str) -> (String, Vec<u32>) {
    let bytes = std::fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..start]).into_owned();
    assert!(header.contains("'descr': '<u4'"), "{header}");
    let shape = header[header.find("'shape': ").unwrap() + 9..].split(')').next().unwrap().to_owned() + ")";
    (shape, bytes[start..].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

#[test]
fn temperature_0_is_the_arg_max() {
    let folder = Folder::new();
    let x = numbers(60);
    let (input, output) = (folder.npy("x.npy", &[3, 4, 5], &x), folder.path("y.npy"));
    good(&["run", "sample", "-i", &input, "-o", &output, "--temperature", "0"]);
    let best = |row: &[f32]| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32;
    assert_eq!(indices(&output), ("(3, 4, 1)".into(), x.chunks(5).map(best).collect()));
    // Along another axis.
    good(&["run", "sample", "-i", &input, "-o", &output, "--temperature", "0", "--axis", "0"]);
    let along = |i: usize| best(&[x[i], x[20 + i], x[40 + i]]);
    assert_eq!(indices(&output), ("(4, 5, 1)".into(), (0..20).map(along).collect()));
}

#[test]
fn draws_depend_on_seed_and_position_only() {
    let folder = Folder::new();
    let x = numbers(64);
    let (rows, all) = (folder.npy("rows.npy", &[4, 64], &x.repeat(4)), folder.path("all.npy"));
    good(&["run", "sample", "-i", &rows, "-o", &all, "--seed", "7", "--position", "100", "--count", "50"]);
    let (shape, drawn) = indices(&all);
    assert_eq!((shape.as_str(), drawn.len()), ("(4, 50)", 200));
    // Row 2, draw 30, alone, by another variant.
    let (row, one) = (folder.npy("row.npy", &[64], &x), folder.path("one.npy"));
    let variant = "sample/stream/f32/baseline/w64/x1";
    let args = ["run", "sample", "-i", &row, "-o", &one, "--seed", "9", "--position", "130", "--variant", variant];
    good(&args);
    assert_eq!(indices(&one), ("(1,)".into(), vec![drawn[2 * 50 + 30]]));
    assert!(drawn[..50] != drawn[50..100]);
}

#[test]
fn rows_without_a_choice_say_why() {
    let folder = Folder::new();
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let input = folder.npy("x.npy", &[4, 2], &[1.0, nan, -inf, -inf, inf, 0.0, 3.0, 4.0]);
    let (mask, output) = (folder.npy("m.npy", &[2], &[0.0, -inf]), folder.path("y.npy"));
    good(&["run", "sample", "-i", &input, "-o", &output]);
    let (_, drawn) = indices(&output);
    assert_eq!(drawn[..3], [u32::MAX - 1, u32::MAX, u32::MAX - 2]);
    let json = good(&["run", "sample", "-i", &input, "-o", &output, "--mask", &mask, "--lengths", "0,1,2,2", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["none"], &json["compared"]), (&3.into(), &4.into()));
    assert_eq!(indices(&output).1, [u32::MAX, u32::MAX, u32::MAX - 2, 0]);
}

/// Eight columns of a draw are distinct and begin with the one that is drawn alone; blocks draw from the same rows.
#[test]
fn several_columns_with_log_probabilities() {
    let folder = Folder::new();
    let (input, output) = (folder.npy("x.npy", &[2, 40], &numbers(80)), folder.path("y.npy"));
    let (one, scores) = (folder.path("one.npy"), folder.path("s.npy"));
    good(&["run", "sample", "-i", &input, "-o", &one, "--count", "3"]);
    good(&["run", "sample", "-i", &input, "-o", &output, "--count", "3", "--k", "8", "--logprobs", &scores]);
    let (shape, drawn) = indices(&output);
    assert_eq!(shape, "(2, 3, 8)");
    assert_eq!(drawn.chunks(8).map(|d| d[0]).collect::<Vec<_>>(), indices(&one).1);
    for draw in drawn.chunks(8) {
        let distinct: std::collections::BTreeSet<_> = draw.iter().collect();
        assert!(distinct.len() == 8 && draw.iter().all(|&c| c < 40), "{draw:?}");
    }
    let bytes = std::fs::read(&scores).unwrap();
    assert!(String::from_utf8_lossy(&bytes[..128]).contains("(2, 3, 9)"));
    let block = "sample/block/f32/baseline/w8/x4";
    let report = good(&["run", "sample", "-i", &input, "-o", &output, "--count", "20", "--variant", block]);
    assert!(report.contains("all 40 draws as on the CPU"), "{report}");
    assert!(
        bad(&["run", "sample", "-i", &input, "-o", &output, "--k", "2", "--variant", block], 1).contains("one choice")
    );
    assert!(bad(&["run", "sample", "-i", &input, "-o", &output, "--logprobs", &output], 2).contains("same file"));
}

/// A picture shows every row's columns; a name that is no .svg, or another result's, is refused before anything is drawn.
#[test]
fn draws_are_plotted() {
    let folder = Folder::new();
    let nan = f32::NAN;
    let input = folder.npy("x.npy", &[2, 3], &[0.0, 1.0, 2.0, nan, 0.0, 0.0]);
    let (output, plot) = (folder.path("y.npy"), folder.path("y.svg"));
    good(&["run", "sample", "-i", &input, "-o", &output, "--count", "100", "--plot", &plot]);
    let svg = std::fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in [
        "row 0 of 2, 100 draws: the 3 likeliest columns",
        "row 1 of 2: nothing to draw",
        "expected, with two standard errors",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    std::fs::remove_file(&output).unwrap();
    for path in [&folder.path("y.png"), &output] {
        bad(&["run", "sample", "-i", &input, "-o", &output, "--plot", path], 2);
    }
    assert_eq!(folder.names(), ["x.npy", "y.svg"]);
}

/// Words of 32 columns, for all rows or each: what they forbid is never drawn.
#[test]
fn bits_allow_columns() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &[2, 40], &numbers(80));
    let output = folder.path("y.npy");
    let run = |bits: &str| good(&["run", "sample", "-i", &input, "-o", &output, "--count", "50", "--bits", bits]);
    // Columns 3 and 33.
    assert!(run(&folder.words("one.npy", "<i4", &[2], &[8, 2])).contains("all 100 draws as on the CPU"));
    let drawn: std::collections::BTreeSet<_> = indices(&output).1.into_iter().collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 33]);
    run(&folder.words("each.npy", "<u4", &[2, 2], &[0, 1 << 7, 1, 0]));
    assert_eq!(indices(&output).1, [vec![39; 50], vec![0; 50]].concat());
    let refused = |bits: &str| bad(&["run", "sample", "-i", &input, "-o", &output, "--bits", bits], 1);
    assert!(refused(&folder.words("long.npy", "<u4", &[3], &[1; 3])).contains("2 words, 32 columns each"));
    assert!(refused(&folder.words("rows.npy", "<u4", &[3, 2], &[1; 6])).contains("does not broadcast"));
    assert!(refused(&input).contains("expected the dtype u4 or i4"));
    assert!(refused(&folder.words("short.npy", "<u4", &[2], &[1])).contains("cut short"));
}

/// Hard rows have their 1 where sampling draws; soft rows are the softmax of logits and the noise that is written.
#[test]
fn gumbel_goes_with_sampling() {
    let folder = Folder::new();
    let x = numbers(120);
    let (input, output) = (folder.npy("x.npy", &[3, 40], &x), folder.path("y.npy"));
    let (drawn, noise) = (folder.path("d.npy"), folder.path("g.npy"));
    let floats = |path: &str, count: usize| -> Vec<f32> {
        let bytes = std::fs::read(path).unwrap();
        let data = &bytes[bytes.len() - count * 4..];
        data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    };
    good(&["run", "sample", "-i", &input, "-o", &drawn, "--seed", "5", "--position", "9"]);
    good(&["run", "gumbel", "-i", &input, "-o", &output, "--seed", "5", "--position", "9", "--hard"]);
    let one_hot = floats(&output, 120);
    let ones: Vec<u32> = one_hot.chunks(40).map(|row| row.iter().position(|y| *y == 1.0).unwrap() as u32).collect();
    assert_eq!((ones, one_hot.iter().sum::<f32>()), (indices(&drawn).1, 3.0));
    let soft = ["run", "gumbel", "-i", &input, "-o", &output, "--seed", "5", "--tau", "0.5", "--noise-out", &noise];
    let report = good(&[&soft[..], &["--json"]].concat());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&report).unwrap()["kernel"], "gumbel");
    for ((x, g), y) in x.chunks(40).zip(floats(&noise, 120).chunks(40)).zip(floats(&output, 120).chunks(40)) {
        let weights: Vec<f64> = x.iter().zip(g).map(|(x, g)| (f64::from(x + g) * 2.0).exp()).collect();
        let sum: f64 = weights.iter().sum();
        assert!(weights.iter().zip(y).all(|(w, y)| (w / sum - f64::from(*y)).abs() < 1e-6));
    }
    assert!(bad(&["run", "gumbel", "-i", &input, "-o", &output, "--hard", "--tau", "1"], 2).contains("--hard"));
    assert!(bad(&["run", "gumbel", "-i", &input, "-o", &output, "--plant-fault"], 3).contains("nothing was written"));
}

#[test]
fn what_is_wrong_is_said_and_nothing_written() {
    let folder = Folder::new();
    let (input, output) = (folder.npy("x.npy", &[2, 8], &numbers(16)), folder.path("y.npy"));
    let run = |more: &[&'static str]| [&["run", "sample", "-i", &input, "-o", &output][..], more].concat();
    let complaint = bad(&run(&["--plant-fault"]), 3);
    assert!(complaint.contains("draw 0 of row 1") && complaint.contains("nothing was written"), "{complaint}");
    assert!(bad(&run(&["--count", "0"]), 2).contains("--count"));
    assert!(bad(&run(&["--seed", "-1"]), 2).contains("-1"));
    assert!(bad(&run(&["--variant", "sample/stream/f16/baseline/w8/x4"]), 2).contains("element type"));
    assert!(bad(&run(&["--variant", "softmax/stream/f32/baseline/w8/x4"]), 2).contains("no variant"));
    for none in ["-1", "nan", "inf"] {
        assert!(bad(&run(&["--temperature", none]), 2).contains("expected 0 to 7.9228163e28"));
    }
    assert!(bad(&run(&["--lengths", "1,2,3"]), 1).contains("3 lengths fit neither"));
    assert!(bad(&["run", "sample", "-i", &input, "-o", &folder.path("y.safetensors")], 2).contains(".npy for indices"));
    assert_eq!(folder.names(), ["x.npy"]);
}
