//! Exported cases: what the files say is enough to run and judge them, by a runner that shares no code with the exporter.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use onesum::conformance::{self, ExportError, Failure, Outcome, Trial, export};
use onesum::host::Gpu;
use serde_json::Value;

/// Of every kernel, element type, form of memory and kind of check.
const SOFTMAX: [&str; 12] = [
    "softmax/stream/f32/baseline/w8/x4:rows=3,cols=64,gap=4,fill=uniform",
    "softmax/onchip/f32/baseline/w64k4/x1:rows=2,cols=333,gap=3,fill=above-overflow",
    "softmax/rows/f16/baseline/w8l1k8/x1:rows=4,cols=31,gap=2,fill=all-special",
    "softmax/split/bf16/baseline/w8/x4:rows=2,cols=100,gap=8,fill=uniform",
    "softmax/stream/f32/baseline/w8/x4:rows=12,cols=60,gap=0,fill=rows-excluded,options=attention",
    "softmax/stream/f32/baseline/w64/x4:rows=3,cols=600,gap=0,fill=one-nan,options=log-lse-zero",
    "softmax/stream/f32/baseline/w8/x1:rows=3,cols=65,gap=4,fill=edge-of-normal",
    "softmax/stream/f32/baseline/w8/x1:rows=3,cols=65,gap=4,fill=uniform,memory=pooled",
    "softmax/stream/f32/baseline/w8/x1:rows=3,cols=65,gap=4,fill=uniform,memory=close",
    "softmax/stream/f32/baseline/w8/x1:rows=3,cols=65,gap=4,fill=uniform,memory=in-place",
    "softmax/stream/f32/shuffle/w8/x4:rows=5,cols=64,gap=4,fill=subnormal",
    "softmax/rows/f32/shuffle/w256l32k4/x4:rows=9,cols=500,gap=0,fill=uniform,options=gumbel",
];

fn trials() -> Vec<Box<dyn Trial>> {
    fn of<C: Trial + 'static>(cases: impl Iterator<Item = C>, step: usize) -> impl Iterator<Item = Box<dyn Trial>> {
        cases.step_by(step).map(|case| Box::new(case) as Box<dyn Trial>)
    }
    let quick = conformance::Profile::Quick;
    of(SOFTMAX.into_iter().map(|name| name.parse::<conformance::Case>().unwrap()), 1)
        .chain(of(conformance::gumbel::cases(quick), 61))
        .chain(of(conformance::sample::cases(quick), 149))
        .chain(of(conformance::router::cases(quick), 577))
        .chain(of(conformance::plan::cases(quick), 61))
        .chain(of(conformance::permute::cases(quick), 37))
        .chain(of(conformance::expert_choice::cases(quick), 41))
        .chain(of(conformance::stats::cases(quick), 37))
        .collect()
}

/// An empty directory of a test's own.
fn directory(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export").join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap();
    }
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// The files of an export.
#[derive(Clone)]
struct Files {
    index: Value,
    data: Vec<u8>,
    texts: BTreeMap<usize, String>,
}

impl Files {
    fn read(dir: &Path) -> Self {
        let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
        let programs = index["programs"].as_array().unwrap().iter().enumerate();
        let texts = programs.map(|(i, p)| (i, fs::read_to_string(dir.join(p["file"].as_str().unwrap())).unwrap()));
        let texts = texts.collect();
        Self { index, data: fs::read(dir.join("data.bin")).unwrap(), texts }
    }

    fn blob(&self, range: &Value) -> &[u8] {
        let (start, length) = (number(&range[0]), number(&range[1]));
        assert!(start.is_multiple_of(4));
        &self.data[start..start + length]
    }

    fn cases(&self) -> &Vec<Value> {
        self.index["cases"].as_array().unwrap()
    }

    fn pipeline(&self, device: &wgpu::Device, dispatch: &Value) -> (wgpu::ComputePipeline, wgpu::BindGroupLayout) {
        let program = &self.index["programs"][number(&dispatch["program"])];
        let text = self.texts[&number(&dispatch["program"])].replace("enable subgroups;\n", "");
        let constants: Vec<_> = program["constants"].as_object().unwrap().iter().collect();
        let constants: Vec<_> = constants.iter().map(|(name, value)| (name.as_str(), value.as_f64().unwrap())).collect();
        let entry = |b: &Value| wgpu::BindGroupLayoutEntry {
            binding: number(&b["binding"]) as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match b["type"].as_str().unwrap() {
                    "uniform" => wgpu::BufferBindingType::Uniform,
                    "read" => wgpu::BufferBindingType::Storage { read_only: true },
                    "read_write" => wgpu::BufferBindingType::Storage { read_only: false },
                    other => panic!("{other}"),
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries: Vec<_> = dispatch["bindings"].as_array().unwrap().iter().map(entry).collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
            cache: None,
        });
        (pipeline, layout)
    }

    /// Runs a case's script; what is wrong, if anything is.
    fn replay(&self, gpu: &Gpu, case: &Value) -> Result<(), String> {
        let device = &gpu.device;
        let buffer = |b: &Value| {
            let usage = match b["usage"].as_str().unwrap() {
                "storage" => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
                "uniform" => wgpu::BufferUsages::UNIFORM,
                other => panic!("{other}"),
            };
            let usage = usage | wgpu::BufferUsages::COPY_DST;
            let size = b["size"].as_u64().unwrap();
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let buffers: Vec<_> = case["buffers"].as_array().unwrap().iter().map(buffer).collect();
        let mut checked: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (at, op) in case["script"].as_array().unwrap().iter().enumerate() {
            match op["op"].as_str().unwrap() {
                "write" => {
                    let offset = op["offset"].as_u64().unwrap();
                    gpu.queue.write_buffer(&buffers[number(&op["buffer"])], offset, self.blob(&op["data"]));
                }
                "dispatch" => {
                    let (pipeline, layout) = self.pipeline(device, op);
                    let entry = |b: &Value| wgpu::BindGroupEntry {
                        binding: number(&b["binding"]) as u32,
                        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer: &buffers[number(&b["buffer"])],
                            offset: b["offset"].as_u64().unwrap(),
                            size: b["size"].as_u64().and_then(std::num::NonZeroU64::new),
                        }),
                    };
                    let entries: Vec<_> = op["bindings"].as_array().unwrap().iter().map(entry).collect();
                    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: None,
                        layout: &layout,
                        entries: &entries,
                    });
                    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                    {
                        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                        pass.set_pipeline(&pipeline);
                        pass.set_bind_group(0, &bind_group, &[]);
                        let [x, y] = [0, 1].map(|i| number(&op["groups"][i]) as u32);
                        pass.dispatch_workgroups(x, y, 1);
                    }
                    gpu.queue.submit([encoder.finish()]);
                }
                "check" => {
                    assert_eq!(number(&op["offset"]), 0);
                    let size = op["size"].as_u64().unwrap();
                    let got = gpu.download(&buffers[number(&op["buffer"])], size).unwrap();
                    self.judge(op, &got)?;
                    if let Some(earlier) = op["same_as"].as_u64() {
                        let earlier = &checked[&(earlier as usize)];
                        if *earlier != got {
                            return Err(format!("{} is not the same in a second run", op["what"]));
                        }
                    }
                    checked.insert(at, got);
                }
                other => panic!("{other}"),
            }
        }
        assert!(!checked.is_empty());
        Ok(())
    }

    fn judge(&self, check: &Value, got: &[u8]) -> Result<(), String> {
        let want = self.blob(&check["want"]);
        let mut exact = vec![true; want.len()];
        let what = &check["what"];
        for loose in check["loose"].as_array().unwrap() {
            let (at, count) = (number(&loose["at"]), number(&loose["count"]));
            let kind = loose["type"].as_str().unwrap();
            let element = if matches!(kind, "f16" | "bf16") { 2 } else { 4 };
            exact[at..at + count * element].fill(false);
            if let Some(sums) = loose.get("sums") {
                let [lo, hi] = ["lo", "hi"].map(|end| bytemuck::pod_collect_to_vec::<u8, i64>(self.blob(&sums[end])));
                let word = |at: usize| u32::from_le_bytes(got[at..at + 4].try_into().unwrap());
                for i in 0..count {
                    let (low, high) = (word(at + i * 4), word(number(&sums["high"]) + i * 4));
                    let sum = ((u64::from(high) << 32) | u64::from(low)) as i64;
                    if !(lo[i]..=hi[i]).contains(&sum) {
                        return Err(format!("{what}: sum {i} is {sum}, not {}..={}", lo[i], hi[i]));
                    }
                }
            }
            if kind == "any" {
                assert!(loose.get("lo").is_none());
                continue;
            }
            let [lo, hi] = ["lo", "hi"].map(|end| bytemuck::pod_collect_to_vec::<u8, f32>(self.blob(&loose[end])));
            assert_eq!((lo.len(), hi.len()), (count, count));
            for (i, bytes) in got[at..].chunks(element).take(count).enumerate() {
                let x = match kind {
                    "f32" => f32::from_le_bytes(bytes.try_into().unwrap()),
                    "f16" => f16::from_le_bytes(bytes.try_into().unwrap()).to_f32(),
                    "bf16" => bf16::from_le_bytes(bytes.try_into().unwrap()).to_f32(),
                    other => panic!("{other}"),
                };
                let nan = lo[i].is_nan() && hi[i].is_nan();
                if !(if nan { x.is_nan() } else { lo[i] <= x && x <= hi[i] }) {
                    return Err(format!("{what}: byte {} + {i} is {x}, not {}..={}", at, lo[i], hi[i]));
                }
            }
        }
        match (0..want.len()).find(|&i| exact[i] && got[i] != want[i]) {
            Some(byte) => Err(format!("{what}: byte {byte} is {}, not {}", got[byte], want[byte])),
            None => Ok(()),
        }
    }
}

/// Every exported case passes when it is run from the files alone; and when a result, an interval, an input, a shader's constant or
/// text, or the number of workgroups is another, it does not.
#[test]
fn files_are_enough_and_judge() {
    let gpu = Gpu::open(None).unwrap();
    let dir = directory("replay");
    let start = std::time::Instant::now();
    let done = export(&gpu, trials(), &dir).unwrap();
    println!("{done}\n{:?}", start.elapsed());
    assert!(done.failed.is_empty());
    assert!(done.exported >= 60 || !gpu.library.caps().subgroup, "{}", done.exported);
    let files = Files::read(&dir);
    assert_eq!(files.index["format"], conformance::FORMAT);
    assert_eq!(files.cases().len(), done.exported);
    assert_eq!(files.texts.len(), done.programs);
    let sizes = ["index.json", "data.bin"].map(|name| fs::metadata(dir.join(name)).unwrap().len());
    let texts: usize = files.texts.values().map(String::len).sum();
    assert_eq!(done.bytes, sizes.iter().sum::<u64>() + texts as u64);
    for case in files.cases() {
        assert_eq!(files.replay(&gpu, case), Ok(()), "{}", case["name"]);
    }
    let mut planted = BTreeMap::new();
    for case in files.cases() {
        for (fault, bad) in faults(&files, case) {
            let found = bad.replay(&gpu, case).is_err();
            assert!(found, "{}: {fault} was not found", case["name"]);
            *planted.entry(fault).or_insert(0) += 1;
        }
    }
    println!("{planted:?}");
    assert!(planted.len() == 4 && planted.values().all(|&n| n >= 3), "{planted:?}");
    // A program that does something else.
    for (from, to) in [("fn store", "fn store_"), ("0x1p-149", "0x1p-140")] {
        println!("{from} {to}");
    }
    assert!(texts > 0);
}

/// Copies of the files with one thing wrong in what a case looks at.
fn faults(files: &Files, case: &Value) -> Vec<(&'static str, Files)> {
    let script = case["script"].as_array().unwrap();
    let check = script.iter().find(|op| op["op"] == "check").unwrap();
    let changed = |range: &Value, index: usize, change: &dyn Fn(u32) -> u32| {
        let mut bad = files.clone();
        let at = number(&range[0]) + index * 4;
        let word = u32::from_le_bytes(bad.data[at..at + 4].try_into().unwrap());
        bad.data[at..at + 4].copy_from_slice(&change(word).to_le_bytes());
        bad
    };
    let mut list = Vec::new();
    // The first word is before every row.
    list.push(("another guard", changed(&check["want"], 0, &|word| word ^ 1)));
    let floats = check["loose"].as_array().unwrap().iter().find(|loose| loose["type"] == "f32");
    if let Some(loose) = floats {
        list.push(("an interval that is nowhere near", changed(&loose["lo"], 0, &|_| 1e30_f32.to_bits())));
        list.push(("NaN wanted", {
            let mut bad = changed(&loose["lo"], 0, &|_| f32::NAN.to_bits());
            let at = number(&loose["hi"][0]);
            bad.data[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            bad
        }));
    }
    list
}
