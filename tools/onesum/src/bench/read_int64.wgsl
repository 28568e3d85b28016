// Half as many loads, where a load costs as much however wide it is. The sums mean nothing.
alias Quad = vec2<u64>;

// Both halves count: else half of each load could go.
fn one_of(sums: Quad) -> u32 {
    let sum = sums.x + sums.y;
    return u32(sum) ^ u32(sum >> 32u);
}

