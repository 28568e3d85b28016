// Counters of which each is one invocation's, between barriers.
var<workgroup> counters: array<u32, COUNTERS>;

fn count_at(i: u32) -> u32 {
    return counters[i];
}

fn set_count(i: u32, n: u32) {
    counters[i] = n;
}

// What it was; it is one more then.
fn next_count(i: u32) -> u32 {
    let n = counters[i];
    counters[i] = n + 1u;
    return n;
}
