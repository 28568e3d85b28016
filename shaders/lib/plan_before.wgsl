var<workgroup> sums: array<u32, WIDTH>;

// What comes before this invocation's part: the sum of the parts of those before it.
fn before(local: u32, part: u32) -> u32 {
    sums[local] = part;
    for (var distance = 1u; distance < WIDTH; distance *= 2u) {
        workgroupBarrier();
        var below = 0u;
        if (local >= distance) {
            below = sums[local - distance];
        }
        workgroupBarrier();
        sums[local] += below;
    }
    return sums[local] - part;
}
