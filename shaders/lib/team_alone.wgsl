// An expert is the work of one invocation: nobody to wait for. Its counters are those of one column.
override LANES: u32 = 1;

fn expert_of(group: u32, local: u32) -> u32 {
    return group * WIDTH + local;
}

fn lane_of(local: u32) -> u32 {
    return 0u;
}

fn together() {}

fn together_in_buffers() {}

fn before(local: u32, value: u32) -> u32 {
    return 0u;
}

// (the digit of the `need`-th greatest key, keys of greater digits)
fn digit_of(local: u32, need: u32) -> vec2<u32> {
    var digit = 255u;
    var above = 0u;
    var here = count_at(digit * HEAPS + local);
    while (digit > 0u && above + here < need) {
        above += here;
        digit -= 1u;
        here = count_at(digit * HEAPS + local);
    }
    return vec2(digit, above);
}

// Counters become where the first of each digit goes.
fn place_digits(local: u32) {
    var sum = 0u;
    for (var d = 0u; d < DIGITS; d++) {
        let i = d * SORTERS + local;
        let n = count_at(i);
        set_count(i, sum);
        sum += n;
    }
}
