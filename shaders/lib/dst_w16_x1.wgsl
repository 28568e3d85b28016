// Four halves of words as they are, each in the low half of its own: no bit of them means anything.
alias Cell = vec4<u32>;
alias Dst = atomic<u32>;

// Two rows may share a word, and two invocations its halves: each clears and sets its own half only.
fn put(i: u32, y: u32) {
    let shift = i % 2u * 16u;
    atomicAnd(&dst[i / 2u], ~(0xffffu << shift));
    atomicOr(&dst[i / 2u], y << shift);
}

fn store_quad(base: u32, quad: u32, y: Cell) {
    let column = quad * 4u;
    put(base + column, y.x);
    if (column + 1u < params.cols) {
        put(base + column + 1u, y.y);
    }
    if (column + 2u < params.cols) {
        put(base + column + 2u, y.z);
    }
    if (column + 3u < params.cols) {
        put(base + column + 3u, y.w);
    }
}
