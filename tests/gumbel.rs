//! Gumbel-Softmax: every output against the reference on every adapter, bad operands, and straight-through samples as a whole.

mod common;

use onesum::gumbel::{Gumbel, Operands, Options, Outputs, Spec};
use onesum::noise::Stream;
use onesum::reference::{choice, gumbel_log_density, one_hot, perturbed};
use onesum::sample::Status;
use onesum::softmax::{Dtype, EmptyRow, PerRow, Shape};
use onesum::{BindError, Matrix};

const ALL: Outputs = Outputs { soft: true, lse: true, index: true, hard: true, perturbed: true };

/// Every output of every geometry on every adapter is what the reference says.
#[test]
fn standard_profile() {
    // Four storage buffers, as on GL here, are too few for a softmax with everything.
    common::standard_profile("gumbel", |_, report| assert!(report.executed >= 80, "{} cases", report.executed));
}

/// Operands that fit `Spec::new` with all outputs: windows of buffers that the caller keeps.
fn operands(memory: &[wgpu::Buffer; 8], rows: u32, cols: u32) -> Operands<'_> {
    let [src, seeds, soft, hard, perturbed, index, lse, scratch] = memory;
    let (wide, thin) = (|b| Some(Matrix::new(b, rows, cols)), |b| Some(Matrix::new(b, rows, 1)));
    Operands {
        soft: wide(soft),
        hard: wide(hard),
        perturbed: wide(perturbed),
        index: thin(index),
        lse: thin(lse),
        scratch: Some(Matrix::new(scratch, 1, (scratch.size() / 4) as u32)),
        ..Operands::new(Matrix::new(src, rows, cols), PerRow::each(Matrix::new(seeds, rows, 4)))
    }
}

fn all_of(library: &onesum::Library, rows: u32, cols: u32) -> Gumbel {
    library.gumbel(&Spec { outputs: ALL, ..Spec::new(Shape::new(rows, cols)) }).unwrap()
}

#[test]
fn bad_operands_are_refused() {
    let noop = common::Noop::full();
    let memory = [(); 8].map(|()| noop.buffer(1 << 16));
    let [src, seeds, soft, _, perturbed, index, ..] = &memory;
    let kernel = all_of(&noop.library, 8, 100);
    let good = operands(&memory, 8, 100);
    assert!(kernel.bind(&good).unwrap().dispatches() >= 4);
    let error = |bad: Operands<'_>| kernel.bind(&bad).unwrap_err().to_string();
    assert!(error(Operands { index: None, ..good }).contains("index"));
    assert!(
        error(Operands { soft: Some(Matrix::new(soft, 8, 99)), ..good }).contains("soft: expected 8 x 100, got 8 x 99")
    );
    assert!(error(Operands { index: Some(Matrix::new(index, 7, 1)), ..good }).contains("index: expected 8 x 1"));
    let hot = Some(PerRow::each(Matrix::new(seeds, 8, 1)));
    assert!(error(Operands { temperature: hot, ..good }).contains("temperature"));
    assert!(error(Operands { seeds: PerRow::each(Matrix::new(seeds, 7, 4)), ..good }).contains("seeds"));
    assert!(error(Operands { perturbed: good.perturbed.map(|m| m.at(2)), ..good }).contains("perturbed"));
    assert!(error(Operands { src: good.src.at(1 << 20), ..good }).contains("src: the window ends"));
    // What an early dispatch writes, a later one may not find or lose.
    let overlap = |bad, what, other| assert_eq!(kernel.bind(&bad).unwrap_err(), BindError::Overlap { what, other });
    overlap(Operands { index: Some(Matrix::new(seeds, 8, 1)), ..good }, "index", "seeds");
    overlap(Operands { perturbed: Some(Matrix::new(src, 8, 100)), ..good }, "perturbed", "src");
    overlap(Operands { hard: good.soft, ..good }, "hard", "soft");
    overlap(Operands { soft: good.soft.map(|m| Matrix { buffer: perturbed, ..m.at(4) }), ..good }, "perturbed", "soft");
    overlap(Operands { soft: Some(good.src.at(4)), ..good }, "soft", "src");
    overlap(Operands { lse: Some(Matrix::new(index, 8, 1).at(7)), ..good }, "index", "lse");
    // In place, either of the two.
    assert!(kernel.bind(&Operands { soft: Some(good.src), ..good }).is_ok());
    assert!(kernel.bind(&Operands { hard: Some(good.src), ..good }).is_ok());
    assert_eq!(noop.errors(), Vec::<String>::new());
}

#[test]
fn bad_specifications_are_refused() {
    let noop = common::Noop::full();
    let plain = Spec::new(Shape::new(8, 100));
    let error = |spec: &Spec| noop.library.gumbel(spec).unwrap_err().to_string();
    let with = |outputs| Spec { outputs, ..plain.clone() };
    let none = Outputs::default();
    assert!(error(&with(none)).contains("one of soft, index, hard and perturbed"));
    assert!(error(&with(Outputs { lse: true, index: true, ..none })).contains("soft must be asked for where lse is"));
    assert!(error(&with(Outputs { hard: true, ..none })).contains("index must be asked for where hard is"));
    let options = Options { scale: Some(f32::NAN), ..Options::default() };
    assert!(error(&Spec { options, ..plain.clone() }).contains("scale"));
    let sample = "sample/block/f32/baseline/w256/x4".parse().ok();
    let index = Outputs { index: true, ..none };
    assert!(error(&Spec { sample, ..with(index) }).contains("by blocks"));
    let softmax = "softmax/stream/f16/baseline/w256/x4".parse().ok();
    assert!(error(&Spec { softmax, ..plain.clone() }).contains("element types"));
    assert_eq!(noop.errors(), Vec::<String>::new());
}

/// No rows: nothing is recorded. No columns: an index that says so, and a log-sum-exp.
#[test]
fn empty_shapes() {
    let noop = common::Noop::full();
    let memory = [(); 8].map(|()| noop.buffer(1 << 12));
    assert_eq!(all_of(&noop.library, 0, 100).bind(&operands(&memory, 0, 100)).unwrap().dispatches(), 0);

    let gpu = common::gpu();
    let memory = [(); 8].map(|()| gpu.allocate(4096).unwrap());
    let bound = all_of(&gpu.library, 9, 0).bind(&operands(&memory, 9, 0)).unwrap();
    gpu.run(&[&bound]).unwrap();
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&memory[5], 36).unwrap());
    assert!(words.iter().all(|&w| Status::of(w) == Status::Empty));
    let lse: Vec<f32> = bytemuck::pod_collect_to_vec(&gpu.download(&memory[6], 36).unwrap());
    assert_eq!(lse, [f32::NEG_INFINITY; 9]);
}

/// The table of docs/semantics.md, row by row.
#[test]
fn special_rows() {
    let gpu = common::gpu();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    // Logits and temperature.
    let rows: [([f32; 4], f32); 9] = [
        ([1.0, nan, 0.0, 0.0], 1.0),
        ([inf, 0.0, 1.0, -inf], 1.0),
        ([-inf, 3.0, -inf, 2.0], 1.0),
        ([-inf; 4], 1.0),
        ([0.5, 1.0, -2.0, 0.0], 0.0),
        ([0.5, 1.0, -2.0, 0.0], inf),
        ([0.5, 1.0, -2.0, 0.0], -1.0),
        ([0.5, 1.0, -2.0, 0.0], nan),
        ([0.5, 1.0, -2.0, 0.0], -0.0),
    ];
    let count = rows.len() as u32;
    let stream = |r: usize| Stream { seed: 8, position: r as u64 };
    for empty_row in [EmptyRow::Nan, EmptyRow::Zero] {
        let options = Options { temperature: true, ..Options::default() };
        let spec = Spec { outputs: ALL, options, empty_row, ..Spec::new(Shape::new(count, 4)) };
        let kernel = gpu.library.gumbel(&spec).unwrap();
        let mut memory = [(); 8].map(|()| gpu.allocate(4096).unwrap());
        memory[0] = common::upload(gpu, rows.map(|(x, _)| x).as_flattened());
        let seeds: Vec<[u32; 4]> = (0..rows.len()).map(|r| stream(r).words_of_seed()).collect();
        memory[1] = gpu.upload(bytemuck::cast_slice(&seeds)).unwrap();
        let hot = common::upload(gpu, &rows.map(|(_, temperature)| temperature));
        let operands =
            Operands { temperature: Some(PerRow::each(common::column(&hot, count))), ..operands(&memory, count, 4) };
        gpu.run(&[&kernel.bind(&operands).unwrap()]).unwrap();
        let wide = |i: usize, r: usize| common::download(gpu, &memory[i])[r * 4..][..4].to_vec();
        let lse = common::download(gpu, &memory[6]);
        let index: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&memory[5], 4 * u64::from(count)).unwrap());
        let all_nan = |row: Vec<f32>| row.iter().all(|y| y.is_nan());
        for (r, status) in [(0, Status::Nan), (1, Status::Infinite)] {
            assert_eq!(Status::of(index[r]), status);
            assert!(all_nan(wide(2, r)) && all_nan(wide(3, r)));
        }
        assert!(lse[0].is_nan() && lse[1] == inf);
        assert!(wide(4, 0)[1].is_nan() && wide(4, 0)[0].is_finite() && wide(4, 1)[0] == inf);
        let some = wide(2, 2);
        assert!(some[0] == 0.0 && some[2] == 0.0 && (some[1] + some[3] - 1.0).abs() < 1e-6 && lse[2].is_finite());
        assert_eq!((wide(4, 2)[0], Status::of(index[3]), lse[3]), (-inf, Status::Empty, -inf));
        assert_eq!(wide(4, 3), [-inf; 4]);
        for output in [2, 3] {
            let row = wide(output, 3);
            assert!(if empty_row == EmptyRow::Zero { row == [0.0; 4] } else { all_nan(row) });
        }
        for r in 4..9 {
            let z = perturbed(&rows[r].0, stream(r));
            let chosen = choice(&rows[r].0, 1.0, stream(r));
            assert_eq!((wide(4, r), Status::of(index[r])), (z.clone(), chosen));
            assert_eq!(wide(3, r), one_hot(chosen, 4, nan));
            match rows[r].1 {
                0.0 => {
                    assert_eq!(wide(2, r), wide(3, r));
                    assert_eq!(lse[r], z.iter().copied().fold(-inf, f32::max));
                }
                t if t == inf => assert!(wide(2, r) == [0.25; 4] && (lse[r] - 4_f32.ln()).abs() < 1e-6),
                _ => assert!(all_nan(wide(2, r)) && lse[r].is_nan()),
            }
        }
    }
}

/// One output alone is the same as with all others: nothing depends on what else is asked for.
#[test]
fn outputs_do_not_depend_on_each_other() {
    let gpu = common::gpu();
    let (rows, cols) = (7, 516);
    let x = common::logits(5, (rows * cols) as usize);
    let seeds: Vec<[u64; 2]> = (0..u64::from(rows)).map(|r| [9, r]).collect();
    let memory = || {
        let mut memory = [(); 8].map(|()| gpu.allocate(u64::from(rows * cols) * 4).unwrap());
        (memory[0], memory[1]) = (common::upload(gpu, &x), gpu.upload(bytemuck::cast_slice(&seeds)).unwrap());
        memory
    };
    let all = memory();
    gpu.run(&[&all_of(&gpu.library, rows, cols).bind(&operands(&all, rows, cols)).unwrap()]).unwrap();
    let none = Outputs::default();
    for (outputs, place) in [
        (Outputs { soft: true, ..none }, 2),
        (Outputs { index: true, hard: true, ..none }, 3),
        (Outputs { perturbed: true, ..none }, 4),
        (Outputs { index: true, ..none }, 5),
        (Outputs { soft: true, lse: true, ..none }, 6),
    ] {
        let one = memory();
        let kernel = gpu.library.gumbel(&Spec { outputs, ..Spec::new(Shape::new(rows, cols)) }).unwrap();
        let given = operands(&one, rows, cols);
        let only = Operands {
            soft: given.soft.filter(|_| outputs.soft),
            hard: given.hard.filter(|_| outputs.hard),
            perturbed: given.perturbed.filter(|_| outputs.perturbed),
            index: given.index.filter(|_| outputs.index),
            lse: given.lse.filter(|_| outputs.lse),
            ..given
        };
        gpu.run(&[&kernel.bind(&only).unwrap()]).unwrap();
        let bytes = |memory: &[wgpu::Buffer; 8]| gpu.download(&memory[place], memory[place].size()).unwrap();
        assert_eq!(bytes(&one), bytes(&all), "{outputs:?}");
    }
}

/// Windows of one buffer: the pooled forms of every dispatch.
#[test]
fn one_buffer_for_everything() {
    let gpu = common::gpu();
    let (rows, cols) = (5_u32, 300_u32);
    let x = common::logits(6, (rows * cols) as usize);
    let stream = |r: u32| Stream { seed: 3, position: u64::from(r) };
    let area = (rows * cols).next_multiple_of(64) + 64;
    let mut words = vec![0_u32; area as usize * 8];
    words[..x.len()].copy_from_slice(bytemuck::cast_slice(&x));
    for r in 0..rows {
        words[(area + r * 4) as usize..][..4].copy_from_slice(&stream(r).words_of_seed());
    }
    let pool = gpu.upload(bytemuck::cast_slice(&words)).unwrap();
    let at = |place: u32, cols| Matrix::new(&pool, rows, cols).at(u64::from(area) * u64::from(place));
    let kernel = all_of(&gpu.library, rows, cols);
    assert!(kernel.scratch_bytes(rows, cols) <= u64::from(area) * 4);
    let operands = Operands {
        soft: Some(at(2, cols)),
        hard: Some(at(3, cols)),
        perturbed: Some(at(4, cols)),
        index: Some(at(5, 1)),
        lse: Some(at(6, 1)),
        scratch: Some(Matrix::new(&pool, 1, area).at(u64::from(area) * 7)),
        ..Operands::new(at(0, cols), PerRow::each(at(1, 4)))
    };
    gpu.run(&[&kernel.bind(&operands).unwrap()]).unwrap();
    let after: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&pool, pool.size()).unwrap());
    let floats = |place: u32, r: u32| {
        let from = (area * place + r * cols) as usize;
        after[from..from + cols as usize].iter().map(|&w| f32::from_bits(w)).collect::<Vec<_>>()
    };
    assert_eq!(after[..x.len()], words[..x.len()]);
    for r in 0..rows {
        let row = &x[(r * cols) as usize..][..cols as usize];
        let chosen = choice(row, 1.0, stream(r));
        assert_eq!(Status::of(after[(area * 5 + r) as usize]), chosen);
        assert_eq!(floats(3, r), one_hot(chosen, cols as usize, f32::NAN));
        assert_eq!(floats(4, r), perturbed(row, stream(r)));
        assert!((floats(2, r).iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

/// The perturbed logits score the sample: the mean log-density of Gumbel noise around its logit is its negative entropy,
/// −(1 + γ), to four standard errors (the variance of −s − exp(−s) is that of ln E − E for a unit exponential E: π²/6 − 1).
#[test]
fn perturbed_logits_have_the_density_of_their_logits() {
    let gpu = common::gpu();
    let (rows, cols) = (64, 1024);
    let x = common::logits(8, (rows * cols) as usize);
    let outputs = Outputs { perturbed: true, ..Outputs::default() };
    let kernel = gpu.library.gumbel(&Spec { outputs, ..Spec::new(Shape::new(rows, cols)) }).unwrap();
    let seeds: Vec<[u64; 2]> = (0..u64::from(rows)).map(|r| [1, r]).collect();
    let (src, seeds) = (common::upload(gpu, &x), gpu.upload(bytemuck::cast_slice(&seeds)).unwrap());
    let dst = gpu.allocate(x.len() as u64 * 4).unwrap();
    let operands = Operands {
        perturbed: Some(Matrix::new(&dst, rows, cols)),
        ..Operands::new(Matrix::new(&src, rows, cols), PerRow::each(Matrix::new(&seeds, rows, 4)))
    };
    gpu.run(&[&kernel.bind(&operands).unwrap()]).unwrap();
    let z = common::download(gpu, &dst);
    let n = z.len() as f64;
    let mean = z.iter().zip(&x).map(|(&z, &x)| gumbel_log_density(f64::from(z), f64::from(x))).sum::<f64>() / n;
    let error = 4.0 * ((std::f64::consts::PI.powi(2) / 6.0 - 1.0) / n).sqrt();
    assert!((mean + 1.577_215_664_901_533).abs() < error, "{mean}");
}

/// 16-bit logits and samples: one-hot rows are exact in any type.
#[test]
fn sixteen_bit_storage_is_accepted() {
    let noop = common::Noop::full();
    for (input, output) in [(Dtype::F16, Dtype::Bf16), (Dtype::Bf16, Dtype::F16)] {
        let spec = Spec { input, output, outputs: ALL, ..Spec::new(Shape::new(4, 64)) };
        let memory = [(); 8].map(|()| noop.buffer(1 << 12));
        assert!(noop.library.gumbel(&spec).unwrap().bind(&operands(&memory, 4, 64)).unwrap().dispatches() >= 4);
    }
    assert_eq!(noop.errors(), Vec::<String>::new());
}
