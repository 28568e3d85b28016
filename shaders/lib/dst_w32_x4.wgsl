// Four words as they are: no bit of them means anything.
alias Cell = vec4<u32>;
alias Dst = vec4<u32>;

fn store_quad(base: u32, quad: u32, y: Cell) {
    dst[base + quad] = y;
}
