//! `onesum run softmax`: what it computes and writes.

mod common;

use common::{Folder, bad, close, fixture, good, npy_bytes, numbers, onesum, parse, read, softmax, text};

/// Batch, heads, queries, keys.
const SHAPE: [usize; 4] = [2, 3, 4, 8];

/// The softmax over keys of logits given by index.
fn attention(logit: impl Fn(usize, usize, usize, usize) -> f64) -> Vec<f64> {
    let [batch, heads, queries, keys] = SHAPE;
    let mut all = Vec::new();
    for b in 0..batch {
        for h in 0..heads {
            for q in 0..queries {
                let row: Vec<f64> = (0..keys).map(|k| logit(b, h, q, k)).collect();
                all.extend(softmax(&row));
            }
        }
    }
    all
}

fn at(x: &[f32], b: usize, h: usize, q: usize, k: usize) -> f64 {
    let [_, heads, queries, keys] = SHAPE;
    f64::from(x[((b * heads + h) * queries + q) * keys + k])
}

/// Runs softmax on `x` with more arguments; returns the values.
fn softmax_of(folder: &Folder, x: &[f32], more: &[&str]) -> Vec<f32> {
    let input = folder.npy("x.npy", &SHAPE, x);
    let output = folder.path("y.npy");
    let args = [&["run", "softmax", "--input", &input, "--output", &output], more].concat();
    good(&args);
    let result = read(&output);
    assert_eq!((result.descr.as_str(), &result.shape[..]), ("<f4", &SHAPE[..]));
    result.values
}

#[test]
fn any_axis() {
    let folder = Folder::new();
    let shape = [3, 4, 5];
    let x = numbers(60);
    let input = folder.npy("x.npy", &shape, &x);
    let output = folder.path("y.npy");
    for (axis, name) in [(0, "0"), (1, "1"), (2, "2"), (2, "-1"), (1, "-2"), (0, "-3")] {
        good(&["run", "softmax", "-i", &input, "-o", &output, "--axis", name]);
        let result = read(&output);
        assert_eq!(result.shape, shape);
        let mut want = vec![0.0; 60];
        let step: usize = shape[axis + 1..].iter().product();
        for start in 0..60 {
            // The first entry of each line along the axis.
            if (start / step).is_multiple_of(shape[axis]) {
                let line: Vec<f64> = (0..shape[axis]).map(|i| f64::from(x[start + i * step])).collect();
                for (i, p) in softmax(&line).into_iter().enumerate() {
                    want[start + i * step] = p;
                }
            }
        }
        close(&result.values, &want);
    }
}

#[test]
fn log_and_log_sum_exp() {
    let folder = Folder::new();
    let x = numbers(192);
    let lse = folder.path("lse.npy");
    let p = softmax_of(&folder, &x, &["--lse", &lse]);
    let log = softmax_of(&folder, &x, &["--log"]);
    for (p, log) in p.iter().zip(&log) {
        assert!((f64::from(*p).ln() - f64::from(*log)).abs() < 2e-6);
    }
    let lse = read(&lse);
    assert_eq!(lse.shape, SHAPE[..3]);
    for (row, lse) in x.chunks(8).zip(&lse.values) {
        let want: f64 = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        assert!((f64::from(*lse) - want).abs() < 2e-6);
    }
}

#[test]
fn layouts_and_types_of_files() {
    let folder = Folder::new();
    let output = |name: &str| folder.path(&format!("{name}.out.npy"));
    for name in ["f4_le", "f4_be", "f4_fortran", "f4_version2", "f4_version3"] {
        good(&["run", "softmax", "-i", &fixture(&format!("{name}.npy")), "-o", &output(name)]);
        assert_eq!(read(&output(name)).values, read(&output("f4_le")).values, "{name}");
    }
    let plain = read(&output("f4_le"));
    assert_eq!(plain.shape, [2, 3, 4]);

    // f16 stays f16 unless told otherwise.
    for (dtype, descr) in [(&[][..], "<f2"), (&["--dtype", "f16"], "<f2"), (&["--dtype", "f32"], "<f4")] {
        good(&[&["run", "softmax", "-i", &fixture("f2_le.npy"), "-o", &output("f2")], dtype].concat());
        let result = read(&output("f2"));
        assert_eq!(result.descr, descr);
        for (a, b) in result.values.iter().zip(&plain.values) {
            assert!((a - b).abs() <= 0.0005 * b, "{a} {b}");
        }
    }

    // f64 is narrowed, which is said.
    let args = ["run", "softmax", "-i", &fixture("f8_be_fortran.npy"), "-o", &output("f8")];
    let run = onesum().args(args).output().unwrap();
    assert!(run.status.success());
    assert!(text(&run.stderr).trim_end().ends_with("f8_be_fortran.npy: f64 narrowed to f32"), "{}", text(&run.stderr));
    assert_eq!(read(&output("f8")).values, plain.values);
}

#[test]
fn safetensors() {
    let folder = Folder::new();
    let (file, out) = (fixture("types.safetensors"), folder.path("y.safetensors"));
    for (tensor, dtype) in [("half", "F16"), ("brain", "BF16"), ("single", "F32")] {
        good(&["run", "softmax", "-i", &file, "-o", &out, "--tensor", tensor]);
        let bytes = std::fs::read(&out).unwrap();
        let header = String::from_utf8_lossy(&bytes[8..120]).into_owned();
        assert!(header.contains(&format!("\"{tensor}\"")) && header.contains(&format!("\"{dtype}\"")), "{header}");

        // What was written can be read: softmax of it once more, as f32.
        let again = folder.path("again.npy");
        good(&["run", "softmax", "-i", &out, "-o", &again, "--dtype", "f32"]);
        let got = read(&again).values;
        for row in got.chunks(4) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
    let said = bad(&["run", "softmax", "-i", &file, "-o", &folder.path("y.npy"), "--tensor", "brain"], 1);
    assert!(said.contains("bf16 has no .npy dtype"), "{said}");
}

#[test]
fn empty_arrays() {
    let folder = Folder::new();
    let (y, lse) = (folder.path("y.npy"), folder.path("lse.npy"));
    for (axis, lse_shape) in [("0", vec![0, 3]), ("1", vec![2, 3]), ("2", vec![2, 0])] {
        good(&["run", "softmax", "-i", &fixture("empty.npy"), "-o", &y, "--lse", &lse, "--axis", axis]);
        let (result, lse) = (read(&y), read(&lse));
        assert_eq!((result.shape, result.values), (vec![2, 0, 3], vec![]));
        assert_eq!(lse.shape, lse_shape);
        assert!(lse.values.iter().all(|&v| v == f32::NEG_INFINITY));
    }
    let said = bad(&["run", "softmax", "-i", &fixture("rank0.npy"), "-o", &y], 1);
    assert!(said.contains("logits need at least one axis") && !said.contains("-1"), "{said}");
}

#[test]
fn masks_broadcast_as_in_numpy() {
    let folder = Folder::new();
    let x = numbers(192);
    let [batch, heads, queries, keys] = SHAPE;
    let shapes: &[&[usize]] = &[
        &[keys],
        &[1],
        &[queries, keys],
        &[queries, 1],
        &[batch, 1, queries, keys],
        &[batch, 1, 1, keys],
        &[heads, 1, keys],
        &[batch, heads, queries, keys],
        &[1, heads, queries, 1],
    ];
    for shape in shapes {
        let count = shape.iter().product();
        let values: Vec<f32> = numbers(count).iter().map(|v| (v * 8.0).round() / 8.0).collect();
        let padded: Vec<usize> = std::iter::repeat_n(1, 4 - shape.len()).chain(shape.iter().copied()).collect();
        let bias = |index: [usize; 4]| {
            let flat = index.iter().zip(&padded).fold(0, |flat, (&i, &n)| flat * n + if n == 1 { 0 } else { i });
            f64::from(values[flat])
        };
        let want = attention(|b, h, q, k| at(&x, b, h, q, k) + bias([b, h, q, k]));
        let mask = folder.npy("mask.npy", shape, &values);
        close(&softmax_of(&folder, &x, &["--mask", &mask]), &want);
        // The same in f16 (the values are eighths), and in batches of a few rows.
        let mask = folder.npy_f16("mask.npy", shape, &values);
        close(&softmax_of(&folder, &x, &["--mask", &mask]), &want);
        close(&softmax_of(&folder, &x, &["--mask", &mask, "--batch-bytes", "160"]), &want);
    }
}

#[test]
fn a_mask_follows_its_axis() {
    let folder = Folder::new();
    let (x, m) = (numbers(15), numbers(30));
    let input = folder.npy("x.npy", &[3, 5], &x);
    let mask = folder.npy("m.npy", &[3, 5], &m[15..]);
    let y = folder.path("y.npy");
    good(&["run", "softmax", "-i", &input, "-o", &y, "--axis", "0", "--mask", &mask]);
    let result = read(&y).values;
    for c in 0..5 {
        let column: Vec<f64> = (0..3).map(|r| f64::from(x[r * 5 + c]) + f64::from(m[15 + r * 5 + c])).collect();
        let got: Vec<f32> = (0..3).map(|r| result[r * 5 + c]).collect();
        close(&got, &softmax(&column));
    }
}

#[test]
fn causal_and_alibi() {
    let folder = Folder::new();
    let x = numbers(192);
    let slopes = folder.npy("slopes.npy", &[3], &[0.5, 0.25, 0.125]);
    let visible = |q: usize, k: usize, offset: i64| k as i64 <= q as i64 + offset;
    for (flag, offset) in [("--causal", 0), ("--causal=2", 2), ("--causal=4", 4)] {
        let hide = |value, q, k| if visible(q, k, offset) { value } else { f64::NEG_INFINITY };
        let want = attention(|b, h, q, k| hide(at(&x, b, h, q, k), q, k));
        for batch in ["1000000", "96", "320"] {
            close(&softmax_of(&folder, &x, &[flag, "--batch-bytes", batch]), &want);
        }
        let slope = [0.5, 0.25, 0.125];
        let want = attention(|b, h, q, k| {
            let distance = k as i64 - q as i64 - offset;
            hide(at(&x, b, h, q, k) + slope[h] * distance as f64, q, k)
        });
        close(&softmax_of(&folder, &x, &[flag, "--alibi", &slopes]), &want);
        close(&softmax_of(&folder, &x, &[flag, "--alibi", &slopes, "--batch-bytes", "96"]), &want);
    }
    // Without --causal, distances alone.
    let slope = [0.5, 0.25, 0.125];
    let want = attention(|b, h, q, k| at(&x, b, h, q, k) + slope[h] * (k as f64 - q as f64));
    close(&softmax_of(&folder, &x, &["--alibi", &slopes]), &want);
}

#[test]
fn rows_that_see_nothing() {
    let folder = Folder::new();
    let x = numbers(192);
    let nan = softmax_of(&folder, &x, &["--causal=-1"]);
    let zero = softmax_of(&folder, &x, &["--causal=-1", "--empty-row", "zero"]);
    for (row, (nan, zero)) in nan.chunks(8).zip(zero.chunks(8)).enumerate() {
        if row % 4 == 0 {
            assert!(nan.iter().all(|v| v.is_nan()) && zero.iter().all(|&v| v == 0.0));
        } else {
            assert_eq!(nan, zero);
        }
    }
}

#[test]
fn scale_cap_and_temperature() {
    let folder = Folder::new();
    let x = numbers(192);
    let want = attention(|b, h, q, k| 3.0 * (-0.5 * at(&x, b, h, q, k) / 3.0).tanh() / 0.75);
    close(&softmax_of(&folder, &x, &["--scale", "-0.5", "--softcap", "3", "--temperature", "0.75"]), &want);

    // One per query, one per batch and head with a last dimension of 1.
    let t = folder.npy("t.npy", &[4], &[0.5, 1.0, 2.0, 4.0]);
    let each = [0.5, 1.0, 2.0, 4.0];
    close(&softmax_of(&folder, &x, &["--temperature", &t]), &attention(|b, h, q, k| at(&x, b, h, q, k) / each[q]));
    let t = folder.npy("t.npy", &[2, 3, 1, 1], &[0.5, 1.0, 2.0, 4.0, 8.0, 16.0]);
    let want = attention(|b, h, q, k| at(&x, b, h, q, k) / 2f64.powi((b * 3 + h) as i32 - 1));
    close(&softmax_of(&folder, &x, &["--temperature", &t]), &want);

    // 0 is the arg max.
    let hot = softmax_of(&folder, &x, &["--temperature", "0"]);
    for (x, y) in x.chunks(8).zip(hot.chunks(8)) {
        let best = (0..8).max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap();
        assert!((0..8).all(|i| y[i] == f32::from(u8::from(i == best))));
    }
}

#[test]
fn sinks_and_lengths() {
    let folder = Folder::new();
    let x = numbers(192);
    let sinks = folder.npy("sinks.npy", &[3], &[1.0, -1.0, 5.0]);
    let y = softmax_of(&folder, &x, &["--sinks", &sinks]);
    let sink = [1.0_f64, -1.0, 5.0];
    for (row, (x, y)) in x.chunks(8).zip(y.chunks(8)).enumerate() {
        let mut logits: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        logits.push(sink[row / 4 % 3]);
        close(y, &softmax(&logits)[..8]);
    }
    let one = folder.npy("sink.npy", &[1], &[2.0]);
    assert!(softmax_of(&folder, &x, &["--sinks", &one]).chunks(8).all(|row| row.iter().sum::<f32>() < 1.0));

    // One in all, one per entry of the batch, one per row.
    let each: Vec<usize> = (0..24).map(|row| row % 8 + 1).collect();
    let list = each.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let file = folder.npy("lengths.npy", &[2], &[3.0, 8.0]);
    let cases: [(&str, &dyn Fn(usize) -> usize); 4] =
        [("5", &|_| 5), ("3,8", &|row| [3, 8][row / 12]), (&file, &|row| [3, 8][row / 12]), (&list, &|row| each[row])];
    for (argument, length) in cases {
        let want = attention(|b, h, q, k| {
            let row = (b * 3 + h) * 4 + q;
            if k < length(row) { at(&x, b, h, q, k) } else { f64::NEG_INFINITY }
        });
        close(&softmax_of(&folder, &x, &["--lengths", argument]), &want);
        close(&softmax_of(&folder, &x, &["--lengths", argument, "--batch-bytes", "160"]), &want);
    }
}

#[test]
fn in_place_is_the_same() {
    let folder = Folder::new();
    let x = numbers(192);
    assert_eq!(softmax_of(&folder, &x, &["--in-place"]), softmax_of(&folder, &x, &[]));
    let same = softmax_of(&folder, &x, &["--in-place", "--batch-bytes", "64", "--log"]);
    assert_eq!(same, softmax_of(&folder, &x, &["--log"]));
}

#[test]
fn variants_by_name() {
    let folder = Folder::new();
    let x = numbers(192);
    let want = attention(|b, h, q, k| at(&x, b, h, q, k));
    for name in [
        "softmax/rows/f32/baseline/w8l1k8/x4",
        "softmax/onchip/f32/baseline/w64k4/x1",
        "softmax/stream/f32/baseline/w64/x4",
        "softmax/split/f32/baseline/w8/x4",
        "softmax/online/f32/baseline/w8/x4",
        "softmax/recompute/f32/baseline/w256/x1",
        "softmax/reload/f32/baseline/w8/x4",
    ] {
        close(&softmax_of(&folder, &x, &["--variant", name]), &want);
    }
    let input = folder.npy("x.npy", &SHAPE, &x);
    let y = folder.path("out.npy");
    let wants = |name: &str, code| bad(&["run", "softmax", "-i", &input, "-o", &y, "--variant", name], code);
    assert!(wants("softmax/nonsense", 2).contains("no variant is called"));
    assert!(wants("softmax/stream/f16/baseline/w64/x4", 1).contains("element types"));
    assert!(!folder.names().contains(&"out.npy".to_owned()));
}

#[test]
fn json_has_its_fields() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &SHAPE, &numbers(192));
    let y = folder.path("y.npy");
    let said = good(&["run", "softmax", "-i", &input, "-o", &y, "--axis", "1", "--json", "--batch-bytes", "100"]);
    let record: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(record["kernel"], "softmax");
    assert_eq!(record["shape"], serde_json::json!(SHAPE));
    assert_eq!((&record["axis"], &record["rows"], &record["cols"]), (&1.into(), &64.into(), &3.into()));
    assert_eq!(record["input_dtype"], "f32");
    assert!(record["variant"].as_str().unwrap().starts_with("softmax/"));
    assert!(record["batches"].as_u64().unwrap() > 1);
    assert!(record["adapter"]["name"].is_string() && record["adapter"]["type"].is_string());
    assert!(record["time_ms"].as_f64().unwrap() > 0.0);
    let check = &record["check"];
    assert_eq!((&check["ok"], &check["elements"]), (&true.into(), &192.into()));
    assert!(check["worst_ulp"].as_f64().unwrap() <= 4.0);
    assert!(check["worst_share_of_budget"].as_f64().unwrap() <= 1.0);

    let said = good(&["run", "softmax", "-i", &input, "-o", &y, "--json", "--no-check"]);
    assert!(serde_json::from_str::<serde_json::Value>(&said).unwrap()["check"].is_null());
}

#[test]
fn a_wrong_result_is_not_written() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &[2, 5], &numbers(10));
    let old = folder.write("y.npy", b"old");
    let lse = folder.path("lse.npy");
    let said = bad(&["run", "softmax", "-i", &input, "-o", &old, "--lse", &lse, "--plant-fault"], 3);
    assert!(said.contains("outside its error budget at index [1, 4]"), "{said}");
    assert_eq!(std::fs::read(&old).unwrap(), b"old");
    assert_eq!(folder.names(), ["x.npy", "y.npy"]);
}

#[test]
fn standard_output_is_a_file_too() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &[2, 2], &[0.0; 4]);
    let run = onesum().args(["run", "softmax", "-i", &input, "-o", "/dev/stdout"]).output().unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert_eq!(parse(&run.stdout).values, [0.5; 4]);
}

#[test]
fn many_short_rows_and_one_long_row() {
    let folder = Folder::new();
    let y = folder.path("y.npy");
    for shape in [[70_000, 3], [1, 300_001]] {
        let x = numbers(shape[0] * shape[1]);
        let data: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
        let input = folder.write("x.npy", &npy_bytes("<f4", &shape, &data));
        let said = good(&["run", "softmax", "-i", &input, "-o", &y]);
        assert!(said.contains(&format!("({} elements, {} rows)", shape[0] * shape[1], shape[0])), "{said}");
        assert_eq!(read(&y).shape, shape);
    }
}
