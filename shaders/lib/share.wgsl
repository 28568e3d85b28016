// Exclusive prefix sums over a workgroup (Hillis & Steele 1986).
var<workgroup> shelf: array<u32, WIDTH>;

struct Share {
    before: u32,    // the sum of what lower invocations have
    all: u32,       // the sum of what all have
}

fn share(local: u32, value: u32) -> Share {
    shelf[local] = value;
    for (var step = 1u; step < WIDTH; step *= 2u) {
        workgroupBarrier();
        var other = 0u;
        if (local >= step) {
            other = shelf[local - step];
        }
        workgroupBarrier();
        shelf[local] += other;
    }
    workgroupBarrier();
    let sums = Share(shelf[local] - value, shelf[WIDTH - 1u]);
    workgroupBarrier();
    return sums;
}
