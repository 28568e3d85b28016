// A tile's counters, in the invocation's own memory. COUNTERS, a constant: the stride.
var<private> counters: array<u32, COUNTERS>;

// They begin with zeros.
fn clear_counters(tile: u32) {}

// The next position of a bucket.
fn count(tile: u32, bucket: u32) -> u32 {
    let column = min(bucket, COUNTERS - 1u);
    let position = counters[column];
    counters[column] = position + 1u;
    return position;
}

fn leave_counters(tile: u32) {
    let row = counters_of(tile);
    for (var column = 0u; column < COUNTERS; column += 4u) {
        let four = vec4(counters[column], counters[column + 1u], counters[column + 2u], counters[column + 3u]);
        put_four(row + column, four);
    }
}

fn take_counters(tile: u32) {
    let row = counters_of(tile);
    for (var column = 0u; column < COUNTERS; column += 4u) {
        let four = four_at(row + column) + firsts_at(column);
        counters[column] = four.x;
        counters[column + 1u] = four.y;
        counters[column + 2u] = four.z;
        counters[column + 3u] = four.w;
    }
}
