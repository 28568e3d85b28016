@group(0) @binding(2) var<storage, read_write> dst: array<u32>;

fn put_choice(row: u32, n: u32, best: Partial) {
    var choice = u32(-best.exponent);
    if (best.exponent == NOTHING) {
        choice = EMPTY;
    } else if (best.exponent == NOT_A_NUMBER) {
        choice = NAN_SEEN;
    } else if (best.exponent == INFINITE) {
        choice = INFINITY_SEEN;
    }
    dst[params.dst_offset + row * params.dst_stride + n] = choice;
}
