// An expert is the work of a workgroup.
override LANES: u32 = WIDTH;

fn expert_of(group: u32, local: u32) -> u32 {
    return group;
}

fn lane_of(local: u32) -> u32 {
    return local;
}

fn together() {
    workgroupBarrier();
}

// The same for what is in buffers too.
fn together_in_buffers() {
    storageBarrier();
    workgroupBarrier();
}

fn before(local: u32, value: u32) -> u32 {
    return share(local, value).before;
}

fn count_of_digit(digit: u32) -> u32 {
    let i = digit * HEAPS;
    return count_at(i) + count_at(i + 1u) + count_at(i + 2u) + count_at(i + 3u)
        + count_at(i + 4u) + count_at(i + 5u) + count_at(i + 6u) + count_at(i + 7u);
}

var<workgroup> found: vec2<u32>;

// (the digit of the `need`-th greatest key, keys of greater digits). Invocations have a run of digits each, the first the
// greatest; in one run it is.
fn digit_of(local: u32, need: u32) -> vec2<u32> {
    let run = 256u / WIDTH;
    let top = 255u - local * run;
    var mine = 0u;
    for (var d = 0u; d < run; d++) {
        mine += count_of_digit(top - d);
    }
    var above = before(local, mine);
    if (above < need && need <= above + mine) {
        var digit = top;
        var here = count_of_digit(digit);
        while (above + here < need) {
            above += here;
            digit -= 1u;
            here = count_of_digit(digit);
        }
        found = vec2(digit, above);
    }
    workgroupBarrier();
    return found;
}

// Counters become where the first of each digit and sorter goes.
fn place_digits(local: u32) {
    let run = COUNTERS / WIDTH;
    let first = local * run;
    var mine = 0u;
    for (var i = first; i < first + run; i++) {
        mine += count_at(i);
    }
    var sum = before(local, mine);
    for (var i = first; i < first + run; i++) {
        let n = count_at(i);
        set_count(i, sum);
        sum += n;
    }
}
