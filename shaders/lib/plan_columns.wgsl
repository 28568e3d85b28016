// Four columns of the counters: each becomes the sum of those above it, their totals go below.
fn scan_columns(first: u32) {
    var sum = vec4(0u);
    var i = counters_of(0u) + first;
    for (var tile = 0u; tile < params.tiles; tile++) {
        let count = four_at(i);
        put_four(i, sum);
        sum += count;
        i += params.stride;
    }
    put_four(params.totals_offset + first, sum);
}
