//! What softmax is, whatever the numbers: properties of random rows on the adapter.

mod common;

use common::{GUARD, assert_probabilities, column, download, gpu, upload};
use half::{bf16, f16};
use onesum::accuracy::{bf16_ulp, f16_ulp, ulp_distance};
use onesum::reference::{Partial, Problem, Shared};
use onesum::softmax::{
    Dtype, MaskType, Operands, Options, PerRow, RowMap, Schedule, Shape, ShardSpec, Softmax, Spec, Variant,
};
use onesum::{Bound, Matrix};
use proptest::prelude::*;

/// One of each schedule of ours. Few, for each is compiled anew with each set of options.
const VARIANTS: [&str; 4] = [
    "softmax/rows/f32/baseline/w64l4k4/x1",
    "softmax/onchip/f32/baseline/w64k4/x1",
    "softmax/stream/f32/baseline/w8/x1",
    "softmax/split/f32/baseline/w8/x1",
];

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn spec(name: &str) -> Spec {
    let v: Variant = name.parse().unwrap();
    let shape = Shape { rows: 1, cols: 1, quads: v.quads };
    Spec { input: v.input, output: v.output, variant: Some(v), ..Spec::new(shape) }
}

fn variant() -> impl Strategy<Value = &'static str> {
    prop::sample::select(VARIANTS.to_vec())
}

/// Binds with as much scratch memory as it takes.
fn bind(softmax: &Softmax, operands: &Operands<'_>) -> Bound {
    let bytes = softmax.scratch_bytes(operands.src.rows, operands.src.cols);
    let scratch = gpu().allocate(bytes.max(4)).unwrap();
    let words = Some(Matrix::new(&scratch, 1, (bytes / 4) as u32)).filter(|_| bytes > 0);
    softmax.bind_with(&Operands { scratch: words, ..*operands }).unwrap()
}

/// Probabilities of contiguous f32 rows.
fn softmax_of(softmax: &Softmax, x: &[f32], cols: usize) -> Vec<f32> {
    let gpu = gpu();
    let (src, dst) = (upload(gpu, x), gpu.allocate(x.len() as u64 * 4).unwrap());
    let m = |buffer| Matrix::new(buffer, (x.len() / cols) as u32, cols as u32);
    gpu.run(&[&bind(softmax, &Operands::new(m(&src), m(&dst)))]).unwrap();
    download(gpu, &dst)
}

/// Rows of logits: columns, and as many values as fit.
fn rows() -> impl Strategy<Value = (usize, Vec<f32>)> {
    (1..6_usize, 1..60_usize).prop_flat_map(|(rows, cols)| (Just(cols), logits(rows * cols)))
}

/// Multiples of 1/64: adding an integer under 2^17 is exact.
fn logits(count: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-1280..1280_i16).prop_map(|n| f32::from(n) / 64.0), count)
}

fn assert_close(a: &[f32], b: &[f32], ulps: u32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(ulp_distance(*a, *b) <= ulps, "{i}: {a:e} {b:e}");
    }
}

proptest! {
    #![proptest_config(config(192))]

    /// softmax(x + c) = softmax(x), and the log-sum-exp moves by c. The anchors of the sums differ.
    #[test]
    fn shift_invariance(name in variant(), (cols, x) in rows(), shift in -100_000..100_000_i32) {
        let softmax = gpu().library.softmax(&spec(name)).unwrap();
        let shifted: Vec<f32> = x.iter().map(|x| x + shift as f32).collect();
        let problem = Problem::new(&x, cols);
        let (plain, moved) = (softmax_of(&softmax, &x, cols), softmax_of(&softmax, &shifted, cols));
        assert_probabilities(&problem, softmax.variant().schedule, &plain);
        assert_probabilities(&problem, softmax.variant().schedule, &moved);
    }

    /// The order of columns is the order of results. 4 ULP of the budget on either side.
    #[test]
    fn permutation(
        name in variant(),
        (cols, x, order) in (1..60_usize).prop_flat_map(|cols| {
            (Just(cols), logits(cols), Just((0..cols).collect::<Vec<_>>()).prop_shuffle())
        }),
    ) {
        let softmax = gpu().library.softmax(&spec(name)).unwrap();
        let permuted: Vec<f32> = order.iter().map(|&i| x[i]).collect();
        let plain = softmax_of(&softmax, &x, cols);
        let want: Vec<f32> = order.iter().map(|&i| plain[i]).collect();
        assert_close(&softmax_of(&softmax, &permuted, cols), &want, 8);
    }

    /// Equal logits, equal results, to the bit, wherever they stand. Powers of two: exactly 1/N.
    #[test]
    fn equal_logits_share_equally(name in variant(), cols in 1..200_usize, x in -1e30_f32..1e30) {
        prop_assume!(spec(name).variant.unwrap().max_columns() as usize >= cols);
        let softmax = gpu().library.softmax(&spec(name)).unwrap();
        let y = softmax_of(&softmax, &vec![x; cols], cols);
        prop_assert!(y.iter().all(|&p| p == y[0]), "{y:?}");
        let allowed = if cols.is_power_of_two() { 0 } else { 4 };
        prop_assert!(ulp_distance(y[0], 1.0 / cols as f32) <= allowed, "{} for {} columns", y[0], cols);
    }

    /// At temperature 0 the arg max takes everything, on ties the lowest index.
    #[test]
    fn temperature_zero(name in variant(), (cols, x) in rows(), coarse in any::<bool>()) {
        let options = Options { temperature: true, ..Options::default() };
        let softmax = gpu().library.softmax(&Spec { options, ..spec(name) }).unwrap();
        // Coarse logits tie.
        let x: Vec<f32> = if coarse { x.iter().map(|x| (x / 8.0).round()).collect() } else { x };
        let rows = x.len() / cols;
        let (src, dst) = (upload(gpu(), &x), gpu().allocate(x.len() as u64 * 4).unwrap());
        let temperature = upload(gpu(), &[0.0]);
        let operands = Operands {
            temperature: Some(PerRow::one(column(&temperature, 1))),
            ..Operands::new(Matrix::new(&src, rows as u32, cols as u32), Matrix::new(&dst, rows as u32, cols as u32))
        };
        gpu().run(&[&bind(&softmax, &operands)]).unwrap();
        let want: Vec<f32> = x
            .chunks(cols)
            .flat_map(|row| {
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let first = row.iter().position(|&x| x == most);
                (0..cols).map(move |i| f32::from(u8::from(Some(i) == first)))
            })
            .collect();
        prop_assert_eq!(download(gpu(), &dst), want);
    }
}

/// Where a window lies: before it, between its rows, after it.
#[derive(Clone, Copy, Debug)]
struct Gaps {
    before: usize,
    between: usize,
    after: usize,
}

fn gaps() -> impl Strategy<Value = Gaps> {
    (0..70_usize, 0..9_usize, 0..9_usize).prop_map(|(before, between, after)| Gaps { before, between, after })
}

impl Gaps {
    fn stride(&self, cols: usize) -> usize {
        cols + self.between
    }

    /// The rows with guards around them.
    fn spread(&self, values: &[f32], cols: usize) -> Vec<f32> {
        let mut all = vec![GUARD; self.before];
        for row in values.chunks(cols) {
            all.extend_from_slice(row);
            all.extend(vec![GUARD; self.between]);
        }
        all.extend(vec![GUARD; self.after]);
        all
    }

    fn matrix<'a>(&self, buffer: &'a wgpu::Buffer, rows: usize, cols: usize) -> Matrix<'a> {
        Matrix::new(buffer, rows as u32, cols as u32).at(self.before as u64).with_stride(self.stride(cols) as u32)
    }

    /// The rows, and whether every other word is still a guard.
    fn gather(&self, all: &[f32], rows: usize, cols: usize) -> (Vec<f32>, bool) {
        let row_of = |i: usize| i.checked_sub(self.before).map(|i| (i / self.stride(cols), i % self.stride(cols)));
        let (mut values, mut kept) = (Vec::new(), true);
        for (i, &x) in all.iter().enumerate() {
            match row_of(i) {
                Some((r, c)) if r < rows && c < cols => values.push(x),
                _ => kept &= x == GUARD,
            }
        }
        (values, kept)
    }
}

proptest! {
    #![proptest_config(config(256))]

    /// Nothing but the rows of outputs is written, and inputs may lie anyhow too.
    #[test]
    fn strides_and_gaps(
        name in variant(),
        (cols, x) in rows(),
        (src_gaps, dst_gaps, lse_gaps, mask_gaps) in (gaps(), gaps(), gaps(), gaps()),
    ) {
        let options = Options { mask: Some(MaskType::F32), ..Options::default() };
        let softmax = gpu().library.softmax(&Spec { lse: true, options, ..spec(name) }).unwrap();
        let rows = x.len() / cols;
        let mask: Vec<f32> = x.iter().rev().map(|x| x * 0.5).collect();
        let nothing = vec![GUARD; x.len()];
        let src = upload(gpu(), &src_gaps.spread(&x, cols));
        let dst = upload(gpu(), &dst_gaps.spread(&nothing, cols));
        let lse = upload(gpu(), &lse_gaps.spread(&nothing[..rows], 1));
        let mask_buffer = upload(gpu(), &mask_gaps.spread(&mask, cols));
        let operands = Operands {
            lse: Some(lse_gaps.matrix(&lse, rows, 1)),
            mask: Some(PerRow::each(mask_gaps.matrix(&mask_buffer, rows, cols))),
            ..Operands::new(src_gaps.matrix(&src, rows, cols), dst_gaps.matrix(&dst, rows, cols))
        };
        gpu().run(&[&bind(&softmax, &operands)]).unwrap();

        let (got, kept) = dst_gaps.gather(&download(gpu(), &dst), rows, cols);
        prop_assert!(kept, "a guard of dst was written");
        let (got_lse, kept) = lse_gaps.gather(&download(gpu(), &lse), rows, 1);
        prop_assert!(kept, "a guard of lse was written");
        prop_assert_eq!(download(gpu(), &src), src_gaps.spread(&x, cols));
        prop_assert_eq!(download(gpu(), &mask_buffer), mask_gaps.spread(&mask, cols));
        let mask = Some(Shared { values: &mask, map: RowMap::each() });
        let problem = Problem { mask, ..Problem::new(&x, cols) };
        assert_probabilities(&problem, softmax.variant().schedule, &got);
        for (r, lse) in got_lse.iter().enumerate() {
            prop_assert!((f64::from(*lse) - problem.row(r).lse).abs() < 1e-5);
        }
    }

    /// A mask that rows share is the mask written out: the same bits come of both.
    #[test]
    fn shared_masks_are_expanded_masks(
        name in variant(),
        (rows, cols) in (1..20_u32, 1..20_u32),
        (divide, modulo, group) in (1..5_u32, 1..5_u32, 1..25_u32),
        half_mask in any::<bool>(),
        seed in any::<u32>(),
    ) {
        let map = RowMap { divide, modulo, group };
        let dtype = if half_mask { MaskType::F16 } else { MaskType::F32 };
        let options = Options { mask: Some(dtype), ..Options::default() };
        let softmax = gpu().library.softmax(&Spec { options, ..spec(name) }).unwrap();
        let x = common::logits(seed, (rows * cols) as usize);
        let entries = (0..rows).map(|r| map.entry(r)).max().unwrap() as u32 + 1;
        // Every third is excluded; all are f16 numbers, so that both types hold them.
        let shared: Vec<f32> = (0..entries * cols)
            .map(|i| if (i + seed % 3) % 3 == 0 { f32::NEG_INFINITY } else { f32::from(i as u16 % 64) / 16.0 })
            .collect();
        let expanded: Vec<f32> = (0..rows)
            .flat_map(|r| shared[map.entry(r) as usize * cols as usize..][..cols as usize].to_vec())
            .collect();
        let run = |mask: &[f32], map| {
            let halves: Vec<u16> = mask.iter().map(|&m| f16::from_f32(m).to_bits()).collect();
            let bytes = if half_mask { bytemuck::cast_slice(&halves) } else { bytemuck::cast_slice(mask) };
            let mask_buffer = gpu().upload(bytes).unwrap();
            let (src, dst) = (upload(gpu(), &x), gpu().allocate(x.len() as u64 * 4).unwrap());
            let matrix = Matrix::new(&mask_buffer, mask.len() as u32 / cols, cols);
            let operands = Operands {
                mask: Some(PerRow { matrix, map }),
                ..Operands::new(Matrix::new(&src, rows, cols), Matrix::new(&dst, rows, cols))
            };
            gpu().run(&[&bind(&softmax, &operands)]).unwrap();
            download(gpu(), &dst)
        };
        let by_map = run(&shared, map);
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&by_map), bits(&run(&expanded, RowMap::each())));
        let mask = Some(Shared { values: &expanded, map: RowMap::each() });
        assert_probabilities(&Problem { mask, ..Problem::new(&x, cols as usize) }, softmax.variant().schedule, &by_map);
    }

    /// 16-bit storage rounds what f32 storage would have held, once.
    #[test]
    fn storage_rounds_once(kind in 0..4_usize, (cols, x) in rows()) {
        let (name, dtype) = [
            ("softmax/stream/f16/baseline/w8/x1", Dtype::F16),
            ("softmax/onchip/f16/baseline/w64k4/x1", Dtype::F16),
            ("softmax/stream/bf16/baseline/w8/x1", Dtype::Bf16),
            ("softmax/split/bf16/baseline/w8/x1", Dtype::Bf16),
        ][kind];
        let widen = |bits: u16| if dtype == Dtype::F16 {
            f16::from_bits(bits).to_f32()
        } else {
            bf16::from_bits(bits).to_f32()
        };
        let stored: Vec<u16> = x
            .iter()
            .map(|&x| if dtype == Dtype::F16 { f16::from_f32(x).to_bits() } else { bf16::from_f32(x).to_bits() })
            .collect();
        let rows = (x.len() / cols) as u32;
        let small = gpu().library.softmax(&spec(name)).unwrap();
        let src = gpu().upload(bytemuck::cast_slice(&stored)).unwrap();
        let dst = gpu().allocate(src.size()).unwrap();
        let m = |buffer| Matrix::new(buffer, rows, cols as u32);
        gpu().run(&[&bind(&small, &Operands::new(m(&src), m(&dst)))]).unwrap();
        let got: Vec<u16> = bytemuck::pod_collect_to_vec(&gpu().download(&dst, stored.len() as u64 * 2).unwrap());

        let wide_name = name.replace("/bf16/", "/f32/").replace("/f16/", "/f32/");
        let wide = gpu().library.softmax(&spec(&wide_name)).unwrap();
        let widened: Vec<f32> = stored.iter().map(|&bits| widen(bits)).collect();
        for (got, want) in got.iter().zip(softmax_of(&wide, &widened, cols)) {
            let want = f64::from(want);
            let ulp = if dtype == Dtype::F16 { f16_ulp(want) } else { bf16_ulp(want) };
            // Both variants are within 4 ULP of f32, which may carry a tie to either side; f32's subnormals may flush.
            let slack = 8.0 * onesum::accuracy::f32_ulp(want) + f64::from(f32::MIN_POSITIVE);
            let error = (f64::from(widen(*got)) - want).abs();
            prop_assert!(error <= 0.5 * ulp + slack, "{error:e} {want:e}");
        }
    }
}

/// A row in parts, as a tensor-parallel caller has it.
#[derive(Clone, Debug)]
struct Parts {
    rows: usize,
    widths: Vec<usize>,
    x: Vec<f32>,
    temperature: Vec<f32>,
    sinks: Vec<f32>,
}

fn parts() -> impl Strategy<Value = Parts> {
    (1..4_usize, prop::collection::vec(1..40_usize, 1..5)).prop_flat_map(|(rows, widths)| {
        let cols: usize = widths.iter().sum();
        let temperature = prop::collection::vec(prop::sample::select(vec![0.0_f32, 0.5, 1.0, 2.0]), rows);
        let coarse = logits(rows * cols).prop_map(|x| x.iter().map(|x| (x * 2.0).round() / 2.0).collect::<Vec<_>>());
        (Just(rows), Just(widths), coarse, temperature, logits(rows))
            .prop_map(|(rows, widths, x, temperature, sinks)| Parts { rows, widths, x, temperature, sinks })
    })
}

impl Parts {
    fn cols(&self) -> usize {
        self.widths.iter().sum()
    }

    fn spec(first: usize, options: Options) -> ShardSpec {
        let spec = Spec { options, ..spec("softmax/split/f32/baseline/w8/x1") };
        ShardSpec { spec, first_column: first as u32 }
    }

    /// (first column, width) of each.
    fn shards(&self) -> Vec<(usize, usize)> {
        let mut first = 0;
        self.widths
            .iter()
            .map(|&width| {
                first += width;
                (first - width, width)
            })
            .collect()
    }

    /// Sums of every shard into one matrix.
    fn sum(&self, partials: &wgpu::Buffer, temperature: Option<&wgpu::Buffer>, sinks: Option<&wgpu::Buffer>) {
        let (gpu, rows) = (gpu(), self.rows as u32);
        let src = upload(gpu, &self.x);
        let mut steps = Vec::new();
        for (i, (first, width)) in self.shards().into_iter().enumerate() {
            // The sink belongs to one shard only.
            let sinks = sinks.filter(|_| i == self.widths.len() - 1);
            let options = Options { temperature: temperature.is_some(), sinks: sinks.is_some(), ..Options::default() };
            let kernel = gpu.library.softmax_sum(&Self::spec(first, options)).unwrap();
            assert_eq!(kernel.partials(width as u32), 1);
            let m = self.window(&src, first, width);
            let operands = Operands {
                temperature: temperature.map(|t| PerRow::each(column(t, rows))),
                sinks: sinks.map(|s| PerRow::each(column(s, rows))),
                ..Operands::new(m, m)
            };
            let all = self.widths.len() as u32;
            let window = Matrix::new(partials, rows, 4).at(i as u64 * 4).with_stride(all * 4);
            steps.push(kernel.bind(&operands, window).unwrap());
        }
        // In any order: the last shard first.
        steps.reverse();
        gpu.run(&steps.iter().collect::<Vec<_>>()).unwrap();
    }

    fn window<'a>(&self, buffer: &'a wgpu::Buffer, first: usize, width: usize) -> Matrix<'a> {
        Matrix::new(buffer, self.rows as u32, width as u32).at(first as u64).with_stride(self.cols() as u32)
    }

    fn scale(&self, partials: Matrix<'_>, temperature: Option<&wgpu::Buffer>) -> Vec<f32> {
        let gpu = gpu();
        let (src, dst) = (upload(gpu, &self.x), upload(gpu, &vec![GUARD; self.x.len()]));
        for (first, width) in self.shards() {
            let options = Options { temperature: temperature.is_some(), ..Options::default() };
            let kernel = gpu.library.softmax_scale(&Self::spec(first, options)).unwrap();
            let operands = Operands {
                temperature: temperature.map(|t| PerRow::each(column(t, self.rows as u32))),
                ..Operands::new(self.window(&src, first, width), self.window(&dst, first, width))
            };
            gpu.run(&[&kernel.bind(&operands, partials).unwrap()]).unwrap();
        }
        download(gpu, &dst)
    }
}

proptest! {
    #![proptest_config(config(128))]

    /// Shards' sums, merged by the scaling kernel, give the whole row's probabilities; at temperature 0 too.
    #[test]
    fn shards_make_a_whole(parts in parts(), with_sinks in any::<bool>()) {
        let (temperature, sinks) = (upload(gpu(), &parts.temperature), upload(gpu(), &parts.sinks));
        let count = parts.widths.len() as u32;
        let partials = gpu().allocate(u64::from(count) * parts.rows as u64 * 16).unwrap();
        parts.sum(&partials, Some(&temperature), with_sinks.then_some(&sinks));
        let got = parts.scale(Matrix::new(&partials, parts.rows as u32, count * 4), Some(&temperature));
        let problem = Problem {
            temperature: Some(Shared { values: &parts.temperature, map: RowMap::each() }),
            sinks: with_sinks.then_some(Shared { values: &parts.sinks, map: RowMap::each() }),
            ..Problem::new(&parts.x, parts.cols())
        };
        assert_probabilities(&problem, Schedule::Split, &got);
    }

    /// `Merge` on the GPU, `Partial` on the CPU and the whole row agree, and merged sums scale like their parts.
    #[test]
    fn merging_agrees_with_the_reference(parts in parts()) {
        let (gpu, rows, count) = (gpu(), parts.rows as u32, parts.widths.len() as u32);
        let partials = gpu.allocate(u64::from(count * rows) * 16).unwrap();
        parts.sum(&partials, None, None);
        let (merged, lse) = (gpu.allocate(u64::from(rows) * 16).unwrap(), gpu.allocate(u64::from(rows) * 4).unwrap());
        let merge = gpu.library.softmax_merge().unwrap();
        let all = Matrix::new(&partials, rows, count * 4);
        let one = Matrix::new(&merged, rows, 4);
        gpu.run(&[&merge.bind(all, one, column(&lse, rows)).unwrap()]).unwrap();

        let words = |buffer: &wgpu::Buffer| -> Vec<[u32; 4]> {
            bytemuck::pod_collect_to_vec(&gpu.download(buffer, buffer.size()).unwrap())
        };
        let (parts_words, merged_words, lse) = (words(&partials), words(&merged), download(gpu, &lse));
        let problem = Problem::new(&parts.x, parts.cols());
        for r in 0..parts.rows {
            let of_row = &parts_words[r * count as usize..][..count as usize];
            let sums: Vec<f64> = of_row.iter().map(|&w| Partial::from_words(w).log_sum_exp()).collect();
            let want = problem.row(r).lse;
            let by_reference = Partial::merged(&sums);
            // 2.2e-7 is 3.7 times 2^-24: what a sum of up to 160 exponentials may be off.
            prop_assert!((by_reference - want).abs() < 2.2e-7, "{by_reference} {want}");
            let by_gpu = Partial::from_words(merged_words[r]).log_sum_exp();
            prop_assert!((by_gpu - by_reference).abs() < 1e-10, "{by_gpu} {by_reference}");
            // One more rounding to f32.
            let slack = onesum::accuracy::f32_ulp(want) + 2.4e-7;
            prop_assert!((f64::from(lse[r]) - want).abs() < slack, "{} {want}", lse[r]);
        }
        assert_probabilities(&problem, Schedule::Split, &parts.scale(one, None));
    }
}
