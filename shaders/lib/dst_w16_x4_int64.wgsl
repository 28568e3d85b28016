// Four halves of words as they are: no bit of them means anything.
alias Cell = vec2<u32>;
alias Dst = u64;

fn store_quad(base: u32, quad: u32, y: Cell) {
    dst[base + quad] = u64(y.x) | (u64(y.y) << 32u);
}
