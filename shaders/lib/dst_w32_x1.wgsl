// Four words as they are: no bit of them means anything.
alias Cell = vec4<u32>;
alias Dst = u32;

fn put(i: u32, y: u32) {
    dst[i] = y;
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
