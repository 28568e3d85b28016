// Four words as they are: no bit of them means anything.
alias Cell = vec4<u32>;
alias Dst = vec2<u64>;

fn store_quad(base: u32, quad: u32, y: Cell) {
    dst[base + quad] = vec2<u64>(y.xz) | (vec2<u64>(y.yw) << vec2(32u));
}
