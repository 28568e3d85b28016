// Four columns of the counters: each becomes the sum of those above it, their totals go below.
fn scan_columns(quad: u32) {
    var sum = vec4(0u);
    var i = counters_of(0u) + quad;
    for (var tile = 0u; tile < params.tiles; tile++) {
        let count = scratch[i];
        scratch[i] = sum;
        sum += count;
        i += params.stride / 4u;
    }
    scratch[params.totals_offset / 4u + quad] = sum;
}
