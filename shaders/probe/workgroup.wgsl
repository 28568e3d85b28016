// Workgroup memory of WORDS words, written by WIDTH invocations and read back by others: per invocation, how many words
// it read that were what they should be.

override WIDTH: u32;
override WORDS: u32;

@group(0) @binding(0) var<storage, read_write> right: array<u32>;

var<workgroup> memory: array<u32, WORDS>;

fn pattern(index: u32, group: u32) -> u32 {
    return (index ^ (group << 24u)) * 2654435761u;
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group: vec3<u32>) {
    for (var i = local; i < WORDS; i += WIDTH) {
        memory[i] = pattern(i, group.x);
    }
    workgroupBarrier();
    var count = 0u;
    for (var i = WIDTH - 1u - local; i < WORDS; i += WIDTH) {
        count += select(0u, 1u, memory[i] == pattern(i, group.x));
    }
    right[group.x * WIDTH + local] = count;
}
