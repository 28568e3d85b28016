//! No output goes over an input or another output, whatever they are spelt like; and all outputs appear, or none.

mod common;

use common::{Folder, bad, good, numbers};

/// A folder `o` with logits in it, beside links to it and to them.
fn linked() -> (Folder, String) {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("o")).unwrap();
    let input = folder.npy("o/x.npy", &[3, 8], &numbers(24));
    #[cfg(unix)]
    std::os::unix::fs::symlink("o/x.npy", folder.path("link.npy")).unwrap();
    (folder, input)
}

#[test]
fn inputs_are_not_written_over() {
    let (folder, input) = linked();
    let old = std::fs::read(&input).unwrap();
    let mut spellings = vec![input.clone(), folder.path("o/./x.npy"), folder.path("o/../o/x.npy")];
    if cfg!(unix) {
        spellings.push(folder.path("link.npy"));
    }
    let y = folder.path("y.npy");
    for path in &spellings {
        for (kernel, more) in [
            ("softmax", &["-o"][..]),
            ("gumbel", &["-o"]),
            ("sample", &["-o"]),
            ("route", &["-k", "2", "-e", &y, "-w"]),
        ] {
            let said = bad(&[&["run", kernel, "-i", &input], more, &[path]].concat(), 2);
            assert!(said.ends_with("and --input name the same file"), "{said}");
        }
        let said = bad(&["run", "softmax", "-i", &input, "-o", &y, "--lse", path], 2);
        assert!(said.contains("--lse and --input name the same file"), "{said}");
        let said = bad(&["run", "softmax", "-i", &input, "-o", path, "--mask", &input], 2);
        assert!(said.contains("name the same file"), "{said}");
        assert_eq!(std::fs::read(&input).unwrap(), old);
    }
}

#[test]
fn outputs_are_files_of_their_own() {
    let (folder, input) = linked();
    // Not there yet.
    let (y, again) = (folder.path("o/y.npy"), folder.path("o/../o/./y.npy"));
    let refused = |kernel: &str, more: &[&str], expected: &str| {
        let said = bad(&[&["run", kernel, "-i", &input], more].concat(), 2);
        assert!(said.contains(expected), "{said}");
    };
    refused("softmax", &["-o", &y, "--lse", &again], "--lse and --output name the same file");
    refused("gumbel", &["-o", &y, "--noise-out", &again], "--noise-out and --output name the same file");
    refused("sample", &["-o", &y, "--logprobs", &again], "--logprobs and --output name the same file");
    refused("route", &["-k", "2", "-w", &y, "-e", &again], "--experts and --weights name the same file");
    assert!(!std::path::Path::new(&y).exists());
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_collides_in_a_null_device() {
    let (_folder, input) = linked();
    good(&["run", "route", "-i", &input, "-k", "2", "-w", "/dev/null", "-e", "/dev/null"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_failure_leaves_older_files_alone() {
    let (folder, input) = linked();
    let old = folder.write("old.npy", b"old");
    let more = folder.write("old.json", b"old");
    let before = folder.names();
    let fails = |kernel: &str, args: &[&str]| {
        let said = bad(&[&["run", kernel, "-i", &input], args].concat(), 1);
        assert!(said.contains("No space left on device"), "{said}");
        assert_eq!(folder.names(), before);
        assert!([&old, &more].iter().all(|path| std::fs::read(path).unwrap() == b"old"));
    };
    let fresh = folder.path("fresh.npy");
    fails("route", &["-k", "2", "-w", &old, "--stats", &more, "-e", "/dev/full"]);
    fails("route", &["-k", "2", "-w", &fresh, "--stats", &more, "-e", "/dev/full"]);
    fails("softmax", &["--lse", &old, "-o", "/dev/full"]);
    fails("gumbel", &["--noise-out", &old, "--lse", &fresh, "-o", "/dev/full"]);
    fails("sample", &["--logprobs", &old, "-o", "/dev/full"]);
}
