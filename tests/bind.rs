//! `bind`: operands in whatever windows an engine has, and a clear refusal of everything else.

mod common;

use std::cell::Cell;
use std::sync::OnceLock;

use common::{GUARD, Noop, assert_probabilities, buffer, download, gpu_with, logits, upload};
use onesum::host::Gpu;
use onesum::reference::{Problem, Shared};
use onesum::softmax::{
    Causal, Dtype, MaskType, Operands, Options, PARTIAL_BYTES, PerRow, RowMap, Shape, ShardSpec, Softmax, Spec, Tier,
    Variant,
};
use onesum::{BindError, BuildError, Caps, Matrix, copy};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// With the alignment of bindings that `WebGPU` allows at most, whatever the adapter has.
fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| gpu_with(|l| l.min_storage_buffer_offset_alignment = 256))
}

fn spec_of(variant: &str) -> Spec {
    let variant: Variant = variant.parse().unwrap();
    let shape = Shape { rows: 8, cols: 16, quads: variant.quads };
    Spec { input: variant.input, output: variant.output, variant: Some(variant), ..Spec::new(shape) }
}

/// A buffer whose every word is a guard, but for what is put into it.
struct Pool {
    values: Vec<f32>,
}

impl Pool {
    fn new(words: usize) -> Self {
        Self { values: vec![GUARD; words] }
    }

    fn put(&mut self, offset: usize, stride: usize, cols: usize, values: &[f32]) {
        for (r, row) in values.chunks(cols).enumerate() {
            self.values[offset + r * stride..][..cols].copy_from_slice(row);
        }
    }
}

/// Takes rows out of a download and leaves guards in their place.
fn take(all: &mut [f32], offset: usize, stride: usize, cols: usize, rows: usize) -> Vec<f32> {
    let mut taken = Vec::new();
    for r in 0..rows {
        let row = &mut all[offset + r * stride..][..cols];
        taken.extend_from_slice(row);
        row.fill(GUARD);
    }
    taken
}

// ---- what must work

/// Everything an attention or a sampler binds, in one buffer, as an engine with one pool has it.
fn everything_in_one_pool(gpu: &Gpu, variant: &str) {
    let (rows, cols) = (4, 20);
    let options =
        Options { mask: Some(MaskType::F32), temperature: true, sinks: true, lengths: true, ..Options::default() };
    let softmax = gpu.library.softmax(&Spec { lse: true, options, ..spec_of(variant) }).unwrap();
    let (x, mask, sinks) = (logits(1, 80), logits(2, 40), [0.5, -1.0]);
    let (temperature, lengths) = ([1.0, 0.5, 2.0, 0.0], [20_u32, 7, 300, 13]);
    // In words, each a multiple of 64 apart or more; not one of them at such a multiple.
    let [src, dst, lse, mask_at, temperature_at, sinks_at, lengths_at, scratch] =
        [68, 204, 449, 516, 705, 837, 902, 1028];
    let mut pool = Pool::new(2048);
    pool.put(src, 24, 20, &x);
    pool.put(mask_at, 20, 20, &mask);
    pool.put(temperature_at, 2, 1, &temperature);
    pool.put(sinks_at, 1, 1, &sinks);
    pool.put(lengths_at, 1, 1, &lengths.map(f32::from_bits));
    let pool_buffer = upload(gpu, &pool.values);

    let words = softmax.scratch_bytes(rows, cols) / 4;
    let at = |offset: usize, rows, cols| Matrix::new(&pool_buffer, rows, cols).at(offset as u64);
    let (mask_map, sink_map) = (RowMap { modulo: 2, ..RowMap::one() }, RowMap { group: 2, ..RowMap::one() });
    let bound = softmax
        .bind_with(&Operands {
            lse: Some(at(lse, 4, 1).with_stride(3)),
            mask: Some(PerRow { matrix: at(mask_at, 2, 20), map: mask_map }),
            temperature: Some(PerRow::each(at(temperature_at, 4, 1).with_stride(2))),
            sinks: Some(PerRow { matrix: at(sinks_at, 2, 1), map: sink_map }),
            lengths: Some(PerRow::each(at(lengths_at, 4, 1))),
            scratch: (words > 0).then(|| at(scratch, 1, words as u32)),
            ..Operands::new(at(src, rows, cols).with_stride(24), at(dst, rows, cols))
        })
        .unwrap();
    gpu.run(&[&bound]).unwrap();

    let mut all = download(gpu, &pool_buffer);
    let got = take(&mut all, dst, 20, 20, 4);
    let got_lse = take(&mut all, lse, 3, 1, 4);
    take(&mut all, scratch, 1, 1, words as usize);
    // Neither a guard nor an input has changed; the bits are compared, for lengths look like subnormals.
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&all), bits(&pool.values));
    let problem = Problem {
        mask: Some(Shared { values: &mask, map: mask_map }),
        temperature: Some(Shared { values: &temperature, map: RowMap::each() }),
        sinks: Some(Shared { values: &sinks, map: sink_map }),
        lengths: Some(Shared { values: &lengths, map: RowMap::each() }),
        ..Problem::new(&x, 20)
    };
    assert_probabilities(&problem, softmax.variant().schedule, &got);
    for (r, got) in got_lse.iter().enumerate() {
        assert!((f64::from(*got) - problem.row(r).lse).abs() < 1e-5, "{got}");
    }
}

#[test]
fn everything_in_one_pool_whole() {
    everything_in_one_pool(gpu(), "softmax/stream/f32/baseline/w8/x4");
}

#[test]
fn everything_in_one_pool_split() {
    everything_in_one_pool(gpu(), "softmax/split/f32/baseline/w8/x4");
}

#[test]
fn everything_in_one_pool_any_alignment() {
    everything_in_one_pool(gpu(), "softmax/rows/f32/baseline/w8l1k8/x1");
}

/// Input and output closer than the alignment of bindings, either one first, down to touching.
#[test]
fn windows_may_be_close() {
    let gpu = gpu();
    let x = logits(3, 21);
    let softmax = gpu.library.softmax(&spec_of("softmax/stream/f32/baseline/w8/x1")).unwrap();
    for (src, dst) in [(0, 21), (1, 23), (21, 0), (70, 40), (5, 60), (63, 84)] {
        let mut pool = Pool::new(128);
        pool.put(src, 7, 7, &x);
        let memory = upload(gpu, &pool.values);
        let at = |offset: usize| Matrix::new(&memory, 3, 7).at(offset as u64);
        gpu.run(&[&softmax.bind(at(src), at(dst)).unwrap()]).unwrap();
        let mut all = download(gpu, &memory);
        let got = take(&mut all, dst, 7, 7, 3);
        assert_eq!(all, pool.values, "{src} {dst}");
        assert_probabilities(&Problem::new(&x, 7), softmax.variant().schedule, &got);
    }
}

/// The input's rows and the output's are one: between the rows nothing changes.
#[test]
fn in_place_with_a_stride() {
    let gpu = gpu();
    let x = logits(4, 24);
    for variant in ["softmax/stream/f32/baseline/w8/x4", "softmax/split/f32/baseline/w8/x4"] {
        let softmax = gpu.library.softmax(&spec_of(variant)).unwrap();
        let mut pool = Pool::new(64);
        pool.put(4, 20, 8, &x);
        let memory = upload(gpu, &pool.values);
        let scratch = gpu.allocate(softmax.scratch_bytes(3, 8).max(4)).unwrap();
        let words = (scratch.size() / 4) as u32;
        let m = Matrix::new(&memory, 3, 8).at(4).with_stride(20);
        let operands = Operands { scratch: Some(Matrix::new(&scratch, 1, words)), ..Operands::new(m, m) };
        gpu.run(&[&softmax.bind_with(&operands).unwrap()]).unwrap();
        let mut all = download(gpu, &memory);
        let got = take(&mut all, 4, 20, 8, 3);
        assert_eq!(all, take_copy(&pool.values, 4, 20, 8, 3), "{variant}");
        assert_probabilities(&Problem::new(&x, 8), softmax.variant().schedule, &got);
    }
}

fn take_copy(all: &[f32], offset: usize, stride: usize, cols: usize, rows: usize) -> Vec<f32> {
    let mut copy = all.to_vec();
    take(&mut copy, offset, stride, cols, rows);
    copy
}

/// Two rows of 16-bit elements share a word, and so do the input's end and the output's beginning.
#[test]
fn halves_of_one_word_belong_to_different_windows() {
    let gpu = gpu();
    let softmax = gpu.library.softmax(&spec_of("softmax/stream/bf16/baseline/w8/x1")).unwrap();
    // Three columns of 0: thirds. 0x3eab is 1/3 in bf16, 0x5555 a guard.
    let mut words = [0x5555_u16; 24];
    words[1..10].fill(0);
    let memory = gpu.upload(bytemuck::cast_slice(&words)).unwrap();
    let m = Matrix::new(&memory, 3, 3);
    gpu.run(&[&softmax.bind(m.at(1), m.at(10)).unwrap()]).unwrap();
    words[10..19].fill(0x3eab);
    let got: Vec<u16> = bytemuck::pod_collect_to_vec(&gpu.download(&memory, 48).unwrap());
    assert_eq!(got, words);
}

/// A buffer four times as large as a binding may be: windows at its end, and between them more than a binding.
#[test]
fn a_pool_may_be_larger_than_a_binding() {
    let limit = 1 << 20;
    let gpu = gpu_with(|l| {
        l.max_storage_buffer_binding_size = limit;
        l.min_storage_buffer_offset_alignment = 256;
    });
    let x = logits(5, 2 * 100);
    let words = limit as usize;
    let (src, dst) = (words - 333, 5);
    let mut pool = Pool::new(words);
    pool.put(src, 100, 100, &x);
    let memory = upload(&gpu, &pool.values);
    let softmax = gpu.library.softmax(&spec_of("softmax/stream/f32/baseline/w8/x1")).unwrap();
    let at = |offset: usize| Matrix::new(&memory, 2, 100).at(offset as u64);
    gpu.run(&[&softmax.bind(at(src), at(dst)).unwrap()]).unwrap();
    let mut all = download(&gpu, &memory);
    let got = take(&mut all, dst, 100, 100, 2);
    assert!(all == pool.values);
    assert_probabilities(&Problem::new(&x, 100), softmax.variant().schedule, &got);

    // As much as a binding may hold, and one row more.
    let most = Matrix::new(&memory, 1024, 256);
    softmax.bind(most, most.at(1024 * 256)).unwrap();
    let (more, to) = (Matrix::new(&memory, 1025, 256), Matrix::new(&memory, 1025, 256).at(2048 * 256));
    let error = softmax.bind(more, to).unwrap_err();
    assert_eq!(error, BindError::WindowTooLarge { what: "src", needed: limit + 1024, available: limit });
    let text = error.to_string();
    assert!(text.contains("src") && text.contains("1049600") && text.contains("1048576"), "{text}");
    // Side by side, closer than the alignment: one binding would have to hold both.
    let half = Matrix::new(&memory, 1, 140_000);
    let error = softmax.bind(half, half.at(140_001)).unwrap_err();
    assert!(matches!(error, BindError::WindowTooLarge { .. }), "{error}");
}

// ---- what must be refused, and in which words

struct Bench {
    noop: Noop,
    memory: wgpu::Buffer,
    other: wgpu::Buffer,
}

impl Bench {
    fn new() -> Self {
        let noop = Noop::full();
        let (memory, other) = (noop.buffer(8192), noop.buffer(8192));
        Self { noop, memory, other }
    }

    fn softmax(&self, spec: &Spec) -> Softmax {
        self.noop.library.softmax(spec).unwrap()
    }

    fn at(&self, offset: u64) -> Matrix<'_> {
        Matrix::new(&self.memory, 4, 16).at(offset)
    }

    fn other(&self) -> Matrix<'_> {
        Matrix::new(&self.other, 4, 16)
    }
}

/// The error, after a look at its words: the operand, and what came.
fn refused<T: std::fmt::Debug>(result: Result<T, BindError>, words: &[&str]) -> BindError {
    let error = result.unwrap_err();
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    error
}

#[test]
fn shapes_that_do_not_fit() {
    let b = Bench::new();
    let softmax = b.softmax(&spec_of("softmax/stream/f32/baseline/w8/x4"));
    let dst = Matrix::new(&b.other, 4, 12);
    assert_eq!(
        refused(softmax.bind(b.at(0), dst), &["dst", "4 x 16", "4 x 12"]),
        BindError::ShapeMismatch { what: "dst", expected: "4 x 16".into(), got: "4 x 12".into() }
    );
    refused(softmax.bind(b.at(0), Matrix::new(&b.other, 5, 16)), &["dst", "4 x 16", "5 x 16"]);

    let spec = Spec {
        lse: true,
        options: Options { mask: Some(MaskType::F32), sinks: true, ..Options::default() },
        ..softmax.spec().clone()
    };
    let softmax = b.softmax(&spec);
    let lse = Some(Matrix::new(&b.other, 4, 1).at(512));
    let mask = Some(PerRow::each(b.at(512)));
    let sinks = Some(PerRow::one(Matrix::new(&b.memory, 1, 1).at(1024)));
    let good = Operands { lse, mask, sinks, ..Operands::new(b.at(0), b.other()) };
    softmax.bind_with(&good).unwrap();
    let try_with = |operands| softmax.bind_with(&operands);
    let lse = Some(Matrix::new(&b.other, 1, 4).at(512));
    refused(try_with(Operands { lse, ..good }), &["lse", "4 x 1", "1 x 4"]);
    let three = Matrix::new(&b.memory, 3, 16).at(512);
    refused(try_with(Operands { mask: Some(PerRow::each(three)), ..good }), &["mask", "4 x 16", "3 x 16"]);
    // Rows 0 to 3 have the entries 0, 1, 5 and 3.
    let map = RowMap { divide: 1, modulo: 3, group: 2 };
    refused(try_with(Operands { mask: Some(PerRow { matrix: three, map }), ..good }), &["mask", "6 x 16", "3 x 16"]);
    let narrow = Matrix::new(&b.memory, 4, 8).at(512);
    refused(try_with(Operands { mask: Some(PerRow::each(narrow)), ..good }), &["mask", "4 x 16", "4 x 8"]);
    for (divide, modulo, group) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 0)] {
        let mask = Some(PerRow { matrix: b.at(512), map: RowMap { divide, modulo, group } });
        let error = refused(try_with(Operands { mask, ..good }), &["mask", "zeros", "RowMap"]);
        assert!(matches!(error, BindError::BadOption { what: "mask", .. }));
    }
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

#[test]
fn operands_that_are_missing_or_not_asked_for() {
    let b = Bench::new();
    let none = spec_of("softmax/stream/f32/baseline/w8/x4");
    let o = Options::default();
    let column = Matrix::new(&b.memory, 4, 1).at(512);
    let each = Some(PerRow::each(column));
    let good = Operands::new(b.at(0), b.other());
    let positions = Some(Causal { queries: 4, offset: 0 });
    let all = [
        ("lse", Spec { lse: true, ..none.clone() }, Operands { lse: Some(column), ..good }),
        (
            "mask",
            Spec { options: Options { mask: Some(MaskType::F32), ..o }, ..none.clone() },
            Operands { mask: Some(PerRow::each(b.at(512))), ..good },
        ),
        (
            "temperature",
            Spec { options: Options { temperature: true, ..o }, ..none.clone() },
            Operands { temperature: each, ..good },
        ),
        (
            "slopes",
            Spec { options: Options { alibi: true, positions, ..o }, ..none.clone() },
            Operands { slopes: each, ..good },
        ),
        ("sinks", Spec { options: Options { sinks: true, ..o }, ..none.clone() }, Operands { sinks: each, ..good }),
        (
            "lengths",
            Spec { options: Options { lengths: true, ..o }, ..none.clone() },
            Operands { lengths: each, ..good },
        ),
        (
            "seeds",
            Spec { options: Options { gumbel: true, ..o }, ..none.clone() },
            Operands { seeds: Some(PerRow::each(Matrix::new(&b.memory, 4, 4).at(512))), ..good },
        ),
        (
            "scratch",
            spec_of("softmax/split/f32/baseline/w8/x4"),
            Operands { scratch: Some(Matrix::new(&b.memory, 1, 64).at(512)), ..good },
        ),
    ];
    for (what, spec, operands) in all {
        let softmax = b.softmax(&spec);
        softmax.bind_with(&operands).unwrap();
        assert_eq!(refused(softmax.bind_with(&good), &[what]), BindError::Missing { what });
        // Scratch memory may always be given: what picks the variant need not know.
        let plain = b.softmax(&none).bind_with(&operands);
        if what == "scratch" {
            plain.unwrap();
        } else {
            assert_eq!(refused(plain, &[what]), BindError::Unexpected { what });
        }
    }
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

#[test]
fn windows_that_are_not_in_their_buffer() {
    let b = Bench::new();
    let softmax = b.softmax(&spec_of("softmax/stream/f32/baseline/w8/x4"));
    softmax.bind(b.other(), b.at(2048 - 64)).unwrap();
    assert_eq!(
        refused(softmax.bind(b.other(), b.at(2048 - 60)), &["dst", "8208", "8192"]),
        BindError::OutOfBuffer { what: "dst", end: 8208, size: 8192 }
    );
    for offset in [u64::MAX, u64::MAX - 3, u64::MAX / 4, u64::MAX / 4 - 60, 1 << 62] {
        let error = refused(softmax.bind(b.other(), b.at(offset & !3)), &["dst", "8192"]);
        assert!(matches!(error, BindError::OutOfBuffer { what: "dst", .. }), "{offset}: {error}");
    }
    let far = b.other().with_stride(u32::MAX - 3);
    refused(softmax.bind(far, b.at(0)), &["src", "8192"]);
    // 16-bit elements reach byte offsets that f32 cannot.
    let halves = b.softmax(&spec_of("softmax/stream/f16/baseline/w8/x1"));
    for back in 0..80 {
        let error = refused(halves.bind(b.other(), b.at(u64::MAX / 2 - back)), &["dst", "8192"]);
        assert!(matches!(error, BindError::OutOfBuffer { what: "dst", .. }), "{back}: {error}");
    }
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

#[test]
fn windows_that_overlap() {
    let b = Bench::new();
    let softmax = b.softmax(&spec_of("softmax/stream/f32/baseline/w8/x4"));
    softmax.bind(b.at(0), b.at(0)).unwrap();
    softmax.bind(b.at(0), b.at(64)).unwrap();
    for dst in [b.at(4), b.at(60), b.at(0).with_stride(20)] {
        let error = refused(softmax.bind(b.at(0), dst), &["dst", "src"]);
        assert_eq!(error, BindError::Overlap { what: "dst", other: "src" });
    }
    // In place wants one element type.
    let widening = b.softmax(&spec_of("softmax/stream/f16-f32/baseline/w8/x4"));
    refused(widening.bind(b.at(0), b.at(0)), &["dst", "src"]);
    let narrow = refused(widening.bind(b.at(0), b.at(32)), &["dst", "src", "256"]);
    assert!(matches!(narrow, BindError::TooClose { alignment: 256, .. }), "{narrow}");

    let spec = Spec { lse: true, options: Options { sinks: true, ..Options::default() }, ..softmax.spec().clone() };
    let column = |offset| Matrix::new(&b.memory, 4, 1).at(offset);
    for variant in ["softmax/stream/f32/baseline/w8/x4", "softmax/split/f32/baseline/w8/x4"] {
        let variant = variant.parse().ok();
        let softmax = b.softmax(&Spec { variant, ..spec.clone() });
        let scratch = Some(column(1024)).map(|m| Matrix { rows: 1, cols: 64, ..m });
        let sinks = Some(PerRow::each(column(512)));
        let good = Operands { lse: Some(column(768)), sinks, scratch, ..Operands::new(b.other(), b.at(0)) };
        softmax.bind_with(&good).unwrap();
        let error = refused(softmax.bind_with(&Operands { lse: Some(column(60)), ..good }), &["lse", "dst"]);
        assert!(matches!(error, BindError::Overlap { .. }), "{error}");
        // What is written must not be read by another dispatch of the same `Bound` either: it is replayed.
        let sinks = Some(PerRow::each(column(8)));
        refused(softmax.bind_with(&Operands { sinks, ..good }), &["dst", "sinks"]);
        let sinks = Some(PerRow::each(column(768)));
        refused(softmax.bind_with(&Operands { sinks, ..good }), &["lse", "sinks"]);
    }
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

#[test]
fn rows_that_overlap_each_other() {
    let b = Bench::new();
    let softmax = b.softmax(&spec_of("softmax/stream/f32/baseline/w8/x4"));
    for stride in [0, 12] {
        let error = refused(softmax.bind(b.at(0).with_stride(stride), b.other()), &["src", "16", &stride.to_string()]);
        assert_eq!(error, BindError::RowsOverlap { what: "src", cols: 16, stride });
        refused(softmax.bind(b.at(0), b.other().with_stride(stride)), &["dst"]);
    }
    // One row needs no stride.
    let one = Matrix::new(&b.memory, 1, 16);
    softmax.bind(one.with_stride(0), one.at(64).with_stride(3)).unwrap();
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

#[test]
fn buffers_that_are_no_storage() {
    let b = Bench::new();
    let softmax = b.softmax(&spec_of("softmax/stream/f32/baseline/w8/x4"));
    let uniform = buffer(&b.noop.device, 4096, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST);
    let m = Matrix::new(&uniform, 4, 16);
    assert_eq!(refused(softmax.bind(m, b.at(0)), &["src", "STORAGE"]), BindError::NotStorage { what: "src" });
    assert_eq!(refused(softmax.bind(b.at(0), m), &["dst", "STORAGE"]), BindError::NotStorage { what: "dst" });
}

/// Nothing can ask a buffer whether it lives, or where: wgpu's own complaint becomes the error.
#[test]
fn buffers_that_are_destroyed_or_of_another_device() {
    let b = Bench::new();
    let softmax = b.softmax(&spec_of("softmax/stream/f32/baseline/w8/x4"));
    // Of the same instance: wgpu itself confuses those of two.
    let (instance, noop) = Noop::with_instance();
    let stranger = noop.buffer(4096);
    let (device, _) = common::noop_device(&instance);
    let library = onesum::Library::new(&device).unwrap();
    let abroad = library.softmax(softmax.spec()).unwrap();
    let own = Matrix::new(&stranger, 4, 16);
    noop.library.softmax(softmax.spec()).unwrap().bind(own, own).unwrap();
    let error = refused(abroad.bind(own, own), &["onesum operands"]);
    assert!(matches!(error, BindError::Device { .. }), "{error}");
    let dead = b.noop.buffer(4096);
    dead.destroy();
    refused(softmax.bind(Matrix::new(&dead, 4, 16), b.at(0)), &["destroyed"]);
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

#[test]
fn more_columns_or_rows_than_a_variant_takes() {
    let b = Bench::new();
    let name = "softmax/rows/f32/baseline/w8l1k8/x4";
    let softmax = b.softmax(&spec_of(name));
    let m = Matrix::new(&b.memory, 4, 32);
    softmax.bind(m, m).unwrap();
    let m = Matrix::new(&b.memory, 4, 36);
    assert_eq!(
        refused(softmax.bind(m, m), &[name, "32", "36"]),
        BindError::TooManyColumns { variant: name.into(), cols: 36, max: 32 }
    );

    let noop = Noop::new(
        wgpu::Features::empty(),
        wgpu::Limits { max_compute_workgroups_per_dimension: 3, ..wgpu::Limits::default() },
    );
    let memory = noop.buffer(8192);
    let softmax = noop.library.softmax(&spec_of("softmax/stream/f32/baseline/w8/x4")).unwrap();
    let m = Matrix::new(&memory, 9, 4);
    softmax.bind(m, m).unwrap();
    let m = Matrix::new(&memory, 10, 4);
    assert_eq!(
        refused(softmax.bind(m, m), &["10", "9"]),
        BindError::TooManyRows { rows: 10, groups: 10, available: 9 }
    );
}

#[test]
fn windows_that_are_not_in_quads() {
    let b = Bench::new();
    let name = "softmax/stream/f32/baseline/w8/x4";
    let spec = Spec { options: Options { mask: Some(MaskType::F32), ..Options::default() }, ..spec_of(name) };
    let softmax = b.softmax(&spec);
    let mask = |m| Some(PerRow::one(m));
    let one = Matrix::new(&b.memory, 1, 16).at(1024);
    let good = Operands { mask: mask(one), ..Operands::new(b.at(0), b.other()) };
    softmax.bind_with(&good).unwrap();
    for (what, operands) in [
        ("src", Operands { src: b.at(1), ..good }),
        ("src", Operands { src: b.at(0).with_stride(18), ..good }),
        ("dst", Operands { dst: b.other().at(2), ..good }),
        ("mask", Operands { mask: mask(one.at(1027)), ..good }),
    ] {
        let error = refused(softmax.bind_with(&operands), &[what, name]);
        assert_eq!(error, BindError::NotInQuads { what, variant: name.into() });
    }
}

#[test]
fn scratch_memory_that_is_too_small() {
    let b = Bench::new();
    let softmax = b.softmax(&spec_of("softmax/split/f32/baseline/w8/x4"));
    assert_eq!(softmax.scratch_bytes(4, 16), 4 * PARTIAL_BYTES);
    let scratch = |cols, offset| Some(Matrix::new(&b.memory, 1, cols).at(offset));
    let good = Operands { scratch: scratch(16, 512), ..Operands::new(b.at(0), b.other()) };
    softmax.bind_with(&good).unwrap();
    for (cols, offset) in [(15, 512), (0, 512), (16, 513)] {
        let got = format!("{cols} at {offset}");
        refused(softmax.bind_with(&Operands { scratch: scratch(cols, offset), ..good }), &["scratch", "16 u32", &got]);
    }
}

#[test]
fn too_few_storage_buffers() {
    let noop = Noop::new(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let mut options = Options { mask: Some(MaskType::F32), ..Options::default() };
    let spec = |options| Spec { lse: true, options, ..spec_of("softmax/stream/f32/baseline/w256/x4") };
    // src, dst, lse, mask: as many as there may be.
    noop.library.softmax(&spec(options)).unwrap();

    // One more, which in-place work does not need.
    options.temperature = true;
    let softmax = noop.library.softmax(&spec(options)).unwrap();
    let (a, b) = (noop.buffer(4096), noop.buffer(4096));
    let (a, b) = (Matrix::new(&a, 4, 16), Matrix::new(&b, 4, 16));
    let column = |offset| Matrix { cols: 1, stride: 1, ..b.at(offset) };
    let operands = Operands {
        lse: Some(column(512)),
        mask: Some(PerRow::each(a.at(512))),
        temperature: Some(PerRow::each(column(256))),
        ..Operands::new(a, a)
    };
    softmax.bind_with(&operands).unwrap();
    let error = refused(softmax.bind_with(&Operands { dst: b, ..operands }), &["5", "4", "src, dst, lse, mask, temp"]);
    let names = vec!["src", "dst", "lse", "mask", "temperature"];
    assert_eq!(error, BindError::Build(BuildError::TooManyBuffers { operands: names, available: 4 }));

    // Two more: nothing helps.
    options.sinks = true;
    let error = noop.library.softmax(&spec(options)).unwrap_err();
    let names = vec!["src", "dst", "lse", "mask", "temperature", "sinks"];
    assert_eq!(error, BuildError::TooManyBuffers { operands: names, available: 4 });
    let text = error.to_string();
    assert!(text.contains('6') && text.contains('4') && text.contains("sinks"), "{text}");
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// Of split rows only the second dispatch writes: working in place saves a buffer there.
#[test]
fn too_few_storage_buffers_for_split_rows() {
    let noop = Noop::new(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let options = Options { mask: Some(MaskType::F32), ..Options::default() };
    let spec = Spec { lse: true, options, ..spec_of("softmax/split/f32/baseline/w8/x4") };
    let softmax = noop.library.softmax(&spec).unwrap();
    let [a, b, c] = [(); 3].map(|()| noop.buffer(4096));
    let m = |buffer| Matrix::new(buffer, 4, 16);
    let operands = Operands {
        lse: Some(Matrix::new(&b, 4, 1).at(512)),
        mask: Some(PerRow::each(m(&b))),
        scratch: Some(Matrix::new(&c, 1, 16)),
        ..Operands::new(m(&a), m(&a))
    };
    assert_eq!(softmax.bind_with(&operands).unwrap().dispatches(), 2);
    let error = refused(softmax.bind_with(&Operands { dst: m(&a).at(512), ..operands }), &["5", "4"]);
    let names = vec!["src", "dst", "lse", "mask", "scratch"];
    assert_eq!(error, BindError::Build(BuildError::TooManyBuffers { operands: names, available: 4 }));
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// The baseline is what DESIGN promises: every variant that needs no feature, on the least device there is.
#[test]
fn the_least_device_builds_every_baseline_variant_there_is() {
    let noop = Noop::new(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let mut built = 0;
    for variant in Variant::all().filter(|v| v.input == Dtype::F32 && v.output == Dtype::F32) {
        let spec = Spec { variant: Some(variant), ..Spec::new(Shape { rows: 1, cols: 4, quads: variant.quads }) };
        match noop.library.softmax(&spec) {
            Ok(_) => built += 1,
            Err(BuildError::MissingFeature { feature: "SUBGROUP", .. }) => assert_ne!(variant.tier, Tier::Baseline),
            Err(other) => panic!("{variant}: {other}"),
        }
    }
    assert!(built >= 20, "{built}");
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// A specification that makes no sense is refused before anything is bound.
#[test]
fn specifications_that_contradict_themselves() {
    let b = Bench::new();
    let plain = spec_of("softmax/stream/f32/baseline/w8/x4");
    let o = Options::default();
    let at = |queries, offset| Some(Causal { queries, offset });
    let bad = [
        (Options { causal: true, ..o }, "positions"),
        (Options { alibi: true, ..o }, "positions"),
        (Options { causal: true, positions: at(0, 3), ..o }, "queries"),
        (Options { causal: true, positions: at(u32::MAX, 1), ..o }, "queries + offset"),
        (Options { causal: true, positions: at(1, i32::MAX), ..o }, "queries + offset"),
        (Options { scale: Some(f32::NAN), ..o }, "scale"),
        (Options { scale: Some(f32::INFINITY), ..o }, "scale"),
        (Options { soft_cap: Some(0.0), ..o }, "soft_cap"),
        (Options { soft_cap: Some(-1.0), ..o }, "soft_cap"),
        (Options { soft_cap: Some(1e-40), ..o }, "soft_cap"),
        (Options { soft_cap: Some(f32::MAX), ..o }, "soft_cap"),
        (Options { soft_cap: Some(f32::NAN), ..o }, "soft_cap"),
    ];
    for (options, named) in bad {
        let error = b.noop.library.softmax(&Spec { options, ..plain.clone() }).unwrap_err();
        assert!(matches!(error, BuildError::BadOption { what, .. } if what == named), "{named}: {error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    let reload = Spec { log: true, ..spec_of("softmax/reload/f32/baseline/w8/x4") };
    let other_type = Spec { output: Dtype::F16, ..plain.clone() };
    let no_feature = Noop::new(wgpu::Features::empty(), wgpu::Limits::default());
    for (library, spec, word) in [
        (&b.noop.library, reload, "log-probabilities"),
        (&b.noop.library, other_type, "element types"),
        (&no_feature.library, spec_of("softmax/stream/f32/shuffle/w8/x4"), "SUBGROUP"),
        (&no_feature.library, spec_of("softmax/stream/f16n/baseline/w8/x4"), "SHADER_F16"),
    ] {
        let name = spec.variant.unwrap().to_string();
        let text = library.softmax(&spec).unwrap_err().to_string();
        assert!(text.contains(&name) && text.contains(word), "{text}");
    }
    let text = "softmax/none".parse::<Variant>().unwrap_err().to_string();
    assert!(text.contains("softmax/none"), "{text}");
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

/// Shards speak of columns of the whole row: not of options that do too, and not of columns past what is counted.
#[test]
fn shards_that_make_no_sense() {
    let b = Bench::new();
    let split = spec_of("softmax/split/f32/baseline/w8/x4");
    let lengths = Options { lengths: true, ..Options::default() };
    for spec in [spec_of("softmax/stream/f32/baseline/w8/x4"), Spec { options: lengths, ..split.clone() }] {
        let error = b.noop.library.softmax_sum(&ShardSpec { spec, first_column: 0 }).unwrap_err();
        assert!(matches!(error, BuildError::Unsupported { .. }), "{error}");
    }
    let operands = Operands::new(b.at(0), b.other());
    let partials = Matrix::new(&b.memory, 4, 4).at(1024);
    // 0x7ffffff0 is the sink's column, which must come after all others.
    for (first_column, good) in [(0x7fff_fff0 - 16, true), (0x7fff_fff0 - 15, false), (u32::MAX, false)] {
        let spec = ShardSpec { spec: split.clone(), first_column };
        let sum = b.noop.library.softmax_sum(&spec).unwrap();
        if good {
            sum.bind(&operands, partials).unwrap();
        } else {
            refused(sum.bind(&operands, partials), &["first_column", &first_column.to_string()]);
        }
    }
    // A shard without columns has no partial sum, so that none is merged that nobody wrote.
    let sum = b.noop.library.softmax_sum(&ShardSpec { spec: split, first_column: 0 }).unwrap();
    let nothing = Matrix::new(&b.memory, 4, 0);
    assert_eq!(sum.partials(0), 0);
    assert_eq!(sum.bind(&Operands::new(nothing, nothing), nothing).unwrap().dispatches(), 0);
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

/// Shards, merges and copies refuse in the same way.
#[test]
fn the_other_kernels_refuse_too() {
    let b = Bench::new();
    let spec = ShardSpec { spec: spec_of("softmax/split/f32/baseline/w8/x4"), first_column: 0 };
    let library = &b.noop.library;
    let (sum, scale) = (library.softmax_sum(&spec).unwrap(), library.softmax_scale(&spec).unwrap());
    let merge = library.softmax_merge().unwrap();
    let partials = |rows, cols| Matrix::new(&b.memory, rows, cols).at(1024);
    let operands = Operands::new(b.at(0), b.other());
    sum.bind(&operands, partials(4, 4)).unwrap();
    scale.bind(&operands, partials(4, 8)).unwrap();
    refused(sum.bind(&operands, partials(4, 8)), &["partials", "4 x 1", "4 x 8"]);
    refused(sum.bind(&operands, partials(3, 4)), &["partials", "3 x 4"]);
    refused(sum.bind(&operands, partials(4, 4).at(1026)), &["partials", "1026"]);
    refused(scale.bind(&operands, partials(4, 6)), &["partials", "4 x 6"]);
    // No partial sum at all: there is nothing to divide by.
    refused(scale.bind(&operands, partials(4, 0)), &["partials"]);
    refused(scale.bind(&operands, partials(4, 0).at(2048)), &["partials"]);
    refused(sum.bind(&operands, partials(4, 4).at(0)), &["partials", "src"]);

    let (merged, lse) = (Matrix::new(&b.other, 4, 4), Matrix::new(&b.other, 4, 1).at(256));
    merge.bind(partials(4, 8), merged, lse).unwrap();
    refused(merge.bind(partials(4, 0), merged, lse), &["partials"]);
    refused(merge.bind(partials(4, 8), Matrix::new(&b.other, 4, 8), lse), &["merged"]);
    refused(merge.bind(partials(4, 8), merged, merged), &["lse"]);
    refused(merge.bind(partials(4, 8), merged, lse.at(3)), &["lse", "merged"]);

    let copy = library.copy(copy::Variant::ALL[0]).unwrap();
    copy.bind(b.at(0), b.other()).unwrap();
    refused(copy.bind(b.at(1), b.other()), &["src"]);
    refused(copy.bind(b.at(0), b.at(0)), &["dst", "src"]);
    assert_eq!(b.noop.errors(), Vec::<String>::new());
}

// ---- anything at all: an error or a binding, never a panic

/// Numbers on both sides of what overflows.
fn count() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => prop_oneof![Just(0), Just(1), Just(2), Just(3), Just(4), Just(8), Just(16)],
        2 => 0_u32..100,
        1 => prop_oneof![Just(u32::MAX), Just(u32::MAX - 3), Just(1 << 31), Just(1 << 30), Just(65_536)],
    ]
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0_u64..32).prop_map(|n| n * 64),
        4 => 0_u64..300,
        1 => (0_u64..4, 0_u64..40).prop_map(|(shift, back)| (u64::MAX >> shift) - back),
        1 => (0_u64..9).prop_map(|n| u64::from(u32::MAX) - 4 + n),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Window {
    buffer: usize,
    offset: u64,
    rows: u32,
    cols: u32,
    stride: u32,
}

impl Window {
    fn of<'a>(&self, buffers: &'a [wgpu::Buffer]) -> Matrix<'a> {
        let Self { buffer, offset, rows, cols, stride } = *self;
        Matrix { buffer: &buffers[buffer], offset, rows, cols, stride }
    }
}

fn window() -> impl Strategy<Value = Window> {
    (0..9_usize, offset(), count(), count(), count()).prop_map(|(buffer, offset, rows, cols, stride)| Window {
        buffer,
        offset,
        rows,
        cols,
        stride,
    })
}

/// One of the given shape, more often than not.
fn window_like(rows: u32, cols: u32) -> impl Strategy<Value = Window> {
    (window(), 0..24_u32, 0..3_u32).prop_map(move |(w, wild, gap)| {
        if wild == 0 { w } else { Window { rows, cols, stride: cols.saturating_add(gap * 4), ..w } }
    })
}

fn map() -> impl Strategy<Value = RowMap> {
    let any = (count(), count(), count()).prop_map(|(divide, modulo, group)| RowMap { divide, modulo, group });
    prop_oneof![3 => Just(RowMap::each()), 3 => Just(RowMap::one()), 2 => any]
}

#[derive(Clone, Debug)]
struct Wild {
    kernel: usize,
    windows: Vec<Window>,
    map: RowMap,
    given: u8,
}

fn wild() -> impl Strategy<Value = Wild> {
    // Small shapes, so that all operands fit, or anything.
    let shape = prop_oneof![4 => (1..9_u32, 1..9_u32).prop_map(|(r, c)| (r, c * 4)), 1 => (count(), count())];
    shape
        .prop_flat_map(|(rows, cols)| {
            let windows = prop::collection::vec(window_like(rows, cols), 4);
            let columns = prop::collection::vec(window_like(rows, 1), 5);
            // Which operands are given: what the kernel asks for (255), or anything.
            let given = prop_oneof![5 => Just(255_u8), 1 => any::<u8>()];
            (0..100_usize, windows, columns, window_like(rows, 4), map(), given)
        })
        .prop_map(|(kernel, mut windows, columns, seeds, map, given)| {
            windows.extend(columns);
            windows.push(seeds);
            Wild { kernel, windows, map, given }
        })
}

fn wild_operands<'a>(wild: &Wild, spec: &Spec, buffers: &'a [wgpu::Buffer]) -> Operands<'a> {
    let m = |i: usize| wild.windows[i].of(buffers);
    let per_row = |i| PerRow { matrix: m(i), map: wild.map };
    let o = &spec.options;
    let asked = [spec.lse, o.mask.is_some(), o.temperature, o.alibi, o.sinks, o.lengths, true, o.gumbel];
    let given = |i: usize| if wild.given == 255 { asked[i] } else { wild.given >> i & 1 == 1 };
    Operands {
        src: m(0),
        dst: m(1),
        lse: given(0).then(|| m(4)),
        mask: given(1).then(|| per_row(2)),
        temperature: given(2).then(|| per_row(5)),
        slopes: given(3).then(|| per_row(6)),
        sinks: given(4).then(|| per_row(7)),
        lengths: given(5).then(|| per_row(8)),
        seeds: given(7).then(|| per_row(9)),
        scratch: given(6).then(|| m(3)),
    }
}

fn wild_kernels(noop: &Noop) -> Vec<Softmax> {
    let positions = Some(Causal { queries: 3, offset: -1 });
    let o = Options::default();
    let options = [
        o,
        Options { mask: Some(MaskType::F16), ..o },
        Options { mask: Some(MaskType::F32), temperature: true, gumbel: true, ..o },
        Options { alibi: true, causal: true, positions, sinks: true, lengths: true, ..o },
    ];
    let names = [
        "softmax/stream/f32/baseline/w8/x1",
        "softmax/stream/f32/baseline/w8/x4",
        "softmax/rows/f16/baseline/w8l1k8/x1",
        "softmax/onchip/bf16-f32/subgroup/w64k4/x4",
        "softmax/split/f16n/baseline/w8/x1",
        "softmax/split/f32/subgroup/w256/x4",
    ];
    let mut kernels = Vec::new();
    for name in names {
        for (i, options) in options.into_iter().enumerate() {
            let spec = Spec { lse: i % 2 == 1, options, ..spec_of(name) };
            kernels.push(noop.library.softmax(&spec).unwrap());
        }
    }
    kernels
}

/// Runs `attempt` on many inputs; it says whether something was bound. Some must be, or nothing was tested.
fn hammer<S: Strategy>(cases: u32, strategy: &S, least: u32, attempt: impl Fn(&S::Value) -> bool) {
    let bound = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(strategy, |input| {
        bound.set(bound.get() + u32::from(attempt(&input)));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(bound.get() >= least, "only {} of {cases} were bound", bound.get());
}

fn submit(noop: &Noop, bound: &onesum::Bound) {
    let mut encoder = noop.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    bound.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
    noop.queue.submit([encoder.finish()]);
}

#[test]
fn anything_is_bound_or_refused() {
    let noop = Noop::new(
        Caps::useful_features(),
        wgpu::Limits { max_storage_buffers_per_shader_stage: 7, ..wgpu::Limits::default() },
    );
    let kernels = wild_kernels(&noop);
    let buffers = [16_384, 4096, 65_536, 8192, 8192, 8192, 16_384, 16_384, 512].map(|bytes| noop.buffer(bytes));
    hammer(20_000, &wild(), 1_500, |wild| {
        let kernel = &kernels[wild.kernel % kernels.len()];
        let result = kernel.bind_with(&wild_operands(wild, kernel.spec(), &buffers));
        match &result {
            Ok(bound) => submit(&noop, bound),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        assert_eq!(noop.errors(), Vec::<String>::new(), "{}", kernel.variant());
        result.is_ok_and(|bound| bound.dispatches() > 0)
    });
}

#[test]
fn anything_is_bound_or_refused_by_the_other_kernels() {
    let noop = Noop::full();
    let spec = ShardSpec { spec: spec_of("softmax/split/f32/baseline/w8/x1"), first_column: 77 };
    let (sum, scale) = (noop.library.softmax_sum(&spec).unwrap(), noop.library.softmax_scale(&spec).unwrap());
    let merge = noop.library.softmax_merge().unwrap();
    let copy = noop.library.copy(copy::Variant::ALL[2]).unwrap();
    let buffers = [16_384, 4096, 65_536, 8192, 8192, 8192, 16_384, 16_384, 512].map(|bytes| noop.buffer(bytes));
    let strategy = (count(), count(), 0..9_u32).prop_flat_map(|(rows, cols, parts)| {
        let logits = prop::collection::vec(window_like(rows, cols), 2);
        let partials = prop::collection::vec(window_like(rows, parts * 4), 1);
        let merged = prop::collection::vec(window_like(rows, 4), 1);
        let lse = prop::collection::vec(window_like(rows, 1), 1);
        (0..4_u32, logits, partials, merged, lse)
    });
    hammer(20_000, &strategy, 1_000, |(kernel, logits, partials, merged, lse)| {
        let m = |w: &Window| w.of(&buffers);
        let operands = Operands::new(m(&logits[0]), m(&logits[1]));
        let result = match kernel {
            0 => sum.bind(&operands, m(&merged[0])),
            1 => scale.bind(&operands, m(&partials[0])),
            2 => merge.bind(m(&partials[0]), m(&merged[0]), m(&lse[0])),
            _ => copy.bind(operands.src, operands.dst),
        };
        match &result {
            Ok(bound) => submit(&noop, bound),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        assert_eq!(noop.errors(), Vec::<String>::new(), "{kernel}");
        result.is_ok_and(|bound| bound.dispatches() > 0)
    });
}

/// `Variant` has public fields: what is none of `Variant::all` is refused, not built.
#[test]
fn any_variant_is_built_or_refused() {
    let noop = Noop::full();
    let known: Vec<Variant> = Variant::all().collect();
    let strategy = (0..known.len(), count(), count(), count(), any::<(bool, bool)>());
    hammer(2_000, &strategy, 0, |&(index, width, lanes, keep, (native, change))| {
        let v = known[index];
        let v = if change { Variant { width, lanes, keep, native_f16: native, ..v } } else { Variant { keep, ..v } };
        if known.contains(&v) {
            return true;
        }
        assert!(v.supported(noop.library.caps()).is_err(), "{v:?}");
        let spec = Spec { variant: Some(v), input: v.input, output: v.output, ..Spec::new(Shape::new(1, 4)) };
        let error = noop.library.softmax(&spec).unwrap_err();
        assert!(error.to_string().contains(&v.to_string()), "{error}");
        assert!(noop.library.softmax_sum(&ShardSpec { spec, first_column: 0 }).is_err());
        // Asked about all the same, they answer.
        let _ = (v.max_columns(), v.parts(1000), v.parts(u32::MAX), v.parts(0));
        false
    });
    for (width, quads) in [(0, 4), (256, 0), (256, u32::MAX), (3, 3), (u32::MAX, 1)] {
        let error = noop.library.copy(copy::Variant { width, quads }).unwrap_err();
        assert!(error.to_string().contains("copy/"), "{error}");
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// Whatever a device offers, `select` names a variant that there is, that the device runs and that takes the columns;
/// or none could.
#[test]
fn select_names_what_works() {
    let invocations = prop_oneof![Just(64_u32), Just(100), Just(128), Just(256), Just(1024), Just(u32::MAX)];
    let bytes = prop_oneof![Just(2048_u32), Just(16_352), Just(u32::MAX)];
    let cols = prop_oneof![0_u32..20_000, (0_u32..25).prop_map(|n| 1 << n), (10_u32..25).prop_map(|n| (1 << n) + 1)];
    let rows = prop_oneof![0_u32..4, Just(511), Just(512), Just(100_000)];
    let dtype = || prop::sample::select(Dtype::ALL.to_vec());
    let flags = any::<(bool, bool, bool)>();
    hammer(4_000, &(invocations, bytes, cols, rows, (dtype(), dtype()), flags), 4_000, |&input| {
        let (max_invocations, max_workgroup_bytes, cols, rows, (from, to), (cpu, subgroup, f16)) = input;
        let caps = Caps { cpu, subgroup, f16, max_invocations, max_workgroup_bytes, ..Caps::baseline() };
        let shape = Shape::new(rows, cols);
        let v = Variant::select(&caps, &shape, from, to);
        assert_eq!(v.to_string().parse::<Variant>().ok(), Some(v));
        assert_eq!(v.supported(&caps), Ok(()), "{caps:?}");
        assert!(v.max_columns() >= cols, "{v} for {cols} columns, {caps:?}");
        assert!((v.input, v.output, v.quads) == (from, to, shape.quads));
        true
    });
}
