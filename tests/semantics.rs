//! Every line of the tables in `docs/semantics.md`, on the adapter and on the reference: what comes of NaN,
//! infinities, rows without mass, and the edges of each option.

use onesum::Matrix;
use onesum::host::Gpu;
use onesum::reference::{Problem, Shared};
use onesum::softmax::{Causal, EmptyRow, MaskType, Operands, Options, PARTIAL_BYTES, PerRow, RowMap, Shape, Spec};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;
const VARIANTS: [&str; 7] = [
    "softmax/rows/f32/baseline/w8l1k8/x4",
    "softmax/onchip/f32/baseline/w64k4/x1",
    "softmax/stream/f32/baseline/w8/x4",
    "softmax/stream/f32/baseline/w64/x1",
    "softmax/split/f32/baseline/w8/x4",
    "softmax/online/f32/baseline/w8/x4",
    "softmax/recompute/f32/baseline/w8/x1",
];

/// One row of four logits and what is asked of it.
#[derive(Clone)]
struct Row {
    logits: [f32; 4],
    scale: Option<f32>,
    cap: Option<f32>,
    mask: Option<[f32; 4]>,
    temperature: Option<f32>,
    length: Option<u32>,
    diagonal: Option<i32>,
    sink: Option<f32>,
    empty: EmptyRow,
}

fn row(logits: [f32; 4]) -> Row {
    Row {
        logits,
        scale: None,
        cap: None,
        mask: None,
        temperature: None,
        length: None,
        diagonal: None,
        sink: None,
        empty: EmptyRow::Nan,
    }
}

#[derive(Debug)]
struct Result {
    probabilities: Vec<f32>,
    logs: Vec<f32>,
    lse: f32,
}

fn on_gpu(gpu: &Gpu, variant: &str, r: &Row) -> Result {
    let run = |log: bool| {
        let positions = r.diagonal.map(|offset| Causal { queries: 1, offset });
        let spec = Spec {
            log,
            lse: true,
            empty_row: r.empty,
            variant: Some(variant.parse().unwrap()),
            options: Options {
                scale: r.scale,
                soft_cap: r.cap,
                positions,
                causal: positions.is_some(),
                mask: r.mask.map(|_| MaskType::F32),
                temperature: r.temperature.is_some(),
                lengths: r.length.is_some(),
                sinks: r.sink.is_some(),
                ..Options::default()
            },
            ..Spec::new(Shape { rows: 1, cols: 4, quads: variant.ends_with("x4") })
        };
        let kernel = gpu.library.softmax(&spec).unwrap();
        let src = gpu.upload(bytemuck::cast_slice(&r.logits)).unwrap();
        let dst = gpu.allocate(16).unwrap();
        let lse = gpu.allocate(4).unwrap();
        let scratch = gpu.allocate(PARTIAL_BYTES).unwrap();
        let words = |x: &[f32]| gpu.upload(bytemuck::cast_slice(x)).unwrap();
        let mask = r.mask.map(|m| words(&m));
        let temperature = r.temperature.map(|t| words(&[t]));
        let sink = r.sink.map(|s| words(&[s]));
        let length = r.length.map(|l| gpu.upload(&l.to_le_bytes()).unwrap());
        let one = |b: &Option<wgpu::Buffer>| b.clone();
        let (mask, temperature, sink, length) = (one(&mask), one(&temperature), one(&sink), one(&length));
        let operands = Operands {
            lse: Some(Matrix::new(&lse, 1, 1)),
            mask: mask.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, 4))),
            temperature: temperature.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, 1))),
            sinks: sink.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, 1))),
            lengths: length.as_ref().map(|b| PerRow::one(Matrix::new(b, 1, 1))),
            scratch: variant.contains("split").then(|| Matrix::new(&scratch, 1, 4)),
            ..Operands::new(Matrix::new(&src, 1, 4), Matrix::new(&dst, 1, 4))
        };
        gpu.run(&[&kernel.bind_with(&operands).unwrap()]).unwrap();
        let read = |b, n| -> Vec<f32> { bytemuck::pod_collect_to_vec(&gpu.download(b, n).unwrap()) };
        (read(&dst, 16), read(&lse, 4)[0])
    };
    let ((probabilities, lse), (logs, _)) = (run(false), run(true));
    Result { probabilities, logs, lse }
}

fn on_cpu(r: &Row) -> Result {
    let one = RowMap::one();
    let (mask, temperature, sink, length) =
        (r.mask, r.temperature.map(|t| [t]), r.sink.map(|s| [s]), r.length.map(|l| [l]));
    let problem = Problem {
        scale: r.scale,
        soft_cap: r.cap,
        positions: r.diagonal.map(|offset| Causal { queries: 1, offset }),
        causal: r.diagonal.is_some(),
        mask: mask.as_ref().map(|m| Shared { values: m, map: one }),
        temperature: temperature.as_ref().map(|t| Shared { values: t, map: one }),
        sinks: sink.as_ref().map(|s| Shared { values: s, map: one }),
        lengths: length.as_ref().map(|l| Shared { values: l, map: one }),
        empty_row: r.empty,
        ..Problem::new(&r.logits, 4)
    };
    let row = problem.row(0);
    let narrow = |x: &[f64]| x.iter().map(|&v| v as f32).collect();
    Result { probabilities: narrow(&row.probabilities), logs: narrow(&row.log_probabilities), lse: row.lse as f32 }
}

/// Equal, both NaN, or within what the rivals' built-in functions may be off here.
fn close(a: f32, b: f32) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 2e-6 * b.abs().max(1.0)
}

#[track_caller]
fn expect(name: &str, r: &Row, probabilities: [f32; 4], logs: [f32; 4], lse: f32) {
    let gpu = Gpu::open(None).unwrap();
    let results = std::iter::once(("reference", on_cpu(r))).chain(VARIANTS.map(|v| (v, on_gpu(&gpu, v, r))));
    for (who, result) in results {
        let same = |got: &[f32], want: &[f32]| got.iter().zip(want).all(|(&g, &w)| close(g, w));
        assert!(same(&result.probabilities, &probabilities), "{name}, {who}: {result:?}, not {probabilities:?}");
        assert!(same(&result.logs, &logs), "{name}, {who}: {result:?}, not logs {logs:?}");
        assert!(close(result.lse, lse), "{name}, {who}: {result:?}, not lse {lse}");
    }
}

const LN2: f32 = std::f32::consts::LN_2;
const HALF: [f32; 4] = [0.5, 0.5, 0.0, 0.0];
const HALF_LOG: [f32; 4] = [-LN2, -LN2, -INF, -INF];
const NANS: [f32; 4] = [NAN; 4];

#[test]
fn nan_anywhere() {
    expect("NaN", &row([1.0, NAN, 3.0, 4.0]), NANS, NANS, NAN);
    expect("negative NaN", &row([1.0, 2.0, 3.0, f32::from_bits(0xffc0_0001)]), NANS, NANS, NAN);
    expect("NaN beside +inf and -inf", &row([INF, NAN, -INF, 0.0]), NANS, NANS, NAN);
    let excluded = Row { length: Some(2), ..row([0.0, 0.0, NAN, NAN]) };
    expect("NaN where excluded", &excluded, HALF, HALF_LOG, LN2);
}

#[test]
fn infinities() {
    expect("+inf", &row([0.0, INF, 0.0, -INF]), NANS, NANS, INF);
    expect("-inf entries", &row([0.0, 0.0, -INF, -INF]), HALF, HALF_LOG, LN2);
}

#[test]
fn rows_without_mass() {
    let only = row([-INF; 4]);
    expect("only -inf", &only, NANS, NANS, -INF);
    expect("only -inf, zero", &Row { empty: EmptyRow::Zero, ..only.clone() }, [0.0; 4], [-INF; 4], -INF);
    expect("length 0", &Row { length: Some(0), ..row([1.0; 4]) }, NANS, NANS, -INF);
    expect("before the diagonal", &Row { diagonal: Some(-1), ..row([1.0; 4]) }, NANS, NANS, -INF);
    let masked = Row { mask: Some([-INF; 4]), empty: EmptyRow::Zero, ..row([1.0; 4]) };
    expect("mask of -inf", &masked, [0.0; 4], [-INF; 4], -INF);
    expect("only -inf, with a sink", &Row { sink: Some(2.0), ..only }, [0.0; 4], [-INF; 4], 2.0);
}

#[test]
fn finite_masks() {
    for low in [-1e30, f32::MIN] {
        let all = [low; 4];
        let lse = low;
        expect("finite mask over all", &Row { mask: Some(all), ..row([1.0; 4]) }, [0.25; 4], [-2.0 * LN2; 4], lse);
        let some = Row { mask: Some([0.0, 0.0, low, low]), ..row([0.0; 4]) };
        expect("finite mask over some", &some, HALF, [-LN2, -LN2, low, low], LN2);
    }
    let over = Row { mask: Some([0.0, 0.0, f32::MIN, f32::MIN]), ..row([0.0, 0.0, -3e38, -3e38]) };
    expect("logit + mask below the lowest float", &over, HALF, HALF_LOG, LN2);
}

#[test]
fn numbers_of_any_size() {
    let big = 16_777_216.0;
    expect("above 2^23", &row([big, big, -big, -big]), HALF, [-LN2, -LN2, -2.0 * big, -2.0 * big], big);
    expect("1000", &row([1000.0; 4]), [0.25; 4], [-2.0 * LN2; 4], 1000.0 + 2.0 * LN2);
    let tiny = f32::from_bits(1);
    expect("subnormals and zeros", &row([tiny, -tiny, 0.0, -0.0]), [0.25; 4], [-2.0 * LN2; 4], 2.0 * LN2);
}

#[test]
fn temperature() {
    let cold = |logits| Row { temperature: Some(0.0), ..row(logits) };
    let (first, first_log) = ([1.0, 0.0, 0.0, 0.0], [0.0, -INF, -INF, -INF]);
    expect("T = 0", &cold([3.0, 1.0, 2.0, -INF]), first, first_log, 3.0);
    expect("T = 0, ties", &cold([3.0, 3.0, 3.0, 1.0]), first, first_log, 3.0);
    expect("T = 0, -0 and +0", &cold([-0.0, 0.0, 0.0, -1.0]), first, first_log, 0.0);
    expect("T = -0", &Row { temperature: Some(-0.0), ..row([3.0, 1.0, 2.0, 0.0]) }, first, first_log, 3.0);
    expect("T = 0, NaN", &cold([3.0, NAN, 2.0, 0.0]), NANS, NANS, NAN);
    expect("T = 0, +inf", &cold([3.0, INF, 2.0, 0.0]), NANS, NANS, INF);
    expect("T = 0, nothing", &cold([-INF; 4]), NANS, NANS, -INF);
    expect("T = 0, lowest floats", &cold([f32::MIN; 4]), first, first_log, f32::MIN);
    let sink = |s| Row { sink: Some(s), ..cold([3.0, 1.0, 2.0, 0.0]) };
    expect("T = 0, the sink wins", &sink(4.0), [0.0; 4], [-INF; 4], 4.0);
    expect("T = 0, the sink ties", &sink(3.0), first, first_log, 3.0);
    let warm = |t| Row { temperature: Some(t), ..row([2.0, 2.0, -INF, -INF]) };
    expect("T = inf", &warm(INF), HALF, HALF_LOG, LN2);
    expect("T = 2", &warm(2.0), HALF, HALF_LOG, 1.0 + LN2);
    expect("T < 0", &warm(-1.0), NANS, NANS, NAN);
    expect("T = NaN", &warm(NAN), NANS, NANS, NAN);
}

#[test]
fn scale_and_cap() {
    let zero = Row { scale: Some(0.0), ..row([0.0, -INF, 1.0, 2.0]) };
    expect("0 times -inf", &zero, NANS, NANS, NAN);
    expect("scale 0", &Row { scale: Some(0.0), ..row([5.0, 1.0, 1.0, 2.0]) }, [0.25; 4], [-2.0 * LN2; 4], 2.0 * LN2);
    let capped = Row { cap: Some(2.0), ..row([INF, INF, INF, INF]) };
    expect("cap of +inf", &capped, [0.25; 4], [-2.0 * LN2; 4], 2.0 + 2.0 * LN2);
    let capped = Row { cap: Some(2.0), ..row([-INF; 4]) };
    expect("cap of -inf", &capped, [0.25; 4], [-2.0 * LN2; 4], -2.0 + 2.0 * LN2);
    expect("cap of NaN", &Row { cap: Some(2.0), ..row([0.0, NAN, 0.0, 0.0]) }, NANS, NANS, NAN);
}

#[test]
fn limits() {
    expect(
        "length beyond the row",
        &Row { length: Some(9), ..row([1.0; 4]) },
        [0.25; 4],
        [-2.0 * LN2; 4],
        1.0 + 2.0 * LN2,
    );
    expect("causal", &Row { diagonal: Some(1), ..row([1.0; 4]) }, HALF, HALF_LOG, 1.0 + LN2);
}
