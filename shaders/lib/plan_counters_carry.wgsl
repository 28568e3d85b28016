// From an invocation's memory to scratch memory and back. A compiler that knew the length would unroll these loops, at length.
fn leave_counters(tile: u32) {
    let row = counters_of(tile);
    for (var column = 0u; column < params.stride; column += 4u) {
        let four = vec4(counters[column], counters[column + 1u], counters[column + 2u], counters[column + 3u]);
        put_four(row + column, four);
    }
}

fn take_counters(tile: u32) {
    let row = counters_of(tile);
    for (var column = 0u; column < params.stride; column += 4u) {
        let four = four_at(row + column) + firsts_at(column);
        counters[column] = four.x;
        counters[column + 1u] = four.y;
        counters[column + 2u] = four.z;
        counters[column + 3u] = four.w;
    }
}
