// Exclusive prefix sums over a workgroup (Hillis & Steele 1986), from one array to the other: a barrier a step.
var<workgroup> shelf: array<u32, WIDTH>;
var<workgroup> other_shelf: array<u32, WIDTH>;

struct Share {
    before: u32,    // the sum of what lower invocations have
    all: u32,       // the sum of what all have
}

fn on_shelf(other: bool, i: u32) -> u32 {
    if (other) {
        return other_shelf[i];
    }
    return shelf[i];
}

fn share(local: u32, value: u32) -> Share {
    var sum = value;
    var other = false;
    shelf[local] = sum;
    for (var step = 1u; step < WIDTH; step *= 2u) {
        workgroupBarrier();
        if (local >= step) {
            sum += on_shelf(other, local - step);
        }
        if (other) {
            shelf[local] = sum;
        } else {
            other_shelf[local] = sum;
        }
        other = !other;
    }
    workgroupBarrier();
    let all = on_shelf(other, WIDTH - 1u);
    workgroupBarrier();
    return Share(sum - value, all);
}
