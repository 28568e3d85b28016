//! Whatever is wrong ends in one line, an exit code, and no output file.

mod common;

use common::{Folder, bad, complaint, fixture, npy_bytes, numbers, onesum, text};

/// A folder with logits, and the arguments that would run on them.
struct Trial {
    folder: Folder,
    input: String,
    output: String,
}

impl Trial {
    fn new() -> Self {
        let folder = Folder::new();
        let input = folder.npy("x.npy", &[2, 3, 4], &numbers(24));
        let output = folder.path("y.npy");
        Self { folder, input, output }
    }

    /// Fails with more arguments; nothing new is in the folder.
    fn refused(&self, more: &[&str], code: i32, expected: &str) {
        self.refused_input(&self.input, more, code, expected);
    }

    fn refused_input(&self, input: &str, more: &[&str], code: i32, expected: &str) {
        let before = self.folder.names();
        let args = [&["run", "softmax", "--input", input, "--output", &self.output], more].concat();
        let said = bad(&args, code);
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        assert_eq!(self.folder.names(), before);
    }
}

#[test]
fn inputs() {
    let t = Trial::new();
    t.refused_input(&t.folder.path("none.npy"), &[], 1, "none.npy: cannot read: No such file");
    let whole = std::fs::read(&t.input).unwrap();
    let cut = t.folder.write("cut.npy", &whole[..whole.len() - 1]);
    t.refused_input(&cut, &[], 1, "the file is cut short");
    let header = t.folder.write("header.npy", &whole[..20]);
    t.refused_input(&header, &[], 1, "header.npy: not a valid .npy file");
    let garbage = t.folder.write("garbage.npy", b"not an array");
    t.refused_input(&garbage, &[], 1, "not a valid .npy file");
    let nothing = t.folder.write("nothing.npy", b"");
    t.refused_input(&nothing, &[], 1, "nothing.npy");
    for name in ["i8", "bool", "c8", "object", "text", "structured"] {
        t.refused_input(&fixture(&format!("{name}.npy")), &[], 1, "expected the dtype");
    }
    let huge = t.folder.write("huge.npy", &npy_bytes("<f4", &[1 << 40, 1 << 30], &[0; 4]));
    t.refused_input(&huge, &[], 1, "huge.npy");
    t.refused_input(&fixture("types.safetensors"), &[], 1, "expected the name of a tensor");
    t.refused_input(&fixture("types.safetensors"), &["--tensor", "nope"], 1, "expected a tensor named \"nope\"");
    t.refused_input(&fixture("types.safetensors"), &["--tensor", "ids"], 1, "expected the dtype");
    t.refused_input(t.folder.path("").as_str(), &[], 1, "cannot read");
}

#[test]
fn operands() {
    let t = Trial::new();
    let five = t.folder.npy("five.npy", &[5], &[0.0; 5]);
    let deep = t.folder.npy("deep.npy", &[1, 2, 3, 4], &[0.0; 24]);
    t.refused(&["--mask", &five], 1, "five.npy: a mask of shape [5] does not broadcast to logits of shape [2, 3, 4]");
    t.refused(&["--mask", &deep], 1, "does not broadcast");
    t.refused(&["--mask", &five, "--axis", "0"], 1, "does not broadcast to logits of shape [2, 3, 4]");
    t.refused(&["--mask", "none.npy"], 1, "none.npy: cannot read");
    t.refused(&["--mask", &fixture("i8.npy")], 1, "expected the dtype");
    t.refused(&["--temperature", &five], 1, "does not broadcast to rows [2, 3]");
    t.refused(&["--temperature", "warm"], 1, "warm: cannot read");
    t.refused(&["--sinks", &five], 1, "fits neither 2 heads nor rows [2, 3]");
    t.refused(&["--alibi", &five], 1, "fits neither 2 heads nor rows [2, 3]");
    t.refused(&["--lengths", "1,2,3,4,5"], 1, "5 lengths fit neither 6 rows");
    let half = t.folder.npy("half.npy", &[1], &[0.5]);
    t.refused(&["--lengths", &half], 1, "expected lengths, got 0.5");
}

#[test]
fn numbers_out_of_their_domain() {
    let t = Trial::new();
    t.refused(&["--axis", "3"], 1, "axis 3 is out of range");
    t.refused(&["--axis", "-4"], 1, "axis -4 is out of range");
    t.refused(&["--axis", "first"], 2, "invalid value 'first'");
    t.refused(&["--scale", "nan"], 1, "scale must be finite");
    t.refused(&["--softcap", "-1"], 1, "soft_cap must be positive");
    t.refused(&["--softcap", "0"], 1, "soft_cap must be positive");
    t.refused(&["--causal=far"], 2, "invalid value 'far'");
    t.refused(&["--causal=2147483647"], 1, "below 2^31");
    t.refused(&["--dtype", "f64"], 2, "f32, f16 or bf16");
    t.refused(&["--empty-row", "one"], 2, "invalid value 'one'");
    t.refused(&["--in-place", "--dtype", "f16"], 2, "--in-place needs one element type");
    t.refused(&["--lse", &t.output], 2, "same file");
    t.refused(&["--tensor", "logits"], 2, "--tensor is for .safetensors files");
    t.refused(&["--bogus"], 2, "unexpected argument '--bogus'");
}

#[test]
fn adapters() {
    let t = Trial::new();
    t.refused(&["--adapter", "no such adapter"], 1, "no adapter matches \"no such adapter\"; these are here: 0: ");
    t.refused(&["--adapter", "99"], 1, "no adapter matches \"99\"");
    t.refused(&["--adapter", ""], 1, "no adapter matches \"\"");
    t.refused(&["--adapter", " "], 1, "no adapter matches \" \"");

    // A backend that this system cannot have.
    let backend = if cfg!(windows) { "metal" } else { "dx12" };
    let args = ["run", "softmax", "-i", &t.input, "-o", &t.output];
    let info: &[&str] = &["info"];
    for args in [&args[..], info, &["bench", "--quick"]] {
        let output = onesum().args(args).env("WGPU_BACKEND", backend).output().unwrap();
        let said = complaint(&output, 1);
        assert!(said.contains("no adapter that can compute was found"), "{said}");
    }
    assert_eq!(t.folder.names(), ["x.npy"]);
}

#[test]
fn rows_that_are_too_large() {
    // A row is more than any binding: nothing but its header needs to be there to know, so it is sparse.
    let t = Trial::new();
    let path = t.folder.path("long.npy");
    let columns = 1_usize << 26;
    std::fs::write(&path, npy_bytes("<f4", &[1, columns], &[])).unwrap();
    let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let header = file.metadata().unwrap().len();
    file.set_len(header + columns as u64 * 4).unwrap();
    let limit = binding_limit();
    if columns as u64 * 4 > limit {
        let expected = format!("one row of {columns} columns takes {} bytes", columns * 4);
        t.refused_input(&path, &["--no-check"], 1, &expected);
    } else {
        // This adapter can: then the answer is known.
        let args = ["run", "softmax", "-i", &path, "-o", &t.output, "--no-check"];
        assert!(onesum().args(args).output().unwrap().status.success());
    }
}

fn binding_limit() -> u64 {
    let info: serde_json::Value = serde_json::from_str(&common::good(&["info", "--json"])).unwrap();
    info["adapters"][0]["limits"]["max_storage_buffer_binding_size"].as_u64().unwrap()
}

#[test]
fn outputs() {
    let t = Trial::new();
    let complaint = |output: &str, more: &[&str], code| {
        bad(&[&["run", "softmax", "-i", &t.input, "-o", output], more].concat(), code)
    };
    let refused = |output: &str, more: &[&str], expected: &str| {
        let said = complaint(output, more, 1);
        assert!(said.contains(expected), "{said}");
    };
    refused(&t.folder.path("no/such/y.npy"), &[], "there is no folder");
    assert!(complaint(&t.folder.path("y.txt"), &[], 2).contains("ends in .npy or .safetensors"));
    let before = t.folder.names();
    if cfg!(target_os = "linux") {
        refused("/dev/full", &[], "No space left on device");
        // The log-sum-exp alone would pass for all there is.
        refused("/dev/full", &["--lse", &t.folder.path("lse.npy")], "No space left on device");
        refused(&t.output, &["--lse", "/dev/full"], "No space left on device");
    }
    assert_eq!(t.folder.names(), before);
}

/// Whatever is wrong with a routing, nothing new is in the folder.
#[test]
fn routes() {
    let folder = Folder::new();
    let input = folder.npy("x.npy", &[2, 3, 8], &numbers(48));
    let (weights, experts) = (folder.path("w.npy"), folder.path("e.npy"));
    let four = folder.npy("four.npy", &[4], &[0.0; 4]);
    let negative = folder.words("negative.npy", "<i4", &[8], &[0, 1, 2, 3, 4, 5, 6, u32::MAX - 1]);
    let short = folder.words("short.npy", "<i4", &[8], &[0; 8]);
    let before = folder.names();
    let refused = |more: &[&str], code: i32, expected: &str| {
        let said = bad(&[&["run", "route", "-i", &input, "-w", &weights, "-e", &experts], more].concat(), code);
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        assert_eq!(folder.names(), before);
    };
    // What does not go together.
    refused(&[], 2, "--experts-per-token is needed");
    refused(&["-k", "two"], 2, "invalid value 'two'");
    refused(&["-k", "2", "--renormalize", "--no-renormalize"], 2, "cannot be used with");
    refused(&["-k", "2", "--least-sum", "1e-3", "--no-renormalize"], 2, "cannot be used with");
    refused(&["-k", "2", "--no-bias"], 2, "--preset");
    refused(&["-k", "2", "--bias-role", "logit"], 2, "--bias");
    refused(&["-k", "2", "--block", "4"], 2, "--plan");
    refused(&["-k", "2", "--plan", &folder.path("p.safetensors"), "--drop", "k-major"], 2, "--capacity");
    refused(&["-k", "2", "--seed", "1"], 2, "--noise");
    refused(&["-k", "2", "--shared-weight", "1"], 2, "--shared-experts");
    refused(&["-k", "2", "--n-group", "2"], 2, "both --n-group and --topk-group");
    refused(&["-k", "2", "--noise", "normal"], 2, "needs --noise-logits");
    refused(&["-k", "2", "--noise-logits", &four], 2, "is for --noise normal");
    refused(&["-k", "2", "--preset", "gpt-5"], 2, "no router is called \"gpt-5\"; there are mixtral");
    refused(&["-k", "2", "--scoring", "hardmax"], 2, "invalid value 'hardmax'");
    refused(&["-k", "2", "--plan", &folder.path("p.npy")], 2, "ends in .safetensors");
    refused(&["-k", "2", "--histogram", &folder.path("h.png")], 2, "ends in .svg");
    refused(&["-k", "2", "--stats", &weights], 2, "--stats and --weights name the same file");
    refused(&["-k", "2", "--bias", &weights], 2, "--weights and --bias name the same file");
    refused(&["-k", "2", "--variant", "router/lane/f16/baseline/w8/x4"], 2, "another element type than the f32");
    // Numbers out of their domain.
    refused(&["-k", "9"], 1, "at most the number of experts");
    refused(&["-k", "0"], 2, "0 is not in 1..=64");
    refused(&["-k", "65"], 2, "65 is not in 1..=64");
    refused(&["-k", "2", "--n-group", "3", "--topk-group", "1"], 1, "a divisor of the number of experts");
    refused(&["-k", "4", "--n-group", "4", "--topk-group", "1"], 1, "hold as many experts as are chosen");
    refused(&["-k", "2", "--soft-cap", "0"], 1, "soft_cap must be from 2^-20");
    refused(&["-k", "2", "--scaling-factor", "nan"], 1, "scale must be 0, or from");
    refused(&["-k", "2", "--renormalize", "--scoring", "none"], 1, "renormalize must be off");
    refused(&["-k", "2", "--noise", "gumbel", "--scoring", "sigmoid"], 1, "softmax or none");
    refused(&["-k", "2", "--shared-experts", "65"], 1, "shared experts must be at most 64");
    refused(&["-k", "2", "--valid-tokens", "7"], 1, "there are 6 tokens");
    refused(&["--preset", "qwen3"], 1, "has 128 experts, the input has 8");
    // Files.
    refused(&["-k", "2", "--bias", &four], 1, "expected a bias of shape [8], got [4]");
    refused(&["-k", "2", "--bias", "none.npy"], 1, "none.npy: cannot read");
    refused(&["-k", "2", "--noise", "normal", "--noise-logits", &four], 1, "expected the input's shape [2, 3, 8]");
    refused(&["-k", "2", "--expert-map", &four], 1, "expected the dtype u4, i4 or i8");
    refused(&["-k", "2", "--expert-map", &negative], 1, "expected an expert or -1, got -2");
    refused(&["-k", "2", "--expert-map", &short, "--shared-experts", "1"], 1, "a map of shape [9], 1 of them shared");
    refused(&["-k", "2", "--variant", "router/nonsense"], 2, "no variant is called");
    let plan = folder.path("p.safetensors");
    refused(
        &["-k", "2", "--plan", &plan, "--block", "4294967295"],
        1,
        "--block 4294967295: a plan that pads each of 8",
    );
    refused(&["-k", "2", "--tensor", "logits"], 2, "--tensor is for .safetensors files");
    refused(&["-k", "2", "--stats", &folder.path("no/such/s.json")], 1, "there is no folder");
    let run = |input: &str, experts: &str, code: i32| {
        bad(&["run", "route", "-i", input, "-w", &weights, "-e", experts, "-k", "2"], code)
    };
    assert!(run(&folder.path("none.npy"), &experts, 1).contains("cannot read"));
    assert!(run(&fixture("i8.npy"), &experts, 1).contains("expected the dtype"));
    assert!(run(&fixture("rank0.npy"), &experts, 1).contains("logits need at least one axis"));
    assert!(run(&folder.npy("bare.npy", &[3, 0], &[]), &experts, 1).contains("there are no experts in shape [3, 0]"));
    assert!(run(&input, &folder.path("e.txt"), 2).contains("ends in .npy or .safetensors"));
    assert!(run(&input, &input, 2).contains("--experts and --input name the same file"));
    if cfg!(target_os = "linux") {
        // The weights are written first, and do not stay.
        assert!(run(&input, "/dev/full", 1).contains("No space left on device"));
        assert!(!folder.names().contains(&"w.npy".to_owned()));
    }
}

#[test]
fn command_lines() {
    for args in [&[][..], &["run"], &["run", "softmax"], &["bogus"], &["wgsl"], &["bench", "--shape", "3"], &["demo"]] {
        bad(args, 2);
    }
    assert!(bad(&["bench", "--shape", "0x4"], 2).contains("expected ROWSxCOLUMNS"));
    assert!(bad(&["bench", "--shape", "3x4x5"], 2).contains("only rows that are routed have choices"));
    assert!(bad(&["bench", "--variant", "plan/one/w1"], 2).contains("no variant's name contains"));
    assert!(bad(&["bench", "route", "--variant", "plan/nonsense"], 2).contains("no variant's name contains"));
    assert!(bad(&["bench", "softmax/stream"], 2).contains("--variant softmax/stream"));
    assert!(bad(&["bench", "--dtype", "f64"], 2).contains("expected f32, f16 or bf16"));
    assert!(bad(&["bench", "route", "--dtype", "f16-f32"], 2).contains("only softmax and gumbel"));
    assert!(bad(&["bench", "route-qwen3", "--shape", "4x64x8"], 2).contains("128 experts and 8 choices"));
    assert!(bad(&["bench", "--quick", "--preset", "llm"], 2).contains("cannot be used with"));
    assert!(bad(&["bench", "--preset", "most"], 2).contains("quick, paper, llm, all"));
    assert!(bad(&["bench", "--repeats", "0"], 2).contains("0 is not in"));
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_quiet() {
    for args in [&["wgsl", "--list"][..], &["--help"], &["info", "--variants"]] {
        let mut child = onesum()
            .args(args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    for args in [&["wgsl", "--list"][..], &["--help"], &["info", "--json"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = onesum().args(args).stdout(full).output().unwrap();
        assert!(complaint(&output, 1).contains("cannot write to standard output"), "{args:?}");
    }
}
