// A tile's counters, in scratch memory: they are many.
fn clear_counters(tile: u32) {
    let row = counters_of(tile);
    for (var column = 0u; column < params.stride; column++) {
        scratch[row + column] = 0u;
    }
}

// The next position of a bucket.
fn count(tile: u32, bucket: u32) -> u32 {
    let i = counters_of(tile) + min(bucket, params.stride - 1u);
    let position = scratch[i];
    scratch[i] = position + 1u;
    return position;
}

fn leave_counters(tile: u32) {}

fn take_counters(tile: u32) {
    let row = counters_of(tile);
    for (var column = 0u; column < params.stride; column += 4u) {
        put_four(row + column, four_at(row + column) + firsts_at(column));
    }
}
