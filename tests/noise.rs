//! The random stream: known answers, frozen values, the error of the noise.

mod common;

use onesum::noise::{Domain, Stream, gumbel, philox4x32_10};
use onesum::reference;

/// The known answers of Random123, the library of Philox's authors.
#[test]
fn known_answers() {
    let digits = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    for (counter, key, words) in [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (digits, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
    ] {
        assert_eq!(philox4x32_10(counter, key), words);
    }
}

/// Which counter and key a word comes from, spelled out: this is how it is, for good.
#[test]
fn layout() {
    let stream = Stream { seed: 0x0123_4567_89ab_cdef, position: 0xfedc_ba98_7654_3210 };
    let words = philox4x32_10([5, 0x7654_3210, 0xfedc_ba98, 0], [0x89ab_cdef, 0x0123_4567]);
    assert_eq!(stream.words(Domain::Column, 5), words);
    for (i, word) in (20..).zip(words) {
        assert_eq!(stream.gumbel(i).to_bits(), gumbel(word).to_bits());
    }
}

/// Noise that will never change: bits of columns 0 to 7 and 128255 at seed 42, position 7.
#[test]
fn noise_is_frozen() {
    let stream = Stream { seed: 42, position: 7 };
    let bits = [0, 1, 2, 3, 4, 5, 6, 7, 128_255].map(|column| stream.gumbel(column).to_bits());
    let frozen = [
        0x3fac_dca3,
        0x3dd3_ed64,
        0x3f9f_82e7,
        0x3f47_92a9,
        0x3ff3_20d4,
        0xbf09_6f2f,
        0xbe83_221e,
        0x3fb1_b328,
        0xbf43_a39a,
    ];
    assert_eq!(bits, frozen, "{bits:#010x?}");
}

/// The worst error of `gumbel` over `words`, in units of 2^-24 · max(1, |g|), and where.
fn worst(words: impl Iterator<Item = u32>) -> (f64, u32) {
    words.fold((0.0, 0), |worst, word| {
        let (got, want) = (f64::from(gumbel(word)), reference::gumbel(word));
        let error = (got - want).abs() / want.abs().max(1.0) * 16_777_216.0;
        if error > worst.0 { (error, word) } else { worst }
    })
}

/// docs/accuracy.md: the greatest error over all 2^32 words.
const BOUND: f64 = 4.4;

/// Both ends of the interval, both sides of every switch, and a sweep between.
#[test]
fn error() {
    let ends = (0..1 << 18).chain(u32::MAX - (1 << 18)..=u32::MAX);
    let near = |x: u32| x - (1 << 16)..=x + (1 << 16);
    let switches = near(0xb504_f334).chain(near(1 << 31)).chain(near(0x5e2d_58d8));
    let sweep = (0..=u32::MAX).step_by(4099);
    let (error, word) = worst(ends.chain(switches).chain(sweep));
    assert!(error <= BOUND, "{error} at {word:#x}");
    // The ends themselves.
    assert_eq!((gumbel(0), gumbel(u32::MAX)), (-3.129_994_6, 22.873_857));
}

/// Rising with the word: two words never change places.
#[test]
fn monotone() {
    let rises = |mut words: std::ops::Range<u32>| {
        let first = gumbel(words.start);
        words.try_fold(first, |last, word| (gumbel(word) >= last).then(|| gumbel(word))).is_some()
    };
    for start in [0, 0xb504_f334 - (1 << 18), 0x5e2d_58d8 - (1 << 18), u32::MAX - (1 << 20)] {
        assert!(rises(start..start + (1 << 19)), "{start:#x}");
    }
}

/// All 2^32 words: some minutes.
#[test]
#[ignore = "takes minutes: cargo test --release --test noise -- --ignored --nocapture"]
fn error_of_every_word() {
    let parts = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let part = (1_u64 << 32).div_ceil(parts);
    let all = std::thread::scope(|scope| {
        let of = |i: u64| (i * part) as u32..=((i + 1) * part - 1).min(u64::from(u32::MAX)) as u32;
        let threads: Vec<_> = (0..parts).map(|i| scope.spawn(move || worst(of(i)))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a })
    });
    println!("{:.3} of 2^-24 max(1, |g|), at {:#x}", all.0, all.1);
    assert!(all.0 <= BOUND);
}

/// What a kernel gets that writes −log(−log(u)): u rounds to 1 for the last 128 words, which makes the noise infinite, and near 1 it is
/// off by more than ours anywhere.
#[test]
fn the_built_in_log_is_worse() {
    let gpu = common::gpu();
    let source = "
        @group(0) @binding(0) var<storage, read> words: array<u32>;
        @group(0) @binding(1) var<storage, read_write> noise: array<f32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < arrayLength(&words)) {
                noise[id.x] = -log(-log((f32(words[id.x]) + 0.5) * 0x1p-32));
            }
        }";
    let words: Vec<u32> =
        (0..4096).map(|i| !(i * 64)).chain((0..4096).map(|i| i << 20)).chain((0..4096).map(|i| i * 3)).collect();
    let bytes = words.len() as u64 * 4;
    let (input, output) = (gpu.upload(bytemuck::cast_slice(&words)).unwrap(), gpu.allocate(bytes).unwrap());
    let source = wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(source.into()) };
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &gpu.device.create_shader_module(source),
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: input.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: output.as_entire_binding() },
        ],
    });
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(words.len().div_ceil(64) as u32, 1, 1);
    }
    gpu.queue.submit([encoder.finish()]);
    let built_in = common::download(gpu, &output);
    let error = |noise: f32, word: u32| (f64::from(noise) - reference::gumbel(word)).abs();
    let (mut theirs, mut ours, mut infinite) = (0.0_f64, 0.0_f64, 0);
    for (&word, &noise) in words.iter().zip(&built_in) {
        if noise.is_finite() {
            theirs = theirs.max(error(noise, word));
        } else {
            infinite += 1;
        }
        ours = ours.max(error(onesum::noise::gumbel(word), word));
    }
    println!("built-in log on {}: {theirs:.3} off at most, {infinite} infinite; ours {ours:.2e}", gpu.info.name);
    assert!(ours < 1e-5 && (theirs > 0.1 || infinite > 0), "{ours} {theirs} {infinite}");
}
