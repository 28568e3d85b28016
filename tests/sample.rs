//! Sampling: the same choices as the reference, to the bit, on every adapter and for every variant; and the right distribution.

mod common;

use common::{chi_square, critical, logits};
use onesum::conformance::sample::Draws;
use onesum::host::{Gpu, adapters};
use onesum::noise::Stream;
use onesum::reference::{
    Problem, block_choice, choice, choices, concrete_log_density, exp_concrete_log_density, gumbel_log_density,
};
use onesum::sample::{Operands, Options, Sample, Schedule, Spec, Status, Variant};
use onesum::shader::Dialect;
use onesum::softmax::{self, PerRow, Shape};
use onesum::{BindError, Caps, Library, Matrix};

/// One seed in three, a position of its own for each row.
fn draws(rows: u32, cols: u32) -> Draws {
    let seeds = (0..u64::from(rows)).map(|r| Stream { seed: 42 + r % 3, position: r << 31 }).collect();
    let src = logits(rows ^ cols, rows as usize * cols as usize);
    Draws { rows, cols, src, seeds, ..Draws::default() }
}

fn drawn(draws: &Draws, gpu: &Gpu, variant: Variant) -> Vec<Status> {
    draws.drawn(gpu, variant).unwrap_or_else(|e| panic!("{variant}: {e}"))
}

fn every_gpu() -> Vec<Gpu> {
    let all: Vec<_> = adapters().iter().map(|a| Gpu::of(a).unwrap()).collect();
    assert!(!all.is_empty(), "no adapter: tools/test installs one");
    all
}

/// Every variant on every adapter chooses as the reference does.
#[test]
fn standard_profile() {
    common::standard_profile("sample", |_, report| assert!(report.executed >= 60, "{} cases", report.executed));
}

/// Flat logits, so that every column can win: any bit of the noise that differs shows.
#[test]
fn flat_logits_of_many_positions() {
    for gpu in every_gpu() {
        for name in ["sample/stream/f32/baseline/w8l1/x4", "sample/split/f32/baseline/w8/x4"] {
            let mut draws = draws(64, 40_000);
            draws.src.fill(0.25);
            draws.temperature = Some((0..64).map(|r| [1.0, 0.01, 77.0][r % 3]).collect());
            assert_eq!(drawn(&draws, &gpu, name.parse().unwrap()), draws.expected(), "{name} on {}", gpu.info.name);
        }
    }
}

/// A seed and a position give the same column wherever the row sits and whoever else is in the batch.
#[test]
fn the_slot_does_not_matter() {
    let gpu = common::gpu();
    let variant = "sample/stream/f32/baseline/w64/x4".parse().unwrap();
    let mut all = draws(40, 512);
    let row: Vec<f32> = all.src[..512].to_vec();
    all.src = row.repeat(40);
    all.seeds = vec![Stream { seed: 9, position: 3 }];
    let together = drawn(&all, gpu, variant);
    let alone = drawn(&Draws { rows: 1, src: row, ..all.clone() }, gpu, variant);
    assert!(together.iter().all(|s| *s == alone[0]), "{together:?}");
    // And other seeds or positions give others.
    all.seeds = (0..40).map(|p| Stream { seed: 9, position: p }).collect();
    let positions = drawn(&all, gpu, variant);
    all.seeds = (0..40).map(|s| Stream { seed: s, position: 3 }).collect();
    let seeds = drawn(&all, gpu, variant);
    let distinct = |s: &[Status]| s.iter().collect::<std::collections::HashSet<_>>().len();
    assert!(distinct(&positions) > 15 && distinct(&seeds) > 15 && positions != seeds);
}

/// Every line of the table in docs/semantics.md.
#[test]
fn special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let table: &[(&[f32], f32, Status)] = &[
        (&[1.0, nan, 2.0, 0.0, 9.0], 1.0, Status::Nan),
        (&[1.0, -nan, inf, 0.0, 9.0], 1.0, Status::Nan),
        (&[1.0, inf, 2.0, inf, 9.0], 1.0, Status::Infinite),
        (&[1.0, inf, 2.0, -inf, 9.0], 0.0, Status::Infinite),
        (&[-inf; 5], 1.0, Status::Empty),
        (&[-inf; 5], 0.0, Status::Empty),
        (&[-inf, -inf, -3e38, -inf, -inf], 1.0, Status::Column(2)),
        (&[-inf, -inf, f32::MIN, -inf, -inf], 0.0, Status::Column(2)),
        (&[2.0, 7.0, 7.0, 7.0, 1.0], 0.0, Status::Column(1)),
        (&[2.0, 7.0, 7.0, 7.0, 1.0], -0.0, Status::Column(1)),
        (&[-0.0, 0.0, -0.0, 0.0, -1.0], 0.0, Status::Column(0)),
        (&[-1e30, -1e30, -1e30, 5.0, -1e30], 1.0, Status::Column(3)),
        (&[0.0, 1.0, 2.0, 3.0, 4.0], -1.0, Status::Nan),
        (&[0.0, 1.0, 2.0, 3.0, 4.0], nan, Status::Nan),
        (&[0.0, 1.0, 2.0, 3.0, 4.0], inf, Status::Nan),
        (&[0.0, 1.0, 2.0, 3.0, 4.0], 7.93e28, Status::Nan),
        (&[-inf; 5], nan, Status::Nan),
    ];
    for gpu in every_gpu() {
        for name in [
            "sample/stream/f32/baseline/w8l1/x1",
            "sample/stream/f32/baseline/w64/x1",
            "sample/split/f32/baseline/w8/x1",
            "sample/stream/f32/shuffle/w8/x1",
        ] {
            let variant: Variant = name.parse().unwrap();
            if variant.supported(gpu.library.caps()).is_err() {
                continue;
            }
            let mut draws = draws(table.len() as u32, 5);
            draws.src = table.iter().flat_map(|(x, ..)| x.iter().copied()).collect();
            draws.temperature = Some(table.iter().map(|(_, t, _)| *t).collect());
            let want: Vec<_> = table.iter().map(|(.., status)| *status).collect();
            assert_eq!(draws.expected(), want);
            assert_eq!(drawn(&draws, &gpu, variant), want, "{name} on {}", gpu.info.name);
        }
    }
    // The hottest temperature there is: about uniform, and no overflow.
    let mut draws = draws(64, 8);
    draws.src = [f32::MAX, f32::MIN, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0].repeat(64);
    draws.temperature = Some(vec![(1_u128 << 96) as f32; 64]);
    assert_eq!(drawn(&draws, common::gpu(), "sample/stream/f32/baseline/w8l1/x4".parse().unwrap()), draws.expected());
    assert!(draws.expected().iter().all(|s| *s == Status::Column(0)));
}

/// Sampling by blocks divides by the temperature: what is beyond f32 then is infinite, and -inf is excluded.
#[test]
fn quotients_beyond_f32_of_blocks() {
    let rows = [
        ([30.0, 0.0, 1.0, 2.0, -3.0], Status::Infinite),
        ([-30.0, -9.0, -5.0, -7.0, -30.0], Status::Empty),
        ([-30.0, -9.0, 0.0, -7.0, -30.0], Status::Column(2)),
    ];
    let want = rows.map(|(_, status)| status);
    for gpu in every_gpu() {
        for name in ["sample/block/f32/baseline/w8l1/x1", "sample/blocksplit/f32/baseline/w8/x1"] {
            let variant: Variant = name.parse().unwrap();
            let mut draws = draws(3, 5);
            draws.src = rows.iter().flat_map(|(x, _)| *x).collect();
            draws.temperature = Some(vec![f32::MIN_POSITIVE; 3]);
            let reference = draws.src.chunks(5).zip(&draws.seeds);
            let quads = variant.parts(3, 5, 1).1;
            let reference =
                reference.map(|(x, &seed)| block_choice(x, f32::MIN_POSITIVE, seed, quads, variant.lanes).0);
            assert_eq!(reference.collect::<Vec<_>>(), want);
            assert_eq!(drawn(&draws, &gpu, variant), want, "{name} on {}", gpu.info.name);
        }
    }
}

/// The longest rows: one below and one above what a lane of Mesa 22.3.6 would silently cut short.
#[test]
fn long_rows() {
    let gpu = common::gpu();
    for (name, cols) in [
        ("sample/stream/f32/baseline/w8l1/x4", 192_000),
        ("sample/split/f32/baseline/w8/x4", 16_777_216),
        ("sample/split/f32/baseline/w8/x1", 1_000_003),
    ] {
        let variant: Variant = name.parse().unwrap();
        assert!(cols <= variant.max_columns());
        let mut draws = draws(1, cols);
        // Only the end can win.
        draws.src.fill(-100.0);
        draws.src[cols as usize - 2] = 50.0;
        assert_eq!(drawn(&draws, gpu, variant), [Status::Column(cols - 2)], "{name}");
    }
    let variant: Variant = "sample/stream/f32/baseline/w8l1/x4".parse().unwrap();
    let too_long = draws(1, variant.max_columns() + 4).drawn(gpu, variant);
    assert!(too_long.unwrap_err().to_string().contains("at most 192000 columns"));
}

fn bind_plain(kernel: &Sample, src: Matrix<'_>, dst: Matrix<'_>, seeds: PerRow<'_>) -> Result<usize, BindError> {
    kernel.bind(&Operands::new(src, dst, seeds)).map(|bound| bound.dispatches())
}

#[test]
fn bad_operands_are_refused() {
    let noop = common::Noop::full();
    let memory = [(); 3].map(|()| noop.buffer(1 << 16));
    let [src, dst, seeds] = &memory;
    let kernel = noop.library.sample(&Spec::new(Shape::new(8, 100))).unwrap();
    let good = (Matrix::new(src, 8, 100), Matrix::new(dst, 8, 1), PerRow::each(Matrix::new(seeds, 8, 4)));
    let bind = |src, dst, seeds| bind_plain(&kernel, src, dst, seeds);
    let error = |r: Result<usize, BindError>| r.unwrap_err().to_string();
    if kernel.variant().schedule == Schedule::Stream {
        assert_eq!(bind(good.0, good.1, good.2), Ok(1));
    }
    assert!(error(bind(good.0, Matrix::new(dst, 8, 2), good.2)).contains("dst: expected 8 x 1, got 8 x 2"));
    assert!(
        error(bind(good.0, good.1, PerRow::each(Matrix::new(seeds, 7, 4)))).contains("seeds: expected at least 8 x 4")
    );
    assert!(error(bind(Matrix::new(src, 8, 101), good.1, good.2)).contains("multiples of 4"));
    assert!(error(bind(good.0.at(1 << 20), good.1, good.2)).contains("src: the window ends"));
    assert!(error(bind(good.0.with_stride(96), good.1, good.2)).contains("src: rows of 100 columns"));
    assert!(error(bind(good.0, Matrix::new(src, 8, 1), good.2)).contains("overlaps"));
    let mut operands = Operands::new(good.0, good.1, good.2);
    operands.temperature = Some(PerRow::each(Matrix::new(seeds, 8, 1)));
    assert_eq!(kernel.bind(&operands).unwrap_err(), BindError::Unexpected { what: "temperature" });
    assert_eq!(noop.errors(), Vec::<String>::new());
    for draws in [0, 65] {
        let spec = Spec { draws, ..Spec::new(Shape::new(8, 100)) };
        assert!(noop.library.sample(&spec).unwrap_err().to_string().contains("draws"));
    }
    let infinite = Options { scale: Some(f32::INFINITY), ..Options::default() };
    let spec = Spec { options: infinite, ..Spec::new(Shape::new(8, 100)) };
    assert!(noop.library.sample(&spec).unwrap_err().to_string().contains("scale"));
    let one = "sample/stream/f32/baseline/w64/x4".parse().ok();
    let spec = Spec { draws: 2, variant: one, ..Spec::new(Shape::new(8, 100)) };
    assert!(noop.library.sample(&spec).unwrap_err().to_string().contains("one choice"));
    let options = Options { logprobs: true, ..Options::default() };
    let kernel = noop.library.sample(&Spec { options, ..Spec::new(Shape::new(8, 100)) }).unwrap();
    let missing = bind_plain(&kernel, good.0, good.1, good.2).unwrap_err();
    assert_eq!(missing, BindError::Missing { what: "logprobs" });
    // No rows: nothing. No columns: one dispatch that says so.
    assert_eq!(bind(Matrix::new(src, 0, 100), Matrix::new(dst, 0, 1), PerRow::each(Matrix::new(seeds, 0, 4))), Ok(0));
    assert_eq!(bind(Matrix::new(src, 8, 0), good.1, good.2), Ok(1));
}

#[test]
fn rows_without_columns_are_empty() {
    let gpu = common::gpu();
    for name in ["sample/stream/f32/baseline/w64/x4", "sample/split/f32/baseline/w8/x4"] {
        let draws = Draws { src: vec![0.0], ..draws(70, 0) };
        assert_eq!(drawn(&draws, gpu, name.parse().unwrap()), vec![Status::Empty; 70], "{name}");
    }
}

/// The blocking convenience, and the example in its documentation.
#[test]
fn the_whole_way_in_one_call() {
    for gpu in every_gpu() {
        let first = Stream { seed: 42, position: 0 };
        assert_eq!(gpu.sample(&[1.0, 2.0, 3.0, 4.0], 1, 4, 0.7, &[first]).unwrap(), [Status::Column(3)]);
        let (x, streams) = (logits(4, 3 * 1001), [first, Stream { seed: 7, position: 9 }, first]);
        for temperature in [0.0, 1.5] {
            let want: Vec<_> = x.chunks(1001).zip(streams).map(|(x, s)| choice(x, temperature, s)).collect();
            assert_eq!(gpu.sample(&x, 3, 1001, temperature, &streams).unwrap(), want);
        }
        assert_eq!(gpu.sample(&[], 0, 5, 1.0, &[]).unwrap(), []);
        assert_eq!(gpu.sample(&[], 1, 0, 1.0, &[first]).unwrap(), [Status::Empty]);
        assert!(gpu.sample(&x, 3, 1000, 1.0, &streams).unwrap_err().to_string().contains("3 x 1000"));
        assert!(gpu.sample(&x, 3, 1001, 1.0, &streams[..2]).unwrap_err().to_string().contains("3 x 1"));
    }
}

/// A stride of 0: all rows draw from the same logits.
#[test]
fn one_distribution_for_all_rows() {
    let gpu = common::gpu();
    let (rows, cols) = (300, 64);
    let x = logits(3, cols as usize);
    let kernel = gpu.library.sample(&Spec::new(Shape::new(rows, cols))).unwrap();
    let seeds: Vec<[u64; 2]> = (0..u64::from(rows)).map(|p| [11, p]).collect();
    let (src, seeds) = (common::upload(gpu, &x), gpu.upload(bytemuck::cast_slice(&seeds)).unwrap());
    let dst = gpu.allocate(u64::from(rows) * 4).unwrap();
    let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols).max(16)).unwrap();
    let operands = Operands {
        scratch: Some(Matrix::new(&scratch, 1, (scratch.size() / 4) as u32)),
        ..Operands::new(
            Matrix::new(&src, rows, cols).with_stride(0),
            Matrix::new(&dst, rows, 1),
            PerRow::each(Matrix::new(&seeds, rows, 4)),
        )
    };
    gpu.run(&[&kernel.bind(&operands).unwrap()]).unwrap();
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&dst, dst.size()).unwrap());
    for (position, &word) in (0..).zip(&words) {
        assert_eq!(Status::of(word), choice(&x, 1.0, Stream { seed: 11, position }));
    }
}

/// Draws of the reference, which are the device's, as counts a column.
fn counts(x: &[f32], temperature: f32, draws: u64, stream: impl Fn(u64) -> Stream) -> Vec<f64> {
    let mut counts = vec![0.0; x.len()];
    for i in 0..draws {
        let Status::Column(column) = choice(x, temperature, stream(i)) else { panic!("nothing drawn") };
        counts[column as usize] += 1.0;
    }
    counts
}

fn probabilities(x: &[f32], temperature: f32) -> Vec<f64> {
    let tempered: Vec<f32> = x.iter().map(|v| v / temperature).collect();
    Problem::new(&tempered, x.len()).row(0).probabilities
}

/// α = 1e-6 for each of nine tests. Power: a distribution that is off by 5 % in one of 16 equal columns is found with 400,000 draws
/// almost surely (noncentrality 62).
#[test]
fn choices_have_the_distribution_of_a_softmax() {
    let random = logits(5, 40);
    let mut peaked = vec![0.0; 40];
    peaked[17] = 3.0;
    for (name, x) in [("random", &random), ("peaked", &peaked), ("flat", &vec![1.5; 16])] {
        for temperature in [0.5, 1.0, 2.5] {
            let draws = 400_000 / x.len() as u64 * 4;
            let counts = counts(x, temperature, draws, |i| Stream { seed: 1, position: i });
            let (chi, k) = chi_square(&counts, &probabilities(x, temperature), draws as f64);
            assert!(chi < critical(k), "{name} at {temperature}: {chi} with {k} degrees of freedom");
        }
    }
}

/// Sampling by blocks, on the device: 40,000 draws from 300 columns at three temperatures, α = 1e-6 each.
#[test]
fn blocks_have_the_distribution_of_a_softmax() {
    let gpu = common::gpu();
    let x = logits(8, 300);
    let rows = 40_000;
    for name in [
        "sample/block/f32/baseline/w8l1/x4",
        "sample/block/f32/baseline/w8/x4",
        "sample/blocksplit/f32/baseline/w8/x1",
        "sample/blocksplit/f32/baseline/w256/x4",
    ] {
        for temperature in [0.2, 1.0, 3.0] {
            let rows = if name.contains("w256") { rows / 20 } else { rows };
            let seeds = (0..u64::from(rows)).map(|position| Stream { seed: 5, position }).collect();
            let src = x.repeat(rows as usize);
            let draws = Draws { seeds, src, temperature: Some(vec![temperature; rows as usize]), ..draws(rows, 300) };
            let mut counts = vec![0.0; x.len()];
            for status in drawn(&draws, gpu, name.parse().unwrap()) {
                let Status::Column(column) = status else { panic!("{status:?}") };
                counts[column as usize] += 1.0;
            }
            let (chi, k) = chi_square(&counts, &probabilities(&x, temperature), f64::from(rows));
            assert!(chi < critical(k), "{name} at {temperature}: {chi} with {k} degrees of freedom");
        }
    }
}

/// Draws without replacement have the Plackett-Luce order: `P(i, j, k) = p_i · p_j / (1 − p_i) · p_k / (1 − p_i − p_j)`. All 60 ordered
/// triples of five columns, 200,000 draws, α = 1e-6.
#[test]
fn draws_without_replacement_have_the_plackett_luce_order() {
    let x = [0.1_f32, 0.15, 0.2, 0.25, 0.3].map(f32::ln);
    let p = probabilities(&x, 1.0);
    let (mut counts, mut expected) = (vec![0.0; 125], vec![0.0; 125]);
    for (cell, expected) in expected.iter_mut().enumerate() {
        let (i, j, k) = (cell / 25, cell / 5 % 5, cell % 5);
        if i != j && j != k && i != k {
            *expected = p[i] * p[j] / (1.0 - p[i]) * p[k] / (1.0 - p[i] - p[j]);
        }
    }
    let draws = 200_000;
    for position in 0..draws {
        let drawn = choices(&x, 1.0, Stream { seed: 31, position }, 3);
        let cell = drawn.iter().fold(0, |cell, status| cell * 5 + status.word() as usize);
        counts[cell] += 1.0;
    }
    assert!(counts.iter().zip(&expected).all(|(c, e)| *e > 0.0 || *c == 0.0), "a column was drawn twice");
    let (chi, k) = chi_square(&counts, &expected, draws as f64);
    // The impossible cells are none.
    assert!(chi < critical(k.min(59.0)), "{chi} with {k} degrees of freedom");
    // As many draws as columns are a permutation; more end in Empty.
    let all = choices(&x, 1.0, Stream::default(), 7);
    let mut columns: Vec<u32> = all[..5].iter().map(|s| s.word()).collect();
    columns.sort_unstable();
    assert_eq!((columns, &all[5..]), (vec![0, 1, 2, 3, 4], &[Status::Empty; 2][..]));
}

/// Densities integrate to 1 over what they are densities of: midpoint sums, and the Concrete's over the simplex of three columns, where
/// it also gives the mean of the first column that samples have (p = (0.1, 0.2, 0.7)).
#[test]
fn densities_are_densities() {
    let step = 1e-3;
    let total: f64 = (-10_000..40_000).map(|i| gumbel_log_density((f64::from(i) + 0.5) * step, 1.5).exp() * step).sum();
    assert!((total - 1.0).abs() < 1e-6, "{total}");
    let (p, n) = ([0.1_f64, 0.2, 0.7].map(f64::ln), 1500);
    for temperature in [0.9, 1.0, 2.0] {
        let (mut total, mut mean) = (0.0, 0.0);
        for i in 0..n {
            for j in 0..n - i {
                let (a, b) = ((f64::from(i) + 1.0 / 3.0) / f64::from(n), (f64::from(j) + 1.0 / 3.0) / f64::from(n));
                // Two triangles to a square, one at the edge.
                let area = if i + j + 1 < n { 1.0 } else { 0.5 } / f64::from(n * n);
                let density = concrete_log_density(&[a, b, 1.0 - a - b], &p, temperature).unwrap().exp();
                total += density * area;
                mean += a * density * area;
            }
        }
        let samples: Vec<f64> = (0..40_000)
            .map(|position| {
                let stream = Stream { seed: 8, position };
                let s = [0, 1, 2].map(|i| (p[i as usize] + f64::from(stream.gumbel(i))) / temperature);
                s[0].exp() / s.iter().map(|s| s.exp()).sum::<f64>()
            })
            .collect();
        let drawn = samples.iter().sum::<f64>() / samples.len() as f64;
        // At temperatures below 1 the density is infinite at the edges, where the sums are poor.
        assert!((total - 1.0).abs() < 0.05, "{total} at {temperature}");
        assert!((mean / total - drawn).abs() < 0.02, "{mean} {drawn} at {temperature}");
    }
    assert_eq!(exp_concrete_log_density(&[0.0], &[0.0, 1.0], 1.0), None);
    assert_eq!(exp_concrete_log_density(&[], &[], 1.0), None);
    assert_eq!(exp_concrete_log_density(&[0.0], &[0.0], 0.0), None);
}

/// Kolmogorov-Smirnov of 2²⁰ variates against exp(−exp(−g)), over all and over both tails; α = 1e-6 each (D·√n < 2.7).
#[test]
fn noise_has_the_gumbel_distribution() {
    let mut noise: Vec<f64> = (0..1 << 18)
        .flat_map(|position| Stream { seed: 99, position }.words(onesum::noise::Domain::Column, 7))
        .map(|word| f64::from(onesum::noise::gumbel(word)))
        .collect();
    noise.sort_unstable_by(f64::total_cmp);
    let cdf = |g: f64| (-(-g).exp()).exp();
    let distance = |part: &[f64], low: f64, high: f64| {
        let n = part.len() as f64;
        let gap = |(i, g): (usize, &f64)| {
            let u = (cdf(*g) - low) / (high - low);
            (u - i as f64 / n).abs().max((u - (i + 1) as f64 / n).abs())
        };
        part.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt()
    };
    let below = noise.partition_point(|g| cdf(*g) < 0.001);
    let above = noise.partition_point(|g| cdf(*g) < 0.999);
    assert!(distance(&noise, 0.0, 1.0) < 2.7);
    assert!(distance(&noise[..below], 0.0, 0.001) < 2.7);
    assert!(distance(&noise[above..], 0.999, 1.0) < 2.7);
}

/// Neighbouring columns, positions and seeds are independent: chi-square of pairs of words over 16 x 16 cells, 2¹⁸ pairs each,
/// α = 1e-6. A column read at its neighbour's place is found by the same test.
#[test]
fn neighbours_are_independent() {
    let word = |seed: u64, position: u64, column: u32| {
        Stream { seed, position }.words(onesum::noise::Domain::Column, column / 4)[(column % 4) as usize]
    };
    let pairs = |pair: &dyn Fn(u32) -> (u32, u32)| {
        let mut counts = vec![0.0; 256];
        for i in 0..1 << 18 {
            let (a, b) = pair(i);
            counts[(a >> 28 << 4 | b >> 28) as usize] += 1.0;
        }
        chi_square(&counts, &[1.0 / 256.0; 256], f64::from(1 << 18)).0
    };
    let limit = critical(255.0);
    assert!(pairs(&|i| (word(1, 2, i), word(1, 2, i + 1))) < limit, "columns");
    assert!(pairs(&|i| (word(1, u64::from(i), 3), word(1, u64::from(i) + 1, 3))) < limit, "positions");
    assert!(pairs(&|i| (word(u64::from(i), 2, 3), word(u64::from(i) + 1, 2, 3))) < limit, "seeds");
    // Planted: two columns that share a word, and a seed that is only added to the position.
    assert!(pairs(&|i| (word(1, 2, i), word(1, 2, i & !1))) > limit);
    assert!(pairs(&|i| (word(0, u64::from(i) + 1, 3), word(0, u64::from(i & !1) + 1, 3))) > limit);
}

/// The faults that samplers have had: each must fail the test that the stream passes.
#[test]
fn faulty_streams_are_found() {
    let x = vec![0.0; 16];
    let draws = 50_000;
    let p = probabilities(&x, 1.0);
    let chi = |stream: &dyn Fn(u64) -> Stream| chi_square(&counts(&x, 1.0, draws, stream), &p, draws as f64);
    let right = chi(&|i| Stream { seed: i, position: 0 });
    assert!(right.0 < critical(right.1));
    let one_seed = chi(&|_| Stream { seed: 1, position: 0 });
    let repeated_counter = chi(&|i| Stream { seed: 1, position: i % 64 });
    assert!(one_seed.0 > critical(one_seed.1) && repeated_counter.0 > critical(repeated_counter.1));
    // A column that takes its neighbour's noise draws from the right distribution: only comparing choices finds it.
    let shifted = |stream: Stream| {
        let scores = (0..16_u32).map(|c| (x[c as usize] + stream.gumbel(c + 1), c));
        Status::Column(scores.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1)
    };
    let found = (0..100).map(|position| Stream { seed: 5, position }).filter(|s| shifted(*s) != choice(&x, 1.0, *s));
    assert!(found.count() > 80);
}

/// Where a device has 64-bit integers, the random stream multiplies by them: the same choices, and the same relaxed samples, as
/// without.
#[test]
fn wider_products_give_the_same_bits() {
    for mut gpu in every_gpu() {
        let caps = gpu.library.caps().clone();
        let name = "sample/stream/f32/baseline/w64/x4";
        let relaxing = "softmax/stream/f32/baseline/w64/x4";
        let mut draws = draws(40, 5000);
        draws.src.fill(0.25);
        let usual = (drawn(&draws, &gpu, name.parse().unwrap()), relaxed(&gpu, &draws, 0.5, relaxing));
        assert_eq!(usual.0, draws.expected());
        let text = |gpu: &Gpu| {
            gpu.library.sample(&Spec::new(Shape::new(40, 5000))).unwrap().wgsl(Dialect::Naga).swap_remove(0)
        };
        assert_eq!(text(&gpu).contains("u64"), caps.int64, "{}", gpu.info.name);
        gpu.library = Library::with_caps(&gpu.device, Caps { int64: false, ..caps }, None).unwrap();
        assert!(!text(&gpu).contains("u64"));
        let narrow = (drawn(&draws, &gpu, name.parse().unwrap()), relaxed(&gpu, &draws, 0.5, relaxing));
        assert_eq!(narrow, usual, "{}", gpu.info.name);
    }
}

/// Choices that will never change: seed 42, positions 0 to 7, of 1,000 columns with the logits (37 c mod 101) / 32.
/// Every device draws them too.
#[test]
fn choices_are_frozen() {
    let x: Vec<f32> = (0..1000_u16).map(|c| f32::from(c * 37 % 101) / 32.0).collect();
    let rows: u32 = 8;
    let seeds = (0..u64::from(rows)).map(|position| Stream { seed: 42, position }).collect();
    for (temperature, frozen) in
        [(1.0, [791_u32, 338, 43, 941, 56, 898, 523, 636]), (0.1, [857, 535, 90, 262, 30, 898, 737, 636])]
    {
        let all = Draws {
            rows,
            cols: 1000,
            src: x.repeat(8),
            seeds: Vec::clone(&seeds),
            temperature: Some(vec![temperature; 8]),
            ..Draws::default()
        };
        let frozen: Vec<_> = frozen.into_iter().map(Status::Column).collect();
        assert_eq!(all.expected(), frozen, "the CPU at {temperature}");
        for gpu in every_gpu() {
            let variant = Variant::select(gpu.library.caps(), &Shape::new(rows, 1000), softmax::Dtype::F32, 1);
            assert_eq!(drawn(&all, &gpu, variant), frozen, "{} at {temperature}", gpu.info.name);
        }
    }
}

/// Noise above 16.7 is as frequent as it should be: 2²⁹ words, 29.9 expected; 6 to 63 with probability 1 − 10⁻⁶ (Poisson). From 24
/// bits, u = 1 − 2⁻²⁴ at most, there is none: tokens of probability 10⁻⁷ would never be drawn.
#[test]
fn the_far_tail_is_there() {
    const FAR: f64 = 16.7;
    let from_24_bits = |word: u32| -(-(f64::from(word >> 8) / 16_777_216.0).ln()).ln();
    let count = |seed: u64| {
        let mut hits = [0, 0];
        for position in 0..1 << 26 {
            for word in (Stream { seed, position }).words(onesum::noise::Domain::Column, 0) {
                if word > 0xffff_0000 {
                    hits[0] += u32::from(f64::from(onesum::noise::gumbel(word)) > FAR);
                    hits[1] += u32::from(from_24_bits(word) > FAR);
                }
            }
        }
        hits
    };
    let halves = std::thread::scope(|scope| {
        let threads = [1, 2].map(|seed| scope.spawn(move || count(seed)));
        threads.map(|thread| thread.join().unwrap())
    });
    let [hits, planted] = [0, 1].map(|i| halves[0][i] + halves[1][i]);
    assert!((6..=63).contains(&hits), "{hits}");
    assert_eq!(planted, 0);
}

/// An event of probability 1e-6 in 4·10^7 draws: 40 expected. Between 15 and 75
/// with probability 1 - 1e-6 (Poisson).
#[test]
fn rare_events_happen() {
    // Column 1 wins if g1 - g0 > ln 1e6.
    let lead = 1e6_f32.ln();
    let mut hits = 0;
    for position in 0..20_000_000_u64 {
        let [a, b, c, d] = Stream { seed: 3, position }.words(onesum::noise::Domain::Column, 0);
        // The noise of a quad gives two independent pairs. Most words are far from any chance.
        for (a, b) in [(a, b), (c, d)] {
            if b > 0xf000_0000 {
                let (g0, g1) = (onesum::noise::gumbel(a), onesum::noise::gumbel(b));
                hits += u32::from(g1 > lead + g0);
            }
        }
    }
    // P(g1 - g0 > ln 1e6) = 1 / (1 + 1e6); words of b below 0xf0000000 (g1 < 2.74) need g0 < -11.
    assert!((15..=75).contains(&hits), "{hits}");
}

/// Real logits: 2,000 draws at each of three temperatures. Tokens with at least 5 expected draws are a cell each, all others one.
#[test]
fn real_logits() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/gemma3_270m_logits.npy")).unwrap();
    let row: &[u8] = &bytes[bytes.len() - 4 * 262_144..];
    let x: Vec<f32> = bytemuck::pod_collect_to_vec(row);
    let gpu = common::gpu();
    let rows = 2000;
    for temperature in [0.6, 1.0, 1.4] {
        let kernel = {
            let options = Options { temperature: true, ..Options::default() };
            gpu.library.sample(&Spec { options, ..Spec::new(Shape::new(rows, 262_144)) }).unwrap()
        };
        let seeds: Vec<[u64; 2]> = (0..u64::from(rows)).map(|p| [2024, p]).collect();
        let (src, seeds) = (common::upload(gpu, &x), gpu.upload(bytemuck::cast_slice(&seeds)).unwrap());
        let dst = gpu.allocate(u64::from(rows) * 4).unwrap();
        let hot = common::upload(gpu, &[temperature]);
        let scratch = gpu.allocate(kernel.scratch_bytes(rows, 262_144).max(16)).unwrap();
        let operands = Operands {
            temperature: Some(PerRow::one(Matrix::new(&hot, 1, 1))),
            scratch: Some(Matrix::new(&scratch, 1, (scratch.size() / 4) as u32)),
            ..Operands::new(
                Matrix::new(&src, rows, 262_144).with_stride(0),
                Matrix::new(&dst, rows, 1),
                PerRow::each(Matrix::new(&seeds, rows, 4)),
            )
        };
        gpu.run(&[&kernel.bind(&operands).unwrap()]).unwrap();
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&dst, dst.size()).unwrap());
        let mut counts = vec![0.0; x.len()];
        for &word in &words {
            counts[word as usize] += 1.0;
        }
        let (chi, k) = chi_square(&counts, &probabilities(&x, temperature), f64::from(rows));
        assert!(chi < critical(k), "{temperature}: {chi} with {k} degrees of freedom");
    }
}

/// Probabilities of Gumbel-Softmax, one temperature for all rows.
fn relaxed(gpu: &Gpu, draws: &Draws, temperature: f32, name: &str) -> Vec<f32> {
    let (rows, cols) = (draws.rows, draws.cols);
    let options = softmax::Options { gumbel: true, temperature: true, ..softmax::Options::default() };
    let spec =
        softmax::Spec { options, variant: Some(name.parse().unwrap()), ..softmax::Spec::new(Shape::new(rows, cols)) };
    let kernel = gpu.library.softmax(&spec).unwrap();
    let seeds: Vec<[u32; 4]> = draws.seeds.iter().map(Stream::words_of_seed).collect();
    let (src, seeds) = (common::upload(gpu, &draws.src), gpu.upload(bytemuck::cast_slice(&seeds)).unwrap());
    let (hot, dst) = (common::upload(gpu, &[temperature]), gpu.allocate(draws.src.len() as u64 * 4).unwrap());
    let scratch = gpu.allocate(kernel.scratch_bytes(rows, cols).max(16)).unwrap();
    let operands = softmax::Operands {
        seeds: Some(PerRow::each(Matrix::new(&seeds, rows, 4))),
        temperature: Some(PerRow::one(Matrix::new(&hot, 1, 1))),
        scratch: Some(Matrix::new(&scratch, 1, (scratch.size() / 4) as u32)),
        ..softmax::Operands::new(Matrix::new(&src, rows, cols), Matrix::new(&dst, rows, cols))
    };
    gpu.run(&[&kernel.bind_with(&operands).unwrap()]).unwrap();
    common::download(gpu, &dst)
}

/// For fixed noise the arg max does not depend on the temperature, and is what sampling chooses; at 0 the row is exactly one-hot.
#[test]
fn gumbel_softmax_has_its_maximum_where_sampling_chooses() {
    for gpu in every_gpu() {
        for name in [
            "softmax/stream/f32/baseline/w8l1/x4",
            "softmax/onchip/f32/baseline/w64k4/x4",
            "softmax/split/f32/baseline/w8/x4",
        ] {
            let draws = draws(40, 300);
            let chosen = draws.expected();
            for temperature in [0.0, 0.1, 1.0, 5.0] {
                let y = relaxed(&gpu, &draws, temperature, name);
                for (row, status) in y.chunks(300).zip(&chosen) {
                    let Status::Column(column) = *status else { panic!("{status:?}") };
                    let most = row.iter().copied().fold(0.0, f32::max);
                    assert_eq!(row[column as usize], most, "{name} at {temperature}");
                    if temperature == 0.0 {
                        assert_eq!((most, row.iter().sum::<f32>()), (1.0, 1.0));
                    }
                }
            }
        }
    }
}

/// Means of the greatest and of the first probability for p = (0.1, 0.2, 0.3, 0.4), to four standard errors of 20,000 rows. The expected values have three digits.
#[test]
fn relaxed_samples_have_the_expected_means() {
    let gpu = common::gpu();
    let p = [0.1_f32, 0.2, 0.3, 0.4].map(f32::ln);
    let rows = 20_000;
    let draws = Draws {
        rows,
        cols: 4,
        src: p.repeat(rows as usize),
        seeds: (0..u64::from(rows)).map(|position| Stream { seed: 77, position }).collect(),
        ..Draws::default()
    };
    for (temperature, most, first) in
        [(0.1, 0.951, 0.101), (0.5, 0.772, 0.111), (1.0, 0.613, 0.134), (5.0, 0.331, 0.213)]
    {
        let y = relaxed(gpu, &draws, temperature, "softmax/rows/f32/baseline/w8l1k8/x4");
        let close = |of: &dyn Fn(&[f32]) -> f32, want: f64| {
            let values: Vec<f64> = y.chunks(4).map(|row| f64::from(of(row))).collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            let error = 4.0 * deviation / n.sqrt() + 0.0005;
            assert!((mean - want).abs() < error, "{mean}, not {want}, at {temperature}");
        };
        close(&|row| row.iter().copied().fold(0.0, f32::max), most);
        close(&|row| row[0], first);
    }
}
