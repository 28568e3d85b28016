//! Routing against its reference: by the conformance suite and by hand.

use onesum::Matrix;
use onesum::host::{Gpu, adapters};
use onesum::reference::router::Problem;
use onesum::router::*;

#[test]
fn quick() {
    for adapter in &adapters() {
        let gpu = Gpu::of(adapter).unwrap();
        println!("{:?}", gpu.info.name);
        let mut s = 12345u64;
        let mut rnd = || {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 40) as f32 / (1u32 << 24) as f32
        };
        for preset in Preset::ALL {
            let rows = 100u32;
            let spec = preset.spec(rows);
            let e = spec.shape.cols;
            let x: Vec<f32> = (0..rows * e).map(|_| (rnd() - 0.5) * 8.0).collect();
            let bias: Vec<f32> = (0..e).map(|_| (rnd() - 0.5) * 0.2).collect();
            let src = gpu.upload(bytemuck::cast_slice(&x)).unwrap();
            let b = gpu.upload(bytemuck::cast_slice(&bias)).unwrap();
            let w = spec.width();
            let ex = gpu.allocate(u64::from(rows * w * 4)).unwrap();
            let we = gpu.allocate(u64::from(rows * w * 4)).unwrap();
            for variant in Variant::all().filter(|v| v.input == Dtype::F32) {
                let spec = Spec { variant: Some(variant), ..spec.clone() };
                let router = match gpu.library.router(&spec) {
                    Ok(r) => r,
                    Err(e) => {
                        println!("{preset} {variant}: {e}");
                        continue;
                    }
                };
                let op = Operands {
                    bias: spec.options.bias.map(|_| Matrix::new(&b, 1, e)),
                    ..Operands::new(Matrix::new(&src, rows, e), Matrix::new(&ex, rows, w), Matrix::new(&we, rows, w))
                };
                let bound = router.bind(&op).unwrap();
                gpu.run(&[&bound]).unwrap();
                let gx: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.download(&ex, ex.size()).unwrap());
                let gw: Vec<f32> = bytemuck::pod_collect_to_vec(&gpu.download(&we, we.size()).unwrap());
                let p = Problem { bias: &bias, ..Problem::new(&spec, &x, e as usize) };
                let mut bad = 0;
                for t in 0..rows as usize {
                    let want = p.route(t);
                    let (a, c) = (&gx[t * w as usize..][..w as usize], &gw[t * w as usize..][..w as usize]);
                    if a != want.experts || c.iter().zip(&want.weights).any(|(a, b)| a.to_bits() != b.to_bits()) {
                        if bad == 0 {
                            println!(
                                "{preset} {variant} token {t}:\n{a:?} {c:?}\nwant {want:?}\n{:?}",
                                p.weights(t, &want.experts)
                            );
                        }
                        bad += 1;
                    }
                }
                println!("{preset} {variant}: {bad} bad");
            }
        }
    }
}
