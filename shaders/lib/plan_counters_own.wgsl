// Counters in the invocation's own memory. COUNTERS, a constant: the stride or more. They begin with zeros.
var<private> counters: array<u32, COUNTERS>;

fn clear_counters(tile: u32) {}

// The next position of a bucket.
fn count(tile: u32, bucket: u32) -> u32 {
    let column = min(bucket, COUNTERS - 1u);
    let position = counters[column];
    counters[column] = position + 1u;
    return position;
}
