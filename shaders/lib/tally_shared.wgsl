// Counters that several invocations add to: their sums do not depend on the order.
var<workgroup> counters: array<atomic<u32>, COUNTERS>;

fn count_at(i: u32) -> u32 {
    return atomicLoad(&counters[i]);
}

fn set_count(i: u32, n: u32) {
    atomicStore(&counters[i], n);
}

// What it was; it is one more then.
fn next_count(i: u32) -> u32 {
    return atomicAdd(&counters[i], 1u);
}
