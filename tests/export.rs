//! Exported cases: what the files say is enough to run and judge them, by a runner that shares no code with the exporter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use half::{bf16, f16};
use onesum::conformance::{self, ExportError, Failure, Outcome, Trial, export, export_with};
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
        let constants: Vec<_> =
            constants.iter().map(|(name, value)| (name.as_str(), value.as_f64().unwrap())).collect();
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

/// Every exported case passes when it is run from the files alone; and when a wanted word, an interval, an input, the number of
/// workgroups or a program is another, it does not.
#[test]
fn files_are_enough_and_judge() {
    let gpu = Gpu::open(None).unwrap();
    let dir = directory("replay");
    let start = Instant::now();
    let done = export(&gpu, trials(), &dir).unwrap();
    println!("{done}\n{:?}", start.elapsed());
    assert_eq!(done.failed, []);
    assert!(done.exported >= 40, "{}", done.exported);
    let files = Files::read(&dir);
    assert_eq!(files.index["format"], conformance::FORMAT);
    assert_eq!(files.cases().len(), done.exported);
    assert_eq!(files.texts.len(), done.programs);
    let sizes = ["index.json", "data.bin"].map(|name| fs::metadata(dir.join(name)).unwrap().len());
    let texts: usize = files.texts.values().map(String::len).sum();
    assert_eq!(done.bytes, sizes.iter().sum::<u64>() + texts as u64);
    let mut kernels = BTreeSet::new();
    let mut planted = BTreeMap::new();
    for case in files.cases() {
        assert_eq!(files.replay(&gpu, case), Ok(()), "{}", case["name"]);
        kernels.insert(case["kernel"].as_str().unwrap());
        for (fault, bad, case) in faults(&files, case) {
            assert!(bad.replay(&gpu, &case).is_err(), "{}: {fault} was not found", case["name"]);
            *planted.entry(fault).or_insert(0) += 1;
        }
    }
    assert_eq!(kernels.len(), conformance::KERNELS.len(), "{kernels:?}");
    println!("{planted:?}");
    assert!(planted.len() == 6 && planted.values().all(|&n| n >= 2), "{planted:?}");
}

/// The files and the case with one thing wrong.
fn faults(files: &Files, case: &Value) -> Vec<(&'static str, Files, Value)> {
    let script = case["script"].as_array().unwrap();
    let find = |what: &str| script.iter().position(|op| op["op"] == what);
    let Some((check, dispatch)) = find("check").zip(find("dispatch")) else { return Vec::new() };
    let changed = |ranges: &[&Value], to: u32| {
        let mut bad = files.clone();
        for range in ranges {
            bad.data[number(&range[0])..][..4].copy_from_slice(&to.to_le_bytes());
        }
        bad
    };
    let mut list = Vec::new();
    // The first word, where it is an exact one.
    let exact = |op: &Value| op["op"] == "check" && op["loose"].as_array().unwrap().iter().all(|l| l["at"] != 0);
    if let Some(at) = script.iter().position(exact) {
        // In a place of its own: an input's bytes serve as what is written, too.
        let (mut bad, mut other) = (files.clone(), case.clone());
        let mut want = bad.blob(&script[at]["want"]).to_vec();
        want[0] ^= 1;
        other["script"][at]["want"] = serde_json::json!([bad.data.len(), want.len()]);
        bad.data.extend(want);
        list.push(("another word wanted", bad, other));
    }
    for loose in script[check]["loose"].as_array().unwrap() {
        let (lo, hi) = (&loose["lo"], &loose["hi"]);
        match loose["type"].as_str() {
            Some("f32" | "f16" | "bf16") => {
                list.push(("another interval", changed(&[lo, hi], 1e30_f32.to_bits()), case.clone()));
            }
            _ if loose.get("sums").is_some() => {
                // The high half of a 64-bit number.
                let high = serde_json::json!([number(&loose["sums"]["lo"][0]) + 4, 4]);
                let bad = changed(&[&high], 0x7fff_ffff);
                list.push(("another sum", bad, case.clone()));
            }
            _ => {}
        }
    }
    list.truncate(3);
    let mut fewer = case.clone();
    for op in fewer["script"].as_array_mut().unwrap().iter_mut().filter(|op| op["op"] == "dispatch") {
        op["groups"] = serde_json::json!([0, 0]);
    }
    // Sums of infinities and what may be flushed may be anything, all of them in some small cases; and zeros added to what an
    // output had leave it as it was.
    let name = case["name"].as_str().unwrap();
    let adds_zeros = name.contains("fill=zeros") && name.contains("options=accumulate");
    if !name.contains("fill=special") && !adds_zeros {
        list.push(("nothing dispatched", files.clone(), fewer));
    }
    // exp(x) with a digit of ln 2 changed, workgroups of one row instead of several.
    let program = number(&script[dispatch]["program"]);
    let (text, is_softmax) = (&files.texts[&program], case["kernel"] == "softmax");
    if is_softmax && text.contains("const LN2_A = 0x1.62ep-1;") && name.contains("=uniform") {
        let mut bad = files.clone();
        bad.texts.insert(program, text.replace("const LN2_A = 0x1.62ep-1;", "const LN2_A = 0x1.63ep-1;"));
        list.push(("another constant in a shader", bad, case.clone()));
    }
    let constants = &files.index["programs"][program]["constants"];
    if is_softmax && constants["LANES"].as_f64() < constants["WIDTH"].as_f64() {
        let mut bad = files.clone();
        bad.index["programs"][program]["constants"]["WIDTH"] = constants["LANES"].clone();
        list.push(("another override", bad, case.clone()));
    }
    list
}

/// A case that a device gets wrong or cannot run is not written, and what was in the directory before is gone.
#[test]
fn only_what_passes_is_written() {
    struct Always(Outcome);

    impl fmt::Display for Always {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:?}", self.0)
        }
    }

    impl Trial for Always {
        fn kind(&self) -> String {
            "none/at/all".into()
        }

        fn measured(&self) -> bool {
            false
        }

        fn run(&self, gpu: &Gpu) -> Outcome {
            let buffer = gpu.upload(&[1, 2, 3, 4, 5]).unwrap();
            gpu.download(&buffer, 5).unwrap();
            self.0.clone()
        }
    }

    let gpu = Gpu::open(None).unwrap();
    let dir = directory("selection");
    let softmax = SOFTMAX[..3].iter().map(|name| conformance::case(name).unwrap());
    let first = export(&gpu, softmax, &dir).unwrap();
    assert_eq!((first.exported, first.programs), (3, 3));
    assert_eq!(fs::read_dir(dir.join("programs")).unwrap().count(), 3);
    let outcomes = [
        Outcome::Passed(0),
        Outcome::Skipped("no".into()),
        Outcome::Failed(Failure::Broken("wrong".into())),
        Outcome::Skipped("no".into()),
    ];
    let mut told = Vec::new();
    let done = export_with(&gpu, outcomes.map(Always), &dir, |name, _| told.push(name.to_owned())).unwrap();
    assert_eq!((done.exported, done.skipped["no"], done.failed.len(), done.programs), (1, 2, 1, 0));
    assert_eq!(told.len(), 4);
    let text = done.to_string();
    for part in ["1 cases", "FAILED Failed(Broken", "skipped 2: no", "1 failed, 2 skipped"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert_eq!(fs::read_dir(dir.join("programs")).unwrap().count(), 0);
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["data.bin", "index.json", "programs"]);
    let files = Files::read(&dir);
    // Bytes up to whole words; equal ones once.
    assert_eq!(files.data, [1, 2, 3, 4, 5, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0][..files.data.len()]);
    let case = &files.cases()[0];
    assert_eq!((&case["kernel"], &case["kind"]), (&"none".into(), &"none/at/all".into()));
    assert_eq!(files.replay(&gpu, case), Ok(()));
}

/// What is in the way is named, and nothing of it is touched.
#[test]
fn refusals() {
    let gpu = Gpu::open(None).unwrap();
    let none = || std::iter::empty::<Box<dyn Trial>>();
    let dir = directory("refusals");
    fs::write(dir.join("data.bin"), "mine").unwrap();
    let refused = |dir: &Path| match export(&gpu, none(), dir) {
        Err(ExportError::NotAnExport { path, entry }) => {
            assert_eq!(path, dir);
            entry
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&dir), "data.bin");
    fs::write(dir.join("index.json"), "{\"format\": 1}").unwrap();
    refused(&dir);
    assert_eq!(fs::read_to_string(dir.join("data.bin")).unwrap(), "mine");
    // An export with something else beside it.
    let dir = directory("refusals/beside");
    export(&gpu, none(), &dir).unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    assert_eq!(refused(&dir), "notes.txt");
    fs::rename(dir.join("notes.txt"), dir.join("programs/notes.wgsl")).unwrap();
    assert_eq!(refused(&dir), "programs/notes.wgsl");
    assert!(dir.join("index.json").exists());
    // A file where a directory should be.
    let file = dir.join("data.bin");
    for path in [file.clone(), file.join("below")] {
        let error = export(&gpu, none(), &path).unwrap_err();
        assert!(matches!(error, ExportError::Io { .. }), "{error}");
        assert!(error.to_string().contains("data.bin"), "{error}");
    }
}

/// An export that breaks off is none, and can be done again.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_no_index() {
    let gpu = Gpu::open(None).unwrap();
    let dir = directory("full");
    let part = dir.join("index.json.part");
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let cases = || SOFTMAX[..2].iter().map(|name| conformance::case(name).unwrap());
    let error = export(&gpu, cases(), &dir).unwrap_err();
    let full = matches!(&error, ExportError::Io { path, source } if *path == part && source.raw_os_error() == Some(28));
    assert!(full, "{error}");
    assert!(!dir.join("index.json").exists());
    fs::remove_file(&part).unwrap();
    fs::write(&part, "").unwrap();
    assert_eq!(export(&gpu, cases(), &dir).unwrap().exported, 2);
    assert!(dir.join("index.json").exists() && !part.exists());
}
